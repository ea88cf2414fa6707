package serve

import (
	"context"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

func TestPrice(t *testing.T) {
	const (
		btcPrice  = `{"symbol":"BTCUSDT","price":"83091.70","time":1799064141234}`
		moonPrice = `{"symbol":"币安人生USDT","price":"0.153100","time":1799064119999}`
		omgPrice  = `{"symbol":"OMGUSDT","price":"0.1","time":1, "new":true}`
		listedBTC = `{"symbol":"BTCUSDT","price":"1.00","time":2}`
		invalid   = `{"code":-1121,"msg":"Invalid symbol."}`
		down      = `{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`
		dateless  = `{"symbol":"BTCUSDT","price":"1.00"}`
		newerBTC  = `{"symbol":"BTCUSDT","price":"1.00","time":1799064141235}`
		all       = "[" + omgPrice + "," + listedBTC + `,{"symbol":"\u5e01安人生USDT"}]`
		newer     = "[" + omgPrice + "," + newerBTC + `,{"symbol":"\u5e01安人生USDT"}]`
	)
	lane := map[market.SymbolID]market.Time{btc: at("12:02:21") + 234, moon: at("12:01:59") + 999}
	prices := map[market.SymbolID]string{btc: "83091.7", moon: "0.1531"}
	for _, c := range []struct {
		name, query string
		silent      market.SymbolID // what has not traded since klined began
		unsure      bool            // of no symbol it is known whether it has traded since
		forward     bool
		listed      string // what the exchange lists; "" where it does not answer
		body        string
		weight      string
	}{
		{"one", "?symbol=btcusdt", ended, false, false, "", btcPrice, "1"},
		{"one of a strange name", "?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT", ended, false, false, "", moonPrice, "1"},
		{"one that has not traded", "?symbol=BTCUSDT", btc, false, false, all, listedBTC, "1"},
		{"one that has never traded", "?symbol=BTCUSDT", btc, false, false, "[" + omgPrice + "]", invalid, "1"},
		{"one that may have traded since, and has", "?symbol=BTCUSDT", ended, true, false, newer, newerBTC, "1"},
		{"one that may have, and has not", "?symbol=BTCUSDT", ended, true, false, all, btcPrice, "1"},
		{"one that may have, the exchange does not say when", "?symbol=BTCUSDT", ended, true, false, "[" + dateless + "]", dateless, "1"},
		{"one that may have, and has ended", "?symbol=BTCUSDT", ended, true, false, "[" + omgPrice + "]", invalid, "1"},
		{"one that may have, and nobody knows", "?symbol=BTCUSDT", ended, true, false, "", down, "1"},
		{"one that nobody knows of", "?symbol=BTCUSDT", btc, false, false, "", down, "1"},
		{"twice", "?symbol=BTCUSDT&symbol=BTCUSDT", ended, false, true, all, `{"code":-1101,"msg":"Duplicate values for parameter 'symbol'."}`, "1"},
		{"not carried", "?symbol=OMGUSDT", ended, false, false, all, invalid, "1"},
		{"not carried, passed on", "?symbol=OMGUSDT", ended, false, true, all, "GET /fapi/v2/ticker/price?symbol=OMGUSDT", "1"},
		{"all", "", ended, false, false, all, "[" + btcPrice + "," + moonPrice + "]", "2"},
		{"all, named by nothing", "?symbol=", ended, false, false, all, "[" + btcPrice + "," + moonPrice + "]", "2"},
		{"all, one silent", "", btc, false, false, all, "[" + listedBTC + "," + moonPrice + "]", "2"},
		{"all, which may have traded since, one has", "", ended, true, false, newer, "[" + newerBTC + `,{"symbol":"\u5e01安人生USDT"}]`, "2"},
		{"all, which may have, one has not", "", ended, true, false, all, "[" + btcPrice + `,{"symbol":"\u5e01安人生USDT"}]`, "2"},
		{"all, one never traded", "", btc, false, false, "[" + omgPrice + "]", "[]", "2"},
		{"all, and what else there is", "", ended, false, true, all, "[" + omgPrice + "," + btcPrice + "," + moonPrice + "]", "2"},
		{"all, and what else there is, one silent", "", btc, false, true, all, "[" + omgPrice + "," + listedBTC + "," + moonPrice + "]", "2"},
		{"all that nobody knows of", "", ended, false, false, "", down, "2"},
	} {
		w := newWorld(t, fixedClock(at("12:02:30")))
		w.opt.Last = func(id market.SymbolID) (market.Price, bool) {
			if id == c.silent || id == ended {
				return market.Price{}, false
			}
			return market.Price{Value: fixed.MustParse(prices[id]), Time: lane[id]}, !c.unsure
		}
		if c.forward {
			w.opt.Forward = &fakeForwarder{}
		}
		w.opt.Prices = func(context.Context) ([]byte, error) {
			if c.listed == "" {
				return nil, errDown
			}
			return []byte(c.listed), nil
		}
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/fapi/v2/ticker/price"+c.query, nil))
		if rec.Body.String() != c.body || rec.Header().Get("X-MBX-USED-WEIGHT-1M") != c.weight {
			t.Errorf("%s: %d %s for %s, want %s for %s", c.name, rec.Code, rec.Body, rec.Header().Get("X-MBX-USED-WEIGHT-1M"), c.body, c.weight)
		}
	}
}

// TestPriceList: the exchange's list is asked for once in a while, whoever asks; where it cannot be had an old one serves, for
// a time.
func TestPriceList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l priceList
		asked, err := 0, errDown
		get := func() error {
			_, e := l.get(t.Context(), func(context.Context) ([]byte, error) {
				asked++
				return []byte(`[{"symbol":"A"}]`), err
			})
			return e
		}
		for i, c := range []struct {
			after time.Duration
			down  error
			asked int
			fails bool
		}{
			{0, errDown, 1, true},
			{0, nil, 2, false},
			{4 * time.Second, errDown, 2, false},
			{2 * time.Second, errDown, 3, false},
			{50 * time.Second, errDown, 4, false},
			{10 * time.Second, errDown, 5, true},
			{0, nil, 6, false},
		} {
			time.Sleep(c.after)
			err = c.down
			if e := get(); (e != nil) != c.fails || asked != c.asked {
				t.Errorf("%d: %v, asked %d times, want %d", i, e, asked, c.asked)
			}
		}
		for _, body := range []string{`{"code":-1}`, `[1]`, ``} {
			if rows, err := askPrices(t.Context(), func(context.Context) ([]byte, error) { return []byte(body), nil }); err == nil {
				t.Errorf("%s: %v", body, rows)
			}
		}
	})
}

// TestPriceListSilent: while the exchange does not answer, who waits for its list waits no longer than a usual client does,
// however many they are, and one question is asked; an old list serves all of them.
func TestPriceListSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var silent atomic.Bool
		silent.Store(true)
		w := newWorld(t, stdClock{}, func(o *Options) {
			o.Prices = func(context.Context) ([]byte, error) {
				asked.Add(1)
				if silent.Load() {
					time.Sleep(20 * time.Second)
					return nil, errDown
				}
				return []byte(`[{"symbol":"BTCUSDT","price":"1"}]`), nil
			}
		})
		ask := func(status int, within time.Duration) {
			t.Helper()
			began, before := time.Now(), asked.Load()
			var asking sync.WaitGroup
			for range 5 {
				asking.Go(func() {
					if rec := w.get("/fapi/v1/ticker/price"); rec.Code != status || time.Since(began) != within {
						t.Errorf("%d after %s, want %d after %s", rec.Code, time.Since(began), status, within)
					}
				})
			}
			asking.Wait()
			if n := asked.Load() - before; n != 1 {
				t.Errorf("asked %d times, want once", n)
			}
			time.Sleep(30 * time.Second)
		}
		ask(503, answerWithin)
		silent.Store(false)
		ask(200, 0)
		silent.Store(true)
		ask(200, answerWithin)
	})
}

// TestPriceListOfWhoHasGone: who gives up leaves at once, however long the exchange takes, and no question behind; what the one
// that was asked brings is whoever's who comes later.
func TestPriceListOfWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l priceList
		var asked atomic.Int64
		get := func(patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := l.get(ctx, func(context.Context) ([]byte, error) {
				asked.Add(1)
				time.Sleep(20 * time.Second)
				return []byte(`[{"symbol":"A"}]`), nil
			})
			return err
		}
		began := time.Now()
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() {
				if err := get(10 * time.Millisecond); err == nil || time.Since(began) != 10*time.Millisecond {
					t.Errorf("%v after %s", err, time.Since(began))
				}
			})
		}
		asking.Wait()
		time.Sleep(20 * time.Second)
		if err := get(time.Millisecond); err != nil || asked.Load() != 1 {
			t.Errorf("%v, asked %d times, want once", err, asked.Load())
		}
	})
}

func TestContinuousKlines(t *testing.T) {
	const contract = `{"code":-4104,"msg":"Invalid contract type"}`
	w := newWorld(t, fixedClock(at("12:02:30")))
	w.opt.Contract = func(id market.SymbolID) string {
		if id == moon {
			return "TRADIFI_PERPETUAL"
		}
		return "PERPETUAL"
	}
	for _, id := range []market.SymbolID{btc, moon} {
		w.live.rows[minutes(id)] = append(run(market.OneMinute, at("12:01:00"), at("12:02:00"), market.StateClosed),
			kline(at("12:02:00"), "1", market.StateOpen))
	}
	for query, want := range map[string]string{
		"pair=btcusdt&contractType=PERPETUAL&interval=1m&limit=2":          "12:01–12:02 2",
		"pair=币安人生USDT&contractType=TRADIFI_PERPETUAL&interval=1m&limit=2": "12:01–12:02 2",
		"pair=BTCUSDT&contractType=TRADIFI_PERPETUAL&interval=1m&limit=2":  `{"code":-1121,"msg":"Invalid symbol."}`,
		"pair=BTCUSDT&contractType=CURRENT_QUARTER&interval=1m&limit=2":    `{"code":-1121,"msg":"Invalid symbol."}`,
		"pair=BTCUSDT&contractType=perpetual&interval=1m&limit=2":          contract,
		"symbol=BTCUSDT&contractType=PERPETUAL&interval=1m":                `{"code":-1102,"msg":"Mandatory parameter 'pair' was not sent, was empty/null, or malformed."}`,
		"pair=BTCUSDT&interval=1m":                                         `{"code":-1102,"msg":"Mandatory parameter 'contractType' was not sent, was empty/null, or malformed."}`,
	} {
		if got := extent(t, w.get("/fapi/v1/continuousKlines?"+query)); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

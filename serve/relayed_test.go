package serve

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"klined/market"
)

// took lets a world write down whose trades somebody takes.
func (w *world) took(source market.Source) *[]string {
	var heard []string
	w.opt.Source = source
	w.opt.WatchTrades = func(id market.SymbolID, on bool) { heard = append(heard, fmt.Sprint(int(id), " ", on)) }
	return &heard
}

// relayed is a drain that brings trades of one symbol.
func relayed(id market.SymbolID, payloads ...string) *market.Changes {
	c := &market.Changes{}
	for _, p := range payloads {
		r := market.Relayed{Symbol: id}
		if p != "" {
			r.Payload = []byte(p)
		}
		c.Relayed = append(c.Relayed, r)
	}
	return c
}

func differ(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (−want +got)\n%s", what, diff)
	}
}

// TestTradesAsTheyCame: a symbol's trades go out as they came, bare or wrapped, to all who take them, and the feed knows that
// somebody does from the first on until the last has left.
func TestTradesAsTheyCame(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		heard := w.took(market.SourceAggTrade)
		raw := connect(t, listen, "/ws/btcusdt@aggTrade/BTCUSDT@aggTrade/omgusdt@aggTrade/btcusdt@trade")
		combined := connect(t, listen, "/market/stream?streams=btcusdt@aggTrade/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@aggTrade")
		c := relayed(btc, `{"a":1}`, `{"a":2}`)
		w.Publish(c)
		copy(c.Relayed[0].Payload, `{"a":9}`) // it is copied
		w.Publish(relayed(moon, `{"a":7}`))
		w.Publish(relayed(ended, `{"a":8}`))
		differ(t, "raw", raw.texts(), []string{`{"a":1}`, `{"a":2}`})
		raw.ask(`{"method":"SET_PROPERTY","params":["combined",true],"id":1}`)
		raw.texts()
		w.Publish(relayed(btc, `{"a":3}`))
		differ(t, "raw, then combined", raw.texts(), []string{`{"stream":"btcusdt@aggTrade","data":{"a":3}}`})
		differ(t, "combined", combined.texts(), []string{`{"stream":"btcusdt@aggTrade","data":{"a":1}}`, `{"stream":"btcusdt@aggTrade","data":{"a":2}}`,
			`{"stream":"币安人生usdt@aggTrade","data":{"a":7}}`, `{"stream":"btcusdt@aggTrade","data":{"a":3}}`})
		raw.ask(`{"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade"],"id":2}`)
		raw.texts()
		w.Publish(relayed(btc, `{"a":4}`))
		differ(t, "unsubscribed", raw.texts(), nil)
		_ = combined.conn.Close()
		synctest.Wait()
		differ(t, "the feed", *heard, []string{"0 true", "1 true", "0 false", "1 false"})
	})
}

// TestTradeStreamsOfTheSource: the trades that klines are not built from are not here.
func TestTradeStreamsOfTheSource(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		heard := w.took(market.SourceTrade)
		p := connect(t, listen, "/public/ws/btcusdt@trade/btcusdt@aggTrade")
		w.Publish(relayed(btc, `{"t":1}`))
		differ(t, "trades", p.texts(), []string{`{"t":1}`})
		differ(t, "the feed", *heard, []string{"0 true"})
	})
}

// TestLostTrades: who takes trades of which there was no room for some is closed, and nobody else.
func TestLostTrades(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.took(market.SourceAggTrade)
		lost, other := connect(t, listen, "/ws/btcusdt@aggTrade"), connect(t, listen, "/stream?streams=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@aggTrade/btcusdt@kline_1m")
		w.Publish(relayed(btc, `{"a":1}`, ``, `{"a":3}`))
		w.Publish(relayed(moon, `{"a":7}`))
		differ(t, "what came before", lost.texts(), []string{`{"a":1}`})
		if got := lost.ended(); got != "1011 events were lost" {
			t.Errorf("ended with %q", got)
		}
		if got := other.texts(); len(got) != 1 || other.ended() != "" {
			t.Errorf("the other one got %v, ended with %q", got, other.ended())
		}
		again := connect(t, listen, "/ws/btcusdt@aggTrade")
		w.Publish(relayed(btc, `{"a":4}`))
		differ(t, "again", again.texts(), []string{`{"a":4}`})
	})
}

// TestMiniTickersComeOnce: of a symbol that is known but not carried the exchange's own stream is taken, and not the summary's
// rows beside it.
func TestMiniTickersComeOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.facts = map[string]func(bool){"omgusdt@miniTicker": func(bool) {}}
		p := connect(t, listen, "/ws/omgusdt@miniTicker")
		w.PublishTickers(&market.Batch{Tickers: []market.Ticker{{SymbolID: ended}}, Rows: [][]byte{[]byte(`{"summary":1}`)}})
		w.Deliver("omgusdt@miniTicker", []byte(`{"stream":1}`))
		differ(t, "not carried", p.texts(), []string{`{"stream":1}`})
	})
}

// TestMiniTickers: the summary's frames go to who takes all, its rows to who takes one symbol's.
func TestMiniTickers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		all := connect(t, listen, "/ws/!miniTicker@arr")
		one := connect(t, listen, "/stream?streams=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@miniTicker/omgusdt@miniTicker/nosuch@miniTicker")
		rows := []string{`{"s":"BTCUSDT"}`, `{"s":"币安人生USDT"}`}
		frame := "[" + strings.Join(rows, ",") + `,{"s":"BTCUSD_PERP"}]`
		w.PublishTickers(&market.Batch{Tickers: []market.Ticker{{SymbolID: btc}, {SymbolID: moon}}, Rows: [][]byte{[]byte(rows[0]), []byte(rows[1])},
			Summaries: [][]byte{[]byte(frame), []byte("[]")}})
		w.PublishTickers(&market.Batch{Tickers: []market.Ticker{{SymbolID: ended}}, Rows: [][]byte{[]byte(`{}`)}})
		differ(t, "all", all.texts(), []string{frame, "[]"})
		differ(t, "one", one.texts(), []string{`{"stream":"币安人生usdt@miniTicker","data":` + rows[1] + `}`})
	})
}

// TestRelayedStreamsOfAClient: one client takes a bounded number of relayed streams; more are acknowledged and silent, and hurt
// neither its own streams nor other clients. Those that it leaves make room for others.
func TestRelayedStreamsOfAClient(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		var log strings.Builder
		w.log = slog.New(slog.NewTextHandler(&log, nil))
		on := 0
		w.opt.Facts = func(string) func(bool) {
			return func(to bool) {
				if on--; to {
					on += 2
				}
			}
		}
		names := make([]string, maxRelayed+2)
		for n := range names {
			names[n] = fmt.Sprintf("s%d@ticker", n)
		}
		last, other := names[maxRelayed+1], connect(t, listen, "/ws/"+names[maxRelayed])
		p := connect(t, listen, "/ws/"+strings.Join(names, "/")+"/btcusdt@miniTicker/btcusdt@kline_1m")
		if len(w.hub.facts) != maxRelayed+2 || on != maxRelayed+1 {
			t.Errorf("%d streams, %d are relayed", len(w.hub.facts), on)
		}
		for _, name := range []string{names[0], names[maxRelayed], last} {
			w.Deliver(name, []byte(`{"of":"`+name+`"}`))
		}
		w.PublishTickers(&market.Batch{Tickers: []market.Ticker{{SymbolID: btc}}, Rows: [][]byte{[]byte(`{"s":"BTCUSDT"}`)}})
		differ(t, "one with too many", p.texts(), []string{`{"of":"s0@ticker"}`, `{"s":"BTCUSDT"}`})
		differ(t, "the other", other.texts(), []string{`{"of":"` + names[maxRelayed] + `"}`})
		p.ask(`{"method":"UNSUBSCRIBE","params":["s0@ticker","` + last + `"],"id":1}`)
		p.ask(`{"method":"SUBSCRIBE","params":["` + last + `"],"id":2}`)
		p.texts()
		w.Deliver(last, []byte(`{"a":1}`))
		differ(t, "in the room of another", p.texts(), []string{`{"a":1}`})
		if text := log.String(); strings.Count(text, "too many relayed streams") != 1 || !strings.Contains(text, "at_most=200 silent=2") {
			t.Errorf("log: %s", text)
		}
		_, _ = p.conn.Close(), other.conn.Close()
		synctest.Wait()
		if on != 0 || len(w.hub.facts) != 0 {
			t.Errorf("%d are relayed, %d remembered though nobody takes any", on, len(w.hub.facts))
		}
	})
}

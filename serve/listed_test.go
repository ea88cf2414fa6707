package serve

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"klined/market"
)

// carryLater lets the symbol ended be carried from the call on that it returns.
func (w *world) carryLater() (carry func()) {
	carried := false
	w.opt.Carries = func(id market.SymbolID) bool { return id != ended || carried }
	return func() { carried = true; w.Listed() }
}

// TestSubscribedBeforeListed: a stream of a symbol that is not carried yet is acknowledged and silent, and begins once it is;
// what the exchange's own stream brought until then ends. Who has left by then, or asks for what is still nothing, gets nothing.
func TestSubscribedBeforeListed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		carry := w.carryLater()
		heard := w.took(market.SourceAggTrade)
		var relay []bool
		w.facts = map[string]func(bool){"omgusdt@kline_5m": func(on bool) { relay = append(relay, on) }}
		p := connect(t, listen, "/ws/omgusdt@kline_1m/OMGUSDT@kline_1m/omgusdt_perpetual@continuousKline_1m/omgusdt@aggTrade/omgusdt@miniTicker/omgusdt@kline_5m/omgusdt@depth")
		left := connect(t, listen, "/ws/omgusdt@kline_1m")
		left.ask(`{"method":"UNSUBSCRIBE","params":["omgusdt@kline_1m"],"id":1}`)
		other := connect(t, listen, "/stream?streams=newusdt@kline_1m/omgusdt@aggTrade")
		left.texts()
		w.Deliver("omgusdt@kline_5m", []byte(`{"relayed":1}`))
		w.Publish(relayed(ended, `{"a":1}`))
		differ(t, "before", p.texts(), []string{`{"relayed":1}`})

		carry()
		carry() // once
		open := at("10:00:00")
		w.Publish(&market.Changes{Updates: []market.Update{
			{Series: minutes(ended), Kline: kline(open, "1.50", market.StateClosed)},
			{Series: market.Series{Symbol: ended, Interval: interval("5m")}, Kline: kline(open, "1.50", market.StateClosed)}}})
		w.Publish(relayed(ended, `{"a":2}`))
		w.PublishTickers(&market.Batch{Tickers: []market.Ticker{{SymbolID: ended}}, Rows: [][]byte{[]byte(`{"row":1}`)}})
		w.Deliver("omgusdt@kline_5m", []byte(`{"relayed":2}`))
		var kinds []string
		for _, text := range p.texts() {
			switch {
			case strings.Contains(text, `"e":"kline"`) && strings.Contains(text, `"i":"1m"`) && strings.Contains(text, `"x":true`):
				text = "1m"
			case strings.Contains(text, `"e":"kline"`) && strings.Contains(text, `"i":"5m"`):
				text = "5m"
			case strings.Contains(text, `"e":"continuous_kline"`):
				text = "continuous"
			}
			kinds = append(kinds, text)
		}
		slices.Sort(kinds)
		differ(t, "after", kinds, []string{"1m", "5m", "continuous", `{"a":2}`, `{"row":1}`})
		differ(t, "another", other.texts(), []string{`{"stream":"omgusdt@aggTrade","data":{"a":2}}`})
		differ(t, "one that has left", left.texts(), nil)
		differ(t, "the feed", *heard, []string{"2 true"})
		if fmt.Sprint(relay) != "[true false]" {
			t.Errorf("the relay was told %v", relay)
		}
		if got := p.ask(`{"method":"LIST_SUBSCRIPTIONS","id":2}`); strings.Count(got, "@") != 7 {
			t.Error(got)
		}
		_, _ = p.conn.Close(), other.conn.Close()
		synctest.Wait()
		differ(t, "the feed, in the end", *heard, []string{"2 true", "2 false"})
		if n := len(w.hub.later); n != 0 {
			t.Errorf("%d subscriptions wait", n)
		}
	})
}

// TestEndedSymbol: the klines of a symbol that the exchange has ended are the store's, and behind them the exchange's own; where
// it does not know it any more, the store's alone. It is found by its name, and in no list.
func TestEndedSymbol(t *testing.T) {
	now := at("10:05:30")
	series := minutes(ended)
	for _, c := range []struct {
		name     string
		exchange error // what it answers for the symbol
		rows     int
		fails    bool
	}{
		{"the exchange has flat ones", nil, 6, false},
		{"the exchange has forgotten it", fmt.Errorf("GET: %w", market.ErrNotListed), 3, false},
		{"the exchange does not answer", errors.New("down"), 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, fixedClock(now))
			w.opt.Carries = func(market.SymbolID) bool { return true }
			w.opt.Ended = func(id market.SymbolID) bool { return id == ended }
			w.store.rows[series] = run(market.OneMinute, at("10:00:00"), at("10:03:00"), market.StateSettled)
			w.store.known[series] = []market.Span{{From: 0, To: at("10:03:00")}}
			w.fetch = func(series market.Series, span market.Span) error {
				if c.exchange == nil {
					w.store.rows[series] = append(w.store.rows[series], run(market.OneMinute, span.From, span.To, market.StateSettled)...)
					w.store.known[series] = []market.Span{{From: 0, To: span.To}}
				}
				return c.exchange
			}
			w.upstream = func(market.Series, market.Span, int) ([]market.Kline, error) {
				return run(market.OneMinute, at("10:05:00"), at("10:06:00"), market.StateOpen), c.exchange
			}
			rec := w.get(fmt.Sprintf("/fapi/v1/klines?symbol=OMGUSDT&interval=1m&startTime=%d", at("10:00:00")))
			if got := strings.Count(rec.Body.String(), "],[") + 1; (rec.Code != 200) != c.fails || !c.fails && got != c.rows {
				t.Errorf("%d: %s", rec.Code, rec.Body)
			}
			rec = w.get(fmt.Sprintf("/fapi/v1/klines?symbol=OMGUSDT&interval=1m&endTime=%d", at("10:02:30")))
			if got := strings.Count(rec.Body.String(), "],[") + 1; rec.Code != 200 || got != 3 {
				t.Errorf("up to its end: %d: %s", rec.Code, rec.Body)
			}
			last := w.get("/fapi/v1/klines?symbol=OMGUSDT&interval=1m&limit=2").Body.String()
			if want := fmt.Sprintf("[[%d,", at("10:01:00")); errors.Is(c.exchange, market.ErrNotListed) && (!strings.HasPrefix(last, want) || strings.Count(last, "],[") != 1) {
				t.Errorf("the last ones: %s", last)
			}
			var h struct{ T []int64 }
			w.udf(t, fmt.Sprintf("history?symbol=OMGUSDT&resolution=1&to=%d&countback=2", now/1000), &h)
			if want := []int64{int64(at("10:01:00") / 1000), int64(at("10:02:00") / 1000)}; errors.Is(c.exchange, market.ErrNotListed) && !slices.Equal(h.T, want) {
				t.Errorf("the last ones, in UDF: %v", h.T)
			}
			if body := w.get("/udf/search?query=OMG").Body.String(); body != "[]" {
				t.Errorf("found: %s", body)
			}
			if body := w.get("/udf/symbols?symbol=OMGUSDT").Body.String(); !strings.Contains(body, `"OMGUSDT"`) {
				t.Errorf("not resolved: %s", body)
			}
			if body := w.get("/").Body.String(); strings.Contains(body, "OMGUSDT") || !strings.Contains(body, "BTCUSDT") {
				t.Error("the page lists it")
			}
		})
	}
}

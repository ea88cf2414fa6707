package sim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuotes: what is told besides trades and klines comes on its own path, at its own pace, well-formed, and from the market that
// there is; elsewhere it is silent.
func TestQuotes(t *testing.T) {
	served(t, Options{Symbols: 3, Rate: 300, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		public := v.dial("/public/stream?streams=btcusdt@bookTicker/!bookTicker/btcusdt@markPrice/btcusdt@ticker")
		market := v.dial("/market/stream?streams=btcusdt@markPrice/btcusdt@markPrice@1s/!markPrice@arr/!markPrice@arr@1s/btcusdt@ticker/" +
			"btcusdt@bookTicker/!bookTicker/BTCUSDT@ticker/btcusdt@markPrice@3s/nosuch@ticker/!ticker@bar")
		time.Sleep(12 * time.Second)
		synctest.Wait()
		count := make(map[string]int)
		for _, frame := range append(public.taken(), market.taken()...) {
			var f struct {
				Stream string
				Data   json.RawMessage
			}
			if err := json.Unmarshal([]byte(frame), &f); err != nil {
				t.Fatal(frame, err)
			}
			count[f.Stream]++
			if !strings.HasSuffix(f.Stream, "@arr") && !strings.HasSuffix(f.Stream, "@arr@1s") {
				var event map[string]any
				if err := json.Unmarshal(f.Data, &event); err != nil || event["e"] == "" || !strings.HasPrefix(f.Stream, "!") && event["s"] != "BTCUSDT" {
					t.Fatal(frame, err)
				}
				continue
			}
			var events []map[string]any
			if err := json.Unmarshal(f.Data, &events); err != nil || len(events) < 3 {
				t.Fatal(frame, err)
			}
		}
		for stream, n := range map[string]int{"btcusdt@markPrice": 4, "btcusdt@markPrice@1s": 12, "!markPrice@arr": 4, "!markPrice@arr@1s": 12, "btcusdt@ticker": 6} {
			if got := count[stream]; got < n-1 || got > n+1 {
				t.Errorf("%s: %d frames in 12 seconds, want %d", stream, got, n)
			}
			delete(count, stream)
		}
		if own, all := count["btcusdt@bookTicker"], count["!bookTicker"]; own < 50 || all <= own {
			t.Errorf("%d of BTCUSDT, %d of all", own, all)
		}
		if len(count) != 2 {
			t.Errorf("heard %v", slices.Collect(maps.Keys(count)))
		}
		_ = public.conn.Close()
		_ = market.conn.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.streams.timed != 0 || e.streams.quotes != (quoteStreams{}) || len(e.streams.live) != 0 {
			t.Errorf("left: %d, %+v", e.streams.timed, e.streams.quotes)
		}
	})
}

// TestTickersOfAFall: changes may be negative.
func TestTickersOfAFall(t *testing.T) {
	e := newExchange(t, quiet())
	s := e.byName["BTCUSDT"]
	d := s.dayTicker(row{o: 2000, h: 2000, l: 1000, c: 1001, volume: 10, quote: 15_050, first: 1, last: 2, count: 2}, at)
	text := string(s.appendDayTicker(nil, &d, at))
	var event map[string]any
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		t.Fatal(text, err)
	}
	for key, want := range map[string]string{"p": "-99.90", "P": "-49.950", "w": "150.50", "q": "1.51", "v": "0.010", "o": "200.00"} {
		if event[key] != want {
			t.Errorf("%s: %v, want %s: %s", key, event[key], want, text)
		}
	}
}

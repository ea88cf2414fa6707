package serve

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFacts: what is delivered to a stream goes to those who subscribe to it, bare or wrapped, every frame of it, while
// somebody does.
func TestFacts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		var heard []string
		w.facts = make(map[string]func(bool))
		for _, name := range []string{"btcusdt@aggTrade", "币安人生usdt@aggTrade", `a"b@depth`} {
			w.facts[name] = func(on bool) { heard = append(heard, fmt.Sprint(name, on)) }
		}
		w.Deliver("btcusdt@aggTrade", []byte(`{"a":0}`)) // to nobody
		bare := connect(t, listen, "/ws/btcusdt@aggTrade")
		wrapped := connect(t, listen, "/stream?streams=btcusdt@aggTrade/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@aggTrade/a%22b@depth")
		payload := []byte(`{"a":1}`)
		w.Deliver("btcusdt@aggTrade", payload)
		copy(payload, `{"a":2}`)
		w.Deliver("btcusdt@aggTrade", payload)
		w.Deliver("币安人生usdt@aggTrade", []byte(`{"a":3}`))
		w.Deliver(`a"b@depth`, []byte(`{}`))
		if diff := cmp.Diff([]string{`{"a":1}`, `{"a":2}`}, bare.texts()); diff != "" {
			t.Errorf("bare (-want +got):\n%s", diff)
		}
		want := []string{`{"stream":"btcusdt@aggTrade","data":{"a":1}}`, `{"stream":"btcusdt@aggTrade","data":{"a":2}}`, `{"stream":"币安人生usdt@aggTrade","data":{"a":3}}`}
		if diff := cmp.Diff(want, wrapped.texts()); diff != "" {
			t.Errorf("wrapped (-want +got):\n%s", diff)
		}
		bare.ask(`{"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}`)
		_ = wrapped.conn.Close()
		synctest.Wait()
		wantHeard := []string{"btcusdt@aggTradetrue", "币安人生usdt@aggTradetrue", "btcusdt@aggTradefalse", "币安人生usdt@aggTradefalse"}
		if diff := cmp.Diff(wantHeard, heard); diff != "" {
			t.Errorf("watched (-want +got):\n%s", diff)
		}
		if len(w.hub.facts) != 0 {
			t.Errorf("remembers %d streams that nobody takes", len(w.hub.facts))
		}
	})
}

// TestFactsNeverSkip: a client that reads late gets every fact, in order; one for whom too many wait is closed, and the
// other gets them all the same.
func TestFactsNeverSkip(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.facts = map[string]func(bool){"btcusdt@aggTrade": func(bool) {}}
		late, reads := connect(t, listen, "/ws/btcusdt@aggTrade"), connect(t, listen, "/ws/btcusdt@aggTrade")
		late.hold(true)
		payload := func(i int) string { return fmt.Sprintf(`{"a":%d,"fill":"%s"}`, i, strings.Repeat("x", 8000)) }
		const fit = clientQueued / 9000
		for i := range fit {
			w.Deliver("btcusdt@aggTrade", []byte(payload(i)))
			synctest.Wait()
		}
		late.hold(false)
		for who, p := range map[string]*peer{"late": late, "reads": reads} {
			got := p.texts()
			for i := range fit {
				if len(got) != fit || got[i] != payload(i) {
					t.Fatalf("%s: %d of %d facts, or in another order", who, len(got), fit)
				}
			}
		}
		late.hold(true)
		for i := range 2 * fit {
			w.Deliver("btcusdt@aggTrade", []byte(payload(i)))
			synctest.Wait()
		}
		time.Sleep(time.Second)
		late.hold(false)
		if got := late.ended(); got != "1008 slow client" {
			t.Errorf("ended with %q", got)
		}
		if got := len(reads.texts()); got != 2*fit || reads.ended() != "" {
			t.Errorf("the other one got %d of %d, ended with %q", got, 2*fit, reads.ended())
		}
	})
}

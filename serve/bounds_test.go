package serve

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/gobwas/ws"
)

// TestTooManyClients: there is room for so many; one more is refused, until one has left.
func TestTooManyClients(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.hub.maxClients = 2
		first, second := connect(t, listen, "/ws"), connect(t, listen, "/stream")
		_, _, _, err := ws.Dialer{NetDial: listen.dial}.Dial(t.Context(), "ws://klined/ws")
		if status, refused := err.(ws.StatusError); !refused || int(status) != http.StatusServiceUnavailable {
			t.Errorf("one too many: %v", err)
		}
		if got := w.get("/metrics").Body.String(); !strings.Contains(got, "klined_ws_refused_total 1\n") {
			t.Error("it is not counted")
		}
		_ = first.conn.Close()
		synctest.Wait()
		third := connect(t, listen, "/ws")
		for _, p := range []*peer{second, third} {
			if got := p.ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`); got != `{"result":[],"id":1}` {
				t.Error(got)
			}
		}
	})
}

// TestTooManySubscriptions: one client that takes all that may be shared leaves each other its own; what it gives back is there
// again.
func TestTooManySubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.hub.maxStreams = 100
		greedy, other := connect(t, listen, "/ws"), connect(t, listen, "/ws")
		const done, full = `{"result":null,"id":7}`, `{"error":{"code":4,"msg":"Too many subscriptions of all clients together"},"id":7}`
		for _, step := range []struct {
			p    *peer
			send []byte
			want string
		}{
			{greedy, many(100 + ownStreams), done},
			{other, many(ownStreams + 1), full},
			{other, many(ownStreams), done},
			{other, many(ownStreams + 1), full},
			{greedy, []byte(`{"method":"UNSUBSCRIBE","params":["symbol0usdt@continuousKline_15m"],"id":7}`), done},
			{other, many(ownStreams + 1), done},
			{greedy, many(100 + ownStreams), full},
		} {
			if got := step.p.ask(string(step.send)); got != step.want {
				t.Errorf("%.60s…: %s, want %s", step.send, got, step.want)
			}
		}
		_, _ = greedy.conn.Close(), other.conn.Close()
		synctest.Wait()
		if n := w.hub.subscriptions.Load(); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestNamesAreShared: all who take a stream share its name, and nobody keeps the message that it came in.
func TestNamesAreShared(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.facts = map[string]func(bool){"btcusdt@depth": func(bool) {}}
		const names = "btcusdt@kline_1m/btcusdt_perpetual@continuousKline_1m/btcusdt@depth/btcusdt@miniTicker"
		connect(t, listen, "/ws/"+names)
		connect(t, listen, "/stream?streams="+names)
		synctest.Wait()
		at := make(map[string]*byte)
		for c := range w.hub.clients {
			for _, s := range c.subs {
				if known := at[s.name]; known != nil && known != unsafe.StringData(s.name) {
					t.Errorf("%s: not shared", s.name)
				}
				at[s.name] = unsafe.StringData(s.name)
			}
		}
		if len(at) != 4 {
			t.Errorf("%d names", len(at))
		}
	})
}

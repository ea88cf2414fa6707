package serve

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// TestPrivatePath: who opens the path of user data beside the others has a connection like any other; who names a listen key
// on it is told that it is not here.
func TestPrivatePath(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		var peers []*peer
		for _, path := range []string{"/private/ws", "/private/stream", "/private/stream?streams="} {
			p := connect(t, listen, path)
			if got := p.ask(`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`); got != `{"result":null,"id":1}` {
				t.Errorf("%s: %s", path, got)
			}
			peers = append(peers, p)
		}
		for _, name := range []string{"LISTENKEY", "LISTENKEY@ORDER_TRADE_UPDATE"} {
			const want = `{"error":{"code":2,"msg":"User data streams are the exchange's alone: connect to it for them."},"id":2}`
			if got := peers[0].ask(`{"method":"SUBSCRIBE","params":["!miniTicker@arr","` + name + `"],"id":2}`); got != want {
				t.Errorf("%s: %s", name, got)
			}
		}
		if got := peers[0].ask(`{"method":"LIST_SUBSCRIPTIONS","id":3}`); got != `{"result":["btcusdt@kline_1m"],"id":3}` {
			t.Error(got)
		}
		w.publish(minutes(btc), open(0, "1"))
		for i, p := range peers {
			if texts := p.texts(); len(texts) != 1 || strings.HasPrefix(texts[0], `{"stream"`) != (i > 0) {
				t.Errorf("%d: %v", i, texts)
			}
		}
		for _, path := range []string{"/private/ws/LISTENKEY", "/private/stream?streams=LISTENKEY", "/private/ws?listenKey=LISTENKEY"} {
			_, _, _, err := ws.Dialer{NetDial: listen.dial}.Dial(t.Context(), "ws://klined"+path)
			if status, refused := err.(ws.StatusError); !refused || int(status) != http.StatusNotFound {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

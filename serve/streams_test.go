package serve

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestHandshakes: what is a handshake is taken, whatever it offers beside; what is none gets a status that says so.
func TestHandshakes(t *testing.T) {
	const key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	all := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", key}
	with := func(header ...string) []string { return slices.Concat(all, header) }
	without := func(header string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(h string) bool { return h == header })
	}
	for _, c := range []struct {
		name, begins string
		headers      []string
		want         int
	}{
		{"whole", "GET /ws HTTP/1.1", all, 101},
		{"an address with its host", "GET http://klined/market/ws HTTP/1.1", all, 101},
		{"a name as it is, not escaped", "GET /ws/币安人生usdt@kline_1m HTTP/1.1", all, 101},
		{"in other cases", "GET /stream HTTP/1.1", []string{"connection: keep-alive, upgrade", "UPGRADE: WebSocket", all[2], key}, 101},
		{"compression is offered", "GET /ws HTTP/1.1", with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101},
		{"other protocols are offered", "GET /ws HTTP/1.1", with("Sec-WebSocket-Protocol: a, b"), 101},
		{"a page of another site", "GET /ws HTTP/1.1", with("Origin: https://elsewhere.example"), 101},
		{"no handshake", "GET /ws HTTP/1.1", nil, 426},
		{"no Upgrade, as from a proxy that drops it", "GET /stream?streams=a@x HTTP/1.1", without(all[1]), 426},
		{"no Connection", "GET /ws HTTP/1.1", without(all[0]), 400},
		{"no version", "GET /ws HTTP/1.1", without(all[2]), 400},
		{"another version", "GET /ws HTTP/1.1", []string{all[0], all[1], "Sec-WebSocket-Version: 8", key}, 426},
		{"no key", "GET /ws HTTP/1.1", without(key), 400},
		{"a key too short", "GET /ws HTTP/1.1", []string{all[0], all[1], all[2], "Sec-WebSocket-Key: AAA="}, 400},
		{"HTTP/1.0", "GET /ws HTTP/1.0", all, 505},
		{"POST", "POST /ws HTTP/1.1", with("Content-Length: 0"), 405},
		{"bad escape", "GET /ws/%zz HTTP/1.1", all, 400},
		{"another path", "GET /market HTTP/1.1", all, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				conn, _ := listen.dial(t.Context(), "", "")
				defer conn.Close()
				go func() {
					_, _ = fmt.Fprintf(conn, "%s\r\nHost: klined\r\n%s\r\n\r\n", c.begins, strings.Join(append(c.headers, "X: y"), "\r\n"))
				}()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != c.want {
					t.Errorf("%d, want %d", resp.StatusCode, c.want)
				}
				// What is not said is not agreed upon; who may come back by another protocol is told by which.
				h := resp.Header
				if said := h.Get("Sec-WebSocket-Extensions") + h.Get("Sec-WebSocket-Protocol"); said != "" {
					t.Errorf("agreed upon %s", said)
				}
				if again := h.Get("Sec-WebSocket-Version") + h.Get("Upgrade"); c.want == 426 && again == "" || h.Get("Upgrade") != "" && h.Get("Connection") != "Upgrade" {
					t.Errorf("headers %v", h)
				}
				synctest.Wait()
				if n := w.hub.admitted.Load(); n != 0 && c.want != 101 {
					t.Errorf("%d are counted as clients", n)
				}
			})
		})
	}
}

// TestOpenHeader: what is no stream is answered as all else is: readable by every page, and dated by the exchange's time.
func TestOpenHeader(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:02:30")))
	w.gate = newGate(testToken)
	for url, status := range map[string]int{"/ws": 426, "/ws?revisions=2": 400, "/final=1/stream": 400, "/nothing": 404, "/healthz": 200} {
		show := []string{"Authorization", "Bearer " + testToken}
		if url == "/healthz" {
			show = nil
		}
		rec := w.ask("GET", "http://klined"+url, local, show...)
		h := rec.Header()
		if rec.Code != status || h.Get("Date") != "Mon, 04 Jan 2027 12:02:30 GMT" || h.Get("Access-Control-Allow-Origin") != "*" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", url, rec.Code, h)
		}
	}
}

// TestBaseAddresses: klined's own parameters reach it through each of the usual clients, which know a base address and nothing of
// them. What a client makes of its base is its own source's.
func TestBaseAddresses(t *testing.T) {
	const kline, both = "btcusdt@kline_1m", "/final=settled&revisions=1"
	for _, c := range []struct {
		client, address    string
		revisions, settled bool
		names              []string
	}{
		{"ccxt, urls.api.ws.future = …/final=settled/ws", "/final=settled/market/ws/0", false, true, []string{"0"}},
		{"binance, wsUrl = …/final=settled", "/final=settled/market/stream", false, true, nil},
		{"binance before routes", "/final=settled/stream", false, true, nil},
		{"the exchange's, wsURL = …/final=settled", "/final=settled/market/stream?streams=" + kline, false, true, []string{kline}},
		{"the exchange's, with a slash", "/final=settled//market/stream?streams=" + kline, false, true, []string{kline}},
		{"go-binance, BaseWsMainUrl = …/market/ws", both + "/market/ws/" + kline, true, true, []string{kline}},
		{"go-binance, BaseCombinedMainURL = …/market/stream?streams=", both + "/market/stream?streams=" + kline + "/a@b", true, true, []string{kline, "a@b"}},
		{"escaped", "/final%3Dsettled%26revisions%3D1/ws", true, true, nil},
		{"revisions alone", "/revisions=1/ws", true, false, nil},
		{"nothing of that", "/market/ws/" + kline, false, false, []string{kline}},
		{"front and query", "/revisions=1/ws?final=settled", true, true, nil},
		{"both say it, the front first", "/final=closed/ws?final=settled", false, false, nil},
	} {
		u, err := url.ParseRequestURI(c.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := streamsAt(u.Path); !ok {
			t.Errorf("%s: %s leads to no streams", c.client, c.address)
		}
		got, refused := wantedBy(u)
		if refused != nil || got.revisions != c.revisions || got.settled != c.settled || !slices.Equal(got.names, c.names) {
			t.Errorf("%s: %s: %+v, %v", c.client, c.address, got, refused)
		}
	}
}

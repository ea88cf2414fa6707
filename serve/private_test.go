package serve

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

var listenKey = strings.Repeat("pqia91ma19a5s61cv6a81va65sdf19v8", 2)

// refusedHandshake is the status of a handshake that is refused, and its text; 101 where it is not.
func refusedHandshake(t *testing.T, listen *pipes, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: listen.dial, DisableKeepAlives: true}}
	req, _ := http.NewRequest(http.MethodGet, "http://klined"+path, nil)
	for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.StatusCode, ""
	}
	return resp.StatusCode, read(t, resp)
}

// TestPrivatePath: who opens the path of user data beside the others has a connection like any other.
func TestPrivatePath(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		var peers []*peer
		for _, path := range []string{"/private/ws", "/private/ws/", "/private/stream", "/private/stream?streams="} {
			p := connect(t, listen, path)
			if got := p.ask(`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`); got != `{"result":null,"id":1}` {
				t.Errorf("%s: %s", path, got)
			}
			peers = append(peers, p)
		}
		for _, path := range []string{"/private/ws/btcusdt@kline_1m/!miniTicker@arr", "//private//ws/btcusdt@kline_1m/", "/private/stream?streams=btcusdt@kline_1m", "/private/stream/?streams=btcusdt@kline_1m"} {
			peers = append(peers, connect(t, listen, path))
		}
		w.publish(minutes(btc), open(0, "1"))
		for i, p := range peers {
			if texts := p.texts(); len(texts) != 1 || strings.HasPrefix(texts[0], `{"stream"`) != (i%4 > 1) {
				t.Errorf("%d: %v", i, texts)
			}
		}
	})
}

// TestListenKeys: who names a listen key is told, on every path, that user data is not here.
func TestListenKeys(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		for _, path := range []string{"", "/market", "/public", "/private"} {
			for _, address := range []string{"/ws/" + listenKey, "/ws/btcusdt@kline_1m/" + listenKey, "/ws/" + listenKey + "@ORDER_TRADE_UPDATE", "/stream?streams=" + listenKey, "/ws?listenKey=" + listenKey + "&events=ORDER_TRADE_UPDATE", "/stream?listenKey=LISTENKEY"} {
				const want = `{"code":-5000,"msg":"User data streams are the exchange's alone: connect to it for them."}`
				if status, body := refusedHandshake(t, listen, path+address); status != http.StatusNotFound || body != want {
					t.Errorf("%s: %d %s", path+address, status, body)
				}
			}
			names := []string{listenKey, listenKey + "@ORDER_TRADE_UPDATE"}
			if path == "/private" {
				names = append(names, "LISTENKEY", "LISTENKEY@ORDER_TRADE_UPDATE")
			}
			p := connect(t, listen, path+"/ws/btcusdt@kline_1m")
			for _, name := range names {
				const want = `{"error":{"code":2,"msg":"Invalid request: User data streams are the exchange's alone: connect to it for them."},"id":2}`
				if got := p.ask(`{"method":"SUBSCRIBE","params":["!miniTicker@arr","` + name + `"],"id":2}`); got != want {
					t.Errorf("%s: %s", name, got)
				}
			}
			if got := p.ask(`{"method":"LIST_SUBSCRIPTIONS","id":3}`); got != `{"result":["btcusdt@kline_1m"],"id":3}` {
				t.Error(got)
			}
		}
		// What is a name of nothing stays one.
		for _, name := range []string{listenKey[1:], listenKey + "0", listenKey[1:] + "-", listenKey + "@kline_1m", listenKey + "@"} {
			if got := connect(t, listen, "/ws/"+name).ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`); got != `{"result":["`+name+`"],"id":1}` {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
}

// TestUnknownValues: what klined's own parameters of an address do not know is refused, and says so.
func TestUnknownValues(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		for query, want := range map[string]string{
			"final=nope":                `Data sent for parameter 'final' is not valid: "nope" is neither closed nor settled.`,
			"revisions=1&final=Settled": `Data sent for parameter 'final' is not valid: "Settled" is neither closed nor settled.`,
			"final=closed&final=1":      `Data sent for parameter 'final' is not valid: "1" is neither closed nor settled.`,
			"revisions=true":            `Data sent for parameter 'revisions' is not valid: "true" is neither 0 nor 1.`,
			"revisions=2":               `Data sent for parameter 'revisions' is not valid: "2" is neither 0 nor 1.`,
		} {
			for _, address := range []string{"/ws/btcusdt@kline_1m?" + query, "/private/stream?streams=btcusdt@kline_1m&" + query, "/" + query + "/market/ws/0"} {
				text, _ := json.Marshal(want)
				if status, body := refusedHandshake(t, listen, address); status != http.StatusBadRequest || body != `{"code":-1130,"msg":`+string(text)+`}` {
					t.Errorf("%s: %d %s", address, status, body)
				}
			}
		}
		const finale = `{"code":-5000,"msg":"Path /finale=settled/ws is invalid: \"finale\" is neither final nor revisions."}`
		if status, body := refusedHandshake(t, listen, "/finale=settled/ws"); status != http.StatusNotFound || body != finale {
			t.Errorf("%d %s", status, body)
		}
		for _, query := range []string{"final=closed&revisions=0", "final=settled&revisions=1", "final=&revisions"} {
			connect(t, listen, "/ws/btcusdt@kline_1m?"+query)
		}
	})
}

package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// quiet is a market of few trades, for tests of what is not about them.
func quiet() Options { return Options{Symbols: 2, Rate: 1, Seed: 3} }

func TestControlMessages(t *testing.T) {
	variant := "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"
	tests := []struct {
		send, want string
		ends       bool
	}{
		{`{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","nosuch@aggTrade"],"id":1}`, `{"result":null,"id":1}`, false},
		{`{"method":"SUBSCRIBE","params":["BTCUSDT@aggTrade","btcusdt@depth"],"id":2}`, `{"result":null,"id":2}`, false},
		{`{"method":"LIST_SUBSCRIPTIONS","id":3}`, `{"result":["btcusdt@aggTrade","nosuch@aggTrade","BTCUSDT@aggTrade","btcusdt@depth"],"id":3}`, false},
		{`{"method":"UNSUBSCRIBE","params":["btcusdt@depth","never@aggTrade"],"id":312}`, `{"result":null,"id":312}`, false},
		{`{"id":4,"method":"LIST_SUBSCRIPTIONS"}`, `{"result":["btcusdt@aggTrade","nosuch@aggTrade","BTCUSDT@aggTrade"],"id":4}`, false},
		{`{"method":"GET_PROPERTY","params":["combined"],"id":5}`, `{"result":false,"id":5}`, false},
		{`{"method":"SET_PROPERTY","params":["combined",true],"id":6}`, `{"result":null,"id":6}`, false},
		{`{"method":"GET_PROPERTY","params":["combined"],"id":7}`, `{"result":true,"id":7}`, false},
		{`{"method":"GET_PROPERTY","params":["nonesuch"],"id":8}`, `{"error":{"code":0,"msg":"Unknown property"},"id":8}`, false},
		{`{"method":"SET_PROPERTY","params":["combined","yes"],"id":9}`, `{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":9}`, false},
		{`{"method":"SET_PROPERTY","params":["combined"],"id":10}`, `{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":10}`, false},
		{`{"method":"GET_PROPERTY","params":[5],"id":11}`, `{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":11}`, true},
		{`{"method":"GET_PROPERTY","params":["combined",1],"id":12}`, `{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":12}`, true},
		{`{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":"e0190da38f13ab8d353c5e3a7d5c1ed5"}`, `{"result":null,"id":"e0190da38f13ab8d353c5e3a7d5c1ed5"}`, false},
		{`{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":"e0190da38f13ab8d353c5e3a7d5c1ed5 and more"}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`, true},
		{`{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":-1}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`, true},
		{`{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"]}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`, true},
		{`{"method":"SUBSCRIBE","params":[7],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: params must be an array of stream names"},"id":1}`, true},
		{`{"method":"SUBSCRIBE","id":1}`, `{"error":{"code":2,"msg":"Invalid request: params must be an array of stream names"},"id":1}`, true},
		{`{"method":"LIST_SUBSCRIPTIONS","params":[1],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}`, true},
		{`{"method":"SUBSCRIBER","params":["btcusdt@aggTrade"],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: unknown variant ` + "`SUBSCRIBER`, " + variant + ` at line 1 column 22"},"id":1}`, true},
		{`{"method":"method","id":1}`, `{"error":{"code":2,"msg":"Invalid request: unknown variant ` + "`method`, " + variant + ` at line 1 column 18"},"id":1}`, true},
		{`{"id":null,"method":null}`, `{"error":{"code":2,"msg":"Invalid request: unknown variant ` + "`null`, " + variant + ` at line 1 column 24"}}`, true},
		{`{"params":["btcusdt@aggTrade"],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: missing field ` + "`method`" + ` at line 1 column 38"},"id":1}`, true},
		{`{"method":`, `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 10"}}`, true},
		{`subscribe`, `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}`, true},
	}
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws")
		for _, test := range tests {
			time.Sleep(time.Second)
			s.send(test.send)
			got := <-s.frames
			for !strings.Contains(got, `"result"`) && !strings.Contains(got, `"error"`) {
				got = <-s.frames
			}
			same(t, test.send, got, test.want)
			if test.ends {
				<-s.over
				same(t, test.send, fmt.Sprint(s.code, s.reason), "1008Invalid request")
				s = v.dial("/market/ws")
			}
		}
	})
}

func TestStreamLimit(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws")
		names := make([]string, 1024)
		for i := range names {
			names[i] = fmt.Sprintf("x%dusdt@aggTrade", i)
		}
		s.subscribe(names...)
		s.subscribe(names[0], names[7])
		s.send(`{"method":"SUBSCRIBE","params":["one@more"],"id":2}`)
		same(t, "answer", <-s.frames, `{"error":{"code":4,"msg":"Too many subscriptions"}}`)
		<-s.over
		same(t, "close", fmt.Sprint(s.code, s.reason), "1008Invalid request")

		s = v.dial("/market/stream?streams=" + strings.Join(append(names, "one@more"), "/"))
		same(t, "answer", <-s.frames, `{"error":{"code":4,"msg":"Too many subscriptions"}}`)
		<-s.over
	})
}

func TestMessageLimit(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws")
		for i := range 40 {
			s.send(fmt.Sprintf(`{"method":"LIST_SUBSCRIPTIONS","id":%d}`, i))
		}
		<-s.over
		same(t, "answers", len(s.taken()), 15)
		same(t, "close", fmt.Sprint(s.code, s.reason), "1008Too many requests")

		s = v.dial("/market/ws")
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			s.send(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)
		}
		synctest.Wait()
		same(t, "answers", len(s.taken()), 100)
	})
}

func TestPings(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		s, mute := v.dial("/ws"), v.dial("/ws")
		mute.mute.Store(true)
		time.Sleep(181 * time.Second)
		ms, err := strconv.ParseInt(<-s.pings, 10, 64)
		if err != nil || market.Time(ms) != e.Now()-market.Second {
			t.Errorf("ping %d at %d: %v", ms, e.Now(), err)
		}
		_ = ws.WriteFrame(s.conn, ws.MaskFrame(ws.NewPingFrame([]byte("hello"))))
		same(t, "answer", <-s.frames, "pong hello")
		for range 10 { // a ping is no pong
			_ = ws.WriteFrame(mute.conn, ws.MaskFrame(ws.NewPingFrame(nil)))
			time.Sleep(time.Minute)
		}
		<-mute.over
		select {
		case <-s.over:
			t.Error("a connection that answers was dropped")
		default:
		}
		time.Sleep(24*time.Hour - 14*time.Minute)
		select {
		case <-s.over:
			t.Error("a connection ended before its 24 hours")
		default:
		}
		time.Sleep(3 * time.Minute)
		<-s.over
	})
}

// TestBadFrames: frames that no client may send end the connection.
func TestBadFrames(t *testing.T) {
	fragment := ws.NewFrame(ws.OpText, false, []byte("{"))
	for name, frames := range map[string][]ws.Frame{
		"reserved op code":        {ws.NewFrame(0x3, true, nil)},
		"long ping":               {ws.NewPingFrame(make([]byte, 126))},
		"ping in fragments":       {ws.NewFrame(ws.OpPing, false, nil)},
		"continuation of nothing": {ws.NewFrame(ws.OpContinuation, true, nil)},
		"two messages in one":     {fragment, fragment},
		"not UTF-8":               {ws.NewTextFrame([]byte{0xff})},
	} {
		served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
			s := v.dial("/ws")
			for _, f := range frames {
				_ = ws.WriteFrame(s.conn, ws.MaskFrame(f))
			}
			synctest.Wait()
			select {
			case <-s.over:
			default:
				t.Errorf("%s: the connection goes on", name)
			}
		})
	}
}

// TestDelivery holds who hears a stream: only path, case and name that are right.
func TestDelivery(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 400, Seed: 3}
	tests := []struct {
		path, name string
		want       string // the beginning of a frame, or nothing
	}{
		{"/market/ws/", "btcusdt@aggTrade", `{"e":"aggTrade","E":`},
		{"/market/stream?streams=", "btcusdt@aggTrade", `{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade",`},
		{"/ws/", "btcusdt@aggTrade", ""},
		{"/public/ws/", "btcusdt@aggTrade", ""},
		{"/private/ws/", "btcusdt@aggTrade", ""},
		{"/market/ws/", "BTCUSDT@aggTrade", ""},
		{"/market/ws/", "btcusdt@aggtrade", ""},
		{"/market/ws/", "nosuchusdt@aggTrade", ""},
		{"/public/ws/", "btcusdt@trade", `{"e":"trade","E":`},
		{"/stream?streams=", "btcusdt@trade", `{"stream":"btcusdt@trade","data":{"e":"trade"`},
		{"/market/ws/", "btcusdt@trade", ""},
		{"/market/ws/", "btcusdt@kline_1m", `{"e":"kline","E":`},
		{"/market/ws/", "btcusdt@kline_1M", `{"e":"kline","E":`},
		{"/market/ws/", "btcusdt@kline_1s", ""},
		{"/market/ws/", "btcusdt_perpetual@continuousKline_3d", `{"e":"continuous_kline","E":`},
		{"/market/ws/", "xauusdt_tradifi_perpetual@continuousKline_1h", `{"e":"continuous_kline","E":`},
		{"/market/ws/", "xauusdt_perpetual@continuousKline_1h", ""},
		{"/market/ws/", "btcusdt@miniTicker", `{"e":"24hrMiniTicker","E":`},
		{"/market/ws/", "!miniTicker@arr", `[{"e":"24hrMiniTicker","E":`},
		{"/market/stream?streams=", "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@aggTrade", `{"stream":"币安人生usdt@aggTrade","data":{"e":"aggTrade",`},
		{"/market/ws/", "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@aggTrade", `{"e":"aggTrade","E":`},
		{"/market/ws/", "1000pepeusdt@aggTrade", `{"e":"aggTrade","E":`},
	}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		sockets := make([]*socket, len(tests))
		for i, test := range tests {
			sockets[i] = v.dial(test.path + test.name)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for i, test := range tests {
			frames := sockets[i].taken()
			if test.want == "" {
				same(t, test.path+test.name+": frames", len(frames), 0)
				continue
			}
			if len(frames) == 0 || !strings.HasPrefix(frames[0], test.want) {
				t.Errorf("%s%s: %.1q", test.path, test.name, frames)
			}
			for _, f := range frames {
				if !json.Valid([]byte(f)) {
					t.Errorf("%s%s: not JSON: %s", test.path, test.name, f)
				}
			}
		}
	})
}

// decode reads a JSON object without losing keys that differ by case only.
func decode(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var raw map[string]json.RawMessage
	if err := d.Decode(&raw); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	for k, v := range raw {
		out[k] = strings.Trim(string(v), `"`)
	}
	return out
}

func keys(t *testing.T, text string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	var out []string
	for key := true; ; {
		tok, err := d.Token()
		if err != nil {
			return strings.Join(out, ",")
		}
		if s, ok := tok.(string); ok && key {
			out = append(out, s)
			key = false
		} else {
			key = true
		}
	}
}

// TestWire holds the order of keys on the wire and when frames come.
func TestWire(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 300, Seed: 3, Burn: 0.05}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		agg, trade := v.dial("/market/ws/btcusdt@aggTrade"), v.dial("/public/ws/btcusdt@trade")
		kline := v.dial("/market/ws/btcusdt@kline_1m")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i, text := range agg.taken() {
			if i == 0 {
				same(t, "aggTrade", keys(t, text), "e,E,a,s,p,q,nq,f,l,T,m,st")
			}
			f := decode(t, text)
			sent, _ := strconv.Atoi(f["E"])
			first, _ := strconv.Atoi(f["T"])
			if late := sent - first; late < 100 || late > 200 {
				t.Errorf("an aggTrade comes %d ms after its first fill", late)
			}
		}
		kinds := map[string]int{}
		id, holes := int64(0), 0
		for i, text := range trade.taken() {
			if i == 0 {
				same(t, "trade", keys(t, text), "e,E,T,s,t,p,q,X,m,st")
			}
			f := decode(t, text)
			kinds[f["X"]]++
			next, _ := strconv.ParseInt(f["t"], 10, 64)
			if id != 0 {
				holes += int(next - id - 1)
			}
			if id = next; (f["X"] == "NA") != (f["p"] == "0" && f["q"] == "0") {
				t.Errorf("trade %s", text)
			}
		}
		if kinds["MARKET"] == 0 || kinds["RPI"] == 0 || kinds["NA"] == 0 || holes == 0 {
			t.Errorf("kinds of trades: %v, %d holes", kinds, holes)
		}
		same(t, "kline", keys(t, kline.taken()[0]), "e,E,s,k,t,T,s,i,f,L,o,c,h,l,v,n,x,q,V,Q,B")
	})
}

func TestSlowReaderIsClosed(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 8000, Seed: 3}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		var names []string
		for _, s := range e.symbols {
			names = append(names, s.lower+"@aggTrade")
		}
		good := v.dial("/market/ws/" + strings.Join(names, "/"))
		slow, err := v.l.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		fmt.Fprintf(slow, "GET /market/ws/%s HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", strings.Join(names, "/"))
		time.Sleep(2 * time.Second)
		same(t, "connections", len(e.Status().Connections), 2)
		time.Sleep(7 * time.Second)
		st := e.Status()
		same(t, "connections", len(st.Connections), 1)
		synctest.Wait()
		if n := len(good.taken()); uint64(n) < st.Connections[0].Sent {
			t.Errorf("the other connection got %d of %d frames", n, st.Connections[0].Sent)
		}
	})
}

func TestEndClosesConnections(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws/btcusdt@aggTrade")
		time.Sleep(time.Second)
		e.end()
		<-s.over
		same(t, "close", s.code, ws.StatusGoingAway)
	})
}

func TestLatencyKeepsOrder(t *testing.T) {
	opt := Options{Symbols: 2, Rate: 500, Seed: 3, Latency: 40 * time.Millisecond}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		begin := time.Now()
		v.get("/fapi/v1/ping")
		if took := time.Since(begin); took < 60*time.Millisecond {
			t.Errorf("a request takes %v", took)
		}
		s := v.dial("/market/ws/btcusdt@aggTrade")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		var ids []string
		for _, text := range s.taken() {
			ids = append(ids, decode(t, text)["a"])
		}
		if len(ids) < 5000 || !slices.IsSorted(ids) {
			t.Errorf("%d aggTrades, in order: %v", len(ids), slices.IsSorted(ids))
		}
	})
}

// TestConnectionLimit: an address may try to open 300 connections in any 5 minutes; attempts that are refused count too.
func TestConnectionLimit(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		refused := func() (status int) {
			t.Helper()
			d := ws.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return v.l.dial() }}
			conn, _, _, err := d.Dial(t.Context(), "ws://sim/market/ws")
			var answer ws.StatusError
			if errors.As(err, &answer) {
				return int(answer)
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			return 0
		}
		for range 200 {
			same(t, "one of the first", refused(), 0)
		}
		time.Sleep(4 * time.Minute)
		for range 100 {
			same(t, "one of the others", refused(), 0)
		}
		same(t, "one too many", refused(), 429)
		time.Sleep(time.Minute)
		for range 199 {
			same(t, "where the first are forgotten", refused(), 0)
		}
		same(t, "again one too many", refused(), 429)
	})
}

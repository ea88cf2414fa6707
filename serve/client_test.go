package serve

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

func TestControlMessages(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws")
		for _, c := range []struct{ send, want string }{
			{`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","BTCUSDT@kline_1m","nope@kline_1m","btcusdt@depth"],"id":1}`, `{"result":null,"id":1}`},
			{`{"method":"LIST_SUBSCRIPTIONS","id":"b7e1"}`, `{"result":["btcusdt@kline_1m","BTCUSDT@kline_1m","nope@kline_1m","btcusdt@depth"],"id":"b7e1"}`},
			{`{"id":18446744073709551616,"params":["btcusdt@depth","never@kline_1m"],"method":"UNSUBSCRIBE"}`, `{"result":null,"id":18446744073709551616}`},
			{`{"method":"GET_PROPERTY","params":["combined"],"id":2}`, `{"result":false,"id":2}`},
			{`{"method":"SET_PROPERTY","params":["combined",true],"id":5}`, `{"result":null,"id":5}`},
			{`{"method":"GET_PROPERTY","params":["combined"],"id":2}`, `{"result":true,"id":2}`},
			{`{"method":"SET_PROPERTY","params":["combined",1],"id":6}`, `{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":6}`},
			{`{"method":"SET_PROPERTY","params":["colour",true],"id":7}`, `{"error":{"code":0,"msg":"Unknown property"},"id":7}`},
			{"{\n\"method\": \"LIST_SUBSCRIPTIONS\",\n\"params\": [],\n\"id\": 8}", `{"result":["btcusdt@kline_1m","BTCUSDT@kline_1m","nope@kline_1m"],"id":8}`},
		} {
			if got := p.ask(c.send); got != c.want {
				t.Errorf("%s: %s, want %s", c.send, got, c.want)
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.publish(minutes(btc), open(0, "1"))
		if got := p.texts(); len(got) != 1 || !strings.HasPrefix(got[0], `{"stream":"btcusdt@kline_1m","data":{"e":"kline",`) {
			t.Errorf("got %v", got)
		}
	})
}

// TestMalformedMessages: the answer, then the end.
func TestMalformedMessages(t *testing.T) {
	for _, c := range []struct{ send, want string }{
		{`{"method":"JUMP","params":[],"id":4}`, "{\"error\":{\"code\":2,\"msg\":\"Invalid request: unknown variant `JUMP`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 16\"},\"id\":4}"},
		{`{"method":null}`, "{\"error\":{\"code\":2,\"msg\":\"Invalid request: unknown variant `null`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 14\"}}"},
		{`{"params":[],"id":4}`, "{\"error\":{\"code\":2,\"msg\":\"Invalid request: missing field `method` at line 1 column 20\"},\"id\":4}"},
		{`{"method":"LIST_SUBSCRIPTIONS"}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":-1}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":1.5}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`},
		{`{"method":"LIST_SUBSCRIPTIONS","id":null}`, `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}}`},
		{`{"method":"LIST_SUBSCRIPTIONS","params":[1],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}`},
		{`{"method":"GET_PROPERTY","params":["combined",1],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}`},
		{`{"method":"GET_PROPERTY","id":1}`, `{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":1}`},
		{`{"method":"SET_PROPERTY","params":[1,true],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":1}`},
		{`{"method":"SUBSCRIBE","params":"btcusdt@kline_1m","id":1}`, `{"error":{"code":2,"msg":"Invalid request: params must be an array of stream names"},"id":1}`},
		{`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m",null],"id":1}`, `{"error":{"code":2,"msg":"Invalid request: params must be an array of stream names"},"id":1}`},
		{`ping`, `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}`},
		{"{\"method\":\n oops}", `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 2 column 2"}}`},
		{``, `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 0"}}`},
	} {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			p := connect(t, listen, "/ws")
			if got := p.ask(c.send); got != c.want {
				t.Errorf("%s: %s, want %s", c.send, got, c.want)
			}
			if got := p.ended(); got != "1008 Invalid request" {
				t.Errorf("%s: ended with %q", c.send, got)
			}
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		p := connect(t, listen, "/ws")
		names := func(from, n int) string {
			list := make([]string, n)
			for i := range list {
				list[i] = fmt.Sprintf("s%d@kline_1m", from+i)
			}
			text, _ := json.Marshal(list)
			return string(text)
		}
		if got := p.ask(`{"method":"SUBSCRIBE","params":` + names(0, 1024) + `,"id":1}`); got != `{"result":null,"id":1}` {
			t.Error(got)
		}
		if got := p.ask(`{"method":"SUBSCRIBE","params":` + names(0, 1024) + `,"id":2}`); got != `{"result":null,"id":2}` {
			t.Error(got)
		}
		if got := p.ask(`{"method":"SUBSCRIBE","params":` + names(1024, 1) + `,"id":3}`); got != `{"error":{"code":4,"msg":"Too many subscriptions"},"id":3}` {
			t.Error(got)
		}
		if got := p.ended(); got != "1008 Invalid request" {
			t.Error(got)
		}
		address := "/market/stream?streams=x"
		for i := range maxStreams {
			address += fmt.Sprintf("/s%d@kline_1m", i)
		}
		p = connect(t, listen, address)
		differ(t, "in the address", p.texts(), []string{`{"error":{"code":4,"msg":"Too many subscriptions"}}`})
		if got := p.ended(); got != "1008 Invalid request" {
			t.Error(got)
		}
	})
}

// TestLongNames: a name longer than any is acknowledged, as all are, and not kept.
func TestLongNames(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		longest := strings.Repeat("x", 128)
		p := connect(t, listen, "/ws/"+longest+"y")
		if got := p.ask(`{"method":"SUBSCRIBE","params":["` + longest + `","y` + longest + `"],"id":1}`); got != `{"result":null,"id":1}` {
			t.Error(got)
		}
		if got := p.ask(`{"method":"LIST_SUBSCRIPTIONS","id":2}`); got != `{"result":["`+longest+`"],"id":2}` {
			t.Error(got)
		}
	})
}

// TestSteadyMessages: as many a second as may come go on for ever.
func TestSteadyMessages(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		p := connect(t, listen, "/ws")
		for range 20 * controlPerSec {
			if got := p.ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`); got != `{"result":[],"id":1}` {
				t.Fatalf("%q, ended with %q", got, p.ended())
			}
			time.Sleep(time.Second / controlPerSec)
		}
	})
}

func TestFlood(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		p := connect(t, listen, "/ws")
		answered := 0
		for range 16 {
			if p.ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`) != "" {
				answered++
			}
		}
		if got := p.ended(); answered != 15 || got != "1008 Too many requests" {
			t.Errorf("%d answered, ended with %q", answered, got)
		}
	})
}

func TestLifetime(t *testing.T) {
	t.Run("24 hours", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			p := connect(t, listen, "/ws")
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			if got := p.seen(); len(got) != 1 || got[0] != fmt.Sprint(time.Now().UnixMilli()) {
				t.Errorf("pings after 3 min: %v", got)
			}
			time.Sleep(24*time.Hour - 3*time.Minute - time.Millisecond)
			if got := p.ended(); got != "" {
				t.Errorf("ended with %q", got)
			}
			time.Sleep(time.Millisecond)
			if got := p.ended(); got != "1001 connection is 24 hours old" {
				t.Errorf("ended with %q", got)
			}
		})
	})
	t.Run("no pong", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			p := connect(t, listen, "/ws")
			p.silence()
			time.Sleep(10*time.Minute - time.Millisecond)
			if got := p.ended(); got != "" {
				t.Errorf("ended with %q", got)
			}
			time.Sleep(time.Millisecond)
			if got := p.ended(); got != "1008 no pong" {
				t.Errorf("ended with %q", got)
			}
		})
	})
	t.Run("pongs that nobody asked for", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			p := connect(t, listen, "/ws")
			p.silence()
			for range 4 {
				time.Sleep(9 * time.Minute)
				p.write(ws.NewPongFrame([]byte("still here")))
			}
			if got := p.ended(); got != "" {
				t.Errorf("ended with %q", got)
			}
		})
	})
	t.Run("the server stops", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world, listen *pipes) {
			p := connect(t, listen, "/ws/btcusdt@kline_1m")
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, true))
			topic := w.hub.klinesOf(minutes(btc))
			if topic.timer == nil {
				t.Error("no timer for a held close")
			}
			w.Close()
			if got := p.ended(); got != "1001 server is stopping" {
				t.Errorf("ended with %q", got)
			}
			if w.live.watches(minutes(btc)) {
				t.Error("still watched")
			}
			if topic.timer != nil {
				t.Error("a timer stays behind")
			}
			w.publish(minutes(btc), version(1, "1", market.StateClosed, 0, true))
			if topic.timer != nil {
				t.Error("a timer for what comes too late")
			}
		})
	})
	t.Run("a client that says nothing when the server stops", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world, listen *pipes) {
			p := connect(t, listen, "/ws/btcusdt@kline_1m")
			p.hold(true)
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), closed(1, "1"))
			began := time.Now()
			w.Close()
			if took := time.Since(began); took > closesWithin {
				t.Errorf("took %s", took)
			}
			p.hold(false)
		})
	})
}

func TestFrames(t *testing.T) {
	ping := func(n int) ws.Frame { return ws.NewPingFrame(make([]byte, n)) }
	for _, c := range []struct {
		name   string
		frames []ws.Frame
		want   string
	}{
		{"not masked", []ws.Frame{ws.NewTextFrame([]byte(`{}`))}, "1002 frames from client to server must be masked"},
		{"reserved op code", []ws.Frame{ws.MaskFrame(ws.NewFrame(0x3, true, nil))}, "1002 use of reserved op code"},
		{"long ping", []ws.Frame{ws.MaskFrame(ping(126))}, "1002 control frame payload limit exceeded"},
		{"continuation of nothing", []ws.Frame{ws.MaskFrame(ws.NewFrame(ws.OpContinuation, true, nil))}, "1002 unexpected continuation data frame"},
		{"not UTF-8", []ws.Frame{ws.MaskFrame(ws.NewTextFrame([]byte{0xff}))}, "1007 not UTF-8"},
		{"closes", []ws.Frame{ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4000, "bye")))}, "4000"},
		{"closes with nothing", []ws.Frame{ws.MaskFrame(ws.NewCloseFrame(nil))}, "1000"},
		{"closes with half a code", []ws.Frame{ws.MaskFrame(ws.NewCloseFrame([]byte{3}))}, "1002 bad close frame"},
		{"closes with a code beyond all", []ws.Frame{ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(5000, "")))}, "1002 bad close frame"},
		{"closes with its own code and no UTF-8", []ws.Frame{ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(3000, "\xff\xfe")))}, "1002 bad close frame"},
		{"closes with a code that cannot be", []ws.Frame{ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1005, "")))}, "1002 bad close frame"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, _ *world, listen *pipes) {
				p := connect(t, listen, "/ws")
				for _, f := range c.frames {
					_ = ws.WriteFrame(p.conn, f)
				}
				if got := p.ended(); got != c.want {
					t.Errorf("ended with %q, want %q", got, c.want)
				}
			})
		})
	}
	t.Run("too big", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			p := connect(t, listen, "/ws")
			_ = ws.WriteHeader(p.conn, ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: maxMessage + 1})
			if got := p.ended(); got != "1009 message too big" {
				t.Errorf("ended with %q", got)
			}
		})
	})
	t.Run("in fragments, a ping between them", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			p := connect(t, listen, "/ws")
			p.write(ws.NewFrame(ws.OpText, false, []byte(`{"method":"LIST_SUBSCR`)))
			p.write(ws.NewPingFrame([]byte("x")))
			p.write(ws.NewFrame(ws.OpContinuation, false, []byte(`IPTIONS","id"`)))
			p.write(ws.NewFrame(ws.OpContinuation, true, []byte(`:1}`)))
			pongs := p.seen()
			if got := p.texts(); len(got) != 1 || got[0] != `{"result":[],"id":1}` || len(pongs) != 1 || pongs[0] != "x" {
				t.Errorf("got %v, pongs %v", got, pongs)
			}
		})
	})
}

// TestPaths: every path that the exchange has serves every stream.
func TestPaths(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		moonName := "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1m"
		var peers []*peer
		for _, path := range []string{
			"/ws/btcusdt@kline_1m/" + moonName, "/market/ws/btcusdt@kline_1m/" + moonName, "/public/ws/btcusdt@kline_1m/" + moonName,
			"/stream?streams=btcusdt@kline_1m/" + moonName, "/market/stream?streams=btcusdt@kline_1m/" + moonName, "/public/stream/?streams=btcusdt@kline_1m/" + moonName,
		} {
			peers = append(peers, connect(t, listen, path))
		}
		for _, path := range []string{"/ws", "/ws/", "/market/ws/0", "/stream", "/market/stream?streams=", "/public/stream"} {
			p := connect(t, listen, path)
			if got := p.ask(`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m","币安人生usdt@kline_1m"],"id":1}`); got != `{"result":null,"id":1}` {
				t.Errorf("%s: %s", path, got)
			}
			peers = append(peers, p)
		}
		w.publish(minutes(btc), open(0, "1"))
		w.publish(minutes(moon), open(0, "2"))
		for i, p := range peers {
			texts := p.texts()
			if len(texts) != 2 || strings.HasPrefix(texts[0], `{"stream"`) != (i%6 >= 3) {
				t.Errorf("%d: %v", i, texts)
			}
		}
	})
}

func TestWatch(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p, q := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m")
		if !w.live.watches(minutes(btc)) {
			t.Error("not watched")
		}
		p.ask(`{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`)
		if !w.live.watches(minutes(btc)) {
			t.Error("no longer watched while one subscribes")
		}
		_ = q.conn.Close()
		synctest.Wait()
		if w.live.watches(minutes(btc)) {
			t.Error("still watched")
		}
		w.publish(minutes(btc), open(0, "1"))
		if got := p.texts(); got != nil {
			t.Errorf("got %v after UNSUBSCRIBE", got)
		}
	})
}

func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`, `{"method":"SET_PROPERTY","params":["combined",true],"id":"a"}`,
		`{"method":"GET_PROPERTY","params":["combined"],"id":2}`, `{"id":1}`, `{`, `[]`, `{"method":"x","id":1}`, "\xff", `{"method":1,"id":"\u00`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cmd, err := parseCommand(text)
		if err == nil {
			if !json.Valid(text) || !json.Valid(cmd.id) {
				t.Errorf("%q: taken with id %q", text, cmd.id)
			}
			return
		}
		refused, ok := err.(*controlError)
		if !ok || !json.Valid(refused.answer()) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

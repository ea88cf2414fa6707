package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// many is a SUBSCRIBE of n streams.
func many(n int) []byte {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("symbol%dusdt@continuousKline_15m", i)
	}
	text, _ := json.Marshal(map[string]any{"method": "SUBSCRIBE", "params": names, "id": 7})
	return text
}

// part writes a frame of which only some bytes come.
func part(p *peer, f ws.Frame, n int) {
	var wire bytes.Buffer
	_ = ws.WriteFrame(&wire, f)
	_, _ = p.conn.Write(wire.Bytes()[:n])
}

// TestBadClients: each gets what it should, and whoever is there beside it gets every close.
func TestBadClients(t *testing.T) {
	text := func(s string) ws.Frame { return ws.MaskFrame(ws.NewTextFrame([]byte(s))) }
	fragment := func(op ws.OpCode, size int) ws.Frame {
		return ws.MaskFrame(ws.NewFrame(op, false, bytes.Repeat([]byte(" "), size)))
	}
	reserved := text(`{}`)
	reserved.Header.Rsv = ws.Rsv(true, false, false)
	badlyMasked := ws.NewTextFrame([]byte(`{"method":"LIST_SUBSCRIPTIONS","id":1}`))
	badlyMasked.Header.Masked, badlyMasked.Header.Mask = true, [4]byte{1, 2, 3, 4}

	for _, c := range []struct {
		name   string
		do     func(w *world, p *peer)
		answer string
		ended  string
	}{
		{"a message that is too big", func(_ *world, p *peer) {
			_ = ws.WriteFrame(p.conn, text(strings.Repeat(" ", maxMessage+1)))
		}, "", "1009 message too big"},
		{"a length beyond all", func(_ *world, p *peer) {
			_, _ = p.conn.Write([]byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
		},
			"", "1002 header error: the most significant bit must be 0"},
		{"fragments that are too big together", func(_ *world, p *peer) {
			_ = ws.WriteFrame(p.conn, fragment(ws.OpText, maxMessage/2))
			_ = ws.WriteFrame(p.conn, fragment(ws.OpContinuation, maxMessage/2))
			_ = ws.WriteFrame(p.conn, fragment(ws.OpContinuation, 1))
		}, "", "1009 message too big"},
		{"another message among fragments", func(_ *world, p *peer) {
			_ = ws.WriteFrame(p.conn, fragment(ws.OpText, 1))
			_ = ws.WriteFrame(p.conn, text(`{}`))
		}, "", "1002 unexpected non-continuation data frame"},
		{"fragments without end", func(_ *world, p *peer) {
			_ = ws.WriteFrame(p.conn, fragment(ws.OpText, 0))
			for range controlBurst {
				_ = ws.WriteFrame(p.conn, fragment(ws.OpContinuation, 0))
			}
		}, "", "1008 Too many requests"},
		{"long messages, one after the other", func(_ *world, p *peer) {
			long := `{"method":"LIST_SUBSCRIPTIONS","id":1` + strings.Repeat(" ", maxMessage-100) + "}"
			_ = ws.WriteFrame(p.conn, text(long))
			_ = ws.WriteFrame(p.conn, text(long))
		}, `{"result":[],"id":1}`, "1008 Too many requests"},
		{"reserved bits", func(_ *world, p *peer) { _ = ws.WriteFrame(p.conn, reserved) },
			"", "1002 non-zero rsv bits with no extension negotiated"},
		{"a mask that was not applied", func(_ *world, p *peer) { _ = ws.WriteFrame(p.conn, badlyMasked) },
			`{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}`, "1008 Invalid request"},
		{"10,000 subscriptions", func(_ *world, p *peer) { _ = ws.WriteFrame(p.conn, ws.MaskFrame(ws.NewTextFrame(many(10_000)))) },
			`{"error":{"code":4,"msg":"Too many subscriptions"},"id":7}`, "1008 Invalid request"},
		{"a flood of pings", func(_ *world, p *peer) {
			for range controlBurst + 1 {
				p.write(ws.NewPingFrame(nil))
			}
		}, "", "1008 Too many requests"},
		{"a flood of pongs", func(_ *world, p *peer) {
			for range controlBurst + 1 {
				p.write(ws.NewPongFrame(nil))
			}
		}, "", "1008 Too many requests"},
		{"a message that never ends", func(_ *world, p *peer) {
			_ = ws.WriteFrame(p.conn, fragment(ws.OpText, 1))
			for range 3 {
				time.Sleep(messageWithin / 3)
				_ = ws.WriteFrame(p.conn, fragment(ws.OpContinuation, 1))
			}
		}, "", "1008 message takes too long"},
		{"half a frame, and then nothing", func(_ *world, p *peer) {
			part(p, text(`{"method":"LIST_SUBSCRIPTIONS","id":1}`), 20)
			time.Sleep(messageWithin)
		}, "", "1008 message takes too long"},
		{"one message too many that is not whole", func(w *world, p *peer) {
			w.hub.reading.Add(maxMessages - 10)
			_ = ws.WriteFrame(p.conn, fragment(ws.OpText, readAtOnce+11))
			synctest.Wait()
			w.hub.reading.Add(10 - maxMessages)
		}, "", "1008 too many unfinished messages"},
		{"gone in the middle of a header", func(_ *world, p *peer) {
			part(p, text("{}"), 1)
			_ = p.conn.Close()
		}, "", ""},
		{"gone in the middle of a message", func(_ *world, p *peer) {
			part(p, text("{}"), 7)
			_ = p.conn.Close()
		}, "", ""},
		{"never reads", func(w *world, p *peer) {
			p.hold(true)
			for minute := range 3 { // it takes one more frame
				w.publish(minutes(moon), closed(minute, "1"))
				synctest.Wait()
			}
			time.Sleep(unreadFor)
			synctest.Wait()
			p.hold(false)
			p.texts()
		}, "", "1008 slow client"},
		{"never reads, and goes", func(w *world, p *peer) {
			p.hold(true)
			for minute := range 3 { // it takes one more frame
				w.publish(minutes(moon), closed(minute, "1"))
				synctest.Wait()
			}
			_ = p.conn.Close()
			p.hold(false)
			p.texts()
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				beside := connect(t, listen, "/ws/btcusdt@kline_1m")
				p := connect(t, listen, "/ws")
				if strings.Contains(c.name, "reads") {
					p.ask(`{"method":"SUBSCRIBE","params":["币安人生usdt@kline_1m"],"id":1}`)
				}
				w.publish(minutes(btc), closed(0, "1"))
				c.do(w, p)
				w.publish(minutes(btc), closed(1, "2"))
				if got := strings.Join(p.texts(), "\n"); got != c.answer {
					t.Errorf("answered %q, want %q", got, c.answer)
				}
				if got := p.ended(); got != c.ended {
					t.Errorf("ended with %q, want %q", got, c.ended)
				}
				time.Sleep(2 * farewellFor)
				wantEvents(t, beside, "1.00 closed x", "2.00 closed x")
				if got := beside.ask(`{"method":"LIST_SUBSCRIPTIONS","id":1}`); got != `{"result":["btcusdt@kline_1m"],"id":1}` {
					t.Errorf("the other one: %s", got)
				}
				w.hub.clientsMu.Lock()
				defer w.hub.clientsMu.Unlock()
				if len(w.hub.clients) != 1 || w.hub.reading.Load() != 0 || w.hub.queued.Load() != 0 {
					t.Errorf("%d clients; %d bytes of messages and %d of frames are left", len(w.hub.clients), w.hub.reading.Load(), w.hub.queued.Load())
				}
			})
		})
	}
}

// TestLongestMessage: where too much is unfinished, whoever has the longest message is closed, and not who sends next.
func TestLongestMessage(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		long, shorter, other := connect(t, listen, "/ws"), connect(t, listen, "/ws"), connect(t, listen, "/ws")
		const others = maxMessages - 100_000
		w.hub.reading.Add(others)
		_ = ws.WriteFrame(long.conn, ws.MaskFrame(ws.NewFrame(ws.OpText, false, bytes.Repeat([]byte(" "), 100_000+readAtOnce))))
		const ask, answer = `{"method":"LIST_SUBSCRIPTIONS","id":1`, `{"result":[],"id":1}`
		if got := other.ask(ask + "}"); got != answer || long.ended() != "" {
			t.Errorf("a short message: %s; the long one's sender ended with %q", got, long.ended())
		}
		if got := shorter.ask(ask + strings.Repeat(" ", 2*readAtOnce) + "}"); got != answer {
			t.Errorf("a longer message: %s, ended with %q", got, shorter.ended())
		}
		if got := long.ended(); got != "1008 too many unfinished messages" {
			t.Errorf("the longest message's sender ended with %q", got)
		}
		if got := w.hub.reading.Load(); got != others {
			t.Errorf("%d bytes are counted, want %d", got, others)
		}
		w.hub.reading.Add(-others)
	})
}

// TestSlowHandshake: who does not finish its request is cut off, and holds nobody up.
func TestSlowHandshake(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		conn, _ := listen.dial(t.Context(), "", "")
		defer conn.Close()
		gone := make(chan time.Time, 1)
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			gone <- time.Now()
		}()
		began := time.Now()
		_, _ = conn.Write([]byte("GET /ws/btcusdt@kline_1m HTTP/1.1\r\nHost: klined\r\nUpgrade: websocket\r\n"))
		beside := connect(t, listen, "/ws/btcusdt@kline_1m")
		for i := range 9 {
			time.Sleep(time.Second)
			_, _ = fmt.Fprintf(conn, "X-Header-%d: slow\r\n", i)
		}
		w.publish(minutes(btc), closed(0, "1"))
		wantEvents(t, beside, "1.00 closed x")
		if took := (<-gone).Sub(began); took != 10*time.Second {
			t.Errorf("cut off after %s", took)
		}
	})
}

// counter is a client over TCP that reads the facts that come, numbered from 0, once it is let.
type counter struct {
	conn net.Conn
	read chan struct{} // closed to let it read
	come atomic.Int64
	err  chan error // of what ends it
}

func countFacts(t *testing.T, address string) *counter {
	conn, _, _, err := ws.Dialer{}.Dial(t.Context(), "ws://"+address+"/ws/btcusdt@aggTrade")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &counter{conn: conn, read: make(chan struct{}), err: make(chan error, 1)}
	go func() {
		<-c.read
		for n := int64(0); ; n++ {
			f, err := ws.ReadFrame(conn)
			if err == nil && f.Header.OpCode == ws.OpClose {
				err = fmt.Errorf("closed: %d", uint16(f.Payload[0])<<8|uint16(f.Payload[1]))
			}
			if want := fmt.Sprintf(`{"a":%d,`, n); err == nil && !strings.HasPrefix(string(f.Payload), want) {
				err = fmt.Errorf("fact %d is %.30s", n, f.Payload)
			}
			if err != nil {
				c.err <- err
				return
			}
			c.come.Add(1)
		}
	}()
	return c
}

// TestOverTCP: over sockets that take only a part of what is written, whoever reads late gets all of it in order; who
// never reads is closed, as too slow, which it learns if it reads within farewellFor; and who reads notices neither.
func TestOverTCP(t *testing.T) {
	w := newWorld(t, stdClock{})
	w.facts = map[string]func(bool){"btcusdt@aggTrade": func(bool) {}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer(w.Handler(), w.log)
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()

	reads, late, never := countFacts(t, l.Addr().String()), countFacts(t, l.Addr().String()), countFacts(t, l.Addr().String())
	close(reads.read)
	until(t, "all subscribe", func() bool { return w.subscribersOf("btcusdt@aggTrade") == 3 })
	fill, sent := strings.Repeat("x", 200_000), int64(0)
	deliver := func() {
		w.Deliver("btcusdt@aggTrade", fmt.Appendf(nil, `{"a":%d,"fill":"%s"}`, sent, fill))
		sent++
		until(t, "the one who reads has it", func() bool { return reads.come.Load() == sent })
	}
	for (sent+1)*200_100 < clientQueued {
		deliver()
	}
	close(late.read)
	until(t, "the late one has all", func() bool { return late.come.Load() == sent })
	for slowClients(t, w) == 0 && sent < 500 {
		deliver()
		until(t, "the late one has it", func() bool { return late.come.Load() == sent })
	}
	close(never.read)
	err = <-never.err
	cut := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	if !cut && err.Error() != "closed: 1008" || slowClients(t, w) != 1 || len(late.err)+len(reads.err) > 0 {
		t.Errorf("who never reads: %v after %d facts, %v slow; %d others ended", err, sent, slowClients(t, w), len(late.err)+len(reads.err))
	}
}

// subscribersOf is how many take a stream of facts.
func (w *world) subscribersOf(stream string) int {
	w.hub.mu.RLock()
	f := w.hub.facts[stream]
	w.hub.mu.RUnlock()
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.list)
}

// TestStreamPaths: forms of address that clients have, and what they lead to.
func TestStreamPaths(t *testing.T) {
	for path, want := range map[string]string{
		"/ws":              "bare",
		"/ws/":             "bare",
		"/ws/a@x":          "bare a@x",
		"/ws/a@x/":         "bare a@x",
		"/ws//a@x//b@y/":   "bare a@x b@y",
		"//ws/a@x":         "bare a@x",
		"//market//ws/a@x": "bare a@x",
		"/market/ws/0":     "bare 0",
		"/public/ws/a%40x": "bare a@x",
		"/ws/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@x":   "bare 币安人生usdt@x",
		"/ws/a@x?streams=b@y":                              "bare a@x",
		"/stream":                                          "wrapped",
		"/stream/":                                         "wrapped",
		"/stream?streams=":                                 "wrapped",
		"/market/stream?streams=a@x/b@y":                   "wrapped a@x b@y",
		"/stream/?streams=a@x%2Fb@y/":                      "wrapped a@x b@y",
		"/public/stream?streams=%E5%B8%81%E5%AE%89usdt%40": "wrapped 币安usdt@",
		"/stream/a@x":                                      "",
		"/wss":                                             "",
		"/market":                                          "",
		"/market/market/ws":                                "",
		"/fapi/ws":                                         "",
		"/final=settled/ws/a@x/b@y":                        "bare a@x b@y",
		"/final=settled/market/stream?streams=a@x":         "wrapped a@x",
		"/final=settled":                                   "",
		"/final=settled/fapi/v1/ping":                      "",
		"/final=settled/revisions=1/ws":                    "",
		"/market/final=settled/ws":                         "",
		"/finale=settled/ws":                               "",
		"/listenKey=a/ws":                                  "",
		"/streams=a@x/stream":                              "",
		"/final=%25zz/ws":                                  "",
	} {
		bubble(t, func(t *testing.T, w *world, listen *pipes) {
			conn, _, _, err := ws.Dialer{NetDial: listen.dial}.Dial(t.Context(), "ws://klined"+path)
			if err != nil {
				if want != "" {
					t.Errorf("%s: %v", path, err)
				}
				return
			}
			defer conn.Close()
			synctest.Wait()
			w.hub.clientsMu.Lock()
			defer w.hub.clientsMu.Unlock()
			for c := range w.hub.clients {
				got := map[bool]string{false: "bare", true: "wrapped"}[c.combined.Load()]
				for _, s := range c.subs {
					got += " " + s.name
				}
				if got != want {
					t.Errorf("%s: %q, want %q", path, got, want)
				}
			}
		})
	}
}

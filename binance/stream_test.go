package binance

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

func TestStreamSubscribesAndReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			if p.path != "/market/ws" {
				t.Errorf("path %s", p.path)
			}
			c, _ := p.control()
			want := control{"SUBSCRIBE", []string{"btcusdt@aggTrade", "ethusdt@aggTrade", "币安人生usdt@aggTrade", "1000pepeusdt@aggTrade"}, 1}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Error(diff)
			}
			_ = p.send(aggFrame)
			_ = p.send(string(ack(1)), aggFrame, `{"e":garbage`, aggDoc, `{"stream":"x","data":[]}`, klineClosed)
			p.acknowledge()
		}
		s := e.dialled(4)
		var b market.Batch
		if err := s.Read(&b); err != nil || len(b.Trades) != 1 || b.Ready {
			t.Errorf("first batch: error %v, %+v", err, b)
		}
		if err := s.Read(&b); err != nil || len(b.Trades) != 2 || len(b.Official) != 1 || !b.Ready || !b.Received.Equal(time.Now()) {
			t.Errorf("second batch: error %v, %+v", err, b)
		}
		if s.Frames() != 7 || testutil.ToFloat64(s.counted) != 7 {
			t.Errorf("%d frames, counted %v", s.Frames(), testutil.ToFloat64(s.counted))
		}
	})
}

func TestStreamPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := func(source market.Source, dial func(*Venue, context.Context, string, []market.SymbolID) (*Stream, error), path, name string) {
			t.Helper()
			e := &exchange{t: t}
			e.serve = func(p *peer) {
				c, _ := p.control()
				if p.path != path || len(c.Params) != 1 || c.Params[0] != name {
					t.Errorf("path %s, asked for %v; want %s, %s", p.path, c.Params, path, name)
				}
				p.acknowledge()
			}
			s, err := dial(e.venue(registry(), source), t.Context(), "a1", firstIDs(1))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			s.Close("done")
		}
		f(market.SourceAggTrade, (*Venue).DialTrades, "/market/ws", "btcusdt@aggTrade")
		f(market.SourceTrade, (*Venue).DialTrades, "/public/ws", "btcusdt@trade")
		f(market.SourceTrade, (*Venue).DialKlines, "/market/ws", "btcusdt@kline_1m")
	})
}

// TestStreamTakesWhatCameWithTheHandshake: the exchange may send right behind its handshake.
func TestStreamTakesWhatCameWithTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t, first: compiled(ws.NewTextFrame([]byte(aggFrame)), ws.NewTextFrame([]byte(aggDoc)))[:250], serve: (*peer).acknowledge}
		var b market.Batch
		if err := e.dialled(1).Read(&b); err != nil || len(b.Trades) != 1 {
			t.Errorf("error %v, %d trades", err, len(b.Trades))
		}
	})
}

func TestStreamAnswersPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			_, _ = p.control()
			_, _ = p.conn.Write(compiled(ws.NewPingFrame([]byte("1791382992488"))))
			if payload, op, ok := p.frame(); !ok || op != ws.OpPong || string(payload) != "1791382992488" {
				t.Errorf("answer to a ping: %v %q", op, payload)
			}
			_ = p.send(aggFrame)
			p.acknowledge()
		}
		s := e.dialled(1)
		var b market.Batch
		if err := s.Read(&b); err != nil || len(b.Trades) != 1 || s.Frames() != 1 {
			t.Errorf("error %v, %d trades, %d frames", err, len(b.Trades), s.Frames())
		}
	})
}

// TestStreamPings: the answer to our own ping shows in the read that brings it, after all that came before.
func TestStreamPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			c, _ := p.control()
			_ = p.send(string(ack(c.ID)))
			if _, op, ok := p.frame(); !ok || op != ws.OpPing {
				t.Errorf("got %v, want a ping", op)
			}
			_ = p.send(aggFrame)
			if _, err := p.conn.Write(compiled(ws.NewPongFrame(nil))); err != nil {
				t.Error(err)
			}
		}
		s := e.dialled(1)
		untilReady(t, s)
		s.Ping()
		s.Ping() // one is on its way already, or it is sent behind it: neither blocks
		var b market.Batch
		trades := 0
		for !b.Pong {
			if err := s.Read(&b); err != nil {
				t.Fatal(err)
			}
			trades += len(b.Trades)
		}
		if trades != 1 {
			t.Errorf("%d trades before the answer", trades)
		}
	})
}

// TestStreamPacesItsQuestions: 1,024 streams are asked for in 6 messages, 5 a second, none with more than 200 names.
func TestStreamPacesItsQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		var at []time.Duration
		names := make(map[string]bool)
		began := time.Now()
		e.serve = func(p *peer) {
			for {
				c, ok := p.control()
				if !ok {
					return
				}
				at = append(at, time.Since(began))
				for _, name := range c.Params {
					names[name] = true
				}
				if len(c.Params) > 200 || c.ID != uint64(len(at)) {
					t.Errorf("message %d: id %d, %d names", len(at), c.ID, len(c.Params))
				}
				_ = p.send(string(ack(c.ID)))
			}
		}
		s := e.dialled(1024)
		untilReady(t, s)
		if len(at) != 6 || len(names) != 1024 || time.Since(began) != time.Second {
			t.Errorf("%d messages at %v, %d names, ready after %s", len(at), at, len(names), time.Since(began))
		}
		if err := s.Subscribe(firstIDs(1024)...); err != nil {
			t.Errorf("the same again: %v", err)
		}
		s.symbols.Put(market.Symbol{Name: "ONEMOREUSDT"})
		if err := s.Subscribe(1024); err == nil || !strings.Contains(err.Error(), "1025 streams") {
			t.Errorf("one more: %v", err)
		}
	})
}

func TestStreamChangesWhatItCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		var got []control
		e.serve = func(p *peer) {
			for {
				c, ok := p.control()
				if !ok {
					return
				}
				got = append(got, c)
				_ = p.send(string(ack(c.ID)))
			}
		}
		s := e.dialled(3)
		untilReady(t, s)
		s.Unsubscribe(1, 1, 2)
		if err := s.Subscribe(2, 2, 3, 0); err != nil { // 2 is there all along
			t.Fatal(err)
		}
		var b market.Batch
		if err := s.Read(&b); err != nil || b.Ready {
			t.Errorf("before the acknowledgement: error %v, ready %t", err, b.Ready)
		}
		untilReady(t, s)
		want := []control{
			{"UNSUBSCRIBE", []string{"ethusdt@aggTrade"}, 2},
			{"SUBSCRIBE", []string{"1000pepeusdt@aggTrade"}, 3},
		}
		if diff := cmp.Diff(want, got[1:]); diff != "" {
			t.Error(diff)
		}
	})
}

// TestStreamHandsOutWhatCameBeforeTheEnd: trades that came with the close frame are not lost.
func TestStreamHandsOutWhatCameBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			_, _ = p.control()
			_, _ = p.conn.Write(compiled(ws.NewTextFrame([]byte(aggFrame)), ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "Too many requests"))))
			p.acknowledge()
		}
		s := e.dialled(1)
		var b market.Batch
		if err := s.Read(&b); err != nil || len(b.Trades) != 1 {
			t.Fatalf("error %v, %d trades", err, len(b.Trades))
		}
		for range 2 {
			var closed *CloseError
			if err := s.Read(&b); !errors.As(err, &closed) || closed.Code != 1008 || closed.Reason != "Too many requests" || len(b.Trades) != 0 {
				t.Errorf("error %v, %d trades", err, len(b.Trades))
			}
		}
	})
}

func TestStreamEnds(t *testing.T) {
	f := func(name string, serve func(*peer), want string, is error, after time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			e := &exchange{t: t, serve: serve}
			s, began := e.dialled(2), time.Now()
			err := readError(s)
			if err == nil || !strings.Contains(err.Error(), want) || is != nil && !errors.Is(err, is) {
				t.Errorf("%s: error %v, want %q", name, err, want)
			}
			if took := time.Since(began); took != after {
				t.Errorf("%s: after %s, want %s", name, took, after)
			}
		})
	}
	f("refused", func(p *peer) {
		_, _ = p.control()
		_ = p.send(`{"error":{"code":4,"msg":"Too many subscriptions"},"id":1}`)
		p.acknowledge()
	}, "the exchange refused SUBSCRIBE of 2 streams: 4 Too many subscriptions", nil, 0)
	f("refused without an id", func(p *peer) {
		_, _ = p.control()
		_ = p.send(`{"error":{"code":3,"msg":"Invalid JSON"}}`)
		p.acknowledge()
	}, "the exchange refused a control message: 3 Invalid JSON", nil, 0)
	f("cut", func(p *peer) { _, _ = p.control() }, "without a word: EOF (after 0s and 0 frames; 2 streams, 2 not acknowledged)", io.EOF, 0)
	f("cut later", func(p *peer) {
		c, _ := p.control()
		_ = p.send(string(ack(c.ID)))
		time.Sleep(54 * time.Second)
		_ = p.send(aggFrame, aggFrame)
	}, "without a word: EOF (after 54s and 3 frames; all of 2 streams acknowledged)", io.EOF, 54*time.Second)
	f("silent", func(p *peer) { p.acknowledgeSilently() }, "nothing has come for 5m0s", os.ErrDeadlineExceeded, 5*time.Minute)
	f("not answered", func(p *peer) {
		go p.acknowledgeSilently()
		for p.send(aggFrame) == nil {
			time.Sleep(2 * time.Second)
		}
	}, "SUBSCRIBE of 2 streams has not been answered within 30s", nil, 32*time.Second)
	f("not answered, but pinged", func(p *peer) {
		go p.acknowledgeSilently()
		for {
			if _, err := p.conn.Write(compiled(ws.NewPingFrame(nil))); err != nil {
				return
			}
			time.Sleep(20 * time.Second)
		}
	}, "SUBSCRIBE of 2 streams has not been answered within 30s", nil, 40*time.Second)
	f("not WebSocket", func(p *peer) {
		_, _ = p.control()
		_, _ = p.conn.Write([]byte("HTTP/1.1 502 Bad Gateway\r\n"))
		p.acknowledgeSilently()
	}, "reserved", nil, 0)
	f("never reads", func(p *peer) { time.Sleep(time.Hour) }, "cannot write to the exchange", os.ErrDeadlineExceeded, writeTimeout)
}

// acknowledgeSilently reads what comes and answers nothing.
func (p *peer) acknowledgeSilently() {
	for {
		if _, _, ok := p.frame(); !ok {
			return
		}
	}
}

// TestStreamLivesOnPings: a quiet market is not a dead connection.
func TestStreamLivesOnPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			_, _ = p.control()
			_ = p.send(string(ack(1)))
			go p.acknowledgeSilently()
			for range 20 {
				time.Sleep(3 * time.Minute)
				_, _ = p.conn.Write(compiled(ws.NewPingFrame(nil)))
			}
			_ = p.send(aggFrame)
			time.Sleep(time.Minute)
		}
		s, began := e.dialled(1), time.Now()
		b := untilReady(t, s)
		if err := s.Read(&b); err != nil || time.Since(began) != time.Hour {
			t.Errorf("error %v after %s", err, time.Since(began))
		}
	})
}

func TestStreamClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		code := make(chan ws.StatusCode, 1)
		e.serve = func(p *peer) {
			_, _ = p.control()
			if payload, op, ok := p.frame(); ok && op == ws.OpClose {
				got, _ := ws.ParseCloseFrameData(payload)
				code <- got
			}
			close(code)
		}
		s := e.dialled(1)
		failed := make(chan error)
		go func() { failed <- readError(s) }()
		synctest.Wait()
		s.Close("rotated")
		s.Close("twice")
		if err := <-failed; !errors.Is(err, ErrClosed) || err.Error() != "connection closed by us: rotated" {
			t.Errorf("Read: %v", err)
		}
		if got := <-code; got != ws.StatusNormalClosure {
			t.Errorf("the exchange was told %d", got)
		}
		if err := s.Read(new(market.Batch)); !errors.Is(err, ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
	})
}

// TestStreamCloseWhileWriteIsStuck: an exchange that does not read holds nobody up for long.
func TestStreamCloseWhileWriteIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t, serve: func(*peer) { time.Sleep(time.Hour) }}
		s, began := e.dialled(1), time.Now()
		synctest.Wait()
		s.Close("shutting down")
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestDialErrors(t *testing.T) {
	symbols := registry()
	f := func(name string, o VenueOptions, n int, want string, is error) {
		t.Helper()
		o.Symbols = symbols
		_, err := NewVenue(o).DialTrades(t.Context(), "a1", make([]market.SymbolID, n))
		if err == nil || !strings.Contains(err.Error(), want) || is != nil && !errors.Is(err, is) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	noRoute := func(context.Context, string, string) (net.Conn, error) { return nil, errDial }
	f("no route", VenueOptions{Dial: noRoute}, 1, "cannot connect to wss://fstream.binance.com/market/ws: no route", errDial)
	f("too many streams", VenueOptions{Dial: noRoute}, 1025, "1025 streams on one connection: the exchange carries at most 1024", nil)
	f("not a WebSocket address", VenueOptions{URL: "http://127.0.0.1"}, 1, `cannot connect to http://127.0.0.1/market/ws: unexpected websocket scheme: "http"`, nil)
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	f("not served there", VenueOptions{URL: strings.Replace(missing.URL, "http", "ws", 1) + "/"}, 1, "/market/ws: unexpected HTTP response status: 404", nil)
	synctest.Test(t, func(t *testing.T) {
		silent := func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return ours, nil
		}
		_, err := NewVenue(VenueOptions{URL: "ws://x", Dial: silent, Symbols: symbols}).DialTrades(t.Context(), "a1", firstIDs(1))
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("an exchange that does not answer: %v", err)
		}
	})
}

func TestStreamOverTLS(t *testing.T) {
	served := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(served)
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		p := &peer{t: t, conn: conn}
		c, _ := p.control()
		_ = p.send(string(ack(c.ID)), aggFrame)
		p.acknowledge()
	}))
	defer server.Close()
	v := NewVenue(VenueOptions{
		URL: strings.Replace(server.URL, "https", "wss", 1), Symbols: registry(),
		TLS: &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	})
	s, err := v.DialTrades(t.Context(), "a1", firstIDs(1))
	if err != nil {
		t.Fatal(err)
	}
	if b := untilReady(t, s); len(b.Trades) != 1 {
		t.Errorf("%d trades", len(b.Trades))
	}
	s.Close("done")
	<-served
}

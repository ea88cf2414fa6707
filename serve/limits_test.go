package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// TestReadOnly: nothing but reading is answered, on whatever path.
func TestReadOnly(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:02:30")))
	w.opt.Forward = &fakeForwarder{}
	for _, path := range []string{"/", "/web/app.js", "/fapi/v1/ping", "/fapi/v1/klines", "/fapi/v1/continuousKlines", "/fapi/v1/exchangeInfo", "/fapi/v1/depth",
		"/fapi/v2/ticker/price", "/dapi/v1/ping", "/futures/data/basis", "/klined/v1/status", "/klined/v1/klines", "/klined/v1/gaps", "/klined/v1/symbols",
		"/klined/v1/differences", "/healthz", "/readyz", "/metrics", "/udf/config", "/udf/history", "/udf/symbols", "/nothing"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PROPFIND", "get"} {
			r := httptest.NewRequest("GET", path, strings.NewReader("x"))
			r.Method, r.RemoteAddr = method, local
			rec := httptest.NewRecorder()
			w.Handler().ServeHTTP(rec, r)
			want, allow := http.StatusMethodNotAllowed, "GET, HEAD, OPTIONS"
			if isExchangePath(r) {
				want, allow = http.StatusNotFound, ""
			}
			if rec.Code != want || rec.Header().Get("Allow") != allow || !strings.HasPrefix(rec.Body.String(), `{"code":-5000,`) {
				t.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body)
			}
		}
	}
	for _, path := range []string{"/ws", "/stream", "/market/ws/btcusdt@kline_1m"} {
		for _, method := range []string{"POST", "DELETE"} {
			rec := w.ask(method, path, local, "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
			if rec.Code/100 != 4 && rec.Code != http.StatusInternalServerError {
				t.Errorf("%s %s: %d", method, path, rec.Code)
			}
		}
	}
}

// TestHTTPBounds: what is sent in pieces, or is too long, or is not read, ends in time.
func TestHTTPBounds(t *testing.T) {
	const host = "Host: klined\r\n"
	for _, c := range []struct {
		name, send string
		every      string        // sent each second after that
		answer     string        // what it begins with
		closed     time.Duration // after this at the latest
	}{
		{"a head without end", "GET / HTTP/1.1\r\n" + host, "X: y\r\n", "", 10 * time.Second},
		{"nothing at all", "", "", "", 10 * time.Second},
		{"a body without end", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1000000\r\n\r\n", "x", "HTTP/1.1 405", 31 * time.Second},
		{"nothing more", "GET /fapi/v1/ping HTTP/1.1\r\n" + host + "\r\n", "", "HTTP/1.1 200", 2 * time.Minute},
		{"a head too long", "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "", "HTTP/1.1 431", time.Second},
		{"an address too long", "GET /" + strings.Repeat("x", 80<<10) + " HTTP/1.1\r\n" + host + "\r\n", "", "HTTP/1.1 431", time.Second},
		{"two lengths", "POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "", "HTTP/1.1 400", time.Second},
		{"a length and chunks", "GET /x HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /behind HTTP/1.1\r\n" + host + "\r\n", "",
			"HTTP/1.1 404", time.Second}, // the chunks count, and nothing behind them is answered, as RFC 9112 has it
		{"a proxy is wanted", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "", "HTTP/1.1 405", 2 * time.Minute},
		{"both, and a path that is for WebSocket", "GET /ws HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /behind HTTP/1.1\r\n" + host + "\r\n", "",
			"HTTP/1.1 426", time.Second},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "", "HTTP/1.1 400", time.Second},
		{"a line within a name", "GET /fapi/v1/klines?symbol=A%0d%0aSet-Cookie:x=1 HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n", "", "HTTP/1.1 400", time.Second},
	} {
		bubble(t, func(t *testing.T, _ *world, listen *pipes) {
			conn, _ := listen.dial(t.Context(), "", "")
			began := time.Now()
			ended := make(chan string, 1)
			var took time.Duration
			go func() {
				text, _ := io.ReadAll(conn)
				took = time.Since(began)
				ended <- string(text)
			}()
			stop := make(chan struct{})
			go func() {
				_, err := io.WriteString(conn, c.send)
				for ; err == nil && c.every != ""; _, err = io.WriteString(conn, c.every) {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
					}
				}
			}()
			text := <-ended
			close(stop)
			if !strings.HasPrefix(text, c.answer) || strings.Count(text, "HTTP/1.1 ") > 1 || took > c.closed || strings.Contains(text, "\nSet-Cookie") {
				t.Errorf("%s: closed after %s, want %s: %.200s", c.name, took, c.closed, text)
			}
			_ = conn.Close()
		})
	}
}

// TestUnreadAnswer: who asks and does not read holds nothing for longer than two minutes.
func TestUnreadAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		conn, _ := listen.dial(t.Context(), "", "")
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: klined\r\n\r\n")
		time.Sleep(2*time.Minute + time.Second)
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// TestPipelining: requests that are sent at once are answered one after the other, each its own.
func TestPipelining(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, listen *pipes) {
		conn, _ := listen.dial(t.Context(), "", "")
		defer conn.Close()
		go func() {
			for i := range 20 {
				_, _ = fmt.Fprintf(conn, "GET /fapi/v1/nothing%d HTTP/1.1\r\nHost: klined\r\nConnection: keep-alive, X-Mbx-Apikey\r\n\r\n", i)
			}
		}()
		in := bufio.NewReader(conn)
		for i := range 20 {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("/fapi/v1/nothing%d,", i); resp.StatusCode != 404 || !strings.Contains(string(body), want) {
				t.Errorf("%d: %d %s", i, resp.StatusCode, body)
			}
		}
	})
}

// from is an end of a connection that comes from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return addrOf(f.addr) }

type addrOf string

func (a addrOf) Network() string { return "tcp" }
func (a addrOf) String() string  { return string(a) }

// TestConnections: one address elsewhere has so many connections, this machine as many as all may.
func TestConnections(t *testing.T) {
	c := &conns{most: 3 * maxConnsOfOne, all: make(map[net.Conn]string)}
	var open []net.Conn
	connect := func(addr string) bool {
		ours, theirs := net.Pipe()
		_ = ours.Close() // what is written is never read
		conn := &from{theirs, addr}
		c.changed(conn, http.StateNew)
		_, counted := c.all[conn]
		if !counted {
			if _, err := theirs.Write([]byte("x")); err != io.ErrClosedPipe {
				t.Errorf("%s: one too many is left open: %v", addr, err)
			}
			c.changed(conn, http.StateClosed) // as the server has it
			return false
		}
		open = append(open, conn)
		return true
	}
	for i := range maxConnsOfOne {
		if !connect(fmt.Sprintf("203.0.113.9:%d", i)) || !connect(fmt.Sprintf("[2001:db8::%x]:1", i+1)) {
			t.Fatalf("%d is too many", i)
		}
	}
	for addr, want := range map[string]bool{"203.0.113.9:9": false, "[2001:db8::ffff]:9": false, "203.0.113.10:9": true, "127.0.0.1:9": true, "[::1]:9": true} {
		if connect(addr) != want {
			t.Errorf("one more from %s: %v", addr, !want)
		}
	}
	for range maxConnsOfOne - 3 {
		connect("127.0.0.1:10")
	}
	if connect("127.0.0.1:11") {
		t.Error("more than all may have")
	}
	for i, conn := range open {
		state := http.StateClosed
		if i%2 == 0 {
			state = http.StateHijacked
		}
		c.changed(conn, state)
	}
	if len(c.all) != 0 || len(c.from.of) != 0 {
		t.Errorf("%d, %v are left", len(c.all), c.from.of)
	}
}

// TestWebSocketsOfAnAddress: so many of one address elsewhere; one that leaves makes room; who showed the token is not counted.
func TestWebSocketsOfAnAddress(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		dial := func(addr string, header ws.HandshakeHeaderHTTP) (net.Conn, error) {
			conn, _, _, err := ws.Dialer{Header: header, NetDial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				listen.conns <- from{theirs, addr}
				return ours, nil
			}}.Dial(t.Context(), "ws://klined/ws")
			synctest.Wait()
			return conn, err
		}
		first, err := dial(remote, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.hub.from.of["203.0.113.9"] += maxWebSocketOfOne - 1
		if _, err := dial(remote, nil); err != ws.StatusError(http.StatusServiceUnavailable) {
			t.Errorf("one too many: %v", err)
		}
		for _, addr := range []string{"203.0.113.10:1", local} {
			conn, err := dial(addr, nil)
			if err != nil {
				t.Errorf("%s: %v", addr, err)
			}
			defer conn.Close()
		}
		_ = first.Close()
		synctest.Wait()
		again, err := dial(remote, nil)
		if err != nil {
			t.Errorf("where one has left: %v", err)
		}
		_ = again.Close()
		synctest.Wait()
		w.gate = newGate(testToken)
		w.hub.from.of["203.0.113.9"] = maxWebSocketOfOne
		trusted, err := dial(remote, ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + testToken}})
		if err != nil {
			t.Errorf("with the token: %v", err)
		}
		_ = trusted.Close()
	})
}

package sim

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// maxMessage bounds what a client may send in one message.
const maxMessage = 1 << 20

// serveWS upgrades a request to a WebSocket and serves it until it ends; it refuses where its address asks too often. streams are the names in its address.
func (e *Exchange) serveWS(w http.ResponseWriter, r *http.Request, path string, streams []string, combined bool) {
	if wait := e.limiter.open(addressOf(r.RemoteAddr), time.Now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	netConn, rw, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return // the upgrader has answered
	}
	c := e.connect(netConn, path, addressOf(r.RemoteAddr), combined)
	if c == nil {
		_ = netConn.Close()
		return
	}
	defer e.running.Done()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.write(e.Now)
	}()
	e.mu.Lock()
	for _, name := range streams {
		e.add(c, name)
	}
	tooMany := len(c.names) > maxStreams
	e.mu.Unlock()
	if tooMany {
		c.control(ws.OpText, tooManyStreams)
		c.close(closePolicy, "Invalid request")
	}
	e.read(c, rw)
	c.abort()
	<-done
	e.disconnect(c)
}

// connect numbers a connection and takes it in; nil once the exchange has ended.
func (e *Exchange) connect(netConn net.Conn, path, ip string, combined bool) *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	e.lastNum++
	now := time.Now()
	c := &conn{
		num: e.lastNum, path: path, net: netConn, born: e.Now(), ip: ip, combined: combined, set: make(map[string]bool),
		allowance: burst, counted: now, lastPong: now, signal: make(chan struct{}, 1), latency: e.onTheWay(),
	}
	e.conns[c.num] = c
	e.running.Add(1)
	return c
}

// disconnect forgets a connection that has ended.
func (e *Exchange) disconnect(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range c.names {
		e.unsubscribe(c, name)
	}
	delete(e.conns, c.num)
}

// How often what a connection sends is held up on its way, in the mean: by a few latencies, and by many as when packets are
// lost. What comes behind it waits too, so this goes by time and not by how much is sent.
const (
	slowEvery = 4 * time.Second
	lostEvery = 2 * time.Minute
)

// onTheWay gives the latency of what one connection sends, call by call.
func (e *Exchange) onTheWay() func() time.Duration {
	last := time.Now()
	return func() time.Duration {
		now := time.Now()
		gone := now.Sub(last)
		last = now
		return e.delay(rand.Float64() < gone.Seconds()/slowEvery.Seconds(), rand.Float64() < gone.Seconds()/lostEvery.Seconds())
	}
}

// askDelay is the latency of one way of a request.
func (e *Exchange) askDelay() time.Duration {
	return e.delay(rand.Uint32()%64 == 0, rand.Uint32()%1024 == 0)
}

// delay is one latency: near the mean, or a multiple of it.
func (e *Exchange) delay(slow, lost bool) time.Duration {
	factor := 0.8 + 0.3*rand.Float64()
	switch {
	case lost:
		factor *= 12
	case slow:
		factor *= 3
	}
	return time.Duration(float64(e.opt.Latency) * factor)
}

// read takes what the client sends, until the connection ends.
func (e *Exchange) read(c *conn, r io.Reader) {
	var message []byte
	state := ws.StateServerSide
	for {
		h, err := ws.ReadHeader(r)
		if err != nil || ws.CheckHeader(h, state) != nil || h.Length > maxMessage-int64(len(message)) {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode == ws.OpClose {
			c.close(closeNormal, "")
			drain(r)
			return
		}
		if !c.allow() {
			c.close(closePolicy, "Too many requests")
			drain(r)
			return
		}
		switch h.OpCode {
		case ws.OpPing: // no sign of life: those are pongs
			c.control(ws.OpPong, payload)
		case ws.OpPong:
			c.pong()
		case ws.OpText, ws.OpBinary, ws.OpContinuation:
			message = append(message, payload...)
			if state = ws.StateServerSide; !h.Fin {
				state = state.Set(ws.StateFragmented)
				continue
			}
			if !utf8.Valid(message) {
				return
			}
			if !e.control(c, message) {
				c.close(closePolicy, "Invalid request")
				drain(r)
				return
			}
			message = message[:0]
		}
	}
}

// drain reads on until the writer has sent the close frame and closed the socket, or the peer has.
func drain(r io.Reader) {
	_, _ = io.Copy(io.Discard, r)
}

// routesWS adds the paths of the WebSocket server: each with its streams in the path, in the query, or none.
func (e *Exchange) routesWS(mux *http.ServeMux) {
	for prefix, path := range map[string]string{
		"": pathPublic, pathPublic: pathPublic, pathMarket: pathMarket, pathPrivate: pathPrivate,
	} {
		raw := func(w http.ResponseWriter, r *http.Request) {
			names := strings.Trim(strings.TrimPrefix(r.URL.Path, prefix+"/ws"), "/")
			e.serveWS(w, r, path, splitNames(names), false)
		}
		mux.HandleFunc(prefix+"/ws", raw)
		mux.HandleFunc(prefix+"/ws/", raw)
		mux.HandleFunc(prefix+"/stream", func(w http.ResponseWriter, r *http.Request) {
			e.serveWS(w, r, path, splitNames(r.URL.Query().Get("streams")), true)
		})
	}
}

// splitNames are the names in a/b/c.
func splitNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == '/' })
}

// addressOf is the part of a remote address that limits count by.
func addressOf(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

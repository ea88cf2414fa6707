package serve

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// read is the reader goroutine: it takes control messages until the connection is over, and cleans up after it.
func (c *client) read(names []string) {
	defer c.hub.running.Done()
	_ = c.conn.SetReadDeadline(time.Now().Add(pongWithin))
	c.begin(names)
	answered := c.receive()
	<-c.written
	if !answered {
		// A connection that is closed with unread bytes loses what was written to it last.
		_, _ = io.CopyN(io.Discard, c.in, maxMessage)
	}
	_ = c.conn.Close()
	c.leave()
	c.mu.Lock()
	c.emptyLocked()
	c.mu.Unlock()
	c.hub.forget(c)
}

// receive takes frames until one ends the connection, or it fails; the writer then knows. It reports whether a close
// frame came.
func (c *client) receive() bool {
	state := ws.StateServerSide
	for {
		h, payload, ok := c.next(state)
		if !ok {
			return false
		}
		if h.OpCode == ws.OpClose {
			c.closed(payload)
			return true
		}
		if !c.rate.allow(time.Now()) {
			c.shut(ws.StatusPolicyViolation, "Too many requests")
		}
		if h.OpCode.IsControl() {
			c.pingPong(h.OpCode, payload)
			continue
		}
		c.message = append(c.message, payload...)
		state = ws.StateServerSide
		if !h.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		c.handle(c.message)
		c.message = nil
	}
}

// next reads one frame. Where there is none that may be taken, c is being closed and ok is false.
func (c *client) next(state ws.State) (h ws.Header, payload []byte, ok bool) {
	h, err := ws.ReadHeader(c.in)
	if err != nil {
		c.lost(err)
		return h, nil, false
	}
	if err := ws.CheckHeader(h, state); err != nil {
		c.shut(ws.StatusProtocolError, err.Error())
		return h, nil, false
	}
	if h.Length > maxMessage || !h.OpCode.IsControl() && len(c.message)+int(h.Length) > maxMessage {
		c.shut(ws.StatusMessageTooBig, "message too big")
		return h, nil, false
	}
	payload = make([]byte, h.Length)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		c.lost(err)
		return h, nil, false
	}
	ws.Cipher(payload, h.Mask, 0)
	return h, payload, true
}

// handle answers one whole message.
func (c *client) handle(message []byte) {
	if !utf8.Valid(message) {
		c.shut(ws.StatusInvalidFramePayloadData, "not UTF-8")
	}
	c.mu.Lock()
	ending := c.ending
	c.mu.Unlock()
	if !ending {
		c.obey(message)
	}
}

// closed answers a close frame with its own code.
func (c *client) closed(payload []byte) {
	if len(payload) < 2 {
		c.shut(ws.StatusNormalClosure, "")
		return
	}
	code := ws.StatusCode(binary.BigEndian.Uint16(payload))
	if code < 3000 && ws.CheckCloseFrameData(code, string(payload[2:])) != nil {
		c.shut(ws.StatusProtocolError, "bad close frame")
		return
	}
	c.shut(code, "")
}

// pingPong answers a ping, and notes a pong as a sign of life.
func (c *client) pingPong(op ws.OpCode, payload []byte) {
	if op == ws.OpPing {
		c.say(control(ws.OpPong, payload))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending { // the writer's farewell has its own deadline
		_ = c.conn.SetReadDeadline(time.Now().Add(pongWithin))
	}
}

// lost ends a connection that cannot be read any more.
func (c *client) lost(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.shut(ws.StatusPolicyViolation, "no pong")
		return
	}
	c.shut(0, "")
	_ = c.conn.Close()
}

// rate counts a client's frames: a bucket of controlBurst that refills with controlPerSec a second.
type rate struct {
	tokens float64
	at     time.Time
}

func (r *rate) allow(now time.Time) bool {
	r.tokens = min(controlBurst, r.tokens+controlPerSec*now.Sub(r.at).Seconds())
	r.at = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

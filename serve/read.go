package serve

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// read is the reader goroutine: it takes control messages until the connection is over, and cleans up after it.
func (c *client) read(names []string) {
	defer c.hub.running.Done()
	c.pongBy = time.Now().Add(pongWithin)
	c.expect()
	c.begin(names)
	answered := c.receive()
	c.forgetMessage()
	<-c.written
	if !answered {
		// A connection that is closed with unread bytes loses what was written to it last.
		_, _ = io.CopyN(io.Discard, c.in, maxUnread)
	}
	_ = c.conn.Close()
	c.leave()
	c.mu.Lock()
	c.emptyLocked()
	c.mu.Unlock()
	c.hub.forget(c)
	c.hub.server.log.Debug("client went", "from", c.conn.RemoteAddr(), "after", time.Since(c.born).Round(time.Millisecond))
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
		if !c.rate.allow(time.Now(), h.Length) {
			c.shut(ws.StatusPolicyViolation, "Too many requests")
		}
		if h.OpCode.IsControl() {
			c.pingPong(h.OpCode, payload)
			continue
		}
		state = ws.StateServerSide
		if !h.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		c.handle(c.message)
		c.forgetMessage()
		c.expect()
	}
}

// next reads one frame: the payload of a control frame is returned, that of another one added to the message. Where there
// is none that may be taken, c is being closed and ok is false.
func (c *client) next(state ws.State) (h ws.Header, payload []byte, ok bool) {
	h, err := ws.ReadHeader(c.in)
	if err == nil {
		err = ws.CheckHeader(h, state)
	} else if !errors.Is(err, ws.ErrHeaderLengthMSB) {
		c.lost(err)
		return h, nil, false
	}
	if err != nil {
		c.shut(ws.StatusProtocolError, err.Error())
		return h, nil, false
	}
	if h.OpCode.IsControl() {
		payload = make([]byte, h.Length)
		_, err = io.ReadFull(c.in, payload)
		ws.Cipher(payload, h.Mask, 0)
	} else {
		if h.Length > maxMessage-int64(len(c.message)) {
			c.shut(ws.StatusMessageTooBig, "message too big")
			return h, nil, false
		}
		err = c.body(h)
	}
	if err != nil {
		c.lost(err)
		return h, nil, false
	}
	return h, payload, true
}

// body reads the payload of a frame and adds it to the message, in steps: what is only announced takes no memory.
func (c *client) body(h ws.Header) error {
	if c.messageBy.IsZero() {
		c.messageBy = time.Now().Add(messageWithin)
		c.expect()
	}
	from := len(c.message)
	for left := int(h.Length); left > 0; {
		at := len(c.message)
		n := min(left, max(at, readAtOnce))
		c.unfinished(at + n)
		c.hub.interrupt()
		c.message = slices.Grow(c.message, n)[:at+n]
		if _, err := io.ReadFull(c.in, c.message[at:]); err != nil {
			return err
		}
		left -= n
	}
	ws.Cipher(c.message[from:], h.Mask, 0)
	return nil
}

// forgetMessage makes room for the next one.
func (c *client) forgetMessage() {
	c.unfinished(0)
	c.message, c.messageBy = nil, time.Time{}
}

// unfinished counts n bytes of a message, but for the first step: short messages are always taken.
func (c *client) unfinished(n int) {
	long := int64(max(n-readAtOnce, 0))
	if before := c.long.Swap(long); before != long {
		c.hub.reading.Add(long - before)
	}
}

// interrupt closes the clients with the longest unfinished messages until all are within the bound again.
func (h *hub) interrupt() {
	for h.reading.Load() > maxMessages {
		var longest *client
		h.clientsMu.Lock()
		for c := range h.clients {
			if n := c.long.Load(); n > 0 && (longest == nil || n > longest.long.Load()) {
				longest = c
			}
		}
		h.clientsMu.Unlock()
		if longest == nil {
			return
		}
		longest.unfinished(0) // its reader lets go at once
		longest.mu.Lock()
		longest.shutLocked(ws.StatusPolicyViolation, "too many unfinished messages")
		_ = longest.conn.SetReadDeadline(time.Now())
		longest.mu.Unlock()
	}
}

// expect gives the other side until then to be heard of.
func (c *client) expect() {
	by := c.pongBy
	if !c.messageBy.IsZero() && c.messageBy.Before(by) {
		by = c.messageBy
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending { // the writer's farewell has its own deadline
		_ = c.conn.SetReadDeadline(by)
	}
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
	if len(payload) == 0 {
		c.shut(ws.StatusNormalClosure, "")
		return
	}
	var code ws.StatusCode // one byte is none
	if len(payload) >= 2 {
		code = ws.StatusCode(binary.BigEndian.Uint16(payload))
	}
	if code > 4999 || ws.CheckCloseFrameData(code, string(payload[min(2, len(payload)):])) != nil {
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
	c.pongBy = time.Now().Add(pongWithin)
	c.expect()
}

// lost ends a connection that cannot be read any more.
func (c *client) lost(err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.messageBy.IsZero() && c.messageBy.Before(c.pongBy):
		c.shut(ws.StatusPolicyViolation, "message takes too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.shut(ws.StatusPolicyViolation, "no pong")
	default:
		c.shut(0, "")
		_ = c.conn.Close()
	}
}

// rate counts a client's frames: a bucket of controlBurst that refills with controlPerSec a second. A long frame counts
// as several.
type rate struct {
	tokens float64
	at     time.Time
}

func (r *rate) allow(now time.Time, length int64) bool {
	r.tokens = min(controlBurst, r.tokens+controlPerSec*now.Sub(r.at).Seconds())
	r.at = now
	cost := 1 + float64(length/controlLong)
	if r.tokens < cost {
		return false
	}
	r.tokens -= cost
	return true
}

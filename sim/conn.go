package sim

import (
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// Limits of a connection.
const (
	maxStreams = 1024
	maxQueue   = 8 << 20 // bytes that wait for a slow reader before it is closed
	burst      = 15      // incoming messages answered back to back
	perSecond  = 10      // incoming messages, in the long run
	pingEvery  = 180 * time.Second
	pongWithin = 10 * time.Minute
	lifetime   = 24 * time.Hour
	lastWrite  = 5 * time.Second // for the close frame, where the peer reads slowly

	closeNormal    = ws.StatusNormalClosure
	closeGoingAway = ws.StatusGoingAway
	closePolicy    = ws.StatusPolicyViolation
)

// conn is one client's WebSocket. Its reader is the goroutine that serves the request, its writer one more.
type conn struct {
	num  int
	path string // pathMarket, pathPublic or pathPrivate
	net  net.Conn
	born market.Time
	ip   string

	// Guarded by the exchange's mutex.
	names    []string // streams subscribed, whether they are delivered or not, in order
	set      map[string]bool
	combined bool
	held     *heldFrame // nil where there is none

	// The reader's own.
	allowance float64 // messages
	counted   time.Time

	mu       sync.Mutex
	queue    []byte  // frames since the last wake
	batches  []batch // what waits for its latency
	free     []byte  // memory of a batch that was written
	waiting  int     // bytes in batches
	sent     uint64  // data frames
	lastPong time.Time
	closing  bool // nothing more is queued, the writer ends once all is written
	dead     bool // the socket is closed

	signal  chan struct{} // holds one value while the writer has something to look at
	latency func() time.Duration
}

// batch is a run of frames that may be written from a time on; the zero time is at once.
type batch struct {
	due  time.Time
	data []byte
}

// data queues a frame of a stream.
func (c *conn) data(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.dead {
		return
	}
	if len(c.queue)+c.waiting+len(frame) > maxQueue {
		c.cut()
		return
	}
	c.queue = append(c.queue, frame...)
	c.sent++
}

// control queues an answer or a ping and lets the writer see it.
func (c *conn) control(op ws.OpCode, payload []byte) {
	c.mu.Lock()
	if !c.closing && !c.dead {
		c.queue = appendFrame(c.queue, op, nil, payload, nil)
	}
	c.mu.Unlock()
	c.wake()
}

// close ends the connection with a close frame, after what is queued.
func (c *conn) close(code ws.StatusCode, reason string) {
	c.control(ws.OpClose, ws.NewCloseFrameBody(code, reason))
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		_ = c.net.SetWriteDeadline(time.Now().Add(lastWrite + c.latency()))
	}
	c.mu.Unlock()
	c.wake()
}

// abort ends the connection without a word.
func (c *conn) abort() {
	c.mu.Lock()
	c.cut()
	c.mu.Unlock()
}

// cut closes the socket, which ends reader and writer; the caller holds c.mu.
func (c *conn) cut() {
	if !c.dead {
		c.dead = true
		_ = c.net.Close()
		c.tell()
	}
}

func (c *conn) tell() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// wake hands what is queued to the writer. Frames keep their order whatever their latency.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		b := batch{data: c.queue}
		if late := c.latency(); late > 0 {
			b.due = time.Now().Add(late)
			if n := len(c.batches); n > 0 && b.due.Before(c.batches[n-1].due) {
				b.due = c.batches[n-1].due
			}
		}
		c.batches = append(c.batches, b)
		c.waiting += len(b.data)
		c.queue, c.free = c.free[:0], nil
	}
	if len(c.batches) > 0 || c.closing {
		c.tell()
	}
}

// write is the writer: it sends batches when they are due, and pings, and ends the connection when its time is over. An alarm
// of its own signals what only time brings, so that it waits for one thing.
func (c *conn) write(clock func() market.Time) {
	defer c.abort()
	ping, end := time.Now().Add(pingEvery), time.Now().Add(lifetime)
	rings := ping
	alarm := time.AfterFunc(pingEvery, c.tell)
	defer alarm.Stop()
	for {
		data, wait, over := c.take()
		switch {
		case over:
			return
		case data != nil:
			if _, err := c.net.Write(data); err != nil {
				return
			}
			c.give(data)
			continue
		}
		now := time.Now()
		switch {
		case !now.Before(end):
			end = now.Add(lifetime)
			c.close(closeNormal, "")
			continue
		case !now.Before(ping):
			ping = ping.Add(pingEvery)
			c.control(ws.OpPing, strconv.AppendInt(nil, int64(clock()), 10))
			continue
		}
		next := now.Add(wait)
		if ping.Before(next) {
			next = ping
		}
		if next.Before(rings) || !now.Before(rings) {
			rings = next
			alarm.Reset(next.Sub(now))
		}
		<-c.signal
	}
}

// take gives the first batch that is due, or how long until there is something to do; over says that there is nothing
// left to do, or that the peer has not answered for too long.
func (c *conn) take() (data []byte, wait time.Duration, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = time.Until(c.lastPong.Add(pongWithin))
	switch {
	case c.dead || wait <= 0:
		return nil, 0, true
	case len(c.batches) == 0:
		return nil, wait, c.closing && len(c.queue) == 0
	}
	b := c.batches[0]
	if late := time.Until(b.due); !b.due.IsZero() && late > 0 {
		return nil, min(wait, late), false
	}
	c.batches = c.batches[1:]
	return b.data, 0, false
}

// give returns the memory of a batch that was written. What was on its way counted as waiting.
func (c *conn) give(data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting -= len(data)
	if cap(data) > cap(c.free) && cap(data) <= 1<<20 {
		c.free = data
	}
}

// pong notes a sign of life.
func (c *conn) pong() {
	c.mu.Lock()
	c.lastPong = time.Now()
	c.mu.Unlock()
}

// allow counts an incoming message and reports whether it is within the limit.
func (c *conn) allow() bool {
	now := time.Now()
	c.allowance = min(burst, c.allowance+now.Sub(c.counted).Seconds()*perSecond)
	c.counted = now
	if c.allowance < 1 {
		return false
	}
	c.allowance--
	return true
}

// queued is how many bytes wait for the peer.
func (c *conn) queued() (bytes int, sent uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue) + c.waiting, c.sent
}

// gone reports whether the socket is closed, though the connection may not have been taken out yet.
func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

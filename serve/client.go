package serve

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// Bounds of one client.
const (
	clientQueued  = 4 << 20          // bytes that wait for it
	unreadFor     = 30 * time.Second // how long one write may take
	pingEvery     = 3 * time.Minute
	pongWithin    = 10 * time.Minute
	livesFor      = 24 * time.Hour
	farewellFor   = 2 * time.Second  // for a close frame, and for the other side's
	writeAtOnce   = 32 << 10         // bytes joined into one write, about
	unsentAtMost  = 2 * writeAtOnce  // bytes that the kernel takes of them before it can send them
	maxMessage    = 512 << 10        // 10,000 names fit
	maxMessages   = 64 << 20         // of all clients, unfinished, beyond the first readAtOnce of each
	maxUnread     = 16 << 20         // read and thrown away of one that is being closed
	readAtOnce    = 4 << 10          // bytes of a message, at least
	messageWithin = 30 * time.Second // from its first byte to its last
	controlBurst  = 15               // messages answered back to back (measured)
	controlPerSec = 10               // and refilled
	controlLong   = 64 << 10         // bytes that count as a message of their own
)

// client is one WebSocket connection. A goroutine reads its control messages. Frames are written by the hub's flushers
// while the socket takes them at once, else by a goroutine that lives as long as something waits.
type client struct {
	hub       *hub
	conn      net.Conn
	raw       syscall.RawConn // of conn; nil where it has none
	born      time.Time
	who       string      // for whom hub.from counts it; never changes
	combined  atomic.Bool // frames are wrapped in {"stream":…,"data":…}
	revisions bool        // it takes later versions of closed klines too; never changes
	settled   bool        // its klines are final when they are settled; never changes
	private   bool        // it came by the path of user data; never changes

	mu      sync.Mutex // guards the queue and how it ends
	queue   []*frame   // those from head on wait
	head    int
	first   uint64        // the number of queue[0]; frames are numbered from 1, as they come
	bytes   int           // in the queue and in the write under way
	busy    bool          // somebody writes, or a round or the hub's ready queue holds c for that
	timed   bool          // conn has a write deadline that does not end c
	ending  bool          // nothing is queued any more
	code    ws.StatusCode // of the close frame; 0: none
	reason  string
	written chan struct{} // closed when all is written, the close frame too
	timer   *time.Timer   // of the next ping
	sending []*frame      // what a goroutine of its own is writing, as long as it is counted
	joined  int           // bytes that hub.queued counts for what they are joined in

	long atomic.Int64 // bytes of its unfinished message that hub.reading counts

	// The reader's own:
	in        io.Reader
	subs      []*subscription // in the order they came
	relayed   int             // how many of them are relayed; guarded by the hub's subscribing
	unrelayed int             // how many would have been, but for maxRelayed; not logged yet; guarded likewise
	claimed   int             // of them, those that hub.subscriptions counts
	rate      rate
	message   []byte // what has come of a message that is not whole yet

	pongBy    time.Time // when c is lost unless a pong has come
	messageBy time.Time // when the message must be whole; zero where none has begun
}

// newClient makes the client of an upgraded connection; in holds what has been read from it already.
func newClient(h *hub, conn net.Conn, in *bufio.Reader, want wanted) *client {
	now := time.Now()
	c := &client{
		hub: h, conn: conn, in: conn, born: now, who: want.who, revisions: want.revisions, settled: want.settled, private: want.private,
		first:   1,
		written: make(chan struct{}),
		rate:    rate{tokens: controlBurst, at: now},
	}
	if n := in.Buffered(); n > 0 {
		early, _ := in.Peek(n)
		c.in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)
	}
	if conn, ok := conn.(syscall.Conn); ok {
		c.raw, _ = conn.SyscallConn()
		keepShort(c.raw)
	}
	c.combined.Store(want.combined)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(pingEvery, c.keepAlive)
	return c
}

// keepShort bounds what the kernel holds of a socket's bytes that it cannot send yet. By itself it takes megabytes: what lies there is
// not replaced by newer state, and counts for nobody. It is a hint: where the kernel does not take it, it does as it did.
func keepShort(raw syscall.RawConn) {
	if raw != nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentAtMost)
		})
	}
}

// enqueue queues f, which comes by s. A newer version of an open kline, and the close of it, takes the place of the one that
// waits; nothing else is dropped: a client with too much waiting is closed. It returns whether it is for the caller now
// to have c written to, and whether what waits has become enough for a write with f.
func (c *client) enqueue(s *subscription, f *frame) (touched, full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return false, false
	}
	before := c.bytes
	if !c.replace(s, f) {
		if f.kind == running {
			s.waits = c.first + uint64(len(c.queue))
		}
		c.keepLocked(append(c.queue, f))
	}
	c.bytes += len(f.data)
	if f.waits.Add(1) == 1 {
		c.hub.queued.Add(int64(len(f.data)))
	}
	if c.bytes > clientQueued {
		c.slowLocked()
		return false, false
	}
	touched = !c.busy
	c.busy = true
	return touched, before < writeAtOnce && c.bytes >= writeAtOnce
}

// replace puts f in the place of an older version that waits, if there is one.
func (c *client) replace(s *subscription, f *frame) bool {
	if f.kind == lasting || s.waits < c.first+uint64(c.head) {
		return false
	}
	place := &c.queue[s.waits-c.first]
	old := *place
	switch {
	case f.kind == running && old.open < f.open: // what waits may be a close that is held back: no other frame has its values
		return false
	case f.kind == closing && old.open > f.open: // closes stay in their order, whatever closes next takes the open kline's place
		*place = f
		s.waits = c.first + uint64(len(c.queue))
		c.keepLocked(append(c.queue, old))
		return true
	case f.kind == closing:
		s.waits = 0 // what comes next comes after the close
		if old.open < f.open {
			return false
		}
	}
	*place = f
	c.passedLocked(old)
	return true
}

// passedLocked says that frames do not wait for c any more.
func (c *client) passedLocked(frames ...*frame) {
	for _, f := range frames {
		c.bytes -= len(f.data)
		if f.waits.Add(-1) == 0 {
			c.hub.queued.Add(-int64(len(f.data)))
		}
	}
}

// keepLocked makes queue c's, and counts the memory of it beyond what every client may have.
func (c *client) keepLocked(queue []*frame) {
	const pointer = 8 // bytes
	if grown := max(cap(queue), keptQueue) - max(cap(c.queue), keptQueue); grown != 0 {
		c.hub.queued.Add(int64(grown) * pointer)
	}
	c.queue = queue
}

// say queues a frame of c's own.
func (c *client) say(f *frame) {
	r := c.hub.round()
	r.put(c, nil, f)
	r.end()
}

// keepAlive is the timer's: a ping now and then, and an end after a day.
func (c *client) keepAlive() {
	now := time.Now()
	if now.Sub(c.born) >= livesFor {
		c.shut(ws.StatusGoingAway, "connection is 24 hours old")
		return
	}
	c.say(ping(now))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.timer.Reset(pingEvery)
	}
}

// waiting is how many bytes wait for c; 0 when it is being closed.
func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return 0
	}
	return c.bytes
}

// slow closes a client that does not read fast enough.
func (c *client) slow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowLocked()
}

func (c *client) slowLocked() {
	if c.ending {
		return
	}
	c.hub.metrics.WSSlowClients.Inc()
	c.emptyLocked()
	c.shutLocked(ws.StatusPolicyViolation, "slow client")
	c.sentLocked()
	_ = c.conn.SetWriteDeadline(time.Now()) // who writes, or is about to, lets go at once; the farewell has its own
}

// sentLocked counts what c's own goroutine is writing no more.
func (c *client) sentLocked() {
	c.passedLocked(c.sending...)
	c.hub.queued.Add(-int64(c.joined))
	c.sending, c.joined = nil, 0
}

// emptyLocked throws away what waits.
func (c *client) emptyLocked() {
	c.passedLocked(c.queue[c.head:]...)
	c.first += uint64(len(c.queue))
	c.head = 0
	c.keepLocked(nil)
}

// shut ends c: what waits is written within farewellFor, then a close frame, within as long again. Code 0 ends without a frame.
func (c *client) shut(code ws.StatusCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutLocked(code, reason)
}

func (c *client) shutLocked(code ws.StatusCode, reason string) {
	if c.ending {
		return
	}
	c.ending, c.code, c.reason = true, code, reason
	c.timer.Stop()
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewellFor))
	if !c.busy {
		c.busy = true
		c.hand(nil, 0)
	}
}

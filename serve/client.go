package serve

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Bounds of one client.
const (
	clientQueued  = 4 << 20          // bytes that wait for it
	unreadFor     = 30 * time.Second // how long one write may take
	pingEvery     = 3 * time.Minute
	pongWithin    = 10 * time.Minute
	livesFor      = 24 * time.Hour
	farewellFor   = 2 * time.Second // for a close frame, and for the other side's
	writeAtOnce   = 32 << 10        // bytes joined into one write, about
	maxMessage    = 64 << 10
	controlBurst  = 15 // messages answered back to back (measured)
	controlPerSec = 10 // and refilled
)

// client is one WebSocket connection: a goroutine that reads control messages and one that writes frames.
type client struct {
	hub       *hub
	conn      net.Conn
	in        *bufio.Reader // the reader's
	combined  atomic.Bool   // frames are wrapped in {"stream":…,"data":…}
	revisions bool          // it takes later versions of closed klines too; never changes

	mu      sync.Mutex // guards the queue and how it ends
	queue   []*frame   // those from head on wait
	head    int
	first   uint64            // the number of queue[0]; frames are numbered as they come
	slot    map[*topic]uint64 // the number of the open kline that waits and that a newer version replaces
	bytes   int               // in the queue and in the write under way
	ending  bool              // nothing is queued any more
	code    ws.StatusCode     // of the close frame; 0: none
	reason  string
	wake    chan struct{} // of capacity 1: something was queued, or ending was set
	written chan struct{} // closed when the writer has ended

	// The reader's own:
	names   []string          // what is subscribed, in the order it was
	topics  map[string]*topic // of names; nil where a name stands for nothing here
	rate    rate
	message []byte // the fragments of a message that is not whole yet
}

func newClient(h *hub, conn net.Conn, in *bufio.Reader, want wanted) *client {
	c := &client{
		hub: h, conn: conn, in: in, revisions: want.revisions,
		slot:    make(map[*topic]uint64),
		topics:  make(map[string]*topic),
		wake:    make(chan struct{}, 1),
		written: make(chan struct{}),
		rate:    rate{tokens: controlBurst, at: time.Now()},
	}
	c.combined.Store(want.combined)
	return c
}

// enqueue queues f. An open kline, and the close of it, takes the place of that series' open kline that waits; nothing
// else is dropped: a client with too much waiting is closed.
func (c *client) enqueue(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	if !c.replace(f) {
		if f.topic != nil && !f.final {
			c.slot[f.topic] = c.first + uint64(len(c.queue))
		}
		c.queue = append(c.queue, f)
		c.count(len(f.data))
	}
	if c.bytes > clientQueued {
		c.slowLocked()
	}
	c.signal()
}

// replace puts f in the place of an older version that waits, if there is one.
func (c *client) replace(f *frame) bool {
	if f.topic == nil {
		return false
	}
	number, ok := c.slot[f.topic]
	if !ok {
		return false
	}
	old := c.queue[number-c.first]
	if f.final {
		if old.open <= f.open {
			delete(c.slot, f.topic) // what comes next comes after the close
		}
		if old.open != f.open {
			return false
		}
	}
	c.queue[number-c.first] = f
	c.count(len(f.data) - len(old.data))
	return true
}

func (c *client) count(bytes int) {
	c.bytes += bytes
	c.hub.queued.Add(int64(bytes))
}

func (c *client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
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
}

// emptyLocked throws away what waits.
func (c *client) emptyLocked() {
	for _, f := range c.queue[c.head:] {
		c.count(-len(f.data))
	}
	c.first += uint64(len(c.queue))
	c.queue, c.head = nil, 0
	clear(c.slot)
}

// shut ends c: what waits is written, then a close frame, all of it within farewellFor. Code 0 ends without a frame.
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
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewellFor))
	c.signal()
}

// write is the writer goroutine.
func (c *client) write() {
	defer c.hub.running.Done()
	defer close(c.written)
	pings := time.NewTicker(pingEvery)
	defer pings.Stop()
	life := time.NewTimer(livesFor)
	defer life.Stop()
	var batch []*frame
	for {
		var ending bool
		batch, ending = c.take(batch[:0])
		if len(batch) > 0 {
			if rest, err := c.send(batch); err != nil {
				c.giveUp(rest, err)
				return
			}
			continue
		}
		if ending {
			c.farewell(nil)
			return
		}
		select {
		case <-c.wake:
		case now := <-pings.C:
			c.enqueue(control(ws.OpPing, strconv.AppendInt(nil, now.UnixMilli(), 10)))
		case <-life.C:
			c.shut(ws.StatusGoingAway, "connection is 24 hours old")
		}
	}
}

// take moves what waits, about writeAtOnce bytes of it, into batch, and gives the write of it its time.
func (c *client) take(batch []*frame) (_ []*frame, ending bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := 0
	for c.head < len(c.queue) && size < writeAtOnce {
		f := c.queue[c.head]
		if number, ok := c.slot[f.topic]; ok && number == c.first+uint64(c.head) {
			delete(c.slot, f.topic)
		}
		batch, size = append(batch, f), size+len(f.data)
		c.queue[c.head] = nil
		c.head++
	}
	if c.head == len(c.queue) {
		c.first += uint64(len(c.queue))
		c.queue, c.head = c.queue[:0], 0
	}
	if !c.ending && len(batch) > 0 {
		_ = c.conn.SetWriteDeadline(time.Now().Add(unreadFor))
	}
	return batch, c.ending
}

// send writes the frames of batch at once. Where it fails, rest is what is left of the frame that was cut.
func (c *client) send(batch []*frame) (rest []byte, err error) {
	buf, _ := c.hub.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer c.hub.buffers.Put(buf)
	data := (*buf)[:0]
	for _, f := range batch {
		data = append(data, f.data...)
	}
	*buf = data
	n, err := c.conn.Write(data)
	c.mu.Lock()
	c.count(-len(data))
	c.mu.Unlock()
	if err != nil {
		return cut(batch, n), err
	}
	for _, f := range batch {
		if f.mark != nil && f.mark.done.CompareAndSwap(false, true) {
			c.measure(f.mark)
		}
	}
	return nil, nil
}

// cut is what is left of the frame in which a write of batch stopped after n bytes.
func cut(batch []*frame, n int) []byte {
	for _, f := range batch {
		if n < len(f.data) {
			if n == 0 {
				return nil
			}
			return f.data[n:]
		}
		n -= len(f.data)
	}
	return nil
}

func (c *client) measure(m *mark) {
	if !m.received.IsZero() {
		c.hub.metrics.FrameToPush.Observe(time.Since(m.received).Seconds())
	}
	if m.boundary != 0 {
		c.hub.metrics.CloseDelay.Observe(c.hub.clock.Now().Sub(m.boundary).Seconds())
	}
}

// giveUp ends the writer after a failed write: with a close frame where the connection may still live.
func (c *client) giveUp(rest []byte, err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.shut(0, "")
		_ = c.conn.Close()
		return
	}
	c.slow() // unless something else ends it
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewellFor))
	c.farewell(rest)
}

// farewell writes the close frame, after the rest of a frame that was cut, and gives the other side time for its own.
func (c *client) farewell(rest []byte) {
	c.mu.Lock()
	code, reason := c.code, c.reason
	c.mu.Unlock()
	if code == 0 {
		_ = c.conn.Close()
		return
	}
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	bye := control(ws.OpClose, append(payload, reason...))
	if _, err := c.conn.Write(append(append([]byte(nil), rest...), bye.data...)); err != nil {
		_ = c.conn.Close()
		return
	}
	c.mu.Lock()
	_ = c.conn.SetReadDeadline(time.Now().Add(farewellFor))
	c.mu.Unlock()
}

package serve

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/gobwas/ws"
)

// take moves what waits, about writeAtOnce bytes of it, into batch. Where nothing does, and c is not ending, c is no longer
// busy.
func (c *client) take(batch []*frame) (_ []*frame, ending bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for size := 0; c.head < len(c.queue) && size < writeAtOnce; c.head++ {
		f := c.queue[c.head]
		batch, size = append(batch, f), size+len(f.data)
		c.queue[c.head] = nil
	}
	if c.head > len(c.queue)/2 {
		c.first += uint64(c.head)
		c.queue, c.head = slices.Delete(c.queue, 0, c.head), 0
		if len(c.queue) == 0 && cap(c.queue) > keptQueue {
			c.keepLocked(nil)
		}
	}
	if len(batch) == 0 && !c.ending {
		c.busy = false
		if c.timed {
			c.timed = false
			_ = c.conn.SetWriteDeadline(time.Time{})
		}
	}
	return batch, c.ending
}

// keptQueue is the longest empty queue that a client keeps, in frames.
const keptQueue = 64

// wrote notes that a batch has gone out.
func (c *client) wrote(batch []*frame) {
	c.mu.Lock()
	c.passedLocked(batch...)
	c.mu.Unlock()
	c.measured(batch)
}

// measured observes the marks of a batch that has gone out.
func (c *client) measured(batch []*frame) {
	for _, f := range batch {
		if f.mark != nil && f.mark.done.CompareAndSwap(false, true) {
			c.measure(f.mark)
		}
	}
}

func (c *client) measure(m *mark) {
	if !m.received.IsZero() {
		c.hub.metrics.FrameToPush.Observe(time.Since(m.received).Seconds())
	}
	if m.boundary != 0 {
		c.hub.metrics.CloseDelay.Observe(c.hub.clock.Now().Sub(m.boundary).Seconds())
	}
}

// hand leaves c, who is busy, to a goroutine that waits for the socket. Of batch n bytes have been written.
func (c *client) hand(batch []*frame, n int) {
	c.hub.running.Add(1) // beside the reader's, which waits for written
	go c.drain(batch, n)
}

// drain writes what waits until nothing does; then it is over, or it says farewell where c is ending.
func (c *client) drain(batch []*frame, n int) {
	defer c.hub.running.Done()
	for {
		if len(batch) > 0 {
			if rest, err := c.send(batch, n); err != nil {
				c.giveUp(rest, err)
				close(c.written)
				return
			}
		}
		var ending bool
		batch, ending = c.take(batch[:0])
		n = 0
		if len(batch) > 0 {
			continue
		}
		if ending {
			c.farewell(nil)
			close(c.written)
		}
		return
	}
}

// send writes the frames of batch from the n-th byte on. Where it fails, rest is what is left of the frame that was cut.
func (c *client) send(batch []*frame, n int) (rest []byte, err error) {
	buf, _ := c.hub.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer c.hub.buffers.Put(buf)
	data := appendFrames((*buf)[:0], batch)
	*buf = data
	c.await(batch, len(data))
	m, err := c.conn.Write(data[n:])
	c.mu.Lock()
	c.sentLocked()
	c.mu.Unlock()
	if err != nil {
		return cut(batch, n+m), err
	}
	c.measured(batch)
	return nil, nil
}

// await gives the write of batch its time, and counts the memory that it is joined in.
func (c *client) await(batch []*frame, joined int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending, c.joined = batch, joined
	c.hub.queued.Add(int64(joined))
	if !c.ending {
		c.timed = true
		_ = c.conn.SetWriteDeadline(time.Now().Add(unreadFor))
	}
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

// giveUp ends c after a failed write: with a close frame where the connection may still live.
func (c *client) giveUp(rest []byte, err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.shut(0, "")
		_ = c.conn.Close()
		return
	}
	c.slow() // unless something else ends it
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
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewellFor))
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

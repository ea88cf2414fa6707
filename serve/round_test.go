package serve

import (
	"bufio"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// writes is a connection that notes how many bytes each write brings.
type writes struct {
	net.Conn
	done chan struct{}

	mu  sync.Mutex
	got []int
}

func (c *writes) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, len(p))
	return len(p), nil
}
func (c *writes) Read([]byte) (int, error)         { <-c.done; return 0, net.ErrClosed }
func (c *writes) SetReadDeadline(time.Time) error  { return nil }
func (c *writes) SetWriteDeadline(time.Time) error { return nil }
func (c *writes) Close() error                     { return nil }

// since is the writes since the last call.
func (c *writes) since() []int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

// TestSharedWrites: what one drain or one tick brings a client goes out in one write.
func TestSharedWrites(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, _ *pipes) {
		intervals := market.ExchangeIntervals()[:10]
		var names []string
		for _, iv := range intervals {
			names = append(names, "btcusdt@kline_"+iv.String())
		}
		c := &writes{done: make(chan struct{})}
		defer close(c.done)
		w.hub.start(c, bufio.NewReader(c), wanted{names: names})
		synctest.Wait()
		drain := func(state market.State, price string) {
			changes := &market.Changes{}
			for _, iv := range intervals {
				changes.Updates = append(changes.Updates, market.Update{Series: market.Series{Symbol: btc, Interval: iv}, Kline: kline(bubbleStart, price, state)})
			}
			w.Publish(changes)
		}
		one := func(what string) {
			t.Helper()
			if got := c.since(); len(got) != 1 || got[0] < len(intervals)*200 {
				t.Errorf("%s: writes of %v bytes", what, got)
			}
		}
		time.Sleep(100 * time.Millisecond)
		drain(market.StateOpen, "1")
		one("quiet series")
		for _, price := range []string{"2", "3", "4"} {
			drain(market.StateOpen, price)
		}
		if got := c.since(); !slices.Equal(got, nil) {
			t.Errorf("before the tick: writes of %v bytes", got)
		}
		time.Sleep(150 * time.Millisecond)
		one("the tick")
		drain(market.StateClosed, "5")
		one("closes")
	})
}

// TestQueueOfOneBehind: the queue of a client that is always a little behind takes the memory of what waits.
func TestQueueOfOneBehind(t *testing.T) {
	c := &client{hub: &hub{}, first: 1, busy: true}
	f := &frame{data: make([]byte, 300)}
	for range 2000 {
		c.enqueue(nil, f)
	}
	var batch []*frame
	for range 1000 {
		batch, _ = c.take(batch[:0])
		c.wrote(batch, len(batch)*len(f.data))
		for range batch {
			c.enqueue(nil, f)
		}
	}
	if waits := len(c.queue) - c.head; waits != 2000 || c.bytes != 2000*len(f.data) || cap(c.queue) > 4*waits {
		t.Errorf("%d frames of %d bytes wait, in an array for %d", waits, c.bytes, cap(c.queue))
	}
}

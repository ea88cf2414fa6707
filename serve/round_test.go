package serve

import (
	"bufio"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

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
func (c *writes) RemoteAddr() net.Addr             { return nil }
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
		c.wrote(batch)
		for range batch {
			c.enqueue(nil, f)
		}
	}
	if waits := len(c.queue) - c.head; waits != 2000 || c.bytes != 2000*len(f.data) || cap(c.queue) > 4*waits {
		t.Errorf("%d frames of %d bytes wait, in an array for %d", waits, c.bytes, cap(c.queue))
	}
}

// TestFullOnce: a queue is told to have enough for a write when it comes to have it, not with each frame that takes another's place there.
func TestFullOnce(t *testing.T) {
	c := &client{hub: &hub{}, first: 1}
	c.enqueue(nil, &frame{data: make([]byte, writeAtOnce-100)})
	s := &subscription{client: c}
	for i := range 3 {
		_, full := c.enqueue(s, &frame{data: make([]byte, 300), kind: running})
		if full != (i == 0) {
			t.Errorf("version %d: full %v", i, full)
		}
	}
	if len(c.queue) != 2 {
		t.Errorf("%d frames wait", len(c.queue))
	}
}

// prompt is a connection whose socket takes every write at once.
type prompt struct {
	*writes
	socket *os.File
}

func (c prompt) SyscallConn() (syscall.RawConn, error) { return c.socket.SyscallConn() }

// TestSlowIsLetGo: what a writer has taken of a slow client's is not counted for it any longer, and not written: at once, though the
// client reads nothing.
func TestSlowIsLetGo(t *testing.T) {
	for _, c := range []struct {
		name    string
		writing bool // it is being written when the client is found slow; else it has been taken for that
		got     int  // frames that the client has read before
	}{{"taken", false, 0}, {"being written", true, 1}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				p := connect(t, listen, "/ws")
				p.hold(true) // takes one more frame
				w.hub.clientsMu.Lock()
				var slow *client
				for slow = range w.hub.clients {
				}
				w.hub.clientsMu.Unlock()
				for range 3 {
					slow.enqueue(nil, control(ws.OpText, make([]byte, 1000)))
				}
				batch, _ := slow.take(nil)
				if c.writing {
					slow.hand(batch, 0)
					synctest.Wait()
				}
				slow.slow()
				if !c.writing {
					slow.hand(batch, 0)
				}
				synctest.Wait()
				if n := w.hub.queued.Load(); n != 0 {
					t.Errorf("%d bytes wait", n)
				}
				p.hold(false)
				if got, ended := len(p.texts()), p.ended(); got != c.got || ended != "1008 slow client" {
					t.Errorf("%d frames, and then %q", got, ended)
				}
			})
		})
	}
}

// TestManyInOneRound: what one round brings all clients together is more than may wait, were it counted for each of them: none of
// those who take it at once is closed for it.
func TestManyInOneRound(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, _ *pipes) {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		done := make(chan struct{})
		defer close(done)
		w.hub.bound = 100_000
		for range 100 {
			c := prompt{&writes{done: done}, null}
			w.hub.start(c, bufio.NewReader(c), wanted{names: []string{"btcusdt@kline_1m"}})
		}
		synctest.Wait()
		changes := &market.Changes{}
		for minute := range 40 {
			changes.Updates = append(changes.Updates, market.Update{Series: minutes(btc), Kline: closed(minute, "1")})
		}
		w.Publish(changes)
		wantSlow(t, w, 0)
		if w.hub.queued.Load() != 0 {
			t.Errorf("%d bytes are left", w.hub.queued.Load())
		}
	})
}

// TestLongRound: a round does not wait for its end where a client has enough for a write, nor where all together have much.
func TestLongRound(t *testing.T) {
	for _, c := range []struct {
		name          string
		closes, first int  // of about 250 bytes; how many bytes a round queues first
		written       bool // before the round is over
	}{
		{"short", 10, handedFirst, false},
		{"enough for a write", writeAtOnce/250 + 1, tickedFirst, true},
		{"much for all", 10, 2000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, _ *pipes) {
				conn := &writes{done: make(chan struct{})}
				defer close(conn.done)
				w.hub.start(conn, bufio.NewReader(conn), wanted{names: []string{"btcusdt@kline_1m"}})
				synctest.Wait()
				r := w.hub.round()
				r.next = c.first
				for minute := range c.closes {
					w.hub.klinesOf(minutes(btc)).ended(r, &market.Update{Series: minutes(btc), Kline: closed(minute, "1")}, time.Time{})
				}
				if got := conn.since(); (len(got) > 0) != c.written {
					t.Errorf("writes of %v bytes", got)
				}
				r.end()
				if got := conn.since(); len(got) == 0 && !c.written {
					t.Error("nothing has been written")
				}
			})
		})
	}
}

package clock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"klined/market"
)

const ms = time.Millisecond

var errRefused = errors.New("connection refused")

// exchange answers with its own time after some delay there and back, the i-th question by the i-th entries.
type exchange struct {
	began time.Time

	mu          sync.Mutex
	ahead       time.Duration // of the bubble's time, which is this machine's monotonic clock
	there, back []time.Duration
	lies        map[int]time.Duration // how far an answer is beside the exchange's time, by question
	err         error
	asked       []time.Duration // after began, each
	during      func(question int)
}

func newExchange(ahead time.Duration, there, back []time.Duration) *exchange {
	return &exchange{began: time.Now(), ahead: ahead, there: there, back: back}
}

// near is an exchange without delays.
func near(ahead time.Duration) *exchange {
	return newExchange(ahead, []time.Duration{0}, []time.Duration{0})
}

func (x *exchange) time(ctx context.Context) (market.Time, error) {
	x.mu.Lock()
	i := len(x.asked)
	x.asked = append(x.asked, time.Since(x.began))
	there, back := x.there[i%len(x.there)], x.back[i%len(x.back)]
	during := x.during
	x.mu.Unlock()
	if err := pause(ctx, there); err != nil {
		return 0, err
	}
	if during != nil {
		during(i)
	}
	x.mu.Lock()
	t, err := market.TimeOf(time.Now().Add(x.ahead+x.lies[i])), x.err
	x.mu.Unlock()
	return t, errors.Join(err, pause(ctx, back))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// set changes the exchange.
func (x *exchange) set(change func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change()
}

// questions is how often the exchange was asked in which second since it began: "30s×5 60s".
func (x *exchange) questions() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var parts []string
	for i := 0; i < len(x.asked); {
		second, n := x.asked[i].Truncate(time.Second), 0
		for ; i < len(x.asked) && x.asked[i].Truncate(time.Second) == second; i++ {
			n++
		}
		part := fmt.Sprintf("%.0fs", second.Seconds())
		if n > 1 {
			part += fmt.Sprintf("×%d", n)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

// machine is this machine's clocks: the bubble's time is the monotonic one.
type machine struct {
	mu      sync.Mutex
	set     time.Duration // how far the wall clock is ahead of the monotonic one
	stopped time.Duration // how long the process stands still at its next look
}

// newClock is a clock on m.
func (m *machine) newClock() *Clock {
	c := New()
	c.look = func() glance {
		m.mu.Lock()
		stopped := m.stopped
		m.stopped = 0
		m.mu.Unlock()
		time.Sleep(stopped)
		m.mu.Lock()
		defer m.mu.Unlock()
		now := time.Now()
		return glance{wall: now.Round(0).Add(m.set), mono: now}
	}
	return c
}

func (m *machine) setWall(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set += by
}

// suspend is a suspended machine: the exchange and the wall clock go on, the monotonic clock does not.
func (m *machine) suspend(x *exchange, d time.Duration) {
	m.setWall(d)
	x.set(func() { x.ahead += d })
}

func (m *machine) stop(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = d
}

// wantTold fails unless c tells the exchange's time, give or take.
func wantTold(t *testing.T, c *Clock, ahead, give time.Duration) {
	t.Helper()
	if off := c.Now().Sub(market.TimeOf(time.Now().Add(ahead))); off.Abs() > give {
		t.Errorf("off by %s, want at most %s", off, give)
	}
}

func mustSync(t *testing.T, c *Clock, x *exchange) {
	t.Helper()
	if err := c.Sync(t.Context(), x.time); err != nil {
		t.Fatal(err)
	}
}

package feed

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestClockWaitsForReaders: while every connection works off what came long ago, the clock does not close what that may
// belong to, for at most 2 s.
func TestClockWaitsForReaders(t *testing.T) {
	for _, c := range []struct {
		name  string
		conns string        // these bring the same every 50 ms from 1:59 on
		lag   time.Duration // as old as this
		until time.Duration // the last of it
		want  time.Duration // when 1:00 closes
	}{
		{"in time", "AB", 400 * time.Millisecond, 125 * time.Second, 120400 * time.Millisecond}, // proven by a trade
		{"behind", "AB", 1200 * time.Millisecond, 125 * time.Second, 121200 * time.Millisecond}, // as well, if later
		{"behind, and the other brings nothing", "A", 1200 * time.Millisecond, 125 * time.Second, 121200 * time.Millisecond},
		{"behind, and then nothing is left", "AB", 1200 * time.Millisecond, 120800 * time.Millisecond, 120900 * time.Millisecond},
		{"far behind", "AB", 9 * time.Second, 125 * time.Second, 122500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, nil)
			r.begin()
			var closed time.Duration
			id := int64(2)
			for at := 119 * time.Second; at <= 126*time.Second; at += 50 * time.Millisecond {
				r.at(at)
				for _, letter := range c.conns {
					if at <= c.until {
						r.trades(connName(string(letter)), trade(0, id, "100", "1", bubbleTime(at-c.lag)))
					}
				}
				id++
				for _, d := range r.take() {
					if len(d.Updates) > 0 && closed == 0 {
						closed = d.at.Sub(bubbleBegin)
					}
				}
			}
			if closed < c.want || closed > c.want+50*time.Millisecond {
				t.Errorf("%s: closed at %s, want %s", c.name, closed, c.want)
			}
		})
	}
}

// stallingClock lets whoever asks it next stand still for a while.
type stallingClock struct {
	bubbleClock
	stall atomic.Int64
}

func (c *stallingClock) Now() market.Time {
	time.Sleep(time.Duration(c.stall.Swap(0)))
	return c.bubbleClock.Now()
}

// TestLateTick: after a standstill the readers have what was waiting before anything closes, or counts as missing.
func TestLateTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &stallingClock{}
		r := newRig(t, 1, func(o *Options) { o.Clock = clock })
		r.begin()
		r.at(118 * time.Second)
		r.trades("trades-0.0", trade(0, 2, "100", "1", bubbleTime(117900*time.Millisecond)), trade(0, 4, "100", "1", bubbleTime(117900*time.Millisecond)))
		clock.stall.Store(int64(5 * time.Second))
		r.at(123050 * time.Millisecond)
		if d := r.updates(); len(d) != 0 || len(r.f.Gaps()) != 0 {
			t.Fatalf("%+v, %+v", d, r.f.Gaps())
		}
		r.trades("trades-0.1", trade(0, 2, "100", "1", bubbleTime(117900*time.Millisecond)), trade(0, 3, "100", "1", bubbleTime(117900*time.Millisecond)))
		r.at(123200 * time.Millisecond)
		if d := r.updates(); len(d) != 1 || klineText(&d[0].Kline) != "100 100 100 100  v3 n3 2-4  closed" {
			t.Errorf("%+v", d)
		}
	})
}

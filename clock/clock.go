// Package clock is the exchange's time on this machine.
package clock

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"klined/market"
)

// Ask asks the exchange for its time.
type Ask func(context.Context) (market.Time, error)

// Clock tells the exchange's time: its own answer of some moment, carried on by this machine's monotonic clock. All
// methods may be called from any goroutine. Until the first Sync it tells this machine's time.
type Clock struct {
	reading atomic.Pointer[reading] // what is known; nil before the first Sync. A reading is never changed.
	steps   atomic.Int64
	look    func() glance // this machine's own clocks; set before the first use

	mu      sync.Mutex    // guards what follows
	running bool          // Run is
	asked   glance        // when the last measurement was done
	wanted  chan struct{} // closed when the measurement that is wanted or under way is done; nil where none is
	wake    chan struct{} // of one place; has Run make the one that is wanted
}

// New is a clock that has not been synchronised.
func New() *Clock {
	look := func() glance {
		now := time.Now()
		return glance{wall: now.Round(0), mono: now}
	}
	return &Clock{look: look, wake: make(chan struct{}, 1)}
}

// Now is the exchange's time, as far as is known. It may step, also back, whenever the exchange has been asked: who
// reads it depends on state (what is due, what is closed already), never on its rising.
func (c *Clock) Now() market.Time {
	r := c.reading.Load()
	if r == nil {
		return market.TimeOf(time.Now())
	}
	return market.TimeOf(r.at(time.Now()))
}

// Offset is the exchange's time less what this machine's wall clock shows now.
func (c *Clock) Offset() time.Duration {
	r := c.reading.Load()
	if r == nil {
		return 0
	}
	now := c.look()
	return r.at(now.mono).Sub(now.wall)
}

// Synced reports whether the exchange has been asked, and how far Now may have been off when it was.
func (c *Clock) Synced() (within time.Duration, ok bool) {
	if r := c.reading.Load(); r != nil {
		return r.within, true
	}
	return 0, false
}

// Steps is how often Now has stepped by more than 250 ms, either way. The first Sync is no step.
func (c *Clock) Steps() int { return int(c.steps.Load()) }

// take makes r what is known, and says how far Now stepped: 0 where it was too little to count.
func (c *Clock) take(r *reading) (by time.Duration) {
	known := c.reading.Swap(r)
	if known == nil {
		return 0
	}
	if by = known.off(r); by.Abs() <= stepBound {
		return 0
	}
	c.steps.Add(1)
	return by
}

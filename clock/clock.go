// Package clock is the exchange's time on this machine.
package clock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"klined/market"
)

// samples is how many questions one Sync asks; the one with the shortest round trip counts.
const samples = 5

// Ask asks the exchange for its time.
type Ask func(context.Context) (market.Time, error)

// Clock tells the exchange's time: its own answer of some moment, carried on by this machine's monotonic clock. All
// methods may be called from any goroutine. Until the first Sync it tells this machine's time.
type Clock struct {
	reading atomic.Pointer[reading]
}

// reading says what time the exchange had at a local moment, and how far that may be off.
type reading struct {
	local    time.Time // with its monotonic part
	exchange time.Time
	within   time.Duration // half the round trip
}

// New is a clock that has not been synchronised.
func New() *Clock { return &Clock{} }

// Now is the exchange's time.
func (c *Clock) Now() market.Time {
	r := c.reading.Load()
	if r == nil {
		return market.TimeOf(time.Now())
	}
	return market.TimeOf(r.exchange.Add(time.Since(r.local)))
}

// Offset is the exchange's time less this machine's.
func (c *Clock) Offset() time.Duration {
	r := c.reading.Load()
	if r == nil {
		return 0
	}
	return r.exchange.Sub(r.local.Round(0))
}

// Synced reports whether the exchange has been asked, and how far Now may have been off when it was.
func (c *Clock) Synced() (within time.Duration, ok bool) {
	if r := c.reading.Load(); r != nil {
		return r.within, true
	}
	return 0, false
}

// Sync asks several times and keeps the answer with the shortest round trip, halved. What is known already stays where
// it is the sharper one and the new answer does not contradict it.
func (c *Clock) Sync(ctx context.Context, ask Ask) error {
	var best *reading
	var failed error
	for range samples {
		r, err := measure(ctx, ask)
		switch {
		case err != nil:
			failed = errors.Join(failed, err)
			if best == nil && ctx.Err() != nil {
				return fmt.Errorf("cannot ask the exchange for its time: %w", err)
			}
		case best == nil || r.within < best.within:
			best = r
		}
	}
	if best == nil {
		return fmt.Errorf("cannot ask the exchange for its time: %w", failed)
	}
	if old := c.reading.Load(); old == nil || !old.holdsBeside(best) {
		c.reading.Store(best)
	}
	return nil
}

// holdsBeside reports whether r is sharper than newer and within what newer allows.
func (r *reading) holdsBeside(newer *reading) bool {
	told := r.exchange.Add(newer.local.Sub(r.local))
	return r.within < newer.within && told.Sub(newer.exchange).Abs() <= newer.within
}

// measure asks once. The exchange's answer has whole milliseconds: on average it is half of one older.
func measure(ctx context.Context, ask Ask) (*reading, error) {
	sent := time.Now()
	t, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	half := time.Since(sent) / 2
	return &reading{local: sent.Add(half), exchange: t.Std().Add(time.Millisecond / 2), within: half + time.Millisecond/2}, nil
}

// Run synchronises again and again until ctx ends; failed is told of each time it did not work.
func (c *Clock) Run(ctx context.Context, ask Ask, every time.Duration, failed func(error)) {
	timer := time.NewTicker(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if err := c.Sync(ctx, ask); err != nil && ctx.Err() == nil {
				failed(err)
			}
		}
	}
}

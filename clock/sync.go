package clock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	samples  = 5                     // how many questions a measurement asks at most
	patience = 3 * time.Second       // how long an answer may take: a later one says little, and none comes over a dead connection
	absurd   = time.Second           // what is further from what is known is not believed the first time
	slack    = 50 * time.Millisecond // by which the second time may differ from the first
)

// errApart says that an answer cannot be placed in time.
var errApart = errors.New("this machine's clocks went apart meanwhile: it was suspended, or its wall clock was set")

// Sync asks the exchange for its time. One answer is enough where it agrees with what is known and came about as fast;
// else of five the one with the shortest round trip counts, halved. It replaces what is known, unless that is still the
// sharper one and not contradicted. What contradicts by more than a second is asked again, and taken only where
// the second answer agrees with the first; the first Sync takes what it gets. After an error what is known has stayed.
func (c *Clock) Sync(ctx context.Context, ask Ask) error {
	_, err := c.sync(ctx, ask)
	return err
}

// sync is Sync, and says how far Now stepped: 0 where it was too little to count.
func (c *Clock) sync(ctx context.Context, ask Ask) (by time.Duration, err error) {
	defer c.noteAsked()
	known := c.reading.Load()
	r, err := c.measure(ctx, ask, known)
	if err != nil {
		return 0, err
	}
	if known != nil && known.holdsBeside(r) {
		return 0, nil
	}
	if known != nil && known.off(r).Abs() > absurd {
		if r, err = c.confirm(ctx, ask, known, r); err != nil {
			return 0, err
		}
	}
	return c.take(r), nil
}

// confirm measures again after r, which is far from what is known, and returns the sharper of the two. The second
// confirms nothing where it is too blurred to contradict what is known.
func (c *Clock) confirm(ctx context.Context, ask Ask, known, r *reading) (*reading, error) {
	again, err := c.measure(ctx, ask, r)
	if err != nil {
		return nil, fmt.Errorf("an answer %s from what is known is not confirmed: %w", known.off(r), err)
	}
	switch {
	case !r.agrees(again, slack) || known.holdsBeside(again):
		return nil, fmt.Errorf("an answer %s from what is known is not confirmed: the next one is %s from it",
			known.off(r), known.off(again))
	case r.holdsBeside(again):
		return r, nil
	}
	return again, nil
}

// measure asks until an answer confirms expected, which may be nil, else several times, and returns the sharpest answer.
// When this machine's clocks go apart, nothing that was answered before counts.
func (c *Clock) measure(ctx context.Context, ask Ask, expected *reading) (*reading, error) {
	var best *reading
	var failed error
	last := c.look()
	for range samples {
		r, err := read(ctx, ask)
		now := c.look()
		if apart(last.until(now)) {
			best, err = nil, errApart
		}
		last = now
		switch {
		case err != nil:
			failed = cmp.Or(failed, err)
		case expected != nil && expected.confirmedBy(r):
			return r, nil
		case best == nil || r.within < best.within:
			best = r
		}
		if ctx.Err() != nil {
			break
		}
	}
	if best == nil {
		return nil, fmt.Errorf("cannot ask the exchange for its time: %w", failed)
	}
	return best, nil
}

// noteAsked remembers that the exchange has been asked just now.
func (c *Clock) noteAsked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.look()
}

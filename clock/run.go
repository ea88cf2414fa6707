package clock

import (
	"context"
	"time"
)

const (
	lookEvery  = time.Second // how often Run looks at this machine's own clocks
	retryAfter = time.Second // a failed measurement, at first
	freshFor   = time.Second // for so long after a measurement a doubt asks for no other
)

// Events is told by Run, in its goroutine, what its measurements came to. What is nil is not told.
type Events struct {
	Failed  func(error)            // the exchange did not answer, or its answer was not believed: what is known stays
	Stepped func(by time.Duration) // Now has stepped by more than 250 ms; by is negative where it stepped back
}

// Run synchronises again and again until ctx ends: at every interval, at once when there is doubt or this machine's own
// clocks show that it was suspended, stopped or set, and, after a failure, 1 s, 2 s, 4 s later and so on up to every.
// It may run once at a time.
func (c *Clock) Run(ctx context.Context, ask Ask, every time.Duration, on Events) {
	c.setRunning(true)
	defer c.setRunning(false)
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	due := time.NewTimer(every)
	defer due.Stop()
	last, retry := c.look(), retryAfter
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-due.C:
		case <-looks.C:
			now := c.look()
			wall, mono := last.until(now)
			if last = now; !disturbed(wall, mono) {
				continue
			}
		}
		wait := every
		if c.resync(ctx, ask, on) {
			retry = retryAfter
		} else {
			wait = min(retry, every)
			retry = 2 * wait
		}
		due.Reset(wait)
		last = c.look()
	}
}

// Doubt has Run ask the exchange at once, because somebody has reason to think that Now is wrong. It returns when that
// is done, whether it worked or not, or when ctx ends. Who doubts while the exchange is being asked waits for that
// answer. Nothing is asked, and Doubt returns at once, where a measurement was done within the last second or Run does not run.
func (c *Clock) Doubt(ctx context.Context) {
	done := c.want()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// want is closed when the measurement is done that a doubt has to wait for; nil where none is needed.
func (c *Clock) want() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.wanted != nil:
		return c.wanted
	case !c.running || c.asked.fresh(c.look()):
		return nil
	}
	c.wanted = make(chan struct{})
	c.wake <- struct{}{} // there is room: what it holds belongs to a measurement that is wanted
	return c.wanted
}

// resync is one measurement of Run's; it reports whether it worked.
func (c *Clock) resync(ctx context.Context, ask Ask, on Events) bool {
	c.mu.Lock()
	if c.wanted == nil {
		c.wanted = make(chan struct{})
	}
	c.mu.Unlock()
	by, err := c.sync(ctx, ask)
	c.answer()
	switch {
	case err != nil && ctx.Err() == nil && on.Failed != nil:
		on.Failed(err)
	case by != 0 && on.Stepped != nil:
		on.Stepped(by)
	}
	return err == nil
}

// answer lets go who waits for a measurement.
func (c *Clock) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
}

// release lets go who waits for a measurement, and leaves none wanted. mu is held.
func (c *Clock) release() {
	if c.wanted != nil {
		close(c.wanted)
		c.wanted = nil
	}
	select {
	case <-c.wake:
	default:
	}
}

// setRunning says whether a doubt may wait for Run. Who waits already is let go.
func (c *Clock) setRunning(running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = running
	c.release()
}

package feed

import (
	"context"
	"sync"
	"time"

	"klined/market"
)

// tickEvery is how often the lanes look at the clock. When they come lateTick late, the machine was suspended, the process
// stopped, or short of time: the readers then have what was waiting first, for as long as a connection may be idle. After
// a longer standstill the connections must show that they still live.
const (
	tickEvery  = 20 * time.Millisecond
	lateTick   = 10 * tickEvery
	standstill = time.Second
)

// tick closes by the clock what has ended, grace after its boundary.
func (f *Feed) tick(ctx context.Context) {
	timer := time.NewTicker(tickEvery)
	defer timer.Stop()
	last, lastTime := time.Now(), f.clock.Now()
	resume := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			f.alive.closes.Beat()
			now, t := time.Now(), f.clock.Now() // what the ticker sends is when the tick was due, not when it came
			if ctx.Err() != nil {
				return // the readers have stopped: what is missing now is not known to be
			}
			// The monotonic clock stands still while a machine is suspended; the exchange's goes on.
			still := max(now.Sub(last), t.Sub(lastTime))
			if still > lateTick {
				resume = now.Add(idle)
			}
			if still > standstill {
				f.stoodStill(lastTime, now, still)
			}
			last, lastTime = now, t
			if now.Before(resume) {
				continue
			}
			for _, l := range f.lanes {
				l.tick(t.Add(-f.graceNow()), now)
			}
		}
	}
}

// stoodStill tells the lanes that nothing ran from since until now.
func (f *Feed) stoodStill(since market.Time, now time.Time, still time.Duration) {
	f.log.Warn("this process stood still: it was stopped, or got no processor", "since", since.String(), "for", still.Round(time.Millisecond))
	for _, l := range f.lanes {
		l.stoodStill(since, now)
	}
}

// watch looks for silent connections, and learns the grace, until ctx ends.
func (f *Feed) watch(ctx context.Context) {
	timer := time.NewTicker(lookEvery)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			f.alive.silence.Beat()
		}
		now := time.Now()
		late := now.Sub(last) > 2*lookEvery
		last = now
		if late {
			continue // what the connections hold has not been read yet
		}
		for _, l := range f.lanes {
			l.look(ctx, now)
		}
		f.leave()
		f.gather(now)
	}
}

// aheadLog remembers which symbol last had a trade whose time had not come.
type aheadLog struct {
	mu     sync.Mutex
	symbol market.SymbolID
	at     time.Time
	vain   time.Time // when the clock was last measured for it, and was right
}

// inVain reports whether the clock was right when it was last measured, a moment ago.
func (a *aheadLog) inVain() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Since(a.vain) < doubtEvery
}

func (a *aheadLog) wasInVain() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.vain = time.Now()
}

// several reports whether trades beyond the limit are of more than one symbol, within some seconds.
func (a *aheadLog) several(b *market.Batch, limit market.Time) (several bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for i := range b.Trades {
		t := &b.Trades[i]
		if t.Time <= limit {
			continue
		}
		several = several || t.SymbolID != a.symbol && now.Sub(a.at) < 5*time.Second
		a.symbol, a.at = t.SymbolID, now
	}
	return several
}

// doubtEvery is how long the clock is not doubted again: what goes on looking wrong is wrong itself.
const doubtEvery = 10 * time.Second

// doubtClock has the clock measured anew, and does not wait for it.
func (f *Feed) doubtClock(ctx context.Context) {
	now := time.Now().UnixNano()
	before := f.clockDoubted.Load()
	if now-before >= int64(doubtEvery) && f.clockDoubted.CompareAndSwap(before, now) {
		go f.doubt(ctx)
	}
}

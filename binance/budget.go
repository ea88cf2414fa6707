package binance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"klined/health"
	"klined/market"
)

// Clock tells the exchange's time. A *clock.Clock is one.
type Clock interface{ Now() market.Time }

// localClock is this machine's own time, for where no clock is given.
type localClock struct{}

func (localClock) Now() market.Time { return market.TimeOf(time.Now()) }

const (
	defaultWeight = 1200            // a minute, of the 2,400 that the exchange allows one address
	healShare     = 10              // one part in so many is kept free for ClassHeal
	clientsWait   = 5 * time.Second // what ClassClients waits at most
)

// BudgetOptions say how much the exchange may be asked.
type BudgetOptions struct {
	PerMinute int // request weight; 1,200 where 0
	Clock     Clock
	Metrics   *health.Metrics
}

// Budget shares out the request weight that the exchange allows one address in each UTC minute: by class, within a
// class in the order of asking, and none while the exchange has told us to wait. It may be used from any goroutine.
type Budget struct {
	perMinute int
	clock     Clock
	metrics   *health.Metrics

	mu      sync.Mutex
	minute  market.Time // the UTC minute that used is of
	used    int
	blocked market.Time // nothing is asked before it
	why     string      // it is blocked
	waiting [classes][]*turn
}

const classes = int(market.ClassBackfill) + 1

// turn is one caller that waits.
type turn struct {
	weight  int
	granted chan struct{} // closed when it may go
}

// NewBudget makes a budget of which nothing is used.
func NewBudget(o BudgetOptions) *Budget {
	b := &Budget{perMinute: o.PerMinute, clock: o.Clock, metrics: o.Metrics}
	if b.perMinute == 0 {
		b.perMinute = defaultWeight
	}
	if b.clock == nil {
		b.clock = localClock{}
	}
	return b
}

// Acquire takes weight out of the budget, when it is the caller's turn. ClassClients waits at most 5 s, and gets a
// *market.BudgetError where it would be longer; the others wait until ctx ends.
func (b *Budget) Acquire(ctx context.Context, class market.Class, weight int) error {
	if limit := b.limit(class); weight > limit {
		return fmt.Errorf("a request of weight %d is beyond the budget of %d a minute", weight, limit)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &turn{weight: weight, granted: make(chan struct{})}
	b.mu.Lock()
	b.waiting[class] = append(b.waiting[class], w)
	b.grant()
	b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	default:
		return b.wait(ctx, class, w)
	}
}

// wait returns when w has been granted, or why it was taken back.
func (b *Budget) wait(ctx context.Context, class market.Class, w *turn) error {
	var patience <-chan time.Time // only clients lose it
	if class == market.ClassClients {
		if b.untilChange() > clientsWait {
			return b.refuse(class, w)
		}
		patience = time.After(clientsWait)
	}
	change := time.NewTimer(b.untilChange())
	defer change.Stop()
	for {
		select {
		case <-w.granted:
			return nil
		case <-ctx.Done():
			return b.giveUp(class, w, ctx.Err())
		case <-patience:
			return b.refuse(class, w)
		case <-change.C:
			b.mu.Lock()
			b.grant()
			b.mu.Unlock()
			change.Reset(b.untilChange())
		}
	}
}

// take counts weight without waiting, or says that the exchange may not be asked at all.
func (b *Budget) take(weight int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.turnMinute()
	if now < b.blocked {
		return b.error(now)
	}
	b.used += weight
	return nil
}

// Used is the weight used in the current UTC minute, as far as is known here.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	return b.used
}

// limit is up to where a class may use the budget.
func (b *Budget) limit(class market.Class) int {
	if class == market.ClassHeal {
		return b.perMinute
	}
	return b.perMinute - b.perMinute/healShare
}

// turnMinute begins a new minute where one has begun. mu is held.
func (b *Budget) turnMinute() market.Time {
	now := b.clock.Now()
	if minute := market.OneMinute.Open(now); minute != b.minute {
		b.minute, b.used = minute, 0
	}
	return now
}

// grant lets go who may. One who has to wait lets nobody of a later class pass. mu is held.
func (b *Budget) grant() {
	if b.turnMinute() < b.blocked {
		return
	}
	for class := range b.waiting {
		for len(b.waiting[class]) > 0 {
			w := b.waiting[class][0]
			if b.used+w.weight > b.limit(market.Class(class)) {
				return
			}
			b.used += w.weight
			b.waiting[class] = b.waiting[class][1:]
			close(w.granted)
		}
	}
}

// untilChange is how long it takes until time alone lets somebody go.
func (b *Budget) untilChange() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.change(b.clock.Now())
}

// change is the time from now until a new minute begins, or until what blocks ends. mu is held.
func (b *Budget) change(now market.Time) time.Duration {
	if now < b.blocked {
		return b.blocked.Sub(now)
	}
	return market.OneMinute.Next(now).Sub(now)
}

// refuse takes a turn back and says when to come again; nil where it has been granted meanwhile.
func (b *Budget) refuse(class market.Class, w *turn) error {
	b.mu.Lock()
	now := b.clock.Now()
	refusal := b.error(now)
	b.mu.Unlock()
	return b.giveUp(class, w, refusal)
}

// error says why the exchange may not be asked, and until when. mu is held.
func (b *Budget) error(now market.Time) *market.BudgetError {
	reason := "the request weight of this minute is used up"
	if now < b.blocked {
		reason = b.why
	}
	return &market.BudgetError{RetryAfter: b.change(now), Reason: reason}
}

// giveUp takes a turn back; nil where it has been granted meanwhile.
func (b *Budget) giveUp(class market.Class, w *turn, why error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.waiting[class] {
		if other == w {
			b.waiting[class] = append(b.waiting[class][:i], b.waiting[class][i+1:]...)
			b.grant() // it may have stood before others that fit
			return why
		}
	}
	return nil
}

// said takes in what the exchange says is used, in answer to a request of that time: an answer that crossed the
// minute's end tells nothing about the new one.
func (b *Budget) said(used int, asked market.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	if market.OneMinute.Open(asked) == b.minute {
		b.used = max(b.used, used)
	}
	if b.metrics != nil {
		b.metrics.RESTUsedWeight.Set(float64(used))
	}
}

// block keeps everyone from asking before until.
func (b *Budget) block(until market.Time, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until > b.blocked {
		b.blocked, b.why = until, why
	}
}

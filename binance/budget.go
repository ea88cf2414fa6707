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
	exchangeWeight = 2400            // that the exchange allows one address a minute
	defaultWeight  = 1200            // of it
	healShare      = 10              // one part in so many is kept free for ClassHeal
	clientsShare   = 4               // and one in so many more from ClassBackfill, for who is served before it
	clientsWait    = 5 * time.Second // what ClassClients waits at most
	lookAgain      = time.Second     // how long who waits relies on what the clock said
)

const (
	clockSlack    = time.Second     // by which the clock may be put right without having jumped
	longestMinute = 2 * time.Minute // whatever the clock says, the exchange has begun another by then
)

// BudgetOptions say how much the exchange may be asked.
type BudgetOptions struct {
	PerMinute int // request weight; 1,200 where 0
	Clock     Clock
	Metrics   *health.Metrics
}

// Budget shares out the request weight that the exchange allows one address in each UTC minute: by class, within a
// class in the order of asking, and none while the exchange has told us to wait. When that is over one request goes
// alone; the others follow when it has been answered. It may be used from any goroutine.
//
// The clock says when minutes begin. It may be put right at any moment and by any amount, so that how long something
// lasts is measured without it.
type Budget struct {
	perMinute int
	clock     Clock
	metrics   *health.Metrics

	mu       sync.Mutex
	used     int         // weight in this minute: what we have taken, or more where the exchange says so
	inFlight int         // weight taken by requests that have not ended
	began    time.Time   // the minute, as it was noticed here
	ends     market.Time // the minute, on the exchange's clock
	seen     market.Time // what the clock said when it was last looked at,
	seenAt   time.Time   // and when that was
	blocked  time.Time   // nothing is asked before it
	why      string      // it is blocked
	refused  time.Time   // when the exchange last refused
	trial    bool        // it has answered nothing that was asked since
	waiting  [classes][]*turn
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
	if b.metrics != nil {
		b.metrics.RESTBudget.Set(float64(b.perMinute))
	}
	return b
}

// acquire takes weight out of the budget, when it is the caller's turn; who gets it calls end when the request is over.
// What weighs more than the class may ever have is refused with a *market.TooHeavyError. ClassClients waits at most 5 s, and gets a *market.BudgetError where it would be longer; the others wait until ctx
// ends.
func (b *Budget) acquire(ctx context.Context, class market.Class, weight int) error {
	if limit := b.limit(class); weight > limit {
		return &market.TooHeavyError{Weight: weight, Limit: limit}
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
	look := time.NewTimer(min(b.untilChange(), lookAgain))
	defer look.Stop()
	for {
		select {
		case <-w.granted:
			return nil
		case <-ctx.Done():
			return b.giveUp(class, w, b.tooLong(ctx.Err()))
		case <-patience:
			return b.refuse(class, w)
		case <-look.C:
			b.mu.Lock()
			b.grant()
			b.mu.Unlock()
			look.Reset(min(b.untilChange(), lookAgain))
		}
	}
}

// take takes weight without waiting, beyond the budget too, or says that the exchange may not be asked at all. Who gets
// it calls end when the request is over.
func (b *Budget) take(weight int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	if b.closed() {
		return b.error()
	}
	b.spend(weight)
	return nil
}

// count takes weight whatever else there is: the request goes anyway, and ours make room for it. Who counts calls end when
// the request is over.
func (b *Budget) count(weight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	b.spend(weight)
}

// share is the part of the exchange's weight that is ours to use.
func (b *Budget) share() float64 { return float64(b.perMinute) / exchangeWeight }

// Used is the weight used in the current UTC minute, as far as is known here.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	return b.used
}

// Room is how much weight the class could take now without waiting: none while the exchange has told us to wait, or
// somebody of the class or of one before it waits.
func (b *Budget) Room(class market.Class) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grant()
	if b.closed() {
		return 0
	}
	for _, turns := range b.waiting[:class+1] {
		if len(turns) > 0 {
			return 0
		}
	}
	return max(0, b.limit(class)-b.used)
}

// limit is up to where a class may use the budget.
func (b *Budget) limit(class market.Class) int {
	limit := b.perMinute
	if class != market.ClassHeal {
		limit -= b.perMinute / healShare
	}
	if class == market.ClassBackfill {
		limit -= b.perMinute / clientsShare
	}
	return limit
}

// turnMinute begins a new minute where the clock has come to one; what is in flight then may be counted in it. A minute
// that the clock has jumped to, on or back, may be the one that the exchange is in all the time: what is used stays so
// until the next begins. mu is held.
func (b *Budget) turnMinute() {
	now, here := b.clock.Now(), time.Now()
	jumped := (now.Sub(b.seen) - here.Sub(b.seenAt)).Abs() > clockSlack
	switch {
	case now >= b.ends && !jumped, here.Sub(b.began) >= longestMinute:
		b.used, b.began, b.ends = b.inFlight, here, market.OneMinute.Next(now)
	case jumped:
		b.ends = market.OneMinute.Next(now)
	}
	b.seen, b.seenAt = now, here
}

// closed reports whether nobody may ask. mu is held.
func (b *Budget) closed() bool {
	return time.Now().Before(b.blocked) || b.trial && b.inFlight > 0
}

// spend is called with mu held.
func (b *Budget) spend(weight int) {
	b.used += weight
	b.inFlight += weight
}

// grant lets go who may. One who has to wait lets nobody of a later class pass. mu is held.
func (b *Budget) grant() {
	b.turnMinute()
	for class := range b.waiting {
		for len(b.waiting[class]) > 0 {
			w := b.waiting[class][0]
			if b.closed() || b.used+w.weight > b.limit(market.Class(class)) {
				return
			}
			b.spend(w.weight)
			b.waiting[class] = b.waiting[class][1:]
			close(w.granted)
		}
	}
}

// untilChange is how long it takes until somebody can be let go.
func (b *Budget) untilChange() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	return b.change()
}

// change is the time until what blocks ends, or until a new minute begins. mu is held.
func (b *Budget) change() time.Duration {
	switch wait := time.Until(b.blocked); {
	case wait > 0:
		return wait
	case b.closed():
		return lookAgain
	}
	return max(b.ends.Sub(b.clock.Now()), time.Millisecond)
}

// refuse takes a turn back and says when to come again; nil where it has been granted meanwhile.
func (b *Budget) refuse(class market.Class, w *turn) error {
	b.mu.Lock()
	refusal := b.error()
	b.mu.Unlock()
	return b.giveUp(class, w, refusal)
}

// tooLong is why a turn was taken back by who waited for it. Where that is a time that has passed, it says what was waited for.
func (b *Budget) tooLong(why error) error {
	if why != context.DeadlineExceeded {
		return why
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Errorf("%w: %w", b.error(), why)
}

// error says why the exchange may not be asked, and until when. mu is held.
func (b *Budget) error() *market.BudgetError {
	reason := "the request weight of this minute is used up"
	if b.closed() {
		reason = b.why
	}
	return &market.BudgetError{RetryAfter: b.change(), Reason: reason}
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

// said takes in how much the exchange says is used, 0 where it says nothing, in answer to a request of that weight and
// moment. What else is in flight it may not have counted yet; of a question that the minute before asked, it may speak
// of that. Our own count stays where it is more: answers overtake each other.
func (b *Budget) said(used, weight int, asked time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnMinute()
	if asked.After(b.refused) {
		b.trial = false
	}
	if used == 0 {
		return
	}
	if !asked.Before(b.began) {
		b.used = max(b.used, used+b.inFlight-weight)
	}
	if b.metrics != nil {
		b.metrics.RESTUsedWeight.Set(float64(used))
	}
}

// end takes in that a request of that weight is over, answered or not.
func (b *Budget) end(weight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight -= weight
	b.grant()
}

// block keeps everyone from asking for so long, and says whether that was not known before.
func (b *Budget) block(wait time.Duration, why string) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused, b.trial = time.Now(), true
	until := b.refused.Add(wait)
	news = until.Sub(b.blocked) > time.Second
	if until.After(b.blocked) {
		b.blocked, b.why = until, why
	}
	return news
}

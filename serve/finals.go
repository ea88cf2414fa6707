package serve

import (
	"cmp"
	"slices"
	"time"

	"klined/market"
)

// Bounds of the closes that wait to be final.
const (
	holdFor   = time.Minute      // after the boundary, with Gap: to be healed or official
	settleFor = 10 * time.Second // after the boundary, without Gap: to be settled
	maxHeld   = 64               // of one series: the minute's worth of its seconds
)

// finals is the closes of one series that are not final yet. To each of its audience a kline goes out as closed for the
// first time when it is final, or as it is when it is due; it makes no difference who is there by then. From then on
// those who asked for revisions get every better version, but for one that only settles the same values.
type finals struct {
	settled bool            // a kline is final when it is settled; else when it is closed without Gap
	held    []market.Update // by open time; at most maxHeld
}

// first is who gets the first close of a kline, and revised who gets those after it.
func (f *finals) first() audience   { return audience{settled: f.settled} }
func (f *finals) revised() audience { return audience{settled: f.settled, revision: true} }

// final reports whether a closed kline goes out at once.
func (f *finals) final(u *market.Update) bool {
	return u.State == market.StateSettled || !f.settled && !u.Gap
}

// due is when a closed kline that is not final goes out as it is. From a minute on a later kline is not due earlier.
func (f *finals) due(u *market.Update) market.Time {
	wait := settleFor
	if u.Gap {
		wait = holdFor
	}
	return (u.CloseTime() + 1).Add(wait)
}

// find is where the close that opens at open is in held, or would be.
func (f *finals) find(open market.Time) (at int, held bool) {
	return slices.BinarySearchFunc(f.held, open, func(u market.Update, open market.Time) int {
		return cmp.Compare(u.OpenTime, open)
	})
}

// improve puts a better version in the place of the held close at that place; one that is final or due goes out.
func (t *klineTopic) improve(r *round, f *finals, at int, u *market.Update, received time.Time) {
	if !f.final(u) && t.hub.clock.Now() < f.due(u) {
		f.held[at] = *u
		t.schedule()
		return
	}
	f.held = slices.Delete(f.held, at, at+1)
	t.finish(r, f, u, received)
}

// hold keeps a close back, at that place in held; the oldest goes out where there are too many. Its values go out at once all the
// same, as those of a kline that is not final, unless a later one's have: there are clients that take what they have of a kline as
// final when the next one begins, whatever x says.
func (t *klineTopic) hold(r *round, f *finals, at int, u *market.Update) {
	if t.shown <= u.OpenTime && t.versions.newest == t.series.Interval.Ordinal(u.OpenTime) {
		t.deliver(r, u, f.first(), running, nil)
	}
	f.held = slices.Insert(f.held, at, *u)
	now := t.hub.clock.Now()
	if len(f.held) > maxHeld {
		now = max(now, f.due(&f.held[0]))
	}
	t.release(r, f, now)
	t.schedule()
}

// forgetOverdue drops the closes that were due before anybody waited for settled klines: they are nobody's first closes.
func (t *klineTopic) forgetOverdue() {
	now := t.hub.clock.Now()
	for i := range t.finals {
		if f := &t.finals[i]; f.settled {
			f.held = slices.DeleteFunc(f.held, func(u market.Update) bool { return f.due(&u) <= now })
		}
	}
}

// schedule sets the timer to the first held close that is due. Without those who wait for settled klines it leaves out
// theirs: they go, to nobody, with the next close.
func (t *klineTopic) schedule() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if t.hub.stopping() {
		return
	}
	var first market.Time
	for i := range t.finals {
		f := &t.finals[i]
		if len(f.held) == 0 || f.settled && t.settled == 0 {
			continue
		}
		if due := f.due(&f.held[0]); first == 0 || due < first {
			first = due
		}
	}
	if first == 0 {
		return
	}
	wait := first.Sub(t.hub.clock.Now())
	t.timer = time.AfterFunc(max(wait, time.Millisecond), t.overdue)
}

// overdue is the timer's.
func (t *klineTopic) overdue() {
	r := t.hub.round()
	defer r.end()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.finals {
		t.release(r, &t.finals[i], t.hub.clock.Now())
	}
	t.schedule()
}

// release sends, as they are, the held closes that are due at now.
func (t *klineTopic) release(r *round, f *finals, now market.Time) {
	n := 0
	for ; n < len(f.held) && f.due(&f.held[n]) <= now; n++ {
		t.finish(r, f, &f.held[n], time.Time{})
	}
	f.held = slices.Delete(f.held, 0, n)
}

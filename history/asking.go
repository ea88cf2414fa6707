package history

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"klined/health"
	"klined/market"
)

// How official klines are asked for, again and again until they are believed.
const (
	askEvery   = time.Second
	confirmed  = 30 * time.Second // between two reads that confirm each other
	lasting    = time.Hour        // that REST has to say the same, for what is settled
	reads      = 8                // questions under way at once
	readsFirst = 2 * time.Second  // before the same is asked for again; twice as long each time
	turned     = 5 * time.Minute  // at most, where it was another than before
	readRows   = 99               // of one question: more would weigh more
)

// errand is why official klines are asked for, and what is done with them.
type errand interface {
	// duties are the klines to ask for, of those that are over by then.
	duties(ctx context.Context, by market.Time) []duty
	// nothing is called where the exchange has none of them.
	nothing(ctx context.Context, d duty) error
	// theirs takes the rows that the lanes do not hand on, and returns those that are doubted.
	theirs(ctx context.Context, d duty, rows []reading) (doubted []market.Kline, err error)
	// took says up to where the exchange has answered, and which of these klines are doubted.
	took(d duty, upTo market.Time, doubted []market.Time)
}

// duty is a range to ask for, of at most 99 klines.
type duty struct {
	market.Range
	only []market.Time // the klines of it that matter, rising; nil: all
}

// matter tells duties of one series apart: for all klines of a range, or for some.
type matter struct {
	market.Series
	some bool
}

func (d *duty) matter() matter { return matter{d.Series, d.only != nil} }

// reading is a row as REST brought it, and how often.
type reading struct {
	market.Kline
	said market.Said
}

// asking asks for what an errand needs. Its fields are its own goroutine's, but for what belongs to the questions under
// way. Series do not wait for one another.
type asking struct {
	h       *History
	class   market.Class
	longest time.Duration // between two questions for the same
	errand
	alive *health.Component

	debtors []*debtor // in the order of the duties
	busy    int       // questions under way
	resume  time.Time // nobody is asked for before it: what ails one symbol is likely to ail the next
	answers chan answer
}

// debtor is a series of which something is to be asked for.
type debtor struct {
	owed  duty          // as the errand said last
	due   time.Time     // it is not asked for before
	pause time.Duration // between the last answer and that
	busy  bool          // asked and doubts belong to the question under way

	asked  duty // by the last question
	doubts map[market.Time]doubted
}

// doubted is a row that was read once.
type doubted struct {
	row market.Kline
	at  time.Time
}

// answer is how a question went.
type answer struct {
	*debtor
	upTo market.Time   // how far the exchange has answered
	bad  []market.Time // the klines that are doubted
	news bool          // one of them was not before
	turn bool          // one is another than before
	wait time.Duration // how long it makes no sense to ask again
	err  error
}

// run asks until ctx ends.
func (a *asking) run(ctx context.Context) error {
	a.answers = make(chan answer, reads)
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		a.alive.Beat()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			a.look(ctx)
		case got := <-a.answers:
			if ctx.Err() == nil {
				a.take(got)
			}
		}
		for _, d := range a.due() {
			under.Go(func() { a.answers <- a.ask(ctx, d) })
		}
	}
}

// look learns what is to be asked for now. Series of which nothing is to be asked any more are forgotten.
func (a *asking) look(ctx context.Context) {
	now := time.Now()
	known := make(map[matter]*debtor, len(a.debtors))
	for _, d := range a.debtors {
		known[d.owed.matter()] = d
	}
	a.debtors = a.debtors[:0]
	for _, owed := range a.duties(ctx, a.h.clock.Now().Add(-settleAfter)) {
		d := known[owed.matter()]
		if d == nil {
			d = &debtor{due: now, doubts: make(map[market.Time]doubted)}
		}
		if other := owed.From < d.asked.From || owed.From >= d.asked.To; other && d.due.After(now) {
			d.due, d.pause = now, 0
		}
		d.owed = owed
		a.debtors = append(a.debtors, d)
	}
}

// due are those to ask for now, who has waited longest first. They are busy from then on.
func (a *asking) due() []*debtor {
	now := time.Now()
	if now.Before(a.resume) || a.busy == reads {
		return nil
	}
	var due []*debtor
	for _, d := range a.debtors {
		if !d.busy && !now.Before(d.due) {
			due = append(due, d)
		}
	}
	slices.SortStableFunc(due, func(a, b *debtor) int { return a.due.Compare(b.due) })
	due = due[:min(len(due), reads-a.busy)]
	for _, d := range due {
		d.busy, d.asked = true, d.owed
	}
	a.busy += len(due)
	return due
}

// take notes how far a series is done, and when to ask again.
func (a *asking) take(got answer) {
	d := got.debtor
	d.busy = false
	a.busy--
	if got.upTo > d.asked.From {
		a.took(d.asked, got.upTo, got.bad)
	}
	switch {
	case got.news:
		d.pause = 0
	case got.turn:
		d.pause = min(d.pause, turned/2)
	}
	if budget := (*market.BudgetError)(nil); errors.As(got.err, &budget) {
		got.wait = budget.RetryAfter
	}
	d.pause = max(min(max(2*d.pause, readsFirst), a.longest), got.wait)
	d.due = time.Now().Add(d.pause)
	if got.err != nil {
		a.resume = time.Now().Add(max(got.wait, afterFailure))
		a.h.log.Warn("cannot fetch official klines", "for", a.class, "symbol", a.h.name(d.asked.Symbol), "interval", d.asked.Interval,
			"error", got.err)
	}
}

// ask asks for what is owed of a series and offers what comes.
func (a *asking) ask(ctx context.Context, d *debtor) (got answer) {
	got.debtor = d
	owed, h := d.asked, a.h
	h.sure(ctx, owed.To)
	owed.To = min(owed.To, owed.Interval.Open(h.clock.Now().Add(-settleAfter)))
	maps.DeleteFunc(d.doubts, func(open market.Time, _ doubted) bool { return open < owed.From || open >= owed.To })
	if owed.Empty() {
		return got
	}
	at := time.Now()
	rows, err := h.venue.Klines(ctx, a.class, owed.Series, owed.Span, readRows)
	if got.err = err; err != nil {
		return got
	}
	rows = slices.DeleteFunc(rows, func(k market.Kline) bool { return k.OpenTime < owed.From || k.OpenTime >= owed.To })
	h.log.Debug("fetched official klines", "for", a.class, "symbol", h.name(owed.Symbol), "interval", owed.Interval, "from", owed.From, "to", owed.To, "klines", len(rows))
	got.upTo = owed.To
	if len(rows) == 0 {
		got.err = a.nothing(ctx, owed)
		return got
	}
	got.upTo = owed.Interval.Next(rows[len(rows)-1].OpenTime) // what follows may not be there yet
	if owed.only != nil {
		rows = slices.DeleteFunc(rows, func(k market.Kline) bool { return !slices.Contains(owed.only, k.OpenTime) })
	}
	var theirs []reading
	for i := range rows {
		k := &rows[i]
		said := d.said(k, at)
		switch h.debts.Official(owed.Symbol, owed.Interval, k, said) {
		case market.Believed:
			delete(d.doubts, k.OpenTime)
		case market.OutOfReach:
			theirs = append(theirs, reading{*k, said})
		case market.Doubted:
			got.doubt(k)
		}
	}
	if len(theirs) > 0 {
		a.offer(ctx, owed, theirs, &got)
	}
	return got
}

// offer gives the errand the rows that are not the lanes'.
func (a *asking) offer(ctx context.Context, owed duty, theirs []reading, got *answer) {
	doubted, err := a.theirs(ctx, owed, theirs)
	if got.err = err; err != nil {
		got.upTo = owed.From
		return
	}
	again := make(map[market.Time]bool, len(doubted))
	for i := range doubted {
		again[doubted[i].OpenTime] = true
		got.doubt(&doubted[i])
	}
	for i := range theirs {
		if open := theirs[i].OpenTime; !again[open] {
			delete(got.doubts, open)
		}
	}
}

// said is how often a row that was asked for at the given time has been read.
func (d *debtor) said(k *market.Kline, at time.Time) market.Said {
	before, known := d.doubts[k.OpenTime]
	switch age := at.Sub(before.at); {
	case !known || !market.SameValues(&before.row, k) || age < confirmed:
		return market.SaidOnce
	case age < lasting:
		return market.SaidAgain
	}
	return market.SaidLong
}

// doubt remembers a row that is not believed, and from when on it was read as it is.
func (got *answer) doubt(k *market.Kline) {
	before, known := got.doubts[k.OpenTime]
	if !known || !market.SameValues(&before.row, k) {
		got.doubts[k.OpenTime] = doubted{*k, time.Now()}
	}
	got.news = got.news || !known
	got.turn = got.turn || known && !market.SameValues(&before.row, k)
	got.wait = confirmed
	got.bad = append(got.bad, k.OpenTime)
}

package history

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"klined/market"
)

// How minutes that lack trades are asked for.
const (
	owedEvery   = time.Second
	confirmed   = 30 * time.Second // between two reads that confirm each other
	reads       = 8                // questions under way at once
	readsFirst  = 2 * time.Second  // before a symbol is asked for again; twice as long each time
	readsLast   = 2 * time.Minute
	owedMinutes = 99 // of one question: more would weigh more
)

// Heal fetches the official klines of the minutes that lack trades, as the lanes say, until ctx ends. The lanes take a
// row where it says what is known otherwise; any other has to be read twice. Symbols do not wait for one another.
func (h *History) Heal(ctx context.Context) error {
	o := &owing{h: h, answers: make(chan answer, reads)}
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(owedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			o.look()
		case a := <-o.answers:
			if ctx.Err() == nil {
				o.take(a)
			}
		}
		for _, d := range o.due() {
			asking.Go(func() { o.answers <- o.ask(ctx, d) })
		}
	}
}

// owing is what Heal remembers. It is Heal's alone, but for what belongs to the questions under way.
type owing struct {
	h       *History
	debtors []*debtor // in the lanes' order
	busy    int       // questions under way
	resume  time.Time // nobody is asked for before it: what ails one symbol is likely to ail the next
	answers chan answer
}

// debtor is a symbol that owes.
type debtor struct {
	owed  market.Range  // as the lanes said last
	due   time.Time     // it is not asked for before
	pause time.Duration // between the last answer and that
	busy  bool          // asked and doubts belong to the question under way

	asked  market.Range // by the last question
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
	news bool          // a row is doubted that was not before
	wait time.Duration // how long it makes no sense to ask again
	err  error
}

// look asks the lanes what is owed now. Symbols that owe nothing any more are forgotten.
func (o *owing) look() {
	now := time.Now()
	known := make(map[market.SymbolID]*debtor, len(o.debtors))
	for _, d := range o.debtors {
		known[d.owed.Symbol] = d
	}
	o.debtors = o.debtors[:0]
	for _, r := range o.h.debts.Owed(o.h.clock.Now().Add(-settleAfter)) {
		d := known[r.Symbol]
		if d == nil {
			d = &debtor{due: now, doubts: make(map[market.Time]doubted)}
		}
		if other := r.From < d.asked.From || r.From >= d.asked.To; other && d.due.After(now) {
			d.due, d.pause = now, 0
		}
		d.owed = r
		o.debtors = append(o.debtors, d)
	}
}

// due are those to ask for now, who has waited longest first. They are busy from then on.
func (o *owing) due() []*debtor {
	now := time.Now()
	if now.Before(o.resume) || o.busy == reads {
		return nil
	}
	var due []*debtor
	for _, d := range o.debtors {
		if !d.busy && !now.Before(d.due) {
			due = append(due, d)
		}
	}
	slices.SortStableFunc(due, func(a, b *debtor) int { return a.due.Compare(b.due) })
	due = due[:min(len(due), reads-o.busy)]
	for _, d := range due {
		d.busy, d.asked = true, d.owed
	}
	o.busy += len(due)
	return due
}

// take notes when to ask again.
func (o *owing) take(a answer) {
	d := a.debtor
	d.busy = false
	o.busy--
	if a.news {
		d.pause = 0
	}
	if budget := (*market.BudgetError)(nil); errors.As(a.err, &budget) {
		a.wait = budget.RetryAfter
	}
	d.pause = max(min(max(2*d.pause, readsFirst), readsLast), a.wait)
	d.due = time.Now().Add(d.pause)
	if a.err != nil {
		o.resume = time.Now().Add(max(a.wait, afterFailure))
		o.h.log.Warn("cannot fetch the klines of minutes that lack trades", "symbol_id", d.asked.Symbol, "error", a.err,
			"again_in", d.pause)
	}
}

// ask asks for the minutes that a symbol owes, and pays with what comes.
func (o *owing) ask(ctx context.Context, d *debtor) (a answer) {
	a.debtor = d
	r, h := d.asked, o.h
	h.sure(ctx, r.To)
	r.To = min(r.To, market.OneMinute.Open(h.clock.Now().Add(-settleAfter)))
	maps.DeleteFunc(d.doubts, func(open market.Time, _ doubted) bool { return open < r.From || open >= r.To })
	if r.Empty() {
		return a
	}
	at := time.Now()
	rows, err := h.venue.Klines(ctx, market.ClassHeal, market.Series{Symbol: r.Symbol, Interval: market.OneMinute}, r.Span, owedMinutes)
	if a.err = err; err != nil {
		return a
	}
	rows = slices.DeleteFunc(rows, func(k market.Kline) bool { return k.OpenTime < r.From || k.OpenTime >= r.To })
	if len(rows) == 0 {
		a.err = h.payNothing(ctx, r)
		return a
	}
	var out []market.Kline // minutes that the lanes do not keep any more
	for i := range rows {
		belief, news := d.offer(h.debts, &rows[i], at)
		switch a.news = a.news || news; belief {
		case market.OutOfReach:
			out = append(out, rows[i])
		case market.Doubted:
			a.wait = confirmed
		}
	}
	if len(out) > 0 {
		a.err = h.payStored(ctx, r, out)
	}
	return a
}

// offer gives a row that was asked for at the given time to the lanes, and remembers it where they doubt it. news says
// that it was not doubted before.
func (d *debtor) offer(lanes Debtors, k *market.Kline, at time.Time) (_ market.Belief, news bool) {
	before, known := d.doubts[k.OpenTime]
	agrees := known && market.SameValues(&before.row, k)
	belief := lanes.Official(d.asked.Symbol, market.OneMinute, k, agrees && at.Sub(before.at) >= confirmed)
	switch {
	case belief != market.Doubted:
		delete(d.doubts, k.OpenTime)
	case !agrees:
		d.doubts[k.OpenTime] = doubted{*k, time.Now()}
	}
	return belief, belief == market.Doubted && !known
}

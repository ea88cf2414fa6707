package history

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"klined/market"
)

// How minutes that lack trades are asked for.
const (
	owedEvery   = time.Second
	confirmed   = 30 * time.Second // between two reads that confirm each other
	reads       = 8                // questions under way at once
	readsFirst  = 2 * time.Second  // before a symbol is asked for again; twice as long each time
	readsLast   = 2 * time.Minute
	doubtsKept  = 20_000 // rows that wait for a second read; the oldest are read anew
	owedMinutes = 99     // of one question: more would weigh more
)

// Heal fetches the official klines of the minutes that lack trades, as the lanes say, until ctx ends. The lanes take a
// row where it says what is known otherwise; any other has to be read twice.
func (h *History) Heal(ctx context.Context) error {
	o := &owing{h: h, tries: make(map[market.SymbolID]*retry), doubts: make(map[minuteOf]doubted)}
	tick := time.NewTicker(owedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			o.round(ctx)
		}
	}
}

// owing is what Heal remembers from one round to the next.
type owing struct {
	h     *History
	tries map[market.SymbolID]*retry // by symbols that owe; the round's own

	mu     sync.Mutex
	doubts map[minuteOf]doubted
}

// retry is when a symbol is asked for again.
type retry struct {
	due   time.Time
	pause time.Duration
	owed  market.Range // of the last time
}

// minuteOf is one minute of a symbol.
type minuteOf struct {
	symbol market.SymbolID
	open   market.Time
}

// doubted is a row that was read once.
type doubted struct {
	row market.Kline
	at  time.Time
}

// round asks once for each symbol that owes and is due.
func (o *owing) round(ctx context.Context) {
	by := func() market.Time { return o.h.clock.Now().Add(-settleAfter) }
	owed := o.h.debts.Owed(by())
	if len(owed) > 0 {
		o.h.doubt(ctx)
		owed = o.h.debts.Owed(by())
	}
	o.forget(owed)
	var g errgroup.Group
	g.SetLimit(reads)
	for _, r := range owed {
		t := o.tries[r.Symbol]
		if t == nil || t.owed.From != r.From {
			t = &retry{due: time.Now()} // something new is owed
			o.tries[r.Symbol] = t
		}
		t.owed = r
		if time.Now().Before(t.due) || ctx.Err() != nil {
			continue
		}
		g.Go(func() error {
			wait, err := o.pay(ctx, r)
			if err != nil && ctx.Err() == nil {
				o.h.log.Warn("cannot fetch the klines of minutes that lack trades", "symbol_id", r.Symbol, "error", err)
			}
			t.pause = max(min(max(2*t.pause, readsFirst), readsLast), wait)
			t.due = time.Now().Add(t.pause)
			return nil
		})
	}
	_ = g.Wait()
}

// forget drops what is remembered of symbols that owe nothing any more, and rows that are too old.
func (o *owing) forget(owed []market.Range) {
	owes := make(map[market.SymbolID]market.Span, len(owed))
	for _, r := range owed {
		owes[r.Symbol] = r.Span
	}
	for id := range o.tries {
		if _, still := owes[id]; !still {
			delete(o.tries, id)
		}
	}
	for key, d := range o.doubts {
		span := owes[key.symbol]
		if key.open < span.From || key.open >= span.To || len(o.doubts) > doubtsKept && time.Since(d.at) > confirmed {
			delete(o.doubts, key)
		}
	}
}

// pay asks for the minutes of one symbol's range and offers each to the lanes. wait is how long it makes no sense to ask
// again.
func (o *owing) pay(ctx context.Context, r market.Range) (wait time.Duration, err error) {
	series := market.Series{Symbol: r.Symbol, Interval: market.OneMinute}
	rows, err := o.h.venue.Klines(ctx, market.ClassHeal, series, r.Span, owedMinutes)
	if budget := (*market.BudgetError)(nil); errors.As(err, &budget) {
		wait = budget.RetryAfter
	}
	if err != nil {
		return wait, err
	}
	var out []market.Kline // minutes that the lanes do not keep any more
	for i := range rows {
		k := &rows[i]
		if k.OpenTime < r.From || k.OpenTime >= r.To {
			continue
		}
		switch o.offer(r.Symbol, k) {
		case market.OutOfReach:
			out = append(out, *k)
		case market.Doubted:
			wait = confirmed
		}
	}
	if len(out) > 0 {
		err = o.settleStored(ctx, r, out)
	}
	return wait, err
}

// offer gives one row to the lanes, and remembers it where they doubt it.
func (o *owing) offer(id market.SymbolID, k *market.Kline) market.Belief {
	key := minuteOf{id, k.OpenTime}
	o.mu.Lock()
	before, known := o.doubts[key]
	o.mu.Unlock()
	agrees := known && time.Since(before.at) >= confirmed && market.SameValues(&before.row, k)
	belief := o.h.debts.Official(id, market.OneMinute, k, agrees)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case belief != market.Doubted:
		delete(o.doubts, key)
	case !known || !market.SameValues(&before.row, k):
		o.doubts[key] = doubted{*k, time.Now()}
	}
	return belief
}

// settleStored makes the stored klines of minutes right that the lanes do not keep any more: the rows themselves, and
// what is shorter than an hour and was folded from them. The hours go to the lanes, which fold what is longer.
func (o *owing) settleStored(ctx context.Context, r market.Range, rows []market.Kline) error {
	id, h := r.Symbol, o.h
	span := market.Span{From: rows[0].OpenTime, To: rows[len(rows)-1].OpenTime + market.Minute}
	if int64(len(rows)) != market.OneMinute.Count(span) || slices.ContainsFunc(rows, func(k market.Kline) bool { return !k.Plausible() }) {
		return errors.New("the exchange's klines have holes or break their own rules")
	}
	h.store.Fetched(market.Series{Symbol: id, Interval: market.OneMinute}, span, rows)
	until := h.clock.Now().Add(-settleAfter)
	for _, iv := range h.intervals {
		if iv <= market.OneMinute || iv >= market.OneHour {
			continue
		}
		part := market.Span{From: iv.Open(span.From), To: min(iv.Ceil(span.To), iv.Open(until))}
		if _, err := h.fetch(ctx, market.ClassHeal, market.Series{Symbol: id, Interval: iv}, part); err != nil {
			return err
		}
	}
	hours := market.Span{From: market.OneHour.Open(span.From), To: min(market.OneHour.Ceil(span.To), market.OneHour.Open(until))}
	settled, err := h.fetch(ctx, market.ClassHeal, market.Series{Symbol: id, Interval: market.OneHour}, hours)
	if err != nil {
		return err
	}
	for i := range settled {
		h.debts.Official(id, market.OneHour, &settled[i], true)
	}
	h.debts.Paid(id, span.To)
	return nil
}

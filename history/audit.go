package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"klined/market"
)

// Stored is what an audit reads.
type Stored interface {
	Read(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error)
}

// Audit is how the stored klines of an interval compare with the exchange's own.
type Audit struct {
	Interval   market.Interval
	Compared   int64
	Equal      int64                             // in all nine values
	Absent     int64                             // the exchange has them, the store says there are none
	Extra      int64                             // the store has them, the exchange has none
	Doubted    int64                             // the exchange's break their own rules, or were others when they were read again: not compared
	Unsettled  int64                             // ours, and not the exchange's, which is to take their place within settledBy: not compared
	Incomplete int64                             // the store does not call them complete: not compared
	Unlisted   int64                             // the exchange does not list their symbol any more, and gives none of it: not compared
	Differ     [len(market.ValueNames)]int64     // of those compared, by value
	First      []market.Difference               // the first that differ, are absent or extra, by symbol and time; what is not there is StateAbsent
	Ranges     map[market.SymbolID][]market.Span // of all that differ or are absent
	Extras     map[market.SymbolID][]market.Span // of all that are extra

	firsts map[market.SymbolID][]market.Difference // of each symbol
}

// firstShown is how many differences of an interval an audit shows.
const firstShown = 10

// settledBy is how long after their end klines may wait to be settled: for their round, and for a second read where the first was
// doubted.
const settledBy = 2 * time.Hour

// auditors is how many series are audited at once.
const auditors = 4

// auditing is an audit under way.
type auditing struct {
	*History
	*Progress
	stored Stored

	mu       sync.Mutex // guards what follows
	of       map[market.Interval]*Audit
	unlisted map[market.SymbolID]bool
	failures int
	failed   error // the first
}

// Audit holds the stored klines of the ranges, of a minute and longer, against the exchange's own, shortest interval first.
// What differs is read a second time. Only what the store calls complete is asked for. Symbols that the exchange does not list
// any more are unlisted, by id, and nothing is wrong with them. Series of which the exchange or the store does not give all else are
// named by the error; the others are audited nevertheless, and so is what was compared until ctx ended. Total and Done of p are moved.
func (h *History) Audit(ctx context.Context, stored Stored, ranges []market.Range, p *Progress) (audits []*Audit, unlisted []market.SymbolID, err error) {
	a := &auditing{History: h, Progress: p, stored: stored, of: make(map[market.Interval]*Audit), unlisted: make(map[market.SymbolID]bool)}
	for i, r := range ranges {
		ranges[i].To = min(r.To, r.Interval.Open(h.clock.Now().Add(-settleAfter)))
		p.Total.Add(r.Interval.Count(ranges[i].Span))
		if a.of[r.Interval] == nil {
			a.of[r.Interval] = &Audit{Interval: r.Interval, Ranges: make(map[market.SymbolID][]market.Span),
				Extras: make(map[market.SymbolID][]market.Span), firsts: make(map[market.SymbolID][]market.Difference)}
		}
	}
	var g errgroup.Group
	g.SetLimit(auditors)
	for _, r := range ranges {
		g.Go(func() error {
			if err := a.series(ctx, r); err != nil && ctx.Err() == nil {
				a.fails(r, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	audits, unlisted = a.all(), slices.Sorted(maps.Keys(a.unlisted))
	if ctx.Err() != nil {
		return audits, unlisted, fmt.Errorf("stopped after %d of %d klines", p.Done.Load(), p.Total.Load())
	}
	if a.failed != nil {
		return audits, unlisted, fmt.Errorf("%d series were not audited to the end: %w", a.failures, a.failed)
	}
	return audits, unlisted, nil
}

// all is the audits, shortest interval first.
func (a *auditing) all() (all []*Audit) {
	for _, of := range a.of {
		for _, symbol := range slices.Sorted(maps.Keys(of.firsts)) {
			of.First = append(of.First, of.firsts[symbol]...)
		}
		of.First = of.First[:min(len(of.First), firstShown)]
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b *Audit) int { return cmp.Compare(a.Interval, b.Interval) })
	return all
}

// fails notes that a series could not be audited to the end.
func (a *auditing) fails(r market.Range, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures++
	a.failed = cmp.Or(a.failed, fmt.Errorf("%s %s: %w", a.name(r.Symbol), r.Interval, err))
}

// series audits one range page by page, so that nothing is asked for where the store has nothing.
func (a *auditing) series(ctx context.Context, r market.Range) error {
	asked, err := askable(r.Interval)
	if err != nil {
		return err
	}
	for open := r.Interval.Ceil(r.From); open < r.To; {
		page := market.Range{Series: r.Series, Span: market.Span{From: open, To: min(r.To, r.Interval.Open(asked.OpenAt(asked.Ordinal(open)+maxRows)))}}
		if err := a.page(ctx, page); err != nil {
			return err
		}
		a.Done.Add(r.Interval.Count(page.Span))
		open = page.To
	}
	return nil
}

// page compares what is stored of a range with the exchange's.
func (a *auditing) page(ctx context.Context, r market.Range) error {
	ours, missing, err := a.stored.Read(ctx, r.Series, r.Span)
	if err != nil {
		return err
	}
	incomplete, _ := klinesOver(r.Interval, missing)
	n := r.Interval.Count(r.Span) - int64(len(incomplete))
	a.mu.Lock()
	of, unlisted := a.of[r.Interval], a.unlisted[r.Symbol]
	a.mu.Unlock()
	if n == 0 || unlisted {
		a.skip(of, r.Symbol, n, int64(len(incomplete)))
		return nil
	}
	first, err := a.differences(ctx, r, ours, incomplete)
	if err == nil && len(first.differ) > 0 {
		err = first.again(ctx, a, r, ours, incomplete)
	}
	if errors.Is(err, market.ErrNotListed) {
		a.skip(of, r.Symbol, n, int64(len(incomplete)))
		return nil
	}
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	of.Incomplete += int64(len(incomplete))
	of.Doubted += first.doubted
	of.Unsettled += first.unsettled
	of.Compared, of.Equal = of.Compared+first.equal, of.Equal+first.equal
	for i := range first.differ {
		of.count(&first.differ[i])
	}
	return nil
}

// skip counts klines that are not compared: those of a symbol that the exchange does not list any more, and incomplete ones.
func (a *auditing) skip(of *Audit, symbol market.SymbolID, unlisted, incomplete int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of.Unlisted, of.Incomplete = of.Unlisted+unlisted, of.Incomplete+incomplete
	if unlisted > 0 {
		a.unlisted[symbol] = true
	}
}

// compared is one comparison of a page.
type compared struct {
	equal, doubted, unsettled int64
	differ                    []market.Difference // by time
}

// differences asks for a page and compares it.
func (a *auditing) differences(ctx context.Context, r market.Range, ours []market.Kline, incomplete []market.Time) (c compared, err error) {
	young := a.clock.Now().Add(-settledBy)
	err = a.pages(ctx, market.ClassBackfill, r, func(page market.Span, rows []market.Kline, _ market.Interval) error {
		page.To = a.over(r.Interval, page.To, rows)
		official, doubted, _ := believed(r.Interval, page, rows)
		doubted = slices.Compact(doubted)
		c.doubted += int64(len(doubted))
		c.compare(r.Series, within(ours, page), official, func(open market.Time) bool {
			_, not := slices.BinarySearch(incomplete, open)
			return not || slices.Contains(doubted, open)
		}, young)
		return nil
	})
	return c, err
}

// compare goes through ours and the exchange's klines by time; those that are to be left out are. Ours that differ, are not settled
// and ended after young are not settled yet.
func (c *compared) compare(series market.Series, ours, official []market.Kline, leftOut func(market.Time) bool, young market.Time) {
	for len(ours) > 0 || len(official) > 0 {
		d := market.Difference{Series: series}
		switch {
		case len(official) == 0 || len(ours) > 0 && ours[0].OpenTime < official[0].OpenTime:
			d.Ours, d.Official.OpenTime = ours[0], ours[0].OpenTime
			ours = ours[1:]
		case len(ours) == 0 || official[0].OpenTime < ours[0].OpenTime:
			d.Official, d.Ours.OpenTime = official[0], official[0].OpenTime
			official = official[1:]
		default:
			d.Ours, d.Official = ours[0], official[0]
			ours, official = ours[1:], official[1:]
		}
		switch {
		case leftOut(d.Ours.OpenTime):
		case market.SameValues(&d.Ours, &d.Official) && d.Ours.State != market.StateAbsent && d.Official.State != market.StateAbsent:
			c.equal++
		case d.Ours.State == market.StateClosed && d.Official.State != market.StateAbsent && series.Interval.Next(d.Ours.OpenTime) > young:
			c.unsettled++
		default:
			c.differ = append(c.differ, d)
		}
	}
}

// again reads what differs a second time, long enough after the first: what the exchange says otherwise then is doubted.
func (c *compared) again(ctx context.Context, a *auditing, r market.Range, ours []market.Kline, incomplete []market.Time) error {
	if err := pause(ctx, a.readAfter); err != nil {
		return err
	}
	first := c.differ
	r.Span = market.Span{From: first[0].Ours.OpenTime, To: r.Interval.Next(first[len(first)-1].Ours.OpenTime)}
	second, err := a.differences(ctx, r, within(ours, r.Span), incomplete)
	if err != nil {
		return err
	}
	c.differ = slices.DeleteFunc(first, func(d market.Difference) bool {
		i, there := slices.BinarySearchFunc(second.differ, d.Ours.OpenTime, func(e market.Difference, open market.Time) int { return cmp.Compare(e.Ours.OpenTime, open) })
		return !there || second.differ[i].Official.State != d.Official.State || !market.SameValues(&second.differ[i].Official, &d.Official)
	})
	c.doubted += int64(len(first) - len(c.differ))
	return nil
}

// count takes in one difference.
func (of *Audit) count(d *market.Difference) {
	ranges := of.Ranges
	switch {
	case d.Ours.State == market.StateAbsent:
		of.Absent++
	case d.Official.State == market.StateAbsent:
		of.Extra++
		ranges = of.Extras
	default:
		of.Compared++
		values := market.Differing(&d.Ours, &d.Official)
		for i := range of.Differ {
			of.Differ[i] += int64(values >> i & 1)
		}
	}
	if firsts := of.firsts[d.Symbol]; len(firsts) < firstShown {
		of.firsts[d.Symbol] = append(firsts, *d)
	}
	spans := ranges[d.Symbol]
	span := market.Span{From: d.Ours.OpenTime, To: of.Interval.Next(d.Ours.OpenTime)}
	if n := len(spans); n > 0 && spans[n-1].To == span.From {
		spans[n-1].To = span.To
	} else {
		ranges[d.Symbol] = append(spans, span)
	}
}

// Wrong is how many klines differ, are absent or extra.
func (of *Audit) Wrong() int64 { return of.Compared - of.Equal + of.Absent + of.Extra }

package history

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

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
	Incomplete int64                             // the store does not call them complete: not compared
	Differ     [len(market.ValueNames)]int64     // of those compared, by value
	First      []market.Difference               // the first that differ, are absent or extra, by symbol and time; what is not there is StateAbsent
	Ranges     map[market.SymbolID][]market.Span // of all that differ or are absent
	Extras     map[market.SymbolID][]market.Span // of all that are extra

	firsts map[market.SymbolID][]market.Difference // of each symbol
}

// firstShown is how many differences of an interval an audit shows.
const firstShown = 10

// auditors is how many series are audited at once.
const auditors = 4

// auditing is an audit under way.
type auditing struct {
	*History
	stored Stored

	mu       sync.Mutex // guards what follows
	of       map[market.Interval]*Audit
	failures int
	failed   error // the first
}

// Audit holds the stored klines of the ranges, of a minute and longer, against the exchange's own, shortest interval first.
// Series of which the exchange or the store does not give all are named by the error; the others are audited nevertheless.
func (h *History) Audit(ctx context.Context, stored Stored, ranges []market.Range) ([]*Audit, error) {
	a := &auditing{History: h, stored: stored, of: make(map[market.Interval]*Audit)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(auditors)
	for _, r := range ranges {
		if a.of[r.Interval] == nil {
			a.of[r.Interval] = &Audit{Interval: r.Interval, Ranges: make(map[market.SymbolID][]market.Span),
				Extras: make(map[market.SymbolID][]market.Span), firsts: make(map[market.SymbolID][]market.Difference)}
		}
	}
	for _, r := range ranges {
		g.Go(func() error {
			err := h.official(ctx, market.ClassBackfill, r, func(page market.Span, official []market.Kline) error {
				return a.page(ctx, market.Range{Series: r.Series, Span: page}, official)
			})
			if err != nil && ctx.Err() == nil {
				a.fails(r, err)
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []*Audit
	for _, of := range a.of {
		for _, symbol := range slices.Sorted(maps.Keys(of.firsts)) {
			of.First = append(of.First, of.firsts[symbol]...)
		}
		of.First = of.First[:min(len(of.First), firstShown)]
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b *Audit) int { return cmp.Compare(a.Interval, b.Interval) })
	if a.failed != nil {
		return all, fmt.Errorf("%d series were not audited to the end: %w", a.failures, a.failed)
	}
	return all, nil
}

// fails notes that a series could not be audited to the end.
func (a *auditing) fails(r market.Range, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures++
	a.failed = cmp.Or(a.failed, fmt.Errorf("symbol %d, %s: %w", r.Symbol, r.Interval, err))
}

// page compares one page of the exchange's klines with what is stored.
func (a *auditing) page(ctx context.Context, r market.Range, official []market.Kline) error {
	ours, missing, err := a.stored.Read(ctx, r.Series, r.Span)
	if err != nil {
		return err
	}
	opens, _ := klinesOver(r.Interval, missing)
	a.mu.Lock()
	defer a.mu.Unlock()
	of := a.of[r.Interval]
	of.Incomplete += int64(len(opens))
	incomplete := func(k market.Kline) bool {
		_, found := slices.BinarySearch(opens, k.OpenTime)
		return found
	}
	ours, official = slices.DeleteFunc(ours, incomplete), slices.DeleteFunc(official, incomplete)
	for len(ours) > 0 || len(official) > 0 {
		d := market.Difference{Series: r.Series}
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
		of.count(d)
	}
	return nil
}

// count takes in one comparison.
func (of *Audit) count(d market.Difference) {
	switch values := market.Differing(&d.Ours, &d.Official); {
	case d.Ours.State == market.StateAbsent:
		of.Absent++
	case d.Official.State == market.StateAbsent:
		of.Extra++
	default:
		of.Compared++
		if values == 0 {
			of.Equal++
			return
		}
		for i := range of.Differ {
			of.Differ[i] += int64(values >> i & 1)
		}
	}
	if firsts := of.firsts[d.Symbol]; len(firsts) < firstShown {
		of.firsts[d.Symbol] = append(firsts, d)
	}
	ranges := of.Ranges
	if d.Official.State == market.StateAbsent {
		ranges = of.Extras
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

package history

import (
	"cmp"
	"context"
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
	Ranges     map[market.SymbolID][]market.Span // of all that differ, are absent or extra

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
	mu     sync.Mutex
	of     map[market.Interval]*Audit
}

// Audit holds the stored klines of the ranges, of a minute and longer, against the exchange's own, shortest interval first.
func (h *History) Audit(ctx context.Context, stored Stored, ranges []market.Range) ([]*Audit, error) {
	a := &auditing{History: h, stored: stored, of: make(map[market.Interval]*Audit)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(auditors)
	for _, r := range ranges {
		if a.of[r.Interval] == nil {
			a.of[r.Interval] = &Audit{Interval: r.Interval, Ranges: make(map[market.SymbolID][]market.Span),
				firsts: make(map[market.SymbolID][]market.Difference)}
		}
	}
	for _, r := range ranges {
		g.Go(func() error {
			return h.official(ctx, market.ClassBackfill, r, func(page market.Span, official []market.Kline) error {
				return a.page(ctx, market.Range{Series: r.Series, Span: page}, official)
			})
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
	return all, nil
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
	spans := of.Ranges[d.Symbol]
	span := market.Span{From: d.Ours.OpenTime, To: of.Interval.Next(d.Ours.OpenTime)}
	if n := len(spans); n > 0 && spans[n-1].To == span.From {
		spans[n-1].To = span.To
	} else {
		of.Ranges[d.Symbol] = append(spans, span)
	}
}

// Wrong is how many klines differ, are absent or extra.
func (of *Audit) Wrong() int64 { return of.Compared - of.Equal + of.Absent + of.Extra }

package history

import (
	"cmp"
	"context"
	"slices"

	"klined/market"
)

// refold makes right what is longer than the klines of an interval over the span and was folded from them, as far as it is
// over. What the lanes do not fold anew is folded on the store, or fetched where the store lacks parts of it. The lanes
// get the hours and days of it, and fold on from there. Where something of it fails the rest is made right, and the first
// failure told.
func (h *History) refold(ctx context.Context, class market.Class, above market.Interval, id market.SymbolID, span market.Span) (failed error) {
	until := h.clock.Now().Add(-settleAfter)
	for _, iv := range h.rungs(above) {
		series := market.Series{Symbol: id, Interval: iv}
		around := market.Span{From: iv.Open(span.From), To: min(iv.Ceil(span.To), iv.Open(until))}
		for open := around.From; open < around.To; open = iv.Next(open) {
			if h.debts.Follows(series, open) {
				around.To = open
			}
		}
		if !around.Empty() {
			failed = cmp.Or(failed, h.refoldOver(ctx, class, series, around))
		}
	}
	return failed
}

// refoldOver makes the klines of series over the span right.
func (h *History) refoldOver(ctx context.Context, class market.Class, series market.Series, span market.Span) error {
	folded, lacking, err := h.fold(ctx, series, span)
	if err != nil {
		return err
	}
	for i := range folded {
		h.toLanes(series, &folded[i], market.SaidLong)
	}
	for _, span := range lacking {
		err = cmp.Or(err, h.fetchOver(ctx, class, series, span))
	}
	return err
}

// toLanes offers an hour or a day to the lanes, which fold on from it.
func (h *History) toLanes(series market.Series, k *market.Kline, said market.Said) market.Belief {
	if series.Interval != market.OneHour && series.Interval != market.OneDay {
		return market.Believed
	}
	return h.debts.Official(series.Symbol, series.Interval, k, said)
}

// fetchOver fetches klines that cannot be folded. One that differs from what is settled, or that the lanes doubt, has to be
// read twice.
func (h *History) fetchOver(ctx context.Context, class market.Class, series market.Series, span market.Span) error {
	before, _, err := h.inStore(ctx, series, span)
	if err != nil {
		return err
	}
	fetched, err := h.fetch(ctx, class, series, span)
	if err != nil {
		return err
	}
	var doubted []market.Kline
	for i := range fetched {
		k := &fetched[i]
		old, there := findOpen(before, k.OpenTime)
		if h.toLanes(series, k, market.SaidOnce) == market.Doubted || there && old.State == market.StateSettled && !market.SameValues(old, k) {
			doubted = append(doubted, *k)
		}
	}
	return h.readAgain(ctx, class, series, doubted, func(k *market.Kline) {
		k.Revision = revisionAfter(before, k)
		h.store.Fetched(series, market.Span{From: k.OpenTime, To: series.Interval.Next(k.OpenTime)}, []market.Kline{*k})
		h.toLanes(series, k, market.SaidAgain)
	})
}

// readAgain reads klines once more, long enough after the first time, and calls agreed with those that are the same.
func (h *History) readAgain(ctx context.Context, class market.Class, series market.Series, klines []market.Kline, agreed func(*market.Kline)) error {
	if len(klines) == 0 {
		return nil
	}
	if err := pause(ctx, h.readAfter); err != nil {
		return err
	}
	for _, span := range runs(series.Interval, klines) {
		err := h.official(ctx, class, market.Range{Series: series, Span: span}, func(_ market.Span, official []market.Kline) error {
			for i := range official {
				if first, there := findOpen(klines, official[i].OpenTime); there && market.SameValues(first, &official[i]) {
					agreed(first)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rungs are the longer intervals to fold anew, shortest first: those that are kept, and the hour and the day that the lanes
// fold on from.
func (h *History) rungs(above market.Interval) []market.Interval {
	rungs := append([]market.Interval{market.OneHour, market.OneDay}, h.intervals...)
	rungs = slices.DeleteFunc(rungs, func(iv market.Interval) bool { return iv <= above })
	slices.Sort(rungs)
	return slices.Compact(rungs)
}

// fold folds the klines of series over the span, which begins and ends with one, from what is shorter in the store, and
// keeps them. lacking are those of which a part is not there.
func (h *History) fold(ctx context.Context, series market.Series, span market.Span) (folded []market.Kline, lacking []market.Span, err error) {
	h.folding.Lock() // one that has read what is older must not come later
	defer h.folding.Unlock()
	lacking = []market.Span{span}
	for parts := h.partsOf(series.Interval, series.Interval); parts != 0 && len(lacking) > 0; parts = h.partsOf(series.Interval, parts) {
		var left []market.Span
		for _, span := range lacking {
			some, lacks, err := h.foldFrom(ctx, parts, series, span)
			if err != nil {
				return nil, nil, err
			}
			folded, left = append(folded, some...), append(left, lacks...)
		}
		lacking = left
	}
	slices.SortFunc(folded, func(a, b market.Kline) int { return cmp.Compare(a.OpenTime, b.OpenTime) })
	return folded, lacking, nil
}

// foldFrom is fold from the klines of one interval. folding is held.
func (h *History) foldFrom(ctx context.Context, from market.Interval, series market.Series, span market.Span) (folded []market.Kline, lacking []market.Span, err error) {
	iv, parts := series.Interval, series
	parts.Interval = from
	rows, missing, err := h.inStore(ctx, parts, span)
	if err != nil {
		return nil, nil, err
	}
	before, _, err := h.inStore(ctx, series, span)
	if err != nil {
		return nil, nil, err
	}
	absent, lacking := klinesOver(iv, missing)
	folded = slices.DeleteFunc(market.FoldAll(iv, rows), func(k market.Kline) bool {
		_, lacks := slices.BinarySearch(absent, k.OpenTime)
		return lacks
	})
	for i := range folded {
		folded[i].Revision = revisionAfter(before, &folded[i])
	}
	h.put(series, span, folded, absent)
	return folded, lacking, nil
}

// klinesOver are the open times of the klines of iv that share an instant with the spans, which rise, and the spans of them,
// neighbours as one.
func klinesOver(iv market.Interval, spans []market.Span) (opens []market.Time, over []market.Span) {
	for _, s := range spans {
		for open := iv.Open(s.From); open < s.To; open = iv.Next(open) {
			n := len(over)
			switch {
			case n > 0 && open < over[n-1].To:
				continue
			case n > 0 && open == over[n-1].To:
				over[n-1].To = iv.Next(open)
			default:
				over = append(over, market.Span{From: open, To: iv.Next(open)})
			}
			opens = append(opens, open)
		}
	}
	return opens, over
}

// revisionAfter is the revision with which k stands over the version among before, if there is one of other values.
func revisionAfter(before []market.Kline, k *market.Kline) int32 {
	old, there := findOpen(before, k.OpenTime)
	switch {
	case !there:
		return 0
	case market.SameValues(old, k):
		return old.Revision
	}
	return old.Revision + 1
}

// partsOf is an interval that iv is folded from on the store: the longest that divides it, of those that are kept and
// shorter than below, up to a day; 0 where there is none.
func (h *History) partsOf(iv, below market.Interval) (best market.Interval) {
	kept := h.intervals
	if len(kept) == 0 {
		kept = market.ExchangeIntervals()
	}
	for _, parts := range append([]market.Interval{market.OneMinute}, kept...) {
		if parts >= market.OneMinute && parts > best && parts < below && parts <= market.OneDay && iv%parts == 0 {
			best = parts
		}
	}
	return best
}

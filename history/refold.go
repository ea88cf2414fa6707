package history

import (
	"context"
	"slices"

	"klined/market"
)

// refold makes right what is longer than the klines of an interval over the span and was folded from them, as far as it is
// over. What the lanes do not fold anew is folded on the store, or fetched where the store lacks parts of it. The lanes
// get the hours and days of it, and fold on from there.
func (h *History) refold(ctx context.Context, class market.Class, above market.Interval, id market.SymbolID, span market.Span) error {
	until := h.clock.Now().Add(-settleAfter)
	for _, iv := range h.rungs(above) {
		series := market.Series{Symbol: id, Interval: iv}
		around := market.Span{From: iv.Open(span.From), To: min(iv.Ceil(span.To), iv.Open(until))}
		for open := around.From; open < around.To; open = iv.Next(open) {
			if h.debts.Follows(series, open) {
				around.To = open
			}
		}
		if around.Empty() {
			continue
		}
		klines, lacking, err := h.fold(ctx, series, around)
		for _, span := range lacking {
			if err != nil {
				break
			}
			var fetched []market.Kline
			fetched, err = h.fetch(ctx, class, series, span)
			klines = append(klines, fetched...)
		}
		if err != nil {
			return err
		}
		if iv == market.OneHour || iv == market.OneDay {
			for i := range klines {
				h.debts.Official(id, iv, &klines[i], true)
			}
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
	iv, parts := series.Interval, series
	parts.Interval = h.partsOf(iv)
	rows, missing, err := h.stored(ctx, parts, span)
	if err != nil {
		return nil, nil, err
	}
	before, _, err := h.stored(ctx, series, span)
	if err != nil {
		return nil, nil, err
	}
	absent, lacking := klinesOver(iv, missing)
	folded = slices.DeleteFunc(market.FoldAll(iv, rows), func(k market.Kline) bool { return slices.Contains(absent, k.OpenTime) })
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

// partsOf is the interval that iv is folded from on the store: the longest that divides it, of those that are kept, up to a
// day.
func (h *History) partsOf(iv market.Interval) market.Interval {
	kept := h.intervals
	if len(kept) == 0 {
		kept = market.ExchangeIntervals()
	}
	best := market.OneMinute
	for _, parts := range kept {
		if parts > best && parts < iv && parts <= market.OneDay && iv%parts == 0 {
			best = parts
		}
	}
	return best
}

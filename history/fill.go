package history

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"klined/market"
)

// foldMissing folds what is missing of a range where all its parts are there.
func (f *filling) foldMissing(ctx context.Context, r market.Range) error {
	for _, m := range f.store.Missing(r.Series, r.Span) {
		folded, _, err := f.fold(ctx, r.Series, m)
		if err != nil {
			return err
		}
		if n := len(folded); n > 0 && r.Interval <= market.OneDay {
			f.folded(market.Range{Series: r.Series, Span: market.Span{From: folded[0].OpenTime, To: r.Interval.Next(folded[n-1].OpenTime)}})
		}
	}
	return nil
}

// folded notes what is to be checked.
func (f *filling) folded(r market.Range) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.folds = append(f.folds, r)
}

// toCheck is what was folded, neighbours as one, but for that of which something longer was folded: a sum is right where its
// parts are, and wrong where one of them is.
func (f *filling) toCheck() (checks []market.Range) {
	slices.SortFunc(f.folds, func(a, b market.Range) int {
		return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(b.Interval, a.Interval), cmp.Compare(a.From, b.From))
	})
	for _, r := range f.folds {
		n := len(checks)
		switch {
		case slices.ContainsFunc(checks, func(longer market.Range) bool {
			return longer.Symbol == r.Symbol && longer.Interval > r.Interval && longer.From <= r.From && r.To <= longer.To
		}):
		case n > 0 && checks[n-1].Series == r.Series && checks[n-1].To == r.From:
			checks[n-1].To = r.To
		default:
			checks = append(checks, r)
		}
	}
	return checks
}

// files takes the klines that are missing of a range from the archive: months first, then days. A file that cannot be had, or
// is not what its checksum says, is left to REST.
func (f *filling) files(ctx context.Context, r market.Range) (failed error) {
	for _, period := range []market.Interval{market.OneMonth, market.OneDay} {
		if period < r.Interval {
			continue
		}
		for from := period.Open(r.From); from < r.To; from = period.Next(from) {
			file := market.Span{From: from, To: period.Next(from)}
			wanted := market.Range{Series: r.Series, Span: market.Span{From: max(r.From, file.From), To: min(r.To, file.To)}}
			if !f.archiveGoes() || f.lacks(wanted) < worthFile || file.To > f.clock.Now() {
				continue
			}
			rows, there, err := f.archive.Klines(ctx, r.Series, file)
			if there && err == nil {
				f.keepFile(wanted, rows)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = cmp.Or(err, failed)
			f.had(err)
			if err := f.store.Room(ctx); err != nil {
				return err
			}
		}
	}
	return failed
}

// archiveGoes reports whether the archive is worth a question.
func (f *filling) archiveGoes() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad < badFiles
}

// had notes how a question to the archive went.
func (f *filling) had(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && f.bad < badFiles:
		f.bad = 0
	case err != nil:
		if f.bad++; f.bad == badFiles {
			f.log.Warn("the archive does not go: the exchange is asked for all that is left", "error", err)
		}
	}
}

// keepFile keeps what a file holds of the klines that are wanted: those that keep their own rules. The others stay missing.
func (f *filling) keepFile(wanted market.Range, rows []market.Kline) {
	iv := wanted.Interval
	var good []market.Kline
	var absent []market.Time
	open := iv.Ceil(wanted.From)
	for i := range rows {
		k := &rows[i]
		if k.OpenTime < open || k.OpenTime >= wanted.To || !k.Plausible() {
			continue
		}
		for ; open < k.OpenTime; open = iv.Next(open) {
			absent = append(absent, open)
		}
		good, open = append(good, *k), iv.Next(open)
	}
	for ; open < wanted.To; open = iv.Next(open) {
		absent = append(absent, open)
	}
	f.put(wanted.Series, wanted.Span, good, absent)
}

// answers asks the exchange for what is still missing of a range.
func (f *filling) answers(ctx context.Context, r market.Range) (failed error) {
	for _, m := range f.store.Missing(r.Series, r.Span) {
		err := again(ctx, func() error {
			for _, left := range f.store.Missing(r.Series, m) { // less what a try before has brought
				if _, err := f.fetch(ctx, market.ClassBackfill, r.Series, left); err != nil {
					return err
				}
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errRules):
			failed = err
		case err != nil:
			return err
		}
	}
	return failed
}

// check holds what was folded against the exchange's own. Where a kline differs, and is the sum of the exchange's minutes, the
// exchange's klines of that day stand, from the minute up; where it is not, ours do.
func (f *filling) check(ctx context.Context, r market.Range) error {
	differ, n, err := f.differing(ctx, r)
	f.Checked.Add(n)
	for _, day := range market.FoldAll(market.OneDay, differ) {
		if err == nil {
			err = f.checkDay(ctx, r.Series, market.Span{From: day.OpenTime, To: market.OneDay.Next(day.OpenTime)}, differ)
		}
	}
	return f.fails(ctx, r, err)
}

// checkDay lets the exchange's klines of a day stand where those that differ from ours are the sums of its minutes.
func (f *filling) checkDay(ctx context.Context, series market.Series, day market.Span, differ []market.Kline) error {
	var minutes []market.Kline
	of := market.Series{Symbol: series.Symbol, Interval: market.OneMinute}
	err := f.official(ctx, market.ClassBackfill, market.Range{Series: of, Span: day}, func(_ market.Span, official []market.Kline) error {
		minutes = append(minutes, official...)
		return nil
	})
	if err != nil {
		return err
	}
	sums := market.FoldAll(series.Interval, minutes)
	for _, k := range within(differ, day) {
		f.Differ.Add(1)
		if sum, there := findOpen(sums, k.OpenTime); !there || !market.SameValues(sum, &k) {
			f.log.Warn("the exchange's kline is neither what its archive's minutes sum up to, nor what its own do: ours stays",
				"symbol", f.name(series.Symbol), "interval", series.Interval, "kline", k.OpenTime)
			return nil
		}
	}
	for _, iv := range append([]market.Interval{market.OneMinute}, f.rungs(market.OneMinute)...) {
		if iv <= series.Interval && err == nil {
			err = f.correct(ctx, market.Range{Series: market.Series{Symbol: series.Symbol, Interval: iv}, Span: day})
		}
	}
	return err
}

// differing is the exchange's klines of a range that differ from those in the store, and how many there are.
func (f *filling) differing(ctx context.Context, r market.Range) (differ []market.Kline, n int64, err error) {
	err = f.official(ctx, market.ClassBackfill, r, func(page market.Span, official []market.Kline) error {
		ours, _, err := f.inStore(ctx, r.Series, page)
		if err != nil {
			return err
		}
		for i := range official {
			n++
			if old, there := findOpen(ours, official[i].OpenTime); there && !market.SameValues(old, &official[i]) {
				k := official[i]
				k.Revision = old.Revision + 1
				differ = append(differ, k)
			}
		}
		return nil
	})
	return differ, n, err
}

// correct lets the exchange's klines of a range stand where two reads say otherwise than ours.
func (f *filling) correct(ctx context.Context, r market.Range) error {
	differ, _, err := f.differing(ctx, r)
	if err != nil {
		return err
	}
	return f.readAgain(ctx, market.ClassBackfill, r.Series, differ, func(k *market.Kline) {
		f.store.Fetched(r.Series, market.Span{From: k.OpenTime, To: r.Interval.Next(k.OpenTime)}, []market.Kline{*k})
	})
}

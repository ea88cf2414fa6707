package history

import (
	"context"
	"errors"

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

// folded notes what is to be checked: of each symbol the longest interval, over all that was folded of it.
func (f *filling) folded(r market.Range) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.folds[r.Symbol]; old.Interval == r.Interval {
		r.Span = market.Span{From: min(old.From, r.From), To: max(old.To, r.To)}
	}
	f.folds[r.Symbol] = r
}

// files takes the klines that are missing of a range from the archive: months first, then days. A file that cannot be had, or
// is not what its checksum says, is left to REST.
func (f *filling) files(ctx context.Context, r market.Range) (failed error) {
	bad := 0
	for _, period := range []market.Interval{market.OneMonth, market.OneDay} {
		if period < r.Interval {
			continue
		}
		for from := period.Open(r.From); from < r.To; from = period.Next(from) {
			file := market.Span{From: from, To: period.Next(from)}
			wanted := market.Range{Series: r.Series, Span: market.Span{From: max(r.From, file.From), To: min(r.To, file.To)}}
			if bad == badFiles || f.lacks(wanted) < worthFile || file.To > f.clock.Now() {
				continue
			}
			rows, there, err := f.archive.Klines(ctx, r.Series, file)
			switch {
			case there && err == nil:
				f.keepFile(wanted, rows)
				bad = 0
			case err != nil:
				failed = err
				bad++
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := f.store.Room(ctx); err != nil {
				return err
			}
		}
	}
	return failed
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
			_, err := f.fetch(ctx, market.ClassBackfill, r.Series, m)
			return err
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

// check holds what was folded against the exchange's own. Where a day differs, or what is shorter, the exchange's own klines
// of it stand, from the minute up.
func (f *filling) check(ctx context.Context, r market.Range) error {
	differ, n, err := f.correct(ctx, market.ClassBackfill, r)
	f.Checked.Add(n)
	f.Differ.Add(int64(len(differ)))
	for _, open := range differ {
		if err != nil {
			break
		}
		day := market.Span{From: market.OneDay.Open(open), To: market.OneDay.Next(open)}
		for _, iv := range append([]market.Interval{market.OneMinute}, f.rungs(market.OneMinute)...) {
			if iv < r.Interval && iv.OnExchange() && err == nil {
				_, _, err = f.correct(ctx, market.ClassBackfill, market.Range{Series: market.Series{Symbol: r.Symbol, Interval: iv}, Span: day})
			}
		}
	}
	return f.fails(ctx, r, err)
}

// correct holds the stored klines of a range against the exchange's own, which stand where they differ. It gives the open
// times of those that did, and how many there are.
func (f *filling) correct(ctx context.Context, class market.Class, r market.Range) (differ []market.Time, n int64, err error) {
	err = f.official(ctx, class, r, func(page market.Span, official []market.Kline) error {
		ours, _, err := f.stored(ctx, r.Series, page)
		if err != nil {
			return err
		}
		for i := range official {
			k := official[i]
			n++
			old, there := findOpen(ours, k.OpenTime)
			if !there || market.SameValues(old, &k) {
				continue
			}
			differ = append(differ, k.OpenTime)
			k.Revision = old.Revision + 1
			f.store.Fetched(r.Series, market.Span{From: k.OpenTime, To: r.Interval.Next(k.OpenTime)}, []market.Kline{k})
		}
		return nil
	})
	return differ, n, err
}

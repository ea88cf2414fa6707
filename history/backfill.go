package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"klined/market"
)

// Archive is the venue's archive: files of past klines, which cost no weight.
type Archive interface {
	// Klines is what the file of span holds, a calendar month or a UTC day: official and settled, by open time, perhaps with
	// holes; there is false where the archive has no such file.
	Klines(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, there bool, err error)
}

// How the past is brought.
const (
	fillers   = 6   // ranges under way at once
	worthFile = 500 // klines missing that make a file worth its download: one answer of REST has 1,500
	fillTries = 3   // of one question
	firstTry  = time.Second
	badFiles  = 6 // in a row, of whatever symbols: the archive is not asked any more
)

// Progress is how far a backfill is, in klines. It may be read at any time.
type Progress struct {
	Total   atomic.Int64 // that were missing: in the end all of them are done or have failed
	Done    atomic.Int64 // of them, there now; and whence
	Archive atomic.Int64
	REST    atomic.Int64
	Folded  atomic.Int64 // from shorter ones
	Empty   atomic.Int64 // before the symbol's first kline
	Others  atomic.Int64 // brought meanwhile by others, or not kept any more; told at the end
	Failed  atomic.Int64 // could not be had
	Checked atomic.Int64 // folded, and held against the exchange's own
	Differ  atomic.Int64 // of these, the exchange's own were others, and stand
}

// moved changes with whatever comes, or cannot be had.
func (p *Progress) moved() int64 {
	return p.Done.Load() + p.Empty.Load() + p.Failed.Load() + p.Checked.Load()
}

// filling is one backfill under way.
type filling struct {
	*History
	*Progress

	mu     sync.Mutex // guards what follows
	firsts map[market.SymbolID]*first
	folds  []market.Range // that were folded, up to a day
	failed error          // the first failure
	bad    int            // files in a row that could not be had
}

// Backfill brings into the store what it lacks of the ranges, which are of intervals that the exchange serves: shorter
// intervals first, so that longer ones are folded where all their parts are there, young months first. Files of the archive
// come before REST where they are worth it. Each file and each answer is kept with the record that it is known, so that
// a backfill that was cut short goes on where it was. What is folded is held against the exchange's days. What cannot be had
// is left out, and named by the error. The ranges do not overlap.
func (h *History) Backfill(ctx context.Context, ranges []market.Range, p *Progress) error {
	f := &filling{History: h, Progress: p, firsts: make(map[market.SymbolID]*first)}
	ranges = slices.Clone(ranges)
	for i := range ranges {
		ranges[i].To = min(ranges[i].To, ranges[i].Interval.Open(h.clock.Now().Add(-settleAfter)))
	}
	slices.SortStableFunc(ranges, func(a, b market.Range) int { return cmp.Compare(a.Interval, b.Interval) })
	asked, begun := h.lacking(ranges), f.Done.Load()
	f.Total.Add(asked)
	err := f.bring(ctx, ranges)
	if ctx.Err() != nil {
		return err
	}
	return f.reckon(ranges, asked-(f.Done.Load()-begun), err)
}

// bring fills ranges, and holds what was folded against the exchange's own.
func (f *filling) bring(ctx context.Context, ranges []market.Range) error {
	// What is longer than a day is folded from days, once these have been checked.
	days, _ := slices.BinarySearchFunc(ranges, market.OneDay+1, func(r market.Range, iv market.Interval) int { return cmp.Compare(r.Interval, iv) })
	if err := f.fillAll(ctx, ranges[:days]); err != nil {
		return err
	}
	if err := f.each(ctx, f.toCheck(), f.check); err != nil {
		return err
	}
	return f.fillAll(ctx, ranges[days:])
}

// reckon says what became of those klines that this backfill has not brought itself: they are there all the same, or have failed.
func (f *filling) reckon(ranges []market.Range, left int64, err error) error {
	var failed int64
	for _, r := range ranges {
		r.From = max(r.From, r.Interval.Ceil(f.store.Kept(r.Interval))) // what has become too old meanwhile nobody wants
		n := f.lacks(r)
		if failed += n; n > 0 && f.failed == nil {
			f.failed = fmt.Errorf("%s %s from %s on: %w", f.name(r.Symbol), r.Interval, r.From, errNotThere)
		}
	}
	f.Failed.Store(failed)
	if others := left - failed; others > 0 {
		f.Others.Add(others)
		f.Done.Add(others)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d klines could not be had: %w", failed, f.failed)
	}
	return err
}

// errNotThere is why a kline is missing of which no question has failed.
var errNotThere = errors.New("the exchange calls it running, or it has come to lack trades meanwhile")

// fillAll fills ranges, shorter intervals first.
func (f *filling) fillAll(ctx context.Context, ranges []market.Range) error {
	for len(ranges) > 0 {
		n := slices.IndexFunc(ranges, func(r market.Range) bool { return r.Interval != ranges[0].Interval })
		if n < 0 {
			n = len(ranges)
		}
		if err := f.each(ctx, inMonths(ranges[:n]), f.fill); err != nil {
			return err
		}
		ranges = ranges[n:]
	}
	return nil
}

// each does something with all ranges, some at once. What fails for the venue's sake is noted, and the others go on.
func (f *filling) each(ctx context.Context, ranges []market.Range, do func(context.Context, market.Range) error) error {
	g, going := errgroup.WithContext(ctx)
	g.SetLimit(fillers)
	for _, r := range ranges {
		g.Go(func() error {
			if going.Err() != nil {
				return going.Err()
			}
			if err := do(going, r); err != nil {
				return err
			}
			return f.store.Room(going)
		})
	}
	return g.Wait()
}

// lacks is how many klines of a range the store lacks.
func (h *History) lacks(r market.Range) (n int64) {
	for _, m := range h.store.Missing(r.Series, r.Span) {
		n += r.Interval.Count(m)
	}
	return n
}

// lacking is how many klines of ranges, which do not overlap, the store lacks.
func (h *History) lacking(ranges []market.Range) (n int64) {
	for _, r := range ranges {
		n += h.lacks(r)
	}
	return n
}

// inMonths cuts ranges whose months are worth a file at the begin of each month: the youngest month of all first.
func inMonths(ranges []market.Range) []market.Range {
	var cut []market.Range
	for _, r := range ranges {
		if market.Time(r.Interval)*worthFile > 31*market.Day {
			cut = append(cut, r)
			continue
		}
		for to := r.To; to > r.From; {
			from := max(r.From, market.OneMonth.Open(to-1))
			cut = append(cut, market.Range{Series: r.Series, Span: market.Span{From: from, To: to}})
			to = from
		}
	}
	slices.SortStableFunc(cut, func(a, b market.Range) int {
		return cmp.Compare(market.OneMonth.Open(b.From), market.OneMonth.Open(a.From))
	})
	return cut
}

// fill brings one range: what there is from the symbol's first kline on is folded, taken from files, or asked for.
func (f *filling) fill(ctx context.Context, r market.Range) error {
	var err error
	left := f.lacks(r)
	if left == 0 {
		return nil
	}
	done := func(by *atomic.Int64) {
		now := f.lacks(r)
		by.Add(left - now)
		f.Done.Add(left - now)
		left = now
	}
	if err := f.nothingBefore(ctx, r); err != nil {
		return f.fails(ctx, r, err)
	}
	done(&f.Empty)
	if left > 0 && r.Interval > market.OneMinute {
		if err := f.foldMissing(ctx, r); err != nil {
			return err
		}
		done(&f.Folded)
	}
	if left > 0 && f.archive != nil && f.archiveGoes() {
		err = f.files(ctx, r)
		done(&f.Archive)
	}
	if left == 0 {
		err = nil // what one file could not give another has
	} else if ctx.Err() == nil {
		if err != nil { // REST has what a file could not give
			f.log.Warn("cannot use a file of the archive: the exchange is asked instead", "error", err)
		}
		err = f.answers(ctx, r)
		done(&f.REST)
	}
	return f.fails(ctx, r, err)
}

// fails notes that a part of a range could not be had. What it returns ends the backfill.
func (f *filling) fails(ctx context.Context, r market.Range, err error) error {
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = cmp.Or(f.failed, fmt.Errorf("%s %s from %s on: %w", f.name(r.Symbol), r.Interval, r.From, err))
	f.Failed.Add(f.lacks(r))
	return nil
}

// first is where a symbol begins: the open time of its first minute, 0 where the exchange says that it has none. It is asked
// for once.
type first struct {
	once sync.Once
	open market.Time
	err  error
}

// nothingBefore records that the exchange has nothing of a range before the symbol's first minute. Where the store holds
// klines that would lie before it, it is not believed.
func (f *filling) nothingBefore(ctx context.Context, r market.Range) error {
	f.mu.Lock()
	s := f.firsts[r.Symbol]
	if s == nil {
		s = new(first)
		f.firsts[r.Symbol] = s
	}
	f.mu.Unlock()
	s.once.Do(func() { s.open, s.err = f.first(ctx, r.Symbol) })
	if before := (market.Span{From: r.From, To: min(r.To, r.Interval.Open(s.open))}); s.err == nil && !before.Empty() {
		f.store.Fetched(r.Series, before, nil)
	}
	return s.err
}

// first is the open time of the symbol's first minute; 0 where there is none, or where it cannot be the first.
func (f *filling) first(ctx context.Context, id market.SymbolID) (open market.Time, err error) {
	minutes := market.Series{Symbol: id, Interval: market.OneMinute}
	err = again(ctx, func() error {
		rows, err := f.venue.Klines(ctx, market.ClassBackfill, minutes, market.Span{From: 1}, 1)
		if len(rows) > 0 {
			open = rows[0].OpenTime
		}
		return err
	})
	if err != nil || open == 0 {
		return 0, err
	}
	held, _, err := f.inStore(ctx, minutes, market.Span{From: open - market.Day, To: open})
	if len(held) > 0 {
		f.log.Warn("the exchange's first kline of a symbol is younger than what is stored", "symbol", f.name(id), "first", open, "stored", held[0].OpenTime)
		return 0, err
	}
	return open, err
}

// again tries something that asks the exchange until it goes, a few times.
func again(ctx context.Context, ask func() error) error {
	wait := firstTry
	for try := 1; ; try++ {
		err := ask()
		if err == nil || try == fillTries || errors.Is(err, errRules) {
			return err
		}
		if e := pause(ctx, wait); e != nil {
			return e
		}
		wait *= 2
	}
}

package store

import (
	"context"
	"database/sql"
	"flag"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"klined/fixed"
	"klined/market"
)

// twin is two stores that the same happens to: one with a window, one without.
type twin struct {
	windowed, plain *Store
	now             market.Time
}

func (w *twin) both(f func(*Store)) {
	f(w.windowed)
	f(w.plain)
}

// openTwin opens both with a window of few klines and little memory, and outboxes that are soon full.
func openTwin(t *testing.T, rt *rapid.T) *twin {
	w := &twin{now: at("10:00:00")}
	open := func(window int64) *Store {
		s, err := Open(Options{Dir: t.TempDir(), CommitEvery: never, Intervals: fourIntervals, Retain: retained, Window: window})
		if err == nil {
			_, err = s.db.Exec("PRAGMA synchronous = OFF") // no power is lost here
		}
		if err == nil {
			err = s.SaveSymbols(testSymbols(3))
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w.windowed, w.plain = open(rapid.SampledFrom([]int64{20_000, 60_000, 1 << 20}).Draw(rt, "window")), open(0)
	w.windowed.window.rows = rapid.SampledFrom([]int{20, 70, windowRows}).Draw(rt, "rows")
	most := rapid.SampledFrom([]int{60, maxOutboxRows}).Draw(rt, "outbox")
	w.both(func(s *Store) {
		s.maxRows = most
		s.BeginLive(0, 1, w.now)
		s.BeginLive(1, 1, w.now)
	})
	atRest()
	return w
}

// series draws one of those that have klines, half of the time the same.
func (w *twin) series(rt *rapid.T) market.Series {
	if rapid.Bool().Draw(rt, "usual") {
		return minutesOf0
	}
	return market.Series{Symbol: market.SymbolID(rapid.IntRange(0, 1).Draw(rt, "symbol")), Interval: rapid.SampledFrom(fourIntervals).Draw(rt, "interval")}
}

// span draws a span of whole klines that ends by now or a little later.
func (w *twin) span(rt *rapid.T, iv market.Interval) market.Span {
	end := iv.Ordinal(w.now) + rapid.Int64Range(-20, 2).Draw(rt, "end")
	return market.Span{From: iv.OpenAt(end - rapid.Int64Range(1, 90).Draw(rt, "klines")), To: iv.OpenAt(end)}
}

// anyVersion draws a kline: any state, revision and mark, and any values.
func anyVersion(rt *rapid.T, series market.Series, open market.Time) market.Kline {
	k := testKline(series, open)
	k.State = rapid.SampledFrom([]market.State{market.StateClosed, market.StateSettled}).Draw(rt, "state")
	k.Revision, k.Gap = rapid.Int32Range(0, 1).Draw(rt, "revision"), rapid.Bool().Draw(rt, "gap")
	k.TradeCount = rapid.Int64Range(1, 9).Draw(rt, "trades")
	if rapid.IntRange(0, 9).Draw(rt, "whole") == 0 {
		k.High = fixed.One / 1000 // cannot be kept
	}
	return k
}

// What may happen to both, and what may while their writers wait for the disk.
var (
	anyStep    = []string{"feed", "feed", "versions", "fetch", "flush", "flush", "fail", "repair", "wait", "begin"}
	whileStuck = []string{"feed", "feed", "versions", "versions", "fetch", "wait", "begin"}
)

// step does something to both.
func (w *twin) step(t *testing.T, rt *rapid.T, steps []string) {
	switch rapid.SampledFrom(steps).Draw(rt, "step") {
	case "feed":
		to := w.now + market.Time(rapid.IntRange(1, 40).Draw(rt, "minutes"))*market.Minute
		w.both(func(s *Store) { feedAll(s, w.now, to) })
		w.now = to
	case "versions":
		var updates []market.Update
		series := w.series(rt)
		last := series.Interval.Ordinal(w.now) - rapid.SampledFrom([]int64{0, 0, 30, 60}).Draw(rt, "back")
		for range rapid.IntRange(1, 20).Draw(rt, "versions") {
			open := series.Interval.OpenAt(last - rapid.Int64Range(1, 4).Draw(rt, "at"))
			updates = append(updates, update(series, anyVersion(rt, series, open)))
		}
		w.both(func(s *Store) { put(s, updates...) })
	case "fetch":
		series := w.series(rt)
		span := w.span(rt, series.Interval)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "rows"), 0))
		var rows []market.Kline
		for open := span.From; open < span.To; open = series.Interval.Next(open) {
			if k := testKline(series, open); random.IntN(8) > 0 {
				k.State, k.TradeCount = market.StateSettled, random.Int64N(9)
				rows = append(rows, k)
			}
		}
		w.both(func(s *Store) { s.Fetched(series, span, rows) })
	case "flush":
		w.both(func(s *Store) { flush(t, s) })
	case "fail":
		w.both(func(s *Store) { failToCommit(t, s) })
	case "repair":
		series := w.series(rt)
		ranges := []market.Range{{Series: series, Span: w.span(rt, series.Interval)}}
		extra := rapid.Bool().Draw(rt, "extra")
		w.both(func(s *Store) { repairIn(t, s, ranges, extra) })
		time.Sleep(2 * repairsEvery)
	case "wait":
		time.Sleep(time.Minute) // a cut ends
	case "begin":
		w.both(func(s *Store) { s.BeginLive(1, 1, w.now) })
	}
	atRest()
}

// atRest waits until all has been done that is due: the writer of a store may do what is due at once in any order, and the
// other one in another.
func atRest() {
	time.Sleep(time.Millisecond)
	synctest.Wait()
}

// failToCommit has one commit fail; the next may succeed.
func failToCommit(t *testing.T, s *Store) {
	exec := func(pragma string) {
		if _, err := s.db.Exec(pragma); err != nil {
			t.Fatal(err)
		}
	}
	exec("PRAGMA query_only = 1")
	if err := s.Flush(t.Context()); err == nil && s.Status().OutboxRows > 0 {
		t.Fatal("a commit that cannot succeed did")
	}
	exec("PRAGMA query_only = 0")
}

func repairIn(t *testing.T, s *Store, ranges []market.Range, extra bool) {
	wrong, gone := ranges, []market.Range(nil)
	if extra {
		wrong, gone = nil, ranges
	}
	if err := Repair(s.opts.Dir, wrong, gone); err != nil {
		t.Fatal(err)
	}
}

// alike reads from both and compares: what a client gets, and what the store itself reads.
func (w *twin) alike(t *testing.T, rt *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(rt, "reads") {
		series := w.series(rt)
		span := w.span(rt, series.Interval)
		if rapid.IntRange(0, 3).Draw(rt, "crooked") == 0 {
			span.From, span.To = span.From-777, span.To+1
		}
		rows, missing := read(t, w.plain, series, span)
		for i := range 2 {
			got, lacks, err := w.windowed.Klines(t.Context(), nil, series, span)
			if i == 1 {
				got, lacks, err = w.windowed.Read(t.Context(), series, span)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rows, got); diff != "" && len(rows)+len(got) > 0 {
				rt.Fatalf("read %d of %v %v, at %s (-without +with a window):\n%s", i, series, span, w.now, diff)
			}
			same(rt, "missing", lacks, missing)
		}
	}
	s := w.windowed
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := int64(0)
	for e := s.window.asked.Front(); e != nil; e = e.Next() {
		held := e.Value.(*windowed)
		if bytes += held.bytes; held.bytes != windowedCost+held.size() {
			rt.Fatalf("%v takes %d bytes, and %d are counted", held.series, windowedCost+held.size(), held.bytes)
		}
	}
	if bytes != s.window.bytes || bytes > s.window.most || len(s.window.of) != s.window.asked.Len() {
		rt.Fatalf("%d bytes of at most %d, and %d are counted", bytes, s.window.most, s.window.bytes)
	}
}

// slowly lets the disk of the windowed store answer only after some steps, and perhaps the writers of both commit only then, or
// fail to.
func (w *twin) slowly(t *testing.T, rt *rapid.T) {
	steps := anyStep
	release := func() {}
	defer func() {
		release()
		atRest()
	}()
	series := w.series(rt)
	if rapid.Bool().Draw(rt, "known") { // then what is read slowly lies before what is there
		now := series.Interval.Open(w.now)
		_, _, _ = w.windowed.Klines(t.Context(), nil, series, market.Span{From: now, To: now + 1})
	}
	if rapid.Bool().Draw(rt, "stuck") {
		steps, release = whileStuck, w.stick(t, rt)
	}
	var held []*sql.Conn
	for range readConnections {
		conn, err := w.windowed.disk.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	var reading sync.WaitGroup
	for range rapid.IntRange(1, 3).Draw(rt, "readers") {
		span := w.span(rt, series.Interval)
		reading.Go(func() { _, _, _ = w.windowed.Klines(context.Background(), nil, series, span) })
	}
	synctest.Wait()
	for range rapid.IntRange(1, 3).Draw(rt, "steps meanwhile") {
		w.step(t, rt, steps)
	}
	for _, conn := range held {
		_ = conn.Close()
	}
	reading.Wait()
	w.alike(t, rt)
}

// stick has the writers of both wait at the disk with all that waits for it, until what it returns is called.
func (w *twin) stick(t *testing.T, rt *rapid.T) (release func()) {
	time.Sleep(time.Second) // a cut that is under way ends
	fails := rapid.Bool().Draw(rt, "fails")
	var releases []func()
	w.both(func(s *Store) {
		conn, err := s.db.Conn(t.Context())
		if err == nil && fails {
			_, err = conn.ExecContext(t.Context(), "PRAGMA query_only = 1")
		}
		if err != nil {
			t.Fatal(err)
		}
		flushed := make(chan error)
		go func() { flushed <- s.Flush(context.Background()) }()
		releases = append(releases, func() {
			_ = conn.Close()
			<-flushed
			if _, err := s.db.Exec("PRAGMA query_only = 0"); err != nil {
				t.Fatal(err)
			}
		})
	})
	synctest.Wait()
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// TestWindowIsNoOtherAnswer: whatever is put, fetched, committed or not, repaired, dropped and cut off, and whenever, a store
// with a window answers as one without, and counts what it takes. Each case is long: here are few, and many in TestSoakWindow.
func TestWindowIsNoOtherAnswer(t *testing.T) {
	windowIsNoOtherAnswer(t, 8)
}

func windowIsNoOtherAnswer(t *testing.T, cases int) {
	checks := flag.Lookup("rapid.checks")
	before := checks.Value.String()
	if err := checks.Value.Set(strconv.Itoa(cases)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = checks.Value.Set(before) }()
	rapid.Check(t, func(rt *rapid.T) {
		var failure any // that rapid shrinks, and prints the seed of
		synctest.Test(t, func(t *testing.T) {
			defer func() { failure = recover() }()
			w := openTwin(t, rt)
			defer w.both(func(s *Store) { _ = s.Close() })
			for range rapid.IntRange(2, 12).Draw(rt, "steps") {
				if rapid.IntRange(0, 3).Draw(rt, "slow") == 0 {
					w.slowly(t, rt)
				} else {
					w.step(t, rt, anyStep)
				}
				w.alike(t, rt)
			}
		})
		if failure != nil {
			panic(failure)
		}
	})
}

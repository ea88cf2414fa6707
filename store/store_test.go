package store

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"klined/market"
)

// TestBetterWins puts versions of three klines in any order, with commits and restarts between: a read always shows the
// best version seen, and of equal ones the first. Each run has an hour of its own in one store.
func TestBetterWins(t *testing.T) {
	if raced {
		t.Skip("one goroutine, and long under the race detector")
	}
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	dir := t.TempDir()
	s := openTest(t, dir, market.OneMinute)
	hour := day(2024, 1, 1)
	rapid.Check(t, func(rt *rapid.T) {
		hour += market.Hour
		model := make(map[market.Time]market.Kline)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch step := rapid.IntRange(0, 19).Draw(rt, "step"); {
			case step == 0:
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, dir, market.OneMinute)
			case step < 4:
				flush(t, s)
			default:
				k := drawVersion(rt, testKline(series, hour+market.Time(rapid.IntRange(0, 2).Draw(rt, "minute"))*market.Minute))
				put(s, update(series, k))
				old, ok := model[k.OpenTime]
				if k.State != market.StateOpen && (!ok || market.Better(&k, &old)) {
					model[k.OpenTime] = k
				}
			}
			var want []market.Kline
			for open := hour; open < hour+market.Hour; open += market.Minute {
				if k, ok := model[open]; ok {
					want = append(want, k)
				}
			}
			rows, _ := read(t, s, series, market.Span{From: hour, To: hour + market.Hour})
			same(rt, "rows", rows, want)
		}
	})
}

// drawVersion is k in any state, as any revision.
func drawVersion(t *rapid.T, k market.Kline) market.Kline {
	k.State = rapid.SampledFrom([]market.State{market.StateOpen, market.StateClosed, market.StateSettled}).Draw(t, "state")
	k.Revision = int32(rapid.IntRange(0, 3).Draw(t, "revision"))
	k.Gap = rapid.Bool().Draw(t, "gap")
	k.TradeCount = int64(rapid.IntRange(0, 1000).Draw(t, "count"))
	return k
}

// TestEveryGrid stores 70 klines of each interval, and of another symbol beside them, and reads parts of them.
func TestEveryGrid(t *testing.T) {
	intervals := append(market.ExchangeIntervals(), interval("1s"), interval("5s"), interval("15s"), interval("30s"), interval("10m"), interval("3h"))
	s := openTest(t, t.TempDir(), intervals...)
	for _, iv := range intervals {
		first := iv.Ordinal(day(2024, 2, 29))
		for n := first; n < first+70; n++ {
			for symbol := range market.SymbolID(2) {
				series := market.Series{Symbol: symbol, Interval: iv}
				put(s, update(series, testKline(series, iv.OpenAt(n))))
			}
		}
	}
	flush(t, s)
	everything := market.Span{From: day(1990, 1, 1), To: day(2040, 1, 1)} // at 1s beyond any table: cut to what is there
	for _, iv := range intervals {
		series := market.Series{Symbol: 1, Interval: iv}
		first := iv.Ordinal(day(2024, 2, 29))
		for _, c := range []struct {
			span    market.Span
			from, n int64
		}{
			{market.Span{From: iv.OpenAt(first), To: iv.OpenAt(first + 70)}, 0, 70},
			{market.Span{From: iv.OpenAt(first) + 1, To: iv.OpenAt(first+69) + 1}, 1, 69},
			{market.Span{From: iv.OpenAt(first + 10), To: iv.OpenAt(first + 11)}, 10, 1},
			{market.Span{From: iv.OpenAt(first - 50), To: iv.OpenAt(first + 2)}, 0, 2},
			{everything, 0, 70},
		} {
			var want []market.Kline
			for n := first + c.from; n < first+c.from+c.n; n++ {
				want = append(want, testKline(series, iv.OpenAt(n)))
			}
			rows, missing := read(t, s, series, c.span)
			same(t, iv.String(), rows, want)
			same(t, iv.String()+" missing", missing, []market.Span{{From: iv.Ceil(c.span.From), To: iv.Ceil(c.span.To)}})
		}
	}
}

func TestReadRefuses(t *testing.T) {
	s := openTest(t, t.TempDir(), market.OneMinute)
	put(s, update(market.Series{Interval: market.OneHour}, testKline(market.Series{}, at("10:00:00")))) // not kept: ignored
	s.Fetched(market.Series{Interval: market.OneHour}, market.Span{From: at("10:00:00"), To: at("11:00:00")}, nil)
	_, _, err := s.Read(context.Background(), market.Series{Interval: market.OneHour}, market.Span{From: 0, To: 1})
	if err == nil || !strings.HasSuffix(err.Error(), "interval 1h is not kept") {
		t.Error(err)
	}
	if rows, missing := read(t, s, market.Series{Interval: market.OneMinute}, market.Span{From: 5, To: 5}); rows != nil || missing != nil {
		t.Error("an empty span has", rows, missing)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := s.Read(ctx, market.Series{Interval: market.OneMinute}, market.Span{From: 0, To: 60000}); err == nil {
		t.Error("read although nobody waits any more")
	}
}

// TestSince: what was put counts at once, of whatever symbol; other intervals do not.
func TestSince(t *testing.T) {
	s := openTest(t, t.TempDir(), market.OneMinute, market.OneHour)
	since := func(want market.Time) {
		t.Helper()
		if got, err := s.Since(context.Background(), market.OneMinute); got != want || err != nil {
			t.Errorf("%s %v, want %s", got, err, want)
		}
	}
	add := func(symbol market.SymbolID, iv market.Interval, open market.Time) {
		series := market.Series{Symbol: symbol, Interval: iv}
		put(s, update(series, testKline(series, open)))
	}
	add(0, market.OneHour, at("09:00:00"))
	since(forever)
	add(0, market.OneMinute, at("10:00:00"))
	since(at("10:00:00"))
	flush(t, s)
	since(at("10:00:00"))
	add(1, market.OneMinute, at("10:02:00"))
	since(at("10:00:00"))
	add(1, market.OneMinute, at("09:58:00"))
	since(at("09:58:00"))
}

// TestFetched: what the exchange was asked for is known, empty or not, and joins with its neighbours.
func TestFetched(t *testing.T) {
	series := market.Series{Symbol: 2, Interval: market.OneMinute}
	minute := func(m int) market.Time { return at("10:00:00") + market.Time(m)*market.Minute }
	kline := func(m int, state market.State) market.Kline {
		k := testKline(series, minute(m))
		k.State = state
		return k
	}
	dir := t.TempDir()
	s := openTest(t, dir, market.OneMinute)
	s.Fetched(series, market.Span{From: minute(0), To: minute(5)}, nil)
	s.Fetched(series, market.Span{From: minute(5) - 30_000, To: minute(8)}, []market.Kline{kline(6, market.StateSettled), kline(7, market.StateSettled)})
	s.Fetched(series, market.Span{From: minute(10), To: minute(20)}, []market.Kline{kline(10, market.StateSettled), kline(11, market.StateOpen)})
	for range 2 {
		rows, missing := read(t, s, series, market.Span{From: minute(-1), To: minute(12)})
		same(t, "rows", rows, []market.Kline{kline(6, market.StateSettled), kline(7, market.StateSettled), kline(10, market.StateSettled)})
		same(t, "missing", missing, []market.Span{{From: minute(-1), To: minute(0)}, {From: minute(8), To: minute(10)}, {From: minute(11), To: minute(12)}})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, dir, market.OneMinute)
	}
}

// TestWriterOnFakeTime: commits come CommitEvery after the first kline, and after an error again and again.
func TestWriterOnFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{Dir: t.TempDir(), Intervals: []market.Interval{market.OneMinute}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.SaveSymbols(testSymbols(3)); err != nil {
			t.Fatal(err)
		}
		wait := func(d time.Duration, wantWaiting int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if n := s.Status().OutboxRows; n != wantWaiting {
				t.Fatalf("%d klines wait, want %d", n, wantWaiting)
			}
		}
		feedMinutes(s, 1, 0, 1)
		wait(499*time.Millisecond, 1)
		feedMinutes(s, 1, 1, 1)
		wait(2*time.Millisecond, 0)
		if st := s.Status(); st.Rows != 2 || time.Since(st.LastCommit.Time) > 2*time.Millisecond {
			t.Errorf("status %+v", st)
		}
		last := s.Status().LastCommit.Time
		wait(time.Hour, 0)
		if !s.Status().LastCommit.Equal(last) {
			t.Error("committed although nothing waited")
		}
		empty := fillDisk(t, s)
		feedMinutes(s, 1, 2, 600)
		wait(time.Minute, 600)
		if st := s.Status(); !strings.Contains(st.State, "full") {
			t.Errorf("status %+v", st)
		}
		empty()
		wait(5*time.Second, 0)
		if st := s.Status(); st.State != StateOK || st.Rows != 602 {
			t.Errorf("status %+v", st)
		}
		wide := make([]market.Update, manyRows)
		for i := range wide {
			series := market.Series{Symbol: 0, Interval: market.OneMinute}
			wide[i] = update(series, testKline(series, at("10:00:00")+market.Time(i)*market.Minute))
		}
		put(s, wide...)
		wait(0, 0) // many do not wait for their time
	})
}

// TestConcurrently: readers never see a kline that was put missing, or worse than before, while it moves to the disk.
func TestConcurrently(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), CommitEvery: time.Millisecond, Intervals: threeIntervals})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SaveSymbols(testSymbols(3)); err != nil {
		t.Fatal(err)
	}
	const minutes = 400
	var work sync.WaitGroup
	var put [3]struct {
		sync.Mutex
		minutes int
	}
	for symbol := range 3 {
		s.BeginLive(market.SymbolID(symbol), symbol, at("10:00:00"))
		work.Go(func() {
			for m := range minutes {
				feedOwnLane(s, symbol, m)
				put[symbol].Lock()
				put[symbol].minutes = m + 1
				put[symbol].Unlock()
			}
		})
		work.Go(func() {
			series := market.Series{Symbol: market.SymbolID(symbol), Interval: market.OneMinute}
			for n := 0; n < minutes; {
				put[symbol].Lock()
				n = put[symbol].minutes
				put[symbol].Unlock()
				span := market.Span{From: at("10:00:00"), To: at("10:00:00") + market.Time(n)*market.Minute}
				rows, missing, err := s.Read(context.Background(), series, span)
				if err != nil || len(rows) != n || len(missing) != 0 {
					t.Errorf("%d rows, want %d; missing %v, %v", len(rows), n, missing, err)
					return
				}
				s.Status()
			}
		})
	}
	work.Go(func() {
		for range 20 {
			if err := s.SaveSymbols(testSymbols(3)); err != nil {
				t.Error(err)
			}
			if err := s.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()
}

// feedOwnLane feeds one minute of a symbol whose lane has its number.
func feedOwnLane(s *Store, symbol, m int) {
	series := market.Series{Symbol: market.SymbolID(symbol), Interval: market.OneMinute}
	open := at("10:00:00") + market.Time(m)*market.Minute
	s.Put(&market.Changes{Lane: symbol, UpTo: open + market.Minute, Updates: []market.Update{update(series, testKline(series, open))}})
}

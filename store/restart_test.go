package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"klined/market"
)

// crash copies the files of a store that is not committing: what a kill −9 leaves.
func crash(t *testing.T, s *Store) (dir string) {
	dir = t.TempDir()
	for _, name := range []string{databaseFile, databaseFile + "-wal"} {
		data, err := os.ReadFile(filepath.Join(s.opts.Dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// feedMinutes plays a lane: from 10:00 on n minutes of symbol, each with its 1m, 5m and 1h closes.
func feedMinutes(s *Store, symbol market.SymbolID, from, n int) {
	for m := from; m < from+n; m++ {
		end := at("10:00:00") + market.Time(m+1)*market.Minute
		changes := &market.Changes{Lane: 1, UpTo: end}
		for _, iv := range []market.Interval{interval("1m"), interval("5m"), interval("1h")} {
			if iv.Open(end) == end {
				series := market.Series{Symbol: symbol, Interval: iv}
				changes.Updates = append(changes.Updates, update(series, testKline(series, iv.OpenAt(iv.Ordinal(end)-1))))
			}
		}
		s.Put(changes)
	}
}

var threeIntervals = []market.Interval{interval("1m"), interval("5m"), interval("1h")}

// opensOf is the open times of rows, which must be testKlines with or without the mark, as clock times.
func opensOf(t *testing.T, series market.Series, rows []market.Kline) (first, last string, n int) {
	t.Helper()
	for i, k := range rows {
		k.Gap = false
		if k != testKline(series, k.OpenTime) {
			t.Fatalf("kline %v at %s has other values than were put", series, k.OpenTime)
		}
		if i > 0 && k.OpenTime <= rows[i-1].OpenTime {
			t.Fatalf("klines out of order at %s", k.OpenTime)
		}
	}
	if len(rows) == 0 {
		return "", "", 0
	}
	return rows[0].OpenTime.Std().Format("15:04"), rows[len(rows)-1].OpenTime.Std().Format("15:04"), len(rows)
}

// TestRestart: rows and completeness of a running store, after Close, after a crash, and of the run after it.
func TestRestart(t *testing.T) {
	hours := func(from, to string) market.Span { return market.Span{From: at(from + ":00"), To: at(to + ":00")} }
	type want struct {
		interval string
		rows     string
		missing  []market.Span // of 09:00 to 12:00
	}
	check := func(name string, s *Store, wants ...want) {
		t.Helper()
		for _, w := range wants {
			series := market.Series{Symbol: 1, Interval: interval(w.interval)}
			rows, missing := read(t, s, series, hours("09:00", "12:00"))
			first, last, n := opensOf(t, series, rows)
			if got := fmt.Sprintf("%s–%s %d", first, last, n); got != w.rows {
				t.Errorf("%s: %s rows %s, want %s", name, w.interval, got, w.rows)
			}
			same(t, name+": missing of "+w.interval, missing, w.missing)
		}
	}
	s := openTest(t, t.TempDir(), threeIntervals...)
	s.BeginLive(1, 1, at("10:00:00"))
	feedMinutes(s, 1, 0, 62)
	flush(t, s)
	feedMinutes(s, 1, 62, 10) // never committed
	check("running", s,
		want{"1m", "10:00–11:11 72", []market.Span{hours("09:00", "10:00"), hours("11:12", "12:00")}},
		want{"5m", "10:00–11:05 14", []market.Span{hours("09:00", "10:00"), hours("11:10", "12:00")}},
		want{"1h", "10:00–10:00 1", []market.Span{hours("09:00", "10:00"), hours("11:00", "12:00")}})

	dir := crash(t, s)
	s = openTest(t, dir, threeIntervals...)
	crashed := []want{
		{"1m", "10:00–11:01 62", []market.Span{hours("09:00", "10:00"), hours("11:00", "12:00")}},
		{"5m", "10:00–10:55 12", []market.Span{hours("09:00", "10:00"), hours("11:00", "12:00")}},
		{"1h", "10:00–10:00 1", []market.Span{hours("09:00", "10:00"), hours("11:00", "12:00")}},
	}
	check("crashed", s, crashed...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, threeIntervals...)
	check("crashed and opened twice", s, crashed...)

	s.BeginLive(1, 0, at("11:10:00"))
	upTo(s, 0, at("11:10:30"))
	feedMinutes(s, 1, 70, 20) // of lane 1, which now is another symbol's: vouches for nothing here
	upTo(s, 0, at("11:30:00"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, threeIntervals...)
	check("the next run", s,
		want{"1m", "10:00–11:29 82", []market.Span{hours("09:00", "10:00"), hours("11:00", "11:10"), hours("11:28", "12:00")}},
		want{"5m", "10:00–11:25 16", []market.Span{hours("09:00", "10:00"), hours("11:00", "11:10"), hours("11:25", "12:00")}},
		want{"1h", "10:00–10:00 1", []market.Span{hours("09:00", "10:00"), hours("11:00", "12:00")}})
}

// TestLastBeforeTheEnd: what closed within two minutes of a process's end, and did not say that it lacks trades, may lack
// them: its connections may have been silent since, and nobody noticed. It has the mark in the next run, and is missing
// where the exchange can be asked. What is settled, or closed before that, stays as it is.
func TestLastBeforeTheEnd(t *testing.T) {
	intervals := []market.Interval{interval("30s"), interval("1m"), interval("5m")}
	s := openTest(t, t.TempDir(), intervals...)
	s.BeginLive(0, 0, at("10:00:00"))
	s.BeginLive(1, 0, at("10:00:00")) // symbol 2 is not whole yet
	for symbol := range market.SymbolID(3) {
		for _, iv := range intervals {
			series := market.Series{Symbol: symbol, Interval: iv}
			for open := at("10:00:00"); open < at("10:10:00"); open = iv.Next(open) {
				k := testKline(series, open)
				if symbol == 1 && open == at("10:08:30") || symbol == 1 && open == at("10:09:00") {
					k.State = market.StateSettled
				}
				put(s, update(series, k))
			}
		}
	}
	upTo(s, 0, at("10:10:00"))
	upTo(s, 1, at("10:09:30")) // the lane that is behind says when the process ended
	flush(t, s)
	for what, s := range map[string]*Store{"crashed": openTest(t, crash(t, s), intervals...), "stopped": stopped(t, s, intervals)} {
		for _, c := range []struct {
			symbol   market.SymbolID
			interval string
			missing  string // from there on
			marked   string // open times
		}{
			{0, "30s", "10:10:00", "10:07:30 10:08:00 10:08:30 10:09:00 10:09:30"},
			{0, "1m", "10:07:00", "10:07:00 10:08:00 10:09:00"},
			{0, "5m", "10:05:00", "10:05:00"},
			{1, "30s", "10:10:00", "10:07:30 10:08:00 10:09:30"},
			{1, "1m", "10:07:00", "10:07:00 10:08:00"},
			{1, "5m", "10:05:00", "10:05:00"},
			{2, "30s", "10:00:00", "10:07:30 10:08:00 10:08:30 10:09:00 10:09:30"},
			{2, "1m", "10:00:00", "10:07:00 10:08:00 10:09:00"},
			{2, "5m", "10:00:00", "10:05:00"},
		} {
			series := market.Series{Symbol: c.symbol, Interval: interval(c.interval)}
			rows, missing := read(t, s, series, market.Span{From: at("10:00:00"), To: at("10:15:00")})
			same(t, fmt.Sprint(what, ": missing of ", series), missing, []market.Span{{From: at(c.missing), To: at("10:15:00")}})
			var marked []string
			for _, k := range rows {
				if k.Gap {
					marked = append(marked, k.OpenTime.Std().Format(time.TimeOnly))
				}
			}
			if got := strings.Join(marked, " "); got != c.marked {
				t.Errorf("%s: %v: the mark is on %s, want %s", what, series, got, c.marked)
			}
		}
	}
}

// TestBegunAndNothingMore: a process that ended before its lanes handed anything on vouches for nothing, not in the run after
// the next either, whose lanes have the same numbers.
func TestBegunAndNothingMore(t *testing.T) {
	s := openTest(t, t.TempDir(), market.OneMinute)
	s.BeginLive(1, 0, at("10:00:00"))
	s = stopped(t, s, []market.Interval{market.OneMinute})
	s.BeginLive(0, 0, at("11:00:00")) // symbol 1 is not whole this time
	upTo(s, 0, at("12:00:00"))
	s = stopped(t, s, []market.Interval{market.OneMinute})
	span := market.Span{From: at("10:00:00"), To: at("11:50:00")}
	_, missing := read(t, s, market.Series{Symbol: 1, Interval: market.OneMinute}, span)
	same(t, "missing of symbol 1", missing, []market.Span{span})
	_, missing = read(t, s, market.Series{Symbol: 0, Interval: market.OneMinute}, span)
	same(t, "missing of symbol 0", missing, []market.Span{{From: at("10:00:00"), To: at("11:00:00")}})
}

// stopped is the store after an ordered stop.
func stopped(t *testing.T, s *Store, intervals []market.Interval) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openTest(t, s.opts.Dir, intervals...)
}

// TestIntervalKeptLater: a run vouches only for the intervals that it kept.
func TestIntervalKeptLater(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, interval("1m"))
	s.BeginLive(0, 0, at("10:00:00"))
	upTo(s, 0, at("11:00:00")+doubted)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, threeIntervals...)
	span := market.Span{From: at("10:00:00"), To: at("11:00:00")}
	_, missing := read(t, s, market.Series{Interval: interval("1m")}, span)
	same(t, "1m", missing, nil)
	_, missing = read(t, s, market.Series{Interval: interval("5m")}, span)
	same(t, "5m", missing, []market.Span{span})
}

// crashDirEnv tells this test's program to be the process that is killed, crashRetainEnv for how long to keep minutes.
const (
	crashDirEnv    = "STORE_TEST_CRASH_DIR"
	crashRetainEnv = "STORE_TEST_CRASH_RETAIN"
)

// putForever feeds a store, far quicker than real minutes, and says how many rows it has committed.
func putForever(dir string) {
	opts := Options{Dir: dir, CommitEvery: time.Millisecond, Intervals: threeIntervals}
	if d, err := time.ParseDuration(os.Getenv(crashRetainEnv)); err == nil {
		opts.Retain = map[market.Interval]time.Duration{market.OneMinute: d}
	}
	s, err := Open(opts)
	if err == nil {
		err = s.SaveSymbols(testSymbols(3))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for symbol := range market.SymbolID(3) {
		s.BeginLive(symbol, 1, at("10:00:00"))
	}
	for m := 0; ; m++ {
		for symbol := range market.SymbolID(3) {
			feedMinutesOf3(s, symbol, m)
		}
		for s.Status().OutboxRows > 300 {
			time.Sleep(100 * time.Microsecond)
		}
		fmt.Println(s.Status().Rows)
	}
}

// feedMinutesOf3 feeds one minute of a symbol; the watermark moves with the last symbol's.
func feedMinutesOf3(s *Store, symbol market.SymbolID, m int) {
	end := at("10:00:00") + market.Time(m+1)*market.Minute
	changes := &market.Changes{Lane: 1}
	for _, iv := range threeIntervals {
		if iv.Open(end) == end {
			series := market.Series{Symbol: symbol, Interval: iv}
			changes.Updates = append(changes.Updates, update(series, testKline(series, iv.OpenAt(iv.Ordinal(end)-1))))
		}
	}
	if symbol == 2 {
		changes.UpTo = end
	}
	s.Put(changes)
}

// killed feeds the store in dir from another process, which it kills in the midst of its commits, and hands each to
// committed: how many rows there were by then, at least. It returns the last.
func killed(t *testing.T, dir string, committed func(rows int)) (rows int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for said := bufio.NewScanner(out); rows < 3000 && said.Scan(); committed(rows) {
		if rows, err = strconv.Atoi(said.Text()); err != nil {
			t.Fatal(said.Text())
		}
	}
	return rows
}

// TestKilled kills a process in the midst of its commits: the store opens, and every kline that it calls known is there.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	committed := killed(t, dir, func(int) {})

	s := openTest(t, dir, threeIntervals...)
	total := 0
	for symbol := range market.SymbolID(3) {
		for _, iv := range threeIntervals {
			series := market.Series{Symbol: symbol, Interval: iv}
			rows, missing := read(t, s, series, market.Span{From: at("10:00:00"), To: at("10:00:00") + 30*market.Day})
			_, _, n := opensOf(t, series, rows)
			if len(missing) != 1 {
				t.Fatalf("%v: missing %v, want one span to the end", series, missing)
			}
			known := iv.Count(market.Span{From: at("10:00:00"), To: missing[0].From})
			if most := known + int64(doubted/market.Minute) + 1; known == 0 || int64(n) < known || int64(n) > most {
				t.Errorf("%v: %d rows, of %d known", series, n, known)
			}
			total += n
		}
	}
	if total < committed {
		t.Errorf("%d rows, where %d were committed", total, committed)
	}
}

package store

import (
	"bufio"
	"context"
	"database/sql"
	"maps"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"klined/market"
)

// retained keeps half minutes for an hour, minutes for two, five minutes for three, and hours for ever.
var retained = map[market.Interval]time.Duration{interval("30s"): time.Hour, interval("1m"): 2 * time.Hour, interval("5m"): 3 * time.Hour}

// openRetaining opens a store of fourIntervals that keeps them for so long.
func openRetaining(t testing.TB, dir string, retain map[market.Interval]time.Duration) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, CommitEvery: never, Intervals: fourIntervals, Retain: retain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SaveSymbols(testSymbols(3)); err != nil {
		t.Fatal(err)
	}
	return s
}

// feedAll plays a lane that brings every kline of symbols 0 and 1 that ends after from and at or before to.
func feedAll(s *Store, from, to market.Time) {
	for end := from + 30*market.Second; end <= to; end += 30 * market.Second {
		changes := &market.Changes{Lane: 1, UpTo: end}
		for _, iv := range fourIntervals {
			for symbol := range market.SymbolID(2) {
				if series := (market.Series{Symbol: symbol, Interval: iv}); iv.Open(end) == end {
					changes.Updates = append(changes.Updates, update(series, testKline(series, iv.OpenAt(iv.Ordinal(end)-1))))
				}
			}
		}
		s.Put(changes)
	}
}

// cutDown waits for the end of a cut.
func cutDown() {
	time.Sleep(time.Hour)
	synctest.Wait()
}

// onDisk is how many rows of iv the disk has that open before a time.
func onDisk(t testing.TB, s *Store, iv market.Interval, before market.Time) (n int) {
	t.Helper()
	if err := s.disk.db.QueryRow("SELECT count(*) FROM "+tableOf(iv)+" WHERE open_time < ?", before).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRetention: what is older than is kept is missing, leaves the disk, and cannot come back; the restart knows.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openRetaining(t, dir, retained)
		day := market.Span{From: at("00:00:00"), To: at("15:00:00")}
		check := func(what string, want map[string]string) {
			t.Helper()
			for name, from := range want {
				iv := interval(name)
				for symbol := range market.SymbolID(2) {
					_, missing := read(t, s, market.Series{Symbol: symbol, Interval: iv}, day)
					if len(missing) == 0 || missing[0] != (market.Span{From: day.From, To: at(from)}) {
						t.Errorf("%s: %s misses %v, want all before %s", what, name, missing, from)
					}
				}
				if n := onDisk(t, s, iv, at(from)); n > 0 {
					t.Errorf("%s: %d rows of %s on disk that open before %s", what, n, name, from)
				}
			}
		}
		s.BeginLive(0, 1, at("10:00:00"))
		s.BeginLive(1, 1, at("10:00:00"))
		feedAll(s, at("10:00:00"), at("14:00:00"))
		flush(t, s)
		cutDown()
		want := map[string]string{"30s": "13:00:00", "1m": "12:00:00", "5m": "11:00:00", "1h": "10:00:00"}
		check("cut", want)

		feedAll(s, at("14:00:00"), at("14:59:30"))
		flush(t, s)
		cutDown()
		check("before the next hour", want)

		// Neither put nor fetched: what is too old, though somebody asks for it. What is missing for another reason is no hole.
		minutes := market.Series{Symbol: 0, Interval: market.OneMinute}
		put(s, update(minutes, testKline(minutes, at("11:59:00"))))
		s.Fetched(minutes, market.Span{From: at("11:50:00"), To: at("12:01:00")}, []market.Kline{testKline(minutes, at("11:58:00")), testKline(minutes, at("12:00:00"))})
		refused := testKline(minutes, at("11:57:00"))
		refused.High++
		put(s, update(minutes, refused))
		if rows, _ := read(t, s, minutes, market.Span{From: day.From, To: at("12:00:00")}); len(rows) != 0 || s.Status().Holes != 0 {
			t.Errorf("%d rows, %d holes of what is not kept", len(rows), s.Status().Holes)
		}
		flush(t, s)
		check("put and fetched", want)

		feedAll(s, at("14:59:30"), at("15:00:00"))
		flush(t, s)
		cutDown()
		want = map[string]string{"30s": "14:00:00", "1m": "13:00:00", "5m": "12:00:00", "1h": "10:00:00"}
		check("an hour later", want)

		s = openRetaining(t, crash(t, s), retained)
		check("crashed", want)
		longer := maps.Clone(retained)
		longer[market.OneMinute] = 24 * time.Hour
		delete(longer, interval("5m"))
		s = openRetaining(t, crash(t, s), longer)
		check("kept for longer from now on", want)
		s.Fetched(minutes, market.Span{From: at("12:00:00"), To: at("13:00:00")}, nil)
		if _, missing := read(t, s, minutes, market.Span{From: at("11:59:00"), To: at("13:00:00")}); len(missing) != 1 || missing[0].To != at("12:00:00") {
			t.Errorf("fetched, and missing %v", missing)
		}
		s = openRetaining(t, crash(t, s), map[market.Interval]time.Duration{interval("1h"): time.Hour})
		s.BeginLive(0, 1, at("15:00:00"))
		upTo(s, 1, at("16:00:00"))
		flush(t, s)
		cutDown()
		if n := onDisk(t, s, market.OneHour, at("15:00:00")); n != 0 {
			t.Errorf("%d hours on disk", n)
		}
	})
}

// TestRetentionByTheExchangesTime: without a watermark nothing is cut, whatever this machine's clock says.
func TestRetentionByTheExchangesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openRetaining(t, t.TempDir(), retained)
		minutes := market.Series{Symbol: 0, Interval: market.OneMinute}
		span := market.Span{From: day(1999, 1, 1), To: day(1999, 1, 1) + market.Minute} // a year ago in the bubble
		s.Fetched(minutes, span, []market.Kline{testKline(minutes, span.From)})
		flush(t, s)
		cutDown()
		if rows, missing := read(t, s, minutes, span); len(rows) != 1 || len(missing) != 0 {
			t.Errorf("%d rows, missing %v", len(rows), missing)
		}
		upTo(s, 1, span.To+market.Day)
		flush(t, s)
		cutDown()
		if rows, missing := read(t, s, minutes, span); len(rows) != 0 || len(missing) != 1 {
			t.Errorf("%d rows, missing %v", len(rows), missing)
		}
	})
}

// TestRetentionClaimsNoMore feeds, fetches, cuts step by step, crashes and opens with another retention, in any order: every
// kline that the store calls known is there, and nothing is known that is not kept.
func TestRetentionClaimsNoMore(t *testing.T) {
	if raced {
		t.Skip("one goroutine, and long under the race detector")
	}
	retains := []map[market.Interval]time.Duration{nil, retained, {interval("30s"): 2 * time.Hour, interval("1m"): time.Hour, interval("1h"): 3 * time.Hour}}
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			retain := rapid.SampledFrom(retains).Draw(rt, "retain")
			s := openRetaining(t, t.TempDir(), retain)
			now := at("10:00:00")
			for range rapid.IntRange(1, 6).Draw(rt, "steps") {
				switch rapid.SampledFrom([]string{"feed", "begin", "fetch", "flush", "wait", "crash"}).Draw(rt, "step") {
				case "feed":
					to := now + market.Time(rapid.IntRange(1, 45).Draw(rt, "minutes"))*market.Minute
					feedAll(s, now, to)
					now = to
				case "begin":
					s.BeginLive(market.SymbolID(rapid.IntRange(0, 1).Draw(rt, "symbol")), 1, now)
				case "fetch":
					series := market.Series{Symbol: 1, Interval: rapid.SampledFrom(fourIntervals[1:]).Draw(rt, "interval")}
					from := series.Interval.Open(now) - market.Time(rapid.IntRange(0, 12).Draw(rt, "back"))*10*market.Minute
					fetch(s, series, market.Span{From: series.Interval.Open(from), To: series.Interval.Open(now)})
				case "flush":
					flush(t, s)
				case "wait":
					time.Sleep(time.Duration(rapid.IntRange(1, 8).Draw(rt, "pauses")) * cutPause)
				case "crash":
					synctest.Wait()
					retain = rapid.SampledFrom(retains).Draw(rt, "retain")
					next := openRetaining(t, crash(t, s), retain)
					_ = s.Close()
					s = next
				}
				s.mu.Lock()
				s.cutRows = rapid.IntRange(1, 200).Draw(rt, "cut rows")
				s.mu.Unlock()
				synctest.Wait()
				claimsNoMore(rt, t, s, now)
			}
			_ = s.Close()
		})
	})
}

// fetch brings all that the exchange has of span.
func fetch(s *Store, series market.Series, span market.Span) {
	var rows []market.Kline
	for open := span.From; open < span.To; open = series.Interval.Next(open) {
		rows = append(rows, testKline(series, open))
	}
	s.Fetched(series, span, rows)
}

// claimsNoMore looks whether all that is known is there, and kept.
func claimsNoMore(rt *rapid.T, t *testing.T, s *Store, now market.Time) {
	for _, iv := range fourIntervals {
		for symbol := range market.SymbolID(2) {
			series := market.Series{Symbol: symbol, Interval: iv}
			rows, missing := read(t, s, series, market.Span{From: at("07:00:00"), To: now})
			have := map[market.Time]bool{}
			for _, k := range rows {
				have[k.OpenTime] = true
			}
			i := 0
			for open := at("07:00:00"); open < now; open = iv.Next(open) {
				for i < len(missing) && missing[i].To <= open {
					i++
				}
				known := i == len(missing) || open < missing[i].From
				if known && !have[open] {
					rt.Fatalf("%v at %s is known and not there", series, open)
				}
				if since := s.complete.retention.from[iv]; open < since && (known || have[open]) {
					rt.Fatalf("%v at %s is known or there, kept since %s", series, open, since)
				}
			}
		}
	}
}

// TestReadWhileCutting: rows that go between a read's look at what is known and its look at the disk are missing.
func TestReadWhileCutting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openRetaining(t, t.TempDir(), retained)
		s.BeginLive(1, 1, at("10:00:00"))
		feedAll(s, at("10:00:00"), at("12:00:00"))
		flush(t, s)
		cutDown()
		var held []*sql.Conn // every connection: reads wait for the disk
		for range readConnections {
			conn, err := s.disk.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		var reading sync.WaitGroup
		for _, iv := range fourIntervals {
			reading.Go(func() {
				span := market.Span{From: at("10:00:00"), To: at("12:00:00")}
				if iv < market.OneMinute {
					span.From = at("11:00:00")
				}
				rows, missing, err := s.Read(context.Background(), market.Series{Symbol: 1, Interval: iv}, span)
				n := int64(len(rows))
				for _, m := range missing {
					n += iv.Count(m)
				}
				if err != nil || n != iv.Count(span) || iv < market.OneHour && len(missing) == 0 {
					t.Errorf("%s: %d rows, missing %v, %v", iv, len(rows), missing, err)
				}
			})
		}
		synctest.Wait()
		feedAll(s, at("12:00:00"), at("14:00:00"))
		flush(t, s)
		cutDown()
		for _, conn := range held {
			_ = conn.Close()
		}
		reading.Wait()
	})
}

// TestFreedPagesAreUsedAgain: where as much is cut off as is added, the file does not grow.
func TestFreedPagesAreUsedAgain(t *testing.T) {
	if raced {
		t.Skip("one goroutine, and long under the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		s := openRetaining(t, t.TempDir(), map[market.Interval]time.Duration{interval("30s"): time.Hour, interval("1m"): time.Hour, interval("5m"): time.Hour})
		var sizes []int64
		for n := range 12 {
			feedAll(s, at("10:00:00")+market.Time(n)*3*market.Hour, at("10:00:00")+market.Time(n+1)*3*market.Hour)
			flush(t, s)
			cutDown()
			if _, err := s.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, s.Status().FileBytes)
		}
		if first, last := sizes[1], sizes[len(sizes)-1]; last > first+first/4 {
			t.Errorf("the file grew: %v", sizes)
		}
	})
}

// TestKilledWhileCutting kills a process in the midst of its commits and cuts: every kline that is called known is there.
func TestKilledWhileCutting(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir, crashRetainEnv+"=2h")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for said := bufio.NewScanner(out); said.Scan(); {
		if n, err := strconv.Atoi(said.Text()); err != nil || n > 5000 {
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	s := openTest(t, dir, threeIntervals...)
	for symbol := range market.SymbolID(3) {
		series := market.Series{Symbol: symbol, Interval: market.OneMinute}
		span := market.Span{From: at("10:00:00"), To: at("10:00:00") + 30*market.Day}
		rows, missing := read(t, s, series, span)
		if len(missing) != 2 || missing[0].From != span.From {
			t.Fatalf("%v: missing %v, want what was cut off, and what was not put", series, missing)
		}
		known := market.OneMinute.Count(market.Span{From: missing[0].To, To: missing[1].From})
		if n := int64(len(rows)); known < 60 || n < known {
			t.Errorf("%v: %d rows, of %d known", series, n, known)
		}
	}
}

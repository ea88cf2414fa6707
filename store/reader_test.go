package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"klined/market"
)

func openReader(t *testing.T, dir string) *Reader {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// readAs reads s as it stands and r, and fails where they differ.
func readAs(t *testing.T, s *Store, r *Reader, series market.Series, span market.Span) {
	t.Helper()
	wantRows, wantMissing := read(t, s, series, span)
	rows, missing, err := r.Read(context.Background(), series, span)
	if err != nil {
		t.Fatal(err)
	}
	same(t, fmt.Sprintf("rows of %v in %v", series, span), rows, wantRows)
	same(t, fmt.Sprintf("missing of %v in %v", series, span), missing, wantMissing)
}

// TestReaderSeesWhatTheStoreSees: all that is committed, and nothing else, while the store is open, after it has ended,
// and after it was killed. Spans are drawn by chance.
func TestReaderSeesWhatTheStoreSees(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := openTest(t, t.TempDir(), threeIntervals...)
	dir := s.opts.Dir
	s.BeginLive(1, 1, at("10:00:00"))
	feedMinutes(s, 1, 0, 62)
	lacking := testKline(market.Series{Symbol: 1, Interval: market.OneMinute}, at("10:07:00"))
	lacking.Gap = true
	feedMinutes(s, 2, 3, 20) // rows that nothing vouches for
	put(s, update(market.Series{Symbol: 0, Interval: market.OneMinute}, lacking))
	s.Fetched(market.Series{Symbol: 0, Interval: market.OneMinute}, market.Span{From: at("10:00:00"), To: at("10:30:00")}, nil)
	put(s, update(market.Series{Symbol: 0, Interval: market.OneMinute}, lacking))
	flush(t, s)

	running, crashed := openReader(t, dir), openReader(t, crash(t, s))
	same(t, "symbols", running.Symbols(), testSymbols(3))
	same(t, "intervals", running.Intervals(), threeIntervals)
	var asked []func(r *Reader)
	for symbol := range market.SymbolID(4) { // the last is nobody
		for _, iv := range threeIntervals {
			for range 10 {
				from := at("09:30:00") + market.Time(random.Int64N(int64(2*market.Hour)))
				span := market.Span{From: from, To: from + market.Time(random.Int64N(int64(2*market.Hour)))}
				asked = append(asked, func(r *Reader) { readAs(t, s, r, market.Series{Symbol: symbol, Interval: iv}, span) })
			}
		}
	}
	ask := func(r *Reader) {
		for _, ask := range asked {
			ask(r)
		}
	}
	ask(running)
	ask(crashed)
	feedMinutes(s, 1, 62, 10) // memory alone has these
	rows, _, err := running.Read(context.Background(), market.Series{Symbol: 1, Interval: market.OneMinute}, market.Span{From: at("11:02:00"), To: at("12:00:00")})
	if err != nil || len(rows) != 0 {
		t.Errorf("%d rows that are not committed, %v", len(rows), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	ended := openReader(t, dir)
	span := market.Span{From: at("09:00:00"), To: at("12:00:00")}
	rows, missing, err := ended.Read(context.Background(), market.Series{Symbol: 1, Interval: market.OneMinute}, span)
	if err != nil || len(rows) != 72 {
		t.Errorf("ended: %d rows, %v", len(rows), err)
	}
	same(t, "ended: missing", missing, []market.Span{{From: span.From, To: at("10:00:00")}, {From: at("11:12:00"), To: span.To}})
	if err := ended.Close(); err != nil {
		t.Fatal(err)
	}
	if after := files(t, dir); after != before {
		t.Errorf("the reader changed\n%s\nto\n%s", before, after)
	}
}

// files is the names and contents of a directory's files, without those that are SQLite's own among processes.
func files(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-shm") {
			return err
		}
		data, err := os.ReadFile(path)
		if len(data) > 0 {
			fmt.Fprintf(&all, "%s %x\n", d.Name(), data)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all.String()
}

// TestReaderOfAnEarlierInterval: rows of an interval that the last run did not keep are there, and its session does not
// speak for them.
func TestReaderOfAnEarlierInterval(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, threeIntervals...)
	s.BeginLive(1, 1, at("10:00:00"))
	feedMinutes(s, 1, 0, 60)
	s = stopped(t, s, []market.Interval{market.OneMinute})
	s.BeginLive(1, 1, at("11:00:00"))
	feedMinutes(s, 1, 60, 60)
	flush(t, s)
	r := openReader(t, dir)
	span := market.Span{From: at("10:00:00"), To: at("12:00:00")}
	for _, c := range []struct {
		interval string
		rows     int
		missing  []market.Span
	}{
		{"1m", 120, []market.Span{{From: at("10:58:00"), To: at("11:00:00")}}},
		{"5m", 12, []market.Span{{From: at("10:55:00"), To: at("12:00:00")}}},
		{"1h", 1, []market.Span{{From: at("10:00:00"), To: at("12:00:00")}}},
	} {
		rows, missing, err := r.Read(context.Background(), market.Series{Symbol: 1, Interval: interval(c.interval)}, span)
		if err != nil || len(rows) != c.rows {
			t.Errorf("%s: %d rows, want %d, %v", c.interval, len(rows), c.rows, err)
		}
		same(t, c.interval, missing, c.missing)
	}
}

// TestReaderHeld: from the first row of an interval to the end of the last, of whatever symbol.
func TestReaderHeld(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, interval("5m"), interval("1M"))
	for symbol, open := range []string{"10:05:00", "10:15:00", "10:00:00"} {
		series := market.Series{Symbol: market.SymbolID(symbol), Interval: interval("5m")}
		put(s, update(series, testKline(series, at(open))))
	}
	month := market.Series{Symbol: 1, Interval: market.OneMonth}
	put(s, update(month, testKline(month, day(2024, 2, 1))))
	flush(t, s)
	r := openReader(t, dir)
	same(t, "intervals", r.Intervals(), []market.Interval{interval("1m"), interval("5m"), market.OneMonth})
	for name, want := range map[string]market.Span{
		"1m": {}, "5m": {From: at("10:00:00"), To: at("10:20:00")}, "1M": {From: day(2024, 2, 1), To: day(2024, 3, 1)},
	} {
		if got, err := r.Held(context.Background(), interval(name)); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	const refused = "interval 3m is not kept"
	if _, err := r.Held(context.Background(), interval("3m")); err == nil || err.Error() != "store "+dir+": "+refused {
		t.Errorf("%v, want %s", err, refused)
	}
	if _, _, err := r.Read(context.Background(), market.Series{Interval: interval("3m")}, market.Span{To: 1}); err == nil || !strings.HasSuffix(err.Error(), refused) {
		t.Errorf("%v, want %s", err, refused)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := r.Read(ended, month, market.Span{To: day(2025, 1, 1)}); err == nil || !strings.HasSuffix(err.Error(), context.Canceled.Error()) {
		t.Errorf("read on although it was told to stop: %v", err)
	}
}

// TestReaderBesideAnotherProcess: readers that come and go beside a process that commits, and one that stays. What each
// reading calls known is there, row by row; the process is killed, and the next one finds the store free.
func TestReaderBesideAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	var stays *Reader
	// check reads around where the process is just writing, and returns how much it may go on meanwhile.
	check := func(r *Reader, committed int) (unknown int64) {
		t.Helper()
		held, err := r.Held(context.Background(), market.OneMinute)
		if err != nil {
			t.Fatal(err)
		}
		if minutes := market.OneMinute.Count(market.Span{From: at("10:00:00"), To: held.To}); minutes*4 < int64(committed) { // 219 rows in 60 minutes
			t.Errorf("%d minutes, where %d rows were committed", minutes, committed)
		}
		span := market.Span{From: max(at("10:00:00"), held.To-2*market.Hour), To: held.To + 10*market.Hour}
		for symbol := range market.SymbolID(3) {
			series := market.Series{Symbol: symbol, Interval: market.OneMinute}
			rows, missing, err := r.Read(context.Background(), series, span)
			if err != nil {
				t.Fatal(err)
			}
			known := market.OneMinute.Count(span)
			if len(missing) > 0 {
				known = market.OneMinute.Count(market.Span{From: span.From, To: missing[0].From})
			}
			unknown = market.OneMinute.Count(span) - known
			if _, _, n := opensOf(t, series, rows); int64(n) < known || int64(n) > known+1 || len(missing) > 1 {
				t.Fatalf("symbol %d: %d rows, of %d known, missing %v", symbol, n, known, missing)
			}
		}
		return unknown
	}
	next := 0
	committed := killed(t, dir, func(rows int) {
		if rows < next {
			return
		}
		next = rows + 300
		if stays == nil {
			stays = openReader(t, dir)
		}
		check(stays, rows)
		comes, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		check(comes, rows)
		_ = comes.Close()
	})
	for _, r := range []*Reader{stays, openReader(t, dir)} {
		if unknown := check(r, committed); unknown < 599 {
			t.Errorf("only %d of the next 600 minutes are unknown after the end", unknown)
		}
	}
	openTest(t, dir, threeIntervals...)
}

// TestOpenReaderRefuses: each directory that holds no store, and the one line that says so. Nothing is made in it.
func TestOpenReaderRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string // DIR stands for the directory
	}{
		{"missing", func(*testing.T, string) {}, "store DIR: no store is there: stat DIR/klines.sqlite: no such file or directory"},
		{"no directory", func(t *testing.T, dir string) { writeFile(t, dir, "") }, "store DIR: no store is there: stat DIR/klines.sqlite: not a directory"},
		{"without files", mkdir, "store DIR: no store is there: stat DIR/klines.sqlite: no such file or directory"},
		{"an empty file", func(t *testing.T, dir string) { writeFile(t, filepath.Join(dir, databaseFile), "") },
			"store DIR: cannot read DIR/klines.sqlite: it is empty"},
		{"not a database", func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, databaseFile), strings.Repeat("no database ", 100))
		}, "store DIR: cannot read DIR/klines.sqlite: file is not a database (26)"},
		{"a newer schema", func(t *testing.T, dir string) { execOn(t, dir, "PRAGMA user_version = 7") },
			"store DIR: cannot read DIR/klines.sqlite: schema version 7 is newer than this program's 4"},
		{"another program's", func(t *testing.T, dir string) { execOn(t, dir, "CREATE TABLE cats (name)") },
			"store DIR: cannot read DIR/klines.sqlite: a database of another program: it has 1 tables and no schema version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			c.prepare(t, dir)
			before, err := filepath.Glob(dir + "/*")
			if err != nil {
				t.Fatal(err)
			}
			r, err := OpenReader(dir)
			if err == nil {
				_ = r.Close()
				t.Fatal("opened")
			}
			if want := strings.ReplaceAll(c.want, "DIR", dir); err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
			after, err := filepath.Glob(dir + "/*")
			if err != nil {
				t.Fatal(err)
			}
			same(t, "files", after, before)
		})
	}
}

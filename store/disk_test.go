package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// text is what a log wrote, read while it goes on.
type text struct {
	mu sync.Mutex
	bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.Buffer.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.Buffer.String()
}

// openLogging opens a store of 1m and 30s that commits as usual.
func openLogging(t *testing.T, log *text) *Store {
	t.Helper()
	s, err := Open(Options{Dir: t.TempDir(), Intervals: []market.Interval{interval("30s"), market.OneMinute}, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil {
		err = s.SaveSymbols(testSymbols(3))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// stick lets the writer wait at the disk until what it returns is called.
func stick(t *testing.T, s *Store) (loosen func()) {
	t.Helper()
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close() }
}

// TestStuckDisk: a write that does not end is a state and two lines in the log; what overflows meanwhile, and nothing else,
// is a hole when it ends.
func TestStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log text
		s := openLogging(t, &log)
		series := market.Series{Symbol: 1, Interval: market.OneMinute}
		halves := market.Series{Symbol: 1, Interval: interval("30s")}
		said := func(what string, stuck, full, again int) {
			t.Helper()
			synctest.Wait()
			all := log.String()
			if a, b, c := strings.Count(all, "the disk is stuck"), strings.Count(all, "outbox full"), strings.Count(all, "the disk goes again"); a != stuck || b != full || c != again {
				t.Errorf("%s: stuck %d times, full %d, again %d, in\n%s", what, a, b, c, all)
			}
		}
		s.maxRows = 100
		s.BeginLive(1, 1, at("10:00:00"))
		loosen := stick(t, s)
		feedMinutes(s, 1, 0, 10)
		time.Sleep(10 * time.Second)
		if st := s.Status(); st.State != StateOK || st.OutboxRows != 10 {
			t.Errorf("status %+v", st)
		}
		said("before its time", 0, 0, 0)
		time.Sleep(time.Second)
		if st := s.Status(); st.State != "stuck: has taken nothing for 11s" {
			t.Errorf("status %+v", st)
		}
		said("stuck", 1, 0, 0)

		// 10 rows are on their way, 90 may wait: of 102 the oldest are dropped, 12 by need.
		put(s, update(halves, testKline(halves, at("10:10:00"))))
		feedMinutes(s, 1, 10, 101)
		span := market.Span{From: at("10:00:00"), To: at("10:00:00") + 111*market.Minute}
		check := func(what string, from string, want []market.Span) {
			t.Helper()
			rows, missing := read(t, s, series, span)
			same(t, what, missing, want)
			n := int64(len(rows))
			for _, m := range missing {
				n += market.OneMinute.Count(m)
			}
			if _, last, _ := opensOf(t, series, rows); n != 111 || last != "11:50" || rows[10].OpenTime != at(from) {
				t.Errorf("%s: %d klines are there or missing, the last at %s; the dropped end at %s", what, n, last, rows[10].OpenTime)
			}
		}
		dropped := s.Status().DroppedRows
		hole := []market.Span{{From: at("10:10:00"), To: at("10:10:00") + market.Time(dropped-1)*market.Minute}}
		from := hole[0].To.Std().Format(time.TimeOnly)
		check("stuck and full", from, hole)
		if st := s.Status(); dropped < 12 || st.LostRows != 1 || st.OutboxRows > 100 || st.Holes != 2 {
			t.Errorf("status %+v", st)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("Flush at a stuck disk says", err)
		}

		loosen()
		time.Sleep(time.Second)
		said("loose", 1, int(dropped+9)/10, 1)
		if st := s.Status(); st.State != StateOK || st.OutboxRows != 0 || st.Rows != 112-dropped || st.DroppedRows != dropped {
			t.Errorf("status %+v", st)
		}
		check("loose", from, hole)
		fetch(s, series, hole[0])
		time.Sleep(time.Second)
		check("fetched again", "10:10:00", nil)
		if st := s.Status(); st.Holes != 1 || st.LostRows != 1 || st.OutboxRows != 0 {
			t.Errorf("status %+v", st)
		}
	})
}

// TestCloseAtAStuckDisk: it waits, and says so; nothing is lost.
func TestCloseAtAStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log text
		s := openLogging(t, &log)
		loosen := stick(t, s)
		feedMinutes(s, 1, 0, 10)
		time.Sleep(time.Minute)
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, line := range []string{"the disk is stuck", "closing waits for the disk"} {
			if n := strings.Count(log.String(), line); n != 1 {
				t.Errorf("%q stands %d times in\n%s", line, n, log.String())
			}
		}
		select {
		case err := <-closed:
			t.Fatal("closed:", err)
		default:
		}
		loosen()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		s = openTest(t, s.opts.Dir, market.OneMinute)
		if rows, _ := read(t, s, market.Series{Symbol: 1, Interval: market.OneMinute}, market.Span{From: at("10:00:00"), To: at("10:10:00")}); len(rows) != 10 {
			t.Errorf("%d rows", len(rows))
		}
	})
}

// TestRoom: the disk is nearly full below 1 GiB or a fiftieth of it, whichever is less.
func TestRoom(t *testing.T) {
	const gb = 1 << 30
	s := openTest(t, t.TempDir(), market.OneMinute)
	if st := s.Status(); st.FreeBytes <= 0 {
		t.Errorf("status %+v", st)
	}
	for _, c := range []struct {
		free, size int64
		err        error
		want       string
	}{
		{500 * gb, 1000 * gb, nil, StateOK},
		{gb, 1000 * gb, nil, StateOK},
		{gb - 1, 1000 * gb, nil, "nearly full: 1023 MB of 1024000 MB are free"},
		{gb / 2, 20 * gb, nil, StateOK},
		{gb / 4, 20 * gb, nil, "nearly full: 256 MB of 20480 MB are free"},
		{0, 20 * gb, nil, "nearly full: 0 MB of 20480 MB are free"},
		{0, 0, errors.New("cannot ask"), "cannot ask"},
	} {
		s.room = func(string) (int64, int64, error) { return c.free, c.size, c.err }
		if st := s.Status(); st.Disk != c.want || st.FreeBytes != c.free || st.State != StateOK {
			t.Errorf("%d of %d free: %+v, want %s", c.free, c.size, st, c.want)
		}
	}
}

// TestOutboxBound: half a million rows may wait.
func TestOutboxBound(t *testing.T) {
	if s := openTest(t, t.TempDir(), market.OneMinute); s.maxRows != 500_000 {
		t.Errorf("%d rows", s.maxRows)
	}
}

// TestCheckpoint: the log is copied back once it is long enough, by the writer between commits.
func TestCheckpoint(t *testing.T) {
	s := openTest(t, t.TempDir(), threeIntervals...)
	flush(t, s)
	s.mu.Lock()
	s.logPages = 50
	s.mu.Unlock()
	for m, copied := 0, 0; copied == 0; m += 10 {
		feedMinutes(s, 1, m, 10)
		flush(t, s)
		flush(t, s) // the writer is back from what it does between commits
		var busy, pages int
		if err := s.db.QueryRow("PRAGMA wal_checkpoint(NOOP)").Scan(&busy, &pages, &copied); err != nil {
			t.Fatal(err)
		}
		if pages-copied >= 50 || copied > 0 && pages < 50 {
			t.Fatalf("after %d minutes %d of %d pages are copied", m, copied, pages)
		}
	}
}

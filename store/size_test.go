//go:build soak

package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"klined/market"
)

// sizeSymbols are those of the measured store; sizeEnd is where its klines end.
const sizeSymbols = 800

var sizeEnd = day(2027, 1, 1)

// TestSoakSize fills a store with KLINED_ROWS million rows (10) of 800 symbols: minutes for a third of the time, all other
// intervals for the whole of it, as the default retention keeps them. Then it measures what boundaries cost at the end of
// the data, reads of one series, warm and cold, and an hour's cut. KLINED_STORE names a directory to keep it in and to find
// it again.
func TestSoakSize(t *testing.T) {
	millions := 10
	if text := os.Getenv("KLINED_ROWS"); text != "" {
		var err error
		if millions, err = strconv.Atoi(text); err != nil || millions < 1 {
			t.Fatalf("KLINED_ROWS %q: want millions of rows", text)
		}
	}
	seed := seed(t)
	t.Logf("KLINED_SEED=%d KLINED_ROWS=%d make size", seed, millions)
	dir := os.Getenv("KLINED_STORE")
	if dir == "" {
		dir = t.TempDir()
	}
	m := &sized{T: t, dir: dir, random: rand.New(rand.NewPCG(seed, 5)), days: market.Time(millions) * 90 * market.Day / 104}
	m.open(nil)
	defer func() { _ = m.store.Close() }()
	if rows, _ := read(t, m.store, market.Series{Interval: market.OneMinute}, market.Span{From: sizeEnd - market.Minute, To: sizeEnd}); len(rows) == 0 {
		m.fill()
	}
	st := m.store.Status()
	t.Logf("%d MB, %.1f bytes a row", st.FileBytes>>20, float64(st.FileBytes)/float64(m.rows()))
	m.reads()
	m.commits("all fifteen intervals", 100, market.ExchangeIntervals())
	m.commits("1m", 200, market.ExchangeIntervals()[:1])
	m.commits("1m, 3m, 5m", 200, market.ExchangeIntervals()[:3])
	m.cut()
	m.reads()
}

// sized is a store of a size.
type sized struct {
	*testing.T
	dir    string
	store  *Store
	random *rand.Rand
	days   market.Time // of everything but minutes
}

func (m *sized) open(retain map[market.Interval]time.Duration) {
	m.Helper()
	var err error
	if m.store, err = Open(Options{Dir: m.dir, CommitEvery: never, Retain: retain}); err != nil {
		m.Fatal(err)
	}
	if err := m.store.SaveSymbols(testSymbols(sizeSymbols)); err != nil {
		m.Fatal(err)
	}
}

// begin is where the rows of iv begin.
func (m *sized) begin(iv market.Interval) market.Time {
	if iv == market.OneMinute {
		return sizeEnd - m.days/3
	}
	return sizeEnd - m.days
}

// rows is how many rows were filled in.
func (m *sized) rows() (n int64) {
	for _, iv := range market.ExchangeIntervals() {
		n += sizeSymbols * iv.Count(market.Span{From: m.begin(iv), To: sizeEnd})
	}
	return n
}

// fill puts all rows in the order in which they close.
func (m *sized) fill() {
	began := time.Now()
	for end := market.OneMinute.Ceil(sizeEnd - m.days); end <= sizeEnd; end += market.Minute {
		changes := &market.Changes{}
		for _, iv := range market.ExchangeIntervals() {
			if open := iv.OpenAt(iv.Ordinal(end) - 1); iv.Open(end) == end && open >= m.begin(iv) {
				m.boundary(changes, iv, open)
			}
		}
		m.store.Put(changes)
		if m.store.waiting() > 2*manyRows {
			flush(m, m.store)
		}
	}
	flush(m, m.store)
	m.Logf("filled with %d rows in %s", m.rows(), time.Since(began).Round(time.Second))
}

// boundary adds a kline of every symbol.
func (m *sized) boundary(changes *market.Changes, iv market.Interval, open market.Time) {
	for symbol := range market.SymbolID(sizeSymbols) {
		series := market.Series{Symbol: symbol, Interval: iv}
		changes.Updates = append(changes.Updates, update(series, testKline(series, open)))
	}
}

// commits measures n boundaries at which the intervals end, appended where the data ends.
func (m *sized) commits(what string, n int, intervals []market.Interval) {
	var took, worked []time.Duration
	for range n {
		flush(m, m.store) // the writer is back from what it does between commits
		changes := &market.Changes{}
		for _, iv := range intervals {
			m.boundary(changes, iv, iv.Next(m.edge(iv, "max")))
		}
		began, work := time.Now(), m.work()
		m.store.Put(changes)
		flush(m, m.store)
		took, worked = append(took, time.Since(began)), append(worked, m.work()-work)
	}
	m.Logf("commit of %d rows, %s: %s; processor %s", len(intervals)*sizeSymbols, what, spread(took), spread(worked))
}

// work is how long the process has used the processor, which others do not make longer.
func (m *sized) work() time.Duration {
	m.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		m.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spread is median, 99th percentile and most.
func spread(took []time.Duration) string {
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("median %s, p99 %s, most %s (of %d)", at(0.5), at(0.99), at(1), len(took))
}

// reads measures reads of 1,500 rows of one series: cold, by a store that has just been opened, and warm, when they have been
// read before.
func (m *sized) reads() {
	for _, name := range []string{"1m", "5m", "1h"} {
		var cold, warm, worked []time.Duration
		rows := 0
		for range 12 {
			series, span := m.part(interval(name))
			m.forget()
			var took time.Duration
			took, _, rows = m.read(series, span)
			cold = append(cold, took)
		}
		for i := range 100 {
			series, span := m.part(interval(name))
			m.read(series, span)
			took, work, _ := m.read(series, span)
			if i >= 20 { // until then the connections are new
				warm, worked = append(warm, took), append(worked, work)
			}
		}
		m.Logf("read of %d rows of %s, cold: %s", rows, name, spread(cold))
		m.Logf("read of %d rows of %s, warm: %s; processor %s", rows, name, spread(warm), spread(worked))
	}
}

// part is 1,500 klines of any symbol's, anywhere in the data.
func (m *sized) part(iv market.Interval) (market.Series, market.Span) {
	first, last := iv.Ordinal(m.edge(iv, "min")), iv.Ordinal(sizeEnd)
	n := min(1500, last-first)
	from := first + m.random.Int64N(last-first-n+1)
	return market.Series{Symbol: market.SymbolID(m.random.IntN(sizeSymbols)), Interval: iv}, market.Span{From: iv.OpenAt(from), To: iv.OpenAt(from + n)}
}

// read measures one read.
func (m *sized) read(series market.Series, span market.Span) (took, work time.Duration, n int) {
	m.Helper()
	began, before := time.Now(), m.work()
	rows, _, err := m.store.Read(context.Background(), series, span)
	took, work = time.Since(began), m.work()-before
	if err != nil || int64(len(rows)) != series.Interval.Count(span) {
		m.Fatal(len(rows), span, err)
	}
	return took, work, len(rows)
}

// forget opens the store anew, with nothing of it in the machine's memory.
func (m *sized) forget() {
	m.Helper()
	if err := m.store.Close(); err != nil {
		m.Fatal(err)
	}
	f, err := os.Open(filepath.Join(m.dir, databaseFile))
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fsync(int(f.Fd())); err != nil {
		m.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		m.Fatal(err)
	}
	m.open(nil)
}

// edge is the min or the max open time of iv; of months there may be none.
func (m *sized) edge(iv market.Interval, which string) (open market.Time) {
	m.Helper()
	if err := m.store.disk.db.QueryRow("SELECT coalesce("+which+"(open_time), ?) FROM "+tableOf(iv), sizeEnd).Scan(&open); err != nil {
		m.Fatal(err)
	}
	return open
}

// cut measures the deletion of an hour of what is shorter than an hour, and minutes that close meanwhile.
func (m *sized) cut() {
	retain, rows := map[market.Interval]time.Duration{}, int64(0)
	for _, iv := range market.ExchangeIntervals()[:5] {
		retain[iv] = sizeEnd.Sub(m.edge(iv, "min")) - time.Hour
		rows += sizeSymbols * iv.Count(market.Span{To: market.Hour})
	}
	if err := m.store.Close(); err != nil {
		m.Fatal(err)
	}
	m.open(retain)
	upTo(m.store, 0, sizeEnd)
	flush(m, m.store)
	began := time.Now()
	for left := true; left; {
		m.commits("1m, beside a cut", 20, market.ExchangeIntervals()[:1])
		left = false
		for iv := range retain {
			left = left || m.edge(iv, "min") < m.store.Kept(iv)
		}
	}
	m.Logf("%d rows cut off within %s", rows, time.Since(began).Round(time.Millisecond))
}

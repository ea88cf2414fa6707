package store

import (
	"database/sql"
	"sync"
	"testing"
	"testing/synctest"

	"klined/market"
)

// openWindowed is a store with a window, in which symbols 0 to 2 have the minutes from 10:00 to 12:00, on disk.
func openWindowed(t *testing.T, window int64) *Store {
	t.Helper()
	s, err := Open(Options{Dir: t.TempDir(), CommitEvery: never, Intervals: []market.Interval{market.OneMinute}, Window: window})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SaveSymbols(testSymbols(3)); err != nil {
		t.Fatal(err)
	}
	for symbol := range market.SymbolID(3) {
		s.BeginLive(symbol, 1, at("10:00:00"))
		feedMinutes(s, symbol, 0, 120)
	}
	flush(t, s)
	return s
}

// twoHours is what openWindowed has.
var twoHours = market.Span{From: at("10:00:00"), To: at("12:00:00")}

func minutesOf(symbol market.SymbolID) market.Series {
	return market.Series{Symbol: symbol, Interval: market.OneMinute}
}

// ask reads as a client.
func ask(t testing.TB, s *Store, symbol market.SymbolID, span market.Span) []market.Kline {
	t.Helper()
	rows, missing, err := s.Klines(t.Context(), nil, minutesOf(symbol), span)
	if err != nil || len(missing) != 0 {
		t.Fatal(missing, err)
	}
	return rows
}

// blockDisk has every read of the disk wait until what it returns is called.
func blockDisk(t testing.TB, s *Store) (release func()) {
	t.Helper()
	var held []*sql.Conn
	for range readConnections {
		conn, err := s.disk.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	return func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	}
}

// TestWindowNeedsNoDisk: what a client has asked for once is answered from memory, and what closes later with it; what was read
// for the server itself is not kept.
func TestWindowNeedsNoDisk(t *testing.T) {
	s := openWindowed(t, 1<<20)
	read(t, s, minutesOf(1), twoHours)
	if st := s.Status(); st.WindowSeries != 0 {
		t.Errorf("after a read that no client asked for: %+v", st)
	}
	first := ask(t, s, 0, twoHours)
	release := blockDisk(t, s)
	defer release()
	same(t, "again", ask(t, s, 0, twoHours), first)
	same(t, "a part", ask(t, s, 0, market.Span{From: at("11:00:00"), To: at("11:10:00")}), first[60:70])
	feedMinutes(s, 0, 120, 130)
	if rows := ask(t, s, 0, market.Span{From: at("11:55:00"), To: at("12:10:00")}); len(rows) != 15 {
		t.Errorf("%d rows with those that closed meanwhile", len(rows))
	}
}

// TestWindowReadsOnceForAll: who asks for what is being read from the disk waits for that.
func TestWindowReadsOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openWindowed(t, 1<<20)
		release := blockDisk(t, s)
		waited := s.disk.db.Stats().WaitCount
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				if rows := ask(t, s, 0, twoHours); len(rows) != 120 {
					t.Errorf("%d rows", len(rows))
				}
			})
		}
		synctest.Wait()
		release()
		asking.Wait()
		if n := s.disk.db.Stats().WaitCount - waited; n != 1 {
			t.Errorf("%d reads", n)
		}
		_ = s.Close()
	})
}

// TestWindowLeaves: where there is no room the series that was asked for least recently leaves; where the window is off, or too
// small for anything, all are read from the disk.
func TestWindowLeaves(t *testing.T) {
	const one = windowedCost + 3*(headerCost+partBytes)
	for _, c := range []struct {
		window int64
		asked  []market.SymbolID
		here   []market.SymbolID
	}{
		{2 * one, []market.SymbolID{0, 1, 0, 2}, []market.SymbolID{0, 2}},
		{2*one - 1, []market.SymbolID{0, 1}, []market.SymbolID{1}},
		{3 * one, []market.SymbolID{2, 1, 0}, []market.SymbolID{0, 1, 2}},
		{one - 1, []market.SymbolID{0}, nil},
		{1, []market.SymbolID{0}, nil},
		{0, []market.SymbolID{0}, nil},
	} {
		s := openWindowed(t, c.window)
		for _, symbol := range c.asked {
			if rows := ask(t, s, symbol, twoHours); len(rows) != 120 {
				t.Errorf("%d rows", len(rows))
			}
		}
		for _, symbol := range c.here {
			if s.window.get(minutesOf(symbol)) == nil {
				t.Errorf("%d bytes, asked %v: %d is not here", c.window, c.asked, symbol)
			}
		}
		if st := s.Status(); st.WindowSeries != len(c.here) || st.WindowBytes != one*int64(len(c.here)) {
			t.Errorf("%d bytes, asked %v: %d series of %d bytes are here", c.window, c.asked, st.WindowSeries, st.WindowBytes)
		}
		_ = s.Close()
	}
}

// TestWindowReachesBackInSteps: who asks for a little more of the past each time takes at most twice the memory of who asks
// for all at once.
func TestWindowReachesBackInSteps(t *testing.T) {
	const all = 240
	end := at("10:00:00") + all*market.Minute
	for _, step := range []int{1, 7, 30, 57, all} {
		s := openWindowed(t, 1<<20)
		feedMinutes(s, 0, 120, all-120)
		flush(t, s)
		for klines := step; klines < all+step; klines += step {
			from := end - market.Time(min(klines, all))*market.Minute
			if rows := ask(t, s, 0, market.Span{From: from, To: end}); len(rows) != min(klines, all) {
				t.Fatalf("%d at a time: %d rows of %d", step, len(rows), klines)
			}
		}
		if n, most := len(s.window.get(minutesOf(0)).parts), 2*(all+partRows-1)/partRows; n > most {
			t.Errorf("%d at a time: %d parts, and want %d at most", step, n, most)
		}
		_ = s.Close()
	}
}

// TestWindowReadersKeepTheirs: what a reader holds does not change when klines are replaced, added and cut off.
func TestWindowReadersKeepTheirs(t *testing.T) {
	k := &windowed{}
	for i := range market.Time(200) {
		row := testKline(minutesOf0, i*market.Minute)
		k.put(&row)
	}
	parts, n := k.within(market.Span{From: 3 * market.Minute, To: 150 * market.Minute})
	before := appendParts(nil, parts, n)
	for i := range market.Time(300) {
		row := testKline(minutesOf0, i*market.Minute)
		row.Revision, row.TradeCount = 1, 1
		k.put(&row)
	}
	k.trim(100)
	if len(before) != 147 || k.rows < 100 || k.rows > 100+partRows || k.from <= 100*market.Minute {
		t.Errorf("%d rows were read, %d are kept from %s on", len(before), k.rows, k.from)
	}
	same(t, "what was read", appendParts(nil, parts, n), before)
}

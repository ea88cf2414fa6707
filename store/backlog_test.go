package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestRoomForThePast: who brings the past waits for the disk. Two commits' worth may wait for it, and nothing of the present is
// dropped for them; one commit makes room for all who wait.
func TestRoomForThePast(t *testing.T) {
	if raced {
		t.Skip("60,000 rows; TestNoRoom waits under the race detector, too")
	}
	synctest.Test(t, func(t *testing.T) {
		var log text
		s := openLogging(t, &log)
		flush(t, s)
		loosen := stick(t, s)
		series := market.Series{Symbol: 1, Interval: market.OneMinute}
		most, end := 0, at("00:00:00")
		done := make(chan error, 6)
		for range cap(done) {
			go func() {
				for range 7 { // an answer of REST each
					s.mu.Lock()
					end -= 1500 * market.Minute
					span := market.Span{From: end, To: end + 1500*market.Minute}
					s.mu.Unlock()
					fetch(s, series, span)
					s.mu.Lock()
					most = max(most, s.waiting())
					s.mu.Unlock()
					if err := s.Room(t.Context()); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Room(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while the disk takes nothing there is room: %v", err)
		}
		loosen()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if want := 2*manyRows + cap(done)*1500; most > want {
			t.Errorf("%d klines waited for the disk, want %d at most", most, want)
		}
		flush(t, s)
		if st := s.Status(); st.Rows != 6*7*1500 || st.DroppedRows != 0 {
			t.Errorf("status %+v", st)
		}
	})
}

// TestNoRoom: a disk that takes nothing says why; so does a store that is closed.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, t.TempDir(), market.OneMinute)
		if err := s.Room(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.db.Exec("PRAGMA query_only = 1"); err != nil {
			t.Fatal(err)
		}
		fetch(s, market.Series{Symbol: 1, Interval: market.OneMinute}, market.Span{From: at("00:00:00"), To: at("00:00:00") + roomFrom*market.Minute})
		if err := s.Room(t.Context()); err == nil || !strings.Contains(err.Error(), "readonly") {
			t.Error("a disk that takes nothing says", err)
		}
		_ = s.Close()
		if err := s.Room(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "closed") {
			t.Error("a store that is closed says", err)
		}
	})
}

// TestSlowDisk: one that takes a part now and then is slow; one that takes none for long is stuck, until it takes one.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log text
		s := openLogging(t, &log)
		said := func(what, state string, stuck, again int) {
			t.Helper()
			synctest.Wait()
			if st := s.Status(); st.State != state {
				t.Errorf("%s: %s, want %s", what, st.State, state)
			}
			if a, b := strings.Count(log.String(), "the disk is stuck"), strings.Count(log.String(), "the disk goes again"); a != stuck || b != again {
				t.Errorf("%s: stuck %d times, again %d, in\n%s", what, a, b, log.String())
			}
		}
		loosen := stick(t, s)
		feedMinutes(s, 1, 0, 1)
		time.Sleep(time.Second)
		for range 5 {
			time.Sleep(stuckAfter - time.Second)
			s.moved()
		}
		said("slow", StateOK, 0, 0)
		time.Sleep(stuckAfter + time.Second)
		said("takes none", "stuck: has taken nothing for 11s", 1, 0)
		s.moved()
		said("takes some", StateOK, 1, 1)
		time.Sleep(stuckAfter + time.Second)
		said("takes none", "stuck: has taken nothing for 11s", 2, 1)
		loosen()
		time.Sleep(time.Second)
		said("takes all", StateOK, 2, 2)

		// Each of a commit's statements is a part.
		s.mu.Lock()
		s.stats.stuck = true
		s.mu.Unlock()
		batch := newOutbox()
		series := market.Series{Symbol: 1, Interval: market.OneMinute}
		batch.put(series, &held{Kline: testKline(series, at("11:00:00")), digits: digitsOf(&s.symbols[1])})
		if _, err := s.writeBatch(batch, &facts{}); err != nil {
			t.Fatal(err)
		}
		said("a statement", StateOK, 2, 3)
	})
}

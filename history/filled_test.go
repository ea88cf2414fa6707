package history

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestFilled: how the past stands says from the start on what is there and what is not, whoever brings it, and ends.
func TestFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m, h = market.OneMinute, market.OneHour
		at(10*24*time.Hour + 6*time.Hour + 30*time.Second)
		r := newRig(m, h)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		check := func(what string, want Filled) {
			t.Helper()
			got := r.Filled()
			if want.Error != "" && strings.Contains(got.Error, want.Error) {
				want.Error = got.Error
			}
			if got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		r.Carry(0)
		r.diary.begin()
		go func() { done <- r.KeepFilled(ctx, 50) }()
		r.after(1)
		check("its symbol is not whole", Filled{State: FilledWaiting})

		// Two holes lie within what is wanted anyway. A client brings an hour meanwhile.
		r.lanes.mu.Lock()
		r.lanes.whole[0] = true
		r.lanes.mu.Unlock()
		hole := of(m, "01-11T05:20", "01-11T05:21")
		r.store.set(func(s *store) {
			s.holes = []market.Range{hole, of(h, "01-10T10:00", "01-10T12:00"), of(h, "01-02T03:00", "01-02T04:00")}
		})
		r.venue.set(func(v *venue) {
			v.hold = func(_ context.Context, a asked) error {
				if hour := of(h, "01-09T05:00", "01-09T06:00"); a.Interval == m && a.limit > 1 {
					r.store.Fetched(hour.Series, hour.Span, []market.Kline{row(h, hour.From, r.clock.Now())})
					time.Sleep(10 * time.Second)
				}
				return nil
			}
		})
		r.after(65)
		check("under way", Filled{State: FilledRunning, Total: 101})
		r.after(90)
		check("there", Filled{State: FilledDone, Total: 101, Done: 101})

		// Hours cannot be had: ten of a hole, and the one that has ended meanwhile.
		r.venue.set(func(v *venue) {
			v.hold = nil
			v.fail = func(a asked) error {
				if a.Interval == h {
					return errDown
				}
				return nil
			}
		})
		r.store.set(func(s *store) { s.holes = []market.Range{of(h, "01-02T10:00", "01-02T20:00")} })
		r.after(4 * 60)
		failed := r.Filled()
		if failed.State != FilledFailed || failed.Failed != 11 || failed.Total != failed.Done+11 || !strings.Contains(failed.Error, errDown.Error()) {
			t.Errorf("cannot be had: %+v", failed)
		}
		r.venue.set(func(v *venue) { v.fail = nil })
		r.after(20 * 60)
		if f := r.Filled(); f.State != FilledDone || f.Done != f.Total || f.Failed != 0 || f.Error != "" || f.Total <= failed.Total {
			t.Errorf("had at last: %+v, before %+v", f, failed)
		}
		cancel()
		<-done
	})
}

// TestBackfillLeaves: what is missing in the end is said, though no question has failed.
func TestBackfillLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(10*24*time.Hour + 6*time.Hour)
		r := newRig(market.OneMinute)
		r.venue.spoil = func(_ asked, rows []market.Kline) []market.Kline {
			for i := range rows {
				if rows[i].OpenTime >= of(market.OneMinute, "01-11T05:00", "").From {
					rows[i].State = market.StateOpen
				}
			}
			return rows
		}
		var p Progress
		err := r.Backfill(t.Context(), []market.Range{of(market.OneMinute, "01-11T04:00", "01-11T05:50")}, &p)
		if err == nil || !strings.HasPrefix(err.Error(), "50 klines could not be had: symbol 0 1m from 2000-01-11T04:00:00.000Z on: the exchange calls it running") {
			t.Error(err)
		}
		if p.Total.Load() != 110 || p.Done.Load() != 60 || p.Failed.Load() != 50 || p.Others.Load() != 0 {
			t.Errorf("%d of %d, %d failed", p.Done.Load(), p.Total.Load(), p.Failed.Load())
		}
	})
}

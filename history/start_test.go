package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"klined/market"
)

// at sleeps until d after the bubble's begin.
func at(d time.Duration) {
	time.Sleep(time.Until(bubbleBegin.Add(d).Std()))
	synctest.Wait()
}

func check(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

// TestStart: three questions of weight 1 a symbol; then once more the minutes of those that wait still, 10 s after the
// first boundary.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.venue.hold = func(context.Context, asked) error { time.Sleep(time.Second); return nil }
		at(5*time.Hour + 30*time.Second)
		wait := r.start(t.Context(), 0, 1, 2)
		at(5*time.Hour + 35*time.Second)
		got := r.venue.take()
		slices.Sort(got)
		var want []string
		for id := range 3 {
			want = append(want, fmt.Sprintf("%d 1d from 10-31T00:00 limit 62, start", id), fmt.Sprintf("%d 1h from 12-30T05:00 limit 48, start", id),
				fmt.Sprintf("%d 1m from 01-01T03:21 limit 99, start", id))
		}
		check(t, "at once", got, want...)
		check(t, "of one", slices.DeleteFunc(r.lanes.take(), func(s string) bool { return s[0] != '1' }), "1 1d 62", "1 1h 48", "1 1m 99")

		r.lanes.begin(bubbleBegin + 5*market.Hour + market.Minute)
		r.lanes.mu.Lock()
		r.lanes.whole[0] = true
		r.lanes.mu.Unlock()
		at(5*time.Hour + 69*time.Second)
		check(t, "before 10 s after the boundary", r.venue.take())
		at(5*time.Hour + 75*time.Second)
		got = r.venue.take()
		slices.Sort(got)
		check(t, "after it", got, "1 1m from 01-01T05:00 limit 1, start", "2 1m from 01-01T05:00 limit 1, start")
		if told := r.lanes.take(); !slices.Contains(told, "1 1m 99") || len(r.lanes.rows[market.Series{Symbol: 1, Interval: market.OneMinute}]) != 99 {
			t.Error(told)
		}

		// As long as one waits it is served again, more and more seldom, from the store alone where nothing is new.
		r.lanes.mu.Lock()
		r.lanes.whole[1] = true
		r.lanes.mu.Unlock()
		r.lanes.take()
		at(5*time.Hour + 30*time.Minute)
		if n := len(r.lanes.take()) / 3; n < 7 || n > 12 {
			t.Errorf("served %d times more in half an hour", n)
		}
		check(t, "while it waits", r.venue.take())
		r.lanes.mu.Lock()
		r.lanes.whole[2] = true
		r.lanes.mu.Unlock()
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestBusySymbolsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		var ids []market.SymbolID
		for id := range market.SymbolID(30) {
			ids = append(ids, id)
			r.lanes.busy = append(r.lanes.busy, 29-id)
			r.lanes.whole[id] = true
		}
		r.lanes.begin(bubbleBegin)
		r.venue.hold = func(context.Context, asked) error { time.Sleep(100 * time.Millisecond); return nil }
		at(5 * time.Hour)
		if err := r.start(t.Context(), ids...)(); err != nil {
			t.Fatal(err)
		}
		var order []int // of their days, as many at once as ask
		for _, a := range r.venue.asked {
			if a.Interval == market.OneDay {
				order = append(order, 29-int(a.Symbol))
			}
		}
		for i, rank := range order {
			if rank/askers != i/askers {
				t.Fatal(order)
			}
		}
	})
}

// TestStartLongAfter: a stream that begins hours after its symbols were served first lacks hours too, not only minutes.
func TestStartLongAfter(t *testing.T) {
	if raced {
		t.Skip("hours of looking whether there is work: make test runs it without the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		at(5*time.Hour + 30*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		wait := r.start(ctx, 0)
		at(7 * time.Hour)
		r.venue.take()
		r.lanes.begin(bubbleBegin + 7*market.Hour + market.Minute)
		at(7*time.Hour + 71*time.Second)
		check(t, "what is new", r.venue.take(), "0 1h from 01-01T05:00 limit 2, start", "0 1m from 01-01T05:22 limit 99, start")
		cancel()
		if err := wait(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestStoreFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		at(5*time.Hour + 30*time.Second)
		r.lanes.begin(bubbleBegin + 5*market.Hour)
		if err := r.begin(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		first := r.lanes.take()
		r.venue.take()
		if err := r.begin(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		check(t, "the store has all", r.venue.take())
		check(t, "and gives it", r.lanes.take(), first...)

		// A part of it: what lies from the first hole to the last is asked for in one question.
		day := market.Series{Interval: market.OneDay}
		r.store.all[day] = []market.Span{{From: bubbleBegin - 62*market.Day, To: bubbleBegin - 9*market.Day}, {From: bubbleBegin - 5*market.Day, To: bubbleBegin - market.Day}}
		if err := r.begin(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		check(t, "holes", r.venue.take(), "0 1d from 12-23T00:00 limit 9, start")

		// What cannot be read is asked for.
		r.store.fail = errors.New("disk I/O error")
		if err := r.begin(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if n := len(r.venue.take()); n != 3 || !strings.Contains(r.log.String(), "disk I/O error") {
			t.Errorf("%d questions; %s", n, r.log)
		}
	})
}

// TestNeeded: what no interval folds from is not asked for, and what the store does not keep is not looked for there.
func TestNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(5*time.Hour + 30*time.Second)
		for _, c := range []struct {
			intervals []market.Interval
			want      string
			reads     int
		}{
			{[]market.Interval{market.OneMinute}, "1m", 1},
			{[]market.Interval{market.OneMinute, market.OneHour}, "1m", 1},
			{[]market.Interval{market.OneMinute, 2 * market.OneHour}, "1h 1m", 1},
			{[]market.Interval{market.OneMinute, market.OneDay}, "1h 1m", 1},
			{[]market.Interval{market.OneMinute, market.OneHour, market.OneMonth}, "1d 1h 1m", 2},
			{nil, "1d 1h 1m", 3},
		} {
			r := newRig(c.intervals...)
			if err := r.begin(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, q := range r.venue.take() {
				got = append(got, strings.Fields(q)[1])
			}
			if s := strings.Join(got, " "); s != c.want || r.store.reads != c.reads {
				t.Errorf("%v: %s, %d reads; want %s, %d", c.intervals, s, r.store.reads, c.want, c.reads)
			}
		}
	})
}

// TestFirstAndFresh: where a symbol's klines begin is told where that lies within what was asked for.
func TestFirstAndFresh(t *testing.T) {
	const now = 5*market.Hour + 30*market.Second
	synctest.Test(t, func(t *testing.T) {
		at(now.Sub(0))
		for _, c := range []struct {
			name string
			ago  market.Time
			want []string
		}{
			{"long ago", 100 * market.Day, []string{"0 1d 62", "0 1h 48", "0 1m 99"}},
			{"10 days ago", 10 * market.Day, []string{"0 first 12-22T00:00", "0 1d 10", "0 1h 48", "0 1m 99"}},
			{"yesterday", 20 * market.Hour, []string{"0 first 12-31T00:00", "0 1d 1", "0 first 12-31T09:00", "0 1h 20", "0 1m 99"}},
			{"half an hour ago", 30 * market.Minute, []string{"0 1d 0", "0 first 01-01T04:00", "0 1h 1", "0 first 01-01T04:30", "0 1m 30"}},
			{"5 minutes ago", 5 * market.Minute, []string{"0 1d 0", "0 first 01-01T04:00", "0 1h 1", "0 first 01-01T04:55", "0 1m 5"}},
			{"not yet", -market.Hour, []string{"0 1d 0", "0 1h 0", "0 fresh", "0 1m 0"}},
		} {
			r := newRig()
			r.venue.listed[0] = bubbleBegin + now - c.ago
			if err := r.begin(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			check(t, c.name, r.lanes.take(), c.want...)
		}
	})
}

// TestDoubtedBeginning: a row that breaks its own rules is not loaded, and nobody takes its absence for the beginning of
// the symbol; it is asked for again until it is right.
func TestDoubtedBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		wrong := true
		r.venue.spoil = func(a asked, rows []market.Kline) []market.Kline {
			if wrong && a.Interval == market.OneMinute {
				for i := range rows {
					rows[i].High = rows[i].Low - 1
				}
			}
			return rows
		}
		at(5*time.Hour + 30*time.Second)
		r.lanes.begin(bubbleBegin + 5*market.Hour)
		wait := r.start(t.Context(), 0)
		synctest.Wait()
		check(t, "wrong", r.lanes.take(), "0 1d 62", "0 1h 48", "0 1m 0")
		r.venue.take()
		at(5*time.Hour + 40*time.Second)
		if n := len(r.venue.take()); n < 2 || n > 3 {
			t.Errorf("%d questions in 10 s", n)
		}
		r.venue.mu.Lock()
		wrong = false
		r.lanes.whole[0] = true
		r.venue.mu.Unlock()
		if err := wait(); err != nil {
			t.Error(err)
		}
		if told := r.lanes.take(); !slices.Contains(told, "0 1m 99") {
			t.Error(told)
		}
	})
}

// TestStartFails: errors are tried again with more and more patience, a spent budget when it says, and others meanwhile.
// What ails a symbol can be told as long as it does.
func TestStartFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.lanes.whole[0], r.lanes.whole[1] = true, true
		r.lanes.begin(bubbleBegin)
		at(5*time.Hour + 30*time.Second)
		answer := map[market.SymbolID]error{0: errDown, 1: fmt.Errorf("klines: %w", &market.BudgetError{RetryAfter: 25 * time.Second, Reason: "busy"})}
		tried := map[market.SymbolID][]time.Duration{}
		r.venue.fail = func(a asked) error {
			r.venue.mu.Lock()
			defer r.venue.mu.Unlock()
			if answer[a.Symbol] != nil {
				tried[a.Symbol] = append(tried[a.Symbol], time.Since((bubbleBegin + 5*market.Hour + 30*market.Second).Std()).Round(time.Second))
			}
			return answer[a.Symbol]
		}
		wait := r.start(t.Context(), 0, 1, 2)
		at(5*time.Hour + 65*time.Second)
		if s0, s1, s2 := r.Ails(0), r.Ails(1), r.Ails(2); !strings.Contains(s0, errDown.Error()) || !strings.Contains(s1, "busy") || s2 != "" {
			t.Errorf("what ails them: %q, %q, %q", s0, s1, s2)
		}
		r.venue.mu.Lock()
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}; !slices.Equal(tried[0], want) {
			t.Error(tried[0])
		}
		if want := []time.Duration{0, 25 * time.Second}; !slices.Equal(tried[1], want) {
			t.Error(tried[1])
		}
		clear(answer)
		r.venue.mu.Unlock()
		if told := r.lanes.take(); !slices.Contains(told, "2 1m 99") || slices.Contains(told, "0 1m 99") {
			t.Error(told)
		}
		r.lanes.mu.Lock()
		r.lanes.whole[2] = true
		r.lanes.mu.Unlock()
		if err := wait(); err != nil {
			t.Error(err)
		}
		if told := r.lanes.take(); !slices.Contains(told, "0 1m 99") || !slices.Contains(told, "1 1m 99") {
			t.Error(told)
		}
		if !strings.Contains(r.log.String(), errDown.Error()) {
			t.Error(r.log)
		}
		if s := r.Ails(0) + r.Ails(1); s != "" {
			t.Error("ails no more: ", s)
		}
	})
}

// TestStartEnds: the context ends it, whatever it waits for.
func TestStartEnds(t *testing.T) {
	for name, prepare := range map[string]func(*rig){
		"waiting for the first boundary": func(*rig) {},
		"after an error":                 func(r *rig) { r.venue.fail = func(asked) error { return errDown } },
		"within a question": func(r *rig) {
			r.venue.hold = func(ctx context.Context, _ asked) error { <-ctx.Done(); return ctx.Err() }
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig()
			prepare(r)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r.Carry(0, 1, 2)
			if err := r.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

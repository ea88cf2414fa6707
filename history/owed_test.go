package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

// owedFrom is when these tests begin: what ended at 05:00 is over and may be believed.
const owedFrom = 5*time.Hour + 30*time.Second

// minute is that time of the bubble's first day, "05:58".
func minute(clock string) market.Time {
	t, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return bubbleBegin + market.Time(t.Hour())*market.Hour + market.Time(t.Minute())*market.Minute
}

// minutes are the open times of those from one to before another.
func minutes(from, to string) (opens []market.Time) {
	for open := minute(from); open < minute(to); open += market.Minute {
		opens = append(opens, open)
	}
	return opens
}

// heal runs Heal in the background until the function that it returns is called.
func (r *rig) heal(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r.diary.begin()
	go func() { done <- r.Heal(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// after sleeps until so long after the diary began.
func (r *rig) after(seconds float64) {
	time.Sleep(time.Until(r.diary.began.Add(time.Duration(seconds * float64(time.Second)))))
	synctest.Wait()
}

// whenConfirmed believes no row that was read once.
func whenConfirmed(_ *market.Kline, confirmed bool) bool { return confirmed }

// readings lets the n-th answer bring rows of that volume; the last for ever.
func readings(volumes ...fixed.Value) func(asked, []market.Kline) []market.Kline {
	n := 0
	return func(_ asked, rows []market.Kline) []market.Kline {
		for i := range rows {
			rows[i].Volume = volumes[min(n, len(volumes)-1)].Sum()
		}
		n++
		return rows
	}
}

// failing lets the first n questions fail.
func failing(n int, err error) func(asked) error {
	var seen atomic.Int64
	return func(asked) error {
		if seen.Add(1) <= int64(n) {
			return err
		}
		return nil
	}
}

// without leaves the rows of some minutes out of answers for a span.
func without(clocks ...string) func(asked, []market.Kline) []market.Kline {
	return func(a asked, rows []market.Kline) []market.Kline {
		return slices.DeleteFunc(rows, func(k market.Kline) bool {
			return a.Interval == market.OneMinute && a.From != 0 && slices.Contains(clocks, hourOf(k.OpenTime))
		})
	}
}

// TestHeal: symbol 0 lacks trades of some minutes, and what happens then, in seconds. A row that is doubted is read again
// 30 s later, and believed where it is the same; where it is not, a third has to be as the second.
func TestHeal(t *testing.T) {
	for _, c := range []struct {
		name    string
		lacks   string
		prepare func(*rig)
		seconds float64
		want    []string
	}{
		{"nothing is owed", "", nil, 600, nil},
		{"believed at once", "04:58 04:59", nil, 600, []string{
			"1s  0 asks 1m 04:58–05:00", "1s  0 1m 04:58 believed", "1s  0 1m 04:59 believed"}},
		{"from 10 s after its end on", "05:00", nil, 600, []string{
			"40s  0 asks 1m 05:00–05:01", "40s  0 1m 05:00 believed"}},
		{"doubted, and the same again", "04:59", func(r *rig) { r.debts.believe = whenConfirmed }, 600, []string{
			"1s  0 asks 1m 04:59–05:00", "1s  0 1m 04:59 doubted",
			"31s  0 asks 1m 04:59–05:00", "31s  0 1m 04:59 believed, confirmed"}},
		{"doubted, then another, and the same as that", "04:59", func(r *rig) {
			r.debts.believe, r.venue.spoil = whenConfirmed, readings(7, 8)
		}, 600, []string{
			"1s  0 asks 1m 04:59–05:00", "1s  0 1m 04:59 doubted",
			"31s  0 asks 1m 04:59–05:00", "31s  0 1m 04:59 doubted",
			"91s  0 asks 1m 04:59–05:00", "91s  0 1m 04:59 believed, confirmed"}},
		{"doubted, then another, and the first again", "04:59", func(r *rig) {
			r.debts.believe, r.venue.spoil = whenConfirmed, readings(7, 8, 7)
		}, 600, []string{
			"1s  0 asks 1m 04:59–05:00", "1s  0 1m 04:59 doubted",
			"31s  0 asks 1m 04:59–05:00", "31s  0 1m 04:59 doubted",
			"91s  0 asks 1m 04:59–05:00", "91s  0 1m 04:59 doubted",
			"211s  0 asks 1m 04:59–05:00", "211s  0 1m 04:59 believed, confirmed"}},
		{"each is confirmed 30 s after its own first read", "04:59", func(r *rig) {
			r.debts.believe = whenConfirmed
			time.AfterFunc(30500*time.Millisecond, func() { r.debts.owe(0, minute("04:58"), minute("05:00")) })
		}, 600, []string{
			"1s  0 asks 1m 04:59–05:00", "1s  0 1m 04:59 doubted",
			"31s  0 asks 1m 04:58–05:00", "31s  0 1m 04:58 doubted", "31s  0 1m 04:59 believed, confirmed",
			"61s  0 asks 1m 04:58–05:01", "61s  0 1m 04:58 believed, confirmed", "61s  0 1m 04:59 believed", "61s  0 1m 05:00 doubted",
			"91s  0 asks 1m 05:00–05:01", "91s  0 1m 05:00 believed, confirmed"}},
		{"read meanwhile because older ones are owed", "04:59", func(r *rig) {
			r.debts.believe = whenConfirmed
			time.AfterFunc(10500*time.Millisecond, func() { r.debts.owe(0, minute("04:58")) })
			time.AfterFunc(35500*time.Millisecond, func() { r.debts.owe(0, minute("04:57")) })
		}, 600, []string{
			"1s  0 asks 1m 04:59–05:00", "1s  0 1m 04:59 doubted",
			"11s  0 asks 1m 04:58–05:00", "11s  0 1m 04:58 doubted", "11s  0 1m 04:59 doubted",
			"36s  0 asks 1m 04:57–05:00", "36s  0 1m 04:57 doubted", "36s  0 1m 04:58 doubted", "36s  0 1m 04:59 believed, confirmed",
			"66s  0 asks 1m 04:57–04:59", "66s  0 1m 04:57 believed, confirmed", "66s  0 1m 04:58 believed, confirmed"}},
		{"what was not owed meanwhile is read anew", "04:58 04:59", func(r *rig) {
			r.debts.believe = func(k *market.Kline, confirmed bool) bool { return confirmed && k.OpenTime != minute("04:59") }
			time.AfterFunc(10500*time.Millisecond, func() { r.debts.healed(0); r.debts.owe(0, minute("04:59")) })
			time.AfterFunc(50500*time.Millisecond, func() { r.debts.owe(0, minute("04:58")) })
		}, 55, []string{
			"1s  0 asks 1m 04:58–05:00", "1s  0 1m 04:58 doubted", "1s  0 1m 04:59 doubted",
			"31s  0 asks 1m 04:59–05:00", "31s  0 1m 04:59 doubted, confirmed",
			"51s  0 asks 1m 04:58–05:00", "51s  0 1m 04:58 doubted", "51s  0 1m 04:59 doubted, confirmed"}},
		{"what was read long ago and forgotten confirms nothing", "04:59", func(r *rig) {
			r.debts.believe = whenConfirmed
			time.AfterFunc(10500*time.Millisecond, func() { r.debts.healed(0) })
			time.AfterFunc(40500*time.Millisecond, func() { r.debts.owe(0, minute("04:59")) })
		}, 50, []string{
			"1s  0 asks 1m 04:59–05:00", "1s  0 1m 04:59 doubted", "41s  0 asks 1m 04:59–05:00", "41s  0 1m 04:59 doubted"}},
		{"rows of before and after are left out", "04:58", func(r *rig) {
			r.venue.spoil = func(_ asked, rows []market.Kline) []market.Kline {
				before, after := row(market.OneMinute, minute("04:57"), minute("05:00")), row(market.OneMinute, minute("04:59"), minute("05:00"))
				return slices.Concat([]market.Kline{before}, rows, []market.Kline{after})
			}
		}, 600, []string{"1s  0 asks 1m 04:58–04:59", "1s  0 1m 04:58 believed"}},
		{"the exchange is down", "04:59", func(r *rig) { r.venue.fail = func(asked) error { return errDown } }, 380, []string{
			"1s  0 asks 1m 04:59–05:00", "3s  0 asks 1m 04:59–05:00", "7s  0 asks 1m 04:59–05:00", "15s  0 asks 1m 04:59–05:00",
			"31s  0 asks 1m 04:59–05:00", "63s  0 asks 1m 04:59–05:00", "127s  0 asks 1m 04:59–05:00", "247s  0 asks 1m 04:59–05:00",
			"367s  0 asks 1m 04:59–05:00"}},
		{"the exchange is back", "04:59", func(r *rig) { r.venue.fail = failing(2, errDown) }, 600, []string{
			"1s  0 asks 1m 04:59–05:00", "3s  0 asks 1m 04:59–05:00", "7s  0 asks 1m 04:59–05:00", "7s  0 1m 04:59 believed"}},
		{"the budget is spent", "04:59", func(r *rig) {
			r.venue.fail = failing(1, fmt.Errorf("klines: %w", &market.BudgetError{RetryAfter: 25500 * time.Millisecond, Reason: "busy"}))
		}, 600, []string{"1s  0 asks 1m 04:59–05:00", "27s  0 asks 1m 04:59–05:00", "27s  0 1m 04:59 believed"}},
		{"something else is owed meanwhile", "04:57", func(r *rig) {
			r.venue.fail = failing(6, errDown)
			time.AfterFunc(40500*time.Millisecond, func() { r.debts.healed(0); r.debts.owe(0, minute("04:59")) })
		}, 600, []string{
			"1s  0 asks 1m 04:57–04:58", "3s  0 asks 1m 04:57–04:58", "7s  0 asks 1m 04:57–04:58", "15s  0 asks 1m 04:57–04:58",
			"31s  0 asks 1m 04:57–04:58", "41s  0 asks 1m 04:59–05:00", "43s  0 asks 1m 04:59–05:00", "43s  0 1m 04:59 believed"}},
		{"a part of it is owed still", "04:57 04:58", func(r *rig) {
			r.venue.fail = failing(5, errDown)
			time.AfterFunc(40500*time.Millisecond, func() { r.debts.healed(0); r.debts.owe(0, minute("04:58")) })
		}, 600, []string{
			"1s  0 asks 1m 04:57–04:59", "3s  0 asks 1m 04:57–04:59", "7s  0 asks 1m 04:57–04:59", "15s  0 asks 1m 04:57–04:59",
			"31s  0 asks 1m 04:57–04:59", "63s  0 asks 1m 04:58–04:59", "63s  0 1m 04:58 believed"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig()
			for _, clock := range strings.Fields(c.lacks) {
				r.debts.owe(0, minute(clock))
			}
			if c.prepare != nil {
				c.prepare(r)
			}
			stop := r.heal(t)
			r.after(c.seconds)
			check(t, c.name, r.diary.take(), c.want...)
			stop()
		})
	}
}

// TestNeverTheSame: rows that differ each time, or from the last time, are never believed; they are read more and more
// seldom.
func TestNeverTheSame(t *testing.T) {
	for name, volumes := range map[string]func(n int) fixed.Value{
		"each another": func(n int) fixed.Value { return fixed.Value(n + 1) },
		"in turn":      func(n int) fixed.Value { return fixed.Value(n%2 + 1) },
	} {
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig()
			r.debts.owe(0, minute("04:59"))
			r.debts.believe = whenConfirmed
			n := 0
			r.venue.spoil = func(a asked, rows []market.Kline) []market.Kline {
				n++
				return readings(volumes(n))(a, rows)
			}
			stop := r.heal(t)
			r.after(3600)
			var times []string
			for _, line := range r.diary.take() {
				if when, what, _ := strings.Cut(line, "  "); what == "0 1m 04:59 doubted" {
					times = append(times, when)
				} else if what != "0 asks 1m 04:59–05:00" {
					t.Errorf("%s: %s", name, line)
				}
			}
			check(t, name, times[:5], "1s", "31s", "91s", "211s", "331s")
			if len(times) != 32 {
				t.Errorf("%s: read %d times in an hour", name, len(times))
			}
			stop()
		})
	}
}

// TestOwedBySeveral: 20 symbols lack trades. Eight are asked for at once, and who has waited longest comes first; a
// question that gets no answer keeps nobody but its symbol waiting.
func TestOwedBySeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(owedFrom)
		r := newRig()
		for id := range market.SymbolID(20) {
			r.debts.owe(id, minute("04:59"))
		}
		var now, most atomic.Int64
		r.venue.hold = func(ctx context.Context, a asked) error {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			switch {
			case a.Symbol < 7:
				time.Sleep(20 * time.Second)
				return errDown
			case a.Symbol == 7:
				time.Sleep(100 * time.Millisecond)
				return errDown
			}
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		stop := r.heal(t)
		r.after(1.05)
		first := r.diary.take()
		slices.Sort(first)
		if len(first) != reads || first[7] != "1s  7 asks 1m 04:59–05:00" {
			t.Errorf("first %q", first)
		}
		r.after(3) // what ailed 7 would ail the others: they wait a second
		check(t, "then", r.diary.take(), "3s  8 asks 1m 04:59–05:00")
		r.after(20.9)
		var order []string
		for _, line := range r.diary.take() {
			if strings.Contains(line, "asks") {
				order = append(order, strings.Fields(line)[1])
			}
		}
		if got := strings.Join(order[:12], " "); got != "9 10 11 12 13 14 15 16 17 18 19 7" {
			t.Errorf("asks for %s", got)
		}
		for id := range market.SymbolID(20) {
			if owes := len(r.debts.minutes[id]) > 0; owes != (id <= 7) {
				t.Errorf("symbol %d owes %t", id, owes)
			}
		}
		if n := most.Load(); n != reads {
			t.Errorf("%d at once", n)
		}
		stop()
	})
}

// TestBudgetOfAll: where the exchange refuses one question, no other is asked before it may be.
func TestBudgetOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(owedFrom)
		r := newRig()
		r.debts.owe(0, minute("04:59"))
		r.venue.fail = failing(1, &market.BudgetError{RetryAfter: time.Minute, Reason: "busy"})
		stop := r.heal(t)
		r.after(10)
		r.debts.owe(1, minute("04:59"))
		r.after(60.5)
		check(t, "refused", r.diary.take(), "1s  0 asks 1m 04:59–05:00")
		r.after(61)
		if got := r.diary.take(); len(got) != 4 { // both ask, and are served
			t.Error(got)
		}
		stop()
	})
}

// TestHealEnds: with its context, whatever is under way; what that brings then is nobody's failure.
func TestHealEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(owedFrom)
		r := newRig()
		for id := range market.SymbolID(20) {
			r.debts.owe(id, minute("04:59"))
		}
		r.venue.hold = func(ctx context.Context, _ asked) error { <-ctx.Done(); return ctx.Err() }
		stop := r.heal(t)
		r.after(600)
		if n := len(r.diary.take()); n != reads {
			t.Errorf("%d questions", n)
		}
		stop()
		if n := len(r.diary.take()); n != 0 || r.log.Len() != 0 {
			t.Errorf("%d questions after the end; %s", n, r.log)
		}
	})
	for range 20 { // while it looks
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig()
			r.debts.owe(0, minute("04:59"))
			r.venue.hold = func(ctx context.Context, _ asked) error { <-ctx.Done(); return ctx.Err() }
			ctx, cancel := context.WithCancel(t.Context())
			r.debts.look = func(n int) {
				if n == 3 {
					cancel()
					time.Sleep(time.Second)
				}
			}
			if err := r.Heal(ctx); !errors.Is(err, context.Canceled) || r.log.Len() != 0 {
				t.Errorf("%v; %s", err, r.log)
			}
		})
	}
}

// TestHealAsks: first of all who asks, and what costs least.
func TestHealAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(owedFrom)
		r := newRig(market.OneMinute, 3*market.OneMinute)
		r.debts.owe(0, minutes("01:57", "02:00")...)
		r.debts.reach = minute("03:00")
		r.venue.listed[0] = minute("01:58")
		stop := r.heal(t)
		r.after(60)
		stop()
		check(t, "asked", r.venue.take(), "0 1m from 01-01T01:57 limit 99, heal", "0 1m from 01-01T00:00 limit 1, heal",
			"0 1h from 01-01T01:00 limit 1, heal")
	})
}

// TestHealDoubtsTheClock: once a question, where what is asked for ended a short time ago; and what is not over by the
// clock that was put right is not asked for.
func TestHealDoubtsTheClock(t *testing.T) {
	for _, c := range []struct {
		name   string
		lacks  string
		off    time.Duration
		doubts int64
		want   []string
	}{
		{"long ago", "04:57", 0, 0, []string{"1s  0 asks 1m 04:57–04:58"}},
		{"just now", "04:59", 0, 1, []string{"1s  0 asks 1m 04:59–05:00"}},
		{"over only by a clock that was wrong", "04:59", -30 * time.Second, 1, nil},
		{"some of it", "04:57 04:58 04:59", -30 * time.Second, 1, []string{"1s  0 asks 1m 04:57–04:59"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig()
			for _, clock := range strings.Fields(c.lacks) {
				r.debts.owe(0, minute(clock))
			}
			r.step.Store(int64(c.off))
			r.venue.hold = func(context.Context, asked) error { time.Sleep(20 * time.Second); return errDown }
			stop := r.heal(t)
			r.after(2.5)
			check(t, c.name, r.diary.take(), c.want...)
			if n := r.doubts.Load(); n != c.doubts {
				t.Errorf("%s: doubted %d times", c.name, n)
			}
			stop()
		})
	}
}

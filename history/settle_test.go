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

	"klined/fixed"
	"klined/market"
)

// settle runs Settle in the background until the function that it returns is called.
func (r *rig) settle(t *testing.T, ids ...market.SymbolID) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r.diary.begin()
	for _, id := range ids {
		if !slices.Contains(r.carries(), id) {
			r.Carry(id)
		}
	}
	go func() { done <- r.Settle(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// has puts klines of ours of symbol 0 into the store, closed, each with the volume given; the exchange's is 1.
func (r *rig) has(iv market.Interval, volume fixed.Value, opens ...market.Time) {
	for _, open := range opens {
		k := row(iv, open, open+market.Time(iv))
		k.State, k.Volume, k.FirstID, k.LastID, k.LastTradeID = market.StateClosed, volume.Sum(), 7, 8, 5
		r.store.Fetched(market.Series{Interval: iv}, market.Span{From: open, To: iv.Next(open)}, []market.Kline{k})
	}
}

// holds lists what the store has of symbol 0: volume, state, revision and ids.
func (r *rig) holds(iv market.Interval) (all []string) {
	for _, k := range r.store.rows[market.Series{Interval: iv}] {
		all = append(all, fmt.Sprintf("%s v%s %s r%d %d-%d", hourOf(k.OpenTime), k.Volume, k.State, k.Revision, k.FirstID, k.LastID))
	}
	return all
}

// noDays leaves the daily look out of what was asked.
func noDays(asked []string) []string {
	return slices.DeleteFunc(asked, func(a string) bool { return a[2:5] != "1m " })
}

// TestRounds: each symbol's minutes are asked for once an hour, one symbol after the other, and go on where the round before
// ended, in this process or an earlier one. A question that fails is asked again.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(5*time.Hour + 10*time.Second)
		r := newRig()
		stop := r.settle(t, 0, 1)
		r.after(60)
		check(t, "before the stream has begun", r.venue.take())
		r.lanes.begin(minute("05:02"))
		r.after(60 * 60)
		check(t, "the first hour", noDays(r.venue.take()),
			"0 1m from 01-01T03:23 limit 99, settle", "1 1m from 01-01T03:32 limit 99, settle")
		r.venue.set(func(v *venue) { v.fail = failing(1, errDown) })
		r.after(2 * 60 * 60)
		check(t, "the second", noDays(r.venue.take()), "0 1m from 01-01T05:02 limit 99, settle",
			"0 1m from 01-01T05:02 limit 99, settle", "1 1m from 01-01T05:11 limit 99, settle")
		stop()
		r.venue.set(func(v *venue) { v.fail = nil })
		stop = r.settle(t, 0, 1)
		r.after(60 * 60)
		check(t, "after a restart", noDays(r.venue.take()),
			"0 1m from 01-01T06:02 limit 99, settle", "1 1m from 01-01T06:32 limit 99, settle")
		r.has(market.OneMinute, fixed.One, minute("08:10")) // no other is here: what follows is passed over
		r.venue.set(func(v *venue) { v.fail = failing(1e6, errDown) })
		r.after(5 * 60 * 60)
		r.venue.take()
		r.venue.set(func(v *venue) { v.fail = nil })
		r.after(6*60*60 - 1)
		got := noDays(r.venue.take())
		check(t, "four hours without an answer", slices.DeleteFunc(got, func(a string) bool { return a[0] != '0' }),
			"0 1m from 01-01T06:58 limit 99, settle", "0 1m from 01-01T10:06 limit 99, settle")
		stop()
	})
}

// TestRoundDoubts: what is doubted is read again, and 30 s later, and later and later; the rounds go on meanwhile. After a day
// it stays as it is.
func TestRoundDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(5*time.Hour + 30*time.Second)
		r := newRig()
		r.lanes.begin(minute("04:50"))
		r.store.SettleUpTo(0, minute("04:55"))
		r.debts.owe(0, minute("04:57"))
		r.debts.believe = whenConfirmed
		stop := r.settle(t, 0)
		r.after(100)
		check(t, "two reads agree", noDays(r.venue.take()), "0 1m from 01-01T04:55 limit 99, settle", "0 1m from 01-01T04:57 limit 99, settle", "0 1m from 01-01T04:57 limit 99, settle")
		check(t, "settled up to", []string{hourOf(r.store.SettledUpTo(0))}, "04:58")

		r.debts.owe(0, minute("05:30"))
		r.has(market.OneMinute, fixed.One, minute("05:30"))
		r.debts.set(func(d *debts) { d.believe = func(*market.Kline, bool) bool { return false } })
		r.after(10 * 60 * 60)
		if got := len(noDays(r.venue.take())); got < 15 || got > 30 {
			t.Errorf("asked %d times", got)
		}
		check(t, "settled up to", []string{hourOf(r.store.SettledUpTo(0))}, "13:58")
		r.after(26 * 60 * 60)
		r.venue.take()
		if !strings.Contains(r.log.String(), "it stays as it is") {
			t.Error(r.log)
		}
		r.after(30 * 60 * 60)
		if got := len(noDays(r.venue.take())); got != 4 {
			t.Errorf("a day later asked %d times in four hours", got)
		}
		stop()
	})
}

// TestSettleStored: symbol 0's stream began at 04:58; what the store has from before is held against the exchange's, too, and
// what is longer is folded anew from it. The exchange's volume is 1.
func TestSettleStored(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*rig)
		want    []string // what was compared
		minutes []string // the store's
		longer  []string // the store's klines of 3m
	}{
		{"equal", func(r *rig) { r.has(market.OneMinute, fixed.One, minutes("04:54", "04:57")...) },
			[]string{"1s  0 1m 04:54 equal", "1s  0 1m 04:55 equal", "1s  0 1m 04:56 equal"},
			[]string{"04:54 v1 settled r0 7-8", "04:55 v1 settled r0 7-8", "04:56 v1 settled r0 7-8"},
			[]string{"04:54 v3 settled r0 7-8"}},
		{"another", func(r *rig) {
			r.has(market.OneMinute, fixed.One, minutes("04:54", "04:57")...)
			r.has(market.OneMinute, 2*fixed.One, minute("04:57"))
			r.has(3*market.OneMinute, 3*fixed.One, minute("04:54"))
		},
			[]string{"1s  0 1m 04:54 equal", "1s  0 1m 04:55 equal", "1s  0 1m 04:56 equal", "32s  0 1m 04:57 replaced"},
			[]string{"04:54 v1 settled r0 7-8", "04:55 v1 settled r0 7-8", "04:56 v1 settled r0 7-8", "04:57 v1 settled r1 7-8"},
			[]string{"04:54 v3 settled r1 7-8"}}, // its prices are the exchange's, too
		{"one that lacks trades", func(r *rig) {
			r.has(market.OneMinute, fixed.One, minutes("04:54", "04:56")...)
			k := row(market.OneMinute, minute("04:56"), minute("04:57"))
			k.State, k.Gap, k.Volume = market.StateClosed, true, fixed.Sum{}
			r.store.Fetched(market.Series{Interval: market.OneMinute}, market.Span{}, []market.Kline{k})
		},
			[]string{"1s  0 1m 04:54 equal", "1s  0 1m 04:55 equal"},
			[]string{"04:54 v1 settled r0 7-8", "04:55 v1 settled r0 7-8", "04:56 v1 settled r1 -1--1"},
			[]string{"04:54 v3 settled r0 7--1"}},
		{"one that was settled and is another now", func(r *rig) {
			r.has(market.OneMinute, fixed.One, minutes("04:54", "04:57")...)
			k := row(market.OneMinute, minute("04:55"), minute("04:57"))
			k.Volume = (2 * fixed.One).Sum()
			r.store.Fetched(market.Series{Interval: market.OneMinute}, market.Span{}, []market.Kline{k})
		},
			[]string{"1s  0 1m 04:54 equal", "1s  0 1m 04:56 equal", "3812s  0 1m 04:55 replaced"},
			[]string{"04:54 v1 settled r0 7-8", "04:55 v1 settled r1 -1--1", "04:56 v1 settled r0 7-8"},
			[]string{"04:54 v3 settled r1 7-8"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(5*time.Hour + 30*time.Second)
			r := newRig(market.OneMinute, 3*market.OneMinute)
			r.lanes.begin(minute("04:58"))
			r.debts.reach = minute("04:58")
			r.store.SettleUpTo(0, minute("04:54"))
			c.prepare(r)
			stop := r.settle(t, 0)
			r.after(2 * 60 * 60) // what is settled gives way to what is said for an hour
			stop()
			check(t, c.name+": compared", comparisons(r.diary.take()), c.want...)
			check(t, c.name+": minutes", r.holds(market.OneMinute)[:len(c.minutes)], c.minutes...)
			check(t, c.name+": 3m", r.holds(3 * market.OneMinute)[:1], c.longer...)
		})
	}
}

// comparisons are the lines of the diary that tell of one.
func comparisons(diary []string) []string {
	return slices.DeleteFunc(diary, func(line string) bool {
		return !strings.HasSuffix(line, "equal") && !strings.HasSuffix(line, "replaced")
	})
}

// TestDaily: the hours and the day before are held against the exchange's own once a day, some minutes into the next, one
// symbol after the other, and not before its first round. What the lanes do not hand on is settled in the store, and what is longer with it.
func TestDaily(t *testing.T) {
	const h, d = market.OneHour, market.OneDay
	synctest.Test(t, func(t *testing.T) {
		at(24*time.Hour + 9*time.Minute)
		r := newRig(market.OneMinute, h, 2*h, d)
		r.lanes.begin(minute("23:00"))
		r.debts.hours = bubbleBegin + market.Day
		r.has(h, 2*fixed.One, minute("04:00"))
		r.has(h, fixed.One, minute("05:00"))
		r.has(2*h, 3*fixed.One, minute("04:00"))
		stop := r.settle(t, 0, 1)
		daily := func() []string {
			asked := slices.DeleteFunc(r.venue.take(), func(a string) bool { return a[2:5] == "1m " })
			slices.Sort(asked)
			return asked
		}
		r.after(50)
		if got := daily(); !slices.Contains(got, "0 1h from 12-29T10:00 limit 99, settle") || !slices.Contains(got, "0 1d from 10-31T00:00 limit 99, settle") {
			t.Errorf("nine minutes into the day: %s", got)
		}
		r.after(3600)
		got := daily()
		for _, want := range []string{"0 1d from 01-01T00:00 limit 99, settle", "0 1h from 01-01T00:00 limit 99, settle", "0 1h from 01-01T04:00 limit 99, settle",
			"1 1d from 11-01T00:00 limit 99, settle", "1 1h from 12-30T10:00 limit 99, settle"} {
			if !slices.Contains(got, want) {
				t.Errorf("an hour later not %s, but %s", want, got)
			}
		}
		on := func(iv market.Interval, clock string) []string {
			k, _ := findOpen(r.store.rows[market.Series{Interval: iv}], minute(clock))
			return []string{fmt.Sprintf("v%s %s %d-%d", k.Volume, k.State, k.FirstID, k.LastID)}
		}
		check(t, "04:00", on(h, "04:00"), "v1 settled 7-8")
		check(t, "05:00", on(h, "05:00"), "v1 settled 7-8")
		check(t, "two hours", on(2*h, "04:00"), "v2 settled 7-8")
		r.after(24 * 3600)
		daily()
		r.after(25 * 3600)
		check(t, "a day later", daily(), "0 1d from 01-02T00:00 limit 99, settle", "0 1h from 01-02T00:00 limit 99, settle",
			"1 1d from 01-02T00:00 limit 99, settle", "1 1h from 01-02T00:00 limit 99, settle")
		stop()
	})
}

// TestRefoldAgain: where what is longer cannot be made right at once, it is with the next question, and by the next process.
func TestRefoldAgain(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			at(5*time.Hour + 30*time.Second)
			r := newRig(market.OneMinute, 3*market.OneMinute, 5*market.OneMinute)
			r.lanes.begin(minute("04:58"))
			r.debts.reach = minute("04:58")
			r.store.SettleUpTo(0, minute("04:54"))
			r.has(market.OneMinute, 2*fixed.One, minutes("04:54", "04:58")...)
			r.has(3*market.OneMinute, 6*fixed.One, minute("04:54"))
			r.has(5*market.OneMinute, 7*fixed.One, minute("04:50"))
			r.store.set(func(s *store) { s.failParts = 3 * market.OneMinute })
			stop := r.settle(t, 0)
			r.after(33)
			if restart {
				stop()
			}
			r.store.set(func(s *store) { s.failParts = 0 })
			if restart {
				stop = r.settle(t, 0)
			}
			r.after(100)
			stop()
			if got := r.holds(3 * market.OneMinute)[0]; !strings.HasPrefix(got, "04:54 v3 settled r") {
				t.Errorf("after a restart %v: %s", restart, got)
			}
		})
	}
}

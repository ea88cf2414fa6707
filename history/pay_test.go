package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// knows lists what the store was told to be complete of symbol 0, by interval.
func (s *store) knows() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, series := range slices.SortedFunc(maps.Keys(s.known), func(a, b market.Series) int { return int(a.Interval - b.Interval) }) {
		for _, span := range s.known[series] {
			rows := 0
			for _, k := range s.rows[series] {
				if k.OpenTime >= span.From && k.OpenTime < span.To && k.State == market.StateSettled {
					rows++
				}
			}
			all = append(all, fmt.Sprintf("%s %s–%s %d", series.Interval, hourOf(span.From), hourOf(span.To), rows))
		}
	}
	return all
}

// failingOnce lets the first question for an interval fail.
func failingOnce(interval market.Interval, err error) func(asked) error {
	failed := false
	return func(a asked) error {
		if failed || a.Interval != interval {
			return nil
		}
		failed = true
		return err
	}
}

// TestPayStored: symbol 0 lacks trades of minutes that the lanes do not keep any more. Nothing is paid before the store
// has all: the minutes, and what was folded from them, as far as that is over.
func TestPayStored(t *testing.T) {
	const m, h = market.OneMinute, market.OneHour
	intervals := []market.Interval{30_000, m, 3 * m, 10 * m, 15 * m, h, 2 * h}
	out := func(seconds int, clocks ...string) (lines []string) {
		for _, clock := range clocks {
			lines = append(lines, fmt.Sprintf("%ds  0 1m %s out of reach", seconds, clock))
		}
		return lines
	}
	for _, c := range []struct {
		name        string
		now         time.Duration
		reach       string
		lacks       []market.Time
		want, knows []string
	}{
		{"across an hour", owedFrom, "04:00", minutes("02:58", "03:02"), slices.Concat([]string{
			"1s  0 asks 1m 02:58–03:02"}, out(1, "02:58", "02:59", "03:00", "03:01"), []string{
			"1s  0 asks 3m 02:57–03:03", "1s  0 asks 5m 02:50–03:10", "1s  0 asks 15m 02:45–03:15", "1s  0 asks 1h 02:00–04:00",
			"1s  0 1h 02:00 believed", "1s  0 1h 03:00 believed", "1s  0 paid up to 03:02"}),
			[]string{"1m 02:58–03:02 4", "3m 02:57–03:03 2", "10m 02:50–03:10 2", "15m 02:45–03:15 2", "1h 02:00–04:00 2"}},
		{"at the begin of an hour", owedFrom, "04:00", minutes("03:00", "03:01"), slices.Concat([]string{
			"1s  0 asks 1m 03:00–03:01"}, out(1, "03:00"), []string{
			"1s  0 asks 3m 03:00–03:03", "1s  0 asks 5m 03:00–03:10", "1s  0 asks 15m 03:00–03:15", "1s  0 asks 1h 03:00–04:00",
			"1s  0 1h 03:00 believed", "1s  0 paid up to 03:01"}),
			[]string{"1m 03:00–03:01 1", "3m 03:00–03:03 1", "10m 03:00–03:10 1", "15m 03:00–03:15 1", "1h 03:00–04:00 1"}},
		{"some of them", owedFrom, "03:00", minutes("02:59", "03:01"), slices.Concat([]string{
			"1s  0 asks 1m 02:59–03:01"}, out(1, "02:59"), []string{"1s  0 1m 03:00 believed",
			"1s  0 asks 3m 02:57–03:00", "1s  0 asks 5m 02:50–03:00", "1s  0 asks 15m 02:45–03:00", "1s  0 asks 1h 02:00–03:00",
			"1s  0 1h 02:00 believed", "1s  0 paid up to 03:00"}),
			[]string{"1m 02:59–03:00 1", "3m 02:57–03:00 1", "10m 02:50–03:00 1", "15m 02:45–03:00 1", "1h 02:00–03:00 1"}},
		{"their hour runs", 5*time.Hour + 20*time.Minute + 30*time.Second, "05:15", minutes("05:13", "05:14"), slices.Concat([]string{
			"1s  0 asks 1m 05:13–05:14"}, out(1, "05:13"), []string{
			"1s  0 asks 3m 05:12–05:15", "1s  0 asks 5m 05:10–05:20", "1s  0 asks 15m 05:00–05:15", "1s  0 paid up to 05:14"}),
			[]string{"1m 05:13–05:14 1", "3m 05:12–05:15 1", "10m 05:10–05:20 1", "15m 05:00–05:15 1"}},
		{"their hour is over, and may change still", 6*time.Hour + 5*time.Second, "06:00", minutes("05:58", "05:59"), slices.Concat([]string{
			"1s  0 asks 1m 05:58–05:59"}, out(1, "05:58"), []string{"1s  0 paid up to 05:59"}),
			[]string{"1m 05:58–05:59 1"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(c.now)
			r := newRig(intervals...)
			r.debts.reach = minute(c.reach)
			r.debts.owe(0, c.lacks...)
			stop := r.heal(t)
			r.after(60)
			check(t, c.name, r.diary.take(), c.want...)
			check(t, c.name+": the store knows", r.store.knows(), c.knows...)
			stop()
		})
	}
}

// TestNotPaid: where something is wrong with the rows, or the exchange fails halfway, nothing is paid, and all is asked for
// again.
func TestNotPaid(t *testing.T) {
	first := []string{"1s  0 asks 1m 02:57–03:00"}
	for _, c := range []struct {
		name    string
		prepare func(*venue)
		want    []string // between the first question and the second
		knows   []string // the store, then
		says    string   // the log
	}{
		{"a row is missing", func(v *venue) { v.spoil = without("02:58") }, []string{
			"1s  0 1m 02:57 out of reach", "1s  0 1m 02:59 out of reach"}, nil, "have holes"},
		{"the first is missing", func(v *venue) { v.spoil = without("02:57") }, []string{
			"1s  0 1m 02:58 out of reach", "1s  0 1m 02:59 out of reach", "1s  0 asks 1m –02:58"}, nil, "have holes"},
		{"all are missing", func(v *venue) { v.spoil = without("02:57", "02:58", "02:59") }, []string{
			"1s  0 asks 1m –03:00"}, nil, "have holes"},
		{"one breaks its own rules", func(v *venue) {
			v.spoil = func(_ asked, rows []market.Kline) []market.Kline { rows[1].High = 0; return rows }
		}, []string{"1s  0 1m 02:57 out of reach", "1s  0 1m 02:58 out of reach", "1s  0 1m 02:59 out of reach"}, nil, "their own rules"},
		{"one is not over", func(v *venue) {
			v.spoil = func(_ asked, rows []market.Kline) []market.Kline { rows[1].State = market.StateOpen; return rows }
		}, []string{"1s  0 1m 02:57 out of reach", "1s  0 1m 02:58 out of reach", "1s  0 1m 02:59 out of reach"}, nil, "run still"},
		{"longer ones cannot be had", func(v *venue) { v.fail = failingOnce(5*market.OneMinute, errDown) }, []string{
			"1s  0 1m 02:57 out of reach", "1s  0 1m 02:58 out of reach", "1s  0 1m 02:59 out of reach", "1s  0 asks 5m 02:55–03:00",
			"1s  0 asks 1h 02:00–03:00", "1s  0 1h 02:00 believed"}, []string{"1m 02:57–03:00 3", "1h 02:00–03:00 1"}, errDown.Error()},
		{"the hour cannot be had", func(v *venue) { v.fail = failingOnce(market.OneHour, errDown) }, []string{
			"1s  0 1m 02:57 out of reach", "1s  0 1m 02:58 out of reach", "1s  0 1m 02:59 out of reach", "1s  0 asks 5m 02:55–03:00",
			"1s  0 asks 1h 02:00–03:00"}, []string{"1m 02:57–03:00 3", "5m 02:55–03:00 1"}, errDown.Error()},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig(market.OneMinute, 5*market.OneMinute)
			r.debts.reach = minute("04:00")
			r.debts.owe(0, minutes("02:57", "03:00")...)
			c.prepare(r.venue)
			stop := r.heal(t)
			r.after(2.5)
			check(t, c.name, r.diary.take(), slices.Concat(first, c.want)...)
			check(t, c.name+": the store knows", r.store.knows(), c.knows...)
			if !strings.Contains(r.log.String(), c.says) {
				t.Errorf("%s: %s", c.name, r.log)
			}
			r.venue.mu.Lock()
			r.venue.spoil = nil
			r.venue.mu.Unlock()
			r.after(600)
			check(t, c.name+", and well again", r.diary.take(), "3s  0 asks 1m 02:57–03:00", "3s  0 1m 02:57 out of reach",
				"3s  0 1m 02:58 out of reach", "3s  0 1m 02:59 out of reach", "3s  0 asks 5m 02:55–03:00", "3s  0 asks 1h 02:00–03:00",
				"3s  0 1h 02:00 believed", "3s  0 paid up to 03:00")
			stop()
		})
	}
}

// TestBudgetHalfway: what was refused of the longer klines is not asked for before it may be, either.
func TestBudgetHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(owedFrom)
		r := newRig(market.OneMinute, 3*market.OneMinute)
		r.debts.reach = minute("04:00")
		r.debts.owe(0, minute("02:59"))
		r.venue.fail = failingOnce(market.OneHour, &market.BudgetError{RetryAfter: 40 * time.Second, Reason: "busy"})
		stop := r.heal(t)
		r.after(40.5)
		r.diary.take()
		r.after(41)
		if got := r.diary.take(); len(got) != 6 || got[5] != "41s  0 paid up to 03:00" {
			t.Error(got)
		}
		stop()
	})
}

// TestPayNothing: minutes before a symbol's first kline lack nothing, once that can be told.
func TestPayNothing(t *testing.T) {
	for _, c := range []struct {
		name, listed string
		lacks        []market.Time
		want, knows  []string
	}{
		{"it began among those that are not kept", "02:58", minutes("02:57", "03:00"), []string{
			"1s  0 asks 1m 02:57–03:00", "1s  0 1m 02:58 out of reach", "1s  0 1m 02:59 out of reach", "1s  0 asks 1m –02:58",
			"1s  0 asks 1h 02:00–03:00", "1s  0 1h 02:00 believed", "1s  0 paid up to 03:00"},
			[]string{"1m 02:57–03:00 2", "3m 02:57–03:00 1", "1h 02:00–03:00 1"}},
		{"it began later", "04:30", minutes("02:57", "03:00"), []string{
			"1s  0 asks 1m 02:57–03:00", "1s  0 asks 1m –03:00", "1s  0 paid up to 03:00"}, []string{"1m 02:57–03:00 0"}},
		{"it began among those that are kept", "04:41", minutes("04:40", "04:42"), []string{
			"1s  0 asks 1m 04:40–04:42", "1s  0 1m 04:41 believed",
			"3s  0 asks 1m 04:40–04:41", "3s  0 asks 1m –04:41", "3s  0 paid up to 04:41"}, []string{"1m 04:40–04:41 0"}},
		{"it has not begun", "23:00", minutes("04:57", "04:58"), []string{
			"1s  0 asks 1m 04:57–04:58", "1s  0 asks 1m –04:58", "1s  0 paid up to 04:58"}, []string{"1m 04:57–04:58 0"}},
		{"it has not begun, or its first kline is not there yet", "23:00", minutes("04:59", "05:00"), []string{
			"1s  0 asks 1m 04:59–05:00", "3s  0 asks 1m 04:59–05:00", "7s  0 asks 1m 04:59–05:00", "15s  0 asks 1m 04:59–05:00",
			"31s  0 asks 1m 04:59–05:00", "63s  0 asks 1m 04:59–05:00",
			"127s  0 asks 1m 04:59–05:00", "127s  0 asks 1m –05:00", "127s  0 paid up to 05:00"}, []string{"1m 04:59–05:00 0"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig(market.OneMinute, 3*market.OneMinute)
			r.venue.listed[0] = minute(c.listed)
			r.debts.reach = minute("04:00")
			r.debts.owe(0, c.lacks...)
			stop := r.heal(t)
			r.after(600)
			check(t, c.name, r.diary.take(), c.want...)
			check(t, c.name+": the store knows", r.store.knows(), c.knows...)
			stop()
		})
	}
}

// TestLeftOut: minutes that the exchange leaves out, and goes on leaving out for an hour, do not keep a symbol behind for ever.
func TestLeftOut(t *testing.T) {
	for _, c := range []struct {
		name    string
		without []string
		knows   []string
	}{
		{"one of them", []string{"02:58"}, []string{"1m 02:57–03:00 2", "3m 02:57–03:00 1", "1h 02:00–03:00 1"}},
		{"the first", []string{"02:57"}, []string{"1m 02:57–03:00 2", "3m 02:57–03:00 1", "1h 02:00–03:00 1"}},
		{"all", []string{"02:57", "02:58", "02:59"}, []string{"1m 02:57–03:00 0"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(owedFrom)
			r := newRig(market.OneMinute, 3*market.OneMinute)
			r.debts.reach = minute("04:00")
			r.debts.owe(0, minutes("02:57", "03:00")...)
			r.venue.spoil = without(c.without...)
			stop := r.heal(t)
			r.after(59 * 60)
			if said := r.diary.take(); slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, "paid") }) || len(said) < 30 {
				t.Errorf("%s: within an hour: %q", c.name, said)
			}
			r.after(65 * 60)
			if said := r.diary.take(); !slices.ContainsFunc(said, func(s string) bool { return strings.HasSuffix(s, "0 paid up to 03:00") }) {
				t.Errorf("%s: after it: %q", c.name, said)
			}
			check(t, c.name+": the store knows", r.store.knows(), c.knows...)
			stop()
		})
	}
}

package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klined/fixed"
	"klined/market"
)

// TestTicksDoNotMatter: the same trades give the same klines in all but Revision, whether they close by trade, by
// clock, early or late.
func TestTicksDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		intervals := drawIntervals(t)
		from, err := parseClock("2027-02-28T22:50")
		if err != nil {
			t.Fatal(err)
		}
		trades := drawTrades(t, from, rapid.IntRange(1, 60).Draw(t, "trades"))
		end := trades[len(trades)-1].Time + 2*market.Hour
		want := playTrades(t, intervals, from, end, trades, nil)
		ahead := rapid.SliceOfN(rapid.Int64Range(0, int64(4*market.Minute)), len(trades), len(trades)).Draw(t, "ticks ahead")
		got := playTrades(t, intervals, from, end, trades, ahead)
		if len(got) != len(want) {
			t.Fatalf("%d klines with ticks, %d without", len(got), len(want))
		}
		for at, k := range want {
			other := got[at]
			if other.Revision = k.Revision; other != k {
				t.Fatalf("with ticks\n%s\nwithout\n%s", klineLine(at.interval, &other), klineLine(at.interval, &k))
			}
		}
	})
}

// drawTrades draws trades in the order of their ids, their times a little out of order.
func drawTrades(t *rapid.T, from market.Time, n int) (trades []market.Trade) {
	now := from
	for id := range int64(n) {
		longest := rapid.SampledFrom([]market.Time{market.Second, market.Minute, 20 * market.Minute}).Draw(t, "longest")
		now += market.Time(rapid.Int64Range(0, int64(longest)).Draw(t, "wait"))
		trades = append(trades, market.Trade{
			ID: id, FirstID: 2 * id, LastID: 2*id + 1, Qty: 1,
			Price: fixed.Value(1 + rapid.Int64Range(0, 9).Draw(t, "price")),
			Time:  max(from, now-market.Time(rapid.Int64Range(0, 20_000).Draw(t, "back"))),
		})
	}
	return trades
}

// playTrades applies trades to a fresh symbol, each followed by a tick that runs ahead of it, and returns what left last.
func playTrades(t *rapid.T, intervals []market.Interval, from, end market.Time, trades []market.Trade,
	ahead []int64) map[key]market.Kline {
	e, err := New(intervals)
	if err != nil {
		t.Fatal(err)
	}
	slot := e.Add(0)
	e.Fresh(slot)
	e.Begin(slot, from)
	for i := range trades {
		e.Apply(slot, &trades[i])
		if ahead != nil {
			e.Tick(trades[i].Time + market.Time(ahead[i]))
		}
	}
	e.Tick(end)
	last := map[key]market.Kline{}
	for _, u := range e.Drain(nil) {
		last[key{u.Interval, u.OpenTime}] = u.Kline
	}
	return last
}

// standing is an engine with a symbol and a fresh one, not begun.
func standing(t *testing.T) (e *Engine, slot, fresh Slot, from market.Time) {
	t.Helper()
	from, err := parseClock("00:05")
	if err != nil {
		t.Fatal(err)
	}
	if e, err = New([]market.Interval{market.OneMinute, 3 * market.OneMinute, market.OneHour}); err != nil {
		t.Fatal(err)
	}
	slot, fresh = e.Add(7), e.Add(8)
	e.Fresh(fresh)
	return e, slot, fresh, from
}

// TestBeforeBegin: no door but load does anything, and nothing is whole.
func TestBeforeBegin(t *testing.T) {
	e, slot, fresh, from := standing(t)
	trade := oneTrade(1, from)
	if got := e.Apply(slot, &trade); got != Before {
		t.Errorf("a trade: %d", got)
	}
	e.Tick(from)
	e.Mark(slot, []market.Span{{From: from, To: from + 1}})
	if _, begun := e.Begun(slot); begun || e.Whole(slot) || e.Whole(fresh) || len(e.Drain(nil)) > 0 {
		t.Error("a symbol is whole before Begin, or has klines")
	}
	if _, begun := e.Boundary(slot); begun {
		t.Error("a symbol has a boundary before Begin")
	}
	e.Begin(slot, from)
	if k, ok := e.Running(slot, market.OneMinute); ok {
		t.Errorf("%+v is shown without a price", k)
	}
	e.Apply(slot, &trade)
	if k, ok := e.Running(slot, market.OneMinute); !ok || !k.Gap {
		t.Errorf("the running minute %+v, shown %v", k, ok)
	}
}

// TestWhole: a symbol waits until no part of a running kline is absent; a fresh one does not.
func TestWhole(t *testing.T) {
	e, slot, fresh, from := standing(t)
	e.Begin(slot, from)
	e.Begin(fresh, from)
	if at, begun := e.Begun(slot); !begun || at != from {
		t.Errorf("begun %v at %s", begun, at)
	}
	if at, begun := e.Boundary(slot); !begun || at != from+market.Minute {
		t.Errorf("boundary %s, begun %v", at, begun)
	}
	for open := from - 5*market.Minute; open < from; open += market.Minute {
		if e.Whole(slot) || !e.Whole(fresh) {
			t.Error("without a past a symbol waits, unless it is fresh")
		}
		k := market.EmptyKline(open, fixed.One)
		k.State = market.StateSettled
		if !e.Load(slot, market.OneMinute, &k) {
			t.Fatalf("load %s refused", open)
		}
	}
	if !e.Whole(slot) {
		t.Error("waits, though all parts are there")
	}
	if _, ok := e.Running(slot, 5*market.OneMinute); ok {
		t.Error("an interval is shown that is not carried")
	}
	var touched []Slot
	for range 2 {
		e.Touched(func(slot Slot) { touched = append(touched, slot) })
	}
	slices.Sort(touched)
	if !slices.Equal(touched, []Slot{slot, fresh}) {
		t.Errorf("touched %v", touched)
	}
}

// TestLadder: the base, and what each interval is folded from.
func TestLadder(t *testing.T) {
	for _, c := range []struct {
		intervals []string
		base      string
		below     map[string]string
	}{
		{[]string{"1m"}, "1m", map[string]string{"1h": "1m", "1d": "1h"}},
		{[]string{"1w", "1M", "3d", "4h", "3m"}, "1m", map[string]string{"3m": "1m", "4h": "1h", "3d": "1d", "1w": "1d", "1M": "1d"}},
		{[]string{"15s", "30s"}, "15s", map[string]string{"30s": "15s", "1m": "15s", "1h": "1m"}},
		{[]string{"10s", "15s"}, "5s", map[string]string{"10s": "5s", "15s": "5s", "1m": "5s"}},
		{[]string{"20s", "30s", "1h"}, "10s", map[string]string{"20s": "10s", "30s": "10s", "1m": "10s"}},
		{[]string{"30s"}, "30s", map[string]string{"1m": "30s"}},
		{[]string{"1s", "30m"}, "1s", map[string]string{"1m": "1s", "30m": "1m"}},
	} {
		rungs, err := ladder(mustIntervals(c.intervals...))
		if err != nil {
			t.Fatal(err)
		}
		if got := rungs[0].interval.String(); got != c.base {
			t.Errorf("%v: base %s, want %s", c.intervals, got, c.base)
		}
		for _, r := range rungs[1:] {
			want, ok := c.below[r.interval.String()]
			if got := rungs[r.below].interval.String(); ok && got != want {
				t.Errorf("%v: %s is folded from %s, want %s", c.intervals, r.interval, got, want)
			}
		}
	}
	if _, err := New(nil); err == nil {
		t.Error("an engine without intervals")
	}
}

// TestFollows: it is 10:30 on the third of March. What is longer than a minute follows what is replaced below it where that is
// kept: minutes of this hour and the last, hours of today and yesterday, days of this month and the last.
func TestFollows(t *testing.T) {
	const m, h = market.OneMinute, market.OneHour
	e, err := New([]market.Interval{5000, m, 15 * m, h, 4 * h, market.OneDay, market.OneWeek, market.OneMonth})
	if err != nil {
		t.Fatal(err)
	}
	slot := e.Add(0)
	at := func(clock string) market.Time {
		open, err := parseClock(clock)
		if err != nil {
			t.Fatal(err)
		}
		return open
	}
	if e.Follows(slot, h, at("2027-03-03T10:00")) {
		t.Error("nothing follows before the stream begins")
	}
	e.Begin(slot, at("2027-03-03T10:30"))
	for _, c := range []struct {
		iv   market.Interval
		open string
		want bool
	}{
		{15 * m, "2027-03-03T09:00", true}, {15 * m, "2027-03-03T08:45", false},
		{h, "2027-03-03T09:00", true}, {h, "2027-03-03T08:00", false},
		{4 * h, "2027-03-02T00:00", true}, {4 * h, "2027-03-01T20:00", false},
		{market.OneDay, "2027-03-02T00:00", true}, {market.OneDay, "2027-03-01T00:00", false},
		{market.OneWeek, "2027-02-01T00:00", true}, {market.OneWeek, "2027-01-25T00:00", false},
		{market.OneMonth, "2027-02-01T00:00", true}, {market.OneMonth, "2027-01-01T00:00", false},
		{m, "2027-03-03T10:29", false}, {5000, "2027-03-03T10:29", false}, {2 * h, "2027-03-03T08:00", false},
	} {
		if got := e.Follows(slot, c.iv, at(c.open)); got != c.want {
			t.Errorf("%s from %s follows: %v", c.iv, c.open, got)
		}
	}
}

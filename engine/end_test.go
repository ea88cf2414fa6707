package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klined/market"
)

// TestEndCutsNothing: a symbol that ends has the klines that open before its end as any other, each closed at its own end and not
// before, and none behind it; when the last has closed, nothing comes any more.
func TestEndCutsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		intervals := drawIntervals(t)
		from, err := parseClock("2027-02-28T22:50")
		if err != nil {
			t.Fatal(err)
		}
		trades := drawTrades(t, from, rapid.IntRange(1, 20).Draw(t, "trades"))
		until := market.OneMinute.Ceil(trades[len(trades)-1].Time + 1 + market.Time(rapid.Int64Range(0, int64(5*market.Minute)).Draw(t, "ended after")))
		trades = slices.DeleteFunc(trades, func(t market.Trade) bool { return t.Time >= until })
		lives, ends := newTwin(t, intervals, from), newTwin(t, intervals, from)
		for i := range trades {
			lives.Apply(0, &trades[i])
			ends.Apply(0, &trades[i])
		}
		ends.End(0, until)
		for at := until - market.Minute; at < until+3*market.Hour; at += market.Time(rapid.Int64Range(1, int64(40*market.Minute)).Draw(t, "tick")) {
			lives.Tick(at)
			ends.Tick(at)
			want := slices.DeleteFunc(lives.Drain(nil), func(u market.Update) bool { return u.OpenTime >= until })
			if got := ends.Drain(nil); !slices.Equal(got, want) {
				t.Fatalf("%s, ended %s: handed on %v\nwant %v", clockText(at), clockText(until), got, want)
			}
			for _, iv := range intervals {
				got, want := ends.Klines(nil, 0, iv, from), lives.Klines(nil, 0, iv, from)
				cut := func(ks []market.Kline) []market.Kline {
					return slices.DeleteFunc(ks, func(k market.Kline) bool { return k.OpenTime >= until })
				}
				if len(got) != len(cut(slices.Clone(got))) || at < ends.symbols[0].over && !slices.Equal(got, cut(want)) {
					t.Fatalf("%s %s, ended %s: reads %v\nwant %v", iv, clockText(at), clockText(until), got, cut(want))
				}
				if k, ok := ends.Running(0, iv); ok && k.OpenTime >= until {
					t.Fatalf("%s %s, ended %s: running %v", iv, clockText(at), clockText(until), k)
				}
			}
		}
		before := ends.Counts()
		if ends.Tick(until + 400*market.Day); len(ends.Drain(nil)) > len(intervals) || ends.Counts().Closed-before.Closed > uint64(len(intervals)) {
			t.Fatal("klines of behind the end")
		}
		if boundary, _ := ends.Boundary(0); boundary > ends.symbols[0].over+market.Minute {
			t.Fatalf("the clock moved it to %s", boundary)
		}
	})
}

// newTwin is an engine of one symbol without a past, begun.
func newTwin(t *rapid.T, intervals []market.Interval, from market.Time) *Engine {
	e, err := New(intervals)
	if err != nil {
		t.Fatal(err)
	}
	e.Fresh(e.Add(0))
	e.Begin(0, from)
	return e
}

// TestReopen: a symbol that had ended takes trades again from a later Begin on; what it had stays as it left, marks included, and
// what contains the time between waits for it.
func TestReopen(t *testing.T) {
	e, slot, _, from := standing(t)
	e.First(slot, from)
	e.Begin(slot, from)
	trade := oneTrade(1, from)
	e.Apply(slot, &trade)
	e.Mark(slot, []market.Span{{From: from, To: from + 1}})
	e.End(slot, from+market.Minute)
	e.Tick(from + 4*market.Minute)
	e.Drain(nil)
	e.Reopen(slot)
	e.Mark(slot, nil)
	if _, begun := e.Begun(slot); begun || len(e.Drain(nil)) > 0 {
		t.Error("it has begun before Begin, or what it had has changed")
	}
	again := from + 10*market.Minute
	e.Begin(slot, again)
	trade = oneTrade(900, again)
	e.Apply(slot, &trade)
	e.Mark(slot, nil)
	e.Tick(again + market.Minute)
	if k, ok := e.Kline(slot, market.OneMinute, from); !ok || !k.Gap {
		t.Errorf("its first life: %v %t", k, ok)
	}
	if k, ok := e.Kline(slot, market.OneMinute, again); !ok || k.Gap || k.LastTradeID != 900 {
		t.Errorf("its second: %v %t", k, ok)
	}
	if k, ok := e.Running(slot, market.OneHour); ok {
		t.Errorf("an hour of which a part is absent: %v", k)
	}
}

// TestFreshSince: of a symbol without a past all that there is leaves, from before its first trade on.
func TestFreshSince(t *testing.T) {
	e, _, fresh, from := standing(t)
	e.Begin(fresh, from)
	e.Tick(from + 30*market.Minute)
	if since := e.Since(fresh); since != from-1 || !e.Whole(fresh) {
		t.Errorf("since %s, whole %t", since, e.Whole(fresh))
	}
	trade := oneTrade(1, from+31*market.Minute)
	e.Apply(fresh, &trade)
	if since := e.Since(fresh); since != from-1 {
		t.Errorf("after its first trade: since %s", since)
	}
}

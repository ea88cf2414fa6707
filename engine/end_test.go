package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klined/fixed"
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

// TestReopen: a symbol that had ended takes trades again from a later Begin on; what it had stays as it left, marks included, as
// does what is official; what the clock has closed since the end is absent, and what contains the time between waits for it.
func TestReopen(t *testing.T) {
	e, slot, _, from := standing(t)
	e.First(slot, from)
	e.Begin(slot, from)
	trade := oneTrade(1, from)
	e.Apply(slot, &trade)
	e.Mark(slot, []market.Span{{From: from, To: from + 1}})
	e.End(slot, from+market.Minute)
	e.Tick(from + 4*market.Minute)
	official := market.EmptyKline(from+2*market.Minute, 7*fixed.One)
	official.State = market.StateSettled
	e.Replace(slot, market.OneMinute, &official)
	e.Drain(nil)
	e.Reopen(slot)
	e.Mark(slot, nil)
	for n, want := range []bool{true, false, true, false} { // its own, the clock's, the exchange's, the clock's
		if _, ok := e.Kline(slot, market.OneMinute, from+market.Time(n)*market.Minute); ok != want {
			t.Errorf("minute %d of before its return: there %t", n, ok)
		}
	}
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

// TestReopenKnowsWhatWasKnown: what the clock brought between the end of a symbol and its return changes nothing: all klines are
// those of a symbol that the clock left alone, whatever is official of that time before or after.
func TestReopenKnowsWhatWasKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		intervals := drawIntervals(t)
		from, err := parseClock("2027-02-28T22:50")
		if err != nil {
			t.Fatal(err)
		}
		trades := drawTrades(t, from, rapid.IntRange(1, 20).Draw(t, "trades"))
		until := market.OneMinute.Ceil(trades[len(trades)-1].Time + 1)
		ticked, still := newTwin(t, intervals, from), newTwin(t, intervals, from)
		both := func(do func(e *Engine)) { do(ticked); do(still) }
		for i := range trades {
			both(func(e *Engine) { e.Apply(0, &trades[i]) })
		}
		both(func(e *Engine) { e.End(0, until); e.Tick(until) })
		over := until + market.Time(rapid.Int64Range(0, int64(market.Hour)).Draw(t, "ticks until"))
		ticked.Tick(over)
		again := market.OneMinute.Ceil(over + 1)
		random := drawRandom(t)
		official := func(share float64, take func(e *Engine, k *market.Kline)) {
			for open := until; open < again; open += market.Minute {
				if k := anyOfficial(random, open); random.Float64() < share {
					both(func(e *Engine) { take(e, &k) })
				}
			}
		}
		early := rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "official before")
		both(func(e *Engine) { e.Reopen(0) })
		official(early, func(e *Engine, k *market.Kline) { e.Load(0, market.OneMinute, k) })
		both(func(e *Engine) { e.Begin(0, again) })
		sameKlines(t, ticked, still, intervals, from, again)
		official(1, func(e *Engine, k *market.Kline) { e.Load(0, market.OneMinute, k) })
		sameKlines(t, ticked, still, intervals, from, again)
		if !ticked.Whole(0) {
			t.Fatal("all is official, and it is not whole")
		}
	})
}

// sameKlines compares all that two engines show from one time to another.
func sameKlines(t *rapid.T, got, want *Engine, intervals []market.Interval, from, to market.Time) {
	if got.Whole(0) != want.Whole(0) {
		t.Fatalf("whole %t, want %t", got.Whole(0), want.Whole(0))
	}
	for _, iv := range intervals {
		for open := iv.Open(max(from, to-2*market.Hour)); open <= to; open = iv.Next(open) {
			g, gOK := got.Kline(0, iv, open)
			w, wOK := want.Kline(0, iv, open)
			if wOK && iv < market.OneMinute && open < to-5*market.Minute {
				continue // not kept so long where the clock went on
			}
			if g.Revision = w.Revision; g != w || gOK != wOK {
				t.Fatalf("%s %s: %t %v\nwant %t %v", iv, clockText(open), gOK, klineLine(iv, &g), wOK, klineLine(iv, &w))
			}
		}
		if g, ok := got.Running(0, iv); ok {
			if w, _ := want.Running(0, iv); g != w {
				t.Fatalf("%s runs %v\nwant %v", iv, klineLine(iv, &g), klineLine(iv, &w))
			}
		}
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

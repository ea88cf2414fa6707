package feed

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"klined/engine"
	"klined/market"
)

// list makes the last symbols of a market new ones, whose ids begin with 1, which trade from some time on only.
func (p *tape) list(t *rapid.T, n int) {
	p.listed = n
	for s := len(p.trades) - n; s < len(p.trades); s++ {
		from := tapeBegin + market.Time(rapid.IntRange(10_000, 180_000).Draw(t, "first trade"))
		trades := slices.DeleteFunc(p.trades[s], func(t market.Trade) bool { return t.Time < from })
		before := trades[0].ID - 1
		for i := range trades {
			trades[i].ID -= before
		}
		p.trades[s] = trades
	}
}

// add lets a symbol be added at a time, and the connections acknowledge it a moment later.
func (y *player) add(t *rapid.T, id market.SymbolID, at market.Time) {
	y.changes = append(y.changes, event{at, func() {
		if err := y.f.Add([]market.SymbolID{id}, true); err != nil {
			t.Fatal(err)
		}
	}}, event{at + market.Time(rapid.IntRange(10, 3000).Draw(t, "acknowledged after")), func() {
		for _, c := range y.conns {
			y.l.mu.Lock()
			asks := c.asksFor(engine.Slot(id))
			y.l.mu.Unlock()
			if asks {
				y.l.asked(c, []market.SymbolID{id}, local(y.now))
				y.l.acknowledged(c, local(y.now).Add(time.Nanosecond))
			}
		}
	}})
}

// TestListedInRandomMarkets: symbols that are new at the venue and are added sooner or later, and others that end, while
// connections drop, repeat, reorder and lie: every kline of the new ones is the truth from their first trade on, those of the ended
// ones end with their last minute, and those of all others are what they would have been.
func TestListedInRandomMarkets(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	rapid.Check(t, func(t *rapid.T) {
		var down [2][]market.Span
		if rapid.Bool().Draw(t, "a connection goes") {
			from := tapeBegin + 10*market.Second + market.Time(rapid.IntRange(0, 170_000).Draw(t, "at"))
			down[rapid.IntRange(0, 1).Draw(t, "which")] = []market.Span{{From: from, To: from + market.Time(rapid.IntRange(300, 90_000).Draw(t, "for"))}}
		}
		p := newTape(rapid.Uint64().Draw(t, "market"), market.SourceAggTrade, rapid.IntRange(3, 4).Draw(t, "symbols"), 5, down)
		p.rest, p.lies = true, rapid.SampledFrom([]int{0, 0, 3}).Draw(t, "lies")
		news := rapid.IntRange(1, 2).Draw(t, "new")
		p.list(t, news)
		p.cut(rapid.Uint64().Draw(t, "cut"), rapid.SampledFrom([]float64{0, 0.05, 0.4}).Draw(t, "drop"), rapid.Bool().Draw(t, "complementary"), rapid.Bool().Draw(t, "disorder"))
		intervals := rapid.SampledFrom(intervalSets).Draw(t, "intervals")
		y := newPlayer(t, p, intervals)
		old := len(p.trades) - news
		at := tapeBegin + 9*market.Second
		for id := old; id < len(p.trades); id++ {
			at = max(at, p.trades[id][0].Time+market.Time(rapid.IntRange(-60_000, 60_000).Draw(t, "added after its first trade")))
			at = min(at, tapeBegin+4*market.Minute) // REST brings 40 trades at once
			y.add(t, market.SymbolID(id), at)
		}
		ended, end := market.SymbolID(old-1), tapeBegin+2*market.Minute+market.Time(rapid.IntRange(0, 90_000).Draw(t, "ended"))
		y.changes = append(y.changes, event{end, func() { y.f.End(ended) }})
		y.play(rapid.Uint64().Draw(t, "reads"), rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "officials"))
		for id := range market.SymbolID(len(p.trades)) {
			switch {
			case int(id) >= old:
				checkListed(t, y, id, intervals)
			case id == ended:
				checkOver(t, y, id, market.OneMinute.Open(end)+market.Minute)
			default:
				checkSymbol(t, y, id, intervals, 0)
			}
		}
	})
}

// checkListed checks the klines of a symbol that was new: all of them, from its first trade on.
func checkListed(t *rapid.T, y *player, id market.SymbolID, intervals []market.Interval) {
	first, end := y.trades[id][0].Time, tapeBegin+market.Time(y.minutes)*market.Minute
	for _, iv := range intervals {
		series := market.Series{Symbol: id, Interval: iv}
		for open := iv.Open(first); iv.Next(open) <= end; open = iv.Next(open) {
			got, ok := y.handedOn(series, open)
			if want := y.truth(id, open, iv.Next(open)); !ok || got.Gap || !market.SameValues(&got, &want) {
				t.Fatalf("%v %s, first traded %s: %t, %s\nwant %s (%s)", series, open, first, ok, klineText(&got), klineText(&want), y.l.reason(engine.Slot(id), y.symbol(id)))
			}
		}
		if _, ok := y.handedOn(series, iv.Open(first)-market.Time(iv)); ok {
			t.Fatalf("%v has a kline before its first", series)
		}
	}
	if state := y.f.Standing(id); state != Whole {
		t.Fatalf("symbol %d is %s: %s", id, state, y.l.reason(engine.Slot(id), y.symbol(id)))
	}
}

// checkOver checks the klines of a symbol that has ended: none opens at or after its end, and those without the mark are the truth,
// where the connections brought all: that its last trades are missing nothing tells.
func checkOver(t *rapid.T, y *player, id market.SymbolID, end market.Time) {
	n, lost := 0, slices.Contains(y.lost[id], true)
	for key, k := range y.last {
		if key.Symbol != id {
			continue
		}
		n++
		want := y.truth(id, k.OpenTime, min(end, key.Interval.Next(k.OpenTime)))
		if k.OpenTime >= end || !lost && !k.Gap && !market.SameValues(&k, &want) {
			t.Fatalf("%v %s, ended %s: %s\nwant %s", key.Series, k.OpenTime, end, klineText(&k), klineText(&want))
		}
	}
	last := market.Series{Symbol: id, Interval: market.OneMinute}
	if _, ok := y.handedOn(last, end-market.Minute); n == 0 || !ok && y.l.from < end {
		t.Fatalf("%d klines, and not that of its last minute", n)
	}
}

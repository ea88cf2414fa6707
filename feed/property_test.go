package feed

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"klined/engine"
	"klined/market"
)

// intervalSets are what random markets are built into: minutes as the base, or seconds.
var intervalSets = [][]market.Interval{
	{market.OneMinute, 3 * market.OneMinute, 5 * market.OneMinute},
	{5000, 15_000, market.OneMinute, 5 * market.OneMinute},
}

// drawTape draws a market, when its connections are away, and what they drop.
func drawTape(t *rapid.T) (p *tape, complementary bool) {
	source := rapid.SampledFrom([]market.Source{market.SourceAggTrade, market.SourceTrade}).Draw(t, "source")
	var down [2][]market.Span
	for c := range 2 {
		for range rapid.IntRange(0, 2).Draw(t, fmt.Sprintf("losses of connection %d", c)) {
			from := tapeBegin + 10*market.Second + market.Time(rapid.IntRange(0, 250_000).Draw(t, "at"))
			down[c] = append(down[c], market.Span{From: from, To: from + market.Time(rapid.IntRange(300, 90_000).Draw(t, "for"))})
		}
		down[c] = disjoint(down[c])
	}
	p = newTape(rapid.Uint64().Draw(t, "market"), source, rapid.IntRange(1, 4).Draw(t, "symbols"), 6, down)
	// With --source trade only the other connection can tell a dropped trade from a burnt id.
	complementary = source == market.SourceTrade || rapid.Bool().Draw(t, "complementary")
	drop := rapid.SampledFrom([]float64{0, 0.001, 0.05, 0.4}).Draw(t, "drop")
	p.lies = rapid.SampledFrom([]int{0, 0, 3, 20}).Draw(t, "lies")
	p.rest = source == market.SourceAggTrade && rapid.Bool().Draw(t, "rest")
	p.cut(rapid.Uint64().Draw(t, "cut"), drop, complementary, rapid.Bool().Draw(t, "disorder"))
	return p, complementary
}

// disjoint keeps the spans that do not overlap one before.
func disjoint(spans []market.Span) (kept []market.Span) {
	slices.SortFunc(spans, func(a, b market.Span) int { return int(a.From - b.From) })
	for _, s := range spans {
		if n := len(kept); n == 0 || s.From > kept[n-1].To {
			kept = append(kept, s)
		}
	}
	return kept
}

// TestRandomMarkets: whatever two connections drop, repeat, reorder, lose and invent, every kline without the mark is the
// truth, so that each that lacks a trade carries it; and where nothing is missing, or REST has brought it, nothing is
// marked.
func TestRandomMarkets(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	rapid.Check(t, func(t *rapid.T) {
		p, _ := drawTape(t)
		intervals := rapid.SampledFrom(intervalSets).Draw(t, "intervals")
		y := newPlayer(t, p, intervals)
		officials := rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "officials")
		y.play(rapid.Uint64().Draw(t, "reads"), officials)
		for s := range p.trades {
			checkSymbol(t, y, market.SymbolID(s), intervals, officials)
			checkRelayed(t, y, market.SymbolID(s))
		}
	})
}

func checkSymbol(t *rapid.T, y *player, id market.SymbolID, intervals []market.Interval, officials float64) {
	missing := slices.Contains(y.lost[id], true) && !y.rest || unknowable(y, id)
	for _, iv := range intervals {
		first := max(tapeBegin, y.l.from)
		if iv > market.OneMinute {
			first = tapeBegin
		}
		end := tapeBegin + market.Time(y.minutes)*market.Minute
		for open := first; iv.Next(open) <= end; open = iv.Next(open) {
			series := market.Series{Symbol: id, Interval: iv}
			got, ok := y.handedOn(series, open)
			want := y.truth(id, open, iv.Next(open))
			switch {
			case !ok:
				t.Fatalf("%v %s has not come", series, open)
			case !got.Gap && (!market.SameValues(&got, &want) || got.FirstID != want.FirstID || got.LastID != want.LastID):
				t.Fatalf("%v %s: %s\nwant %s", series, open, klineText(&got), klineText(&want))
			case got.Gap && (got.State == market.StateSettled || !missing):
				t.Fatalf("%v %s: %s, but nothing is missing: %s, %+v", series, open, klineText(&got), y.l.reason(engine.Slot(id), y.symbol(id)), y.symbol(id).gaps)
			case got.Gap && officials == 1 && iv >= market.OneMinute:
				t.Fatalf("%v %s: %s, but its minutes are official", series, open, klineText(&got))
			}
		}
	}
	if state := y.f.Standing(id); state != Whole && (!missing || officials == 1) {
		t.Fatalf("symbol %d is %s", id, state)
	}
	if n := len(y.symbol(id).held); n != 0 {
		t.Fatalf("symbol %d holds %d trades", id, n)
	}
}

// unknowable reports whether something may look missing that is not: after both connections were away nothing tells
// burnt ids from missed ones, nor what a symbol missed that had not traded before; nor after one of them was, for ids
// that the other has brought nothing before; nor, until the next trade, whether one was a lie that was dropped for
// its time.
func unknowable(y *player, id market.SymbolID) bool {
	one, both := len(y.down[0])+len(y.down[1]) > 0, len(y.down[0]) > 0 && len(y.down[1]) > 0
	young, burnt := y.trades[id][0].Time > tapeBegin+5000, y.source == market.SourceTrade
	quiet := len(y.trades[id]) < 60*y.minutes // ids burnt in a long silence look like missed ones
	lied, last := y.ahead[id], y.trades[id][len(y.trades[id])-1].Time
	return burnt && (both || quiet || young && one || lied != 0) || young && both || lied > last-market.Second
}

// TestSameTapeSameKlines: the same tape gives the same nine values of every kline, however it is cut.
func TestSameTapeSameKlines(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	rapid.Check(t, func(t *rapid.T) {
		p := newTape(rapid.Uint64().Draw(t, "market"), market.SourceAggTrade, 3, 4, [2][]market.Span{})
		var first map[market.Update]market.Kline
		for n := range 3 {
			p.cut(rapid.Uint64().Draw(t, "cut"), float64(n)*0.2, true, n > 0)
			y := newPlayer(t, p, intervalSets[n%2])
			y.play(rapid.Uint64().Draw(t, "reads"), 0)
			for key, k := range y.last {
				want, ok := first[key]
				if ok && !market.SameValues(&k, &want) {
					t.Fatalf("%v %s: %s\nfirst %s", key.Series, k.OpenTime, klineText(&k), klineText(&want))
				}
			}
			if n == 0 {
				first = y.last
			}
		}
		if len(first) == 0 {
			t.Fatal("no klines")
		}
	})
}

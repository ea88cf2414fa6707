package store

import (
	"testing"

	"pgregory.net/rapid"

	"klined/market"
)

// TestSpansAgainstInstants compares spans with a plain array of instants.
func TestSpansAgainstInstants(t *testing.T) {
	const end = 40
	rapid.Check(t, func(t *rapid.T) {
		var ss spans
		var instants [end]bool
		draw := func() market.Span {
			from := rapid.IntRange(0, end-1).Draw(t, "from")
			return market.Span{From: market.Time(from), To: market.Time(rapid.IntRange(from, end).Draw(t, "to"))}
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			s, add := draw(), rapid.Bool().Draw(t, "add")
			if add {
				ss = ss.add(s)
			} else {
				ss = ss.remove(s)
			}
			for i := s.From; i < s.To; i++ {
				instants[i] = add
			}
		}
		window := draw()
		checkSpans(t, ss, func(i market.Time) bool { return instants[i] }, end)
		checkSpans(t, ss.within(window), func(i market.Time) bool {
			return instants[i] && i >= window.From && i < window.To
		}, end)
	})
}

// checkSpans holds that ss is in order, joined, and covers exactly the instants that in says.
func checkSpans(t *rapid.T, ss spans, in func(market.Time) bool, end market.Time) {
	covered := make(map[market.Time]bool)
	for i, s := range ss {
		if s.Empty() || i > 0 && ss[i-1].To >= s.From {
			t.Fatalf("not in order or not joined: %v", ss)
		}
		for j := s.From; j < s.To; j++ {
			covered[j] = true
		}
	}
	for i := market.Time(0); i < end; i++ {
		if covered[i] != in(i) {
			t.Fatalf("%v at %d: %v, want %v", ss, i, covered[i], in(i))
		}
	}
}

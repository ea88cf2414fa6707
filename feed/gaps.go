package feed

import (
	"cmp"
	"slices"
	"sync"

	"klined/market"
)

// GapState is how a gap stands.
type GapState string

// How a gap may stand.
const (
	GapOpen     GapState = "open"     // ids are missing
	GapHealed   GapState = "healed"   // every id came, or was never given
	GapOfficial GapState = "official" // its minutes are the exchange's own klines now
	GapLost     GapState = "lost"     // there were too many to wait for each: its minutes wait together with others; or its symbol has ended
)

// GapRecord is a gap as operators see it.
type GapRecord struct {
	Symbol  market.SymbolID
	First   int64 // first missing id
	Last    int64 // last missing id
	SeenAt  market.Time
	EndedAt market.Time // 0 while open
	State   GapState
}

// keptGaps is how many gaps are listed, and how many ended ones are remembered.
const keptGaps = 1000

// gapLog remembers gaps for operators: all open ones, which the symbols' bounds hold within theirs, and the youngest that
// ended.
type gapLog struct {
	mu     sync.Mutex
	open   map[*GapRecord]struct{}
	ended  []GapRecord // oldest first
	seen   int         // so far
	healed int
}

// add lists a new gap. The record belongs to the log: change it with end only.
func (l *gapLog) add(g GapRecord) *GapRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen++
	record := &g
	if l.open == nil {
		l.open = make(map[*GapRecord]struct{})
	}
	l.open[record] = struct{}{}
	return record
}

// end moves a gap to the ended ones.
func (l *gapLog) end(g *GapRecord, state GapState, at market.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, open := l.open[g]; !open {
		return
	}
	delete(l.open, g)
	g.State, g.EndedAt = state, at
	if state == GapHealed {
		l.healed++
	}
	l.ended = append(l.ended, *g)
	if len(l.ended) > 2*keptGaps {
		l.ended = slices.Clone(l.ended[len(l.ended)-keptGaps:])
	}
}

// giveUp ends all of a symbol's gaps that are open.
func (l *gapLog) giveUp(id market.SymbolID, at market.Time) {
	l.mu.Lock()
	var open []*GapRecord
	for g := range l.open {
		if g.Symbol == id {
			open = append(open, g)
		}
	}
	l.mu.Unlock()
	for _, g := range open {
		l.end(g, GapLost, at)
	}
}

// withdraw forgets a gap that there never was.
func (l *gapLog) withdraw(g *GapRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, g)
	l.seen--
}

// counts is how many gaps were seen so far, how many of them are open, and how many were healed by trades.
func (l *gapLog) counts() (seen, open, healed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen, len(l.open), l.healed
}

// list copies the remembered gaps, youngest first, the open ones before the others.
func (l *gapLog) list() []GapRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]GapRecord, 0, len(l.open)+len(l.ended))
	for g := range l.open {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b GapRecord) int {
		return cmp.Or(cmp.Compare(b.SeenAt, a.SeenAt), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(b.First, a.First))
	})
	for i := len(l.ended) - 1; i >= 0; i-- {
		all = append(all, l.ended[i])
	}
	return all[:min(len(all), keptGaps)]
}

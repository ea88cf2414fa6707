package feed

import (
	"slices"
	"sync"

	"klined/market"
)

// GapState is how a gap stands.
type GapState string

// How a gap may stand.
const (
	GapOpen     GapState = "open"     // ids are missing
	GapHealed   GapState = "healed"   // every id came
	GapOfficial GapState = "official" // its minutes are the exchange's own klines now
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

// keptGaps is how many ended gaps are remembered.
const keptGaps = 1000

// gapLog remembers gaps for operators: all open ones and the youngest that ended.
type gapLog struct {
	mu     sync.Mutex
	open   []*GapRecord
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
	l.open = append(l.open, record)
	return record
}

// end moves a gap to the ended ones.
func (l *gapLog) end(g *GapRecord, state GapState, at market.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.open, g)
	if i < 0 {
		return
	}
	l.open = slices.Delete(l.open, i, i+1)
	g.State, g.EndedAt = state, at
	if state == GapHealed {
		l.healed++
	}
	l.ended = append(l.ended, *g)
	if len(l.ended) > 2*keptGaps {
		l.ended = slices.Clone(l.ended[len(l.ended)-keptGaps:])
	}
}

// counts is how many gaps were seen so far, how many of them are open, and how many were healed by trades.
func (l *gapLog) counts() (seen, open, healed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen, len(l.open), l.healed
}

// list copies the remembered gaps, youngest first.
func (l *gapLog) list() []GapRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.ended)
	for _, g := range l.open {
		all = append(all, *g)
	}
	slices.Reverse(all)
	return all[:min(len(all), keptGaps)]
}

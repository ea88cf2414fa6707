package feed

import (
	"fmt"
	"time"
)

// A lane is silent when none of its connections has brought a trade for quietLeast and quietTrades should have come
// meanwhile: sooner than connections are ended for their silence, for clients are to learn of it first.
const (
	quietLeast  = 5 * time.Second
	quietTrades = 50
)

// Readiness says whether clients can rely on the feed now.
type Readiness struct {
	OK        bool
	Symbols   map[State]int
	Uncarried []int    // lanes that no connection carries
	Silent    []int    // lanes that are carried and bring nothing, though their market trades
	Reasons   []string // why it is not OK
}

// Ready reports whether every lane with symbols that live has a connection that brings what is traded, and at least 99 % of
// the symbols are whole.
func (f *Feed) Ready() Readiness {
	r, now := Readiness{Symbols: noSymbols()}, time.Now()
	for _, l := range f.lanes {
		l.mu.Lock()
		if l.living > 0 {
			if l.carriers() == 0 {
				r.Uncarried = append(r.Uncarried, l.n)
				r.Reasons = append(r.Reasons, fmt.Sprintf("lane %d: no connection carries it", l.n))
			} else if quiet := l.quiet(now); quiet > 0 {
				r.Silent = append(r.Silent, l.n)
				r.Reasons = append(r.Reasons, fmt.Sprintf("lane %d: no trade for %s, though some %.0f a second are usual",
					l.n, quiet.Round(time.Second), max(l.rate.perSecond, 1)))
			}
		}
		for i := range l.symbols {
			r.Symbols[l.symbols[i].state]++
		}
		l.mu.Unlock()
	}
	if all := r.Symbols[Waiting] + r.Symbols[Whole] + r.Symbols[Behind]; r.Symbols[Whole]*100 < all*99 {
		r.Reasons = append(r.Reasons, fmt.Sprintf("%d of %d symbols are whole", r.Symbols[Whole], all))
	}
	r.OK = len(r.Reasons) == 0
	return r
}

// quiet is for how long none of the lane's connections has brought a trade, where it should have; else 0. Where the venue's
// own summary comes, and shows that nothing is traded, nothing should.
func (l *lane) quiet(now time.Time) time.Duration {
	var heard time.Time
	for _, c := range l.conns {
		if c.carries && c.last.at.After(heard) {
			heard = c.last.at
		}
	}
	quiet := now.Sub(heard)
	switch {
	case quiet < quietLeast || l.rate.perSecond*quiet.Seconds() < quietTrades:
		return 0
	case !l.f.unwitnessed(now) && !l.trades(heard.Add(tickerLag)):
		return 0
	}
	return quiet
}

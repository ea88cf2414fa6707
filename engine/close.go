package engine

import "klined/market"

// Tick closes, for every symbol, the klines that end at or before t. All of them are listed for the next Drain: what
// comes late by hours ticks in steps, and drains between them.
func (e *Engine) Tick(t market.Time) {
	for slot := range e.symbols {
		e.TickOne(Slot(slot), t)
	}
}

// TickOne is Tick for one symbol.
func (e *Engine) TickOne(slot Slot, t market.Time) {
	s := &e.symbols[slot]
	if t = min(t, s.over); s.next <= t && s.from != never {
		e.advance(slot, s, t)
	}
}

// Boundary is the end of the symbol's running base kline; false before Begin.
func (e *Engine) Boundary(slot Slot) (market.Time, bool) {
	s := &e.symbols[slot]
	return s.next, s.from != never
}

// maxJump bounds how many base klines one call closes: 45 days of minutes, 18 hours of seconds.
const maxJump = 1 << 16

// advance closes the base klines that end at or before t, one by one, each with all that ends with it. What lies
// within a jump beyond maxJump stays absent.
func (e *Engine) advance(slot Slot, s *symbol, t market.Time) {
	for s.next <= t {
		e.closeBase(s)
		open := s.next
		if t-open >= maxJump*market.Time(e.Base()) {
			open = e.Base().Open(t)
		}
		e.openBase(s, open)
	}
	e.touch(slot, s)
}

// closeBase closes the running base kline, unless an official one has. Without trades and without a price to carry it
// stays absent.
func (e *Engine) closeBase(s *symbol) {
	k := s.running
	if k.State == market.StateAbsent || k.complete() {
		return
	}
	k.State, k.upTo = market.StateClosed, k.end
	e.closed(s, 0, k)
	e.rise(s, 0, k)
}

// openBase makes the base kline at open the running one.
func (e *Engine) openBase(s *symbol, open market.Time) {
	s.open, s.next = open, open+market.Time(e.Base())
	k := e.at(s, 0, open)
	s.running = k
	*k = blank(open, open, s.next)
	if price, ok := e.carried(s, 0, open); ok {
		k.Kline = market.EmptyKline(open, price)
	}
	k.Gap = s.lacks(market.Span{From: open, To: s.next})
}

// lacks reports whether trades within the span are known to be missing.
func (s *symbol) lacks(span market.Span) bool {
	for _, gap := range s.gaps {
		if gap.Overlaps(span) {
			return true
		}
	}
	return false
}

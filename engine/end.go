package engine

import "klined/market"

// End says that the venue has ended the symbol: no kline opens at or after until, a full minute. What opens before closes at its
// own end, when the clock has come there; what the clock brings meanwhile changes nothing of it.
func (e *Engine) End(slot Slot, until market.Time) {
	s := &e.symbols[slot]
	s.until, s.over = until, until
	for r := range e.rungs {
		iv := e.rungs[r].interval
		s.over = max(s.over, iv.Next(iv.Open(until-1)))
	}
	e.touch(slot, s)
}

// Reopen lets a symbol that has ended take trades again, from Begin on. Its klines stay, with the marks that they carry.
func (e *Engine) Reopen(slot Slot) {
	s := &e.symbols[slot]
	s.from, s.until, s.over = never, never, never
	s.gaps = s.gaps[:0]
}

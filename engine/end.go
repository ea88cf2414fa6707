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

// Reopen lets a symbol that has ended take trades again, from Begin on. Its klines stay, with the marks that they carry, as far as
// they are known: what the clock has closed since the end says nothing of what was traded meanwhile, and is absent until Load or
// Replace brings it. What contains the end, and has left as closed, leaves once more, marked.
func (e *Engine) Reopen(slot Slot) {
	s := &e.symbols[slot]
	for r := range e.rungs {
		e.forget(s, r, s.until)
	}
	s.open, s.next, s.running = 0, 0, nil
	s.from, s.until, s.over = never, never, never
	s.gaps = s.gaps[:0]
}

// forget drops the klines of rung r that reach beyond t, a full minute, but for settled ones. The rungs below have been told.
func (e *Engine) forget(s *symbol, r int, t market.Time) {
	ru := &e.rungs[r]
	for i := ru.offset; i < ru.offset+ru.size; i++ {
		k := &s.entries[i]
		switch complete := k.complete(); {
		case k.end <= t || complete && k.State == market.StateSettled:
		case r == 0:
			*k = entry{} // as if it had never opened: no price is carried into it
		default:
			if complete && k.OpenTime < t && !k.Gap { // it has left, without what was traded after the end
				k.Gap = true
				e.revised(s, r, k)
			}
			revision := k.Revision
			*k = blank(k.OpenTime, e.start(s, r, k.OpenTime), k.end)
			e.fill(s, r, k) // what lies before t, and what is settled
			if complete {
				k.Revision = revision + 1
			}
		}
	}
}

package engine

import "klined/market"

// Applied says what became of a trade.
type Applied uint8

// What may become of a trade.
const (
	InTime  Applied = iota // it entered the running kline, or opened it
	Late                   // it revised a closed kline
	Settled                // its minute is the exchange's already: it changed nothing
	TooLate                // its kline is out of reach: it changed nothing here
	Before                 // it lies before what Begin promised: it changed nothing
)

// Apply takes the symbol's next trade. A trade of a later interval closes what came before it.
func (e *Engine) Apply(slot Slot, t *market.Trade) Applied {
	s := &e.symbols[slot]
	if t.Time < s.next && t.Time >= s.open && s.running.State == market.StateOpen {
		s.running.Add(t)
		e.touch(slot, s)
		return InTime
	}
	return e.applyAcross(slot, s, t)
}

// applyAcross takes a trade that lies outside the running base kline, or that is the first of a symbol without a price.
func (e *Engine) applyAcross(slot Slot, s *symbol, t *market.Trade) Applied {
	if t.Time < s.from {
		return Before
	}
	if t.Time >= s.next {
		e.advance(slot, s, t.Time)
	}
	if t.Time >= s.open {
		if t.Qty != 0 {
			s.running.State = market.StateOpen
			e.exists(s, s.running)
		}
		s.running.Add(t)
		e.touch(slot, s)
		return InTime
	}
	open := e.Base().Open(t.Time)
	k := e.at(s, 0, open)
	switch {
	case open < e.reach(s, 0) || k.OpenTime != open:
		return TooLate
	case k.State == market.StateSettled:
		return Settled
	case t.Qty == 0:
		return InTime
	}
	e.late(slot, s, k, t)
	return Late
}

// late lets a trade revise the closed base kline k, and what is folded or carried from it.
func (e *Engine) late(slot Slot, s *symbol, k *entry, t *market.Trade) {
	wasAbsent := k.State == market.StateAbsent
	k.Add(t)
	k.State, k.upTo = market.StateClosed, k.end
	e.exists(s, k)
	if wasAbsent {
		e.closed(s, 0, k)
	} else {
		e.revised(s, 0, k)
	}
	e.rise(s, 0, k)
	e.recarry(s, 0, k.end, s.next)
	e.touch(slot, s)
}

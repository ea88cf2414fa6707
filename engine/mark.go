package engine

import (
	"klined/market"
)

// Mark says where trades of the symbol are known to be missing, all such spans at once: those left out since the last
// call are whole again. The kline of each instant of a span carries the mark: closed ones are revised, settled ones
// never carry it, and those that open later take it as they open. What lies before Begin keeps the mark it came with.
func (e *Engine) Mark(slot Slot, spans []market.Span) {
	s := &e.symbols[slot]
	s.gaps = append(s.gaps[:0], spans...)
	for _, on := range [...]bool{true, false} { // set before cleared: what is folded from both changes once
		e.remark(s, 0, on)
		if e.minute != 0 {
			e.remark(s, e.minute, on)
		}
	}
	e.touch(slot, s)
}

// remark sets, or clears, the mark of rung r's klines that may still change, oldest first. Above the base, those that
// are not complete take it from their parts.
func (e *Engine) remark(s *symbol, r int, on bool) {
	if s.from == never {
		return
	}
	iv := market.Time(e.rungs[r].interval)
	for open := max(e.reach(s, r), s.from); open < s.next; open += iv {
		k := e.at(s, r, open)
		if k.OpenTime != open || k.State == market.StateSettled || r > 0 && !k.complete() || k.Gap == on ||
			s.lacks(market.Span{From: e.start(s, r, open), To: k.end}) != on {
			continue
		}
		k.Gap = on
		if k.complete() {
			e.revised(s, r, k)
			e.rise(s, r, k)
		}
	}
}

package feed

import (
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// heldTrade waits for the ids below it.
type heldTrade struct {
	market.Trade
	since   time.Time // when the hole below it was first seen
	era     int       // lane.era when it was received
	payload []byte    // its own copy, where somebody wanted the symbol's trades then
}

// hole is the ids from the sequence's next to below its first held trade.
type hole struct {
	declared bool       // nobody has filled it in time: its klines carry the mark
	last     int64      // its last id, once it is declared
	record   *GapRecord // what operators see of it, once what is held above it is believed
}

// declare lets the klines of the ids below the first held trade carry the mark. Once it is believed that there are such
// ids, they are a gap.
func (l *lane) declare(slot engine.Slot, s *symbol) {
	if len(s.held) == 0 {
		return
	}
	if !s.hole.declared {
		s.hole = hole{declared: true, last: s.held[0].ID - 1}
		l.mark(slot, s)
		l.recall(slot, s)
		l.f.healer.signal()
	}
	if s.hole.record == nil && len(s.held) > 0 && l.believes(s) {
		s.hole.record = l.record(s, s.next, s.hole.last)
		l.mark(slot, s)
	}
}

// record counts a gap and puts it on record.
func (l *lane) record(s *symbol, first, last int64) *GapRecord {
	l.f.metrics.Gaps.Inc()
	l.f.metrics.GapTrades.Add(float64(last - first + 1))
	return l.f.gaps.add(GapRecord{Symbol: s.id, First: first, Last: last, SeenAt: l.f.clock.Now(), State: GapOpen})
}

// hold keeps a trade back until the ids below it have come. Beyond the bounds it is let through, or dropped where it is
// not believed.
func (l *lane) hold(slot engine.Slot, s *symbol, i int, h heldTrade) {
	if len(s.held) == 0 {
		l.holes = append(l.holes, slot)
	}
	if i < len(s.held) {
		h.since = s.held[i].since // the trade above has shown the hole already
	}
	s.held = slices.Insert(s.held, i, h)
	l.heldAll++
	if i == 0 && s.hole.record == nil {
		s.hole.last = h.ID - 1
	}
	if i == 0 && s.hole.declared {
		l.mark(slot, s)
	}
	if l.overfull(s) {
		l.through(slot, s, never)
	}
	if n := len(s.held); n > 0 && l.overfull(s) {
		last := s.held[n-1].ID
		l.disbelieve(slot, s, n-1, lieJump)
		l.distrust(slot, s, last, market.Span{From: s.lastTime, To: l.f.clock.Now()})
	}
}

// overfull reports whether more is held than may be.
func (l *lane) overfull(s *symbol) bool {
	return len(s.held) > holdTrades || l.heldAll > holdAll/len(l.f.lanes)
}

// unhold forgets the held trades [from, to).
func (l *lane) unhold(slot engine.Slot, s *symbol, from, to int) {
	if from == to {
		return
	}
	s.held = slices.Delete(s.held, from, to)
	l.heldAll -= to - from
	if len(s.held) == 0 {
		i := slices.Index(l.holes, slot)
		l.holes = slices.Delete(l.holes, i, i+1)
	}
}

// release passes on the held trades that follow s.next without a hole.
func (l *lane) release(slot engine.Slot, s *symbol) {
	n := 0
	for n < len(s.held) && s.held[n].ID <= s.next {
		if s.held[n].ID == s.next {
			l.pass(slot, s, &s.held[n].Trade, s.held[n].era, s.held[n].payload)
		}
		n++
	}
	if n > 0 {
		l.unhold(slot, s, 0, n)
	}
	if s.hole.declared {
		l.filled(slot, s)
	}
}

// filled looks whether the declared hole is behind us: its ids came, or were passed over.
func (l *lane) filled(slot engine.Slot, s *symbol) {
	if !s.hole.declared || s.next <= s.hole.last && len(s.held) > 0 {
		return
	}
	record := s.hole.record
	if s.hole = (hole{}); len(s.held) > 0 {
		s.hole = hole{declared: true, last: s.held[0].ID - 1} // the next one: there is no moment without the mark
	}
	l.end(s, record, GapHealed)
	l.mark(slot, s)
	l.recovered(s)
}

// through passes on the held trades whose time lies before the given one, over the ids that are missing below them, as
// far as they are believed. The symbol is behind from then on.
func (l *lane) through(slot engine.Slot, s *symbol, before market.Time) {
	for len(s.held) > 0 && s.held[0].Time < before && l.believes(s) {
		l.declare(slot, s)
		if len(s.held) == 0 {
			return
		}
		first := s.held[0].ID
		g := gap{first: s.next, last: first - 1, span: s.holeSpan(), record: s.hole.record, given: s.given(idSpan{s.next, first - 1})}
		s.gaps = append(s.gaps, g)
		l.f.metrics.UnhealedTrades.Add(float64(first - s.next))
		l.stand(s, Behind)
		s.next = first
		l.mark(slot, s)
		l.release(slot, s)
		if l.settledAll(slot, g.span) {
			l.endOfficial(slot, s) // its minutes were official before it was let through
		}
		l.boundGaps(slot, s)
	}
}

// holeSpan is where the trades that are missing below the first held one lie in time.
func (s *symbol) holeSpan() market.Span {
	return market.Span{From: s.lastTime, To: max(s.lastTime, s.held[0].Time) + 1}
}

// lackSpan is where a declared hole lets trades lack: those below the first held one, and those that are held. While it is
// not believed what the first held one says, that may be any time since.
func (l *lane) lackSpan(s *symbol) market.Span {
	if !l.believes(s) {
		return market.Span{From: s.lastTime, To: never}
	}
	return market.Span{From: s.lastTime, To: max(s.lastTime, s.held[len(s.held)-1].Time) + 1}
}

// poll looks after the holes: a hole that the other connection does not fill in time is declared, and what waits too
// long is let through.
func (l *lane) poll(now time.Time) {
	if len(l.holes) == 0 {
		return
	}
	for _, slot := range slices.Clone(l.holes) {
		s := &l.symbols[slot]
		switch age := now.Sub(s.held[0].since); {
		case age >= holdTime:
			l.declare(slot, s)
			l.letOld(slot, s, now)
			if s.hole.declared {
				l.stand(s, Behind)
			}
		case l.isLate(slot, s, now):
			l.declare(slot, s)
		}
	}
}

// letOld lets through what has waited for holdTime.
func (l *lane) letOld(slot engine.Slot, s *symbol, now time.Time) {
	for len(s.held) > 0 && now.Sub(s.held[0].since) >= holdTime {
		n := len(s.held)
		l.through(slot, s, s.held[0].Time+1)
		if len(s.held) == n {
			return // not believed
		}
	}
}

// isLate reports whether the hole below the first held trade is older than another connection may take to fill it.
func (l *lane) isLate(slot engine.Slot, s *symbol, now time.Time) bool {
	return now.Sub(s.held[0].since) >= otherLate || l.carriersOf(slot) < 2
}

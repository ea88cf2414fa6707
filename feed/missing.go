package feed

import (
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// never is a time that does not come.
const never market.Time = 1<<63 - 1

// blindMargin is how long before the last frame of a lost connection trades may have happened that it did not bring:
// more than the venue's batching and the way here take.
const blindMargin = market.Second

// declare makes a gap of the ids below the first held trade.
func (l *lane) declare(slot engine.Slot, s *symbol) {
	if s.hole != nil || len(s.held) == 0 {
		return
	}
	g := GapRecord{Symbol: s.id, First: s.next, Last: s.held[0].ID - 1, SeenAt: l.f.clock.Now(), State: GapOpen}
	s.hole = l.f.gaps.add(g)
	l.f.metrics.Gaps.Inc()
	l.f.metrics.GapTrades.Add(float64(g.Last - g.First + 1))
	l.mark(slot, s)
	l.recall(slot, s)
}

// through passes on the held trades whose time lies before the given one, over the ids that are missing below them.
// The symbol is behind from then on.
func (l *lane) through(slot engine.Slot, s *symbol, before market.Time) {
	for len(s.held) > 0 && s.held[0].Time < before {
		l.declare(slot, s)
		first := s.held[0].ID
		s.gaps = append(s.gaps, gap{first: s.next, last: first - 1, span: s.holeSpan(), record: s.hole})
		l.f.metrics.UnhealedTrades.Add(float64(first - s.next))
		l.stand(s, Behind)
		s.next = first
		l.mark(slot, s)
		l.release(slot, s)
		if added := len(s.gaps) - 1; added >= 0 && l.settledAll(slot, s.gaps[added].span) {
			l.endOfficial(slot, s) // its minutes were official before it was let through
		}
	}
}

// holeSpan is where the trades that are missing below the first held one lie in time.
func (s *symbol) holeSpan() market.Span {
	return market.Span{From: s.lastTime, To: max(s.lastTime, s.held[0].Time) + 1}
}

// filled looks whether the declared hole is behind us: its ids came, or were passed over.
func (l *lane) filled(slot engine.Slot, s *symbol) {
	if s.hole == nil || s.next <= s.hole.Last {
		return
	}
	hole := s.hole
	s.hole = nil
	l.end(s, hole, GapHealed)
	l.mark(slot, s)
	l.recovered(s)
}

// late applies a trade whose id was passed over; i is its gap.
func (l *lane) late(slot engine.Slot, s *symbol, i int, t *market.Trade) {
	g, cause := s.gaps[i], causeLate
	if g.record != nil {
		cause = causeHeal
	}
	l.count(causeLate)
	s.reach(t)
	applied := l.apply(slot, t)
	l.count(cause)
	if applied == engine.TooLate {
		return // it entered nothing: what it belongs to stays marked
	}
	if g.record != nil {
		l.f.metrics.HealedTrades.Inc()
	}
	if whole := s.fill(i, t.ID); whole && (g.record != nil || g.official) {
		l.end(s, g.record, GapHealed)
		l.mark(slot, s)
		l.recovered(s)
	}
}

// earlier applies a trade that comes after its followers although no trade of the symbol had come before them: it was
// overtaken on its way. What lies between it and them is missing.
func (l *lane) earlier(slot engine.Slot, s *symbol, t *market.Trade) {
	if l.from == 0 || t.Time < l.from {
		l.tally.duplicates++ // its minute is not ours
		return
	}
	if between := (gap{first: t.ID + 1, last: s.first - 1}); between.first <= between.last {
		between.span = market.Span{From: t.Time, To: max(t.Time, s.lastTime) + 1}
		if l.f.source != market.SourceTrade { // there it may be burnt ids
			between.record = l.f.gaps.add(GapRecord{Symbol: s.id, First: between.first, Last: between.last,
				SeenAt: l.f.clock.Now(), State: GapOpen})
			l.f.metrics.Gaps.Inc()
			l.f.metrics.GapTrades.Add(float64(between.last - between.first + 1))
			l.stand(s, Behind)
		}
		s.gaps = slices.Insert(s.gaps, 0, between)
		l.mark(slot, s)
	}
	s.first = t.ID
	s.reach(t)
	l.apply(slot, t)
}

// end closes a gap's record once none of its ids is missing or waited for any more.
func (l *lane) end(s *symbol, record *GapRecord, state GapState) {
	if record != nil && record != s.hole && !s.misses(record) {
		l.f.gaps.end(record, state, l.f.clock.Now())
	}
}

// mark tells the engine where trades of the symbol are missing now.
func (l *lane) mark(slot engine.Slot, s *symbol) {
	var spans []market.Span
	for _, g := range s.gaps {
		if g.record != nil || g.official {
			spans = append(spans, g.span)
		}
	}
	s.gappy = len(spans) > 0
	if s.hole != nil && len(s.held) > 0 {
		spans = append(spans, s.holeSpan())
	}
	if s.blind != 0 {
		spans = append(spans, market.Span{From: s.blind, To: never})
	}
	l.count(causeLate)
	l.engine.Mark(slot, l.joined(spans))
	l.count(causeHeal)
}

// joined widens spans to whole base klines, which is what carries the mark, and joins those that meet: many holes in one
// kline are one span.
func (l *lane) joined(spans []market.Span) []market.Span {
	base := l.engine.Base()
	n := 0
	for _, s := range spans {
		s.From = base.Open(s.From)
		if s.To != never {
			s.To = base.Ceil(s.To)
		}
		if n > 0 && s.From <= spans[n-1].To && s.From >= spans[n-1].From {
			spans[n-1].To = max(spans[n-1].To, s.To)
			continue
		}
		spans[n] = s
		n++
	}
	return spans[:n]
}

// recovered looks whether a symbol that was behind misses nothing any more.
func (l *lane) recovered(s *symbol) {
	open := func(g gap) bool { return g.record != nil }
	if s.state == Behind && s.hole == nil && s.blind == 0 && !slices.ContainsFunc(s.gaps, open) {
		l.stand(s, Whole)
	}
}

// poll looks after the holes: a hole that the other connection does not fill in time is a gap, and what waits too long
// is let through.
func (l *lane) poll(now time.Time) {
	if len(l.holes) == 0 {
		return
	}
	for _, slot := range slices.Clone(l.holes) {
		s := &l.symbols[slot]
		switch age := now.Sub(s.held[0].since); {
		case age >= holdTime:
			l.through(slot, s, s.held[0].Time+1)
		case age >= otherLate || l.carriersOf(slot) < 2:
			l.declare(slot, s)
		}
	}
}

// carriers is the number of connections that carry the lane's symbols.
func (l *lane) carriers() int {
	n := 0
	for _, k := range l.links {
		if k.carries {
			n++
		}
	}
	return n
}

// carriersOf is the number of connections that bring the symbol's trades: a connection may do so before all of its
// streams are acknowledged.
func (l *lane) carriersOf(slot engine.Slot) int {
	n := 0
	for _, k := range l.links {
		if k.carries || k.began[slot] != 0 {
			n++
		}
	}
	return n
}

// lost takes note that a trade connection has ended. When none is left that carries the lane, what closes from its last
// frame on carries the mark, until each symbol's next id tells whether a trade was missed.
func (l *lane) lost(from *link, lastFrame time.Time) {
	defer l.unlock(l.lock())
	from.carries = false
	clear(from.began)
	if l.carriers() > 0 || l.from == 0 {
		return
	}
	l.era++
	since := l.f.clock.Now().Add(-time.Since(lastFrame)) - blindMargin
	if from.last.lag > l.f.grace {
		since = min(since, from.last.newest) // it lagged: what is younger has not come
	}
	for slot := range l.symbols {
		if s := &l.symbols[slot]; s.blind == 0 {
			s.blind = since
			l.mark(engine.Slot(slot), s)
		}
	}
	l.signal()
}

// sighted ends a symbol's blind time with its next trade in order, received since: nothing was missed. Where no trade
// had ever come before, that cannot be known, and the time stays marked until its minutes are official, unless it is
// the very first of the symbol.
func (l *lane) sighted(slot engine.Slot, s *symbol, t *market.Trade) {
	since := s.blind
	s.blind = 0
	if s.next == 0 && t.ID > 1 {
		record := l.f.gaps.add(GapRecord{Symbol: s.id, First: t.ID - 1, Last: t.ID - 1, SeenAt: l.f.clock.Now(), State: GapOpen})
		l.f.metrics.Gaps.Inc()
		s.gaps = append(s.gaps, gap{first: 1, last: t.ID - 1, span: market.Span{From: since, To: max(since, t.Time) + 1}, record: record})
		l.stand(s, Behind)
	}
	l.mark(slot, s)
	l.recovered(s)
}

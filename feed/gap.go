package feed

import (
	"slices"

	"klined/engine"
	"klined/market"
)

// never is a time that does not come.
const never market.Time = 1<<63 - 1

// How many gaps and debts a symbol has at once; the oldest gaps become debts beyond it, and the oldest debts one.
const (
	gapsKept  = 512
	debtsKept = 64
)

// gap is a run of ids [first, last] that were passed over and have not come.
type gap struct {
	first, last int64
	span        market.Span // where their trades' times lie
	record      *GapRecord  // what operators see of it; nil for burnt ids
	official    bool        // its minutes are the exchange's; what is shorter than a minute keeps the mark
	given       bool        // some of its ids were given, as it seems: no run proves that they are burnt
}

// debt is a time in which trades are missing whose ids are not known, or not waited for any more. It ends when all of
// its minutes are official.
type debt struct {
	span     market.Span
	record   *GapRecord // nil where none was ever on record
	official bool       // as gap.official
}

// open reports whether trades are missing in it that its minutes lack.
func (g *gap) open() bool { return g.record != nil }

// burnt reports whether its ids were never given, as far as is known.
func (g *gap) burnt() bool { return g.record == nil && !g.official }

// late applies a trade whose id was passed over; i is its gap.
func (l *lane) late(slot engine.Slot, s *symbol, i int, t *market.Trade) {
	g, cause := s.gaps[i], l.cause
	if g.span.From > t.Time+inversion || g.span.To+inversion <= t.Time {
		l.lie(lieBackwards) // its neighbours have other times
		return
	}
	if g.open() {
		cause = causeHeal
	}
	l.count(l.cause)
	s.count(t)
	s.widen(t)
	applied := l.apply(slot, s, t)
	l.count(cause)
	if applied == engine.TooLate {
		if g.open() || g.official {
			l.giveUp(slot, s, i) // the engine has no place for what would heal it
		}
		return
	}
	if g.open() {
		l.f.metrics.HealedTrades.Inc()
	}
	if whole := s.fill(i, t.ID, t.ID); whole && !g.burnt() {
		l.end(s, g.record, GapHealed)
		l.mark(slot, s)
		l.recovered(s)
	}
}

// fill takes the ids [first, last], which lie within gap i, out of it, and reports whether nothing of the gap is left.
func (q *sequence) fill(i int, first, last int64) (whole bool) {
	g := &q.gaps[i]
	below, above := *g, *g
	below.last, above.first = first-1, last+1
	rest := make([]gap, 0, 2)
	for _, part := range [...]gap{below, above} {
		if part.first <= part.last {
			rest = append(rest, part)
		}
	}
	q.gaps = slices.Replace(q.gaps, i, i+1, rest...)
	return len(rest) == 0
}

// giveUp makes a debt of gap i: its ids are not waited for any more.
func (l *lane) giveUp(slot engine.Slot, s *symbol, i int) {
	g := s.gaps[i]
	s.gaps = slices.Delete(s.gaps, i, i+1)
	if g.record != nil && s.misses(g.record) {
		g.record = nil // other parts of it are still waited for
	}
	l.owe(slot, s, debt{g.span, g.record, g.official})
}

// owe adds a debt. Where there are too many, the oldest two become one: more minutes are then asked for, none fewer.
func (l *lane) owe(slot engine.Slot, s *symbol, d debt) {
	if !d.official {
		l.stand(s, Behind)
	}
	s.debts = append(s.debts, d)
	slices.SortStableFunc(s.debts, func(a, b debt) int { return int(max(-1, min(1, a.span.From-b.span.From))) })
	if len(s.debts) > debtsKept {
		a, b := s.debts[0], s.debts[1]
		l.end(s, a.record, GapLost)
		b.span = market.Span{From: a.span.From, To: max(a.span.To, b.span.To)}
		b.official = a.official && b.official
		s.debts = slices.Replace(s.debts, 0, 2, b)
	}
	l.mark(slot, s)
}

// tooLate owes the minute of a trade in order for which the engine has no place any more.
func (l *lane) tooLate(slot engine.Slot, s *symbol, t *market.Trade) {
	span := market.Span{From: t.Time, To: t.Time + 1}
	owed := func(d debt) bool {
		return !d.official && market.OneMinute.Open(d.span.From) == market.OneMinute.Open(t.Time)
	}
	if !l.settledAll(slot, span) && !slices.ContainsFunc(s.debts, owed) {
		l.owe(slot, s, debt{span: span})
	}
}

// boundGaps holds the bounds of a symbol's gaps: burnt ids are forgotten, those that are missing become debts.
func (l *lane) boundGaps(slot engine.Slot, s *symbol) {
	missing, burnt := 0, 0
	for i := range s.gaps {
		if s.gaps[i].burnt() {
			burnt++
		} else {
			missing++
		}
	}
	for missing > gapsKept {
		missing--
		l.giveUp(slot, s, slices.IndexFunc(s.gaps, func(g gap) bool { return !g.burnt() }))
	}
	if burnt > burntKept {
		i := slices.IndexFunc(s.gaps, func(g gap) bool { return g.burnt() })
		s.gaps = slices.Delete(s.gaps, i, i+1)
	}
}

// misses reports whether ids of the record have not come.
func (q *sequence) misses(record *GapRecord) bool {
	return slices.ContainsFunc(q.gaps, func(g gap) bool { return g.record == record })
}

// end closes a gap's record once none of its ids is missing or waited for any more.
func (l *lane) end(s *symbol, record *GapRecord, state GapState) {
	if record == nil || record == s.hole.record || s.misses(record) ||
		slices.ContainsFunc(s.debts, func(d debt) bool { return d.record == record && state != GapLost }) {
		return
	}
	l.f.gaps.end(record, state, l.f.clock.Now())
}

// earlier applies a trade that comes after its followers although no trade of the symbol had come before them: it was
// overtaken on its way. What lies between it and them is missing.
func (l *lane) earlier(slot engine.Slot, s *symbol, t *market.Trade) {
	if s.from == 0 || t.Time < s.from {
		l.counts.duplicates++ // its minute is not ours
		return
	}
	if between := (gap{first: t.ID + 1, last: s.first - 1}); between.first <= between.last {
		between.span = market.Span{From: t.Time, To: max(t.Time, s.lastTime) + 1}
		if l.f.source != market.SourceTrade { // there it may be burnt ids
			between.record = l.record(s, between.first, between.last)
			l.stand(s, Behind)
		}
		s.gaps = slices.Insert(s.gaps, 0, between)
		l.mark(slot, s)
		l.f.healer.signal()
	}
	s.first, s.firstTime = t.ID, t.Time
	s.count(t)
	s.widen(t)
	l.apply(slot, s, t)
}

// mark tells the engine where trades of the symbol are missing now.
func (l *lane) mark(slot engine.Slot, s *symbol) {
	l.forgetOfficial(s)
	spans := l.spans[:0]
	for i := range s.debts {
		spans = append(spans, s.debts[i].span)
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; !g.burnt() {
			spans = append(spans, g.span)
		}
	}
	s.gappy = len(spans) > 0
	if s.hole.declared && len(s.held) > 0 {
		spans = append(spans, l.lackSpan(s))
	}
	if b := s.blind; b.open() {
		spans = append(spans, market.Span{From: b.from, To: never})
	} else if b.official {
		spans = append(spans, b.span())
	}
	if s.doubt.first.Time != 0 {
		spans = append(spans, market.Span{From: s.doubt.first.Time, To: never})
	}
	if l.lagging != 0 {
		spans = append(spans, market.Span{From: l.lagging, To: never})
	}
	l.spans = spans
	l.count(l.cause)
	l.engine.Mark(slot, l.joined(spans))
	l.count(causeHeal)
}

// forgetOfficial forgets what is official once the engine keeps nothing shorter than a minute of it.
func (l *lane) forgetOfficial(s *symbol) {
	old := func(official bool, span market.Span) bool {
		return official && (l.engine.Base() == market.OneMinute || span.To < l.upTo-10*market.Minute)
	}
	s.gaps = slices.DeleteFunc(s.gaps, func(g gap) bool { return old(g.official, g.span) })
	s.debts = slices.DeleteFunc(s.debts, func(d debt) bool { return old(d.official, d.span) })
	if b := &s.blind; old(b.official, b.span()) {
		*b = blind{}
	}
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
	if s.state == Behind && !s.hole.declared && !s.blind.open() &&
		!slices.ContainsFunc(s.gaps, func(g gap) bool { return g.open() }) &&
		!slices.ContainsFunc(s.debts, func(d debt) bool { return !d.official }) {
		l.stand(s, Whole)
	}
}

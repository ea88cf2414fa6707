package feed

import (
	"context"
	"time"

	"klined/engine"
	"klined/market"
)

// A well-formed trade can lie. Why one was dropped; each is one reason of klined_disbelieved_trades_total.
const (
	lieTime      = "time"      // its time has not come yet, or is long past
	lieJump      = "jump"      // its id is far ahead, and those below it go on
	lieBackwards = "backwards" // its id has passed, and its time has not
)

const (
	pastBound   = 10 * market.Second // by how much a trade in order may be older than the one before it
	aheadBound  = 5 * market.Second  // by how much a trade may be ahead of the clock
	clockBound  = 250                // ms; the clock is measured anew where trades are ahead of it by more
	restLag     = 5 * time.Second    // what REST may not know yet
	askAgain    = time.Minute        // between two questions for a symbol's latest id
	burntRun    = 64                 // with --source trade: ids that are burnt at once, at most
	burntWithin = 5 * time.Second    // between the trades before and behind them; more, where a symbol hardly trades
	burntGaps   = 20                 // mean gaps between its trades
	farJump     = 1000               // ids; a jump that is further is believed when farRun successors follow
	farRun      = 8
)

// doubt is what speaks against a sequence's ids.
type doubt struct {
	sure      int64        // ids up to it exist: REST has said so
	beneath   int          // trades in order that came beneath the first held one, and are younger
	backwards int          // trades whose ids have passed and whose times have not
	lowest    int64        // the lowest id of those
	askAfter  time.Time    // REST is not asked before
	given     idSpan       // not burnt: dropped for their times, or missed in a silence
	first     market.Trade // the symbol's very first, until something confirms it; its Time is 0 otherwise
}

// firstEver takes note of the first trade of a symbol that comes after its stream began: nothing tells whether its id, and
// with it all that follows, is true. What it enters, and what carries its price, is marked until its successor follows, the
// venue's summary or REST has the same, or its minute is official. Where the summary has shown an older one, that is missing.
func (l *lane) firstEver(slot engine.Slot, s *symbol, t *market.Trade) {
	if s.from == 0 || t.Time < s.from || s.fresh {
		return
	}
	s.doubt.first = *t
	l.mark(slot, s)
	if w := &s.seen; !w.at.IsZero() && w.traded < t.Time && !w.before(l.unbrokenOf(s)) {
		l.missed(slot, s)
	}
}

// trustFirst ends the doubt of a symbol's first trade.
func (l *lane) trustFirst(slot engine.Slot, s *symbol) {
	s.widen(&s.doubt.first)
	s.doubt.first = market.Trade{}
	l.mark(slot, s)
	l.recovered(s)
}

// lie counts a trade that is not believed.
func (l *lane) lie(reason string) { l.f.metrics.Disbelieved.WithLabelValues(reason).Inc() }

// believes reports whether it is believed that the ids below the first held trade exist: REST knows it, or trades above
// it have their successors there; the further the jump, the more of them. With --source trade short runs are burnt ids.
func (l *lane) believes(s *symbol) bool {
	jump := s.held[0].ID - s.next
	if s.held[0].ID <= s.doubt.sure {
		return true
	}
	near, needed := int64(1), 1
	if l.f.source == market.SourceTrade {
		near = burntRun
		if jump <= near {
			return true
		}
	}
	if jump > farJump {
		needed = farRun
	}
	run := 0
	for i := 1; i < len(s.held) && run < needed; i++ {
		if run++; s.held[i].ID-s.held[i-1].ID > near {
			run = 0
		}
	}
	return run == needed
}

// disbelieve drops held trade i.
func (l *lane) disbelieve(slot engine.Slot, s *symbol, i int, reason string) {
	l.lie(reason)
	id := s.held[i].ID
	l.unhold(slot, s, i, i+1)
	if id == s.relayFrom-1 {
		s.relayFrom = s.keptFrom()
	}
	s.doubt.beneath = 0
	switch {
	case len(s.held) == 0 && s.hole.record != nil && s.next <= s.hole.record.First:
		l.f.gaps.withdraw(s.hole.record) // nothing was ever missing
		s.hole.record = nil
	case len(s.held) > 0 && s.hole.record == nil:
		s.hole.last = s.held[0].ID - 1
	}
	if s.hole.declared {
		l.mark(slot, s)
	}
	l.filled(slot, s)
}

// underneath looks at what is held when a trade in order passes beneath it: what is older than two such was a lie.
func (l *lane) underneath(slot engine.Slot, s *symbol, t *market.Trade) {
	if t.Time <= s.held[0].Time+market.Time(otherLate/time.Millisecond) {
		return
	}
	if s.doubt.beneath++; s.doubt.beneath > 1 {
		l.disbelieve(slot, s, 0, lieJump)
	}
}

// backwards takes note of a trade whose id has passed and whose time has not. When there are several, REST is asked
// whether the venue counts anew.
func (l *lane) backwards(s *symbol, t *market.Trade) {
	l.lie(lieBackwards)
	if s.doubt.backwards == 0 || t.ID < s.doubt.lowest {
		s.doubt.lowest = t.ID
	}
	s.doubt.backwards++
	l.f.healer.signal()
}

// asks reports whether REST is to be asked for the symbol's latest id.
func (l *lane) asks(s *symbol, now time.Time) bool {
	if now.Before(s.doubt.askAfter) {
		return false
	}
	if s.doubt.backwards > 1 {
		return true
	}
	return l.f.healer.Trades == nil && s.hole.declared && len(s.held) > 0 && !l.believes(s)
}

// judge takes in the newest id that REST knows, and its time; it was asked at the given moment. What is held above it
// was a lie if REST knows of younger trades, or if it stands alone and REST has had time to learn of it. Where ids go
// backwards and REST agrees, the venue counts anew.
func (l *lane) judge(slot engine.Slot, s *symbol, latest int64, at market.Time, asked time.Time) {
	s.doubt.sure = max(s.doubt.sure, latest)
	for i := len(s.held) - 1; i >= 0 && s.held[i].ID > latest; i-- {
		h := &s.held[i]
		if at > h.Time+inversion || asked.Sub(h.since) >= restLag && !l.believes(s) {
			l.disbelieve(slot, s, i, lieJump)
		}
	}
	if s.doubt.backwards > 1 && latest < s.next-1 && at > s.lastTime {
		l.restart(slot, s, latest, at)
	}
	if first := &s.doubt.first; first.Time != 0 && latest == first.ID && at == first.Time {
		l.trustFirst(slot, s)
	}
}

// restart goes on from the venue's latest id, below those that have passed: the venue counts anew, or a lie had been
// believed. What lies in between, and all that was still waited for by id, is owed by its minutes.
func (l *lane) restart(slot engine.Slot, s *symbol, latest int64, at market.Time) {
	go l.f.log.Warn("trade ids go backwards", "symbol", l.f.name(s.id), "expected", s.next, "latest", latest)
	record := l.record(s, min(s.doubt.lowest, latest), latest)
	l.unhold(slot, s, 0, len(s.held))
	l.end(s, s.hole.record, GapLost)
	s.hole, s.doubt = hole{}, doubt{}
	for len(s.gaps) > 0 {
		if s.gaps[0].burnt() {
			s.gaps = s.gaps[1:]
			continue
		}
		l.giveUp(slot, s, 0)
	}
	from := min(s.lastTime, at)
	s.first, s.next, s.lastTime, s.edges = 0, latest+1, at, [2]edge{} // nothing lies shortly before it any more
	s.price = market.Price{}                                          // what the latest cost is not known
	s.relayFrom, s.blind.given = 0, 0
	for _, c := range l.conns {
		c.runs[slot] = run{newest: latest}
	}
	l.owe(slot, s, debt{span: market.Span{From: from, To: at + 1}, record: record})
	l.distrust(slot, s, latest+1, market.Span{From: at, To: l.f.clock.Now()}) // what REST did not know yet has been dropped, if it came
}

// follows reports whether b may be the id that was given next after a.
func (l *lane) follows(a, b int64) bool {
	return b == a+1 || l.f.source == market.SourceTrade && b > a && b <= a+burntRun
}

// distrust takes note that a trade of the symbol was dropped, or may have been, within a time: if it was true after all, trades are
// missing, which the next one in order, or official minutes, will show. Its id is not burnt, whatever the connections bring.
func (l *lane) distrust(slot engine.Slot, s *symbol, id int64, within market.Span) {
	if l.f.source == market.SourceTrade {
		l.unburn(slot, s, id)
	}
	if s.from == 0 {
		return // nothing is ours yet
	}
	if b := &s.blind; b.from == 0 || b.to != 0 { // else all is marked from before until a connection carries it
		l.reopen(s, within)
	}
	if s.next != 0 && id <= s.next+holdTrades {
		s.blind.given = max(s.blind.given, id)
	}
	l.mark(slot, s)
	l.signal()
}

// dropped is when a trade may have taken place that is dropped now.
func dropped(now market.Time) market.Span { return market.Span{From: now - blindMargin, To: now} }

// unburn takes note that ids above those that have passed were given, as it seems: they are not burnt, whatever run began
// below them.
func (q *sequence) unburn(ids idSpan) {
	if given := &q.doubt.given; given.last < q.next {
		*given = ids
	} else {
		given.first, given.last = min(given.first, ids.first), max(given.last, ids.last)
	}
}

// given reports whether some of the ids were given, as it seems.
func (q *sequence) given(ids idSpan) bool {
	given := q.doubt.given
	return ids.first <= given.last && given.first <= ids.last
}

// unburn takes note of one id, which may have been passed over.
func (l *lane) unburn(slot engine.Slot, s *symbol, id int64) {
	if s.next <= id && id <= s.next+holdTrades {
		s.unburn(idSpan{id, id})
		return
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; g.burnt() && g.first <= id && id <= g.last {
			g.record, g.given = l.record(s, g.first, g.last), true
			l.stand(s, Behind)
			l.mark(slot, s)
			return // mark may have moved the others
		}
	}
}

// believeTimes drops the trades of a read whose time is too far ahead of the exchange's clock. Where several symbols
// have such, the clock may be wrong: it is measured first, unless that was in vain a moment ago. Its caller reads, and is
// kept waiting that long.
func (f *Feed) believeTimes(ctx context.Context, b *market.Batch) {
	newest := market.Time(0)
	for i := range b.Trades {
		newest = max(newest, b.Trades[i].Time)
	}
	now := f.clock.Now()
	if newest <= now+clockBound {
		return
	}
	if newest <= now+aheadBound {
		f.doubtClock(ctx)
		return
	}
	if (f.ahead.several(b, now+aheadBound) || f.living.Load() == 1) && !f.ahead.inVain() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		f.doubt(ctx)
		cancel()
		if now = f.clock.Now(); newest > now+aheadBound {
			f.ahead.wasInVain()
		}
	}
	f.dropAhead(b, now)
}

// dropAhead drops the trades that are too far ahead of now, and of what their lane has had: the exchange's clock may have
// stepped back while they were on their way.
func (f *Feed) dropAhead(b *market.Batch, now market.Time) {
	n := 0
	for i := range b.Trades {
		if f.isAhead(&b.Trades[i], now) {
			continue
		}
		b.Trades[n] = b.Trades[i]
		if i < len(b.Payloads) {
			b.Payloads[n] = b.Payloads[i]
		}
		n++
	}
	b.Trades, b.Payloads = b.Trades[:n], b.Payloads[:min(n, len(b.Payloads))]
}

// isAhead reports whether a trade is dropped because its time has not come.
func (f *Feed) isAhead(t *market.Trade, now market.Time) bool {
	if t.Time <= now+aheadBound {
		return false
	}
	l, slot := f.laneOf(t.SymbolID)
	if l == nil {
		f.metrics.Disbelieved.WithLabelValues(lieTime).Inc()
		return true
	}
	defer l.unlock(l.lock())
	if t.Time <= l.newest+aheadBound {
		return false
	}
	l.lie(lieTime)
	l.distrust(slot, &l.symbols[slot], t.ID, dropped(now))
	return true
}

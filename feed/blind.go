package feed

import (
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// blindMargin is how long before the last frame of a lost connection trades may have happened that it did not bring:
// more than the venue's batching and the way here take.
const blindMargin = market.Second

// blind is a time in which no connection carried a symbol: whether trades were missed is not known.
type blind struct {
	from     market.Time // 0: there is none
	to       market.Time // 0: no connection carries it yet
	official bool        // its minutes are the exchange's; what is shorter keeps the mark until the next trade
	given    int64       // the highest id that was dropped in it, at most holdTrades ahead: trades below it prove nothing
	rest     int64       // a trade in order that REST has brought since: the connections' own copy of it proves the same
}

// open reports whether minutes may lack trades in it.
func (b *blind) open() bool { return b.from != 0 && !b.official }

// reopen lets a symbol be blind within the given time, too: until a connection carries it where that has no end.
func (l *lane) reopen(s *symbol, within market.Span) {
	l.forgetOfficial(s)
	b := &s.blind
	if b.from == 0 || within.From < b.from {
		b.from = within.From
	}
	b.to, b.official, b.rest = within.To, false, 0
}

// span is where trades may lack once a connection carries it: of a minute that is official nobody knows from when on the price is
// known.
func (b *blind) span() market.Span { return market.Span{From: b.from, To: market.OneMinute.Ceil(b.to)} }

// see ends it as far as it is known that trades come again; what was missed within it is not.
func (b *blind) see(now market.Time) {
	if b.from != 0 && b.to == 0 {
		b.to = now
	}
}

// lost takes note that a trade connection has ended. What closes from its last frame on, of symbols that no connection carries
// any more, carries the mark, until each symbol's next id tells whether a trade was missed.
func (l *lane) lost(from *carrier, lastFrame market.Time) {
	defer l.unlock(l.lock())
	l.remove(from)
	if l.from == 0 {
		return
	}
	since := lastFrame - blindMargin
	if from.last.lag > l.f.graceNow() {
		since = min(since, from.last.newest) // it lagged: what is younger has not come
	}
	unread := l.lagging != 0 && !slices.ContainsFunc(l.conns, l.overtaken) // what it had not brought yet, nobody will
	if unread {
		l.lagging = 0 // the blind time marks the same, or what is owed
		l.oweEnded(since)
		defer l.markAll()
	}
	if l.carriers() == 0 {
		l.allBlind(since)
		return
	}
	l.goBlind(since, func(slot engine.Slot) bool { // those that the other has not been shown to carry yet
		return unread || !slices.ContainsFunc(l.conns, func(c *carrier) bool { return c.brings(slot) })
	})
	if unread {
		l.see()
	}
}

// oweEnded has the exchange asked for the last minutes of symbols that ended after a time: no trade of theirs is to come that would
// show whether one was missed.
func (l *lane) oweEnded(since market.Time) {
	for slot := range l.symbols {
		if s := &l.symbols[slot]; s.state == Ended && s.from != 0 && since < s.ended && l.heals(s) {
			l.owe(engine.Slot(slot), s, debt{span: market.Span{From: since, To: s.ended}})
		}
	}
}

// allBlind begins a blind time of all symbols: that the connections live need not be shown for what it marks anyway.
func (l *lane) allBlind(since market.Time) {
	l.goBlind(since, func(engine.Slot) bool { return true })
	l.unproven = 0
}

// goBlind begins a blind time of those symbols; of those that the venue's summary has shown to trade before, then. The era is
// the lane's: what was held until now proves nothing of its other blind symbols either, who then wait for their next trade.
func (l *lane) goBlind(since market.Time, whom func(engine.Slot) bool) {
	lost := false
	for slot := range l.symbols {
		s := &l.symbols[slot]
		if s.from == 0 || s.state == Ended || !whom(engine.Slot(slot)) {
			continue
		}
		lost = true
		from := since
		if !s.seen.at.IsZero() {
			from = min(since, s.seen.traded.Add(-tickerLag))
		}
		l.reopen(s, market.Span{From: from})
		l.mark(engine.Slot(slot), s)
		l.recall(engine.Slot(slot), s)
	}
	if lost {
		l.era++
		l.signal()
	}
}

// see ends the blind times of all symbols but those of which a trade has been shown that has not come.
func (l *lane) see() {
	now := l.f.clock.Now()
	for slot := range l.symbols {
		if s := &l.symbols[slot]; s.seen.at.IsZero() && l.carriersOf(engine.Slot(slot)) > 0 {
			s.blind.see(now)
		}
	}
}

// sighted ends a symbol's blind time with its next trade in order, received since: nothing was missed. Where REST was faster,
// the connections' copy of that trade tells, for REST's tells nothing of what they bring. Where it is alone, as none
// had ever come before, that cannot be known, and the time stays marked until its minutes are official, unless it is
// the very first of the symbol. Below an id that was dropped no trade tells.
func (l *lane) sighted(slot engine.Slot, s *symbol, t *market.Trade, alone bool) {
	if t.ID < s.blind.given {
		return
	}
	since := s.blind.from
	s.blind = blind{}
	if alone && t.ID > 1 {
		l.owe(slot, s, debt{span: market.Span{From: since, To: max(since, t.Time) + 1}, record: l.record(s, t.ID-1, t.ID-1)})
	}
	l.mark(slot, s)
	l.recovered(s)
}

// stoodStill takes note that nothing ran here from the given time until now: before anything closes, the connections
// must show that they still live, and that what had been sent meanwhile has been read. It asks them to.
func (l *lane) stoodStill(since market.Time, now time.Time) {
	l.mu.Lock()
	var asked []Conn
	if l.from != 0 {
		for _, c := range l.conns {
			if c.carries {
				asked = append(asked, c.conn)
			}
		}
	}
	if len(asked) > 0 {
		if l.unproven == 0 || since < l.unproven {
			l.unproven = since
		}
		l.woke, l.provenBy = now, now.Add(patience)
	}
	l.mu.Unlock()
	for _, conn := range asked {
		conn.Ping()
	}
}

// answered notes that a connection has answered a ping.
func (l *lane) answered(c *carrier, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.pong = at
}

// unproved reports whether closes have to wait for a sign of life after a standstill. Where none comes in time, the
// connections count as lost from then on, and what they bring after all proves whether a trade was missed.
func (l *lane) unproved(now time.Time) bool {
	if l.unproven == 0 {
		return false
	}
	for _, c := range l.conns {
		if c.carries && (!c.pong.Before(l.woke) || c.last.at.After(l.woke) && c.last.lag <= l.f.graceNow()) {
			l.unproven = 0
			return false
		}
	}
	if now.Before(l.provenBy) {
		return true
	}
	l.allBlind(l.unproven - blindMargin)
	l.see()
	return false
}

package feed

import (
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// How long after its last minute a symbol that has ended is looked after.
const (
	lastFrames = 10 * time.Second // its streams stay: the venue's own kline of that minute comes
	lastHeals  = 10 * time.Minute // what it lacks is asked for
)

// End says that the venue has ended a symbol. Its klines go on to close by the clock, each at its own end, and none opens after the
// running minute. Its streams end some seconds after that minute. It keeps its place, for the case that it comes back. What it
// lacks is asked for as before, for ten minutes.
func (f *Feed) End(id market.SymbolID) {
	f.changing.Lock()
	defer f.changing.Unlock()
	if l, slot := f.laneOf(id); l != nil && l.finish(slot) {
		f.living.Add(-1)
	}
}

// finish ends a symbol with the running minute; false where it has ended before. When it returns, nobody is told any more that it
// is whole.
func (l *lane) finish(slot engine.Slot) bool {
	l.handing.Lock()
	defer l.handing.Unlock()
	defer l.unlock(l.lock())
	s := &l.symbols[slot]
	if s.state == Ended {
		return false
	}
	l.stand(s, Ended)
	l.living--
	s.ended, s.streams = market.OneMinute.Open(l.f.clock.Now())+market.Minute, true
	l.engine.End(slot, s.ended)
	l.leaving = append(l.leaving, slot)
	l.wholes = slices.DeleteFunc(l.wholes, func(w whole) bool { return w.id == s.id })
	l.signal()
	return true
}

// leave ends the streams of those symbols whose last kline has come.
func (f *Feed) leave() {
	f.changing.Lock()
	defer f.changing.Unlock()
	for _, l := range f.lanes {
		gone := l.gone()
		if len(gone) == 0 {
			continue
		}
		for _, k := range slices.Concat(l.links, f.klines) {
			k.end(gone)
		}
	}
}

// gone is the symbols whose streams are to end now. Of those that have ended long ago what is missing is given up.
func (l *lane) gone() (ids []market.SymbolID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.f.clock.Now()
	l.leaving = slices.DeleteFunc(l.leaving, func(slot engine.Slot) bool {
		s := &l.symbols[slot]
		if s.state != Ended {
			return true // it is back
		}
		if s.streams && now >= s.ended.Add(lastFrames) {
			s.streams = false
			ids = append(ids, s.id)
		}
		if l.heals(s) {
			return false
		}
		l.giveUpAll(slot, s)
		return true
	})
	return ids
}

// heals reports whether what is missing of a symbol is still asked for.
func (l *lane) heals(s *symbol) bool {
	return s.state != Ended || l.f.clock.Now() < s.ended.Add(lastHeals)
}

// giveUpAll ends the wait for what a symbol that has ended lacks: what carries the mark keeps it.
func (l *lane) giveUpAll(slot engine.Slot, s *symbol) {
	if s.hole.declared && len(s.held) > 0 {
		l.owe(slot, s, debt{span: l.lackSpan(s)})
	}
	l.unhold(slot, s, 0, len(s.held))
	s.hole = hole{}
	l.f.gaps.giveUp(s.id, l.f.clock.Now())
}

// isOver reports whether a trade belongs behind the symbol's end.
func (s *symbol) isOver(t *market.Trade) bool {
	return s.ended != 0 && t.Time >= s.ended && s.state == Ended
}

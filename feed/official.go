package feed

import (
	"slices"

	"klined/engine"
	"klined/market"
)

// witness takes the venue's own closed klines as they come over a connection: where ours is not whole they stand in for
// it. That is the minute in which the stream began, and those that carry the mark.
func (l *lane) witness(updates []market.Update) {
	defer l.unlock(l.lock())
	for i := range updates {
		u := &updates[i]
		slot := l.f.places[u.Symbol].slot
		if u.Interval == market.OneMinute {
			l.symbols[slot].said[market.OneMinute.Ordinal(u.OpenTime)&1] = u.Kline
		}
		if u.Interval == market.OneMinute && (l.absent(slot, u.Interval, u.OpenTime) || l.marked(slot, u.OpenTime)) {
			l.official(slot, u.Interval, &u.Kline)
		}
	}
	l.signal()
}

// recall takes what the venue said of minutes that carry the mark only now.
func (l *lane) recall(slot engine.Slot, s *symbol) {
	for i := range s.said {
		if k := &s.said[i]; k.OpenTime != 0 && l.marked(slot, k.OpenTime) {
			l.official(slot, market.OneMinute, k)
		}
	}
}

// official puts the exchange's kline in place of ours, if it is believed.
func (l *lane) official(slot engine.Slot, iv market.Interval, k *market.Kline) {
	s := &l.symbols[slot]
	if !l.believed(s, iv, k) {
		return
	}
	l.count(causeLate)
	l.engine.Replace(slot, iv, k)
	l.count(causeHeal)
	l.endOfficial(slot, s)
	l.becameWhole(slot, s)
}

// ours reports whether the lane hands on the kline of iv that opens at open: those that end after its stream began, the
// minute in which it did among them.
func (l *lane) ours(iv market.Interval, open market.Time) bool {
	return l.from != 0 && iv.Next(open) >= l.from
}

// absent reports whether the kline of iv that opens at open is over, ours to hand on, and not there.
func (l *lane) absent(slot engine.Slot, iv market.Interval, open market.Time) bool {
	if !l.ours(iv, open) {
		return false
	}
	boundary, begun := l.engine.Boundary(slot)
	_, there := l.engine.Kline(slot, iv, open)
	return begun && !there && iv.Next(open) <= l.engine.Base().Open(boundary-1)
}

// marked reports whether the minute at open, closed or running, carries the mark.
func (l *lane) marked(slot engine.Slot, open market.Time) bool {
	k, ok := l.engine.Kline(slot, market.OneMinute, open)
	if !ok {
		k, ok = l.engine.Running(slot, market.OneMinute)
	}
	return ok && k.OpenTime == open && k.Gap
}

// believed reports whether an official kline can be true: it is over, keeps its own rules, and leaves out no whole
// trade of ours.
func (l *lane) believed(s *symbol, iv market.Interval, k *market.Kline) bool {
	return iv.Next(k.OpenTime) <= l.f.clock.Now() && k.Plausible() && (iv != market.OneMinute || !s.leavesOut(k))
}

// endOfficial ends the gaps of which every minute is official. Shorter klines have no official counterpart and keep the
// mark for as long as the engine keeps them.
func (l *lane) endOfficial(slot engine.Slot, s *symbol) {
	var ended []*GapRecord
	for i := range s.gaps {
		if g := &s.gaps[i]; g.record != nil && l.settledAll(slot, g.span) {
			ended = append(ended, g.record)
			g.record, g.official = nil, true
		}
	}
	if ended == nil {
		return
	}
	s.gaps = slices.DeleteFunc(s.gaps, func(g gap) bool {
		return g.official && (l.engine.Base() == market.OneMinute || g.span.To < l.upTo-market.Hour)
	})
	for _, record := range ended {
		l.end(s, record, GapOfficial)
	}
	l.mark(slot, s)
	l.recovered(s)
}

// settledAll reports whether every minute of the span from the first boundary on is settled.
func (l *lane) settledAll(slot engine.Slot, span market.Span) bool {
	for open := max(market.OneMinute.Open(span.From), l.from); open < span.To; open += market.Minute {
		if k, ok := l.engine.Kline(slot, market.OneMinute, open); !ok || k.State != market.StateSettled {
			return false
		}
	}
	return true
}

// load puts klines that were known before: the store's, or official ones. Of those that are ours to hand on, only
// official ones that are absent here.
func (l *lane) load(slot engine.Slot, iv market.Interval, rows []market.Kline) {
	for i := range rows {
		k := &rows[i]
		switch {
		case !l.ours(iv, k.OpenTime):
			l.engine.Load(slot, iv, k)
		case k.State == market.StateSettled && l.absent(slot, iv, k.OpenTime):
			l.official(slot, iv, k)
		}
	}
	l.count(causeHeal)
	l.becameWhole(slot, &l.symbols[slot])
}

// becameWhole lets a waiting symbol stand as whole as soon as every running kline of it can be shown.
func (l *lane) becameWhole(slot engine.Slot, s *symbol) {
	if s.state != Waiting || l.from == 0 || !l.engine.Whole(slot) {
		return
	}
	l.stand(s, Whole)
	if len(s.gaps) > 0 || s.blind != 0 {
		l.stand(s, Behind)
		l.recovered(s)
	}
	l.wholes = append(l.wholes, s.id)
}

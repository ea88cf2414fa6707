package feed

import (
	"klined/engine"
	"klined/market"
)

// frames takes the venue's own closed klines as they come over a connection: where ours is not whole they stand in for
// it. That is the minute in which the stream began, and those that carry the mark. Any other is settled by them.
func (l *lane) frames(updates []market.Update) {
	defer l.unlock(l.lock())
	for i := range updates {
		if u := &updates[i]; u.Interval == market.OneMinute {
			_, slot := l.f.laneOf(u.Symbol)
			l.symbols[slot].said[market.OneMinute.Ordinal(u.OpenTime)&1] = u.Kline
			l.frame(slot, &u.Kline)
		}
	}
	l.signal()
}

// frame takes one of the venue's own minutes.
func (l *lane) frame(slot engine.Slot, k *market.Kline) {
	lacks := l.absent(slot, market.OneMinute, k.OpenTime) || l.marked(slot, k.OpenTime)
	if !lacks && !l.f.settles {
		return
	}
	if why := l.doubts(&l.symbols[slot], market.OneMinute, k); why != "" {
		l.f.doubted(why)
		return
	}
	if _, unsettled := l.unsettled(slot, k.OpenTime); lacks || unsettled {
		l.replace(slot, market.OneMinute, k)
	}
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
	if l.doubts(&l.symbols[slot], iv, k) == "" {
		l.replace(slot, iv, k)
	}
}

// replace puts the exchange's kline in place of ours, which is compared where it is a closed minute. Klines folded from it
// follow, and are settled when all their minutes are.
func (l *lane) replace(slot engine.Slot, iv market.Interval, k *market.Kline) engine.Replaced {
	s, cause := &l.symbols[slot], causeHeal
	l.count(l.cause)
	if ours, there := l.engine.Kline(slot, iv, k.OpenTime); there && !ours.Gap && s.ours(iv, k.OpenTime) && l.f.settles {
		l.compare(market.Difference{Series: market.Series{Symbol: s.id, Interval: iv}, Ours: ours, Official: *k})
		cause = causeSettle
	}
	replaced := l.engine.Replace(slot, iv, k)
	s.outdates(k)
	l.count(cause)
	l.endOfficial(slot, s)
	l.becameWhole(slot, s)
	return replaced
}

// rest takes an official kline that REST has brought: where it says what ours does, or what a frame did, or there is
// none of ours; else where another read, long enough before, has said the same. What is settled gives way only to what REST has
// said for an hour: faults of its last for less.
func (l *lane) rest(slot engine.Slot, iv market.Interval, k *market.Kline, said market.Said) market.Belief {
	if why := l.impossible(iv, k); why != "" {
		l.f.doubted(why)
		return market.Doubted
	}
	s := &l.symbols[slot]
	ours, there := l.engine.Kline(slot, iv, k.OpenTime)
	values, wanted := market.Differing(&ours, k), market.SaidAgain
	if there && ours.State == market.StateSettled {
		wanted = market.SaidLong
		if said == market.SaidOnce && k.OpenTime >= s.from {
			l.f.settling.checked.add(values)
		}
	}
	if there && said < wanted && values != 0 && (wanted == market.SaidLong || !l.saidSo(slot, iv, k)) {
		l.f.doubted(doubtRead)
		return market.Doubted
	}
	if l.replace(slot, iv, k) == engine.OutOfReach || !s.ours(iv, k.OpenTime) {
		return market.OutOfReach
	}
	return market.Believed
}

// saidSo reports whether a frame has brought the same kline.
func (l *lane) saidSo(slot engine.Slot, iv market.Interval, k *market.Kline) bool {
	said := &l.symbols[slot].said[market.OneMinute.Ordinal(k.OpenTime)&1]
	return iv == market.OneMinute && said.OpenTime == k.OpenTime && market.SameValues(said, k)
}

// ours reports whether the lane hands on the kline of iv that opens at open: those that end after the symbol's stream began, the
// minute in which it did among them, and open before it has ended.
func (s *symbol) ours(iv market.Interval, open market.Time) bool {
	return s.from != 0 && iv.Next(open) >= s.from && (s.state != Ended || open < s.ended)
}

// absent reports whether the kline of iv that opens at open is over, ours to hand on, and not there.
func (l *lane) absent(slot engine.Slot, iv market.Interval, open market.Time) bool {
	if !l.symbols[slot].ours(iv, open) {
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

// doubts is why an official kline that has come as a frame is not believed; empty where it is: it is over, keeps its own
// rules, and leaves out no whole trade of ours.
func (l *lane) doubts(s *symbol, iv market.Interval, k *market.Kline) string {
	why := l.impossible(iv, k)
	if why == "" && iv == market.OneMinute && s.leavesOut(k) {
		return doubtTrades
	}
	return why
}

// impossible is why an official kline cannot be true, wherever it comes from; empty where it can.
func (l *lane) impossible(iv market.Interval, k *market.Kline) string {
	switch {
	case k.State != market.StateSettled, iv.Next(k.OpenTime) > l.f.clock.Now():
		return doubtEarly
	case !k.Plausible():
		return doubtRules
	}
	return ""
}

// endOfficial ends what is missing where every minute of it is official. Shorter klines have no official counterpart and
// keep the mark for as long as the engine keeps them.
func (l *lane) endOfficial(slot engine.Slot, s *symbol) {
	ended := 0
	end := func(record **GapRecord, official *bool, span market.Span) {
		if *official || !l.settledAll(slot, span) {
			return
		}
		was := *record
		*record, *official = nil, true
		l.end(s, was, GapOfficial)
		ended++
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; g.open() {
			end(&g.record, &g.official, g.span)
		}
	}
	for i := range s.debts {
		d := &s.debts[i]
		end(&d.record, &d.official, d.span)
	}
	if b := &s.blind; b.to != 0 && !b.official && l.settledAll(slot, b.span()) {
		if b.official = true; l.engine.Base() == market.OneMinute {
			*b = blind{}
		}
		ended++
	}
	if at := s.doubt.first.Time; at != 0 && l.settledAll(slot, market.Span{From: at, To: at + 1}) {
		s.doubt.first = market.Trade{}
		ended++
	}
	if ended > 0 {
		l.mark(slot, s)
		l.recovered(s)
	}
}

// settledAll reports whether every minute of the span from the first boundary on is settled.
func (l *lane) settledAll(slot engine.Slot, span market.Span) bool {
	for open := max(market.OneMinute.Open(span.From), l.symbols[slot].from); open < span.To; open += market.Minute {
		if k, ok := l.engine.Kline(slot, market.OneMinute, open); !ok || k.State != market.StateSettled {
			return false
		}
	}
	return true
}

// owed is the time from the first to the last minute that is over by then, and of which trades are missing or may be.
func (l *lane) owed(slot engine.Slot, s *symbol, by market.Time) (owed market.Span) {
	if s.state == Ended {
		by = min(by, s.ended)
	}
	add := func(span market.Span) {
		for open := max(market.OneMinute.Open(span.From), s.from); open < span.To && open+market.Minute <= by; open += market.Minute {
			if owed.From != 0 && open >= owed.From+owedMost*market.Minute {
				return // more is not told at once
			}
			if k, ok := l.engine.Kline(slot, market.OneMinute, open); ok && k.State == market.StateSettled {
				continue
			}
			if owed.From == 0 || open < owed.From {
				owed.From = open
			}
			owed.To = max(owed.To, open+market.Minute)
		}
	}
	for i := range s.debts {
		if d := &s.debts[i]; !d.official {
			add(d.span)
		}
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; g.open() {
			add(g.span)
		}
	}
	if s.hole.declared && len(s.held) > 0 {
		add(l.lackSpan(s))
	}
	if b := s.blind; b.open() {
		if b.to == 0 {
			b.to = by
		}
		add(market.Span{From: b.from, To: b.to})
	}
	if at := s.doubt.first.Time; at != 0 {
		add(market.Span{From: at, To: at + 1})
	}
	return owed
}

// paid takes note that all minutes before upTo are official, though the engine does not keep them any more.
func (l *lane) paid(slot engine.Slot, s *symbol, upTo market.Time) {
	trim := func(span *market.Span) { span.From = max(span.From, upTo) } // what is paid whole has no minute left
	for i := range s.gaps {
		trim(&s.gaps[i].span)
	}
	for i := range s.debts {
		trim(&s.debts[i].span)
	}
	if s.blind.from != 0 {
		s.blind.from = max(s.blind.from, upTo)
	}
	if s.doubt.first.Time != 0 && s.doubt.first.Time < upTo {
		l.trustFirst(slot, s)
	}
	l.endOfficial(slot, s)
}

// load puts klines that were known before: the store's, or official ones. Of those that are ours to hand on, only
// official ones that are absent here.
func (l *lane) load(slot engine.Slot, iv market.Interval, rows []market.Kline) {
	for i := range rows {
		k := &rows[i]
		switch {
		case !l.symbols[slot].ours(iv, k.OpenTime):
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
	if s.state != Waiting || s.from == 0 || !l.engine.Whole(slot) {
		return
	}
	l.stand(s, Whole)
	if s.gappy || s.hole.declared || s.blind.open() {
		l.stand(s, Behind)
		l.recovered(s)
	}
	l.wholes = append(l.wholes, whole{s.id, l.engine.Since(slot)})
}

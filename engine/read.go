package engine

import "klined/market"

// Running is the kline of iv whose interval is running: State Open, from the boundary on, with the previous close until
// its first trade. false where the interval is not carried, a part of the kline is absent, or the exchange's own has
// closed it ahead of the clock.
func (e *Engine) Running(slot Slot, iv market.Interval) (market.Kline, bool) {
	s := &e.symbols[slot]
	r := e.rungOf(iv)
	if r < 0 || s.from == never {
		return market.Kline{}, false
	}
	k, ok := e.running(s, r)
	return k, ok && k.State == market.StateOpen && k.OpenTime < s.until
}

// running folds the complete parts of rung r's running kline with the running one below it.
func (e *Engine) running(s *symbol, r int) (market.Kline, bool) {
	if r == 0 {
		return s.running.Kline, s.running.State != market.StateAbsent
	}
	part, ok := e.running(s, e.rungs[r].below)
	k := e.at(s, r, s.open)
	open := e.rungs[r].interval.Open(s.open)
	if k.OpenTime != open || k.end == 0 { // no part is over yet
		if !ok || part.OpenTime != e.start(s, r, open) {
			return market.Kline{}, false
		}
		part.OpenTime = open
		return part, true
	}
	whole := k.Kline
	if k.upTo > s.open && k.State != market.StateAbsent { // an official part was closed ahead of the clock
		if !k.complete() {
			whole.State = market.StateOpen
		}
		return whole, true
	}
	if !ok || k.upTo != part.OpenTime {
		return market.Kline{}, false
	}
	if k.State == market.StateAbsent {
		part.OpenTime = open
		return part, true
	}
	return market.Fold(whole, part), true
}

// Klines appends to dst the klines of iv from the one that opens at or after from, as far back as they follow one
// another without a hole, oldest first, the running one last, or of a symbol that has ended the last there is. Nothing where
// the running one cannot be shown.
func (e *Engine) Klines(dst []market.Kline, slot Slot, iv market.Interval, from market.Time) []market.Kline {
	s := &e.symbols[slot]
	r := e.rungOf(iv)
	if r < 0 || s.from == never {
		return dst
	}
	running, ok := e.running(s, r)
	if !ok {
		return dst
	}
	open := running.OpenTime
	first := open
	for first > from {
		prev := iv.Open(first - 1)
		if prev < from || e.find(s, r, prev) == nil {
			break
		}
		first = prev
	}
	for ; first < min(open, s.until); first = iv.Next(first) {
		dst = append(dst, e.find(s, r, first).Kline)
	}
	if open >= from && open < s.until {
		dst = append(dst, running)
	}
	return dst
}

// Follows reports whether the kline of iv, longer than a minute, that opens at open is folded anew when a part of it is
// replaced: all its parts are kept.
func (e *Engine) Follows(slot Slot, iv market.Interval, open market.Time) bool {
	s, r := &e.symbols[slot], e.rungOf(iv)
	return r > e.minute && s.from != never && open >= e.reach(s, e.rungs[r].below)
}

// Kline is the complete kline of iv that opens at open, if the engine keeps it.
func (e *Engine) Kline(slot Slot, iv market.Interval, open market.Time) (market.Kline, bool) {
	s := &e.symbols[slot]
	if r := e.rungOf(iv); r >= 0 && open < s.until {
		if k := e.find(s, r, open); k != nil {
			return k.Kline, true
		}
	}
	return market.Kline{}, false
}

// Whole reports whether every configured interval's running kline can be shown, and each that was running just before
// the symbol's trades began, as long as it may still come; or the symbol has never traded.
func (e *Engine) Whole(slot Slot) bool {
	s := &e.symbols[slot]
	if s.from == never {
		return false
	}
	if s.fresh {
		return true
	}
	for r := range e.rungs {
		if !e.rungs[r].shown {
			continue
		}
		if _, ok := e.running(s, r); !ok || e.lacksFirst(s, r) {
			return false
		}
	}
	return true
}

// Since is the instant from which on a whole symbol's klines leave the engine, beginning with those that contain it: just
// before its trades began, or where it has become whole too late for that, in the running minute.
func (e *Engine) Since(slot Slot) market.Time {
	s := &e.symbols[slot]
	if s.fresh {
		return s.from - 1 // there is nothing before its first trade
	}
	if !e.reachesBegin(s) {
		return s.open
	}
	for open := max(s.from-market.Minute, market.OneMinute.Ceil(s.first)); open+market.Minute <= s.open; open += market.Minute {
		if e.find(s, e.minute, open) == nil {
			return s.open
		}
	}
	return s.from - 1
}

// reachesBegin reports whether the minute before the symbol's trades began may still come, or is not needed.
func (e *Engine) reachesBegin(s *symbol) bool {
	return s.first >= s.from || e.reach(s, e.minute) < s.from
}

// lacksFirst reports whether the kline of rung r that was running just before the symbol's trades began is over, not there,
// and may still come. Below a minute nobody has it.
func (e *Engine) lacksFirst(s *symbol, r int) bool {
	iv := e.rungs[r].interval
	open := iv.Open(s.from - 1)
	return r >= e.minute && iv.Next(open) <= s.open && s.first < s.from && e.reachesBegin(s) && e.find(s, r, open) == nil
}

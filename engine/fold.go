package engine

import "klined/market"

// rise carries a complete kline of rung r, new or changed, into every kline that is folded from it.
func (e *Engine) rise(s *symbol, r int, part *entry) {
	for _, u := range e.rungs[r].above {
		e.riseInto(s, u, part)
	}
}

// riseInto carries a complete part into the kline of rung u that it is folded into.
func (e *Engine) riseInto(s *symbol, u int, part *entry) {
	k := e.hold(s, u, part.OpenTime)
	switch {
	case k == nil:
		// older than what is kept
	case part.OpenTime < k.upTo:
		e.refold(s, u, k)
	case part.OpenTime == k.upTo:
		e.fill(s, u, k)
		if k.complete() {
			e.closed(s, u, k)
			e.rise(s, u, k)
		}
	}
}

// riseCarried is rise for a part without trades of which only the price changed. It counts where it is the first part of a
// kline that has no trades either: 29 such parts of half an hour fold nothing anew.
func (e *Engine) riseCarried(s *symbol, r int, part *entry) {
	for _, u := range e.rungs[r].above {
		k := e.at(s, u, part.OpenTime)
		open := e.rungs[u].interval.Open(part.OpenTime)
		if k.OpenTime == open && k.TradeCount == 0 && part.OpenTime == e.start(s, u, open) {
			e.riseInto(s, u, part)
		}
	}
}

// hold is the entry of rung u for the kline that contains t, made blank where the ring still holds an older one; nil
// where it holds a younger one.
func (e *Engine) hold(s *symbol, u int, t market.Time) *entry {
	k := e.at(s, u, t)
	iv := e.rungs[u].interval
	open := iv.Open(t)
	switch {
	case k.OpenTime > open:
		return nil
	case k.OpenTime < open || k.end == 0:
		*k = blank(open, e.start(s, u, open), iv.Next(open))
	}
	return k
}

// start is where the parts of rung u's kline at open begin: at open, or with the part that holds the symbol's first
// kline.
func (e *Engine) start(s *symbol, u int, open market.Time) market.Time {
	if u == 0 {
		return open
	}
	return max(open, e.rungs[e.rungs[u].below].interval.Open(s.first))
}

// fill folds into k the complete parts that follow one another from k.upTo on, and stops where one is absent.
func (e *Engine) fill(s *symbol, u int, k *entry) {
	below := e.rungs[u].below
	for k.upTo < k.end {
		part := e.find(s, below, k.upTo)
		if part == nil {
			return
		}
		if k.State == market.StateAbsent {
			open := k.OpenTime
			k.Kline = part.Kline
			k.OpenTime, k.Revision = open, 0
		} else {
			k.Kline = market.Fold(k.Kline, part.Kline)
		}
		k.upTo = part.end
	}
}

// refold makes k anew from its parts after one of them changed. A complete kline stays as it is where a part is no
// longer kept, and a settled one where the parts are not all settled.
func (e *Engine) refold(s *symbol, u int, k *entry) {
	now := blank(k.OpenTime, e.start(s, u, k.OpenTime), k.end)
	e.fill(s, u, &now)
	if !k.complete() {
		if *k = now; k.complete() {
			e.closed(s, u, k)
			e.rise(s, u, k)
		}
		return
	}
	if !now.complete() || k.State > now.State {
		return
	}
	now.Revision = k.Revision
	same := market.SameValues(&k.Kline, &now.Kline) && k.Gap == now.Gap
	if same && now.State == k.State {
		return
	}
	*k = now
	if same {
		e.emit(s, u, k)
	} else {
		e.revised(s, u, k)
	}
	e.rise(s, u, k)
}

package sim

import (
	"slices"

	"klined/market"
)

// pushEvery is the least time between two frames of a running kline.
const pushEvery = market.Time(250) // ms

// pushState is what the kline streams of a symbol still have to send.
type pushState struct {
	lanes   []*klineLane // one for each interval that is subscribed, shortest first
	stirred bool         // it stands among the market's stirred symbols
	dirty   bool         // fills happened since its lanes were looked at
	traded  bool         // likewise, for the miniTicker
	day     row          // the 24 hours before the running minute
	dayEnd  market.Time  // the minute that day is for
	due     market.Time  // when the symbol is to be looked at again
}

func (p *pushState) wanted() bool { return len(p.lanes) > 0 }

// klineLane is one interval of a symbol that somebody subscribes to.
type klineLane struct {
	iv         interval
	kline      *stream // <symbol>@kline_<interval>
	continuous *stream // <pair>_<contract>@continuousKline_<interval>
	sum        row     // of the running kline, its minutes that are over
	upTo       market.Time
	next       market.Time // where the running kline ends
	owed       bool        // it has changed since its last frame
	quiet      market.Time // until when its running kline is not sent again
}

// lane is the lane of an interval, begun where nobody has subscribed to it before.
func (s *symbol) lane(iv interval, now market.Time) *klineLane {
	for _, l := range s.pushes.lanes {
		if l.iv.name == iv.name {
			return l
		}
	}
	v := s.look(now)
	open, minute := iv.open(now), oneMinute.open(now)
	l := &klineLane{iv: iv, upTo: minute, next: iv.next(now), sum: emptyRow(open, s.last.price)}
	if from := max(open, s.opens); from < minute {
		l.sum = v.sum(from, minute)
		l.sum.open = open
		s.nameFills(&l.sum, v)
	}
	s.pushes.lanes = append(s.pushes.lanes, l)
	slices.SortFunc(s.pushes.lanes, func(a, b *klineLane) int { return a.iv.rank() - b.iv.rank() })
	return l
}

// beginLanes lets the klines that somebody subscribed to before the symbol's first trade begin with it.
func (s *symbol) beginLanes(first *fill) {
	for _, l := range s.pushes.lanes {
		l.upTo, l.next = s.opens, l.iv.next(first.time())
		l.sum = emptyRow(l.iv.open(first.time()), first.price)
	}
}

// nameFills gives a kline that began in the past the ids that its fills would have: they end where the live ones begin.
func (s *symbol) nameFills(r *row, v *view) {
	if r.count == 0 || r.first >= 0 {
		return
	}
	past := v.sum(r.open, s.seam())
	r.first = s.firstID - past.count
	if r.last < 0 {
		r.last = s.firstID - 1
	}
}

// dropLane ends the lane that carries a stream, where nothing else needs it.
func (s *symbol) dropLane(st *stream) {
	for i, l := range s.pushes.lanes {
		if l.kline == st {
			l.kline = nil
		}
		if l.continuous == st {
			l.continuous = nil
		}
		if l.kline == nil && l.continuous == nil {
			s.pushes.lanes = slices.Delete(s.pushes.lanes, i, i+1)
			return
		}
	}
}

// pushKlines sends what has become due of all symbols that were stirred.
func (e *Exchange) pushKlines(now market.Time) {
	waiting := e.live.stirred[:0]
	for _, s := range e.live.stirred {
		s.pushes.due = e.pushSymbol(s, now)
		if s.pushes.due > 0 {
			waiting = append(waiting, s)
		} else {
			s.pushes.stirred = false
		}
	}
	e.live.stirred = waiting
}

// pushSymbol sends what is due of one symbol and says when to look again, 0 where its next fill will tell.
func (e *Exchange) pushSymbol(s *symbol, now market.Time) (again market.Time) {
	for _, l := range s.pushes.lanes {
		l.owed = l.owed || s.pushes.dirty
		if wait := e.closeLane(s, l, now); wait > 0 {
			again = earlier(again, wait)
		} else if l.owed && now < l.quiet {
			again = earlier(again, l.quiet)
		} else if l.owed {
			l.owed, l.quiet = false, now+pushEvery
			r := l.running(s, now)
			e.pushLane(s, l, &r, false, now)
		}
	}
	s.pushes.dirty = false
	return again
}

// earlier is the earlier of two times, of which 0 is none.
func earlier(a, b market.Time) market.Time {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// closeLane sends the closed klines of a lane that are due, in order. A close is due some time after its boundary,
// and not before the symbol has traded beyond it. It says when to look again where a close waits for its time only.
func (e *Exchange) closeLane(s *symbol, l *klineLane, now market.Time) (again market.Time) {
	for l.next <= now && s.last.time() >= l.next {
		if at := l.next + s.closeDelay(l.next); now < at {
			return at
		}
		l.addMinutes(s, l.next)
		e.pushLane(s, l, &l.sum, true, now)
		l.sum = emptyRow(l.next, l.sum.c)
		l.next = l.iv.next(l.next)
	}
	return 0
}

// closeDelay is how long after a boundary the exchange pushes a symbol's closed klines: measured 203 to 2,004 ms.
func (s *symbol) closeDelay(boundary market.Time) market.Time {
	draw := mix(s.key ^ uint64(boundary)*0x9fb21c651e98df25)
	delay := 200 + market.Time(draw&0x1ff)
	if draw>>9&3 == 0 {
		delay += market.Time(draw >> 11 % 1290)
	}
	return delay
}

// running is the lane's kline as it stands; where the symbol is silent since a boundary, still the one before it.
func (l *klineLane) running(s *symbol, now market.Time) row {
	minute := oneMinute.open(now)
	l.addMinutes(s, min(minute, l.next))
	r := l.sum
	if i := int((minute - s.seam()) / market.Minute); minute < l.next && i < len(s.minutes) {
		r.follow(&s.minutes[i])
	}
	return r
}

// addMinutes adds the minutes that are over and not yet in the sum, up to a time.
func (l *klineLane) addMinutes(s *symbol, to market.Time) {
	for ; l.upTo < to; l.upTo += market.Minute {
		if i := int((l.upTo - s.seam()) / market.Minute); i < len(s.minutes) {
			l.sum.follow(&s.minutes[i])
		}
	}
}

func (e *Exchange) pushLane(s *symbol, l *klineLane, r *row, closed bool, now market.Time) {
	if l.kline != nil {
		e.publish(l.kline, func(dst []byte) []byte { return s.appendKline(dst, l.iv, r, closed, now) })
	}
	if l.continuous != nil {
		e.publish(l.continuous, func(dst []byte) []byte { return s.appendContinuous(dst, l.iv, r, closed, now) })
	}
}

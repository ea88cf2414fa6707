package engine

import "klined/market"

// Replaced says what became of an official kline.
type Replaced uint8

// What may become of an official kline.
const (
	Equal      Replaced = iota // ours had the same values: it is settled now
	Different                  // ours was absent or had other values: it is the exchange's now
	OutOfReach                 // older than what the engine keeps, or of an interval it keeps no official klines of
)

// Replace settles the kline of 1m, 1h or 1d by the exchange's own: State Settled, ids −1 where unknown. Klines folded
// or carried from it follow. An official 1m kline closes its minute at once, and any closes what lies before it.
func (e *Engine) Replace(slot Slot, iv market.Interval, k *market.Kline) Replaced {
	s := &e.symbols[slot]
	r, begun := e.officialRung(iv), s.from != never
	if r < 0 || begun && k.OpenTime < e.reach(s, r) {
		return OutOfReach
	}
	if begun && k.OpenTime >= s.next {
		e.advance(slot, s, k.OpenTime)
	}
	old := e.hold(s, r, k.OpenTime)
	if old == nil {
		return OutOfReach
	}
	outcome := e.settle(s, r, old, k)
	if old == s.running {
		e.advance(slot, s, s.next)
	}
	e.touch(slot, s)
	return outcome
}

// officialRung is the rung of an interval that official klines may settle, else −1.
func (e *Engine) officialRung(iv market.Interval) int {
	if iv != market.OneMinute && iv != market.OneHour && iv != market.OneDay {
		return -1
	}
	return e.rungOf(iv)
}

// settle puts the exchange's values k in place of old.
func (e *Engine) settle(s *symbol, r int, old *entry, k *market.Kline) Replaced {
	was, complete := *old, old.complete()
	same := was.State != market.StateAbsent && market.SameValues(&was.Kline, k)
	if complete && same && was.State == market.StateSettled {
		return Equal
	}
	if r <= e.minute {
		e.exists(s, old)
	}
	revision, last := old.Revision, old.LastTradeID
	old.Kline = *k
	old.State, old.Gap, old.upTo = market.StateSettled, false, old.end
	old.Revision, old.LastTradeID = revision, max(last, k.LastTradeID)
	if k.FirstID < 0 && k.TradeCount != 0 {
		old.FirstID, old.LastID = was.FirstID, was.LastID
	}
	switch {
	case !complete:
		old.Revision = 0
		e.closed(s, r, old)
	case same && !was.Gap:
		e.emit(s, r, old)
	default:
		e.revised(s, r, old)
	}
	e.rise(s, r, old)
	e.follow(s, r, old.end)
	if same {
		return Equal
	}
	return Different
}

// Load puts a closed or settled kline that was known before: the store's, or an official one. What ended before Begin's
// time does not leave the engine again. A better version that is there already stays. false where k is out of reach.
func (e *Engine) Load(slot Slot, iv market.Interval, k *market.Kline) bool {
	s := &e.symbols[slot]
	r, begun := e.officialRung(iv), s.from != never
	if r < 0 || k.State < market.StateClosed || begun && k.OpenTime >= s.open {
		return false
	}
	old := e.hold(s, r, k.OpenTime)
	if old == nil {
		return false
	}
	complete := old.complete()
	switch {
	case complete && !market.Better(k, &old.Kline):
		return true
	case complete && begun && old.end >= s.from && k.State == market.StateSettled:
		e.settle(s, r, old, k)
	default:
		e.put(s, r, old, k)
	}
	e.touch(slot, s)
	return true
}

// put takes k as it is, for what was not there or for a worse version.
func (e *Engine) put(s *symbol, r int, old *entry, k *market.Kline) {
	complete := old.complete()
	if r <= e.minute {
		e.exists(s, old)
	}
	old.Kline, old.upTo = *k, old.end
	if complete {
		e.emit(s, r, old)
	} else {
		e.closed(s, r, old)
	}
	e.rise(s, r, old)
	e.follow(s, r, old.end)
}

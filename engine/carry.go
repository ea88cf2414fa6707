package engine

import (
	"klined/fixed"
	"klined/market"
)

// carried is the price that stands when rung r's kline at open begins: the close of what ends there. An official close
// comes before ours, and the rung's own before that of a longer kline.
func (e *Engine) carried(s *symbol, r int, open market.Time) (price fixed.Value, ok bool) {
	before := e.rungs[r].interval.Open(open - 1)
	own := e.find(s, r, before)
	if own != nil && own.State == market.StateSettled {
		return own.Close, true
	}
	if open%market.Minute != 0 || e.minute == 0 && open%market.Hour != 0 { // nothing longer that is official ends here
		if own == nil {
			return 0, false
		}
		return own.Close, true
	}
	longer := e.longer(s, r, open)
	switch {
	case longer != nil && longer.State == market.StateSettled:
		return longer.Close, true
	case own != nil && before >= e.reach(s, r):
		return own.Close, true
	case longer != nil:
		return longer.Close, true
	case own != nil:
		return own.Close, true
	}
	return 0, false
}

// longer is the kline above rung r that may be official and ends at end: the shortest that is settled, else the shortest
// that is complete, else nil.
func (e *Engine) longer(s *symbol, r int, end market.Time) (found *entry) {
	for _, u := range [...]int{e.minute, e.hour, e.day} {
		if u <= r || end%market.Time(e.rungs[u].interval) != 0 {
			continue
		}
		k := e.find(s, u, end-market.Time(e.rungs[u].interval))
		switch {
		case k == nil:
		case k.State == market.StateSettled:
			return k
		case found == nil:
			found = k
		}
	}
	return found
}

// follow lets the changed close of a kline that ends at open be carried on. What still has its parts takes it from them:
// the days up to the oldest hour that may change, the hours up to the oldest such minute, and so on down to the base.
func (e *Engine) follow(s *symbol, r int, open market.Time) {
	levels := [...]int{e.day, e.hour, e.minute, 0}
	for i, level := range levels {
		if level > r || i > 0 && level == levels[i-1] {
			continue
		}
		end := s.next
		if level > 0 {
			end = e.reach(s, levels[i+1])
		}
		e.recarry(s, level, open, end)
		open = max(open, end)
	}
}

// recarry gives the klines without trades of rung r that open from open on and before end, up to the next one with
// trades, the price they carry; base klines that could not be shown for want of a price are shown now.
func (e *Engine) recarry(s *symbol, r int, open, end market.Time) {
	for open < end {
		k := e.at(s, r, open)
		if k.OpenTime != open || k.TradeCount != 0 || k.State == market.StateSettled || r > 0 && !k.complete() {
			return
		}
		price, ok := e.carried(s, r, open)
		known := k.State != market.StateAbsent
		if !ok || known && k.Open == price {
			return
		}
		k.Open, k.High, k.Low, k.Close = price, price, price, price
		switch {
		case k == s.running:
			k.State = market.StateOpen
		case !known:
			k.State, k.upTo = market.StateClosed, k.end
			e.closed(s, r, k)
			e.rise(s, r, k)
		default:
			e.revised(s, r, k)
			e.riseCarried(s, r, k)
		}
		open = k.end
	}
}

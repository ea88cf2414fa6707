package feed

import "klined/market"

// Last is what the symbol's last trade in order cost, of those that have a quantity: none before it, nor where an official kline
// has shown a later one. sure reports whether it is the last that took place, as far as is known: a connection has carried the
// symbol since, none is waited for, and the price that the klines carry is the same.
func (f *Feed) Last(id market.SymbolID) (p market.Price, sure bool) {
	l, slot := f.laneOf(id)
	if l == nil {
		return p, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.symbols[slot]
	k, shown := l.engine.Running(slot, l.engine.Base())
	sure = shown && s.price.Time != 0 && k.Close == s.price.Value && !s.blind.open() && !s.hole.declared && s.doubt.first.Time == 0
	return s.price, sure
}

// Traded is the time of the symbol's last trade in order; 0 before it.
func (f *Feed) Traded(id market.SymbolID) market.Time {
	l, slot := f.laneOf(id)
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.symbols[slot].lastTime
}

// outdates forgets what the last trade cost where the exchange's kline k holds a later one.
func (s *symbol) outdates(k *market.Kline) {
	if k.TradeCount > 0 && k.OpenTime > s.price.Time {
		s.price = market.Price{}
	}
}

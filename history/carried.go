package history

import (
	"slices"

	"klined/market"
)

// Carry says that the lanes carry symbols from now on: they are given what they begin from, settled, and their past is
// brought. It may be called before anything runs, and of symbols that had been dropped.
func (h *History) Carry(ids ...market.SymbolID) {
	h.CarryNew(ids...)
	h.starts.add(ids)
}

// CarryNew is Carry for symbols that the exchange has listed just now: nothing lies behind them that they could begin from.
func (h *History) CarryNew(ids ...market.SymbolID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.carried = append(slices.Clip(h.carried), ids...)
	for _, id := range ids {
		delete(h.dropped, id)
	}
}

// Drop says that the exchange has ended a symbol: nothing new is asked for. What is older than that is settled yet, within
// a day.
func (h *History) Drop(id market.SymbolID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.carried = slices.DeleteFunc(slices.Clone(h.carried), func(other market.SymbolID) bool { return other == id })
	h.dropped[id] = h.clock.Now()
	delete(h.ails, id)
}

// carries is the symbols that are carried, in the order they came: to read, not to change.
func (h *History) carries() []market.SymbolID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.carried
}

// droppedAt is when a symbol was dropped; 0 where it is carried.
func (h *History) droppedAt(id market.SymbolID) market.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped[id]
}

package feed

import (
	"bytes"

	"klined/market"
)

// relayKept bounds the bytes of trades that wait for a lane's drainer. They are facts: where there is no room, those who take
// them are told so, instead of being given others. It is a quarter of what may wait for one client that takes them all.
const relayKept = 1 << 20

// relays is the venue's own bytes of the trades that somebody wants, from the lane to its drainer. The lane's mutex guards it.
type relays struct {
	symbols int    // whose trades somebody wants
	text    []byte // of waiting, one behind the other
	drained []byte // memory of what the drainer has; its own until it takes more
	waiting []market.Relayed
	lost    map[market.SymbolID]struct{} // there was no room for some of theirs since the last drain
}

// add copies a trade's bytes to what waits.
func (r *relays) add(id market.SymbolID, payload []byte) {
	if len(r.lost) > 0 || len(r.text)+len(payload) > relayKept {
		r.lose(id)
		return
	}
	from := len(r.text)
	r.text = append(r.text, payload...)
	r.waiting = append(r.waiting, market.Relayed{Symbol: id, Payload: r.text[from:]})
}

// lose notes, once a drain, that there was no room for a trade.
func (r *relays) lose(id market.SymbolID) {
	if _, known := r.lost[id]; known {
		return
	}
	if r.lost == nil {
		r.lost = make(map[market.SymbolID]struct{})
	}
	r.lost[id] = struct{}{}
	r.waiting = append(r.waiting, market.Relayed{Symbol: id})
}

// take hands out what waits, valid until the next call; used is what that gave, for its memory.
func (r *relays) take(used []market.Relayed) []market.Relayed {
	taken := r.waiting
	r.waiting = used[:0]
	r.text, r.drained = r.drained[:0], r.text
	clear(r.lost)
	return taken
}

// keep is a copy of the bytes of a trade that is held, where somebody wants the symbol's trades.
func (s *symbol) keep(payload []byte) []byte {
	if !s.relayed {
		return nil
	}
	return bytes.Clone(payload)
}

// WatchTrades says whether somebody wants the trades of a symbol as they came, each once and by rising id: they leave with the
// drains, in Changes.Relayed. What REST brings, or what comes when its successors have been passed on, does not.
func (f *Feed) WatchTrades(id market.SymbolID, on bool) {
	l, slot := f.laneOf(id)
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.symbols[slot]
	switch {
	case on && !s.relayed:
		l.relays.symbols++
		if n := len(s.held); n > 0 {
			s.relayFrom = s.held[n-1].ID + 1 // nobody has kept what is held
		}
	case !on && s.relayed:
		l.relays.symbols--
		for i := range s.held {
			s.held[i].payload = nil
		}
	}
	s.relayed = on
}

// summarise hands on what a connection of the witness has brought. While one is replaced, both bring the same rows: those of the
// one that came first are taken until it ends.
func (f *Feed) summarise(s *session, b *market.Batch) {
	if f.tickers == nil || len(b.Tickers)+len(b.Summaries) == 0 {
		return
	}
	if f.summarises.CompareAndSwap(nil, s) || f.summarises.Load() == s {
		f.tickers(b)
	}
}

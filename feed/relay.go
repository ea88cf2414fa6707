package feed

import (
	"bytes"
	"slices"
	"sync"

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

// drop forgets what waits of a symbol: whoever takes its trades next begins with what comes then.
func (r *relays) drop(id market.SymbolID) {
	r.waiting = slices.DeleteFunc(r.waiting, func(x market.Relayed) bool { return x.Symbol == id })
	delete(r.lost, id)
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

// keptFrom is the id from which on the symbol's trades are kept for those who take them: above all that is held and was not.
func (s *symbol) keptFrom() int64 {
	for i := len(s.held) - 1; i >= 0; i-- {
		if s.held[i].payload == nil {
			return s.held[i].ID + 1
		}
	}
	return 0
}

// WatchTrades says whether somebody wants the trades of a symbol as they came, each once and by rising id: they leave with the
// drains, in Changes.Relayed. What REST brings, or what comes when its successors have been passed on, does not. Once it has
// returned from saying that nobody does, none leaves, nor is any on its way.
func (f *Feed) WatchTrades(id market.SymbolID, on bool) {
	l, slot := f.laneOf(id)
	if l == nil {
		return
	}
	if !on {
		l.handing.Lock()
		defer l.handing.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.symbols[slot]
	switch {
	case on && !s.relayed:
		l.relays.symbols++
		s.relayFrom = s.keptFrom()
	case !on && s.relayed:
		l.relays.symbols--
		l.relays.drop(id)
		for i := range s.held {
			s.held[i].payload = nil
		}
	}
	s.relayed = on
}

// summaries is what is handed on of the witness. Whoever hands on holds the mutex.
type summaries struct {
	mu   sync.Mutex
	from *session      // whose rows are; nil while there is none
	last market.Ticker // the last row that was
}

// summarise hands on what a connection of the witness has brought. While one is replaced, both bring the same: the successor takes
// over with the read by which it delivers, unless the old one has handed on the same, so that nothing is lost between the two.
func (f *Feed) summarise(s *session, b *market.Batch, delivers bool) {
	n := len(b.Tickers)
	if f.tickers == nil || n+len(b.Summaries) == 0 {
		return
	}
	m := &f.summaries
	m.mu.Lock()
	defer m.mu.Unlock()
	again := delivers && m.from != nil && n > 0 && b.Tickers[n-1] == m.last
	if delivers || m.from == nil {
		m.from = s
	}
	if again || m.from != s {
		return
	}
	if n > 0 {
		m.last = b.Tickers[n-1]
	}
	f.tickers(b)
}

// end notes that a connection has ended.
func (m *summaries) end(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.from == s {
		m.from = nil
	}
}

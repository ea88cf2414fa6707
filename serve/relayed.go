package serve

import (
	"strings"

	"github.com/gobwas/ws"

	"klined/market"
)

// The streams that carry what the feed relays: the trades that klines are built from, and the exchange's summary of all symbols.
const (
	miniTickerStream  = "@miniTicker"
	miniTickersStream = "!miniTicker@arr"
)

// relayedFrom says of what in the feed a stream is made: the trades of a symbol, or its rows of the summary. The zero value is of
// all symbols.
type relayedFrom struct {
	symbol market.SymbolID
	kind   string // what stands behind the symbol in the name of the stream
}

// relays finds of what in the feed a stream is made, and who is to be told that somebody takes it; nil where the name is none of a
// carried symbol's.
func (s *Server) relays(name string) (from relayedFrom, watch func(on bool)) {
	if name == miniTickersStream {
		return from, nobody
	}
	symbol, kind, _ := strings.Cut(name, "@")
	sym, ok := s.symbol(upper(symbol))
	switch {
	case !ok || lower(symbol) != symbol:
	case "@"+kind == miniTickerStream:
		return relayedFrom{sym.ID, miniTickerStream}, nobody
	case "@"+kind == s.trades && s.opt.WatchTrades != nil:
		return relayedFrom{sym.ID, s.trades}, func(on bool) { s.opt.WatchTrades(sym.ID, on) }
	}
	return from, nil
}

// nobody is told of streams that come anyway.
func nobody(bool) {}

// relayedTo is the stream that is made of that in the feed, nil where nobody takes it.
func (h *hub) relayedTo(from relayedFrom) *facts {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.fed[from]
}

// relay hands on a trade as it came. Where there was no room for one on its way, those who take them have lost the thread: they
// are closed, and begin anew.
func (h *hub) relay(r *round, t *market.Relayed) {
	f := h.relayedTo(relayedFrom{t.Symbol, h.server.trades})
	switch {
	case f == nil:
	case t.Payload == nil:
		f.lost()
	default:
		f.deliver(r, t.Payload)
	}
}

// lost closes all who subscribe.
func (f *facts) lost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.list {
		s.client.shut(ws.StatusInternalServerError, "events were lost")
	}
}

// PublishTickers pushes rows of the exchange's summary, and whole frames of it, as they came. It copies what it keeps and waits for
// no client. One goroutine calls it at a time.
func (s *Server) PublishTickers(b *market.Batch) {
	r := s.hub.round()
	defer r.end()
	for i := range b.Rows {
		if f := s.hub.relayedTo(relayedFrom{b.Tickers[i].SymbolID, miniTickerStream}); f != nil {
			f.deliver(r, b.Rows[i])
		}
	}
	if all := s.hub.relayedTo(relayedFrom{}); all != nil {
		for _, frame := range b.Summaries {
			all.deliver(r, frame)
		}
	}
}

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

// relays finds who is to be told that somebody takes a stream of what the feed relays; nil where the name is none of a carried
// symbol's.
func (s *Server) relays(name string) (watch func(on bool)) {
	if name == miniTickersStream {
		return nobody
	}
	symbol, kind, _ := strings.Cut(name, "@")
	sym, ok := s.symbol(upper(symbol))
	switch {
	case !ok || lower(symbol) != symbol:
	case "@"+kind == miniTickerStream:
		return nobody
	case "@"+kind == s.tradeStream() && s.opt.WatchTrades != nil:
		return func(on bool) { s.opt.WatchTrades(sym.ID, on) }
	}
	return nil
}

// nobody is told of streams that come anyway.
func nobody(bool) {}

// tradeStream is what stands behind a symbol in the name of the stream of its trades.
func (s *Server) tradeStream() string { return "@" + s.opt.Source.String() }

// factsOf is the stream of that kind of a symbol's, nil where nobody takes it from the feed.
func (h *hub) factsOf(id market.SymbolID, kind string) *facts {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.facts) == 0 {
		return nil
	}
	if f := h.facts[lower(h.server.opt.Symbols.Get(id).Name)+kind]; f != nil && f.fed {
		return f
	}
	return nil
}

// relay hands on a trade as it came. Where there was no room for one on its way, those who take them have lost the thread: they
// are closed, and begin anew.
func (h *hub) relay(r *round, t *market.Relayed) {
	f := h.factsOf(t.Symbol, h.server.tradeStream())
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
		if f := s.hub.factsOf(b.Tickers[i].SymbolID, miniTickerStream); f != nil {
			f.deliver(r, b.Rows[i])
		}
	}
	s.hub.mu.RLock()
	all := s.hub.facts[miniTickersStream]
	s.hub.mu.RUnlock()
	if all == nil {
		return
	}
	for _, frame := range b.Summaries {
		all.deliver(r, frame)
	}
}

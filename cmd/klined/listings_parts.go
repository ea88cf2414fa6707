package main

import (
	"context"
	"slices"

	"klined/binance"
	"klined/health"
	"klined/market"
)

// buildLister makes what follows the exchange's listings, from its first answer on.
func (s *server) buildLister(info *binance.Info, carried []market.SymbolID) {
	s.lister = &lister{named: s.o.Symbols, symbols: s.symbols, save: s.saveSymbols, add: s.carry, end: s.letGo, clock: s.clock,
		traded: func(id market.SymbolID) market.Time { return s.feed.Traded(id) }, // which is built later
		ask:    s.exchangeInfo, listed: func() { s.serve.Listed() }, health: s.dog.Component("listings", health.Outside), log: s.log}
	s.lister.begin(info, carried)
}

// exchangeInfo asks what the exchange lists.
func (s *server) exchangeInfo(ctx context.Context) (*binance.Info, error) {
	info, err := s.rest.ExchangeInfo(ctx, market.ClassStart)
	if err == nil {
		keepKnown(info, s.symbols)
	}
	return info, err
}

// keepKnown lists registered symbols that are odd, with the digits they have had: they have neither ended nor vanished.
func keepKnown(info *binance.Info, symbols *market.Symbols) {
	for _, odd := range info.Odd {
		if sym, registered := symbols.ByName(odd.Name); registered {
			odd.PriceDigits, odd.QtyDigits = sym.PriceDigits, sym.QtyDigits
			info.Listings = append(info.Listings, odd.Listing)
		}
	}
}

// noteOdd notes the perpetuals, or of them the named ones, whose rows are odd: they are not carried, or, where they are registered, as keepKnown has it.
func noteOdd(info *binance.Info, symbols *market.Symbols, names []string, refused, kept *refusals) {
	for i := range info.Odd {
		odd := &info.Odd[i]
		perpetual := odd.Perpetual() || odd.ContractType == ""
		if !perpetual || !odd.Live() || names != nil && !slices.Contains(names, odd.Name) {
			continue
		}
		if _, registered := symbols.ByName(odd.Name); registered {
			kept.add(odd.Name, odd.Why)
		} else {
			refused.add(odd.Name, odd.Why)
		}
	}
}

// saveSymbols makes symbols durable. Where the exchange writes one with fewer digits than before, the store goes on with as
// many: klines that run across the change have them.
func (s *server) saveSymbols(symbols []market.Symbol) error {
	kept := s.store.Symbols()
	symbols = slices.Clone(symbols)
	for i := range symbols {
		if sym := &symbols[i]; int(sym.ID) < len(kept) {
			sym.PriceDigits = max(sym.PriceDigits, kept[sym.ID].PriceDigits)
			sym.QtyDigits = max(sym.QtyDigits, kept[sym.ID].QtyDigits)
		}
	}
	return s.store.SaveSymbols(symbols)
}

// carry has the parts carry a further symbol.
func (s *server) carry(id market.SymbolID, first bool) error {
	if err := s.feed.Add([]market.SymbolID{id}, first); err != nil {
		return err
	}
	if first {
		s.history.CarryNew(id)
	} else {
		s.history.Carry(id)
	}
	return nil
}

// letGo has the parts let go of a symbol that the exchange has ended. What the store knows of it ends before its last minute:
// nobody else would say what the exchange has behind that. The feed is first: it begins nothing of it in the store after that.
func (s *server) letGo(id market.SymbolID) {
	s.feed.End(id)
	s.store.EndLive(id)
	s.history.Drop(id)
}

// fetch is history's, but for symbols that the exchange does not list any more: they are not asked for.
func (s *server) fetch(ctx context.Context, who string, series market.Series, span market.Span) ([]market.Kline, error) {
	if s.lister.contract(series.Symbol).gone {
		return nil, market.ErrNotListed
	}
	return s.history.Fetch(ctx, who, series, span)
}

// upstream is history's likewise.
func (s *server) upstream(ctx context.Context, who string, series market.Series, span market.Span, limit int) ([]market.Kline, error) {
	if s.lister.contract(series.Symbol).gone {
		return nil, market.ErrNotListed
	}
	return s.history.Upstream(ctx, who, series, span, limit)
}

// endedBefore is the symbols that have ended and that the lanes never carried: earlier runs did.
func (s *server) endedBefore() (ids []market.SymbolID) {
	for id, c := range *s.lister.contracts.Load() {
		if c.ended && !c.carried {
			ids = append(ids, market.SymbolID(id))
		}
	}
	return ids
}

// chooseLiving is choose, but that a named symbol that earlier runs carried may have ended since: it is in the registry.
func (s *server) chooseLiving(info *binance.Info, names []string) ([]binance.Listing, error) {
	listed := byName(info.Listings)
	living := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, registered := s.symbols.ByName(name)
		ended := registered && (listed[name] == nil || !listed[name].Live())
		if ended {
			s.log.Warn("the exchange has ended a symbol that --symbols names", "symbol", name, "status", statusOf(listed[name]))
		}
		return ended
	})
	return choose(info, living)
}

package store

import (
	"fmt"
	"slices"

	"klined/fixed"
	"klined/market"
)

// Symbols is every symbol that was saved, by id.
func (s *Store) Symbols() []market.Symbol {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.symbols)
}

// SaveSymbols keeps symbols: new ones, and new digits of old ones. They are on disk when it returns. A symbol must be
// saved before its first kline is put. An id keeps its name for ever.
func (s *Store) SaveSymbols(symbols []market.Symbol) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	all, err := s.writeSymbols(s.Symbols(), symbols)
	if err != nil {
		return fmt.Errorf("store %s: cannot save symbols: %w", s.opts.Dir, err)
	}
	s.mu.Lock()
	s.symbols = all
	s.mu.Unlock()
	return nil
}

func (s *Store) writeSymbols(all, symbols []market.Symbol) ([]market.Symbol, error) {
	tx, err := s.db.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	for _, sym := range symbols {
		if all, err = withSymbol(all, sym); err != nil {
			return nil, err
		}
		_, err = tx.Exec("INSERT INTO symbol (id, name, price_digits, qty_digits) VALUES (?,?,?,?) ON CONFLICT (id) "+
			"DO UPDATE SET price_digits=excluded.price_digits, qty_digits=excluded.qty_digits",
			sym.ID, sym.Name, sym.PriceDigits, sym.QtyDigits)
		if err != nil {
			return nil, err
		}
	}
	return all, tx.Commit()
}

// withSymbol is all with sym at its id: the next one, or its own.
func withSymbol(all []market.Symbol, sym market.Symbol) ([]market.Symbol, error) {
	id := int(sym.ID)
	at := slices.IndexFunc(all, func(old market.Symbol) bool { return old.Name == sym.Name })
	switch {
	case min(sym.PriceDigits, sym.QtyDigits) < 0 || max(sym.PriceDigits, sym.QtyDigits) > fixed.Digits:
		return nil, fmt.Errorf("symbol %s has %d and %d digits, want 0 to %d", sym.Name, sym.PriceDigits, sym.QtyDigits, fixed.Digits)
	case at >= 0 && at != id:
		return nil, fmt.Errorf("symbol %s has id %d already, not %d", sym.Name, at, id)
	case id == len(all):
		return append(all, sym), nil
	case id < 0 || id > len(all):
		return nil, fmt.Errorf("symbol %s has id %d where %d is next", sym.Name, id, len(all))
	case at < 0:
		return nil, fmt.Errorf("symbol %s has the id of %s, %d", sym.Name, all[id].Name, id)
	}
	all[id] = sym
	return all, nil
}

package market

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
)

// SymbolID is the dense number of a symbol: from 0 on, append-only, never reused, never moved.
type SymbolID int32

// Symbol is one contract of the exchange.
type Symbol struct {
	ID          SymbolID
	Name        string // "BTCUSDT"; any UTF-8
	PriceDigits int    // decimals of its prices (the exchange's pricePrecision)
	QtyDigits   int    // decimals of its quantities (quantityPrecision)
}

// QuoteDigits is the number of decimals of its quote volumes: those of price × quantity.
func (s *Symbol) QuoteDigits() int { return s.PriceDigits + s.QtyDigits }

// Symbols numbers symbols. Lookups take no lock and may run beside Put. The zero value is an empty registry.
type Symbols struct {
	mu   sync.Mutex // held by writers
	snap atomic.Pointer[snapshot]
}

// snapshot is read-only once stored; a writer replaces it whole.
type snapshot struct {
	names  nameTable
	byName map[string]SymbolID
	byID   []Symbol
}

var noSymbols = &snapshot{names: newNameTable(nil)}

func (s *Symbols) load() *snapshot {
	if snap := s.snap.Load(); snap != nil {
		return snap
	}
	return noSymbols
}

// Lookup finds a symbol by the bytes of its name, as they stand in a frame.
func (s *Symbols) Lookup(name []byte) (SymbolID, bool) {
	snap := s.load()
	if len(name) > packedMost {
		id, ok := snap.byName[string(name)]
		return id, ok
	}
	slot := snap.names.slot(pack(name))
	return slot.number - 1, slot.number != 0
}

// ByName finds a symbol by its name.
func (s *Symbols) ByName(name string) (Symbol, bool) {
	snap := s.load()
	id, ok := snap.byName[name]
	if !ok {
		return Symbol{}, false
	}
	return snap.byID[id], true
}

// Get is the symbol of an id that this registry gave out.
func (s *Symbols) Get(id SymbolID) Symbol { return s.load().byID[id] }

// All is every symbol by id. The slice is shared: read only.
func (s *Symbols) All() []Symbol { return s.load().byID }

// Put takes symbols in: a new name gets the next id, a known one keeps its id and takes the given digits. The ids in
// the argument are ignored; it returns the symbols as they stand now, in the argument's order.
func (s *Symbols) Put(symbols ...Symbol) []Symbol {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.load()
	next := &snapshot{byName: maps.Clone(old.byName), byID: append([]Symbol(nil), old.byID...)}
	if next.byName == nil {
		next.byName = make(map[string]SymbolID, len(symbols))
	}
	out := make([]Symbol, len(symbols))
	for i, sym := range symbols {
		id, known := next.byName[sym.Name]
		if !known {
			id = SymbolID(len(next.byID))
			next.byID = append(next.byID, Symbol{})
			next.byName[sym.Name] = id
		}
		sym.ID = id
		next.byID[id] = sym
		out[i] = sym
	}
	next.names = newNameTable(next.byID)
	s.snap.Store(next)
	return out
}

// Restore fills an empty registry with what a store has kept; the symbols must stand at their own ids.
func (s *Symbols) Restore(symbols []Symbol) error {
	named := make(map[string]SymbolID, len(symbols))
	for i, sym := range symbols {
		if int(sym.ID) != i {
			return fmt.Errorf("symbol %s has id %d where %d is next", sym.Name, sym.ID, i)
		}
		if id, twice := named[sym.Name]; twice {
			return fmt.Errorf("symbol %s has ids %d and %d", sym.Name, id, sym.ID)
		}
		named[sym.Name] = sym.ID
	}
	if len(s.All()) != 0 {
		return fmt.Errorf("the registry holds %d symbols already", len(s.All()))
	}
	s.Put(symbols...)
	return nil
}

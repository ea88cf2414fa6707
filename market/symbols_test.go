package market

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSymbols(t *testing.T) {
	var s Symbols
	if _, ok := s.Lookup([]byte("BTCUSDT")); ok || len(s.All()) != 0 {
		t.Error("an empty registry knows a symbol")
	}
	got := s.Put(Symbol{ID: 99, Name: "BTCUSDT", PriceDigits: 2, QtyDigits: 3}, Symbol{Name: "币安人生USDT", PriceDigits: 5})
	want := []Symbol{{0, "BTCUSDT", 2, 3}, {1, "币安人生USDT", 5, 0}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A known name keeps its id and takes new digits; a new one is appended; a name twice is one symbol.
	before := s.All()
	got = s.Put(Symbol{Name: "BTCUSDT", PriceDigits: 1, QtyDigits: 4}, Symbol{Name: "NEW"}, Symbol{Name: "NEW", QtyDigits: 1})
	want = []Symbol{{0, "BTCUSDT", 1, 4}, {2, "NEW", 0, 0}, {2, "NEW", 0, 1}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]Symbol{{0, "BTCUSDT", 1, 4}, {1, "币安人生USDT", 5, 0}, {2, "NEW", 0, 1}}, s.All()); d != "" {
		t.Error(d)
	}
	if before[0].PriceDigits != 2 || len(before) != 2 {
		t.Error("what All gave before has changed")
	}
	if id, ok := s.Lookup([]byte("币安人生USDT")); !ok || id != 1 {
		t.Error(id, ok)
	}
	if sym, ok := s.ByName("BTCUSDT"); !ok || sym != s.Get(0) || sym.QuoteDigits() != 5 {
		t.Error(sym, ok)
	}
	if _, ok := s.ByName("btcusdt"); ok {
		t.Error("names differ by case")
	}
}

// TestLookup: names of every length, in any script, are found, and nothing that only looks like them.
func TestLookup(t *testing.T) {
	var s Symbols
	names := map[string]SymbolID{}
	for n := range 40 {
		for _, name := range []string{strings.Repeat("A", n), strings.Repeat("B", max(n-1, 0)) + "A", strings.Repeat("币", n/3) + "USDT"[:n%3]} {
			names[name] = s.Put(Symbol{Name: name})[0].ID
		}
	}
	for i := range 3000 {
		name := fmt.Sprintf("%dUSDT", i*i)
		names[name] = s.Put(Symbol{Name: name})[0].ID
	}
	for name, want := range names {
		if id, ok := s.Lookup([]byte(name)); !ok || id != want {
			t.Errorf("%q is %d, %v; want %d", name, id, ok, want)
		}
		for _, other := range []string{name + "\x00", "\x00" + name, name + "\x07", name + "USDC", strings.ToLower(name) + "x"} {
			if id, ok := s.Lookup([]byte(other)); ok {
				t.Errorf("%q is taken for %d", other, id)
			}
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	var s Symbols
	var names [][]byte
	for i := range 800 {
		names = append(names, fmt.Appendf(nil, "SYM%dUSDT", i))
		s.Put(Symbol{Name: string(names[i])})
	}
	b.Run("packed", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok := s.Lookup(names[i%len(names)]); !ok {
				b.Fatal(i)
			}
		}
	})
	b.Run("map behind a lock", func(b *testing.B) {
		var mu sync.RWMutex
		byName := s.load().byName
		for i := 0; b.Loop(); i++ {
			mu.RLock()
			_, ok := byName[string(names[i%len(names)])]
			mu.RUnlock()
			if !ok {
				b.Fatal(i)
			}
		}
	})
}

func TestRestore(t *testing.T) {
	kept := []Symbol{{0, "A", 1, 2}, {1, "B", 3, 4}}
	var s Symbols
	if err := s.Restore(kept); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(kept, s.All()); d != "" {
		t.Error(d)
	}
	if got := s.Put(Symbol{Name: "C"})[0].ID; got != 2 {
		t.Errorf("the next id is %d", got)
	}
	for _, c := range []struct {
		name    string
		kept    []Symbol
		symbols *Symbols
		want    string
	}{
		{"a hole", []Symbol{{0, "A", 0, 0}, {2, "B", 0, 0}}, &Symbols{}, "symbol B has id 2 where 1 is next"},
		{"the same name twice", []Symbol{{0, "A", 0, 0}, {1, "A", 0, 0}}, &Symbols{}, "symbol A has ids 0 and 1"},
		{"not empty", kept, &s, "the registry holds 3 symbols already"},
	} {
		if err := c.symbols.Restore(c.kept); fmt.Sprint(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

// TestLookupBesidePut: lookups beside a writer see a symbol or not, and once seen its id never moves.
func TestLookupBesidePut(t *testing.T) {
	const symbols, readers = 200, 4
	var s Symbols
	var wait sync.WaitGroup
	for range readers {
		wait.Go(func() {
			for seen := 0; seen < symbols; {
				name := fmt.Sprintf("S%d", seen)
				id, ok := s.Lookup([]byte(name))
				if !ok {
					continue
				}
				if int(id) != seen || s.Get(id).Name != name || len(s.All()) <= seen {
					t.Errorf("%s has id %d", name, id)
					return
				}
				seen++
			}
		})
	}
	for i := range symbols {
		s.Put(Symbol{Name: fmt.Sprintf("S%d", i)}, Symbol{Name: "S0", PriceDigits: i})
	}
	wait.Wait()
	if s.Get(0).PriceDigits != symbols-1 {
		t.Error("the digits did not follow")
	}
}

func TestLookupAllocates(t *testing.T) {
	var s Symbols
	s.Put(Symbol{Name: "BTCUSDT"})
	name := []byte("BTCUSDT")
	if n := testing.AllocsPerRun(1000, func() { s.Lookup(name) }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

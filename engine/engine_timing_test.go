package engine

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"klined/fixed"
	"klined/market"
)

const manySymbols = 800

// manyFrom is a full hour, so that no minute of the running hour is missing.
const manyFrom market.Time = 1_803_790_800_000 // 2027-02-28T05:00:00Z

// many is an engine with the exchange's fifteen intervals over 800 symbols, one trade in each, an hour ago.
func many(tb testing.TB) *Engine {
	tb.Helper()
	e, err := New(market.ExchangeIntervals())
	if err != nil {
		tb.Fatal(err)
	}
	for i := range manySymbols {
		slot := e.Add(market.SymbolID(i))
		e.Fresh(slot)
		e.Begin(slot, manyFrom)
		t := oneTrade(int64(i), manyFrom)
		e.Apply(slot, &t)
	}
	e.Tick(manyFrom + market.Hour)
	return e
}

func oneTrade(id int64, at market.Time) market.Trade {
	return market.Trade{ID: id, FirstID: 2 * id, LastID: 2*id + 1, Time: at, TakerBuy: id&1 == 0,
		Price: 83_000*fixed.One + fixed.Value(id%1000)*1e6, Qty: fixed.Value(1+id%7) * 1e5}
}

// zipf draws slots as the market does: a few symbols have most of the trades.
func zipf(n int) []Slot {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 4, manySymbols-1)
	slots := make([]Slot, n)
	for i := range slots {
		slots[i] = Slot(z.Uint64())
	}
	return slots
}

// BenchmarkApply: one trade in order into the running kline; 800 symbols, Zipf.
func BenchmarkApply(b *testing.B) {
	e, slots, at, i := many(b), zipf(1<<16), manyFrom+market.Hour, 0
	b.ReportAllocs()
	for b.Loop() {
		t := oneTrade(int64(i), at)
		e.Apply(slots[i&(1<<16-1)], &t)
		i++
	}
}

// BenchmarkApplyAndRead15: the same, and all fifteen running klines of the symbol after it.
func BenchmarkApplyAndRead15(b *testing.B) {
	e, slots, at, i := many(b), zipf(1<<16), manyFrom+market.Hour, 0
	intervals := market.ExchangeIntervals()
	b.ReportAllocs()
	for b.Loop() {
		t := oneTrade(int64(i), at)
		slot := slots[i&(1<<16-1)]
		e.Apply(slot, &t)
		for _, iv := range intervals {
			if k, ok := e.Running(slot, iv); !ok || k.TradeCount == 0 {
				b.Fatal("nothing runs")
			}
		}
		i++
	}
}

// BenchmarkBoundary: one minute ends for all 800 symbols, and is drained. "all15" is the boundary at which all fifteen
// intervals end: 12,000 klines.
func BenchmarkBoundary(b *testing.B) {
	b.Run("1m", func(b *testing.B) {
		e, at := many(b), manyFrom+market.Hour
		var changed []market.Update
		b.ReportAllocs()
		for b.Loop() {
			at += market.Minute
			e.Tick(at)
			changed = e.Drain(changed)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manySymbols, "ns/symbol")
	})
	b.Run("all15", func(b *testing.B) {
		e := many(b)
		march := manyFrom + 19*market.Hour // 2027-03-01
		e.Tick(march - market.Minute)
		before := make([]symbol, manySymbols)
		for i := range e.symbols {
			before[i] = e.symbols[i]
			before[i].entries = append([]entry(nil), e.symbols[i].entries...)
		}
		changed := make([]market.Update, 0, 15*manySymbols)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			for i := range before {
				s := &e.symbols[i]
				copy(s.entries, before[i].entries)
				s.open, s.next, s.running = before[i].open, before[i].next, e.at(s, 0, before[i].open)
			}
			e.Drain(changed)
			b.StartTimer()
			e.Tick(march)
			if changed = e.Drain(changed); len(changed) != 15*manySymbols {
				b.Fatalf("%d klines", len(changed))
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manySymbols, "ns/symbol")
	})
}

// BenchmarkLate: a trade into the minute before: minute, what is closed above it, and the running klines.
func BenchmarkLate(b *testing.B) {
	e, slots, at, i := many(b), zipf(1<<16), manyFrom+market.Hour, 0
	var changed []market.Update
	b.ReportAllocs()
	for b.Loop() {
		t := oneTrade(int64(i), at-1)
		if e.Apply(slots[i&(1<<16-1)], &t) != Late {
			b.Fatal("not late")
		}
		changed = e.Drain(changed)
		i++
	}
}

// BenchmarkReplace: an official kline, of another close each time, for a minute half an hour ago, with 29 empty ones after it.
func BenchmarkReplace(b *testing.B) {
	e, slots, at, i := many(b), zipf(1<<16), manyFrom+market.Hour/2, 0
	k := market.EmptyKline(at, fixed.One)
	k.State = market.StateSettled
	var changed []market.Update
	b.ReportAllocs()
	for b.Loop() {
		k.Close++
		if e.Replace(slots[i&(1<<16-1)], market.OneMinute, &k) != Different {
			b.Fatal("not different")
		}
		changed = e.Drain(changed)
		i++
	}
}

// TestNoAllocations: nothing is allocated for a trade, for what is read of a symbol, nor for a boundary once the list of
// changes has grown.
func TestNoAllocations(t *testing.T) {
	e, at, id := many(t), manyFrom+market.Hour, int64(0)
	rows := make([]market.Kline, 0, 100)
	if n := testing.AllocsPerRun(1000, func() {
		trade := oneTrade(id, at)
		e.Apply(Slot(id%manySymbols), &trade)
		id++
	}); n != 0 {
		t.Errorf("a trade: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		e.Running(3, market.OneMonth)
		rows = e.Klines(rows[:0], 3, market.OneMinute, at-market.Hour/2)
	}); n != 0 {
		t.Errorf("a read: %v allocations", n)
	}
	changed := make([]market.Update, 0, 16*manySymbols)
	other := make([]market.Update, 0, 16*manySymbols)
	e.Drain(changed)
	if n := testing.AllocsPerRun(70, func() { // an hour's end among them
		at += market.Minute
		e.Tick(at)
		other = e.Drain(other)
		e.Touched(func(Slot) {})
	}); n != 0 {
		t.Errorf("a boundary: %v allocations", n)
	}
}

// TestMemory: 800 symbols with fifteen intervals stay within 64 MiB.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	e := many(t)
	e.Drain(nil)
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := float64(after.HeapAlloc-before.HeapAlloc) / (1 << 20)
	t.Logf("%d symbols: %.1f MiB, %d klines each", manySymbols, used, e.entries)
	if used > 64 {
		t.Errorf("%.1f MiB", used)
	}
	runtime.KeepAlive(e)
}

package main

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"klined/fixed"
	"klined/market"
)

// randomMinutes are n settled minutes of a symbol: a random walk of its price with gaps of quiet, as trades make them.
func randomMinutes(random *rand.Rand, symbol market.Symbol, open market.Time, n int) []market.Kline {
	tick, lot := fixed.One, fixed.One
	for range symbol.PriceDigits {
		tick /= 10
	}
	for range symbol.QtyDigits {
		lot /= 10
	}
	klines := make([]market.Kline, n)
	price, id := fixed.Value(5_000_000)*tick, int64(1e9)
	for i := range klines {
		k := market.EmptyKline(open+market.Time(i)*market.Minute, price)
		k.State = market.StateSettled
		for range random.IntN(12) {
			t := market.Trade{ID: id, FirstID: id, LastID: id + random.Int64N(40), Price: price, Qty: fixed.Value(1+random.ExpFloat64()*5000) * lot, TakerBuy: random.IntN(2) == 0}
			k.Add(&t)
			id = t.LastID + 1
			price = max(price+fixed.Value(random.NormFloat64()*300)*tick, tick)
		}
		klines[i] = k
	}
	return klines
}

// counter counts bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// BenchmarkExportMillion writes a million minutes of ten symbols, in the parts that export reads, of which the format's
// writer alone is measured.
func BenchmarkExportMillion(b *testing.B) {
	const symbols, rows = 10, 1_000_000
	var klines [symbols][]market.Kline
	for i := range klines {
		klines[i] = randomMinutes(rand.New(rand.NewPCG(1, uint64(i))), exportSymbol(i), at(b, "2026-01-01T00:00:00Z"), rows/symbols)
	}
	for _, format := range []string{"csv", "jsonl", "parquet"} {
		b.Run(format, func(b *testing.B) {
			var size counter
			b.ReportAllocs()
			for b.Loop() {
				size = 0
				w := newKlineWriter(&size, format)
				for i := range klines {
					if err := w.begin(exportSymbol(i), market.OneMinute); err != nil {
						b.Fatal(err)
					}
					for rest := klines[i]; len(rest) > 0; rest = rest[min(partKlines, len(rest)):] {
						if err := w.write(rest[:min(partKlines, len(rest))]); err != nil {
							b.Fatal(err)
						}
					}
				}
				if err := w.end(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(size)/rows, "bytes/row")
		})
	}
}

// exportSymbol is the i-th symbol of the tests of export: each has other digits.
func exportSymbol(i int) market.Symbol {
	return market.Symbol{ID: market.SymbolID(i), Name: fmt.Sprintf("币%dUSDT", i), PriceDigits: i % 6, QtyDigits: (i + 3) % 4}
}

package store

import (
	"context"
	"fmt"
	"testing"

	"klined/market"
)

const benchSymbols = 800

// benchStore has 800 symbols and commits only when it is told to.
func benchStore(b *testing.B) *Store {
	s, err := Open(Options{Dir: b.TempDir(), CommitEvery: 1 << 60})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	symbols := make([]market.Symbol, benchSymbols)
	for i := range symbols {
		symbols[i] = market.Symbol{ID: market.SymbolID(i), Name: fmt.Sprintf("S%dUSDT", i), PriceDigits: 2, QtyDigits: 3}
	}
	if err := s.SaveSymbols(symbols); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkCommit8000ClosesOf15Intervals is a boundary at which every interval ends: 800 symbols, 8,000 closes spread
// over 15 tables, durable.
func BenchmarkCommit8000ClosesOf15Intervals(b *testing.B) {
	s := benchStore(b)
	changes := &market.Changes{Updates: make([]market.Update, 8000)}
	intervals := market.ExchangeIntervals()
	ordinals := make([]int64, len(intervals))
	for i, iv := range intervals {
		ordinals[i] = iv.Ordinal(day(2024, 1, 1))
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		for i := range changes.Updates {
			iv := i / 534
			series := market.Series{Symbol: market.SymbolID(i % 534), Interval: intervals[iv]}
			changes.Updates[i] = market.Update{Series: series, Kline: testKline(series, intervals[iv].OpenAt(ordinals[iv]+int64(n)))}
		}
		b.StartTimer()
		s.Put(changes)
		if err := s.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit12000Rows is a boundary of 800 symbols at which all 15 intervals end, durable: of whole klines; of klines
// that lack trades, so that each is a hole; of the same when they are healed.
func BenchmarkCommit12000Rows(b *testing.B) {
	for _, measured := range []string{"whole", "lacking", "healed"} {
		b.Run(measured, func(b *testing.B) {
			s := benchStore(b)
			commit := func(name string, changes *market.Changes) {
				if name == measured {
					b.StartTimer()
					defer b.StopTimer()
				}
				s.Put(changes)
				if err := s.Flush(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.StopTimer()
			for n := range b.N {
				if measured == "whole" {
					commit("whole", boundary(n, 0, false))
					continue
				}
				commit("lacking", boundary(n, 0, true))
				commit("healed", boundary(n, 1, false))
			}
		})
	}
}

// boundary is a kline of every symbol and interval, the n-th.
func boundary(n int, revision int32, gap bool) *market.Changes {
	changes := &market.Changes{}
	for symbol := range market.SymbolID(benchSymbols) {
		for _, iv := range market.ExchangeIntervals() {
			series := market.Series{Symbol: symbol, Interval: iv}
			k := testKline(series, iv.OpenAt(iv.Ordinal(day(2024, 1, 1))+int64(n)))
			k.Revision, k.Gap = revision, gap
			changes.Updates = append(changes.Updates, market.Update{Series: series, Kline: k})
		}
	}
	return changes
}

// BenchmarkRead1500RowsOf800Symbols reads one series among 800.
func BenchmarkRead1500RowsOf800Symbols(b *testing.B) {
	s := benchStore(b)
	from := day(2024, 1, 1)
	for m := market.Time(0); m < 1500; m++ {
		changes := &market.Changes{UpTo: from + (m+1)*market.Minute}
		for id := range market.SymbolID(benchSymbols) {
			series := market.Series{Symbol: id, Interval: market.OneMinute}
			changes.Updates = append(changes.Updates, market.Update{Series: series, Kline: testKline(series, from+m*market.Minute)})
		}
		s.Put(changes)
		if s.Status().OutboxRows > 100_000 {
			if err := s.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.Logf("%.0f bytes a row", float64(s.Status().FileBytes)/1500/benchSymbols)
	b.ReportAllocs()
	for b.Loop() {
		rows, _, err := s.Read(context.Background(), market.Series{Symbol: 77, Interval: market.OneMinute},
			market.Span{From: from, To: from + 1500*market.Minute})
		if err != nil || len(rows) != 1500 {
			b.Fatal(len(rows), err)
		}
	}
}

// BenchmarkKlines500 reads what the window has.
func BenchmarkKlines500(b *testing.B) {
	s, err := Open(Options{Dir: b.TempDir(), CommitEvery: 1 << 60, Window: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.SaveSymbols(testSymbols(1)); err != nil {
		b.Fatal(err)
	}
	s.BeginLive(0, 1, at("10:00:00"))
	feedMinutes(s, 0, 0, 1500)
	last := at("10:00:00") + 1500*market.Minute
	span := market.Span{From: last - 500*market.Minute, To: last}
	var rows []market.Kline
	b.ReportAllocs()
	for b.Loop() {
		if rows, _, err = s.Klines(context.Background(), rows[:0], minutesOf0, span); err != nil || len(rows) != 500 {
			b.Fatal(len(rows), err)
		}
	}
}

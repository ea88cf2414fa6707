package feed

import (
	"math/rand/v2"
	"testing"

	"klined/fixed"
	"klined/market"
)

// batches is n batches of size trades each, in order, of symbols whose popularity is Zipf's, 0.2 ms apart.
type batches struct {
	next []int64 // id by symbol
	zipf *rand.Zipf
	at   market.Time
	n    int64
}

func newBatches(symbols int) *batches {
	return &batches{next: make([]int64, symbols), zipf: rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 4, uint64(symbols-1)), at: tapeBegin}
}

// fill makes b the next batch.
func (s *batches) fill(b *market.Batch, size int) {
	b.Reset()
	b.Ready = true
	for range size {
		id := market.SymbolID(s.zipf.Uint64())
		s.next[id]++
		if s.n++; s.n%5 == 0 {
			s.at++
		}
		fill := s.next[id] * 2
		b.Trades = append(b.Trades, market.Trade{SymbolID: id, ID: s.next[id], FirstID: fill, LastID: fill + 1, Price: 100*fixed.One + fixed.Value(s.n%1000)*fixed.One/100,
			Qty: fixed.One / 10, Time: s.at, TakerBuy: s.n%2 == 0})
	}
	b.Received = local(s.at)
}

// runningLane is a lane that has seen a trade of every symbol, and its first boundary.
func runningLane(t interface{ Fatal(...any) }, symbols int, intervals []market.Interval) (*player, *batches) {
	y := newPlayer(t, &tape{trades: make([][]market.Trade, symbols)}, intervals)
	s := newBatches(symbols)
	b := market.Batch{Ready: true}
	for id := range symbols {
		s.next[id]++
		b.Trades = append(b.Trades, market.Trade{SymbolID: market.SymbolID(id), ID: 1, FirstID: 2, LastID: 3, Price: fixed.One, Qty: fixed.One, Time: s.at})
	}
	for range 2 { // the second opens the first whole minute
		y.l.take(y.conns[0], &b)
		s.at = tapeBegin + 61*market.Second
		for i := range b.Trades {
			b.Trades[i].ID, b.Trades[i].Time = 2, s.at
			s.next[i] = 2
		}
	}
	y.drain()
	return y, s
}

// TestTakeAllocates: batches in order take no memory, nor do those of the other connection.
func TestTakeAllocates(t *testing.T) {
	y, s := runningLane(t, 50, market.ExchangeIntervals())
	var b market.Batch
	for _, k := range y.conns { // what grows once
		s.fill(&b, 100)
		y.l.take(y.conns[0], &b)
		y.l.take(k, &b)
	}
	if n := testing.AllocsPerRun(500, func() {
		s.fill(&b, 100)
		y.l.take(y.conns[0], &b)
		y.l.take(y.conns[1], &b)
	}); n != 0 {
		t.Errorf("%v allocations for 200 trades", n)
	}
}

// BenchmarkPathFeed: batches of 64 trades in order → sequence → 15 exact klines, with the lane's lock, the closes and
// their drain; ns are per trade. "redundant" brings each batch over the second connection too.
func BenchmarkPathFeed(b *testing.B) {
	for _, c := range []struct {
		name  string
		links int
	}{{"one connection", 1}, {"redundant", 2}} {
		b.Run(c.name, func(b *testing.B) {
			const size, prepared = 64, 4096
			y, s := runningLane(b, 800, market.ExchangeIntervals())
			ready := make([]market.Batch, prepared)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += size {
				i := n / size % prepared
				if i == 0 {
					b.StopTimer()
					for j := range ready {
						s.fill(&ready[j], size)
					}
					b.StartTimer()
				}
				for _, k := range y.conns[:c.links] {
					y.l.take(k, &ready[i])
				}
				if i%16 == 0 {
					y.l.collect(&y.c, &y.w)
				}
			}
		})
	}
}

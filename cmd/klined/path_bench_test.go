package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"klined/binance"
	"klined/feed"
	"klined/health"
	"klined/market"
)

// benchFrames is a market of aggTrade frames as one connection brings them: symbols by Zipf's law, ids in order, all
// within one minute.
type benchFrames struct {
	symbols *market.Symbols
	frames  [][]byte
	digits  []int   // where a frame's id begins
	counts  []int64 // of frames, by symbol
	of      []market.SymbolID
	bytes   int64
}

func newBenchFrames(symbols, frames int, at market.Time) *benchFrames {
	b := &benchFrames{symbols: &market.Symbols{}, counts: make([]int64, symbols)}
	for i := range symbols {
		b.symbols.Put(market.Symbol{Name: fmt.Sprintf("SYM%dUSDT", i), PriceDigits: 2, QtyDigits: 3})
	}
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 4, uint64(symbols-1))
	for range frames {
		id := market.SymbolID(zipf.Uint64())
		b.counts[id]++
		head := fmt.Sprintf(`{"e":"aggTrade","E":%d,"a":`, at+150)
		frame := fmt.Sprintf(`%s%d,"s":"SYM%dUSDT","p":"%d.%02d","q":"0.%03d","nq":"0.022","f":%d,"l":%d,"T":%d,"m":%t,"st":1}`, head,
			3_000_000_000+b.counts[id], id, 80000+random.IntN(3000), random.IntN(100), 1+random.IntN(999),
			8_000_000_000+2*b.counts[id], 8_000_000_001+2*b.counts[id], at, random.IntN(2) == 0)
		b.frames, b.digits, b.of = append(b.frames, []byte(frame)), append(b.digits, len(head)), append(b.of, id)
		b.bytes += int64(len(frame))
	}
	return b
}

// again moves all ids on, so that the same frames are the next trades.
func (b *benchFrames) again() {
	for i, frame := range b.frames {
		at := frame[b.digits[i]:][:10]
		id, err := strconv.ParseInt(string(at), 10, 64)
		if err != nil {
			panic(err)
		}
		copy(at, strconv.FormatInt(id+b.counts[b.of[i]], 10))
	}
}

// benchConn decodes the frames as a stream does after a read: a few hundred at a time.
type benchConn struct {
	b     *testing.B
	f     *benchFrames
	dec   *binance.Decoder
	left  int
	at    int
	done  chan struct{}
	ended atomic.Bool
}

var errBenchEnd = errors.New("the benchmark is over")

func (c *benchConn) Read(batch *market.Batch) error {
	batch.Reset()
	batch.Ready, batch.Received = true, time.Now()
	if c.left == 0 {
		if !c.ended.Swap(true) {
			close(c.done)
		}
		return errBenchEnd
	}
	for n := min(256, c.left); n > 0; n-- {
		if c.at == len(c.f.frames) {
			c.b.StopTimer()
			c.f.again()
			c.at = 0
			c.b.StartTimer()
		}
		if _, err := c.dec.Frame(c.f.frames[c.at], batch); err != nil {
			c.b.Error(err)
		}
		c.at++
		c.left--
	}
	return nil
}
func (c *benchConn) Ping() {}

func (c *benchConn) Frames() uint64 { return 0 }
func (c *benchConn) Close(string)   {}

// fixedClock stands shortly before the minute of the benchmark's trades, so that it is the first whole one.
type fixedClock market.Time

func (c fixedClock) Now() market.Time { return market.Time(c) }

// BenchmarkPath is bytes in memory → decode → symbol → sequence → 15 exact klines, 800 symbols, under the lane's lock.
func BenchmarkPath(b *testing.B) {
	const minute = market.Time(1795463100000)
	f := newBenchFrames(800, 100_000, minute+61*market.Second)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	metrics := health.NewMetrics()
	ids := make([]market.SymbolID, 800)
	for i := range ids {
		ids[i] = market.SymbolID(i)
	}
	conn := &benchConn{b: b, f: f, left: b.N, dec: binance.NewDecoder(f.symbols, market.SourceAggTrade, metrics, log), done: make(chan struct{})}
	never := func(ctx context.Context, _ string, _ []market.SymbolID) (feed.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	dialled := false
	fd, err := feed.New(feed.Options{Symbols: ids, Intervals: market.ExchangeIntervals(), Lanes: 1, Redundancy: 1,
		DialTrades: func(ctx context.Context, name string, ids []market.SymbolID) (feed.Conn, error) {
			if dialled {
				return never(ctx, name, ids)
			}
			dialled = true
			return conn, nil
		},
		DialKlines: never, Drain: func(*market.Changes) {}, Clock: fixedClock(minute + 57*market.Second), Metrics: metrics,
		Watchdog: health.NewWatchdog(log), Log: log})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.SetBytes(f.bytes / int64(len(f.frames)))
	b.ReportAllocs()
	b.ResetTimer()
	stop := make(chan error, 1)
	go func() { stop <- fd.Run(ctx) }()
	<-conn.done
	b.StopTimer()
	cancel()
	if err := <-stop; err != nil {
		b.Fatal(err)
	}
}

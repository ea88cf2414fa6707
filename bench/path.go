package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"klined/binance"
	"klined/feed"
	"klined/health"
	"klined/market"
)

// A sample of the path: so many reads of so many trades each, of so many frames that come again and again.
const (
	pathReads   = 4000
	pathFrames  = 1600 // a quarter of a megabyte: four reads
	baseTrades  = 100_000
	framesARead = 400
)

var pathRow = subject{
	name: "path", unit: "ns/trade",
	what:     "bytes in memory to 15 exact klines of 800 symbols on one core: decode, symbol, sequence, lane lock, aggregate",
	baseline: "encoding/json, map behind a lock, channel, 15 intervals in floats; one core",
	open: func(_ context.Context, o Options) (*pair, error) {
		return &pair{
			value: func(ctx context.Context) (sample, error) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
				return pathOver(ctx, 1, o.scaled(pathReads, 1)*framesARead)
			},
			baseline: func(context.Context) (sample, error) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
				f, s := newFrames(namesOf(0, 1), pathFrames), newIdiomatic()
				trades := o.scaled(baseTrades, 1)
				one, err := timed(trades, func(n int) error { return s.take(f.payload(n%pathFrames), time.Time{}) })
				began := time.Now()
				s.close()
				one.value += float64(time.Since(began).Nanoseconds()) / float64(trades)
				return one, err
			},
		}, nil
	},
}

var lanesRow = subject{
	name: "path_2_lanes", unit: "ns/trade",
	what:     "the same over two lanes on two cores, both together",
	baseline: "one lane on one core: path",
	open: func(_ context.Context, o Options) (*pair, error) {
		return &pair{
			value: func(ctx context.Context) (sample, error) { return pathOver(ctx, 2, o.scaled(pathReads, 1)*framesARead) },
			baseline: func(ctx context.Context) (sample, error) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
				return pathOver(ctx, 1, o.scaled(pathReads, 1)*framesARead)
			},
		}, nil
	},
}

// pathOver measures a feed of so many lanes, each with a connection of its own that brings so many trades from memory.
func pathOver(ctx context.Context, lanes, trades int) (sample, error) {
	symbols := registry()
	var conns []*memoryConn
	start := make(chan struct{})
	for n := range lanes {
		conns = append(conns, &memoryConn{
			f: newFrames(namesOf(n, lanes), pathFrames), left: trades, start: start,
			decoder: binance.NewDecoder(symbols, market.SourceAggTrade, nil, nil), done: make(chan struct{}),
		})
	}
	f, err := newFeed(lanes, func(ctx context.Context, name string, _ []market.SymbolID) (feed.Conn, error) {
		var lane, link int
		if _, err := fmt.Sscanf(name, "trades-%d.%d", &lane, &link); err != nil {
			return nil, err
		}
		if conn := conns[lane]; !conn.dialled.Swap(true) {
			return conn, nil
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}, nil)
	if err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- f.Run(ctx) }()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	close(start)
	var away time.Duration
	for _, c := range conns {
		select {
		case <-c.done:
			away = max(away, c.away)
		case <-ctx.Done():
			return sample{}, errors.Join(ctx.Err(), <-stopped)
		}
	}
	took := time.Since(began) - away
	runtime.ReadMemStats(&after)
	cancel()
	for _, c := range conns {
		if c.err != nil {
			err = c.err
		}
	}
	n := uint64(lanes * trades)
	return sample{value: float64(took.Nanoseconds()) / float64(n), allocs: float64(after.Mallocs-before.Mallocs) / float64(n)}, errors.Join(err, <-stopped)
}

// newFeed is a feed of the rows' market in as many lanes, whose clock stands so that their minute is the first whole one.
func newFeed(lanes int, dial feed.Dial, drain func(*market.Changes)) (*feed.Feed, error) {
	ids := make([]market.SymbolID, marketSize)
	for i := range ids {
		ids[i] = market.SymbolID(i)
	}
	if drain == nil {
		drain = func(*market.Changes) {}
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return feed.New(feed.Options{Symbols: ids, Intervals: market.ExchangeIntervals(), Lanes: lanes, Redundancy: 1, DialTrades: dial,
		DialKlines: func(ctx context.Context, _ string, _ []market.SymbolID) (feed.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		Drain: drain, Clock: standing(minute - 3*market.Second), Metrics: health.NewMetrics(), Watchdog: health.NewWatchdog(log), Log: log})
}

// standing is a clock that stands still.
type standing market.Time

func (c standing) Now() market.Time { return market.Time(c) }

// memoryConn brings frames from memory, as many at once as a read of a busy connection does.
type memoryConn struct {
	f       *frames
	decoder *binance.Decoder
	start   chan struct{} // closed when it may begin
	left    int
	at      int
	away    time.Duration // spent on making the next frames
	err     error
	done    chan struct{} // closed when all trades have been taken
	dialled atomic.Bool
}

var errEnd = errors.New("the measurement is over")

// Read implements feed.Conn.
func (c *memoryConn) Read(b *market.Batch) error {
	<-c.start
	b.Reset()
	if c.left <= 0 || c.err != nil {
		select {
		case <-c.done:
		default:
			close(c.done)
		}
		return errEnd
	}
	if c.at == len(c.f.at) {
		began := time.Now()
		c.f.again()
		c.at = 0
		c.away += time.Since(began)
	}
	b.Ready, b.Received = true, time.Now()
	for range framesARead {
		if _, err := c.decoder.Frame(c.f.payload(c.at), b); err != nil {
			c.err = err
		}
		c.at++
	}
	c.left -= framesARead
	return nil
}

// Subscribe implements feed.Conn.
func (c *memoryConn) Subscribe(...market.SymbolID) error { return nil }

// Unsubscribe implements feed.Conn.
func (c *memoryConn) Unsubscribe(...market.SymbolID) {}

// Ping implements feed.Conn.
func (c *memoryConn) Ping() {}

// Frames implements feed.Conn.
func (c *memoryConn) Frames() uint64 { return 0 }

// Close implements feed.Conn.
func (c *memoryConn) Close(string) {}

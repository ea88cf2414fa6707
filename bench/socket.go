package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"klined/binance"
	"klined/feed"
	"klined/market"
)

// socketConns is how many connections the socket rows have, each with a lane of its own.
const socketConns = 8

// A sample of a socket: after so long, for so long.
const (
	warmUp   = 300 * time.Millisecond
	measured = 1200 * time.Millisecond
)

// patience is how long a sample waits for what it counts: on a busy machine eight handshakes take longer than the warm-up.
const patience = 20 * time.Second

var socketRow = subject{
	name: "socket", unit: "ns CPU/trade", baseline: "read(2) of the same bytes, 64 KiB at a time",
	what: "8 saturated loopback connections to 15 exact klines of 800 symbols",
	open: func(ctx context.Context, o Options) (*pair, error) { return openSocket(ctx, o, false) },
}

var tlsRow = subject{
	name: "socket_tls", unit: "ns CPU/trade", baseline: "reads of the same bytes over TLS, 64 KiB at a time",
	what: "the same over TLS",
	open: func(ctx context.Context, o Options) (*pair, error) { return openSocket(ctx, o, true) },
}

// exchange is a peer that feeds, as its connections reach it.
type exchange struct {
	process *PeerProcess
	address string
	tls     *tls.Config // nil where it speaks plainly
}

func startExchange(ctx context.Context, o Options, of exchangePeer) (*exchange, error) {
	process, err := startPeer(ctx, o, "exchange", of)
	if err != nil {
		return nil, err
	}
	e := &exchange{process: process}
	var certificate, text string
	if e.address, err = process.line(); err == nil {
		text, err = process.line()
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &certificate)
	}
	if err != nil {
		process.stop()
		return nil, err
	}
	if of.TLS {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(certificate))
		e.tls = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	return e, nil
}

// venue dials the exchange.
func (e *exchange) venue(symbols *market.Symbols) *binance.Venue {
	scheme := "ws://"
	if e.tls != nil {
		scheme = "wss://"
	}
	return binance.NewVenue(binance.VenueOptions{URL: scheme + e.address, TLS: e.tls, Symbols: symbols})
}

func openSocket(ctx context.Context, o Options, secure bool) (*pair, error) {
	e, err := startExchange(ctx, o, exchangePeer{TLS: secure, Conns: socketConns})
	if err != nil {
		return nil, err
	}
	period := time.Duration(o.scaled(int(measured), int(10*time.Millisecond)))
	return &pair{
		value:    func(ctx context.Context) (sample, error) { return e.feedCost(ctx, period) },
		baseline: func(ctx context.Context) (sample, error) { return e.readCost(ctx, period) },
		close:    e.process.stop,
	}, nil
}

// feedCost is the CPU that a trade costs from the socket to its klines.
func (e *exchange) feedCost(ctx context.Context, period time.Duration) (sample, error) {
	var trades atomic.Int64
	venue := e.venue(registry())
	f, err := newFeed(socketConns, func(ctx context.Context, name string, ids []market.SymbolID) (feed.Conn, error) {
		s, err := venue.DialTrades(ctx, name, ids)
		if err != nil {
			return nil, err
		}
		return &countedConn{Stream: s, trades: &trades}, nil
	}, nil)
	if err != nil {
		return sample{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- f.Run(ctx) }()
	one, failed := costOf(period, func() float64 { return float64(trades.Load()) })
	cancel()
	if err := errors.Join(failed, <-stopped); err != nil {
		return one, err
	}
	if st := f.Status(); st.Gaps["seen"] > 0 {
		return one, fmt.Errorf("%d gaps", st.Gaps["seen"])
	}
	return one, nil
}

// countedConn counts the trades that come.
type countedConn struct {
	*binance.Stream
	trades *atomic.Int64
}

func (c *countedConn) Read(b *market.Batch) error {
	err := c.Stream.Read(b)
	c.trades.Add(int64(len(b.Trades)))
	return err
}

// readCost is the CPU that reading alone costs, of as many bytes as a trade has.
func (e *exchange) readCost(ctx context.Context, period time.Duration) (sample, error) {
	var bytes atomic.Int64
	size := newFrames(namesOf(0, socketConns), pathFrames).size()
	var g errgroup.Group
	ctx, cancel := context.WithCancel(ctx)
	for n := range socketConns {
		conn, err := e.subscribed(ctx, n)
		if err != nil {
			cancel()
			return sample{}, errors.Join(err, g.Wait())
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		g.Go(func() error {
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if ctx.Err() != nil {
					return nil
				}
				if bytes.Add(int64(n)); err != nil {
					return err
				}
			}
		})
	}
	one, failed := costOf(period, func() float64 { return float64(bytes.Load()) / size })
	cancel()
	return one, errors.Join(failed, g.Wait())
}

// subscribed is a bare connection on which the frames of the n-th lane come.
func (e *exchange) subscribed(ctx context.Context, n int) (net.Conn, error) {
	scheme := "ws://"
	if e.tls != nil {
		scheme = "wss://"
	}
	var streams []string
	for _, name := range namesOf(n, socketConns) {
		streams = append(streams, strings.ToLower(name)+"@aggTrade")
	}
	return dialAndSubscribe(ctx, scheme+e.address+"/ws", e.tls, streams)
}

// costOf is the CPU that this process spends for each of what is counted, ns.
func costOf(period time.Duration, count func() float64) (sample, error) {
	comes := goOn(warmUp, count, 0)
	n, spent := count(), cpu()
	comes = comes && goOn(period, count, n)
	n, spent = count()-n, cpu()-spent
	if !comes || spent <= 0 {
		return sample{}, errors.New("nothing has come")
	}
	return sample{value: float64(spent.Nanoseconds()) / n, allocs: -1}, nil
}

// goOn lets a period pass, and as many more as it takes until more than n are counted; false where none come.
func goOn(period time.Duration, count func() float64, n float64) bool {
	for began := time.Now(); ; {
		time.Sleep(period)
		if count() > n {
			return true
		}
		if time.Since(began) > patience {
			return false
		}
	}
}

// cpu is what this process has spent so far; 0 where that cannot be told.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

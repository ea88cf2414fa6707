package binance

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"klined/health"
	"klined/market"
)

// Limits of one connection (WebSocket Market Streams, "General Info"; kept with room to spare).
const (
	MaxStreams   = 1024                   // the exchange closes the connection at one more
	maxNames     = 200                    // in one SUBSCRIBE
	controlEvery = 200 * time.Millisecond // between two control messages: 5 of the 10 a second that are allowed
)

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	closeTimeout = time.Second     // for the close frame
	readTimeout  = 5 * time.Minute // without a single byte; the exchange pings every 3
)

// VenueOptions says where the exchange's streams are and how they are reached.
type VenueOptions struct {
	URL         string                                                            // DefaultWS where empty; without a path
	Dial        func(ctx context.Context, network, addr string) (net.Conn, error) // net.Dialer where nil
	TLS         *tls.Config                                                       // Go's defaults where nil
	Symbols     *market.Symbols
	Source      market.Source
	ReadTimeout time.Duration     // a connection that brings nothing at all for so long ends; 5 minutes where 0
	OnUnknown   func(name []byte) // see Decoder; called by the goroutines that Read, with each trade and each second's row of such a symbol
	Metrics     *health.Metrics
	Log         *slog.Logger

	// Record takes each message as it was received, before it is decoded, with the name of the connection that brought it. It is
	// called by the goroutines that Read, and may not keep the frame. Nil: nobody does.
	Record func(conn string, at time.Time, frame []byte)
}

// Venue dials the exchange's streams, no more often than its rule for one address allows: who has to wait waits, and the log
// says so. It may be used from any goroutine.
type Venue struct {
	o     VenueOptions
	dials *dials
}

// NewVenue makes a venue; it dials nothing yet.
func NewVenue(o VenueOptions) *Venue {
	if o.URL == "" {
		o.URL = DefaultWS
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = readTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Venue{o, newDials(o.Log)}
}

// DialTrades opens a connection for the trades of symbols and begins to subscribe to them. The connection's name
// labels its figures.
func (v *Venue) DialTrades(ctx context.Context, name string, symbols []market.SymbolID) (*Stream, error) {
	path, stream := tradesOf(v.o.Source)
	return v.dial(ctx, name, path+bareMode, stream, streamNames(v.o.Symbols, symbols, stream))
}

// DialKlines opens a connection for the official 1m klines of symbols, as DialTrades does for trades.
func (v *Venue) DialKlines(ctx context.Context, name string, symbols []market.SymbolID) (*Stream, error) {
	return v.dial(ctx, name, marketPath+bareMode, klineStream, streamNames(v.o.Symbols, symbols, klineStream))
}

// DialTickers opens a connection for the tickers of everything that is traded: rows of symbols that are not registered
// are offered to OnUnknown, and bring nothing.
func (v *Venue) DialTickers(ctx context.Context, name string) (*Stream, error) {
	return v.dial(ctx, name, marketPath+bareMode, tickerStream, []string{allTickers})
}

// dialRelay opens a connection that carries streams as they are: sink takes their events, during Read.
func (v *Venue) dialRelay(ctx context.Context, name, path string, sink func(name, payload []byte)) (*Stream, error) {
	s, err := v.dial(ctx, name, path+wrappedMode, "", nil)
	if err == nil {
		s.sink = sink
	}
	return s, err
}

// dial opens a connection that carries the given streams; suffix is what the names of further symbols' streams end in.
func (v *Venue) dial(ctx context.Context, name, path, suffix string, streams []string) (*Stream, error) {
	if err := checkStreams(len(streams)); err != nil {
		return nil, err
	}
	if err := v.dials.turn(ctx, name); err != nil {
		return nil, err
	}
	address := strings.TrimSuffix(v.o.URL, "/") + path
	dialer := ws.Dialer{Timeout: dialTimeout, NetDial: v.o.Dial, TLSConfig: v.o.TLS}
	conn, reader, _, err := dialer.Dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", address, Explain(address, err))
	}
	var head []byte
	if reader != nil { // what the exchange sent right behind its handshake
		head, _ = reader.Peek(reader.Buffered())
		defer ws.PutReader(reader)
	}
	s := newStream(conn, head, v, name, suffix)
	if err := s.subs.begin(streams, false); err != nil {
		s.Close("cannot subscribe")
		return nil, err
	}
	return s, nil
}

// checkStreams refuses more streams than a connection can carry.
func checkStreams(n int) error {
	if n > MaxStreams {
		return fmt.Errorf("%d streams on one connection: the exchange carries at most %d", n, MaxStreams)
	}
	return nil
}

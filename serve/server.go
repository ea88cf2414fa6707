// Package serve offers REST, WebSocket push, chart page, metrics and health (it speaks Binance outward).
package serve

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

// Live is what serve asks of the lanes.
type Live interface {
	// Tail appends the klines of series that open at or after from: oldest first, contiguous, the running one last.
	// It waits, bounded, for a close whose boundary has passed; it appends nothing where the lane has none.
	Tail(ctx context.Context, dst []market.Kline, series market.Series, from market.Time) ([]market.Kline, error)
	// Begun is the first boundary of the symbol's stream; false before the stream began.
	Begun(id market.SymbolID) (first market.Time, ok bool)
	// Watch asks for the changed open klines of series, or no longer. It is not called from Publish.
	Watch(series market.Series, on bool)
}

// Store is what serve asks of the disk.
type Store interface {
	// Klines appends the closed klines of span to dst, oldest first, and gives the parts of span that are not known to be
	// complete.
	Klines(ctx context.Context, dst []market.Kline, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error)
	// Since is when the first kline of an interval that is stored opens, whatever its symbol; math.MaxInt64 where there is none.
	Since(ctx context.Context, iv market.Interval) (market.Time, error)
}

// Forwarder passes requests on to the exchange.
type Forwarder interface {
	// Weight is what the exchange counts for a request.
	Weight(r *http.Request, private bool) int
	// Pass sends r on and copies the answer to w: a private one untouched and whatever the budget says, any other as the
	// question that anybody may ask, without a key and within the budget. Where it returns an error it has written nothing: a
	// *market.BudgetError where the exchange may not be asked now, a *market.TooHeavyError where it never may, an *http.MaxBytesError where the body is too long,
	// market.ErrOutcomeUnknown where the request may have been carried out.
	Pass(w http.ResponseWriter, r *http.Request, private bool) error
}

// Options say what a Server serves, and from where.
type Options struct {
	Symbols   *market.Symbols
	Carries   func(market.SymbolID) bool        // is it served now; the registry also remembers symbols of earlier runs. nil: all are
	Ended     func(market.SymbolID) bool        // has the exchange ended it: of those that are served, no more comes, and it is in no list. nil: none has
	Tick      func(market.SymbolID) fixed.Value // of what its prices are multiples; 0, and nil: of their last digit
	Contract  func(market.SymbolID) string      // its contract's type as the exchange writes it: PERPETUAL, TRADIFI_PERPETUAL; nil: all are PERPETUAL
	Intervals []market.Interval                 // the configured ones
	Clock     interface{ Now() market.Time }
	Live      Live
	Store     Store

	// Last is what the last trade that has come cost. sure says that, as far as is known, no other has taken place since. It does not
	// wait.
	Last func(market.SymbolID) (p market.Price, sure bool)

	// Kept is since when klines of an interval are kept. nil: all are.
	Kept func(market.Interval) market.Time
	// Fetch fills the store with the official klines of span, and gives them, for what is too old is not kept. Its error is
	// a *market.BudgetError where the exchange may not be asked now, market.ErrNotListed where it does not know the symbol. The rows are the caller's to read, not to change.
	Fetch func(ctx context.Context, who string, series market.Series, span market.Span) ([]market.Kline, error)
	// Upstream asks the exchange for official klines, the running one too: at most limit, the oldest first where From
	// is set; a zero From or To is not sent. It serves what neither lane nor store can hold: the running kline of a
	// symbol that is not whole yet, and the open time of a series' first kline. Its errors are those of Fetch.
	Upstream func(ctx context.Context, who string, series market.Series, span market.Span, limit int) ([]market.Kline, error)
	// Forward passes on what is not answered here. nil: nothing is.
	Forward Forwarder
	// Prices asks the exchange for the prices of all its symbols: its answer as received.
	Prices func(ctx context.Context) ([]byte, error)
	// ForwardAll passes on as it came, of any method, with a key or signed too, what programs of this machine ask, or with a Token
	// whoever shows it.
	ForwardAll bool
	// Source is which of the exchange's records the klines are built from. Their trades are streamed as they came: WatchTrades is
	// told whether somebody takes a symbol's, in that order, and does not wait; they come in Changes.Relayed. nil: there are none.
	Source      market.Source
	WatchTrades func(id market.SymbolID, on bool)
	// Facts finds what is behind any other stream that carries no klines of ours: watch is told when the first client subscribes
	// and when the last has left, in that order, and must not wait; what comes in between is handed to Deliver. nil is for
	// a stream without anything behind it. Facts itself may be nil: there are no such streams.
	Facts func(stream string) (watch func(on bool))
	// ExchangeInfo is the exchange's answer, as received.
	ExchangeInfo func(ctx context.Context) ([]byte, error)

	Settles     bool                               // closed klines are replaced by the exchange's own, some time after their close
	Status      func() any                         // what /klined/v1/status shows
	Gaps        func() any                         // what /klined/v1/gaps shows
	Standings   func(symbol string) any            // what /klined/v1/symbols shows: of all, or of the symbol named; nil where there is none
	Differences func(context.Context) (any, error) // what /klined/v1/differences shows
	Health      func() (ok bool, detail any)       // what /healthz shows
	Ready       func() (ok bool, detail any)       // what /readyz shows

	// Token is asked of every client, in one of the ways of gate. Empty: none is.
	Token string

	PushEvery time.Duration // how often a busy series is pushed; default 250 ms
	Metrics   *health.Metrics
	Watchdog  *health.Watchdog // is told how the pushing is; nil: nobody
	Log       *slog.Logger
	Version   string
}

// Server answers clients. Make one with New, end it with Close.
type Server struct {
	opt     Options
	log     *slog.Logger
	hub     *hub
	gate    *gate    // nil where no token is asked for
	weights *weights // what each address has asked for
	wrong   *weights // how many wrong tokens came from each
	crowd   crowd
	listed  priceList
	firsts  firsts
	handler http.Handler
	trades  string // what stands behind a symbol in the name of the stream of its trades

	scratches sync.Pool     // of *scratch
	wide      chan struct{} // holds one for each wide read of udfPage
}

const defaultPushEvery = 250 * time.Millisecond

// New makes a Server and starts its push clock.
func New(opt Options) *Server {
	if opt.PushEvery <= 0 {
		opt.PushEvery = defaultPushEvery
	}
	if opt.Metrics == nil {
		opt.Metrics = health.NewMetrics()
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Watchdog == nil {
		opt.Watchdog = health.NewWatchdog(opt.Log)
	}
	if opt.Carries == nil {
		opt.Carries = func(market.SymbolID) bool { return true }
	}
	if opt.Ended == nil {
		opt.Ended = func(market.SymbolID) bool { return false }
	}
	if opt.Last == nil {
		opt.Last = func(market.SymbolID) (market.Price, bool) { return market.Price{}, false }
	}
	if opt.Tick == nil {
		opt.Tick = func(market.SymbolID) fixed.Value { return 0 }
	}
	if opt.Contract == nil {
		opt.Contract = func(market.SymbolID) string { return contractPerpetual }
	}
	s := &Server{
		opt:     opt,
		log:     opt.Log.With("target", "serve"),
		gate:    newGate(opt.Token),
		weights: &weights{clock: opt.Clock},
		wrong:   &weights{clock: opt.Clock},
		wide:    make(chan struct{}, udfWide),
		trades:  "@" + opt.Source.String(),
	}
	s.hub = newHub(s)
	s.handler = s.door(s.routes())
	return s
}

// Handler answers every path of the listen address.
func (s *Server) Handler() http.Handler { return s.handler }

// Publish pushes what changed to whoever subscribes to it. It copies what it keeps and waits for no client. Lanes may
// call it at the same time; the klines of one symbol come from one of them, each version better than the one before.
func (s *Server) Publish(changes *market.Changes) { s.hub.publish(changes) }

// Close ends every WebSocket client with 1001 and waits until they are gone, two seconds at most.
func (s *Server) Close() { s.hub.close() }

// NewHTTPServer is an http.Server for handler with the bounds that an open port needs. WebSocket connections are taken
// over and have their own.
func NewHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	held := &conns{most: maxConns, all: make(map[net.Conn]string)}
	log = log.With("target", "serve")
	return &http.Server{
		ConnState:         held.changed,
		Handler:           TellPanics(lastOfChunks(handler), log),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10, // 1,024 stream names fit into one URL
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// lastOfChunks ends the connection behind a request whose body comes in chunks. It may have said a length as well, which net/http
// does not show: who stands between and counts by that takes what follows for another's request (RFC 9112, 6.1).
func lastOfChunks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// serves reports whether interval is configured.
func (s *Server) serves(interval market.Interval) bool {
	for _, iv := range s.opt.Intervals {
		if iv == interval {
			return true
		}
	}
	return false
}

// symbol finds a carried symbol by its name as the exchange writes it.
func (s *Server) symbol(name string) (market.Symbol, bool) {
	sym, ok := s.opt.Symbols.ByName(name)
	if !ok || !s.opt.Carries(sym.ID) {
		return market.Symbol{}, false
	}
	return sym, true
}

// Package feed turns a venue's broken connections into each symbol's trades, whole and in order, and applies them.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"klined/engine"
	"klined/health"
	"klined/market"
)

// Conn is one connection of the venue. Read blocks until something has come and fills the batch, which is valid until
// the next Read; its error means that the connection is over. Close unblocks it. Frames is how many have come. Ping asks
// for a sign of life, at once or never, and does not wait: a Read says when it has come, after all that came before.
// Subscribe and Unsubscribe change what it carries and do not wait either: what is received after Subscribe has returned is
// Ready only if the venue has acknowledged that.
type Conn interface {
	Read(*market.Batch) error
	Subscribe(symbols ...market.SymbolID) error
	Unsubscribe(symbols ...market.SymbolID)
	Ping()
	Frames() uint64
	Close(reason string)
}

// Dial opens a connection that carries the given symbols; name labels it for operators.
type Dial func(ctx context.Context, name string, symbols []market.SymbolID) (Conn, error)

// Options say what a Feed carries, and how. The fields up to Log must be set, but for those that say otherwise.
type Options struct {
	Symbols     []market.SymbolID // spread over the lanes in turn; Add brings more
	Intervals   []market.Interval
	DialTrades  Dial                                                      // the trades of one lane
	DialKlines  Dial                                                      // the venue's own 1m klines, of at most KlinesPerConn symbols
	DialTickers Dial                                                      // the venue's summary of all symbols; nil: no such witness
	Healer      Healer                                                    // how missing trades are asked for
	Drain       func(*market.Changes)                                     // takes what a lane's drain brought; called by one goroutine a lane
	Tickers     func(*market.Batch)                                       // takes the rows that DialTickers' connection brings, of one connection at a time; its reader waits meanwhile; nil: nobody wants them
	OnWhole     func(symbol market.SymbolID, lane int, since market.Time) // after the drain that made the symbol whole: what contains since and all after it has left, or will; may be nil
	Clock       interface{ Now() market.Time }
	Doubt       func(context.Context)        // has the clock measured anew, and returns when that is done; nil: it is always right
	Name        func(market.SymbolID) string // for logs; nil: the number
	Metrics     *health.Metrics
	Watchdog    *health.Watchdog
	Log         *slog.Logger

	Source        market.Source
	Lanes         int           // 4 when 0; never more than symbols
	Settle        bool          // compare closed minutes with the venue's own as they come, and let those stand
	Redundancy    int           // connections that carry the same lane; 2 when 0
	Grace         time.Duration // how long after its boundary the clock closes a kline; learnt when 0
	Rotate        time.Duration // how long a connection lives before it is replaced; 23 hours when 0
	Capacity      int           // symbols that live at once; when 0 as many as the lanes' connections carry
	TradesPerConn int           // streams of a lane at once, those of symbols that have just ended included; 1,000 when 0
	KlinesPerConn int           // 1,000 when 0
}

// Feed is the lanes and their connections.
type Feed struct {
	intervals  []market.Interval
	source     market.Source
	grace      atomic.Int64 // ns
	learner    *learner     // nil where the grace is given
	lanes      []*lane
	places     atomic.Pointer[[]place] // by SymbolID; what it points to is never written: Add puts a longer one in its place
	living     atomic.Int64            // symbols that have not ended
	redundancy int                     // connections that bring the same lane
	settles    bool
	settling   settling
	layout     layout
	changing   sync.Mutex // held while symbols are added, or their streams end
	klines     []*link    // those for the venue's own klines; changing guards it
	linking    sync.Mutex // guards links
	links      []*link
	more       chan struct{} // says that links has grown; holds one
	gaps       gapLog
	healer     *healer
	ahead      aheadLog

	tickers      func(*market.Batch)
	summaries    summaries
	lastTicker   atomic.Int64 // Unix ns of the last row of the venue's summary
	clockDoubted atomic.Int64 // Unix ns of when the clock was last doubted

	clock   interface{ Now() market.Time }
	doubt   func(context.Context)
	name    func(market.SymbolID) string
	drain   func(*market.Changes)
	onWhole func(market.SymbolID, int, market.Time)
	metrics *health.Metrics
	log     *slog.Logger
	alive   alive
	ages    ages
}

// place is where a symbol lives. It never changes.
type place struct {
	lane int32 // −1 where the symbol is not carried
	slot engine.Slot
}

// New lays out lanes and connections; nothing is dialled before Run.
func New(o Options) (*Feed, error) {
	if len(o.Symbols) == 0 {
		return nil, fmt.Errorf("no symbols to carry")
	}
	if len(o.Intervals) > 64 {
		return nil, fmt.Errorf("%d intervals; at most 64", len(o.Intervals))
	}
	f := &Feed{
		intervals: o.Intervals, source: o.Source, redundancy: orDefault(o.Redundancy, 2), more: make(chan struct{}, 1), clock: o.Clock, doubt: o.Doubt, name: o.Name, drain: o.Drain,
		settles: o.Settle, onWhole: o.OnWhole, tickers: o.Tickers, metrics: o.Metrics, log: o.Log.With("target", "feed"),
		alive: newAlive(o.Watchdog),
	}
	if f.name == nil {
		f.name = func(id market.SymbolID) string { return fmt.Sprintf("symbol %d", id) }
	}
	if f.doubt == nil {
		f.doubt = func(context.Context) {}
	}
	f.healer = newHealer(f, o.Healer)
	begin, _, _ := graceOf(o.Source)
	f.setGrace(orDefault(o.Grace, begin))
	if o.Grace == 0 {
		f.learner = &learner{}
	}
	f.layout = layoutOf(o)
	if err := f.layLanes(o); err != nil {
		return nil, err
	}
	f.layLinks(o.Symbols)
	fromZero(f.metrics)
	for _, result := range []string{"closed", "late"} {
		f.metrics.CloseWaits.WithLabelValues(result)
	}
	f.metrics.Symbols.WithLabelValues(string(Waiting)).Set(float64(len(o.Symbols)))
	f.metrics.Registry.MustRegister(settleShares{f})
	return f, nil
}

// layLanes gives every symbol its lane and slot.
func (f *Feed) layLanes(o Options) error {
	lanes := min(orDefault(o.Lanes, 4), len(o.Symbols))
	places := make([]place, slices.Max(o.Symbols)+1)
	for i := range places {
		places[i].lane = -1
	}
	for n := range lanes {
		e, err := engine.New(o.Intervals)
		if err != nil {
			return err
		}
		l := &lane{f: f, n: n, engine: e, cause: causeLate, wake: make(chan struct{}, 1)}
		f.lanes = append(f.lanes, l.watched(o.Watchdog))
	}
	if most := f.most(); len(o.Symbols) > most {
		return fmt.Errorf("%d symbols on %d lanes: at most %d", len(o.Symbols), lanes, most)
	}
	for i, id := range o.Symbols {
		l := f.lanes[i%lanes]
		places[id] = place{lane: int32(l.n), slot: l.engine.Add(id)}
		l.symbols = append(l.symbols, symbol{id: id, state: Waiting})
		l.living++
	}
	f.places.Store(&places)
	f.living.Store(int64(len(o.Symbols)))
	return nil
}

// layLinks makes the connections: some for the trades of each lane, and others for the klines.
func (f *Feed) layLinks(symbols []market.SymbolID) {
	for _, l := range f.lanes {
		ids := make([]market.SymbolID, len(l.symbols))
		for i := range l.symbols {
			ids[i] = l.symbols[i].id
		}
		for r := range f.redundancy {
			l.links = append(l.links, f.newLink(fmt.Sprintf("trades-%d.%d", l.n, r), f.layout.dialTrades, l, ids))
		}
	}
	f.carryKlines(symbols)
	if dial := f.layout.dialTickers; dial != nil {
		f.newLink("tickers", dial, nil, nil)
	}
}

func orDefault[T comparable](v, whenZero T) T {
	var zero T
	if v == zero {
		return whenZero
	}
	return v
}

// Run dials, reads, applies, heals, ticks and drains until ctx ends. The drainers end last, with what the readers have
// left.
func (f *Feed) Run(ctx context.Context) error {
	draining, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var readers, drainers errgroup.Group
	for _, l := range f.lanes {
		drainers.Go(func() error { l.drainer(draining); return nil })
		readers.Go(func() error { l.probe(ctx); return nil })
	}
	readers.Go(func() error { f.keepLinks(ctx, &readers); return nil })
	readers.Go(func() error { f.healer.run(ctx); return nil })
	readers.Go(func() error { f.watch(ctx); return nil })
	f.tick(ctx)
	err := readers.Wait()
	stop()
	return errors.Join(err, drainers.Wait())
}

// laneOf is the lane of a symbol; nil where it is not carried.
func (f *Feed) laneOf(id market.SymbolID) (*lane, engine.Slot) {
	places := *f.places.Load()
	if id < 0 || int(id) >= len(places) || places[id].lane < 0 {
		return nil, 0
	}
	return f.lanes[places[id].lane], places[id].slot
}

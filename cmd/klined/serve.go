package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"klined/binance"
	"klined/clock"
	"klined/feed"
	"klined/health"
	"klined/history"
	"klined/market"
	"klined/serve"
	"klined/store"
	"klined/tape"
)

// newServeCommand is the command klined serve.
func newServeCommand() *cobra.Command {
	var o serveOptions
	var check bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "the server: the exchange's trades in, klines out",
		Long:  serveHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return &usageError{err}
			}
			if check {
				printSettings(cmd.OutOrStdout(), cmd.Flags())
				return checkServe(cmd.Context(), o, network{}, cmd.ErrOrStderr())
			}
			limitMemory(o.Window, o.Capacity)
			return runServe(cmd.Context(), o, network{}, o.logger(cmd.ErrOrStderr()), func(net.Addr) {})
		},
	}
	cmd.Flags().String("config", "", "read the TOML `FILE`; its keys are these flags' names")
	cmd.Flags().BoolVar(&check, "check", false, "ask whether a server would start, print the effective configuration, and exit: with 1 where something failed")
	cmd.Flags().SortFlags = false
	o.bind(cmd.Flags())
	return cmd
}

const serveHelp = `Connects to the exchange, builds the klines of every symbol and interval, keeps them in --dir and serves them on
--listen: the exchange's REST below /fapi/v1, its WebSocket streams on /ws and /stream, the chart page on /,
TradingView's UDF datafeed below /udf, and /healthz, /readyz, /metrics, /klined/v1/status, /klined/v1/symbols, /klined/v1/gaps,
/klined/v1/differences for operators, /klined/v1/klines for klines that each say what they are.

What is not answered here is passed on to the exchange: with --forward public each GET below /fapi, /dapi and
/futures/data that is not signed, without its key and within --rest-weight; with all every request
below them, untouched and whatever --rest-weight says, only where --listen is an address of this machine alone, for who
asks by one, or with --token for who shows it; with off nothing. Streams: klines, <symbol>@miniTicker, !miniTicker@arr and the trades that klines are built
from (--source) are klined's own; any other of the market's is relayed, 200 at most for one connection: the others are
silent, as all are with off.

x:true goes out once for each kline: when it closes, or, where it lacks trades, when it is healed, a minute later at most.
A WebSocket address with ?final=settled gets it when the kline is settled, with the exchange's own values: some 2 s after
the boundary; after 10 s as it is, where it lacks trades when it is healed, a minute after the boundary at most. What it
is at its close goes out with x:false meanwhile, once, and the next kline's updates go on. Klines shorter than 1m have
nothing official and go out as without it. With ?revisions=1 every version after x:true comes too. Both go together:
?final=settled&revisions=1. A client that cannot say it behind the ? has it in front of the path:
ws://127.0.0.1:8080/final=settled/market/ws.

Every flag may also stand in the file that --config names (listen = "127.0.0.1:8080") or in the environment
(KLINED_LISTEN). Flag over environment over file over default. klined help config lists the keys.

--check asks, a line each on stderr, whether the store can be opened and has room, the address is free, the exchange's REST, streams
and archive answer, its clock and this machine's agree, and the symbols are listed; then what is in force is on stdout, as a file for
--config. Nothing is changed, nor is a server disturbed that runs; beside one on the same store and address these two fail.`

// network is how the server reaches the outside. Its zero value is the machine's own; tests put their own in its place.
type network struct {
	Dial   dialFunc
	Listen func(network, addr string) (net.Listener, error)
}

// through is n with everything that is dialled going through a proxy, where there is one.
func (n network) through(proxy *proxyFlag) network {
	if proxy.URL == nil {
		return n
	}
	direct := n.Dial
	if direct == nil {
		direct = new(net.Dialer).DialContext
	}
	n.Dial = proxy.dialer(direct)
	return n
}

// listen listens on addr, which the flag named has said.
func (n network) listen(flag, addr string) (net.Listener, error) {
	listen := n.Listen
	if listen == nil {
		listen = net.Listen
	}
	family := "tcp"
	if at, err := netip.ParseAddrPort(addr); err == nil && at.Addr().Is4() {
		family = "tcp4" // 0.0.0.0 would be every IPv6 address, too
	}
	l, err := listen(family, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("cannot listen on %s: %w (--%s takes another)", addr, cause(err), flag)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, cause(err))
	}
	return l, nil
}

// cause is the innermost reason of a network error: the rest repeats what our own text says.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (n network) client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	transport.Proxy = nil // --proxy is for the streams too, as HTTPS_PROXY would not be
	if n.Dial != nil {
		transport.DialContext = n.Dial
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// download is a client for files: they may take longer, and whoever reads them notices when nothing comes.
func (n network) download() *http.Client {
	client := n.client()
	client.Timeout = 0
	return client
}

// server is the parts of klined serve, in the data's order.
type server struct {
	o        serveOptions
	metrics  *health.Metrics
	dog      *health.Watchdog
	manager  *manager // nil where the command is no service
	log      *slog.Logger
	began    time.Time
	stopping time.Time // since when

	clock   *clock.Clock
	symbols *market.Symbols
	budget  *binance.Budget
	rest    *binance.REST
	lister  *lister
	venue   *binance.Venue
	tape    *tape.Recorder // nil where nobody records
	store   *store.Store
	feed    *feed.Feed
	history *history.History
	relay   *binance.Relay // nil where nothing is passed on
	serve   *serve.Server
}

// runServe is klined serve, from the exchange's socket to the clients' and back, until ctx ends. listening is told the
// address once clients may come.
func runServe(ctx context.Context, o serveOptions, n network, log *slog.Logger, listening func(net.Addr)) (err error) {
	s := &server{o: o, metrics: health.NewMetrics(), dog: health.NewWatchdog(log), manager: newManager(log), log: log.With("target", "life"), began: time.Now(),
		clock: clock.New(), symbols: &market.Symbols{}}

	n = n.through(&o.Proxy)
	defer logged(func() { health.Flush(log) })

	// The port and the store first: what is wrong on this machine shows before the exchange is asked.
	listener, err := n.listen("listen", o.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	stopAdmin, err := administer(&o, n, s.log)
	if err != nil {
		return err
	}
	defer stopAdmin()
	warnOfListening(log, o.Listen, o.Token != "")
	warnOfToken(log, o.Token)
	if err := s.openStore(); err != nil {
		return err
	}
	defer func() {
		unstored := s.ends("store", storeWithin, s.store.Close)
		s.tellStopped(err, unstored)
		err = errors.Join(err, unstored)
	}()
	if err := s.openTape(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.ends("tape", tapeWithin, s.closeTape)) }()

	client := n.client()
	defer client.CloseIdleConnections()
	carried, err := s.build(ctx, n, client)
	if err != nil {
		return unlessStopped(ctx, err) // what a stop cuts short is no failure
	}
	defer func() {
		err = errors.Join(err, s.ends("clients", clientsWithin, func() error { s.serve.Close(); return nil }))
	}()
	s.registerFigures()

	listening(listener.Addr())
	return s.run(ctx, listener, carried)
}

// build makes the parts, in the data's order, and returns the symbols that they carry.
func (s *server) build(ctx context.Context, n network, client *http.Client) (carried []market.SymbolID, err error) {
	o := &s.o

	// The exchange's time and symbols: everything behind is numbers.
	s.askREST(client)
	if err := s.unlessRefused(ctx, func() error { return s.syncClock(ctx) }); err != nil {
		return nil, err
	}
	s.warnOfClock()
	var info *binance.Info
	if err := s.unlessRefused(ctx, func() (err error) { info, carried, err = s.list(ctx, s.chooseLiving); return err }); err != nil {
		return nil, err
	}
	s.buildLister(info, carried)

	// Frames in, trades in order, klines out; each drain goes to the store and to the clients.
	s.venue = binance.NewVenue(binance.VenueOptions{URL: o.WS, Dial: n.Dial, Symbols: s.symbols, Source: o.Source,
		OnUnknown: s.lister.unknown, Metrics: s.metrics, Log: s.log, Record: s.record()})
	if err := s.probe(ctx); err != nil {
		return nil, err
	}
	if err := s.buildFeed(carried); err != nil {
		return nil, err
	}
	s.history = history.New(history.Options{Venue: s.rest, Store: s.store, Lanes: s.feed, Debts: s.feed, Clock: s.clock, Log: s.log,
		Archive: archived{binance.NewArchive(binance.ArchiveOptions{Base: o.Archive, HTTP: n.download(), Symbols: s.symbols, Metrics: s.metrics, Log: s.log})},
		Name:    func(id market.SymbolID) string { return s.symbols.Get(id).Name }, Metrics: s.metrics, Watchdog: s.dog, Intervals: o.Intervals, Doubt: s.clock.Doubt})
	s.history.Carry(carried...)
	s.serve, err = s.buildServe()
	return carried, err
}

// syncClock asks for the exchange's time.
func (s *server) syncClock(ctx context.Context) error {
	return explained(s.o.REST, s.clock.Sync(ctx, s.rest.Time))
}

// explained is why what is at addr does not answer, in words; nil where it does.
func explained(addr string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", addr, binance.Explain(addr, err))
	}
	return err
}

// startWithin is how long a start takes at most once the exchange takes requests.
const startWithin = time.Minute

// unlessRefused asks again where the exchange refuses requests for a time: a process that ends and is started again would
// only ask more often. Any other failure is the user's to see at once.
func (s *server) unlessRefused(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		var refusal *market.BudgetError
		if !errors.As(err, &refusal) {
			return err
		}
		s.log.Warn("waiting for the exchange to take requests again", "reason", refusal.Reason, "for", refusal.RetryAfter.Round(time.Second))
		s.manager.tell(fmt.Sprintf("STATUS=waiting for the exchange to take requests again\nEXTEND_TIMEOUT_USEC=%d", (refusal.RetryAfter + startWithin).Microseconds()))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(refusal.RetryAfter):
		}
	}
}

// run lets the parts work until ctx ends or one fails, and stops them in reverse: no new clients, the feed with a last
// drain; then the caller the clients, the tape, and the store, which flushes last.
func (s *server) run(outer context.Context, listener net.Listener, carried []market.SymbolID) error {
	g, ctx := errgroup.WithContext(outer)
	server := serve.NewHTTPServer(s.serve.Handler(), s.log)
	g.Go(func() error {
		if err := server.Serve(listener); ctx.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error { return s.feed.Run(ctx) })
	g.Go(func() error { return unlessStopped(ctx, s.history.Start(ctx)) })
	g.Go(func() error { return unlessStopped(ctx, s.history.KeepFilled(ctx, int64(s.o.Backfill))) })
	g.Go(func() error { return unlessStopped(ctx, s.history.Heal(ctx)) })
	if s.relay != nil {
		g.Go(func() error { return s.relay.Run(ctx) })
	}
	if s.o.Settle {
		g.Go(func() error { return unlessStopped(ctx, s.history.Settle(ctx)) })
	}
	g.Go(func() error { return s.dog.Run(ctx) })
	g.Go(func() error { s.manager.keepAlive(ctx, s.dog.Hopeless); return nil })
	g.Go(func() error { s.keepTime(ctx); return nil })
	g.Go(func() error { s.lister.run(ctx); return nil })
	g.Go(func() error { s.watchDisk(ctx); return nil })
	g.Go(func() error { s.summarise(ctx); return nil })
	g.Go(func() error { return stopHTTP(ctx, server) })
	s.log.Info("serving", "address", "http://"+listener.Addr().String(), "symbols", len(carried),
		"intervals", len(s.o.Intervals), "source", s.o.Source.String())
	s.manager.tell("READY=1\nSTATUS=serving " + listener.Addr().String())

	<-ctx.Done()
	s.manager.tell("STOPPING=1\nSTATUS=stopping")
	why := context.Cause(ctx)
	logged(func() { s.log.Info("stopping", "reason", why) })
	s.stopping = time.Now()
	err := s.ends("parts", partsWithin, func() error { return unlessStopped(outer, g.Wait()) })
	if err != why {
		err = errors.Join(unlessStopped(outer, why), err)
	}
	return err
}

// warnOfClock says that this machine's clock is wrong: klined goes by the exchange's, but certificates and logs by this one.
func (s *server) warnOfClock() {
	if off := s.clock.Offset(); off.Abs() > 2*time.Second {
		s.log.Warn("this machine's clock is wrong; klined goes by the exchange's", "ahead_by", -off.Round(time.Millisecond))
	}
}

// resyncEvery is how often the exchange's time is asked again: twice before the watchdog would call the clock silent.
const resyncEvery = health.Silence / 2

// keepTime asks for the exchange's time again and again, and reports the clock's health.
func (s *server) keepTime(ctx context.Context) {
	c := s.dog.Component("clock", health.Outside)
	log := s.log.With("target", "clock")
	ask := func(ctx context.Context) (market.Time, error) {
		t, err := s.rest.Time(ctx)
		if err == nil {
			c.Beat()
			log.Debug("asked for the exchange's time", "it_is", t, "known_as", s.clock.Now())
		}
		return t, err
	}
	s.clock.Run(ctx, ask, resyncEvery, clock.Events{
		Failed: func(err error) {
			c.Fail(err.Error())
			log.Warn("cannot synchronise", "error", err)
		},
		Stepped: func(by time.Duration) {
			log.Warn("the exchange's time stepped, as seen from here", "by", by.Round(time.Millisecond))
		},
	})
}

// watchDisk reports whether the disk below the store has room: while it has, the store's writer says how it is itself.
func (s *server) watchDisk(ctx context.Context) {
	disk := s.dog.Component("disk", health.Outside)
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if room := s.store.Status().Disk; room == store.StateOK {
				disk.Beat()
			} else {
				disk.Fail(room)
			}
		}
	}
}

// probe opens and closes one connection to the exchange's streams, so that a wrong address shows at once.
func (s *server) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	conn, err := s.venue.DialTrades(ctx, "probe", nil)
	if err != nil {
		return fmt.Errorf("cannot reach the exchange's streams: %w", err)
	}
	conn.Close("probe")
	s.metrics.Frames.DeleteLabelValues("probe")
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"klined/binance"
	"klined/feed"
	"klined/fixed"
	"klined/health"
	"klined/history"
	"klined/market"
	"klined/serve"
	"klined/store"
)

// openStore opens the store and takes its symbols into the registry: their ids are for ever.
func (s *server) openStore() error {
	var err error
	s.store, err = store.Open(store.Options{Dir: s.o.Dir, Intervals: s.o.Intervals, Source: s.o.Source, Retain: s.o.Retain,
		Window: s.o.Window, Metrics: s.metrics, Watchdog: s.dog, Log: s.log})
	if err != nil {
		return err
	}
	if err := s.symbols.Restore(s.store.Symbols()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", s.o.Dir, err), s.store.Close())
	}
	return nil
}

// askREST makes what asks the exchange's REST.
func (s *server) askREST(client *http.Client) {
	s.budget = binance.NewBudget(binance.BudgetOptions{PerMinute: s.o.RESTWeight, Clock: s.clock, Metrics: s.metrics})
	s.rest = binance.NewREST(binance.RESTOptions{Base: s.o.REST, HTTP: client, Budget: s.budget, Symbols: s.symbols,
		Source: s.o.Source, Clock: s.clock, Metrics: s.metrics, Log: s.log})
}

// list asks the exchange for its symbols, numbers those that choose picks and makes their ids durable.
func (s *server) list(ctx context.Context, choose func(*binance.Info, []string) ([]binance.Listing, error)) (*binance.Info, []market.SymbolID, error) {
	info, err := s.exchangeInfo(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: cannot ask for the symbols: %w", s.o.REST, binance.Explain(s.o.REST, err))
	}
	listed, err := choose(info, s.o.Symbols)
	if err != nil {
		return nil, nil, err
	}
	symbols := make([]market.Symbol, len(listed))
	for i := range listed {
		symbols[i] = symbolOf(&listed[i])
	}
	symbols = s.symbols.Put(symbols...)
	if err := s.saveSymbols(s.symbols.All()); err != nil {
		return nil, nil, err
	}
	ids := make([]market.SymbolID, len(symbols))
	for i, sym := range symbols {
		ids[i] = sym.ID
	}
	return info, ids, nil
}

// choose picks the perpetuals that trade, or are about to: all, or the named ones.
func choose(info *binance.Info, names []string) ([]binance.Listing, error) {
	var chosen []binance.Listing
	for _, l := range info.Listings {
		if l.Perpetual() && l.Live() && (names == nil || slices.Contains(names, l.Name)) {
			chosen = append(chosen, l)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(chosen, func(l binance.Listing) bool { return l.Name == name }) {
			return nil, notListed(info, name, "no perpetual of that name that trades")
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("the exchange lists no perpetual that trades")
	}
	return chosen, nil
}

// notListed is the error about a named symbol that cannot be chosen: what the exchange lacks, or what is odd.
func notListed(info *binance.Info, name, lacks string) error {
	if odd := info.Oddity(name); odd != nil {
		return fmt.Errorf("symbol %s: cannot be carried as the exchange lists it: %w", name, odd)
	}
	var names []string
	for i := range info.Listings {
		names = append(names, info.Listings[i].Name)
	}
	return fmt.Errorf("symbol %s: the exchange lists %s%s", name, lacks, nearest(name, names))
}

// choosePast picks contracts of the past: all perpetuals that trade, or the named ones, whether they trade or not.
func choosePast(info *binance.Info, names []string) ([]binance.Listing, error) {
	if names == nil {
		return choose(info, nil)
	}
	var chosen []binance.Listing
	listed := byName(info.Listings)
	for _, name := range names {
		if listed[name] == nil {
			return nil, notListed(info, name, "none of that name")
		}
		chosen = append(chosen, *listed[name])
	}
	return chosen, nil
}

// buildFeed lays the lanes; every drain goes to the store first, then to the clients.
func (s *server) buildFeed(carried []market.SymbolID) error {
	err := checkCapacity(len(carried), s.o.Lanes, s.o.Capacity)
	if err != nil {
		return err
	}
	s.feed, err = feed.New(feed.Options{
		Symbols: carried, Intervals: s.o.Intervals, Source: s.o.Source, Lanes: s.o.Lanes, Redundancy: s.o.Redundancy,
		Capacity: s.o.Capacity, TradesPerConn: binance.MaxStreams,
		DialTrades: func(ctx context.Context, name string, ids []market.SymbolID) (feed.Conn, error) {
			return asConn(s.venue.DialTrades(ctx, name, ids))
		},
		DialKlines: func(ctx context.Context, name string, ids []market.SymbolID) (feed.Conn, error) {
			return asConn(s.venue.DialKlines(ctx, name, ids))
		},
		DialTickers: func(ctx context.Context, name string, _ []market.SymbolID) (feed.Conn, error) {
			return asConn(s.venue.DialTickers(ctx, name))
		},
		Healer: s.healer(), Grace: s.o.Grace, Rotate: s.o.rotate, Settle: s.o.Settle,
		Tickers: func(b *market.Batch) { s.serve.PublishTickers(b) },
		Doubt:   s.clock.Doubt, Name: func(id market.SymbolID) string { return s.symbols.Get(id).Name },
		Drain: func(c *market.Changes) {
			s.store.Put(c)
			s.serve.Publish(c)
		},
		OnWhole: s.store.BeginLive,
		Clock:   s.clock, Metrics: s.metrics, Watchdog: s.dog, Log: s.log,
	})
	return err
}

// healer asks REST for what is missing. Single trades cannot be asked for by their ids without a key.
func (s *server) healer() feed.Healer {
	h := feed.Healer{
		Room: func() int { return s.budget.Room(market.ClassHeal) },
		Latest: func(ctx context.Context, id market.SymbolID) (int64, market.Time, error) {
			return s.rest.LatestID(ctx, market.ClassHeal, id)
		},
	}
	if s.o.Source == market.SourceAggTrade {
		h.Trades = func(ctx context.Context, id market.SymbolID, from int64, limit int) ([]market.Trade, error) {
			trades, err := s.rest.AggTrades(ctx, market.ClassHeal, id, from, limit)
			if errors.Is(err, binance.ErrTooOld) {
				err = fmt.Errorf("%w: %w", feed.ErrTooOld, err)
			}
			return trades, err
		}
	}
	return h
}

// asConn keeps a failed dial from becoming a connection that is not nil.
func asConn(conn *binance.Stream, err error) (feed.Conn, error) {
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// buildServe puts the clients' side in front of lanes, store and history.
func (s *server) buildServe() (*serve.Server, error) {
	o := serve.Options{
		Symbols: s.symbols, Carries: s.lister.serves, Ended: func(id market.SymbolID) bool { return s.lister.contract(id).ended },
		Tick:      func(id market.SymbolID) fixed.Value { return s.lister.contract(id).tick },
		Contract:  func(id market.SymbolID) string { return s.lister.contract(id).kind },
		Intervals: s.o.Intervals, Clock: s.clock,
		Live: s.feed, Last: s.feed.Last, Source: s.o.Source, WatchTrades: s.feed.WatchTrades, Store: s.store, Kept: s.store.Kept,
		Fetch: s.fetch, Upstream: s.upstream, Settles: s.o.Settle,
		ExchangeInfo: func(context.Context) ([]byte, error) { return s.lister.info.Load().Raw, nil },
		Prices:       func(ctx context.Context) ([]byte, error) { return s.rest.Prices(ctx, market.ClassClients) },
		Status:       func() any { return s.status() },
		Gaps:         func() any { return s.gaps() },
		Standings:    s.standingsOf,
		Differences:  func(ctx context.Context) (any, error) { return s.differences(ctx) },
		Health:       func() (bool, any) { ok, parts := s.dog.State(); return ok, parts },
		Ready:        func() (bool, any) { r := s.ready(); return r.Ready, r },
		Token:        s.o.token,
		PushEvery:    s.o.PushEvery, Metrics: s.metrics, Watchdog: s.dog, Log: s.log, Version: version,
	}
	if s.o.Forward != forwardOff {
		forwarder, err := s.rest.Forwarder()
		if err != nil {
			return nil, err
		}
		o.Forward, o.ForwardAll = forwarder, s.o.Forward == forwardAll
		o.Facts = s.buildRelay()
	}
	return serve.New(o), nil
}

// buildRelay makes what carries the streams that are not made here, and finds them by name.
func (s *server) buildRelay() (find func(stream string) func(on bool)) {
	s.relay = binance.NewRelay(binance.RelayOptions{Venue: s.venue, Metrics: s.metrics, Watchdog: s.dog, Log: s.log,
		Sink: func(name, payload []byte) { s.serve.Deliver(string(name), payload) }})
	return func(stream string) func(on bool) {
		if !s.relay.Takes(stream) {
			return nil
		}
		return func(on bool) {
			if on {
				s.relay.Subscribe(stream)
			} else {
				s.relay.Unsubscribe(stream)
			}
		}
	}
}

// readiness is what /readyz shows.
type readiness struct {
	Ready     bool               `json:"ready"`
	Reasons   []string           `json:"reasons"` // why it is not
	Symbols   map[feed.State]int `json:"symbols"`
	Clock     bool               `json:"clock"` // the exchange's time is known
	Store     string             `json:"store"`
	Uncarried int                `json:"lanes_without_connection"`
	Silent    int                `json:"lanes_silent"` // their connections are up and bring nothing, though their market trades
}

// ready reports whether clock, store and feed are up, what is traded comes, and nearly all symbols are whole.
func (s *server) ready() readiness {
	f := s.feed.Ready()
	_, synced := s.clock.Synced()
	r := readiness{Reasons: append([]string{}, f.Reasons...), Symbols: f.Symbols, Clock: synced, Store: s.store.Status().State, Uncarried: len(f.Uncarried), Silent: len(f.Silent)}
	if !synced {
		r.Reasons = append(r.Reasons, "the exchange's time is not known")
	}
	if r.Store != store.StateOK {
		r.Reasons = append(r.Reasons, "store: "+r.Store)
	}
	r.Ready = len(r.Reasons) == 0
	return r
}

// status is what /klined/v1/status shows.
type status struct {
	Version string  `json:"version"`
	Uptime  float64 `json:"uptime_seconds"`
	Source  string  `json:"source"`
	Clock   struct {
		Now    market.Time `json:"now"`
		Offset float64     `json:"offset_ms"`
		Within float64     `json:"within_ms"`
	} `json:"clock"`
	feed.Status
	RESTWeight int            `json:"rest_weight_used"`
	Store      store.Status   `json:"store"`
	Backfill   history.Filled `json:"backfill"`
}

// status collects the parts' own.
func (s *server) status() status {
	st := status{Version: version, Uptime: time.Since(s.began).Seconds(), Source: s.o.Source.String(),
		Status: s.feed.Status(), RESTWeight: s.budget.Used(), Store: s.store.Status(), Backfill: s.history.Filled()}
	st.Symbols[feed.Ended] += len(s.endedBefore())
	if s.relay != nil {
		for _, c := range s.relay.Connections() {
			st.Connections = append(st.Connections, feed.ConnStatus{ID: c.ID, State: c.State, Streams: c.Streams, UpSince: health.Moment{Time: c.UpSince}, LastFrame: health.Moment{Time: c.LastFrame}, Frames: c.Frames})
		}
	}
	within, _ := s.clock.Synced()
	st.Clock.Now = s.clock.Now()
	st.Clock.Offset = float64(s.clock.Offset().Microseconds()) / 1000
	st.Clock.Within = float64(within.Microseconds()) / 1000
	return st
}

// gap is one entry of /klined/v1/gaps; times are Unix ms on the exchange's clock.
type gap struct {
	Symbol   string        `json:"symbol"`
	First    int64         `json:"first"` // missing id
	Last     int64         `json:"last"`
	SeenAt   market.Time   `json:"seen_at"`
	State    feed.GapState `json:"state"`
	HealedAt market.Time   `json:"healed_at"` // 0 while it is open
}

// gaps are the recent ones, youngest first.
func (s *server) gaps() []gap {
	gaps := []gap{}
	for _, g := range s.feed.Gaps() {
		gaps = append(gaps, gap{s.symbols.Get(g.Symbol).Name, g.First, g.Last, g.SeenAt, g.State, g.EndedAt})
	}
	return gaps
}

// standing is one entry of /klined/v1/symbols; times are Unix ms on the exchange's clock.
type standing struct {
	Symbol    string      `json:"symbol"`
	State     feed.State  `json:"state"`
	Reason    string      `json:"reason"`        // why it is not whole; empty where it is
	LastID    int64       `json:"last_id"`       // of its last trade in order; −1 before it
	LastTrade market.Time `json:"last_trade_at"` // 0 before it
	LastClose market.Time `json:"last_close_at"` // the end of its last closed kline; 0 before the first
	Gaps      int         `json:"gaps"`          // open ones
}

// standings are those of all symbols that are carried.
func (s *server) standings() []standing {
	all := []standing{}
	for _, st := range s.feed.Symbols() {
		reason := st.Reason
		if ails := s.history.Ails(st.Symbol); ails != "" && st.State == feed.Waiting {
			reason += "; " + ails
		}
		all = append(all, standing{s.symbols.Get(st.Symbol).Name, st.State, reason, st.LastID, st.LastTrade, st.LastClose, st.Gaps})
	}
	for _, id := range s.endedBefore() {
		all = append(all, standing{Symbol: s.symbols.Get(id).Name, State: feed.Ended, Reason: "the exchange had ended it before klined began", LastID: -1})
	}
	return all
}

// standingsOf are those of all symbols, or of the one named; nil where there is none of that name.
func (s *server) standingsOf(symbol string) any {
	all := s.standings()
	if symbol == "" {
		return all
	}
	if i := slices.IndexFunc(all, func(of standing) bool { return of.Symbol == symbol }); i >= 0 {
		return all[i : i+1]
	}
	return nil
}

// difference is one entry of /klined/v1/differences: a closed minute of ours that gave way to the exchange's own.
type difference struct {
	Symbol   string          `json:"symbol"`
	OpenTime market.Time     `json:"open_time"` // Unix ms
	Values   map[string]pair `json:"values"`    // those that differed, by name
}

// pair is a value of both.
type pair struct {
	Ours     string `json:"ours"`
	Official string `json:"official"`
}

// shownDifferences is how many are shown; the store keeps a week of them.
const shownDifferences = 500

// differences are the newest ones, newest first.
func (s *server) differences(ctx context.Context) ([]difference, error) {
	kept, err := s.store.Differences(ctx, shownDifferences)
	if err != nil {
		return nil, err
	}
	all := make([]difference, len(kept))
	for i := range kept {
		k := &kept[i]
		sym := s.symbols.Get(k.Symbol)
		all[i] = difference{sym.Name, k.Ours.OpenTime, make(map[string]pair)}
		eachDiffering(k, &sym, func(name, ours, official string) { all[i].Values[name] = pair{ours, official} })
	}
	return all, nil
}

// eachDiffering calls f with the values that differ, as the exchange writes them.
func eachDiffering(d *market.Difference, sym *market.Symbol, f func(name, ours, official string)) {
	values := market.Differing(&d.Ours, &d.Official)
	for v, name := range market.ValueNames {
		if values>>v&1 != 0 {
			f(name, d.Ours.ValueText(v, sym), d.Official.ValueText(v, sym))
		}
	}
}

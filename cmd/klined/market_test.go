package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// fakeMarket is an exchange, a server and a client in one process, on fake time and a network in memory.
type fakeMarket struct {
	t       *testing.T
	net     *memnet
	x       *sim.Exchange
	judge   *judge
	options serveOptions
	log     *slog.Logger // the server's; nil: warnings go to the test's output
	starts  int          // of the server
	ended   chan error   // why the server ended

	stopExchange, stopServer func() error
}

// startMarket starts an exchange and a server in front of it; call it within a bubble, and end it before that ends.
func startMarket(t *testing.T, so sim.Options, o serveOptions) *fakeMarket {
	t.Helper()
	m := &fakeMarket{}
	m.start(t, so, o)
	return m
}

// start is startMarket.
func (m *fakeMarket) start(t *testing.T, so sim.Options, o serveOptions) {
	t.Helper()
	m.launch(t, so, o)
	m.startServer()
}

// launch starts the exchange alone.
func (m *fakeMarket) launch(t *testing.T, so sim.Options, o serveOptions) {
	t.Helper()
	m.t, m.net, m.options = t, newMemnet(), o
	var err error
	if m.x, err = sim.New(so); err != nil {
		t.Fatal(err)
	}
	listener, err := m.net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.stopExchange = background(func(ctx context.Context) error { return simulate(ctx, m.x, listener) })
	m.options.REST, m.options.WS = "http://"+listener.Addr().String(), "ws://"+listener.Addr().String()
	m.options.Archive = m.options.REST
}

// startServer starts a server with the market's options, a second time too.
func (m *fakeMarket) startServer() {
	m.t.Helper()
	if err := m.tryServer(); err != nil {
		m.t.Fatal(err)
	}
}

// tryServer is startServer, and why the server did not start.
func (m *fakeMarket) tryServer() error {
	m.starts++
	listening := make(chan net.Addr, 1)
	ended := make(chan error, 1)
	m.ended = ended
	n := network{Dial: m.net.Dial, Listen: m.net.Listen}
	log := m.log
	if log == nil {
		log = slog.New(slog.NewTextHandler(m.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	m.stopServer = background(func(ctx context.Context) error {
		err := runServe(ctx, m.options, n, log, func(a net.Addr) { listening <- a })
		ended <- err
		return err
	})
	select {
	case a := <-listening:
		m.judge = newJudge("http://"+a.String(), m.options.REST, n)
		return nil
	case err := <-ended:
		return err
	}
}

// background runs f until what it returns is called, which gives f's error.
func background(f func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// end stops everything; nothing may have failed.
func (m *fakeMarket) end() {
	m.t.Helper()
	m.judge.client.CloseIdleConnections()
	if err := errors.Join(m.stopServer(), m.stopExchange()); err != nil {
		m.t.Error(err)
	}
}

// until lets the market run until the exchange's clock shows at.
func (m *fakeMarket) until(at market.Time) { time.Sleep(at.Sub(m.x.Now())) }

// must fails the test on a wrong verdict, and on one that compared nothing.
func must(t *testing.T, what string, v *verdict, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", what, v)
	if v.wrongCount > 0 || v.klines == 0 {
		t.Errorf("%s: %s", what, v)
	}
	for _, w := range v.wrong {
		t.Error(w)
	}
}

func at(t testing.TB, rfc string) market.Time {
	t.Helper()
	std, err := time.Parse(time.RFC3339, rfc)
	if err != nil {
		t.Fatal(err)
	}
	return market.TimeOf(std)
}

// options is a server's flags for a test, with defaults as on the command line.
func options(t *testing.T, source market.Source, ivs ...market.Interval) serveOptions {
	if len(ivs) == 0 {
		ivs = market.ExchangeIntervals()
	}
	return serveOptions{Listen: "127.0.0.1:0", Dir: t.TempDir(), Intervals: ivs, Source: source, Redundancy: 2, Lanes: 4, Capacity: defaultCapacity, Window: 4 << 20,
		PushEvery: defaultPushEvery, RESTWeight: 2400, Forward: forwardOff}
}

// TestMarket lets a whole market run on fake time and holds every closed kline of every series against the truth, in
// REST answers and as it was pushed.
func TestMarket(t *testing.T) {
	subMinute := []market.Interval{market.Interval(market.Second), market.Interval(5 * market.Second), market.Interval(30 * market.Second)}
	for _, c := range []struct {
		name     string
		start    string
		run      time.Duration
		symbols  int
		rate     float64
		source   market.Source
		straddle float64
		burn     float64
		explain  bool
		ivs      []market.Interval
		unraced  bool // another one runs the same code under the race detector
	}{
		{name: "all fifteen close at one boundary", start: "2027-02-28T23:57:30Z", run: 4 * time.Minute, symbols: 40, rate: 400, source: market.SourceTrade, straddle: sim.DefaultStraddle, burn: sim.DefaultBurn},
		{name: "aggTrade without straddles", start: "2027-02-28T23:57:30Z", run: 4 * time.Minute, symbols: 40, rate: 400, unraced: true},
		{name: "aggTrade as it is", start: "2027-02-28T23:57:30Z", run: 4 * time.Minute, symbols: 40, rate: 400, straddle: sim.DefaultStraddle, burn: sim.DefaultBurn, explain: true},
		{name: "begins at that boundary", start: "2027-02-28T23:59:10Z", run: 3 * time.Minute, symbols: 12, rate: 100, source: market.SourceTrade, straddle: sim.DefaultStraddle, burn: sim.DefaultBurn, unraced: true},
		{name: "second of a month", start: "2026-12-02T00:03:10Z", run: 8 * time.Minute, symbols: 12, rate: 100, source: market.SourceTrade, straddle: sim.DefaultStraddle, burn: sim.DefaultBurn, unraced: true},
		{name: "shorter than a minute", start: "2027-01-05T11:59:10Z", run: 3 * time.Minute, symbols: 8, rate: 200, source: market.SourceTrade, straddle: sim.DefaultStraddle, burn: sim.DefaultBurn,
			ivs: append(subMinute, market.ExchangeIntervals()...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if raced && c.unraced {
				t.Skip("make test runs it without the race detector")
			}
			synctest.Test(t, func(t *testing.T) {
				start := at(t, c.start)
				if raced {
					c.symbols, c.rate = 5, c.rate/8
				}
				m := startMarket(t, sim.Options{Symbols: c.symbols, Rate: c.rate, Seed: 7, Start: start, Straddle: c.straddle, Burn: c.burn},
					options(t, c.source, c.ivs...))
				defer m.end()
				symbols, err := m.judge.symbols()
				if err != nil {
					t.Fatal(err)
				}
				heard, err := m.judge.listen(t.Context(), symbols, m.options.Intervals, m.x.Now, "")
				if err != nil {
					t.Fatal(err)
				}
				first := market.OneMinute.Ceil(start + market.Second)
				end := start.Add(c.run)
				m.until(end)
				v, err := m.judge.compare(symbols, m.options.Intervals, first, end-2*market.Second, c.explain)
				must(t, "REST", v, err)
				heard.close()
				v, _, err = heard.check(m.judge, symbols, m.options.Intervals, first, end-2*market.Second, c.explain)
				must(t, "pushed", v, err)
			})
		})
	}
}

// TestSettled: with --settle on every minute, and what is folded from it, is the exchange's own some seconds after its close;
// how it compared at once is told.
func TestSettled(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-02-28T23:57:30Z")
		o := options(t, market.SourceAggTrade)
		o.Settle = true
		m := startMarket(t, sim.Options{Symbols: 12, Rate: 400, Seed: 7, Start: start, Straddle: sim.DefaultStraddle, Burn: sim.DefaultBurn}, o)
		defer m.end()
		m.until(start.Add(4 * time.Minute))
		busy := m.tradedSince(m.x.Now() - 20*market.Second) // a frame comes with a symbol's next trade
		first := market.OneMinute.Ceil(start + market.Second)
		end := m.x.Now() - 25*market.Second
		v, err := m.judge.compare(busy, o.Intervals, first, end, false)
		must(t, "REST", v, err)
		st := m.status().Settled.AtOnce["start"]
		if int(st.Compared) < 3*len(busy) || st.Equal == 0 || st.Equal == st.Compared || st.Shares["close"] < 0.9 || st.Shares["volume"] == 1 {
			t.Errorf("%+v", st)
		}
		if share := m.metric(`klined_settle_share{field="volume",when="at_once",within="hour"`); share != st.Shares["volume"] {
			t.Errorf("the metric says %v", share)
		}
		var kept []difference
		if err := m.judge.own("/klined/v1/differences", &kept); err != nil || len(kept) != int(st.Compared-st.Equal) {
			t.Errorf("%d kept, %v; compared %+v", len(kept), err, st)
		}
		for _, d := range kept {
			for name, v := range d.Values {
				if v.Ours == v.Official {
					t.Errorf("%s at %s: %s %+v", d.Symbol, d.OpenTime, name, v)
				}
			}
		}
	})
}

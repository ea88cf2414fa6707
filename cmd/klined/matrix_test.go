package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// evil is one thing that goes wrong, and for how long at most.
type evil struct {
	name string
	do   func(m *fakeMarket, r *rand.Rand)
}

func (m *fakeMarket) anySymbol(r *rand.Rand) string {
	names := m.x.Symbols()
	return names[r.IntN(len(names))]
}

// faultOf makes one fault happen.
func faultOf(f sim.Fault) func(*fakeMarket, *rand.Rand) {
	return func(m *fakeMarket, _ *rand.Rand) { m.inject(f) }
}

// evils are all that the simulated exchange can do to trades, connections, REST and its clock, and what a process may
// suffer. Each is over a minute after it began.
var evils = []evil{
	{"all connections cut", faultOf(sim.Fault{Kind: sim.FaultDisconnect})},
	{"one of two connections cut", faultOf(sim.Fault{Kind: sim.FaultDisconnect, Conn: oldest})},
	{"all silent", faultOf(sim.Fault{Kind: sim.FaultSilence, Seconds: 25})},
	{"trades silent", func(m *fakeMarket, _ *rand.Rand) {
		m.inject(sim.Fault{Kind: sim.FaultSilence, Seconds: 25, Stream: m.tradeStream()})
	}},
	{"one connection silent", func(m *fakeMarket, _ *rand.Rand) {
		m.inject(sim.Fault{Kind: sim.FaultSilence, Seconds: 40, Conn: m.oldestConns()[0]})
	}},
	{"one symbol silent", func(m *fakeMarket, r *rand.Rand) {
		m.inject(sim.Fault{Kind: sim.FaultSilence, Seconds: 20, Symbol: m.anySymbol(r)})
	}},
	{"frames dropped", func(m *fakeMarket, _ *rand.Rand) {
		f := sim.Fault{Kind: sim.FaultDrop, Percent: 20, Seconds: 40}
		if m.options.Source == market.SourceTrade { // what both connections lack of an unbroken run passes for burnt ids
			f.Conn = oldest
		}
		m.inject(f)
	}},
	{"frames doubled", faultOf(sim.Fault{Kind: sim.FaultDuplicate, Percent: 50, Seconds: 60})},
	{"frames out of order", faultOf(sim.Fault{Kind: sim.FaultReorder, Percent: 30, Seconds: 60})},
	{"garbage", faultOf(sim.Fault{Kind: sim.FaultGarbage, N: 60})},
	{"lies", func(m *fakeMarket, r *rand.Rand) {
		for range 8 {
			m.inject(sim.Fault{Kind: sim.FaultGarbage, N: 3, Lies: new(true)})
			time.Sleep(time.Duration(r.IntN(6000)) * time.Millisecond)
		}
	}},
	{"REST 429", faultOf(sim.Fault{Kind: sim.FaultREST429, Seconds: 30})},
	{"REST 418", faultOf(sim.Fault{Kind: sim.FaultREST418, Seconds: 45})},
	{"REST 500", faultOf(sim.Fault{Kind: sim.FaultREST500, Seconds: 40})},
	{"REST slow", faultOf(sim.Fault{Kind: sim.FaultRESTSlow, Seconds: 40, Delay: 8})},
	{"clock forward", faultOf(sim.Fault{Kind: sim.FaultClockSkew, MS: 20_000})},
	{"clock back", faultOf(sim.Fault{Kind: sim.FaultClockSkew, MS: -20_000})},
	{"restart", func(m *fakeMarket, r *rand.Rand) {
		if err := m.stopServer(); err != nil {
			m.t.Error(err)
		}
		m.judge.client.CloseIdleConnections()
		time.Sleep(time.Duration(r.IntN(20_000)) * time.Millisecond)
		err := m.tryServer()
		for tries := 0; err != nil && tries < 30; tries++ { // where the exchange fails it ends, and its supervisor starts it again
			time.Sleep(5 * time.Second)
			err = m.tryServer()
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}},
}

// unconnected are the evils that leave a lane with one connection for a while.
var unconnected = []string{"all connections cut", "one of two connections cut", "all silent", "trades silent", "one connection silent",
	"one symbol silent", "restart"}

// tradeStream is in the names of the streams that bring trades.
func (m *fakeMarket) tradeStream() string { return "@" + m.options.Source.String() }

// trial is one run of the matrix.
type trial struct {
	seed    uint64
	evils   []evil
	source  market.Source
	rows    bool // official rows heal, too; else only trades do
	settle  bool // and every minute gives way to the exchange's own
	symbols int
	rate    float64
}

func (c *trial) String() string {
	names := make([]string, len(c.evils))
	for i := range c.evils {
		names[i] = c.evils[i].name
	}
	rows := ""
	if !c.rows {
		rows = ", by trades alone"
	} else if c.settle {
		rows = ", settled"
	}
	return fmt.Sprintf("%s, %s%s, seed %d", strings.Join(names, " + "), c.source, rows, c.seed)
}

// run lets a market begin, lets what is wrong happen, waits until all is healed, and holds every closed kline of every
// series against the truth: in REST answers, as pushed last, and in the store. It says how many klines it has compared.
func (c *trial) run(t *testing.T) (klines int) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(c.seed, 1))
		start := at(t, "2027-01-05T09:57:20Z").Add(time.Duration(r.IntN(30)) * time.Second)
		o := options(t, c.source)
		o.Lanes, o.Settle = 2, c.settle && c.rows
		m := startMarket(t, sim.Options{Symbols: c.symbols, Rate: c.rate, Seed: c.seed, Start: start}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		first := market.OneMinute.Ceil(start + market.Second)
		heard, err := m.judge.listen(t.Context(), symbols, o.Intervals, m.x.Now, "?revisions=1")
		if err != nil {
			t.Fatal(err)
		}
		m.until(first.Add(15 * time.Second))
		m.calm(symbols)
		early, starts := m.tradedSince(0), m.starts
		if !c.rows {
			m.fault(sim.Fault{Kind: sim.FaultSilence, Stream: "@kline", Seconds: 1e5})
			m.fault(sim.Fault{Kind: sim.FaultREST500, Path: "klines", Seconds: 1e5})
		}
		for _, e := range c.evils {
			m.until(max(m.x.Now(), first.Add(time.Duration(16+r.IntN(90))*time.Second)))
			e.do(m, r)
		}
		over := m.x.Now().Add(time.Minute)
		m.until(max(over.Add(10*time.Second), first.Add(4*time.Minute)))
		if !c.rows { // nothing else tells what a symbol missed that has not traded before and after
			late := m.tradedSince(over)
			symbols = slices.DeleteFunc(early, func(name string) bool { return !slices.Contains(late, name) })
		}
		m.calm(symbols)
		end := m.x.Now()
		v, err := m.judge.compare(symbols, o.Intervals, first, end-5*market.Second, false)
		must(t, "REST", v, err)
		klines += v.klines
		heard.close()
		if m.starts == starts {
			v, err = heard.newest(m.judge, symbols, o.Intervals, first, end-5*market.Second)
			must(t, "pushed last", v, err)
			klines += v.klines
		}
		m.judge.client.CloseIdleConnections()
		if err := m.stopServer(); err != nil {
			t.Error(err)
		}
		v, err = m.judge.stored(o, symbols, first, end-5*market.Second, m.starts > 1)
		must(t, "stored", v, err)
		klines += v.klines
	})
	return klines
}

// calm lets the market run until every one of the symbols is whole and nothing of it is missing or marked, at most for
// some minutes.
func (m *fakeMarket) calm(symbols []string) {
	m.t.Helper()
	wrong := ""
	for range 90 {
		if wrong = m.wrong(symbols); wrong == "" {
			return
		}
		time.Sleep(4 * time.Second)
	}
	m.t.Errorf("not whole again: %s", wrong)
}

// wrong is what the judge finds wrong.
func (m *fakeMarket) wrong(symbols []string) string {
	m.t.Helper()
	wrong, err := m.judge.wrong(symbols)
	if err != nil {
		m.t.Fatal(err)
	}
	return wrong
}

// standings are the server's own.
func (m *fakeMarket) standings() (all []standing) {
	m.t.Helper()
	if err := m.judge.own("/klined/v1/symbols", &all); err != nil {
		m.t.Fatal(err)
	}
	return all
}

// tradedSince are the symbols that have traded since a time.
func (m *fakeMarket) tradedSince(t market.Time) (names []string) {
	for _, s := range m.standings() {
		if s.LastTrade > t {
			names = append(names, s.Symbol)
		}
	}
	return names
}

// seed is the first seed of this run: KLINED_SEED, or chosen by chance.
func seed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("KLINED_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return rand.Uint64N(1e9)
}

// matrix makes trials out of one seed.
type matrix struct {
	first          uint64
	random         *rand.Rand
	trials, klines int
}

func newMatrix(first uint64) *matrix {
	return &matrix{first: first, random: rand.New(rand.NewPCG(first, 2))}
}

// some are n evils by chance.
func (m *matrix) some(n int) []evil {
	some := make([]evil, n)
	for i := range some {
		some[i] = evils[m.random.IntN(len(evils))]
	}
	return some
}

// play runs one trial.
func (m *matrix) play(t *testing.T, evils ...evil) {
	r := m.random
	c := trial{seed: m.first + uint64(m.trials), evils: evils, rows: r.IntN(3) > 0, symbols: 6 + r.IntN(8), rate: 50 + 200*r.Float64()}
	if r.IntN(3) == 0 {
		c.source = market.SourceTrade
	}
	c.settle = r.IntN(3) == 0
	among := func(names ...string) bool {
		return slices.ContainsFunc(evils, func(e evil) bool { return slices.Contains(names, e.name) })
	}
	if among("frames dropped") && among(unconnected...) {
		c.source = market.SourceAggTrade // what the only connection lacks of an unbroken run passes for burnt ids
	}
	if among("restart") || c.source == market.SourceTrade {
		c.rows = true // there is no other way
	}
	m.trials++
	t.Run(c.String(), func(t *testing.T) { m.klines += c.run(t) })
}

// TestMatrix lets each thing go wrong alone, then two at once, at random moments.
func TestMatrix(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	m := newMatrix(seed(t))
	t.Logf("KLINED_SEED=%d go test -run '^TestMatrix$' ./cmd/klined", m.first)
	for _, e := range evils {
		m.play(t, e)
	}
	for range number(t, "KLINED_PAIRS", 6) {
		m.play(t, m.some(2)...)
	}
	t.Logf("%d trials, %d klines compared", m.trials, m.klines)
}

// number is what a variable of the environment says, or what is usual.
func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

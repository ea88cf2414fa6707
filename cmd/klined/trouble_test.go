package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/feed"
	"klined/market"
	"klined/sim"
)

// fault makes something go wrong at the exchange.
func (m *fakeMarket) fault(f sim.Fault) []int {
	m.t.Helper()
	conns, err := m.x.Fault(f)
	if err != nil {
		m.t.Fatal(err)
	}
	return conns
}

// status is the server's own.
func (m *fakeMarket) status() (st status) {
	m.t.Helper()
	if err := m.judge.own("/klined/v1/status", &st); err != nil {
		m.t.Fatal(err)
	}
	return st
}

// gaps is the server's own list.
func (m *fakeMarket) gaps() (gaps []gap) {
	m.t.Helper()
	if err := m.judge.own("/klined/v1/gaps", &gaps); err != nil {
		m.t.Fatal(err)
	}
	for _, g := range gaps {
		if g.Symbol == "" || g.Last < g.First || g.SeenAt == 0 || g.State == "" {
			m.t.Errorf("gap %+v", g)
		}
	}
	return gaps
}

// oldestConns are the exchange's numbers of each lane's older connection. A single malformed frame tells which two
// connections carry a symbol.
func (m *fakeMarket) oldestConns() (oldest []int) {
	for _, name := range m.x.Symbols() {
		ask := sim.Fault{Kind: sim.FaultGarbage, N: 1, Lies: new(false), Stream: strings.ToLower(name) + m.tradeStream()}
		pair := m.fault(ask)
		for tries := 0; len(pair) == 0 && tries < 60; tries++ { // they have just been cut
			time.Sleep(time.Second)
			pair = m.fault(ask)
		}
		if len(pair) == 0 || len(pair) > 2 {
			m.t.Fatalf("%s is carried by connections %v, want two", name, pair)
		}
		if !slices.Contains(oldest, pair[0]) {
			oldest = append(oldest, pair[0])
		}
	}
	return oldest
}

// TestTrouble lets things go wrong on the wire and holds every closed kline against the truth.
func TestTrouble(t *testing.T) {
	const second = time.Second
	start := "2027-01-05T09:58:30Z"
	type step struct {
		after time.Duration // since the first boundary
		fault sim.Fault
	}
	for _, c := range []struct {
		name  string
		steps []step
		gaps  bool // gaps are to be expected
	}{
		{name: "garbage and duplicates", steps: []step{
			{5 * second, sim.Fault{Kind: sim.FaultGarbage, N: 50}},
			{8 * second, sim.Fault{Kind: sim.FaultDuplicate, Percent: 50, Seconds: 60}},
		}},
		{name: "one connection cut, back, then the other", steps: []step{
			{10 * second, sim.Fault{Kind: sim.FaultDisconnect, Conn: oldest}},
			{70 * second, sim.Fault{Kind: sim.FaultDisconnect, Conn: oldest}},
		}},
		{name: "both cut", gaps: true, steps: []step{
			{80 * second, sim.Fault{Kind: sim.FaultDisconnect, Stream: "@aggTrade"}},
		}},
		{name: "both cut at a boundary", gaps: true, steps: []step{
			{119 * second, sim.Fault{Kind: sim.FaultDisconnect}},
		}},
		{name: "frames lost on both", gaps: true, steps: []step{
			{20 * second, sim.Fault{Kind: sim.FaultDrop, Percent: 20, Seconds: 30, Stream: "@aggTrade"}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := startMarket(t, sim.Options{Symbols: 12, Rate: 100, Seed: 3, Start: at(t, start)}, options(t, market.SourceAggTrade))
				defer m.end()
				symbols, err := m.judge.symbols()
				if err != nil {
					t.Fatal(err)
				}
				first := market.OneMinute.Ceil(at(t, start) + market.Second)
				for _, s := range c.steps {
					m.until(first.Add(s.after))
					m.inject(s.fault)
				}
				end := first.Add(4 * time.Minute)
				m.until(end)
				v, marked := m.judgeMarked(symbols, first, end-5*market.Second)
				must(t, c.name, v, nil)
				st := m.status()
				if (marked > 0 || st.Gaps["open"] > 0) && !c.gaps {
					t.Errorf("%d klines marked gap, %d gaps open; want none", marked, st.Gaps["open"])
				}
				if c.gaps && st.Gaps["seen"] == 0 {
					t.Error("no gap was seen: the fault did not happen")
				}
				if listed := m.gaps(); len(listed) != min(st.Gaps["seen"], 1000) {
					t.Errorf("%d gaps listed of %d seen", len(listed), st.Gaps["seen"])
				}
				t.Logf("%d klines marked gap, gaps %v, symbols %v", marked, st.Gaps, st.Symbols)
				if m.net.brokenOff() == 0 && strings.Contains(c.name, "cut") {
					t.Error("no connection was cut")
				}
			})
		})
	}
}

// oldest stands for the older connection of every lane: once cut and dialled again, it is the younger.
const oldest = -1

// inject makes a fault happen.
func (m *fakeMarket) inject(f sim.Fault) {
	conns := []int{f.Conn}
	if f.Conn == oldest {
		conns = m.oldestConns()
	}
	for _, f.Conn = range conns {
		m.fault(f)
	}
}

// judgeMarked compares every closed kline; those that say gap may differ, and are counted.
func (m *fakeMarket) judgeMarked(symbols []string, first, end market.Time) (v *verdict, marked int) {
	m.t.Helper()
	v = &verdict{}
	for _, symbol := range symbols {
		for _, iv := range m.options.Intervals {
			from, to := iv.Open(first), iv.Open(end)
			if from >= to {
				continue
			}
			ours, err := m.judge.ours(symbol, iv, from, to)
			if err != nil {
				m.t.Fatal(err)
			}
			truth, err := m.judge.truth(symbol, iv, from, to)
			if err != nil {
				m.t.Fatal(err)
			}
			gaps := m.gapRows(symbol, iv, from, to)
			if len(ours) != len(truth) {
				v.blame("%s %s: %d klines, want %d", symbol, iv, len(ours), len(truth))
				continue
			}
			for i := range ours {
				v.klines++
				marks := gaps[ours[i].open]
				if marks {
					marked++
				}
				switch {
				case ours[i] == truth[i]:
					v.equal++
				case !marks:
					v.blame("%s %s %s says no gap:\n  ours  %s\n  truth %s", symbol, iv, truth[i].open, ours[i].values(), truth[i].values())
				}
			}
		}
	}
	return v, marked
}

// gapRows are the open times of the klines that carry the mark, asked one by one of X-Klined-State.
func (m *fakeMarket) gapRows(symbol string, iv market.Interval, from, to market.Time) map[market.Time]bool {
	m.t.Helper()
	gaps := map[market.Time]bool{}
	for open := from; open < to; open = iv.Next(open) {
		resp, err := m.judge.client.Get(fmt.Sprintf("%s/fapi/v1/klines?symbol=%s&interval=%s&startTime=%d&endTime=%d",
			m.judge.server, symbol, iv, open, open))
		if err != nil {
			m.t.Fatal(err)
		}
		resp.Body.Close()
		gaps[open] = strings.Contains(resp.Header.Get("X-Klined-State"), "gap=1")
	}
	return gaps
}

// brokenOff is how many connections that were dialled have been closed.
func (m *memnet) brokenOff() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, c := range m.dialled {
		c.read.mu.Lock()
		if c.read.closed {
			n++
		}
		c.read.mu.Unlock()
	}
	return n
}

// TestRestart stops the server and starts it again: the same history is there, and what comes after joins without a seam.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:30Z")
		m := startMarket(t, sim.Options{Symbols: 12, Rate: 100, Seed: 5, Start: start, Straddle: sim.DefaultStraddle, Burn: sim.DefaultBurn},
			options(t, market.SourceTrade))
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		first := market.OneMinute.Ceil(start + market.Second)
		m.until(first.Add(3*time.Minute + 5*time.Second))
		before, err := m.judge.compare(symbols, m.options.Intervals, first, first.Add(3*time.Minute), false)
		must(t, "before", before, err)

		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		m.judge.client.CloseIdleConnections()
		time.Sleep(20 * time.Second)
		m.startServer()
		again, err := m.judge.compare(symbols, m.options.Intervals, first, first.Add(3*time.Minute), false)
		must(t, "the same history", again, err)
		m.until(first.Add(7 * time.Minute))
		after, err := m.judge.compare(symbols, m.options.Intervals, first, first.Add(7*time.Minute-2*time.Second), false)
		must(t, "across the restart", after, err)
		if st := m.status(); st.Symbols[feed.Whole] != len(symbols) {
			t.Errorf("symbols %v, want %d whole", st.Symbols, len(symbols))
		}
	})
}

// TestFullSize starts 800 symbols at the worst moments: shortly after a minute has begun, and shortly before the full
// hour. All are whole in time, busy ones first, and each that is not says why.
func TestFullSize(t *testing.T) {
	if raced {
		t.Skip("a market of this size is run without the race detector: make test does both")
	}
	for _, c := range []struct {
		start  string
		weight int
		within time.Duration
	}{
		{"2027-01-05T10:58:02Z", 2400, 100 * time.Second},
		{"2027-01-05T10:58:59Z", 1200, 180 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := at(t, c.start)
			o := options(t, market.SourceTrade)
			o.RESTWeight = c.weight
			m := startMarket(t, sim.Options{Symbols: 800, Rate: 400, Seed: 11, Start: start, Straddle: sim.DefaultStraddle, Burn: sim.DefaultBurn}, o)
			defer m.end()
			symbols, err := m.judge.symbols()
			if err != nil {
				t.Fatal(err)
			}
			took := m.untilWhole(symbols, c.within+time.Minute)
			t.Logf("started at %s with weight %d: 800 whole after %s", c.start, c.weight, took)
			if took > c.within {
				t.Errorf("want %s", c.within)
			}
			first := market.OneMinute.Ceil(start + market.Second)
			m.until(first.Add(3*time.Minute + 2*time.Second))
			v, err := m.judge.compare(symbols, m.options.Intervals, first, first.Add(3*time.Minute), false)
			must(t, "REST", v, err)
		})
	}
}

// untilWhole lets the market run until all symbols are whole, and says how long after its begin that was. Meanwhile each
// that is not must say why, and of the ten busiest none may be the last.
func (m *fakeMarket) untilWhole(symbols []string, limit time.Duration) time.Duration {
	m.t.Helper()
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // the bubble's
	waiting := symbols
	for time.Since(began) < limit {
		time.Sleep(time.Second)
		before := waiting
		waiting = nil
		for _, s := range m.standings() {
			if s.State == feed.Whole {
				continue
			}
			waiting = append(waiting, s.Symbol)
			if s.Reason == "" {
				m.t.Fatalf("%s is %s and does not say why", s.Symbol, s.State)
			}
		}
		if len(waiting) > 0 {
			continue
		}
		if busy := slices.IndexFunc(before, func(name string) bool { return slices.Contains(symbols[:10], name) }); busy >= 0 && len(before) < 400 {
			m.t.Errorf("%s was among the last %d", before[busy], len(before))
		}
		return time.Since(began)
	}
	m.t.Errorf("%d symbols are not whole after %s", len(waiting), limit)
	return limit
}

// TestOutage: 800 symbols lose their connections for 30 s under the default budget. 150 s after that no kline of a minute
// or longer carries the mark. KLINED_RATE=8000 plays it at a busy day's rate, and also with the connections of the
// exchange's klines left up.
func TestOutage(t *testing.T) {
	if raced {
		t.Skip("a market of this size is run without the race detector: make test does both")
	}
	rate, err := strconv.ParseFloat(cmp.Or(os.Getenv("KLINED_RATE"), "800"), 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cut  string // the connections with such streams
	}{{"all", ""}, {"trades", "@aggTrade"}} {
		if c.cut != "" && os.Getenv("KLINED_RATE") == "" {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			start := at(t, "2027-01-05T10:55:40Z")
			o := options(t, market.SourceAggTrade)
			o.RESTWeight = 1200
			m := startMarket(t, sim.Options{Symbols: 800, Rate: rate, Seed: 11, Start: start}, o)
			defer m.end()
			symbols, err := m.judge.symbols()
			if err != nil {
				t.Fatal(err)
			}
			m.untilWhole(symbols, 4*time.Minute)
			lost := at(t, "2027-01-05T10:59:15Z")
			m.until(lost)
			m.fault(sim.Fault{Kind: sim.FaultDisconnect, Stream: c.cut})
			m.net.refuse(30 * time.Second)
			back := lost.Add(30 * time.Second)
			m.until(back)
			m.judge.client.CloseIdleConnections()
			for left := 1; left > 0 && m.x.Now() < back+200*market.Second; {
				time.Sleep(5 * time.Second)
				left = 0
				for _, s := range m.standings() {
					if s.State != feed.Whole || s.Reason != "" {
						left++
						if m.x.Now() > back+195*market.Second {
							t.Logf("%s is %s: %s", s.Symbol, s.State, s.Reason)
						}
					}
				}
				if left == 0 {
					t.Logf("%s cut: all whole %s after they were back; gaps %v, weight used %d", c.name, m.x.Now().Sub(back), m.status().Gaps, m.status().RESTWeight)
				}
			}
			m.until(back + 150*market.Second)
			v, marked := m.judgeMarked(symbols, at(t, "2027-01-05T10:58:00Z"), back+145*market.Second)
			must(t, c.name, v, nil)
			t.Logf("%s cut: %d klines marked of %d", c.name, marked, v.klines)
			if marked > 0 {
				t.Errorf("%d klines are marked 150 s after the outage", marked)
			}
		})
	}
}

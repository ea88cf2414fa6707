package main

import (
	"encoding/json"
	"fmt"
	"slices"
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
	body, err := m.judge.get(m.judge.server, "/klined/v1/status", nil)
	if err == nil {
		err = json.Unmarshal(body, &st)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return st
}

// gaps is the server's own list.
func (m *fakeMarket) gaps() (gaps []gap) {
	m.t.Helper()
	body, err := m.judge.get(m.judge.server, "/klined/v1/gaps", nil)
	if err == nil {
		err = json.Unmarshal(body, &gaps)
	}
	if err != nil {
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
		pair := m.fault(sim.Fault{Kind: sim.FaultGarbage, N: 1, Lies: new(false), Stream: strings.ToLower(name) + m.tradeStream()})
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

// TestFullSize starts 800 symbols a minute before the full hour.
func TestFullSize(t *testing.T) {
	if raced {
		t.Skip("a market of this size is run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T10:58:40Z")
		o := options(t, market.SourceTrade)
		m := startMarket(t, sim.Options{Symbols: 800, Rate: 400, Seed: 11, Start: start, Straddle: sim.DefaultStraddle, Burn: sim.DefaultBurn}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		first := market.OneMinute.Ceil(start + market.Second)
		m.until(first.Add(3*time.Minute + 2*time.Second))
		if st := m.status(); st.Symbols[feed.Whole] != len(symbols) {
			t.Errorf("symbols %v, want %d whole", st.Symbols, len(symbols))
		}
		v, err := m.judge.compare(symbols, m.options.Intervals, first, first.Add(3*time.Minute), false)
		must(t, "REST", v, err)
	})
}

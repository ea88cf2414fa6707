package main

import (
	"testing"
	"testing/synctest"
	"time"

	"klined/feed"
	"klined/market"
	"klined/sim"
)

// TestListedAgain: a symbol that has ended and comes back is carried again: what it has traded before, what it did not meanwhile and
// what it trades then are the truth.
func TestListedAgain(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	for name, comes := range map[string]time.Duration{
		"long after":                            8 * time.Minute,
		"before klines that hold its end ended": 4*time.Minute + 20*time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := at(t, "2027-01-05T09:57:20Z")
				o := options(t, market.SourceAggTrade, market.OneMinute, 3*market.OneMinute, market.OneHour)
				m := startMarket(t, sim.Options{Symbols: 4, Rate: 6, Seed: 7, Start: start}, o)
				defer m.end()
				symbols, err := m.judge.symbols()
				if err != nil {
					t.Fatal(err)
				}
				back := symbols[1]
				m.until(start.Add(90 * time.Second))
				m.fault(sim.Fault{Kind: sim.FaultDelist, Symbol: back, Seconds: 5})
				m.until(start.Add(comes))
				if st := m.stands(back); st.State != feed.Ended {
					t.Fatalf("%+v", st)
				}
				m.fault(sim.Fault{Kind: sim.FaultList, Symbol: back})
				m.until(start.Add(comes + 7*time.Minute))
				if st := m.stands(back); st.State != feed.Whole || st.Gaps > 0 {
					t.Errorf("back: %+v", st)
				}
				m.exact([]string{back, symbols[0]}, start, m.x.Now()-market.Minute)
			})
		})
	}
}

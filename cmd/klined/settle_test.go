package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/history"
	"klined/market"
	"klined/sim"
)

// TestSettledByREST: no frame brings the exchange's own klines. The rounds of REST settle all of ours within an hour, whatever
// REST says meanwhile that it does not say twice; and what one of our own differs in is counted.
func TestSettledByREST(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	for _, c := range []struct {
		how     string
		seconds float64
		doubts  string // a reason that is counted
	}{
		{"", 0, "unconfirmed"},
		{"breaks", 3000, "rules"},
		{"changes", 3000, "unconfirmed"},
		{"lacks", 20, "unconfirmed"}, // two reads that agree are further apart
	} {
		t.Run(c.how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := at(t, "2027-01-05T09:57:20Z")
				first := market.OneMinute.Ceil(start + market.Second)
				o := options(t, market.SourceAggTrade, market.OneMinute, 3*market.OneMinute, market.OneHour)
				o.Settle = true
				m := startMarket(t, sim.Options{Symbols: 3, Rate: 5, Seed: 9, Start: start, Straddle: 0.01, Burn: 0.02}, o)
				defer m.end()
				m.fault(sim.Fault{Kind: sim.FaultSilence, Stream: "@kline", Seconds: 1e5})
				m.until(first.Add(2 * time.Minute))
				symbols, err := m.judge.symbols()
				if err != nil {
					t.Fatal(err)
				}
				m.calm(symbols)
				if c.how != "" { // in the middle of a round, for those that last
					m.until(first.Add(75*time.Minute - time.Duration(c.seconds/2)*time.Second))
					m.fault(sim.Fault{Kind: sim.FaultRESTWrong, How: c.how, Seconds: c.seconds})
				}
				m.until(first.Add(3 * time.Hour))
				end := first.Add(time.Hour)
				v, err := m.judge.compare(symbols, o.Intervals, first, end, false)
				must(t, "REST", v, err)
				for _, symbol := range symbols {
					m.settled(symbol, first, end)
				}
				st := m.status().Settled.AtOnce["start"]
				if int(st.Compared) < 60*len(symbols) || st.Equal == st.Compared || st.Shares["count"] > 0.95 || st.Shares["close"] < 0.95 {
					t.Errorf("%+v", st)
				}
				if m.metric(`klined_settle_doubted_total{reason="`+c.doubts) == 0 {
					t.Errorf("none was doubted as %s", c.doubts)
				}
			})
		})
	}
}

// settled fails the test where a minute of a symbol within [from, to) is not settled.
func (m *fakeMarket) settled(symbol string, from, to market.Time) {
	m.t.Helper()
	resp, err := m.judge.client.Get(fmt.Sprintf("%s/fapi/v1/klines?symbol=%s&interval=1m&limit=1500&startTime=%d&endTime=%d", m.judge.server, symbol, from, to-1))
	if err != nil {
		m.t.Fatal(err)
	}
	resp.Body.Close()
	if state := resp.Header.Get("X-Klined-State"); !strings.HasSuffix(state, "closed=0,open=0,gap=0") {
		m.t.Errorf("%s: %s", symbol, state)
	}
}

// TestSettledAfterRestart: what an earlier process closed and did not settle is settled in the store, and what is longer with it.
func TestSettledAfterRestart(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:20Z")
		first := market.OneMinute.Ceil(start + market.Second)
		o := options(t, market.SourceAggTrade, market.OneMinute, 3*market.OneMinute, 15*market.OneMinute, market.OneHour, 2*market.OneHour)
		o.Settle = true
		m := startMarket(t, sim.Options{Symbols: 3, Rate: 10, Seed: 4, Start: start, Straddle: 0.01, Burn: 0.02}, o)
		defer m.end()
		m.fault(sim.Fault{Kind: sim.FaultSilence, Stream: "@kline", Seconds: 1e5})
		stopped := first.Add(20 * time.Minute)
		m.until(stopped)
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		v, err := m.judge.compare(symbols, []market.Interval{market.OneMinute}, first, stopped-market.Minute, false)
		if err != nil || v.equal == v.klines {
			t.Fatalf("%v, %v: want some that differ before they are settled", v, err)
		}
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		m.startServer()
		m.until(first.Add(3*time.Hour + 10*time.Minute))
		v, err = m.judge.compare(symbols, o.Intervals, first, first.Add(110*time.Minute), false)
		must(t, "REST", v, err)
		for _, symbol := range symbols {
			m.settled(symbol, first, stopped)
		}
	})
}

// TestPastFilled: serve brings the last klines of each interval by itself; then every answer is here.
func TestPastFilled(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:20Z")
		o := options(t, market.SourceTrade)
		o.Backfill = 700
		m := startMarket(t, sim.Options{Symbols: 3, Rate: 10, Seed: 4, Start: start}, o)
		defer m.end()
		m.until(start.Add(8 * time.Minute))
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		st := m.status()
		if st.Backfill.State != history.FilledDone || st.Backfill.Done == 0 || st.Backfill.Done != st.Backfill.Total {
			t.Errorf("%+v", st.Backfill)
		}
		m.fault(sim.Fault{Kind: sim.FaultREST500, Path: "/fapi", Seconds: 1e5})
		end := m.x.Now()
		for _, iv := range o.Intervals {
			from := max(iv.OpenAt(iv.Ordinal(end)-600), start-90*market.Day)
			v, err := m.judge.compare(symbols, []market.Interval{iv}, from, iv.Open(end)-1, false)
			must(t, iv.String(), v, err)
		}
	})
}

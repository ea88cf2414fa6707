package main

import (
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// metric is the sum of a metric's values whose line begins with the given text.
func (m *fakeMarket) metric(begin string) (sum float64) {
	m.t.Helper()
	text, err := m.judge.get(m.judge.server, "/metrics", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(begin)+`\S* (\S+)$`).FindAllSubmatch(text, -1) {
		value, err := strconv.ParseFloat(string(line[1]), 64)
		if err != nil {
			m.t.Fatal(err)
		}
		sum += value
	}
	return sum
}

// TestLateTrades: far from the exchange, with a tail of slow deliveries, hardly a close is revised by a trade that comes
// after it, and no kline is wrong.
func TestLateTrades(t *testing.T) {
	if raced {
		t.Skip("a market of this size is run without the race detector: make test does both")
	}
	for _, c := range []struct {
		latency time.Duration
		source  market.Source
	}{
		{20 * time.Millisecond, market.SourceAggTrade}, {80 * time.Millisecond, market.SourceAggTrade},
		{150 * time.Millisecond, market.SourceAggTrade}, {80 * time.Millisecond, market.SourceTrade},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := at(t, "2027-01-05T09:55:40Z")
			ivs := append([]market.Interval{market.Interval(5 * market.Second)}, market.ExchangeIntervals()...)
			o := options(t, c.source, ivs...)
			m := startMarket(t, sim.Options{Symbols: 60, Rate: 600, Seed: 3, Start: start, Latency: c.latency}, o)
			defer m.end()
			symbols, err := m.judge.symbols()
			if err != nil {
				t.Fatal(err)
			}
			first := market.OneMinute.Ceil(start + market.Second)
			m.until(first.Add(30 * time.Second)) // the grace has been learnt
			closed, late := m.metric("klined_klines_closed_total"), m.metric(`klined_klines_revised_total{cause="late"}`)
			end := first.Add(6 * time.Minute)
			m.until(end)
			closed, late = m.metric("klined_klines_closed_total")-closed, m.metric(`klined_klines_revised_total{cause="late"}`)-late
			t.Logf("%s one way, %s: grace %v s, %v of %v closes revised by a late trade: %.3f %%", c.latency, c.source,
				m.metric("klined_grace_seconds"), late, closed, 100*late/closed)
			// Once in a while both connections are held up across a boundary at once: all symbols close too early then.
			if unlucky := float64(2 * len(symbols)); closed < 4000 || late > closed/1000+unlucky {
				t.Error("want at most 0.1 % of at least 4,000, but for one boundary")
			}
			v, err := m.judge.compare(symbols, ivs, first, end-5*market.Second, false)
			must(t, c.latency.String(), v, err)
		})
	}
}

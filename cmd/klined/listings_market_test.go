package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/feed"
	"klined/market"
	"klined/sim"
)

// stands is how the server says that a symbol stands; "" where it does not name it.
func (m *fakeMarket) stands(symbol string) (st standing) {
	m.t.Helper()
	var all []standing
	if err := m.judge.own("/klined/v1/symbols", &all); err != nil {
		m.t.Fatal(err)
	}
	for _, s := range all {
		if s.Symbol == symbol {
			return s
		}
	}
	return st
}

// answers is the HTTP status of a request for a symbol's minutes.
func (m *fakeMarket) answers(symbol string) int {
	m.t.Helper()
	resp, err := m.judge.client.Get(m.judge.server + "/fapi/v1/klines?interval=1m&symbol=" + symbol)
	if err != nil {
		m.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// asks is how often the exchange has been asked what it lists.
func (m *fakeMarket) asks() float64 {
	return m.metric(`klined_rest_requests_total{endpoint="exchangeInfo"`)
}

// heard is how many klines have come as final.
func (a *audience) heard() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

const (
	chinese = "币安人生USDT"
	late    = "LATEUSDT"
)

// TestListed: a symbol that is announced, and one that is not, are carried without a restart and whole from their first trade on:
// every kline of theirs is the truth, by REST and as pushed to who subscribed before they were listed. Dated contracts and COIN-M's
// are told apart, and not asked for again and again. What is listed is kept over a restart.
func TestListed(t *testing.T) {
	for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		t.Run(source.String(), func(t *testing.T) {
			if raced && source == market.SourceTrade {
				t.Skip("one source is enough under the race detector")
			}
			synctest.Test(t, func(t *testing.T) { listedMarket(t, source) })
		})
	}
}

func listedMarket(t *testing.T, source market.Source) {
	start := at(t, "2027-01-05T09:57:20Z")
	o := options(t, source)
	m := startMarket(t, sim.Options{Symbols: 4, Rate: 4, Seed: 7, Start: start}, o)
	defer m.end()
	both := []string{chinese, late}
	heard, err := m.judge.listen(t.Context(), both, o.Intervals, m.x.Now, "")
	if err != nil {
		t.Fatal(err)
	}
	m.until(at(t, "2027-01-05T09:58:10Z"))
	m.fault(sim.Fault{Kind: sim.FaultList, Symbol: chinese, Seconds: 235.5, Contract: "TRADIFI_PERPETUAL"}) // at 10:02:05.5
	m.until(at(t, "2027-01-05T10:01:55Z"))                                                                  // it is announced for so long that the regular question finds it
	if st := m.stands(chinese); st.State != feed.Whole || st.LastID != -1 {
		t.Errorf("before its first trade: %+v", st)
	}
	if rows, err := m.judge.ours(chinese, market.OneMinute, start, m.x.Now()); err != nil || len(rows) != 0 {
		t.Errorf("klines before its first trade: %v, %v", rows, err)
	}
	m.fault(sim.Fault{Kind: sim.FaultList, Symbol: "DATEDUSDT_270326", Contract: "CURRENT_QUARTER"})
	m.until(at(t, "2027-01-05T10:02:30Z"))
	m.fault(sim.Fault{Kind: sim.FaultList, Symbol: late})
	m.until(at(t, "2027-01-05T10:03:30Z"))
	asked := m.asks()
	end := at(t, "2027-01-05T10:06:30Z")
	m.until(end.Add(10 * time.Second))
	if n := m.asks() - asked; n > 2 {
		t.Errorf("in three minutes of nothing the exchange was asked %v times what it lists", n)
	}
	if names, err := m.judge.symbols(); err != nil || len(names) != 6 {
		t.Errorf("exchangeInfo has %v, %v", names, err)
	}
	for _, name := range both {
		if st := m.stands(name); st.State != feed.Whole || st.Gaps > 0 {
			t.Errorf("%+v", st)
		}
	}
	if st := m.stands("DATEDUSDT_270326"); st.Symbol != "" || m.answers("DATEDUSDT_270326") != http.StatusBadRequest {
		t.Errorf("%+v", st)
	}
	m.exact(both, start, end)
	heard.close()
	v, _, err := heard.check(m.judge, both, o.Intervals, start, end-2*market.Second, false)
	must(t, "pushed", v, err)

	if err := m.stopServer(); err != nil {
		t.Fatal(err)
	}
	m.startServer()
	m.until(end.Add(2 * time.Minute))
	m.exact(both, start, end.Add(100*time.Second))
	for _, name := range both {
		if st := m.stands(name); st.State != feed.Whole {
			t.Errorf("after a restart: %+v", st)
		}
	}
}

// exact holds all klines of symbols that closed within [from, to] against the truth.
func (m *fakeMarket) exact(symbols []string, from, to market.Time) {
	m.t.Helper()
	v, err := m.judge.compare(symbols, m.options.Intervals, from, to-2*market.Second, false)
	must(m.t, fmt.Sprintf("%v %s–%s", symbols, from, to), v, err)
}

// TestDelisted: a symbol that the exchange ends is silent from then on, and its klines stay readable, what the exchange has behind
// them too, after a restart as well; and so are those of one that the exchange does not list any more. The others go on.
func TestDelisted(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:20Z")
		o := options(t, market.SourceAggTrade, market.OneMinute, 3*market.OneMinute, market.OneHour, market.OneDay)
		m := startMarket(t, sim.Options{Symbols: 6, Rate: 6, Seed: 7, Start: start}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		settling, gone, living := symbols[2], symbols[3], symbols[:2]
		first := at(t, "2027-01-05T09:58:00Z")
		m.until(first.Add(time.Minute))
		heard, err := m.judge.listen(t.Context(), []string{settling, gone}, o.Intervals, m.x.Now, "")
		if err != nil {
			t.Fatal(err)
		}
		m.fault(sim.Fault{Kind: sim.FaultDelist, Symbol: settling, Seconds: 30})
		m.fault(sim.Fault{Kind: sim.FaultDelist, Symbol: gone, Seconds: 45.5, Gone: true})
		ended := at(t, "2027-01-05T10:00:00Z") // both trade no more
		m.until(ended.Add(7 * time.Minute))
		silent := heard.heard()
		m.until(ended.Add(9 * time.Minute))
		if heard.heard() != silent {
			t.Error("klines of what has ended are pushed")
		}
		heard.close()
		look := func(what string) {
			t.Helper()
			now := m.x.Now()
			m.exact(living, first, now)
			m.exact([]string{settling}, first, now-market.Minute)
			rows, err := m.judge.ours(gone, market.OneMinute, first, now)
			truth, wrong := m.judge.truth(gone, market.OneMinute, first, now)
			if n := len(rows); err != nil || wrong != nil || n < 2 || rows[n-1].open < ended-market.Minute || rows[n-1].open > ended+7*market.Minute || !slices.Equal(rows, truth[:n]) {
				t.Errorf("%s, gone: %v, %v, %v; want some of %v", what, rows, err, wrong, truth)
			}
			for _, name := range []string{settling, gone} {
				if st := m.stands(name); st.State != feed.Ended {
					t.Errorf("%s: %+v", what, st)
				}
			}
			if n := m.status().Symbols[feed.Ended]; n != 2 {
				t.Errorf("%s: %d have ended", what, n)
			}
			if ok, err := m.judge.get(m.judge.server, "/udf/search", nil); err != nil || strings.Contains(string(ok), settling) {
				t.Errorf("%s: %s is found, %v", what, settling, err)
			}
		}
		look("then")
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		m.options.Symbols = symbols[:4] // two of them by name
		m.startServer()
		m.until(m.x.Now().Add(2 * time.Minute))
		look("after a restart")
	})
}

// TestNoRoom: a symbol that finds no room is named to operators, and carried once one has ended.
func TestNoRoom(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:20Z")
		o := options(t, market.SourceAggTrade, market.OneMinute)
		o.Capacity = 4
		m := startMarket(t, sim.Options{Symbols: 4, Rate: 4, Seed: 7, Start: start}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		m.until(start.Add(time.Minute))
		m.fault(sim.Fault{Kind: sim.FaultList, Symbol: late})
		m.until(start.Add(2 * time.Minute))
		health, err := m.judge.get(m.judge.server, "/healthz", nil)
		if err != nil || !strings.Contains(string(health), late+" is not carried") {
			t.Errorf("%s, %v", health, err)
		}
		if st := m.stands(late); st.Symbol != "" {
			t.Errorf("%+v", st)
		}
		m.fault(sim.Fault{Kind: sim.FaultDelist, Symbol: symbols[3]})
		m.until(start.Add(12 * time.Minute))
		health, err = m.judge.get(m.judge.server, "/healthz", nil)
		if err != nil || strings.Contains(string(health), "not carried") {
			t.Errorf("%s, %v", health, err)
		}
		if st := m.stands(late); st.State != feed.Whole {
			t.Errorf("%+v", st)
		}
		m.exact([]string{late, symbols[0]}, start.Add(time.Minute), m.x.Now())
	})
}

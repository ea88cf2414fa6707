package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// bot is a client with one connection that asks for the last 1,500 klines of every symbol, and again after the time that a
// refusal names.
type bot struct {
	m      *fakeMarket
	client *http.Client
}

func (m *fakeMarket) newBot() *bot {
	return &bot{m, network{Dial: m.net.Dial}.client()}
}

// klines asks once; refused says how long to wait.
func (b *bot) klines(query string) (rows []row, refused time.Duration, err error) {
	resp, err := b.client.Get(b.m.judge.server + "/fapi/v1/klines?" + query)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, 0, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		rows, err = parseRows(body)
		return rows, 0, err
	case http.StatusTooManyRequests:
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		return nil, time.Duration(seconds) * time.Second, err
	}
	return nil, 0, fmt.Errorf("%s: %s: %s", query, resp.Status, body)
}

// all asks for every symbol until each was answered.
func (b *bot) all(t *testing.T, symbols []string, iv market.Interval) {
	for _, symbol := range symbols {
		for {
			rows, refused, err := b.klines(fmt.Sprintf("symbol=%s&interval=%s&limit=1500", symbol, iv))
			if err != nil {
				t.Error(err)
				return
			}
			if refused > 0 {
				time.Sleep(refused)
				continue
			}
			b.m.whole(t, symbol, iv, rows)
			break
		}
	}
	b.client.CloseIdleConnections()
}

// whole fails the test where rows are not 1,500 klines that follow each other, or all since the symbol's first.
func (m *fakeMarket) whole(t *testing.T, symbol string, iv market.Interval, rows []row) {
	t.Helper()
	if len(rows) != 1500 {
		truth, err := m.judge.get(m.judge.exchange, "/sim/truth", url.Values{"symbol": {symbol}, "interval": {iv.String()}, "startTime": {"1"}, "limit": {"1"}})
		first, parseErr := parseRows(truth)
		if err != nil || parseErr != nil || len(rows) == 0 || rows[0].open != first[0].open {
			t.Errorf("%s: %d rows, %v", symbol, len(rows), err)
		}
	}
	for i := 1; i < len(rows); i++ {
		if rows[i].open != iv.Next(rows[i-1].open) {
			t.Errorf("%s: a hole between %s and %s", symbol, rows[i-1].open, rows[i].open)
		}
	}
}

// greedy downloads the past of every symbol from a time on over so many connections until stop is closed. It says how many
// answers it has got.
func (m *fakeMarket) greedy(t *testing.T, symbols []string, from market.Time, connections int, stop <-chan struct{}) (answers int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for c := range connections {
		all.Go(func() {
			b := m.newBot()
			defer b.client.CloseIdleConnections()
			for n := c; ; n += connections {
				symbol, page := symbols[n%len(symbols)], market.Time(n/len(symbols))
				_, refused, err := b.klines(fmt.Sprintf("symbol=%s&interval=1m&limit=1500&startTime=%d", symbol, from+page*1500*market.Minute))
				if err != nil {
					t.Error(err)
					return
				}
				if refused == 0 {
					mu.Lock()
					answers++
					mu.Unlock()
				}
				select {
				case <-stop:
					return
				case <-time.After(max(refused, time.Millisecond)):
				}
			}
		})
	}
	all.Wait()
	return answers
}

// TestBots: many bots ask for the last 1,500 klines of many symbols while these are still waiting, with a greedy downloader
// beside them. All of them are served, none gets a hole, and the exchange is never asked for more than it allows.
func TestBots(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	bots, n := number(t, "KLINED_BOTS", 4), number(t, "KLINED_BOT_SYMBOLS", 90)
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:57:20Z")
		o := options(t, market.SourceAggTrade, market.OneMinute, 5*market.OneMinute, market.OneHour)
		o.RESTWeight, o.Backfill, o.Settle = 1200, 1500, true
		m := startMarket(t, sim.Options{Symbols: n, Rate: 20, Seed: 5, Start: start}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		stop, got := make(chan struct{}), make(chan int)
		go func() { got <- m.greedy(t, symbols, start-90*market.Day, 20, stop) }()
		begun := time.Now()
		var all sync.WaitGroup
		for i := range bots {
			all.Go(func() { m.newBot().all(t, symbols, []market.Interval{market.OneMinute, 5 * market.OneMinute}[i%2]) })
		}
		all.Wait()
		took := time.Since(begun)
		close(stop)
		t.Logf("%d bots had their klines of %d symbols after %s; the greedy one got %d answers", bots, n, took.Round(time.Second), <-got)
		// Weight 10 for each of two intervals of each symbol, and as much for the greedy one, whose connections are as many.
		if most := time.Duration(2+40*n/1080) * 2 * time.Minute; took > most {
			t.Errorf("that is more than %s", most)
		}
		m.until(m.x.Now() + 30*market.Second)
		v, err := m.judge.compare(symbols[:3], []market.Interval{market.OneMinute}, start-20*market.Hour, start-market.Hour, false)
		must(t, "REST", v, err)
		if refused := m.metric(`klined_rest_requests_total{endpoint="klines",status="4`); refused != 0 {
			t.Errorf("the exchange refused %v requests", refused)
		}
	})
}

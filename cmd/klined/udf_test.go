package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// udfChart asks as TradingView's charting library does with its UDF adapter: configuration, search, resolve, history from
// now back to where it ends, then the last two klines over and over.
type udfChart struct {
	m      *fakeMarket
	ticker string
}

func (c *udfChart) ask(into any, path string, params ...string) {
	c.m.t.Helper()
	query := url.Values{}
	for i := 0; i < len(params); i += 2 {
		query.Set(params[i], params[i+1])
	}
	body, err := c.m.judge.get(c.m.judge.server, "/udf/"+path, query)
	if err != nil {
		c.m.t.Fatal(err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		c.m.t.Fatalf("%s %s: %v\n%s", path, query, err, body)
	}
}

// udfKlines is a history answer.
type udfKlines struct {
	S, Errmsg     string
	T             []int64
	O, H, L, C, V []json.Number
	NextTime      int64
}

func (c *udfChart) history(resolution string, to, count int64) (k udfKlines) {
	c.m.t.Helper()
	c.ask(&k, "history", "symbol", c.ticker, "resolution", resolution, "from", fmt.Sprint(to-count*60), "to", fmt.Sprint(to), "countback", fmt.Sprint(count))
	if k.S != "ok" && k.S != "no_data" {
		c.m.t.Fatalf("%s before %d: %+v", resolution, to, k)
	}
	return k
}

// back asks from now back until there is no more, and holds what came against the truth.
func (c *udfChart) back(resolution string, iv market.Interval) (klines int) {
	c.m.t.Helper()
	now := c.m.x.Now()
	oldest := int64(now / market.Second)
	for to, count := oldest, int64(330); ; count = 1100 {
		k := c.history(resolution, to, count)
		if k.S == "no_data" {
			if k.NextTime == 0 {
				return klines
			}
			to = k.NextTime + 1
			continue
		}
		last := k.T[len(k.T)-1]
		if next := iv.Next(market.Time(last) * market.Second); klines > 0 && int64(next/market.Second) != oldest {
			c.m.t.Errorf("%s %s: after %d comes %d", c.ticker, resolution, last, oldest)
		}
		oldest = k.T[0]
		c.true(k, iv, now)
		klines += len(k.T)
		to = oldest
	}
}

// true holds closed klines against the truth.
func (c *udfChart) true(k udfKlines, iv market.Interval, now market.Time) {
	c.m.t.Helper()
	truth, err := c.m.judge.truth(c.ticker, iv, market.Time(k.T[0])*market.Second, min(now, market.Time(k.T[len(k.T)-1]+1)*market.Second))
	if err != nil {
		c.m.t.Fatal(err)
	}
	for i, want := range truth {
		got := row{market.Time(k.T[i]) * market.Second, k.O[i].String(), k.H[i].String(), k.L[i].String(), k.C[i].String(), k.V[i].String(), "", "", "", ""}
		want.quote, want.count, want.takerVolume, want.takerQuote = "", "", "", ""
		if got != want && iv.Next(want.open) <= now {
			c.m.t.Errorf("%s %s: %v, want %v", c.ticker, iv, got, want)
			return
		}
	}
}

// poll asks for the last two klines each second for a while, and gives the open times that it saw; no kline may be skipped.
func (c *udfChart) poll(resolution string, iv market.Interval, times int) (seen []market.Time) {
	c.m.t.Helper()
	for range times {
		time.Sleep(time.Second)
		k := c.history(resolution, int64(c.m.x.Now()/market.Second), 2)
		if k.S != "ok" || len(k.T) != 2 {
			c.m.t.Fatalf("%s: %+v", resolution, k)
		}
		open := market.Time(k.T[1]) * market.Second
		if n := len(seen); n == 0 || open > seen[n-1] {
			if n > 0 && market.Time(k.T[0])*market.Second != seen[n-1] {
				c.m.t.Errorf("%s: after %s come %d", resolution, seen[n-1], k.T)
			}
			seen = append(seen, open)
		}
	}
	return seen
}

// TestUDFChart lets a chart find a symbol, load all that there is of it and follow it.
func TestUDFChart(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:55:40Z")
		five := market.Interval(5 * market.Second)
		o := options(t, market.SourceTrade, append([]market.Interval{five}, market.ExchangeIntervals()...)...)
		m := startMarket(t, sim.Options{Symbols: 22, Rate: 200, Seed: 5, Start: start}, o)
		defer m.end()
		m.until(start.Add(90 * time.Second))
		c := &udfChart{m: m}
		var config struct {
			Resolutions []string `json:"supported_resolutions"`
			Search      bool     `json:"supports_search"`
		}
		if c.ask(&config, "config"); !config.Search || len(config.Resolutions) != 16 || config.Resolutions[0] != "5S" {
			t.Fatalf("%+v", config)
		}
		for _, search := range []string{"人生", "ENA"} { // ENAUSDT is 29 hours old
			var hits []struct{ Symbol, Ticker string }
			if c.ask(&hits, "search", "query", search, "limit", "30", "type", "", "exchange", ""); len(hits) != 1 {
				t.Fatalf("%s: %v", search, hits)
			}
			var info struct {
				Ticker     string
				Scale      int64 `json:"pricescale"`
				HasSeconds bool  `json:"has_seconds"`
			}
			if c.ask(&info, "symbols", "symbol", "BINANCE:"+hits[0].Ticker); info.Ticker != hits[0].Ticker || info.Scale < 100 || !info.HasSeconds {
				t.Fatalf("%+v", info)
			}
			c.ticker = info.Ticker
			hours := c.back("60", market.OneHour)
			t.Logf("%s: %d hours, %d days, %d of 5 s", c.ticker, hours, c.back("1D", market.OneDay), c.back("5S", five))
			if hours != map[string]int{"人生": 2410, "ENA": 30}[search] {
				t.Errorf("%s: %d hours", c.ticker, hours)
			}
			if seen := c.poll("1", market.OneMinute, 70); len(seen) < 2 {
				t.Errorf("saw %v", seen)
			}
			if seen := c.poll("5S", five, 20); len(seen) < 4 {
				t.Errorf("saw %v", seen)
			}
		}
		var unknown map[string]string
		if c.ask(&unknown, "symbols", "symbol", "NOSUCH"); unknown["s"] != "error" {
			t.Error(unknown)
		}
	})
}

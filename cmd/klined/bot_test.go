package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// TestBot asks as a bot does that follows all symbols in three intervals, within the second after a boundary that all three share:
// with startTime, packed, over 20 connections. Every answer is as long as asked, has the kline that has just closed as the exchange
// has it for good, and ends with the running one; nobody waits for longer than that close.
func TestBot(t *testing.T) {
	if raced {
		t.Skip("make test runs it without the race detector, too")
	}
	synctest.Test(t, func(t *testing.T) {
		o := options(t, market.SourceTrade)
		o.Grace = 500 * time.Millisecond
		m := startMarket(t, sim.Options{Symbols: 12, Rate: 40, Seed: 7, Start: at(t, "2027-01-05T09:57:40Z")}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DialContext: m.net.Dial, MaxConnsPerHost: 20, MaxIdleConnsPerHost: 20}}
		defer client.CloseIdleConnections()
		ask := func(boundary market.Time) {
			var asking sync.WaitGroup
			n := 0
			for _, symbol := range symbols {
				for _, iv := range []market.Interval{5 * market.OneMinute, 15 * market.OneMinute, market.OneHour} {
					after := time.Duration(n) * 25 * time.Millisecond
					n++
					asking.Go(func() {
						time.Sleep(after)
						began := time.Now()
						closed, err := askAsBot(client, m.judge.server, symbol, iv, boundary)
						if err != nil {
							t.Errorf("%s %s, %s after %s: %v", symbol, iv, after, boundary, err)
							return
						}
						took := time.Since(began)
						if after+took > time.Second && took > 100*time.Millisecond {
							t.Errorf("%s %s, %s after %s: took %s", symbol, iv, after, boundary, took)
						}
						time.Sleep(2*time.Second - after - took)
						truth, err := m.judge.rows(m.judge.exchange, "/sim/truth", symbol, iv, closed.open, iv.Next(closed.open))
						if err != nil || len(truth) != 1 || closed != truth[0] {
							t.Errorf("%s %s, %s after %s: closed %v, the exchange's %v, %v", symbol, iv, after, boundary, closed, truth, err)
						}
					})
				}
			}
			asking.Wait()
		}
		boundary := at(t, "2027-01-05T10:00:00Z")
		m.until(boundary - 30*market.Second)
		ask(boundary - 5*market.Minute) // what the store lacks is fetched
		m.until(boundary)
		closed, late, asked := m.metric(`klined_close_waits_total{result="closed"`), m.metric(`klined_close_waits_total{result="late"`), m.metric(`klined_rest_requests_total{endpoint="klines"`)
		ask(boundary)
		closed, late, asked = m.metric(`klined_close_waits_total{result="closed"`)-closed, m.metric(`klined_close_waits_total{result="late"`)-late, m.metric(`klined_rest_requests_total{endpoint="klines"`)-asked
		if closed == 0 || late != 0 || asked != 0 {
			t.Errorf("%v answers waited for the close, %v in vain, and the exchange was asked for klines %v times", closed, late, asked)
		}
		if held := m.windowed(); held < 3*len(symbols) {
			t.Errorf("the window has %d series", held)
		}
	})
}

// windowed is how many series the status says the window has.
func (m *fakeMarket) windowed() int {
	var status struct {
		Store struct {
			Series int `json:"window_series"`
		} `json:"store"`
	}
	body, err := m.judge.get(m.judge.server, "/klined/v1/status", nil)
	if err == nil {
		err = json.Unmarshal(body, &status)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return status.Store.Series
}

// askAsBot asks for 100 klines up to the one that opens at a boundary, or contains it, looks whether they are all there, and gives
// the last one that has closed.
func askAsBot(client *http.Client, server, symbol string, iv market.Interval, boundary market.Time) (closed row, err error) {
	const limit = 100
	last := iv.Ordinal(boundary)
	answer, err := client.Get(fmt.Sprintf("%s/fapi/v1/klines?symbol=%s&interval=%s&limit=%d&startTime=%d", server, url.QueryEscape(symbol), iv, limit,
		iv.OpenAt(last-limit+1)))
	if err != nil {
		return row{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return row{}, err
	}
	rows, err := parseRows(body)
	if err != nil {
		return row{}, fmt.Errorf("status %d: %w", answer.StatusCode, err)
	}
	if !answer.Uncompressed {
		return row{}, errors.New("it was not packed")
	}
	for i, r := range rows {
		if want := iv.OpenAt(last - limit + 1 + int64(i)); r.open != want {
			return row{}, fmt.Errorf("row %d opens at %s, want %s", i, r.open, want)
		}
	}
	if len(rows) != limit {
		return row{}, fmt.Errorf("%d rows, want %d", len(rows), limit)
	}
	return rows[limit-2], nil
}

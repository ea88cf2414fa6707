//go:build soak

package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"klined/market"
)

// crowd is clients of a server at full size: 800 symbols, 8,000 trades a second.
type crowd struct {
	t       *testing.T
	server  *process
	judge   *judge
	symbols []string
	ahead   time.Duration
}

// startCrowd starts exchange and server.
func startCrowd(t *testing.T, start string, args ...string) *crowd {
	t.Helper()
	_, exchange := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "800", "--rate", "8000", "--start", start)
	server, addr := launch(t, serveAddress, append([]string{"serve", "--listen", "127.0.0.1:0", "--dir", filepath.Join(t.TempDir(), "store"),
		"--rest", "http://" + exchange, "--ws", "ws://" + exchange, "--archive", "http://" + exchange, "--rest-weight", "2400", "--backfill", "0"}, args...)...)
	c := &crowd{t: t, server: server, judge: newJudge("http://"+addr, "http://"+exchange, network{})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("klined serve said:\n%s", server.output())
		}
	})
	c.ahead = offset(t, c.judge)
	var err error
	if c.symbols, err = c.judge.symbols(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crowd) now() market.Time { return market.TimeOf(time.Now().Add(c.ahead)) }

func (c *crowd) until(at market.Time) { time.Sleep(at.Sub(c.now())) }

// stream connects a client that takes the names' streams and hands each message to hear.
func (c *crowd) stream(names []string, hear func([]byte)) {
	c.t.Helper()
	conn, answer, err := websocket.DefaultDialer.DialContext(c.t.Context(), "ws"+strings.TrimPrefix(c.judge.server, "http")+"/stream?streams="+url.QueryEscape(strings.Join(names, "/")), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = answer.Body.Close()
	c.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for {
			_, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			hear(message)
		}
	}()
}

// ask gets klines as they come over the wire; the body is packed.
func (c *crowd) ask(client *http.Client, symbol string, iv market.Interval, limit int, start market.Time) (answer *http.Response, body []byte, err error) {
	address := fmt.Sprintf("%s/fapi/v1/klines?symbol=%s&interval=%s&limit=%d", c.judge.server, url.QueryEscape(symbol), iv, limit)
	if start > 0 {
		address += fmt.Sprintf("&startTime=%d", start)
	}
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept-Encoding", "gzip")
	if answer, err = client.Do(request); err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(answer.Body)
	return answer, body, err
}

// memory is a figure of the process's /proc/…/status, in MiB.
func (p *process) memory(name string) float64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	kib, err := strconv.ParseFloat(string(regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)[1]), 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kib / 1024
}

// TestSoakMemory has clients ask for 1,500 klines of more series than the window holds, over and over, beside 20 WebSocket clients:
// the process takes at most 1 GiB.
func TestSoakMemory(t *testing.T) {
	c := startCrowd(t, "2027-01-05T09:57:40Z")
	for n := range 20 {
		var names []string
		for i := range 100 {
			names = append(names, strings.ToLower(c.symbols[(n*40+i)%len(c.symbols)])+"@kline_"+market.ExchangeIntervals()[n%8].String())
		}
		c.stream(names, func([]byte) {})
	}
	minutes := number(t, "KLINED_MINUTES", 10)
	var answers, refused, failed atomic.Int64
	end := time.Now().Add(time.Duration(minutes) * time.Minute)
	var asking sync.WaitGroup
	for n := range 8 {
		asking.Go(func() {
			client := &http.Client{}
			defer client.CloseIdleConnections()
			for i := n; time.Now().Before(end); i += 8 {
				answer, _, err := c.ask(client, c.symbols[i%len(c.symbols)], market.ExchangeIntervals()[i/len(c.symbols)%4], 1500, 0)
				switch {
				case err == nil && answer.StatusCode == http.StatusOK:
					answers.Add(1)
				case err == nil && answer.StatusCode == http.StatusTooManyRequests:
					refused.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	for minute := 1; minute <= minutes; minute++ {
		time.Sleep(time.Minute)
		body, err := c.judge.get(c.judge.server, "/klined/v1/status", nil)
		var status struct {
			Store struct {
				Series int   `json:"window_series"`
				Bytes  int64 `json:"window_bytes"`
			} `json:"store"`
		}
		if err == nil {
			err = json.Unmarshal(body, &status)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("minute %d: RSS %.0f MiB, at most %.0f; the window has %d series, %d MiB; %d answers, %d refused, %d failed", minute, c.server.memory("VmRSS"),
			c.server.memory("VmHWM"), status.Store.Series, status.Store.Bytes>>20, answers.Load(), refused.Load(), failed.Load())
	}
	asking.Wait()
	if most := c.server.memory("VmHWM"); most > 1024 {
		t.Errorf("it took %.0f MiB", most)
	}
}

// asked is one request of a bot and its answer.
type asked struct {
	symbol         string
	iv             market.Interval
	sent, answered time.Time
	status         int
	state          string // of its klines
	body           []byte
	err            error
}

// TestSoakBot asks as a bot of 200 pairs and three intervals does once a boundary that all three share has come: over 20
// connections, packed, with startTime. Every answer has the kline that has just closed and ends with the running one.
func TestSoakBot(t *testing.T) {
	c := startCrowd(t, "2027-01-05T09:55:40Z")
	ivs := []market.Interval{5 * market.OneMinute, 15 * market.OneMinute, market.OneHour}
	pairs := c.symbols[:200]
	boundary := at(t, "2027-01-05T10:00:00Z")
	var mu sync.Mutex
	closed := make(map[string]time.Time)
	for some := range slices.Chunk(pairs, 50) {
		var names []string
		for _, symbol := range some {
			for _, iv := range ivs {
				names = append(names, strings.ToLower(symbol)+"@kline_"+iv.String())
			}
		}
		c.stream(names, func(message []byte) {
			if now := time.Now(); strings.Contains(string(message), `"x":true`) {
				var event struct {
					Data struct {
						Kind string `json:"e"`
						E    int64  `json:"E"` // when it was pushed, by the exchange's clock
						K    struct {
							S string `json:"s"`
							I string `json:"i"`
						} `json:"k"`
					} `json:"data"`
				}
				if json.Unmarshal(message, &event) == nil {
					mu.Lock()
					if pushed := time.UnixMilli(event.Data.E).Add(-c.ahead); pushed.Before(now) { // this process may read it late
						now = pushed
					}
					closed[event.Data.K.S+" "+event.Data.K.I] = now
					mu.Unlock()
				}
			}
		})
	}
	limit := number(t, "KLINED_LIMIT", 500)
	for c.now() < boundary-20*market.Second { // what the store lacks is fetched as the exchange's weight allows
		time.Sleep(10 * time.Second)
		if c.report("before the boundary", c.burst(pairs, ivs, limit, boundary-5*market.Minute, time.Time{}), nil) == 0 {
			break
		}
	}
	c.report("again", c.burst(pairs, ivs, limit, boundary-5*market.Minute, time.Time{}), nil)
	ahead := offset(t, c.judge) // the processes' start is no time to look at a clock
	mu.Lock()
	c.ahead = ahead
	mu.Unlock()
	c.until(boundary + 1)
	pinged := c.pings()
	all := c.burst(pairs, ivs, limit, boundary, time.Now().Add(-time.Millisecond))
	delays := pinged()
	c.t.Logf("a ping meanwhile, which costs nothing but its turn on this machine: p50 %s, p99 %s, most %s", quantile(delays, 0.5), quantile(delays, 0.99), delays[len(delays)-1])
	time.Sleep(time.Second)
	mu.Lock()
	defer mu.Unlock()
	c.report("at the boundary", all, closed)
	for _, a := range all {
		c.whole(a, limit, boundary)
	}
}

// pings asks for nothing, again and again, until what it returns is called, which gives how long each answer took.
func (c *crowd) pings() (stop func() []time.Duration) {
	end, done := make(chan struct{}), make(chan []time.Duration)
	go func() {
		client := &http.Client{}
		defer client.CloseIdleConnections()
		var delays []time.Duration
		for {
			began := time.Now()
			answer, err := client.Get(c.judge.server + "/fapi/v1/ping")
			if err == nil {
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
			delays = append(delays, time.Since(began))
			select {
			case <-end:
				slices.Sort(delays)
				done <- delays
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() []time.Duration { close(end); return <-done }
}

// burst asks for the last klines of each interval of each pair over 20 connections; from began on where it is given, one request
// follows the other within a second.
func (c *crowd) burst(pairs []string, ivs []market.Interval, limit int, boundary market.Time, began time.Time) []*asked {
	var all []*asked
	for _, symbol := range pairs {
		for _, iv := range ivs {
			all = append(all, &asked{symbol: symbol, iv: iv})
		}
	}
	var next atomic.Int64
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				if !began.IsZero() {
					time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(len(all)))))
				}
				a := all[i]
				start := a.iv.OpenAt(a.iv.Ordinal(boundary) - int64(limit) + 1)
				a.sent = time.Now()
				answer, body, err := c.ask(client, a.symbol, a.iv, limit, start)
				if a.answered, a.body, a.err = time.Now(), body, err; err == nil {
					a.status, a.state = answer.StatusCode, answer.Header.Get("X-Klined-State")
				}
			}
		})
	}
	asking.Wait()
	return all
}

// report prints how long the answers took, from the later of the request and the push of the close.
func (c *crowd) report(what string, all []*asked, closed map[string]time.Time) (refused int) {
	c.t.Helper()
	var delays []time.Duration
	waited := 0
	for _, a := range all {
		if a.err != nil || a.status != http.StatusOK {
			refused++
			continue
		}
		from := a.sent
		if at := closed[a.symbol+" "+a.iv.String()]; at.After(from) {
			from = at
			waited++
		}
		delays = append(delays, max(a.answered.Sub(from), 0))
	}
	if len(delays) == 0 {
		c.t.Logf("%s: no answers of %d: %d %v", what, len(all), all[0].status, all[0].err)
		return refused
	}
	slices.Sort(delays)
	c.t.Logf("%s: %d answers, %d refused, %d waited for the close: p50 %s, p99 %s, most %s", what, len(delays), refused, waited, quantile(delays, 0.5),
		quantile(delays, 0.99), delays[len(delays)-1])
	return refused
}

// whole fails the test unless the answer has every kline up to the running one.
func (c *crowd) whole(a *asked, limit int, boundary market.Time) {
	c.t.Helper()
	var rows [][]json.RawMessage
	zip, err := gzip.NewReader(strings.NewReader(string(a.body)))
	if err == nil {
		err = json.NewDecoder(zip).Decode(&rows)
	}
	if err != nil || len(rows) < 2 || len(rows) > limit { // fewer than asked where the symbol is younger
		c.t.Errorf("%s %s: status %d, %d rows, %v", a.symbol, a.iv, a.status, len(rows), err)
		return
	}
	if !strings.Contains(a.state, ",open=1,") {
		c.t.Errorf("%s %s: all but the last row must have closed: %s", a.symbol, a.iv, a.state)
	}
	for i, row := range rows {
		if open := a.iv.OpenAt(a.iv.Ordinal(boundary) - int64(len(rows)-1-i)); string(row[0]) != strconv.FormatInt(int64(open), 10) {
			c.t.Errorf("%s %s: row %d opens at %s, want %d", a.symbol, a.iv, i, row[0], open)
			return
		}
	}
}

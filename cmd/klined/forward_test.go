package main

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/spf13/pflag"

	"klined/market"
	"klined/sim"
)

func TestForwardFlag(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // in the error; "" where there is none
	}{
		{"", ""},
		{"--forward off --listen 0.0.0.0:80", ""},
		{"--forward public --listen :80", ""},
		{"--forward all", ""},
		{"--forward all --listen localhost:80", ""},
		{"--forward all --listen [::1]:80", ""},
		{"--forward all --listen 127.8.8.8:80", ""},
		{"--forward all --listen :80", "--forward all with --listen :80: requests with keys"},
		{"--forward all --listen 0.0.0.0:80", "--listen 0.0.0.0:80"},
		{"--forward all --listen 192.0.2.1:80", "--listen 192.0.2.1:80"},
		{"--forward all --listen example.org:80", "--listen example.org:80"},
		{"--forward some", `--forward "some": want off, public or all`},
		{"--forward=", `--forward "": want off, public or all`},
	} {
		var o serveOptions
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		o.bind(flags)
		err := flags.Parse(strings.Fields(c.args))
		if err == nil {
			err = o.parse()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}

// request asks base for something and gives status, body and headers.
func (m *fakeMarket) request(t *testing.T, base, method, path, key, body string) (int, string, http.Header) {
	t.Helper()
	q, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != "" {
		q.Header.Set("X-MBX-APIKEY", key)
	}
	resp, err := m.judge.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// TestForward: a client that asks the server gets what the exchange would have answered; with a key only where that is
// wanted.
func TestForward(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	type question struct{ method, path, key, body string }
	public := []question{
		{"GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "", ""},
		{"GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=7", "", ""},
		{"HEAD", "/fapi/v1/depth?symbol=BTCUSDT&limit=5", "", ""},
		{"GET", "/fapi/v1/premiumIndex?symbol=ETHUSDT", "", ""},
		{"GET", "/fapi/v1/fundingRate?symbol=ETHUSDT", "", ""},
		{"GET", "/fapi/v1/ticker/24hr?symbol=ETHUSDT", "", ""},
		{"GET", "/fapi/v1/ticker/24hr", "", ""},
		{"GET", "/fapi/v1/ticker/bookTicker", "", ""},
		{"GET", "/fapi/v1/premiumIndex", "", ""},
		{"GET", "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h&limit=5", "", ""},
		{"POST", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m", "", ""},
		{"DELETE", "/fapi/v1/ticker/24hr", "", ""},
		{"GET", "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m", "", ""},
		{"GET", "/fapi/v1/klines?symbol=BTCUSDT_270326&interval=1h&limit=5&endTime=1798000000000", "", ""},
		{"GET", "/fapi/v1/ticker/price?symbol=OMGUSDT", "", ""},
		{"GET", "/fapi/v1/nothing", "", ""},
		{"GET", "/dapi/v1/ping", "", ""},
		{"GET", "/fapi/v1/historicalTrades?symbol=BTCUSDT", "", ""},
		{"GET", "/fapi/v1/premiumIndex?symbol=BTCUSDT", "k", ""},
	}
	keyed := []question{
		{"GET", "/fapi/v2/account?timestamp=1&signature=5f", "k", ""},
		{"GET", "/fapi/v2/account?timestamp=1&signature=5f", "", ""},
		{"POST", "/fapi/v1/order?symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=2&newClientOrderId=a%2Fb&signature=5f", "k", ""},
		{"POST", "/fapi/v1/order", "k", "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=1&signature=5f"},
		{"DELETE", "/fapi/v1/order?symbol=BTCUSDT&signature=5f", "k", ""},
		{"POST", "/fapi/v1/listenKey", "k", ""},
		{"PUT", "/fapi/v1/listenKey", "k", ""},
		{"POST", "/fapi/v1/klines", "k", ""},
	}
	synctest.Test(t, func(t *testing.T) {
		o := options(t, market.SourceTrade)
		o.Forward, o.RESTWeight = forwardAll, 1200
		m := startMarket(t, sim.Options{Symbols: 4, Rate: 10, Seed: 5, Start: at(t, "2027-01-05T09:58:20Z")}, o)
		defer m.end()
		alike := func(mode string, questions []question) {
			t.Helper()
			m.until(market.OneMinute.Ceil(m.x.Now()) + 20*market.Second)
			for _, q := range questions {
				status, body, _ := m.request(t, m.judge.server, q.method, q.path, q.key, q.body)
				want, text, _ := m.request(t, m.judge.exchange, q.method, q.path, q.key, q.body)
				if status != want || body != text {
					t.Errorf("%s: %s %s: %d %s, want %d %s", mode, q.method, q.path, status, body, want, text)
				}
			}
		}
		alike(forwardAll, append(public, keyed...))
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		m.options.Forward = forwardPublic
		m.startServer()
		alike(forwardPublic, public)
		for _, q := range keyed {
			status, body, _ := m.request(t, m.judge.server, q.method, q.path, q.key, q.body)
			if status != http.StatusUnauthorized || !strings.HasPrefix(body, `{"code":-2015,`) || !strings.Contains(body, "--forward all") {
				t.Errorf("%s %s: %d %s", q.method, q.path, status, body)
			}
		}
		m.exhaust(t)
	})
}

// exhaust asks until the server has no weight left: it says when there is more, and has kept the exchange from refusing.
func (m *fakeMarket) exhaust(t *testing.T) {
	t.Helper()
	m.until(market.OneMinute.Ceil(m.x.Now()) + 20*market.Second)
	for range 100 {
		status, body, head := m.request(t, m.judge.server, "GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "", "")
		if status == http.StatusOK {
			continue
		}
		wait, err := strconv.Atoi(head.Get("Retry-After"))
		if status != http.StatusTooManyRequests || !strings.HasPrefix(body, `{"code":-1003,"msg":"Too many requests; `) || err != nil || wait < 1 || wait > 60 {
			t.Errorf("%d %s, Retry-After %d", status, body, wait)
		}
		passed, refused := m.metric(`klined_rest_requests_total{endpoint="depth",status="200"`), m.metric(`klined_rest_requests_total{endpoint="depth",status="429"`)
		if passed < 30 || refused != 0 {
			t.Errorf("the exchange answered %v times and refused %v times", passed, refused)
		}
		m.until(m.x.Now() + market.Time(wait)*market.Second)
		if status, body, _ := m.request(t, m.judge.server, "GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000", "", ""); status != http.StatusOK {
			t.Errorf("after the time that it named: %d %s", status, body)
		}
		return
	}
	t.Error("100 requests of weight 20 within a budget of 1200")
}

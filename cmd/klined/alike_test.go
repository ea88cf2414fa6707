package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"klined/market"
	"klined/sim"
)

// TestAlike asks exchange and server the same questions at the same instant: status, errors and closed rows are equal byte
// for byte, the running row opens at the same time, and both count the same weight. Without forwarding that holds for what is
// carried; with it for everything. Queries that cannot be read whole are not asked: what the exchange answers to them is not documented.
func TestAlike(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	first := seed(t)
	t.Logf("KLINED_SEED=%d go test -run '^TestAlike$' ./cmd/klined", first)
	synctest.Test(t, func(t *testing.T) {
		o := options(t, market.SourceTrade)
		m := startMarket(t, sim.Options{Symbols: 12, Rate: 30, Seed: 5, Start: at(t, "2027-01-05T09:57:20Z")}, o)
		defer m.end()
		m.until(at(t, "2027-01-05T10:01:30Z"))
		a := &alike{m: m, carriedOnly: true, random: rand.New(rand.NewPCG(first, 0))}
		a.all(t)
		a.prices(t)
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		m.options.Forward = forwardPublic
		m.startServer()
		m.until(m.x.Now() + 90*market.Second)
		a.carriedOnly = false
		a.all(t)
		a.prices(t)
	})
}

// alike compares the answers of exchange and server.
type alike struct {
	m           *fakeMarket
	carriedOnly bool // the server may say of what it does not carry that it is not there
	random      *rand.Rand

	asked, refused, rows int
}

// all asks everything.
func (a *alike) all(t *testing.T) {
	a.asked, a.refused, a.rows = 0, 0, 0
	for _, q := range append(a.questions(), randomly(a.random, 40, a.m.x.Now())...) {
		if a.asked++; a.asked%60 == 0 { // the exchange allows so much a minute
			a.m.until(market.OneMinute.Ceil(a.m.x.Now()) + 30*market.Second)
		}
		a.ask(t, q)
	}
	t.Logf("%d questions, %d refused, %d rows", a.asked, a.refused, a.rows)
	if a.asked < 200 || a.refused < 50 || a.rows < 5000 {
		t.Error("that is less than was meant to be compared")
	}
}

// answer is what a question brought.
type answer struct {
	status int
	head   http.Header
	body   string
}

func (a *alike) get(t *testing.T, base, path string) answer {
	t.Helper()
	resp, err := a.m.judge.client.Get(base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// cost is what base counts for a question: what is used after it, less what was before.
func (a *alike) cost(t *testing.T, base, path string) (answer, int) {
	t.Helper()
	used := func(x answer) int {
		n, err := strconv.Atoi(x.head.Get("X-MBX-USED-WEIGHT-1M"))
		if err != nil {
			t.Errorf("%s%s: %v", base, path, err)
		}
		return n
	}
	before := a.get(t, base, "/fapi/v1/ping")
	got := a.get(t, base, path)
	return got, used(got) - used(before)
}

// ask compares one question.
func (a *alike) ask(t *testing.T, path string) {
	t.Helper()
	ours, costs := a.cost(t, a.m.judge.server, path)
	theirs, cost := a.cost(t, a.m.judge.exchange, path)
	if a.carriedOnly && unknownHere(ours) && !unknownHere(theirs) {
		return
	}
	if costs != cost {
		t.Errorf("%s: counted %d, want %d", path, costs, cost)
	}
	if got, want := ours.head.Get("Content-Type"), theirs.head.Get("Content-Type"); got != want {
		t.Errorf("%s: %s, want %s", path, got, want)
	}
	if ours.status != theirs.status {
		t.Errorf("%s: %d %.200s, want %d %.200s", path, ours.status, ours.body, theirs.status, theirs.body)
		return
	}
	if theirs.status != http.StatusOK {
		a.refused++
		if ours.body != theirs.body {
			t.Errorf("%s: %s, want %s", path, ours.body, theirs.body)
		}
		return
	}
	a.compare(t, path, ours.body, theirs.body)
}

// unknownHere reports whether an answer says that there is no such symbol, interval or contract.
func unknownHere(x answer) bool {
	return strings.Contains(x.body, `"code":-1121,`) || strings.Contains(x.body, `"code":-1120,`)
}

// compare holds rows against each other.
func (a *alike) compare(t *testing.T, path, ours, theirs string) {
	t.Helper()
	var got, want []json.RawMessage
	if err := json.Unmarshal([]byte(ours), &got); err != nil {
		t.Errorf("%s: %v in %.200s", path, err, ours)
		return
	}
	if err := json.Unmarshal([]byte(theirs), &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", path, len(got), len(want))
		return
	}
	for i := range want {
		a.rows++
		g, w := string(got[i]), string(want[i])
		if running(t, w, a.m.x.Now()) {
			g, _, _ = strings.Cut(g, ",")
			w, _, _ = strings.Cut(w, ",")
		}
		if g != w {
			t.Errorf("%s: row %d: %s, want %s", path, i, g, w)
			return
		}
	}
}

// running reports whether a row is of a kline that is not over.
func running(t *testing.T, text string, now market.Time) bool {
	var cells []json.RawMessage
	if err := json.Unmarshal([]byte(text), &cells); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(string(cells[6]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return market.Time(n) >= now
}

// questions are all that is asked.
func (a *alike) questions() (all []string) {
	now := a.m.x.Now()
	ms := func(ago market.Time) string { return strconv.FormatInt(int64(now-ago), 10) }
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	klines := func(rest string) { add("/fapi/v1/klines?symbol=BTCUSDT&interval=1m%s", rest) }
	for _, iv := range market.ExchangeIntervals() {
		add("/fapi/v1/klines?symbol=ETHUSDT&limit=9&interval=%s", iv)
		add("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&limit=4&interval=%s", iv)
	}
	for _, iv := range []string{"", "7m", "1s", "5s", "60m", "1H", "1mo", "1M%20", "%201m", "1", "m", "0m", "-1m", "01m", "1m1m", "１m"} {
		add("/fapi/v1/klines?symbol=BTCUSDT&interval=%s", iv)
	}
	for _, symbol := range []string{
		"", "btcusdt", "BtcUsdt", "NOPE", "BTC", "BTCUSDT%20", "%20BTCUSDT", "+BTCUSDT", "BTC-USDT", "BTCUSD_PERP", "%00", "BTCUSDT%0d%0aX:1",
		"1000PEPEUSDT", "XAUUSDT", "OMGUSDT", "BTCUSDT_270326", "btcusdt_270326", url.QueryEscape("币安人生USDT"), url.QueryEscape("币安人生usdt"), "币安人生USDT", strings.Repeat("A", 300),
	} {
		add("/fapi/v1/klines?symbol=%s&interval=5m&limit=3", symbol)
		add("/fapi/v1/klines?interval=1h&limit=2&symbol=%s", symbol)
		add("/fapi/v1/continuousKlines?pair=%s&contractType=PERPETUAL&interval=1h&limit=2", symbol)
		add("/fapi/v1/continuousKlines?pair=%s&contractType=TRADIFI_PERPETUAL&interval=1h&limit=2", symbol)
	}
	for _, contract := range []string{"", "perpetual", "CURRENT_QUARTER", "NEXT_QUARTER", "CURRENT_MONTH", "FOREVER", "PERPETUAL%20"} {
		add("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=%s&interval=1h&limit=2", contract)
	}
	for _, limit := range []string{
		"", "0", "1", "2", "99", "100", "101", "499", "500", "501", "1000", "1001", "1499", "1500", "1501", "2000", "-1", "%2B5", "+5", "1.5", "5.0", "1e2", "%205", "5%20",
		"0x10", "05", "99999999999", "99999999999999999999999", "ten", "５", "null", "5,6", "true",
	} {
		klines("&limit=" + limit)
	}
	for _, at := range []string{
		"", "0", "1", "-1", "%2B1", "1.5", "1e12", "now", "9223372036854775807", "9223372036854775808", "99999999999999999999", "999999999999999999999", "253402300800000", "1700000000",
		ms(0), ms(1), ms(market.Minute), ms(61 * market.Minute), ms(25*market.Hour + 1), ms(99 * market.Day), ms(100 * market.Day), ms(101 * market.Day), ms(-market.Minute), ms(-market.Day),
		"%20" + ms(market.Hour), ms(market.Hour) + ".0",
	} {
		klines("&limit=7&startTime=" + at)
		klines("&limit=7&endTime=" + at)
		klines("&startTime=" + at + "&endTime=" + ms(2*market.Hour) + "&limit=3")
		klines("&startTime=" + ms(3*market.Hour) + "&endTime=" + at + "&limit=200")
	}
	for _, span := range [][2]market.Time{{market.Minute, 0}, {0, market.Minute}, {market.Hour, market.Hour}, {90 * market.Second, 80 * market.Second}, {market.Hour, 2}, {200 * market.Day, 150 * market.Day}} {
		for _, iv := range []string{"1m", "15m", "1d", "3d", "1w", "1M"} {
			add("/fapi/v1/klines?symbol=SOLUSDT&interval=%s&limit=100&startTime=%s&endTime=%s", iv, ms(span[0]), ms(span[1]))
		}
	}
	add("/fapi/v1/klines")
	add("/fapi/v1/klines?")
	add("/fapi/v1/klines?symbol=BTCUSDT")
	add("/fapi/v1/klines?interval=1m")
	add("/fapi/v1/klines?Symbol=BTCUSDT&interval=1m")
	add("/fapi/v1/klines?symbol=NOPE&interval=7m&limit=0&startTime=x")
	add("/fapi/v1/klines?symbol=NOPE&interval=7m&startTime=2&endTime=1")
	add("/fapi/v1/klines?symbol=NOPE&interval=7m")
	for _, twice := range []string{"symbol=BTCUSDT", "symbol=NOPE", "interval=1m", "limit=5", "startTime=1", "endTime=1"} {
		klines("&limit=5&startTime=" + ms(market.Hour) + "&endTime=" + ms(0) + "&" + twice)
	}
	klines("&limit=3&nonce=1&nonce=2&timeZone=8&x")
	add("/fapi/v1/continuousKlines?pair=BTCUSDT&interval=1m")
	add("/fapi/v1/continuousKlines?contractType=PERPETUAL&interval=1m")
	add("/fapi/v1/continuousKlines?symbol=BTCUSDT&contractType=PERPETUAL&interval=1m")
	add("/fapi/v1/continuousKlines?pair=BTCUSDT&pair=BTCUSDT&contractType=PERPETUAL&interval=1m")
	add("/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=FOREVER&interval=7m&limit=1501")
	add("/fapi/v1/continuousKlines?pair=NOPE&contractType=FOREVER&interval=7m")
	return all
}

// prices compares the last prices: of each symbol by itself, and of all. Without forwarding the list is what is carried.
func (a *alike) prices(t *testing.T) {
	t.Helper()
	a.m.until(market.OneMinute.Ceil(a.m.x.Now()) + 30*market.Second)
	for _, path := range []string{"/fapi/v1/ticker/price", "/fapi/v2/ticker/price"} {
		ours, costs := a.cost(t, a.m.judge.server, path)
		theirs, cost := a.cost(t, a.m.judge.exchange, path)
		var got, all []json.RawMessage
		if err := errors.Join(json.Unmarshal([]byte(ours.body), &got), json.Unmarshal([]byte(theirs.body), &all)); err != nil {
			t.Fatal(err)
		}
		want := 12 // perpetuals
		if !a.carriedOnly {
			want = len(all)
		}
		if costs != cost || cost != 2 || len(got) != want {
			t.Errorf("%s: %d prices for %d, want %d for %d", path, len(got), costs, want, cost)
		}
		same := 0
		for _, price := range got {
			var p struct {
				Symbol string
				Time   market.Time
			}
			if err := json.Unmarshal(price, &p); err != nil {
				t.Fatal(err)
			}
			one, costs := a.cost(t, a.m.judge.server, path+"?symbol="+url.QueryEscape(strings.ToLower(p.Symbol)))
			if one.body != string(price) || costs != 1 {
				t.Errorf("%s of %s: %s for %d, among all %s", path, p.Symbol, one.body, costs, price)
			}
			if slices.ContainsFunc(all, func(x json.RawMessage) bool { return string(x) == string(price) }) {
				same++
			} else if p.Time%market.Minute != market.Minute-1 { // else it has not traded since the server started
				t.Errorf("%s: the exchange has no %s", path, price)
			}
		}
		if same < 9 {
			t.Errorf("%s: %d prices are the exchange's", path, same)
		}
		a.ask(t, path+"?symbol=BTCUSDT&symbol=ETHUSDT")
		a.ask(t, path+"?symbol=%20BTCUSDT")
		a.ask(t, path+"?symbol=NOPE")
	}
}

package serve

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

func TestKlinesBody(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:02:30")))
	closed := market.Kline{
		OpenTime: at("12:01:00"), Open: fixed.MustParse("76936.2"), High: fixed.MustParse("76965.5"),
		Low: fixed.MustParse("76936.1"), Close: fixed.MustParse("76965.4"), TradeCount: 878, State: market.StateSettled,
	}
	closed.Volume, _ = fixed.ParseSum("20.68")
	closed.QuoteVolume, _ = fixed.ParseSum("1591436.2714")
	closed.TakerBuyVolume, _ = fixed.ParseSum("15.19")
	closed.TakerBuyQuoteVolume, _ = fixed.ParseSum("1168938.6331")
	running := market.EmptyKline(at("12:02:00"), fixed.MustParse("76965.4"))
	w.live.rows[minutes(btc)] = []market.Kline{closed, running}

	rec := w.get("/fapi/v1/klines?symbol=btcusdt&interval=1m&limit=2")
	want := `[[1799064060000,"76936.20","76965.50","76936.10","76965.40","20.680",1799064119999,"1591436.27140",878,"15.190","1168938.63310","0"],` +
		`[1799064120000,"76965.40","76965.40","76965.40","76965.40","0.000",1799064179999,"0.00000",0,"0.000","0.00000","0"]]`
	if got := rec.Body.String(); got != want {
		t.Errorf("body:\n%s\nwant:\n%s", got, want)
	}
	for header, want := range map[string]string{
		"X-Klined-State":              "settled=1,closed=0,open=1,gap=0",
		"X-MBX-USED-WEIGHT-1M":        "1",
		"Content-Type":                "application/json",
		"Access-Control-Allow-Origin": "*",
		"Date":                        "Mon, 04 Jan 2027 12:02:30 GMT", // the exchange's time, not this machine's
	} {
		if got := rec.Header().Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

func TestKlinesErrors(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:02:30")))
	for _, c := range []struct {
		query string
		want  string
	}{
		{"", `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`},
		{"symbol=&interval=1m", `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`},
		{"symbol=BTCUSDT", `{"code":-1102,"msg":"Mandatory parameter 'interval' was not sent, was empty/null, or malformed."}`},
		{"symbol=NOPE&interval=1m", `{"code":-1121,"msg":"Invalid symbol."}`},
		{"symbol=OMGUSDT&interval=1m", `{"code":-1121,"msg":"Invalid symbol."}`},
		{"symbol=BTCUSDT&interval=7m", `{"code":-1120,"msg":"Invalid interval."}`},
		{"symbol=BTCUSDT&interval=5s", `{"code":-1120,"msg":"Invalid interval."}`},
		{"symbol=BTCUSDT&interval=60m", `{"code":-1120,"msg":"Invalid interval."}`},
		{"symbol=BTCUSDT&interval=1m&limit=1501", `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`},
		{"symbol=BTCUSDT&interval=1m&limit=0", `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`},
		{"symbol=BTCUSDT&interval=1m&limit=ten", `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`},
		{"symbol=BTCUSDT&interval=1m&startTime=-1", `{"code":-1100,"msg":"Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'."}`},
		{"symbol=BTCUSDT&interval=1m&endTime=now", `{"code":-1100,"msg":"Illegal characters found in parameter 'endTime'; legal range is '^[0-9]{1,20}$'."}`},
		{"symbol=BTCUSDT&interval=1m&endTime=99999999999999999999", `{"code":-1130,"msg":"Data sent for parameter 'endTime' is not valid."}`},
		{"symbol=BTCUSDT&interval=1m&interval=1m", `{"code":-1101,"msg":"Duplicate values for parameter 'interval'."}`},
		{"symbol=BTCUSDT&interval=1m&limit=%zz", `{"code":-1100,"msg":"Illegal characters found in 'limit=%zz'."}`},
		{"interval=1m&limit=1;symbol=BTCUSDT", `{"code":-1100,"msg":"Illegal characters found in 'limit=1;symbol=BTCUSDT'."}`},
		{"symbol=BTCUSDT&interval=1m" + strings.Repeat("&a=1", 12_000), `{"code":-1101,"msg":"Too many parameters sent for this endpoint."}`},
		{"symbol=BTCUSDT&interval=1m&colour=%", `{"code":-1100,"msg":"Illegal characters found in 'colour=%'."}`},
		{"symbol=BTCUSDT&interval=1m&startTime=2&endTime=1", `{"code":-1023,"msg":"Start time is greater than end time."}`},
		{"symbol=BTCUSDT&interval=1m&startTime=1&endTime=0", `{"code":-1023,"msg":"Start time is greater than end time."}`},
		{"symbol=BTCUSDT&interval=1m&startTime=9223372036854775807&endTime=9223372036854775806", `{"code":-1023,"msg":"Start time is greater than end time."}`},
	} {
		for _, path := range []string{"/fapi/v1/klines?", "/klined/v1/klines?"} {
			rec := w.get(path + c.query)
			if got := rec.Body.String(); got != c.want || rec.Code != 400 {
				t.Errorf("%s: %d %s, want 400 %s", path+c.query, rec.Code, got, c.want)
			}
		}
	}
}

// TestKlinesGrid asks a symbol that is complete since 12:00:00 at 12:09:30 for a part of its klines.
func TestKlinesGrid(t *testing.T) {
	from, now := at("12:00:00"), at("12:09:30")
	ms := func(clock string) string { return fmt.Sprint(int64(at(clock))) }
	for _, c := range []struct {
		query string
		want  string // first and last open time, and how many
	}{
		{"", "12:00–12:09 10"},
		{"&limit=3", "12:07–12:09 3"},
		{"&limit=1", "12:09–12:09 1"},
		{"&startTime=" + ms("12:03:00"), "12:03–12:09 7"},
		{"&startTime=" + ms("12:03:00") + "&limit=2", "12:03–12:04 2"},
		{"&startTime=" + ms("12:02:01"), "12:03–12:09 7"},
		{"&startTime=" + ms("12:09:01"), "none"},
		{"&startTime=9223372036854775807", "none"},
		{"&endTime=" + ms("12:05:00"), "12:00–12:05 6"},
		{"&endTime=" + ms("12:05:59") + "&limit=2", "12:04–12:05 2"},
		{"&endTime=" + ms("15:00:00") + "&limit=2", "12:08–12:09 2"},
		{"&startTime=" + ms("12:03:00") + "&endTime=" + ms("12:05:00"), "12:03–12:05 3"},
		{"&startTime=" + ms("12:02:30") + "&endTime=" + ms("12:05:59") + "&limit=2", "12:03–12:04 2"},
		{"&startTime=" + ms("12:02:30") + "&endTime=" + ms("12:02:59"), "none"},
		{"&startTime=0&limit=3", "12:00–12:02 3"},
		{"&startTime=" + ms("11:59:00") + "&limit=3", "12:00–12:02 3"},
		{"&startTime=0&endTime=" + ms("12:01:00"), "12:00–12:01 2"},
		{"&startTime=0&endTime=" + ms("11:00:00"), "none"},
	} {
		w := newWorld(t, fixedClock(now))
		w.store.rows[minutes(btc)] = run(market.OneMinute, from, at("12:08:00"), market.StateSettled)
		w.store.known[minutes(btc)] = []market.Span{{From: 0, To: at("12:08:00")}} // confirmed empty before 12:00
		w.live.rows[minutes(btc)] = append(run(market.OneMinute, at("12:06:00"), at("12:09:00"), market.StateClosed), kline(at("12:09:00"), "5.00", market.StateOpen))
		w.upstream = func(_ market.Series, span market.Span, _ int) ([]market.Kline, error) {
			if span.From > from || span.To != 0 && span.To <= from {
				return nil, nil
			}
			return []market.Kline{kline(from, "1", market.StateSettled)}, nil
		}
		rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m" + c.query)
		if got := extent(t, rec); got != c.want {
			t.Errorf("%s: %s, want %s (%d %s)", c.query, got, c.want, rec.Code, rec.Body)
		}
		if len(w.fetched) != 0 {
			t.Errorf("%s: fetched %v", c.query, w.fetched)
		}
	}
}

// extent names the first and last open time of an answer, and checks that it is without holes.
func extent(t *testing.T, rec *httptest.ResponseRecorder) string {
	t.Helper()
	var rows [][]any
	if err := json.Unmarshal(rec.Body.Bytes(), &rows); err != nil {
		return rec.Body.String()
	}
	if len(rows) == 0 {
		return "none"
	}
	open := func(i int) market.Time { return market.Time(rows[i][0].(float64)) }
	for i := range rows {
		if i > 0 && open(i) != open(i-1)+market.Minute {
			t.Errorf("%s follows %s", open(i), open(i-1))
		}
	}
	name := func(i int) string { return open(i).Std().Format("15:04") }
	return fmt.Sprintf("%s–%s %d", name(0), name(len(rows)-1), len(rows))
}

func TestFixedAnswers(t *testing.T) {
	w := newWorld(t, fixedClock(1789478299014))
	w.opt.Health = nil
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/fapi/v1/ping", 200, `{}`},
		{"GET", "/fapi/v1/time", 200, `{"serverTime":1789478299014}`},
		{"GET", "/fapi/v1/exchangeInfo", 200, `{"timezone":"UTC"}`},
		{"GET", "/fapi/v1/exchangeInfo?symbol=BTCUSDT", 200, `{"timezone":"UTC"}`},
		{"GET", "/fapi/v1/nothing", 404, `{"code":-5000,"msg":"Path /fapi/v1/nothing, Method GET is invalid"}`},
		{"POST", "/fapi/v1/ping", 404, `{"code":-5000,"msg":"Path /fapi/v1/ping, Method POST is invalid"}`},
		{"DELETE", "/klined/v1/status", 405, `{"code":-5000,"msg":"Path /klined/v1/status, Method DELETE is invalid"}`},
		{"DELETE", "/", 405, `{"code":-5000,"msg":"Path /, Method DELETE is invalid"}`},
		{"OPTIONS", "/fapi/v1/klines", 204, ``},
		{"GET", "/fapi//v1/ping", 307, "<a href=\"/fapi/v1/ping\">Temporary Redirect</a>.\n\n"},
		{"GET", "/ws/btcusdt@kline_1m", 426, `{"code":-1000,"msg":"This path speaks WebSocket."}`},
	} {
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequest(c.method, c.path, nil))
		if rec.Code != c.status || rec.Body.String() != c.body {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, rec.Code, rec.Body, c.status, c.body)
		}
		if c.status != 426 && rec.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: no page of another origin may read that", c.method, c.path)
		}
	}
}

// TestAnswers: over a socket every answer of the exchange's paths has the same headers, packed or not, with a body or without.
func TestAnswers(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:09:30")))
	w.live.rows[minutes(btc)] = run(market.OneMinute, at("11:00:00"), at("12:10:00"), market.StateClosed)
	w.opt.Prices = func(context.Context) ([]byte, error) { return []byte(`[]`), nil }
	server := httptest.NewServer(w.Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for path, status := range map[string]int{
		"/fapi/v1/ping": 200, "/fapi/v1/time": 200, "/fapi/v1/exchangeInfo": 200, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=60": 200,
		"/fapi/v1/klines": 400, "/fapi/v1/klines?symbol=NOPE&interval=1m": 400, "/fapi/v1/ticker/price": 200, "/fapi/v1/continuousKlines": 400,
	} {
		var whole string
		for _, c := range []struct{ method, encoding string }{{"GET", ""}, {"GET", "gzip"}, {"HEAD", ""}} {
			req, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", c.encoding)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := read(t, resp)
			if c.method == "GET" && c.encoding == "" {
				whole = body
			}
			h := resp.Header
			if resp.StatusCode != status || h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" ||
				h.Get("Access-Control-Allow-Origin") != "*" || h.Get("X-MBX-USED-WEIGHT-1M") == "" {
				t.Errorf("%s %s %s: %d %v", c.method, c.encoding, path, resp.StatusCode, h)
			}
			if c.method == "HEAD" && body != "" || c.method == "GET" && (body != whole || whole == "") {
				t.Errorf("%s %s %s: %q, want %q", c.method, c.encoding, path, body, whole)
			}
		}
	}
}

// read is the body of an answer, unpacked.
func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	from := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		zip, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		from = zip
	}
	body, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestGzip(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:09:30")))
	w.live.rows[minutes(btc)] = run(market.OneMinute, at("11:00:00"), at("12:10:00"), market.StateClosed)
	req := httptest.NewRequest(http.MethodGet, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=50", nil)
	req.Header.Set("Accept-Encoding", "gzip")
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, req)
	zip, err := gzip.NewReader(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(zip)
	if plain := w.get(req.URL.String()).Body.String(); err != nil || string(body) != plain {
		t.Errorf("gzip differs from plain: %v", err)
	}
	for _, path := range []string{req.URL.String(), "/klined/v1/klines?symbol=BTCUSDT&interval=1m", "/fapi/v1/ping"} {
		if got := w.get(path).Header().Values("Vary"); !slices.Equal(got, []string{"Accept-Encoding"}) {
			t.Errorf("%s: Vary %q", path, got)
		}
	}
}

func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &weights{clock: stdClock{}}
		a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
		for i, c := range []struct {
			addr   netip.Addr
			weight int
			want   int
		}{{a, 5, 5}, {a, 1, 6}, {b, 2, 2}, {a, 10, 16}} {
			if got := w.add(c.addr, c.weight); got != c.want {
				t.Errorf("%d: %d, want %d", i, got, c.want)
			}
		}
		time.Sleep(59_999 * time.Millisecond)
		if got := w.add(a, 1); got != 17 {
			t.Errorf("within the minute %d, want 17", got)
		}
		time.Sleep(time.Millisecond)
		if got := w.add(a, 1); got != 1 {
			t.Errorf("in the next minute %d, want 1", got)
		}
	})
	for limit, want := range map[string]int{"": 5, "&limit=1": 1, "&limit=100": 1, "&limit=101": 2, "&limit=500": 2, "&limit=501": 5, "&limit=1000": 5, "&limit=1001": 10, "&limit=1501": 10, "&limit=x": 5} {
		if got := klinesQueryWeight(httptest.NewRequest("GET", "/fapi/v1/klines?symbol=A"+limit, nil).URL.Query()); got != want {
			t.Errorf("weight of %q is %d, want %d", limit, got, want)
		}
	}
}

package binance

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

// answers is an http.RoundTripper that answers each request by a function.
type answers func(*http.Request) (status int, header map[string]string, body string)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := a(r)
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	for key, value := range header {
		w.Header().Set(key, value)
	}
	w.WriteHeader(status)
	_, _ = w.WriteString(body)
	return w.Result(), nil
}

func newTestREST(a answers) *REST {
	metrics := health.NewMetrics()
	budget := NewBudget(BudgetOptions{PerMinute: 100, Clock: localTime{}, Metrics: metrics})
	return NewREST(RESTOptions{
		Base: "http://exchange/", HTTP: &http.Client{Transport: a}, Budget: budget, Symbols: registry(), Clock: localTime{}, Metrics: metrics,
	})
}

// says answers every request with 200 and body.
func says(body string) *REST {
	return newTestREST(func(*http.Request) (int, map[string]string, string) { return 200, nil, body })
}

const klineRow = `[1791382980000,"83084.90","83091.70","83051.20","83091.60","13.551",1791383039999,"1125714.73960",1027,"6.426","533856.66860","0"]`

var minute = market.Series{Symbol: 0, Interval: market.OneMinute}

func TestKlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(market.Time(1791383040001).Std()))
		var asked string
		r := newTestREST(func(q *http.Request) (int, map[string]string, string) {
			asked = q.URL.RequestURI()
			return 200, map[string]string{"x-mbx-used-weight-1m": "17"},
				`[` + klineRow + ` , [1791383040000,"83091.60","83091.60","83091.60","83091.60","0.000",1791383099999,"0.00000",0,"0.000","0.00000","0"]]`
		})
		got, err := r.Klines(t.Context(), market.ClassStart, minute, market.Span{From: 1791382980000, To: 1791383100000}, 99)
		if err != nil {
			t.Fatal(err)
		}
		sum := func(s string) fixed.Sum {
			v, err := fixed.ParseSum(s)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		last := fixed.MustParse("83091.6")
		want := []market.Kline{{
			OpenTime: 1791382980000, Open: fixed.MustParse("83084.9"), High: fixed.MustParse("83091.7"), Low: fixed.MustParse("83051.2"),
			Close: last, Volume: sum("13.551"), QuoteVolume: sum("1125714.7396"), TakerBuyVolume: sum("6.426"),
			TakerBuyQuoteVolume: sum("533856.6686"), TradeCount: 1027, FirstID: -1, LastID: -1, LastTradeID: -1, State: market.StateSettled,
		}, {
			OpenTime: 1791383040000, Open: last, High: last, Low: last, Close: last, FirstID: -1, LastID: -1, LastTradeID: -1, State: market.StateOpen,
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if want := "/fapi/v1/klines?endTime=1791383099999&interval=1m&limit=99&startTime=1791382980000&symbol=BTCUSDT"; asked != want {
			t.Errorf("asked %s, want %s", asked, want)
		}
		if r.budget.Used() != 17 || testutil.ToFloat64(r.o.Metrics.RESTRequests.WithLabelValues("klines", "200")) != 1 {
			t.Errorf("used %d", r.budget.Used())
		}
		chinese := market.Series{Symbol: 2, Interval: market.OneMonth}
		if _, err := r.Klines(t.Context(), market.ClassStart, chinese, market.Span{}, 1); err == nil || !strings.Contains(err.Error(), "币安人生USDT") {
			t.Errorf("minutes for months: %v", err)
		}
		if want := "/fapi/v1/klines?interval=1M&limit=1&symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT"; asked != want {
			t.Errorf("asked %s, want %s", asked, want)
		}
	})
}

func TestKlinesWeight(t *testing.T) {
	for limit, want := range map[int]int{1: 1, 99: 1, 100: 2, 499: 2, 500: 5, 1000: 5, 1001: 10, 1500: 10} {
		if got := klinesWeight(limit); got != want {
			t.Errorf("limit %d: weight %d, want %d", limit, got, want)
		}
	}
	for _, limit := range []int{0, -1, 1501} {
		if _, err := says(`[]`).Klines(t.Context(), market.ClassStart, minute, market.Span{}, limit); err == nil {
			t.Errorf("limit %d was asked for", limit)
		}
	}
}

func TestKlinesRefusesWhatIsNotOne(t *testing.T) {
	row := func(old, by string) string { return `[` + strings.Replace(klineRow, old, by, 1) + `]` }
	f := func(name, body, want string) {
		t.Helper()
		_, err := says(body).Klines(t.Context(), market.ClassStart, minute, market.Span{}, 1)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "GET /fapi/v1/klines?interval=1m&limit=1&symbol=BTCUSDT: ") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("cut short", `[`+klineRow, "cannot read on after row 0: not JSON")
	f("no rows", `<html>`, `cannot read "<html>": not JSON`)
	f("object", `{}`, "not JSON")
	f("more behind it", `[]x`, "something stands behind the rows")
	f("row is no array", `[{}]`, "row 0")
	f("columns missing", `[[1791382980000,"1"]]`, "2 columns, want 11")
	f("price is no text", row(`"83084.90"`, `83084.90`), ErrField.Error())
	f("9 decimals", row(`83084.90`, `0.000000001`), ErrNumber.Error())
	f("17 decimals", row(`1125714.73960`, `0.00000000000000001`), ErrNumber.Error())
	f("negative volume", row(`"13.551"`, `"-13.551"`), ErrNumber.Error())
	f("count is a fraction", row(`1027`, `10.27`), ErrField.Error())
	f("negative count", row(`1027`, `-1`), ErrIDs.Error())
	f("off the grid", row(`1791382980000`, `1791382980001`), "not a kline of 1m")
	f("close time", row(`1791383039999`, `1791383040000`), "not a kline of 1m")
	f("twice", `[`+klineRow+`,`+klineRow+`]`, "not later than the one before it")
	if got, err := says(` [ ] `).Klines(t.Context(), market.ClassStart, minute, market.Span{}, 1); err != nil || len(got) != 0 {
		t.Errorf("no klines: %v, %v", got, err)
	}
}

func TestAggTrades(t *testing.T) {
	const row = `{"a":3450415493,"p":"76906.00","q":"0.004","nq":"0.004","f":8079747315,"l":8079747316,"T":1789478330891,"m":false}`
	var asked string
	r := newTestREST(func(q *http.Request) (int, map[string]string, string) {
		asked = q.URL.RequestURI()
		return 200, nil, `[` + row + `,{"m":true,"T":1789478330891,"l":8079747317,"f":8079747317,"q":"0.1","p":"1","a":3450415494}]`
	})
	got, err := r.AggTrades(t.Context(), market.ClassHeal, 1, 3450415493, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := []market.Trade{
		{ID: 3450415493, FirstID: 8079747315, LastID: 8079747316, Price: fixed.MustParse("76906"), Qty: fixed.MustParse("0.004"), Time: 1789478330891, SymbolID: 1, TakerBuy: true},
		{ID: 3450415494, FirstID: 8079747317, LastID: 8079747317, Price: fixed.One, Qty: fixed.MustParse("0.1"), Time: 1789478330891, SymbolID: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := "/fapi/v1/aggTrades?fromId=3450415493&limit=1000&symbol=ETHUSDT"; asked != want || r.budget.Used() != 20 {
		t.Errorf("asked %s for %d, want %s for 20", asked, r.budget.Used(), want)
	}
	if _, err := r.AggTrades(t.Context(), market.ClassHeal, 1, -1, 5); err != nil || asked != "/fapi/v1/aggTrades?limit=5&symbol=ETHUSDT" {
		t.Errorf("the newest: %v, asked %s", err, asked)
	}
	for _, body := range []string{`[` + row, `[` + row + row + `]`, `[1]`, `[`, `[{}]`, strings.Replace(`[`+row+`]`, "8079747316", "1", 1)} {
		if got, err := says(body).AggTrades(t.Context(), market.ClassHeal, 1, -1, 5); err == nil {
			t.Errorf("%s gave %+v", body, got)
		}
	}
	for _, limit := range []int{0, 1001} {
		if _, err := r.AggTrades(t.Context(), market.ClassHeal, 1, -1, limit); err == nil {
			t.Errorf("limit %d was asked for", limit)
		}
	}
}

func TestTime(t *testing.T) {
	if got, err := says(`{"serverTime":1789478299014}`).Time(t.Context()); err != nil || got != 1789478299014 {
		t.Errorf("%d, %v", got, err)
	}
	for _, body := range []string{``, `{}`, `{"serverTime":"x"}`, `{"serverTime":0}`} {
		if got, err := says(body).Time(t.Context()); err == nil || !strings.Contains(err.Error(), "GET /fapi/v1/time") {
			t.Errorf("%s: %d, %v", body, got, err)
		}
	}
}

func TestExchangeInfo(t *testing.T) {
	const body = `{"timezone":"UTC","serverTime":1,"symbols":[
		{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,"onboardDate":1567965300000,"status":"TRADING","pricePrecision":2,"quantityPrecision":3,
		 "filters":[{"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.10"},{"stepSize":"0.001","filterType":"LOT_SIZE"}]},
		{"symbol":"TSLAUSDT","pair":"TSLAUSDT","contractType":"TRADIFI_PERPETUAL","onboardDate":5,"status":"PENDING_TRADING","pricePrecision":4,"quantityPrecision":0},
		{"symbol":"BTCUSDT_261225","pair":"BTCUSDT","contractType":"CURRENT_QUARTER","status":"TRADING","pricePrecision":1,"quantityPrecision":3},
		{"symbol":"OMGUSDT","pair":"OMGUSDT","contractType":"PERPETUAL","status":"SETTLING","pricePrecision":4,"quantityPrecision":1},
		{"symbol":"NEWUSDT","pair":"NEWUSDT","contractType":"","status":"TRADING_HALT","pricePrecision":4,"quantityPrecision":1},
		{"symbol":"ENDUSDT","pair":"ENDUSDT","contractType":"PERPETUAL","status":"PRE_SETTLE","pricePrecision":4,"quantityPrecision":1},
		{"symbol":"SHUTUSDT","pair":"SHUTUSDT","contractType":"PERPETUAL","status":"CLOSE","pricePrecision":4,"quantityPrecision":1}]}`
	info, err := says(body).ExchangeInfo(t.Context(), market.ClassStart)
	if err != nil || string(info.Raw) != body {
		t.Fatal(err)
	}
	want := Listing{Name: "BTCUSDT", Pair: "BTCUSDT", ContractType: "PERPETUAL", Status: "TRADING", PriceDigits: 2, QtyDigits: 3, Tick: fixed.One / 10, Onboard: 1567965300000, Delivery: 4133404800000}
	if info.Listings[0] != want {
		t.Errorf("%+v", info.Listings[0])
	}
	var got []string
	for _, l := range info.Listings {
		got = append(got, fmt.Sprintf("%s perpetual=%t live=%t", l.Name, l.Perpetual(), l.Live()))
	}
	wantAll := []string{
		"BTCUSDT perpetual=true live=true", "TSLAUSDT perpetual=true live=true", "BTCUSDT_261225 perpetual=false live=true",
		"OMGUSDT perpetual=true live=false", "NEWUSDT perpetual=false live=true", "ENDUSDT perpetual=true live=true",
		"SHUTUSDT perpetual=true live=false",
	}
	if diff := cmp.Diff(wantAll, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"symbols":[{"symbol":""}]}`, `{"symbols":[{"symbol":"A","pricePrecision":-1}]}`} {
		if _, err := says(bad).ExchangeInfo(t.Context(), market.ClassStart); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestOddListings: what cannot be carried as it is listed is left out and named, and hurts no other row.
func TestOddListings(t *testing.T) {
	for _, c := range []struct{ name, row, odd, why string }{
		{"nothing odd", `{"symbol":"币安人生USDT","contractType":"PERPETUAL","pricePrecision":8,"quantityPrecision":0}`, "", ""},
		{"decimals", `{"symbol":"BUSDT","contractType":"PERPETUAL","pricePrecision":9,"quantityPrecision":3}`, "BUSDT", "9 and 3 decimals, want 0 to 8"},
		{"decimals of quantities", `{"symbol":"BUSDT","contractType":"PERPETUAL","pricePrecision":2,"quantityPrecision":9}`, "BUSDT", "2 and 9 decimals"},
		{"decimals below none", `{"symbol":"BUSDT","contractType":"PERPETUAL","pricePrecision":-1}`, "BUSDT", "-1 and 0 decimals"},
		{"a text for a number", `{"symbol":"BUSDT","pricePrecision":"2","contractType":"PERPETUAL"}`, "BUSDT", "pricePrecision"},
		{"a number for a text", `{"symbol":"BUSDT","filters":[{"tickSize":0.1}],"contractType":"PERPETUAL"}`, "BUSDT", "tickSize"},
		{"a long name", `{"symbol":"` + strings.Repeat("B", 65) + `","contractType":"PERPETUAL"}`, "row 1", `"` + strings.Repeat("B", 64) + `"`},
		{"no name", `{"contractType":"PERPETUAL"}`, "row 1", `the name ""`},
		{"a name that is two", `{"symbol":"A@B","contractType":"PERPETUAL"}`, "row 1", `the name "A@B"`},
		{"a name on two lines", `{"symbol":"A\nB","contractType":"PERPETUAL"}`, "row 1", `the name "A\nB"`},
		{"no row", `7`, "row 1", "the name"},
		{"nothing", `null`, "row 1", "the name"},
	} {
		body := `{"symbols":[{"symbol":"AUSDT","contractType":"PERPETUAL","pricePrecision":2},` + c.row + `,{"symbol":"CUSDT","contractType":"PERPETUAL"}]}`
		info, err := says(body).ExchangeInfo(t.Context(), market.ClassStart)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if n := len(info.Listings); c.odd == "" && (n != 3 || len(info.Odd) != 0) || c.odd != "" && (n != 2 || len(info.Odd) != 1 || info.Listings[1].Name != "CUSDT") {
			t.Errorf("%s: %+v", c.name, info)
			continue
		}
		if c.odd == "" {
			continue
		}
		if odd := info.Odd[0]; odd.Name != c.odd || odd.Why == nil || !strings.Contains(odd.Why.Error(), c.why) || info.Oddity(c.odd) != odd.Why || info.Oddity("CUSDT") != nil {
			t.Errorf("%s: %+v", c.name, odd)
		} else if odd.Name == "BUSDT" && !odd.Perpetual() {
			t.Errorf("%s: what can be read is not: %+v", c.name, odd)
		}
	}
}

// TestRESTRunsByTheAnswersTime: a kline runs as long as it does at the exchange, wherever our clock is.
func TestRESTRunsByTheAnswersTime(t *testing.T) {
	row := `[1791382980000,"1","1","1","1","0",1791383039999,"0",0,"0","0","0"]`
	for date, want := range map[string]market.State{
		"Wed, 07 Oct 2026 14:23:59 GMT": market.StateOpen, "Wed, 07 Oct 2026 14:24:00 GMT": market.StateSettled,
		"Thu, 07 Oct 2027 14:24:00 GMT": market.StateSettled, "": market.StateSettled,
	} {
		r := newTestREST(func(*http.Request) (int, map[string]string, string) {
			return 200, map[string]string{"Date": date}, `[` + row + `]`
		})
		r.o.Clock = standingTime(1791383099000)
		klines, err := r.Klines(t.Context(), market.ClassStart, minute, market.Span{}, 1)
		if err != nil || len(klines) != 1 || klines[0].State != want {
			t.Errorf("answered %q: %v, %v; want %v", date, klines, err, want)
		}
		r.o.Clock = standingTime(1791383039000)
		if klines, err = r.Klines(t.Context(), market.ClassStart, minute, market.Span{}, 1); err != nil || klines[0].State != market.StateOpen {
			t.Errorf("answered %q, and our clock is behind: %v, %v", date, klines, err)
		}
	}
}

func TestRESTRefusals(t *testing.T) {
	f := func(name string, status int, body, want string) {
		t.Helper()
		r := newTestREST(func(*http.Request) (int, map[string]string, string) { return status, nil, body })
		_, err := r.Klines(t.Context(), market.ClassStart, minute, market.Span{}, 1)
		var refusal *APIError
		if err == nil || !errors.As(err, &refusal) || refusal.Status != status || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("unknown symbol", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "status 400, code -1121: Invalid symbol.")
	f("firewall", 403, "<html>\n", "status 403: Forbidden")
	f("a page", 502, "<html>\r\n<head><title>502 Bad\tGateway</title></head>\r\n<body><h1>", "status 502: 502 Bad Gateway")
	f("a page without a title", 502, "<!DOCTYPE html>\r\n<h1>Bad</h1>\x1b[31m", "status 502: Bad [31m")
	f("no page", 502, "no\nhealthy upstream\n", "status 502: no healthy upstream")
	f("overload", 503, "", "status 503: Service Unavailable")
	f("restricted", 451, `{"code":0,"msg":"Service unavailable from a restricted location"}`, "status 451: Service unavailable from a restricted location")
}

// TestRESTWaitsAsTold: who may wait asks again when the exchange takes requests again; clients are told when.
func TestRESTWaitsAsTold(t *testing.T) {
	f := func(name string, status int, header map[string]string, msg string, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(20 * time.Second)
			refused := false
			r := newTestREST(func(*http.Request) (int, map[string]string, string) {
				if refused {
					return 200, nil, `[]`
				}
				refused = true
				return status, header, `{"code":-1003,"msg":"` + msg + `"}`
			})
			if _, err := r.Klines(t.Context(), market.ClassBackfill, minute, market.Span{}, 1); err != nil || since() != want {
				t.Errorf("%s: %v at %s, want %s", name, err, since(), want)
			}
			refused = false
			var refusal *market.BudgetError
			began := since()
			_, err := r.Klines(t.Context(), market.ClassClients, minute, market.Span{}, 1)
			if !errors.As(err, &refusal) || since() != began || refusal.RetryAfter <= 0 || !strings.Contains(err.Error(), msg) {
				t.Errorf("%s, a client: %v", name, err)
			}
			if _, err := r.Time(t.Context()); !errors.As(err, &refusal) || since() != began {
				t.Errorf("%s, the clock: %v", name, err)
			}
		})
	}
	banned := func(after time.Duration) string {
		until := market.TimeOf(bubbleBegins.Add(after))
		return fmt.Sprintf("Way too many requests; IP(1.2.3.4) banned until %d. Please use the websocket for live updates to avoid bans.", until)
	}
	const tooMany = "Too many requests; current limit is 2400 requests per minute."
	f("429", 429, nil, tooMany, time.Minute)
	f("429 with seconds", 429, map[string]string{"Retry-After": "7"}, tooMany, 27*time.Second)
	f("429 with a date", 429, map[string]string{"Retry-After": "Sat, 01 Jan 2000 00:00:30 GMT"}, tooMany, time.Minute)
	f("418 that names its end", 418, map[string]string{"Retry-After": "5"}, banned(130*time.Second), 130*time.Second)
	f("418 of yesterday", 418, map[string]string{"Retry-After": "5"}, banned(-time.Hour), 25*time.Second)
	f("418 without words", 418, nil, "teapot", time.Minute)
}

func TestRESTGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestREST(func(*http.Request) (int, map[string]string, string) { return 0, nil, "" })
		_, err := r.Time(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "GET /fapi/v1/time: no answer within 20s") || since() != restTimeout {
			t.Errorf("%v after %s", err, since())
		}
		if n := testutil.ToFloat64(r.o.Metrics.RESTRequests.WithLabelValues("time", "error")); n != 1 {
			t.Errorf("counted %v", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Klines(ctx, market.ClassStart, minute, market.Span{}, 1); !errors.Is(err, context.DeadlineExceeded) || since() != restTimeout+time.Second {
			t.Errorf("%v after %s", err, since())
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestRESTBoundsAnswers(t *testing.T) {
	r := NewREST(RESTOptions{Symbols: registry(), HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(endless{})}, nil
	})}})
	if _, err := r.Time(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 16777216 bytes") {
		t.Error(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRESTOverASocket(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"serverTime":1789478299014}`))
	_ = w.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" || r.URL.Path != "/fapi/v1/time" {
			t.Errorf("%s, %v", r.URL, r.Header)
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}))
	transport := &http.Transport{}
	r := NewREST(RESTOptions{Base: server.URL, HTTP: &http.Client{Transport: transport}})
	if got, err := r.Time(t.Context()); err != nil || got != 1789478299014 {
		t.Errorf("%d, %v", got, err)
	}
	transport.CloseIdleConnections()
	server.Close()
	if _, err := r.Time(t.Context()); err == nil || !strings.Contains(err.Error(), "GET /fapi/v1/time: dial tcp") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestRESTStoppedWhileRefused: who stops a question while the exchange refuses it finds both in the error.
func TestRESTStoppedWhileRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		r := newTestREST(func(*http.Request) (int, map[string]string, string) {
			stop()
			return 429, nil, `{"code":-1003,"msg":"Too many requests."}`
		})
		_, err := r.Klines(ctx, market.ClassBackfill, minute, market.Span{}, 1)
		var refusal *market.BudgetError
		if !errors.Is(err, context.Canceled) || !errors.As(err, &refusal) {
			t.Error(err)
		}
	})
}

// FuzzRows feeds answers to both row parsers: what they take is JSON, and nothing makes them panic.
func FuzzRows(f *testing.F) {
	f.Add([]byte(`[` + klineRow + `]`))
	f.Add([]byte(`[{"a":1,"p":"1","q":"1","f":1,"l":1,"T":1,"m":true},{"a":2}]`))
	f.Add([]byte(` [ ] `))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := parseKlines(body, market.OneMinute, 0)
		_, err2 := parseAggTrades(body, 0)
		if (err == nil || err2 == nil) && !json.Valid(body) {
			t.Errorf("%q was taken: %v, %v", body, err, err2)
		}
	})
}

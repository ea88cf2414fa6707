package binance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

// pass has a forwarder pass a request on.
func pass(t *testing.T, r *REST, private bool, q *http.Request) (*httptest.ResponseRecorder, error) {
	t.Helper()
	f, err := r.Forwarder()
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("X-MBX-USED-WEIGHT-1M", "7") // the client's own
	rec.Header().Set("Date", "ours")
	return rec, f.Pass(rec, q, private)
}

// TestForwardQuestion: of a question goes on what it needs, and its key does not.
func TestForwardQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent *http.Request
		r := newTestREST(func(q *http.Request) (int, map[string]string, string) {
			sent = q
			return 404, map[string]string{"Content-Type": "application/json", "X-MBX-USED-WEIGHT-1M": "50", "X-MBX-OTHER": "o", "Access-Control-Allow-Origin": "*", "Set-Cookie": "c=1", "Server": "nginx", "Date": "theirs"}, "{}"
		})
		q := httptest.NewRequest("GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=5&odd=%zz;a", nil)
		q.Header["X-Mbx-Apikey"] = []string{"", "secret"}
		for name, value := range map[string]string{"Cookie": "c", "Authorization": "a", "Accept": "*/*", "X-Forwarded-For": "f", "Connection": "Upgrade", "Upgrade": "websocket"} {
			q.Header.Set(name, value)
		}
		rec, err := pass(t, r, false, q)
		if err != nil || rec.Code != 404 || rec.Body.String() != "{}" {
			t.Errorf("%d %s, %v", rec.Code, rec.Body, err)
		}
		if sent.Method != "GET" || sent.URL.String() != "http://exchange/fapi/v1/depth?symbol=BTCUSDT&limit=5&odd=%zz;a" {
			t.Errorf("sent %s %s", sent.Method, sent.URL)
		}
		for name := range sent.Header {
			if name != "Accept" && len(sent.Header[name]) > 0 {
				t.Errorf("sent %s: %q", name, sent.Header[name])
			}
		}
		want := http.Header{"Content-Type": {"application/json"}, "X-Mbx-Other": {"o"}, "X-Mbx-Used-Weight-1m": {"7"}, "Date": {"theirs"}}
		for name, values := range rec.Header() {
			if strings.Join(values, ",") != want.Get(name) {
				t.Errorf("got %s: %q, want %q", name, values, want.Get(name))
			}
		}
		if used := r.budget.Used(); used != 50 {
			t.Errorf("%d used, want what the exchange says", used)
		}
		if n := testutil.ToFloat64(r.o.Metrics.Forwarded); n != 1 {
			t.Errorf("%v counted", n)
		}
	})
}

// TestForwardBudget: what is passed on stays within the budget, and the exchange's refusal is everyone's.
func TestForwardBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := 200
		asked := 0
		r := newTestREST(func(*http.Request) (int, map[string]string, string) {
			asked++
			return status, map[string]string{"Retry-After": "9"}, `{"code":-1003,"msg":"Too many requests."}`
		})
		refused := func(what string, q string, all bool) {
			t.Helper()
			before := asked
			_, err := pass(t, r, all, httptest.NewRequest("GET", q, nil))
			var budget *market.BudgetError
			if !errors.As(err, &budget) || budget.RetryAfter <= 0 || asked != before {
				t.Errorf("%s: %v, asked %d times more", what, err, asked-before)
			}
		}
		time.Sleep(time.Until(market.OneMinute.Ceil(market.TimeOf(time.Now())).Std()))
		for range 4 {
			if _, err := pass(t, r, false, httptest.NewRequest("GET", "/fapi/v1/unheard", nil)); err != nil {
				t.Error(err)
			}
		}
		refused("fifth of an unknown weight", "/fapi/v1/unheard", false)
		if _, err := pass(t, r, true, httptest.NewRequest("GET", "/fapi/v1/unheard", nil)); err != nil {
			t.Errorf("untouched: %v", err)
		}
		if n := testutil.ToFloat64(r.o.Metrics.RESTRequests.WithLabelValues("other", "200")); n != 5 { // not by their names: who asks could make up any number
			t.Errorf("%v counted", n)
		}
		if used := r.budget.Used(); used != 4*unknownWeight+1 {
			t.Errorf("%d used", used)
		}
		time.Sleep(time.Minute)
		status = 429
		rec, err := pass(t, r, true, httptest.NewRequest("POST", "/fapi/v1/order", nil))
		if err != nil || rec.Code != 429 || !strings.Contains(rec.Body.String(), "-1003") || rec.Header().Get("Retry-After") != "9" {
			t.Errorf("untouched: %d %s %v", rec.Code, rec.Body, err)
		}
		refused("after the exchange's 429", "/fapi/v1/ping", false)
		if err := r.budget.take(1); err == nil {
			t.Error("ours goes on after the exchange's 429")
		}
	})
}

func TestForwardAllowances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAllowances(0.5)
		for i := range 250 {
			if i == 100 {
				time.Sleep(time.Minute)
			}
			if err := a.take(allowanceFunding); err != nil {
				t.Fatal(err)
			}
		}
		var budget *market.BudgetError
		if err := a.take(allowanceFunding); !errors.As(err, &budget) || budget.RetryAfter != 4*time.Minute {
			t.Errorf("one more: %v", err)
		}
		if err := errors.Join(a.take(allowanceData), a.take(allowanceNone)); err != nil {
			t.Errorf("of another kind: %v", err)
		}
		time.Sleep(4 * time.Minute)
		for range 100 {
			if err := a.take(allowanceFunding); err != nil {
				t.Errorf("five minutes after the first: %v", err)
			}
		}
		if err := a.take(allowanceFunding); err == nil {
			t.Error("more than five minutes allow")
		}
	})
}

// TestForwardPrivate: what makes a private request, or its answer, does not change on the way.
func TestForwardPrivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const query = "symbol=BTCUSDT&side=BUY&timestamp=1&note=a%20b+c;d&signature=00ff%2F"
		var got *http.Request
		var body []byte
		r := newTestREST(func(q *http.Request) (int, map[string]string, string) {
			got = q
			body, _ = io.ReadAll(q.Body)
			return 201, map[string]string{"X-MBX-USED-WEIGHT-1M": "90", "X-MBX-ORDER-COUNT-10S": "1", "Access-Control-Allow-Origin": "*", "Set-Cookie": "c=1"}, `{"orderId":1}`
		})
		q := httptest.NewRequest("DELETE", "/fapi/v1/order?"+query, strings.NewReader("quantity=1"))
		q.Header.Set("X-MBX-APIKEY", "secret")
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Connection", "keep-alive, X-Hop")
		q.Header.Set("X-Hop", "hop")
		q.Header.Set("Cookie", "c=1")
		q.Header.Set("Authorization", "Bearer t")
		rec, err := pass(t, r, true, q)
		if err != nil || rec.Code != 201 || rec.Body.String() != `{"orderId":1}` {
			t.Errorf("%d %s, %v", rec.Code, rec.Body, err)
		}
		if got.Method != "DELETE" || got.URL.RawQuery != query || string(body) != "quantity=1" || got.ContentLength != 10 ||
			got.Header.Get("X-MBX-APIKEY") != "secret" || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("sent %s %s %q %v", got.Method, got.URL, body, got.Header)
		}
		if got.Header.Get("X-Hop") != "" || got.Header.Get("Cookie") != "" || got.Header.Get("Authorization") != "" || got.Header.Get("X-Forwarded-For") != "" {
			t.Errorf("sent %v", got.Header)
		}
		if h := rec.Header(); h.Get("X-MBX-USED-WEIGHT-1M") != "90" || h.Get("X-MBX-ORDER-COUNT-10S") != "1" || h.Get("Set-Cookie") != "" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("answered %v", h)
		}
		if used := r.budget.Used(); used != 90 {
			t.Errorf("%d used, want what the exchange says", used)
		}
	})
}

// TestForwardElsewhere: whatever host a request names, it goes to the exchange.
func TestForwardElsewhere(t *testing.T) {
	var sent []string
	r := newTestREST(func(q *http.Request) (int, map[string]string, string) {
		sent = append(sent, q.URL.String()+" "+q.Host)
		return 200, nil, "{}"
	})
	for _, private := range []bool{false, true} {
		q := httptest.NewRequest("GET", "http://user:word@evil:99/fapi/v1/depth?host=evil", nil)
		if _, err := pass(t, r, private, q); err != nil {
			t.Error(err)
		}
	}
	const want = "http://exchange/fapi/v1/depth?host=evil exchange"
	if len(sent) != 2 || sent[0] != want || sent[1] != want {
		t.Errorf("sent %q", sent)
	}
}

// TestForwardBounds: a body or an answer that does not end is not taken to its end.
func TestForwardBounds(t *testing.T) {
	exchange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if _, err := io.Copy(io.Discard, q.Body); err == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", maxBody+1))
		}
	}))
	defer exchange.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	f, err := NewREST(RESTOptions{Base: exchange.URL, HTTP: &http.Client{Transport: transport}}).Forwarder()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		err := f.Pass(w, q, q.Method == "POST")
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) && tooLong.Limit == maxRequest {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		} else if err != nil {
			t.Errorf("%s: %v", q.Method, err)
		}
	}))
	defer server.Close()
	resp, err := server.Client().Get(server.URL + "/fapi/v1/depth")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes of an answer were passed on as if they were all", n)
	}
	resp.Body.Close()
	body := strings.Repeat("x", maxRequest+1)
	for _, text := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} { // its length told, or not
		resp, err := server.Client().Post(server.URL+"/fapi/v1/order", "text/plain", text)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body that is too long: %d", resp.StatusCode)
		}
	}
}

// TestForwardCrowd: more than some at once are not kept waiting.
func TestForwardCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTestREST(func(*http.Request) (int, map[string]string, string) { return 0, nil, "" })
		f, err := r.Forwarder()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(market.OneMinute.Next(market.TimeOf(time.Now())).Std()) - 3*time.Second) // soon there is more weight
		ctx, cancel := context.WithCancel(t.Context())
		var crowd sync.WaitGroup
		for range maxForwards {
			crowd.Go(func() {
				_ = f.Pass(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/fapi/v1/ping", nil), false)
			})
		}
		synctest.Wait()
		var budget *market.BudgetError
		if err := f.Pass(httptest.NewRecorder(), httptest.NewRequest("GET", "/fapi/v1/ping", nil), false); !errors.As(err, &budget) || budget.RetryAfter != time.Second {
			t.Errorf("one more: %v", err)
		}
		cancel()
		crowd.Wait()
	})
}

// TestForwardFailures: who sends an order must know whether it may have been carried out.
func TestForwardFailures(t *testing.T) {
	hangUp := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	nobody := httptest.NewServer(nil)
	nobody.Close()
	defer hangUp.Close()
	for _, c := range []struct {
		name, base string
		all        bool
		unknown    bool
	}{
		{"public, nobody there", nobody.URL, false, false},
		{"public, hung up", hangUp.URL, false, false},
		{"all, nobody there", nobody.URL, true, false},
		{"all, hung up", hangUp.URL, true, true},
	} {
		transport := &http.Transport{}
		r := NewREST(RESTOptions{Base: c.base, HTTP: &http.Client{Transport: transport}})
		rec, err := pass(t, r, c.all, httptest.NewRequest("POST", "/fapi/v1/order?signature=secret", nil))
		if err == nil || errors.Is(err, market.ErrOutcomeUnknown) != c.unknown || strings.Contains(err.Error(), "secret") || rec.Body.Len() > 0 {
			t.Errorf("%s: %v, %q", c.name, err, rec.Body)
		}
		transport.CloseIdleConnections()
	}
}

func TestForwardHosts(t *testing.T) {
	for base, want := range map[string]string{
		"https://fapi.binance.com":          "https://dapi.binance.com",
		"https://demo-fapi.binance.com":     "https://demo-dapi.binance.com",
		"https://testnet.binancefuture.com": "https://testnet.binancefuture.com",
		"https://fapi.example.org":          "https://fapi.example.org",
		"http://127.0.0.1:8090":             "http://127.0.0.1:8090",
	} {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if got := coinHost(u).String(); got != want || u.String() != base {
			t.Errorf("%s: %s, want %s", base, got, want)
		}
	}
}

func TestForwardCosts(t *testing.T) {
	for question, want := range map[string]int{
		"/fapi/v1/ping":                       1,
		"/fapi/v1/depth":                      10,
		"/fapi/v1/depth?limit=1000":           20,
		"/fapi/v1/depth?limit=20":             2,
		"/dapi/v1/klines":                     5,
		"/fapi/v1/markPriceKlines?limit=1500": 10,
		"/fapi/v1/ticker/24hr":                40,
		"/fapi/v1/ticker/24hr?symbol=BTCUSDT": 1,
		"/fapi/v1/premiumIndex":               10,
		"/fapi/v1/fundingRate?symbol=BTCUSDT": 0,
		"/futures/data/openInterestHist":      0,
		"/fapi/v9/whatever":                   unknownWeight,
	} {
		u, err := url.Parse(question)
		if err != nil {
			t.Fatal(err)
		}
		if got := costOf(u.Path, u.Query()).weight; got != want {
			t.Errorf("%s: %d, want %d", question, got, want)
		}
	}
}

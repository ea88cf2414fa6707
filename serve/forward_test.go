package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// fakeForwarder answers with what it was asked, or with an error.
type fakeForwarder struct{ err error }

func (f *fakeForwarder) Weight(*http.Request, bool) int { return 3 }

func (f *fakeForwarder) Pass(w http.ResponseWriter, r *http.Request, private bool) error {
	if f.err == nil {
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.RequestURI())
		if private {
			fmt.Fprint(w, asItCame)
		}
	}
	return f.err
}

// forwarding is a server's answer to a request, with a way to the exchange.
func forwarding(t *testing.T, f Forwarder, all bool, q *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := newWorld(t, fixedClock(at("12:02:30")))
	w.opt.Forward, w.opt.ForwardAll = f, all
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, q)
	return rec
}

const (
	signedRefused = `{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action. klined passes on what is signed, and other methods than GET, only with --forward all."}`
	asItCame      = " as it came"
	noPath        = `{"code":-5000,"msg":"Path %s, Method %s is invalid"}`
)

func TestForwarding(t *testing.T) {
	for _, c := range []struct {
		method, url, key string
		off, public, all string // bodies; "" is passed on, asItCame privately
	}{
		{"GET", "/fapi/v1/depth?symbol=A&b=%zz", "", fmt.Sprintf(noPath, "/fapi/v1/depth", "GET"), "", asItCame},
		{"GET", "/dapi/v1/klines", "", fmt.Sprintf(noPath, "/dapi/v1/klines", "GET"), "", asItCame},
		{"GET", "/futures/data/openInterestHist", "", fmt.Sprintf(noPath, "/futures/data/openInterestHist", "GET"), "", asItCame},
		{"GET", "/fapi/v2/account?timestamp=1&signature=ab", "", fmt.Sprintf(noPath, "/fapi/v2/account", "GET"), signedRefused, asItCame},
		{"GET", "/fapi/v2/account?a=1;signature=ab", "", fmt.Sprintf(noPath, "/fapi/v2/account", "GET"), signedRefused, asItCame},
		{"GET", "/fapi/v2/account?%73ignature=ab", "", fmt.Sprintf(noPath, "/fapi/v2/account", "GET"), signedRefused, asItCame},
		{"GET", "/fapi/v1/historicalTrades?symbol=A", "k", fmt.Sprintf(noPath, "/fapi/v1/historicalTrades", "GET"), "", asItCame},
		{"GET", "/fapi/v1/klines?symbol=A&interval=1m", "k", `{"code":-1121,"msg":"Invalid symbol."}`, "", asItCame},
		{"GET", "/klined/v1/klines?symbol=A&interval=1m", "k", `{"code":-1121,"msg":"Invalid symbol."}`, `{"code":-1121,"msg":"Invalid symbol."}`, `{"code":-1121,"msg":"Invalid symbol."}`},
		{"POST", "/fapi/v1/order", "k", fmt.Sprintf(noPath, "/fapi/v1/order", "POST"), signedRefused, asItCame},
		{"PUT", "/fapi/v1/ping", "", fmt.Sprintf(noPath, "/fapi/v1/ping", "PUT"), fmt.Sprintf(noPath, "/fapi/v1/ping", "PUT"), asItCame},
		{"POST", "/sapi/v1/order", "k", fmt.Sprintf(noPath, "/sapi/v1/order", "POST"), fmt.Sprintf(noPath, "/sapi/v1/order", "POST"), fmt.Sprintf(noPath, "/sapi/v1/order", "POST")},
		{"GET", "/fapi/v1/ping", "k", "{}", "{}", "{}"},
	} {
		passed := c.method + " " + c.url
		for mode, want := range map[string]string{"off": c.off, "public": c.public, "all": c.all} {
			q := httptest.NewRequest(c.method, "http://localhost:8080"+c.url, nil)
			if c.key != "" {
				q.Header.Set("X-MBX-APIKEY", c.key)
			}
			var f Forwarder
			if mode != "off" {
				f = &fakeForwarder{}
			}
			rec := forwarding(t, f, mode == "all", q)
			if want == "" || want == asItCame {
				want = passed + want
				if used := rec.Header().Get("X-MBX-USED-WEIGHT-1M"); used != "3" && !strings.Contains(c.url, "klines?") {
					t.Errorf("%s of %s: %q used", mode, passed, used)
				}
			}
			if got := rec.Body.String(); got != want {
				t.Errorf("%s of %s: %d %s, want %s", mode, passed, rec.Code, got, want)
			}
			acting := c.key != "" || c.method != "GET" || strings.Contains(c.url, "ignature=")
			if open := rec.Header().Get("Access-Control-Allow-Origin") == "*"; open == (acting && strings.HasSuffix(want, asItCame)) {
				t.Errorf("%s of %s: open to pages of others: %v", mode, passed, open)
			}
		}
	}
}

// TestForwardingPages: what may carry a key is taken of programs of this machine, and of no page of another site in its browser.
func TestForwardingPages(t *testing.T) {
	for _, c := range []struct {
		host, origin, fetch string
		passed              bool
	}{
		{"127.0.0.1:8080", "", "", true},
		{"localhost", "", "", true},
		{"[::1]:8080", "", "", true},
		{"127.1.2.3:8080", "http://127.1.2.3:8080", "same-origin", true},
		{"LocalHost:8080", "", "none", true},
		{"evil.example:8080", "http://evil.example:8080", "same-origin", false}, // its name leads here
		{"evil.example:8080", "", "", false},
		{"192.0.2.1:8080", "", "", false},
		{"localhost.evil.example", "", "", false},
		{"", "", "", false},
		{"127.0.0.1:8080", "https://evil.example", "cross-site", false},
		{"127.0.0.1:8080", "https://evil.example", "", false},
		{"127.0.0.1:8080", "null", "", false},
		{"127.0.0.1:8080", "", "cross-site", false},
		{"127.0.0.1:8080", "http://127.0.0.1:9000", "same-site", false},
	} {
		for _, target := range []string{"POST /fapi/v1/order", "GET /fapi/v2/account?signature=a"} {
			method, path, _ := strings.Cut(target, " ")
			q := httptest.NewRequest(method, path, nil)
			q.Host = c.host
			q.Header.Set("X-MBX-APIKEY", "k")
			for name, value := range map[string]string{"Origin": c.origin, "Sec-Fetch-Site": c.fetch} {
				if value != "" {
					q.Header.Set(name, value)
				}
			}
			rec := forwarding(t, &fakeForwarder{}, true, q)
			if c.passed && rec.Body.String() != target+asItCame || !c.passed && (rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "127.0.0.1")) {
				t.Errorf("%+v: %s: %d %s", c, target, rec.Code, rec.Body)
			}
		}
	}
	q := httptest.NewRequest("GET", "http://klined.example/fapi/v1/depth", nil)
	q.Header.Set("Origin", "https://chart.example")
	if rec := forwarding(t, &fakeForwarder{}, true, q); rec.Body.String() != "GET /fapi/v1/depth" {
		t.Errorf("a question of a page: %d %s", rec.Code, rec.Body)
	}
}

// TestForwardingTricks: a path that could mean another place to who reads it next goes nowhere.
func TestForwardingTricks(t *testing.T) {
	for _, target := range []string{
		"/fapi/../admin", "/fapi/v1/../../admin", "/fapi/%2e%2e/admin", "/fapi/v1/%2e%2e/%2e%2e/admin", "/fapi//admin", "/fapi/v1//depth", "/fapi/v1/",
		"/fapi/v1/depth%0d%0aHost:evil", "/fapi/v1%2fdepth", `/fapi/v1\depth`, "/fapi/v1/depth;a=b", "/fapi/v1/.", "/fapi/v1/@evil", "/fapi/v1/币安", "/fapi", "//evil/fapi/v1/depth",
		"/futures/data/", "/futures/x", "/dapi/%00", "http://evil/fapi/../x", "/fapi/:80",
	} {
		for _, method := range []string{"GET", "POST"} {
			q, err := http.ReadRequest(asRead(method + " " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"))
			if err != nil {
				continue // refused before it comes here
			}
			rec := forwarding(t, &fakeForwarder{}, true, q)
			if rec.Code < 300 || rec.Code >= 500 {
				t.Errorf("%s %s: %d %s", method, target, rec.Code, rec.Body)
			}
		}
	}
	q, err := http.ReadRequest(asRead("GET http://evil/fapi/v1/depth HTTP/1.1\r\nHost: evil\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if rec := forwarding(t, &fakeForwarder{}, true, q); rec.Code != 200 {
		t.Errorf("an absolute address: %d", rec.Code) // the forwarder takes path and query of it
	}
}

func TestForwardingFailures(t *testing.T) {
	const busy = `{"code":-1003,"msg":"Too many requests; current limit is 2400 requests per minute. Please use the websocket for live updates to avoid polling the API."}`
	for _, c := range []struct {
		err    error
		status int
		body   string
		retry  string
	}{
		{&market.BudgetError{RetryAfter: 1500 * time.Millisecond, Reason: "busy"}, 429, busy, "2"},
		{errDown, 503, `{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`, ""},
		{fmt.Errorf("asked: %w", &market.TooHeavyError{Weight: 200, Limit: 180}), 400, `{"code":-1000,"msg":"A request of weight 200 is not passed on: --rest-weight leaves 180 a minute."}`, ""},
		{&http.MaxBytesError{Limit: 9}, 413, `{"code":-1000,"msg":"A body of more than 9 bytes is not passed on."}`, ""},
		{fmt.Errorf("%w: hung up", market.ErrOutcomeUnknown), 408, `{"code":-1007,"msg":"Timeout waiting for response from backend server. Send status unknown; execution status unknown."}`, ""},
	} {
		w := newWorld(t, fixedClock(at("12:02:30")))
		var logged bytes.Buffer
		w.log, w.opt.Forward, w.opt.ForwardAll = slog.New(slog.NewTextHandler(&logged, nil)), &fakeForwarder{c.err}, true
		rec, q := httptest.NewRecorder(), httptest.NewRequest("POST", "http://localhost/fapi/v1/order?signature=secret", nil)
		q.Header.Set("X-MBX-APIKEY", "secret")
		w.Handler().ServeHTTP(rec, q)
		if text := logged.String(); strings.Contains(text, "secret") || c.status != 429 && !strings.Contains(text, "path=/fapi/v1/order") {
			t.Errorf("%v: logged %s", c.err, text)
		}
		if rec.Code != c.status || rec.Body.String() != c.body || rec.Header().Get("Retry-After") != c.retry {
			t.Errorf("%v: %d %s %v, want %d %s", c.err, rec.Code, rec.Body, rec.Header(), c.status, c.body)
		}
	}
}

// stuckForwarder passes nothing on before the end.
type stuckForwarder struct {
	fakeForwarder
	end chan struct{}
}

func (f *stuckForwarder) Pass(w http.ResponseWriter, r *http.Request, private bool) error {
	<-f.end
	return f.fakeForwarder.Pass(w, r, private)
}

// TestForwardingCrowd: who asks too much at once is told so, and others are answered.
func TestForwardingCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fixedClock(at("12:02:30")))
		f := &stuckForwarder{end: make(chan struct{})}
		w.opt.Forward, w.opt.ForwardAll = f, true
		var crowd sync.WaitGroup
		ask := func(from, method string, want int) {
			crowd.Go(func() {
				host := map[string]string{"GET": "klined.example", "POST": "localhost"}[method]
				q := httptest.NewRequest(method, "http://"+host+"/fapi/v1/depth", nil)
				q.RemoteAddr = from
				rec := httptest.NewRecorder()
				w.Handler().ServeHTTP(rec, q)
				if rec.Code != want || want == http.StatusTooManyRequests && rec.Header().Get("Retry-After") != "1" {
					t.Errorf("%s from %s: %d %s, want %d", method, from, rec.Code, rec.Body, want)
				}
			})
		}
		for range maxCrowd {
			ask("192.0.2.1:1000", "GET", 200)
		}
		synctest.Wait()
		ask("192.0.2.1:2000", "GET", 429)
		ask("192.0.2.2:1000", "GET", 200)
		ask("192.0.2.1:2000", "POST", 200)
		synctest.Wait()
		close(f.end)
		crowd.Wait()
		ask("192.0.2.1:2000", "GET", 200)
		crowd.Wait()
		if len(w.crowd.of) != 0 {
			t.Errorf("left behind: %v", w.crowd.of)
		}
		w.Close()
	})
}

func asRead(text string) *bufio.Reader { return bufio.NewReader(strings.NewReader(text)) }

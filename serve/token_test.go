package serve

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

const testToken = "0123456789abcdef"

// guarded is a server that asks for testToken, with a way to the exchange.
func guarded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, fixedClock(at("12:02:30")))
	w.gate = newGate(testToken)
	w.opt.Forward, w.opt.ForwardAll = &fakeForwarder{}, true
	w.ailing = map[string]string{"feed": "lane 3 is stuck"}
	return w
}

func basic(password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("klined:"+password))
}

// ask is what the handler answers to a request with headers: name, value, name, value.
func (w *world) ask(method, url, from string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, nil)
	r.RemoteAddr = from
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	return rec
}

const remote, local = "203.0.113.9:4000", "127.0.0.1:4000"

func TestToken(t *testing.T) {
	w := guarded(t)
	login := w.ask("GET", "http://klined/", remote, "Authorization", basic(testToken))
	cookie := login.Result().Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || strings.Contains(cookie.String(), testToken) {
		t.Errorf("the cookie is %s", cookie)
	}
	const (
		ping    = "http://klined/fapi/v1/ping"
		order   = "http://klined/fapi/v1/order"
		foreign = "http://elsewhere"
	)
	pair := cookie.Name + "=" + cookie.Value
	for _, c := range []struct {
		name, method, url string
		headers           []string
		status            int
		body              string // what it begins with
	}{
		{"nothing", "GET", ping, nil, 401, `{"code":-2015,"msg":"Invalid API-key`},
		{"the page without", "GET", "http://klined/", nil, 401, `{"code":-2015`},
		{"metrics without", "GET", "http://klined/metrics", nil, 401, `{"code":-2015`},
		{"a path that is none", "GET", "http://klined/x", nil, 401, `{"code":-2015`},
		{"an order without", "POST", order, nil, 401, `{"code":-2015`},
		{"bearer", "GET", ping, []string{"Authorization", "Bearer " + testToken}, 200, "{}"},
		{"bearer, in other letters", "GET", ping, []string{"Authorization", "bearer " + testToken}, 200, "{}"},
		{"metrics with it", "GET", "http://klined/metrics", []string{"Authorization", "Bearer " + testToken}, 200, "#"},
		{"a wrong one", "GET", ping, []string{"Authorization", "Bearer " + testToken + "0"}, 401, `{"code":-2015`},
		{"the beginning of it", "GET", ping, []string{"Authorization", "Bearer 0123"}, 401, `{"code":-2015`},
		{"another scheme", "GET", ping, []string{"Authorization", "Digest " + testToken}, 401, `{"code":-2015`},
		{"password", "GET", ping, []string{"Authorization", basic(testToken)}, 200, "{}"},
		{"a wrong password", "GET", ping, []string{"Authorization", basic("no")}, 401, `{"code":-2015`},
		{"cookie", "GET", ping, []string{"Cookie", pair}, 200, "{}"},
		{"the token as cookie", "GET", ping, []string{"Cookie", cookie.Name + "=" + testToken}, 401, `{"code":-2015`},
		{"in the query", "GET", ping + "?token=" + testToken, nil, 401, `{"code":-2015`},
		{"cookie, another site's page", "GET", ping, []string{"Cookie", pair, "Sec-Fetch-Site", "cross-site"}, 403, `{"code":-2015`},
		{"password, another site's page", "GET", ping, []string{"Authorization", basic(testToken), "Origin", foreign}, 403, `{"code":-2015`},
		{"password, a link of another site", "GET", "http://klined/", []string{"Authorization", basic(testToken),
			"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200, "<!doctype html>"},
		{"bearer, another site's page that knows it", "GET", ping, []string{"Authorization", "Bearer " + testToken, "Origin", foreign}, 200, "{}"},
		{"an order with it", "POST", order, []string{"Authorization", "Bearer " + testToken, "X-Mbx-Apikey", "k"}, 200, "POST /fapi/v1/order as it came"},
		{"an order of our page", "POST", order, []string{"Cookie", pair, "Origin", "http://klined"}, 200, "POST /fapi/v1/order as it came"},
		{"an order of another site's page", "POST", order, []string{"Cookie", pair, "Origin", foreign}, 403, `{"code":-2015`},
		{"a signed link of another site", "GET", order + "?signature=a", []string{"Cookie", pair,
			"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 403, `{"code":-2015`},
		{"what a browser asks first", "OPTIONS", ping, []string{"Origin", foreign, "Access-Control-Request-Headers", "authorization"}, 204, ""},
		{"is it well?", "GET", "http://klined/healthz", nil, 503, "{\n  \"ok\": false\n}"},
		{"is it ready?", "GET", "http://klined/readyz", nil, 200, "{\n  \"ok\": true\n}"},
		{"what ails it?", "GET", "http://klined/healthz", []string{"Authorization", "Bearer " + testToken}, 503, "{\n  \"feed\""},
	} {
		rec := w.ask(c.method, c.url, local, c.headers...)
		if body := rec.Body.String(); rec.Code != c.status || !strings.HasPrefix(strings.ToLower(body), strings.ToLower(c.body)) {
			t.Errorf("%s: %d %.80s, want %d %s", c.name, rec.Code, body, c.status, c.body)
		}
		if challenges := len(rec.Header().Values("WWW-Authenticate")); (challenges == 2) != (c.status == 401) {
			t.Errorf("%s: %d challenges", c.name, challenges)
		}
	}
	if got := w.ask("GET", "http://klined/metrics", local, "Authorization", "Bearer "+testToken).Body.String(); !strings.Contains(got, "klined_unauthorized_total 15\n") {
		t.Error(strings.SplitAfter(got, "klined_unauthorized_total ")[1][:9])
	}
}

// TestTokenOfStreams: WebSocket clients show it as others do.
func TestTokenOfStreams(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.gate = newGate(testToken)
		pair := w.gate.cookie.Name + "=" + w.gate.cookie.Value
		for _, c := range []struct {
			name, url string
			header    ws.HandshakeHeaderHTTP
			taken     bool
		}{
			{"nothing", "ws://klined/ws", nil, false},
			{"bearer", "ws://klined/ws", ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + testToken}}, true},
			{"password", "ws://klined/stream?streams=btcusdt@kline_1m", ws.HandshakeHeaderHTTP{"Authorization": {basic(testToken)}}, true},
			{"our page", "ws://klined/ws", ws.HandshakeHeaderHTTP{"Cookie": {pair}, "Origin": {"http://klined"}}, true},
			{"another site's page", "ws://klined/ws", ws.HandshakeHeaderHTTP{"Cookie": {pair}, "Origin": {"http://elsewhere"}}, false},
			{"another site's page, without Sec-Fetch-Site", "ws://klined/ws", ws.HandshakeHeaderHTTP{"Authorization": {basic(testToken)}, "Origin": {"http://elsewhere"}}, false},
		} {
			conn, _, _, err := ws.Dialer{NetDial: listen.dial, Header: c.header}.Dial(t.Context(), c.url)
			if (err == nil) != c.taken {
				t.Errorf("%s: %v", c.name, err)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
		synctest.Wait()
	})
}

// TestWrongTokens: an address that shows too many is told to wait for the next minute; who has the right one there, behind the same
// router, say, is not held up by a neighbour, nor is anybody elsewhere.
func TestWrongTokens(t *testing.T) {
	now := &movingClock{at: at("12:02:30")}
	w := newWorld(t, now)
	w.gate = newGate(testToken)
	try := func(from, token string) int {
		return w.ask("GET", "http://klined/fapi/v1/ping", from, "Authorization", "Bearer "+token).Code
	}
	for range wrongPerMinute {
		if got := try(remote, "wrong"); got != 401 {
			t.Fatalf("a wrong token: %d", got)
		}
		if got := try(local, "wrong"); got != 401 {
			t.Fatalf("a wrong token from this machine: %d", got)
		}
	}
	for from, want := range map[string]int{remote: 429, "203.0.113.10:1": 401, local: 401} {
		if got := try(from, "wrong"); got != want {
			t.Errorf("one more from %s: %d, want %d", from, got, want)
		}
		if got := try(from, testToken); got != 200 {
			t.Errorf("the right one from %s: %d", from, got)
		}
	}
	now.at = now.at.Add(30 * time.Second)
	if got := try(remote, "wrong"); got != 401 {
		t.Errorf("a wrong one in the next minute: %d", got)
	}
}

// TestWeightOfAnAddress: the exchange's bound holds for who is elsewhere and shows no token.
func TestWeightOfAnAddress(t *testing.T) {
	const question = "http://klined/fapi/v1/time"
	for _, c := range []struct {
		name, token, from, then string
		ask                     string
		n, status               int
	}{
		{"elsewhere", "", remote, remote, question, weightPerMinute, 429},
		{"elsewhere, one less", "", remote, remote, question, weightPerMinute - 1, 200},
		{"another one", "", remote, "203.0.113.10:1", question, weightPerMinute, 200},
		{"own paths count too", "", remote, remote, "http://klined/klined/v1/status", weightPerMinute, 429},
		{"charts weigh more", "", remote, remote, "http://klined/udf/history", weightPerMinute / 10, 429},
		{"klines weigh what the exchange's do", "", remote, remote, "http://klined/klined/v1/klines?limit=1000", weightPerMinute / 5, 429},
		{"klines, one less", "", remote, remote, "http://klined/klined/v1/klines?limit=1000", weightPerMinute/5 - 1, 200},
		{"of klines too what is not for reading counts", "", remote, remote, "POST http://klined/klined/v1/klines", weightPerMinute, 429},
		{"a network of IPv6 is one", "", "[2001:db8::1]:1", "[2001:db8::ffff:1]:1", question, weightPerMinute, 429},
		{"another network is not", "", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", question, weightPerMinute, 200},
		{"this machine", "", local, local, question, weightPerMinute, 200},
		{"this machine over IPv6", "", "[::1]:1", "[::1]:1", question, weightPerMinute, 200},
		{"with the token", testToken, remote, remote, question, weightPerMinute, 200},
	} {
		w := newWorld(t, fixedClock(at("12:02:30")))
		w.gate = newGate(c.token)
		show := []string{"Authorization", "Bearer " + c.token}
		method, asked, other := strings.Cut(c.ask, " ")
		if !other {
			method, asked = "GET", c.ask
		}
		for range c.n {
			w.ask(method, asked, c.from, show...)
		}
		rec := w.ask("GET", question, c.then, show...)
		if rec.Code != c.status || c.status == 429 && (rec.Header().Get("Retry-After") != "30" || !strings.HasPrefix(rec.Body.String(), `{"code":-1003,`)) {
			t.Errorf("%s: %d %s, Retry-After %q", c.name, rec.Code, rec.Body, rec.Header().Get("Retry-After"))
		}
		if n := testutil.ToFloat64(w.opt.Metrics.Refused.WithLabelValues("429")); n != float64(index(c.status == 429)) {
			t.Errorf("%s: klined_refused_total counts %v of status 429", c.name, n)
		}
		for name, want := range map[string]string{
			"Date": "Mon, 04 Jan 2027 12:02:30 GMT", "X-MBX-USED-WEIGHT-1M": "2400", "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "X-MBX-USED-WEIGHT-1M, X-Klined-State, Retry-After",
		} {
			if got := rec.Header().Get(name); c.status == 429 && got != want {
				t.Errorf("%s: %s %q, want %q", c.name, name, got, want)
			}
		}
	}
}

// movingClock is a clock that a test sets.
type movingClock struct{ at market.Time }

func (c *movingClock) Now() market.Time { return c.at }

func addressOf(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// TestOverflowingAddresses: those that are not told apart share a count, and are bounded like one.
func TestOverflowingAddresses(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:02:30")))
	_ = w.weights.of(address(httptest.NewRequest("GET", "/", nil)))
	for i := range maxAddresses {
		w.weights.used[addressOf(i)] = 1
	}
	for i := range weightPerMinute {
		w.weights.add(addressOf(maxAddresses+i), 1)
	}
	if got := w.weights.of(addressOf(2 * maxAddresses)); got != weightPerMinute {
		t.Errorf("one more has used %d, want what all of them have", got)
	}
	if got := w.weights.of(addressOf(7)); got != 1 {
		t.Errorf("one that is known has used %d", got)
	}
}

package serve

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klined/fixed"
	"klined/market"
)

func TestPage(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:00")))
	w.opt.Settles = true
	w.opt.Tick = func(id market.SymbolID) fixed.Value {
		return map[market.SymbolID]fixed.Value{btc: fixed.MustParse("0.1")}[id]
	}
	rec := w.get("/")
	page := rec.Body.String()
	for _, from := range strings.Split(rec.Header().Get("Content-Security-Policy"), "; ") { // nothing of another host
		for _, source := range strings.Fields(from)[1:] {
			if !slices.Contains([]string{"'self'", "'none'", "'unsafe-inline'", "data:"}, source) {
				t.Errorf("the page may use %s", from)
			}
		}
	}
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %s", rec.Code, rec.Header())
	}
	setup := regexp.MustCompile(`<script type="application/json" id="setup">(.*)</script>`).FindStringSubmatch(page)
	if setup == nil {
		t.Fatal("the page does not say its symbols")
	}
	var got any
	if err := json.Unmarshal([]byte(setup[1]), &got); err != nil {
		t.Fatal(err)
	}
	intervals := []any{"1s"} // shortest first
	for _, iv := range w.opt.Intervals[:15] {
		intervals = append(intervals, iv.String())
	}
	want := any(map[string]any{
		"symbols":   []any{[]any{"BTCUSDT", 2.0, 10.0}, []any{"币安人生USDT", 6.0, 1.0}},
		"intervals": slices.Insert(intervals, 2, any("2m")),
		"settles":   true,
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("setup (-want +got):\n%s", diff)
	}
}

// TestPageFiles follows every reference of the page and of its scripts.
func TestPageFiles(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:00")))
	types := map[string]string{
		"web/style.css": "text/css; charset=utf-8", "web/panels.css": "text/css; charset=utf-8", "web/icon.svg": "image/svg+xml",
	}
	for _, script := range strings.Fields("app chart dom feed header kline names picker report series status theme lightweight-charts") {
		types["web/"+script+".js"] = "text/javascript; charset=utf-8"
	}
	todo, seen := []string{""}, map[string]bool{}
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		rec := w.get("/" + name)
		if rec.Code != 200 || name != "" && rec.Header().Get("Content-Type") != types[name] {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Header().Get("Content-Type"))
		}
		if name == "web/lightweight-charts.js" {
			continue
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="(web/[^"]+)"|from "\./([^"]+)"`).FindAllStringSubmatch(rec.Body.String(), -1) {
			if m[1] != "" {
				todo = append(todo, m[1])
			} else {
				todo = append(todo, "web/"+m[2])
			}
		}
		if strings.Contains(rec.Body.String(), `src="http`) {
			t.Errorf("%s loads from elsewhere", name)
		}
	}
	if len(seen) != len(types)+1 {
		t.Errorf("the page refers to %v", seen)
	}
	for _, name := range []string{"LICENSE", "NOTICE"} {
		if rec := w.get("/web/lightweight-charts." + name); rec.Code != 200 || rec.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Header())
		}
	}
	req := httptest.NewRequest(http.MethodGet, "/web/app.js", nil)
	req.Header.Set("If-None-Match", w.get("/web/app.js").Header().Get("ETag"))
	rec := httptest.NewRecorder()
	if w.Handler().ServeHTTP(rec, req); rec.Code != http.StatusNotModified {
		t.Errorf("the same file again: %d", rec.Code)
	}
}

// TestOwnKlines: klines' rows, each with what the kline is.
func TestOwnKlines(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:03:30")))
	rows := run(market.OneMinute, at("12:00:00"), at("12:03:00"), market.StateSettled)
	rows[1].State, rows[1].Gap, rows[1].Revision = market.StateClosed, true, 2
	w.store.rows[minutes(btc)], w.store.known[minutes(btc)] = rows, []market.Span{{From: at("12:00:00"), To: at("12:03:00")}}
	w.live.rows[minutes(btc)] = []market.Kline{kline(at("12:03:00"), "5", market.StateOpen)}
	plain, own := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=4"), w.get("/klined/v1/klines?symbol=BTCUSDT&interval=1m&limit=4")
	want := plain.Body.String()
	for _, standing := range []string{`"settled",0`, `"closed+gap",2`, `"settled",0`, `"open",0`} {
		want = strings.Replace(want, `"0"]`, `"0",`+standing+"]", 1)
	}
	if own.Body.String() != want || own.Header().Get("X-Klined-State") != "settled=2,closed=1,open=1,gap=1" {
		t.Errorf("%s\n%s, want\n%s", own.Header(), own.Body, want)
	}
	if rec := w.get("/klined/v1/klines?symbol=NOSUCH&interval=1m"); rec.Code != 400 || !strings.Contains(rec.Body.String(), "-1121") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestOwnPaths(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:00")))
	ok := false
	w.opt.Ready = func() (bool, any) { return ok, map[string]int{"whole": 3} }
	w.opt.Status = func() any { return map[string]string{"version": "test"} }
	for _, path := range []string{"/klined/v1/gaps", "/klined/v1/symbols"} {
		if rec := w.get(path); rec.Code != 200 || rec.Body.String() != "[]\n" {
			t.Errorf("%s without a list: %d %s", path, rec.Code, rec.Body)
		}
	}
	w.opt.Gaps = func() any { return []string{"a gap"} }
	w.opt.Standings = func(symbol string) any {
		if symbol == "NOPE" {
			return nil
		}
		return []string{"a standing", symbol}
	}
	w.handler = w.routes()
	if rec := w.get("/readyz"); rec.Code != 503 || rec.Body.String() != "{\n  \"whole\": 3\n}\n" {
		t.Errorf("/readyz: %d %s", rec.Code, rec.Body)
	}
	ok = true
	for path, want := range map[string]string{
		"/healthz": `"ok": true`, "/readyz": `"whole": 3`, "/klined/v1/status": `"version": "test"`, "/metrics": "klined_ws_clients 0",
		"/klined/v1/gaps": `"a gap"`, "/klined/v1/symbols": `"a standing"`, "/klined/v1/symbols?symbol=btcusdt": `"BTCUSDT"`,
	} {
		if rec := w.get(path); rec.Code != 200 || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if rec := w.get("/klined/v1/symbols?symbol=NOPE"); rec.Code != 400 || !strings.Contains(rec.Body.String(), "-1121") {
		t.Errorf("a symbol that is not carried: %d %s", rec.Code, rec.Body)
	}
	if rec := w.get("/nothing"); rec.Code != 404 {
		t.Errorf("/nothing: %d", rec.Code)
	}
}

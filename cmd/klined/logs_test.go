package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/health"
	"klined/market"
	"klined/sim"
)

// written is what several goroutines write.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// TestLogLevel: a level for all, and others for single targets.
func TestLogLevel(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"info", "INFO map[]"},
		{"WARN", "WARN map[]"},
		{"warn,store=debug", "WARN map[store:DEBUG]"},
		{"feed=error,decode=debug", "INFO map[decode:DEBUG feed:ERROR]"},
		{"", `--log-level "": want debug, info, warn or error`},
		{"loud", `--log-level "loud": want debug`},
		{"info+2", `--log-level "info+2": want debug`},
		{"info,debug", `--log-level "info,debug": want debug`},
		{"info,store=", `--log-level "info,store=": want debug`},
		{"info,stor=debug", `--log-level "info,stor=debug": there is no target "stor" (did you mean "store"?); there are feed, decode, `},
	} {
		var o serveOptions
		o.texts.level = c.text
		got := ""
		if err := o.parseLevels(); err != nil {
			got = err.Error()
		} else {
			got = o.LogLevel.String() + " " + slog.AnyValue(o.LogLevels).String()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}

// TestLogs: whatever fails around requests that carry secrets, the log has none of them, not even where nothing masks
// them; and each line is of one target.
func TestLogs(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	const key, signature, token = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71", "s3cr3t-of-a-client"
	listenKey := strings.Repeat("pqia91ma19a5s61c", 4)
	var plain, lines written
	synctest.Test(t, func(t *testing.T) {
		o := options(t, market.SourceAggTrade)
		o.Forward, o.RESTWeight = forwardAll, 1200
		m := startMarket(t, sim.Options{Symbols: 2, Rate: 10, Seed: 5, Start: at(t, "2027-01-05T09:58:20Z")}, o)
		defer m.end()
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		debug := slog.NewTextHandler(&plain, &slog.HandlerOptions{Level: slog.LevelDebug})
		m.log = slog.New(slog.NewMultiHandler(debug, health.NewLog(&lines, health.LogOptions{JSON: true, Level: slog.LevelDebug}).Handler()))
		m.startServer()
		ask := func() {
			for _, q := range []struct{ method, path string }{
				{"GET", "/fapi/v2/account?timestamp=1&signature=" + signature},
				{"POST", "/fapi/v1/order?symbol=BTCUSDT&signature=" + signature},
				{"GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=1&signature=" + signature},
				{"GET", "/fapi/v1/klines?symbol=%zz&signature=" + signature},
				{"PUT", "/fapi/v1/listenKey?listenKey=" + listenKey},
				{"GET", "/ws/" + listenKey},
				{"GET", "/udf/history?symbol=BTCUSDT&resolution=1&to=1&from=0&signature=" + signature},
			} {
				r, err := http.NewRequest(q.method, m.judge.server+q.path, strings.NewReader("signature="+signature))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-MBX-APIKEY", key)
				r.Header.Set("Authorization", "Bearer "+token)
				if resp, err := m.judge.client.Do(r); err == nil {
					resp.Body.Close()
				}
			}
		}
		fault := func(text string) { m.request(t, m.judge.exchange, "POST", "/sim/faults", "", text) }
		m.until(market.OneMinute.Ceil(m.x.Now()) + 20*market.Second)
		ask()
		for _, f := range []string{`{"kind":"rest_500","seconds":20}`, `{"kind":"rest_429","seconds":20}`, `{"kind":"garbage","n":50}`, `{"kind":"disconnect"}`} {
			fault(f)
			time.Sleep(time.Second)
			ask()
			time.Sleep(time.Minute)
		}
		if err := m.stopExchange(); err != nil {
			t.Fatal(err)
		}
		ask()
		time.Sleep(time.Minute)
	})
	for _, secret := range []string{key, signature, token, listenKey} {
		if at := strings.Index(plain.String(), secret); at >= 0 {
			t.Errorf("the log has a secret: %s", plain.String()[max(0, at-300):at+len(secret)])
		}
	}
	said := map[string]int{}
	for line := range strings.Lines(lines.String()) {
		var got struct{ Target, Msg string }
		if err := json.Unmarshal([]byte(line), &got); err != nil || !slices.Contains(health.Targets(), got.Target) || strings.Count(line, `"target":`) != 1 {
			t.Errorf("%v: %s", err, line)
		}
		said[got.Target]++
	}
	for _, target := range []string{"feed", "decode", "serve", "life"} {
		if said[target] == 0 {
			t.Errorf("nothing of %s in %v", target, said)
		}
	}
	if plain.String() == "" || !strings.Contains(plain.String(), "cannot forward") {
		t.Errorf("what failed is not in the log:\n%s", plain.String())
	}
}

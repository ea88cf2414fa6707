package main

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// TestSummary: once a minute the log says in one line how things are; and at once when the server is ready, and when it is
// not, because its connections are up and bring nothing.
func TestSummary(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		log := newStuckLog("")
		m := &fakeMarket{log: slog.New(log)}
		start := at(t, "2027-01-05T09:58:30Z")
		o := options(t, market.SourceTrade, market.OneMinute)
		m.start(t, sim.Options{Symbols: 5, Rate: 100, Seed: 7, Start: start}, o)
		defer m.end()
		heard := m.hear(strings.ToLower(m.x.Symbols()[0]) + "@kline_1m")
		m.until(start.Add(5 * time.Minute))
		heard.close()

		lines := regexp.MustCompile(`(?m)^.*msg="last minute" .*$`).FindAllString(log.String(), -1)
		if len(lines) < 4 || len(lines) > 5 {
			t.Fatalf("%d lines in 5 minutes:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		t.Log(lines[3])
		is := make(map[string]string)
		for _, field := range regexp.MustCompile(`(\w+)=(\S+)`).FindAllStringSubmatch(lines[3], -1) {
			is[field[1]] = field[2]
		}
		for name, want := range map[string]string{"ready": "true", "gaps": "0", "missing": "0", "healed": "0", "closed": "5", "whole": "5/5", "behind": "0",
			"connections": "10/10", "clients": "1", "slow": "0"} {
			if is[name] != want {
				t.Errorf("%s=%s, want %s", name, is[name], want)
			}
		}
		if rate, err := strconv.Atoi(is["trades_per_s"]); err != nil || rate < 50 || rate > 300 {
			t.Errorf("trades_per_s=%s", is["trades_per_s"])
		}
		for _, lag := range []string{is["lag_p50"], is["lag_p99"]} {
			if d, err := time.ParseDuration(lag); err != nil || d > time.Second {
				t.Errorf("a lag of %q", lag)
			}
		}
		for name, shape := range map[string]string{"weight": `^\d+/2400$`, "store_waits": `^\d+$`, "commit": `^\d+m?s$`, "memory": `^\d+[kMG]B$`, "goroutines": `^\d+$`} {
			if !regexp.MustCompile(shape).MatchString(is[name]) {
				t.Errorf("%s=%s", name, is[name])
			}
		}

		// Its connections stay up and say nothing.
		if n := strings.Count(log.String(), "msg=ready "); n != 1 || strings.Contains(log.String(), `msg="not ready"`) {
			t.Errorf("ready %d times:\n%s", n, log.String())
		}
		m.fault(sim.Fault{Kind: sim.FaultSilence, Seconds: 12})
		time.Sleep(10 * time.Second)
		status, body, _ := m.request(t, m.judge.server, "GET", "/readyz", "", "")
		var ready readiness
		if err := json.Unmarshal([]byte(body), &ready); err != nil || status != 503 || ready.Ready || ready.Silent == 0 || len(ready.Reasons) < ready.Silent {
			t.Errorf("/readyz: %d %s, %v", status, body, err)
		}
		if !strings.Contains(log.String(), `msg="not ready" target=life reason="lane `) {
			t.Error("the log does not say that the server is not ready")
		}
		time.Sleep(2 * time.Minute)
		if status, body, _ := m.request(t, m.judge.server, "GET", "/readyz", "", ""); status != 200 {
			t.Errorf("/readyz, later: %d %s", status, body)
		}
	})
}

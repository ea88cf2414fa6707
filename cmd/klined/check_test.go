package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// dirState is the names, sizes and times of what is in a directory, but for what each reader of the database leaves.
func dirState(t *testing.T, dir string) string {
	t.Helper()
	var state strings.Builder
	entries, _ := os.ReadDir(dir) // of what is not there, none
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-shm") || strings.HasSuffix(e.Name(), "-wal") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&state, e.Name(), info.Size(), info.ModTime())
	}
	return state.String()
}

// TestCheck: each thing that a start needs has a line, and what is not as it should be fails with its reason. Nothing changes.
func TestCheck(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		o := options(t, market.SourceAggTrade)
		o.Listen = "127.0.0.1:8080"
		m := startMarket(t, sim.Options{Symbols: 3, Rate: 10, Seed: 5, Start: at(t, "2027-01-05T09:58:20Z")}, o)
		n := network{Dial: m.net.Dial, Listen: m.net.Listen}
		answers := true
		// check asks with changed options; the lines of what fails must match failures.
		check := func(name string, change func(*serveOptions), failures ...string) {
			t.Helper()
			o := m.options
			if change != nil {
				change(&o)
			}
			var stderr bytes.Buffer
			before := dirState(t, o.Dir)
			err := checkServe(t.Context(), o, n, &stderr)
			if after := dirState(t, o.Dir); after != before {
				t.Errorf("%s: the store was %s and is %s", name, before, after)
			}
			failed := regexp.MustCompile(`(?m)^failed  .*`).FindAllString(stderr.String(), -1)
			// Fake time is far from the exchange's, and a server starts.
			warned := regexp.MustCompile(`(?m)^warning clock    the exchange's is \S+ ahead of this machine's: want 5s`).MatchString(stderr.String())
			if warned != answers {
				t.Errorf("%s: no warning of the clock, or one without a clock:\n%s", name, &stderr)
			}
			lines := strings.Count(stderr.String(), "\n")
			if want := fmt.Sprintf("serve --check: %d of %d checks failed", len(failures), lines); len(failures) > 0 && (err == nil || err.Error() != want) || len(failures) == 0 && err != nil {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			for _, want := range failures {
				if !regexp.MustCompile(`(?m)^failed  ` + want).MatchString(stderr.String()) {
					t.Errorf("%s: no %q in\n%s", name, want, &stderr)
				}
			}
			if len(failed) != len(failures) || lines < 7 || lines != strings.Count(stderr.String(), "\nok ")+strings.Count(stderr.String(), "\nfailed ")+strings.Count(stderr.String(), "\nwarning ")+1 {
				t.Errorf("%s: want %d failures in\n%s", name, len(failures), &stderr)
			}
		}
		m.until(market.OneMinute.Ceil(m.x.Now()) + 20*market.Second)
		pid := os.Getpid()
		check("beside a server", nil, fmt.Sprintf(`store    store .*: in use by process %d$`, pid), `listen   cannot listen on 127.0.0.1:8080: `)
		check("with profiles", func(o *serveOptions) { o.Admin = o.Listen }, fmt.Sprintf(`store    store .*: in use by process %d$`, pid),
			`listen   cannot listen on 127.0.0.1:8080: `, `admin    cannot listen on 127.0.0.1:8080: `)
		if err := m.stopServer(); err != nil {
			t.Fatal(err)
		}
		check("as it was", nil)
		check("a new store", func(o *serveOptions) { o.Dir = filepath.Join(o.Dir, "a", "b") })
		check("a tape and an administrator", func(o *serveOptions) { o.Record, o.Admin = filepath.Join(o.Dir, "tapes"), "127.0.0.1:6060" })
		check("neither", func(o *serveOptions) {
			o.Record, o.Admin = filepath.Join(o.Dir, "lock", "x"), strings.TrimPrefix(o.REST, "http://")
		},
			`record   .*lock`, `admin    cannot listen on `)
		check("a file in the way", func(o *serveOptions) { o.Dir = filepath.Join(o.Dir, "klines.sqlite", "b") }, `store    store .*klines.sqlite/b: not a directory|store    store .*klines.sqlite is no directory`)
		check("a symbol", func(o *serveOptions) { o.Symbols = []string{"BTCUSDT", "ETHUSD"} }, `symbols  symbol ETHUSD: .*did you mean "ETHUSDT"`)
		m.fault(sim.Fault{Kind: sim.FaultDelist, Symbol: "ETHUSDT", Gone: true})
		m.until(m.x.Now().Add(5 * time.Second))
		check("a symbol that has ended", func(o *serveOptions) { o.Symbols = []string{"BTCUSDT", "ETHUSDT"} }) // serve starts
		check("and is unknown", func(o *serveOptions) { o.Dir, o.Symbols = t.TempDir(), []string{"BTCUSDT", "ETHUSDT"} }, `symbols  symbol ETHUSDT: `)
		check("streams", func(o *serveOptions) { o.WS = "ws://user:pa55@127.0.0.1:1" }, `streams  .*127\.0\.0\.1:1`)
		check("archive", func(o *serveOptions) { o.Archive = "http://127.0.0.1:1" }, `archive  http://127\.0\.0\.1:1: GET /data/`)
		if err := m.stopExchange(); err != nil {
			t.Fatal(err)
		}
		answers = false
		check("no exchange", nil, `rest     http://127`, `clock    not asked`, `symbols  not asked`, `streams  `, `archive  `)
	})
}

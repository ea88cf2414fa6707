//go:build e2e

package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"klined/market"
)

// TestE2EMarket runs 200 symbols at 5,000 trades a second over real sockets for two minutes and more, so that all
// fifteen intervals close at one boundary, with a client on every stream, and holds every closed kline against the truth.
func TestE2EMarket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		source  string
		market  []string
		explain bool
	}{
		{"trade", "trade", nil, false},
		{"aggTrade without straddles and burnt ids", "aggTrade", []string{"--straddle", "0", "--burn", "0"}, false},
		{"aggTrade as it is", "aggTrade", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			exchange, xAddr := launch(t, simAddress, append([]string{"sim", "--listen", "127.0.0.1:0", "--symbols", "200", "--rate", "5000",
				"--seed", "42", "--start", "2027-02-28T23:57:30Z"}, c.market...)...)
			server, addr := launch(t, serveAddress, "serve", "--listen", "127.0.0.1:0", "--dir", filepath.Join(t.TempDir(), "store"),
				"--rest", "http://"+xAddr, "--ws", "ws://"+xAddr, "--source", c.source, "--rest-weight", "2400", "--settle", "off", "--backfill", "0",
				"--grace", patient)
			j := newJudge("http://"+addr, "http://"+xAddr, network{})
			ahead := offset(t, j)
			now := func() market.Time { return market.TimeOf(time.Now().Add(ahead)) }
			symbols, err := j.symbols()
			if err != nil || len(symbols) != 200 {
				t.Fatalf("%d symbols, %v", len(symbols), err)
			}
			ivs := market.ExchangeIntervals()
			heard, err := j.listen(t.Context(), symbols, ivs, now, "")
			if err != nil {
				t.Fatal(err)
			}
			first, month := max(firstWhole(t, server, j), market.OneMinute.Ceil(now())), at(t, "2027-03-01T00:00:00Z")
			if first >= month {
				t.Fatalf("the server sees the first whole minute from %s on: too late for the end of the month", first)
			}
			end := month + 4*market.Second
			time.Sleep(end.Sub(now()))
			heard.await(symbols, ivs, month)
			v, err := j.compare(symbols, ivs, first, end-3*market.Second, c.explain)
			must(t, "REST", v, err)
			heard.close()
			v, delays, err := heard.check(j, symbols, ivs, first, end-3*market.Second, c.explain)
			must(t, "pushed", v, err)
			slices.Sort(delays)
			t.Logf("boundary → close received: p50 %s, p99 %s, most %s; %d events of running klines", quantile(delays, 0.5),
				quantile(delays, 0.99), delays[len(delays)-1], heard.opens)
			text, err := j.get(j.server, "/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("frame → push: p50 %s, p99 %s", bucket(text, "klined_frame_to_push_seconds", 0.5), bucket(text, "klined_frame_to_push_seconds", 0.99))
			for _, p := range []*process{server, exchange} {
				if err := p.end(syscall.SIGINT); err != nil {
					t.Errorf("stopped by SIGINT: %v\n%s", err, p.output())
				}
			}
		})
	}
}

// await waits until all klines that end at end have come as final, for a minute at most: that one has not, the judge will say.
func (a *audience) await(symbols []string, ivs []market.Interval, end market.Time) {
	want := 0
	for _, iv := range ivs {
		if iv.Ceil(end) == end {
			want += len(symbols)
		}
	}
	for by := time.Now().Add(time.Minute); len(a.of(end)) < want && time.Now().Before(by); {
		time.Sleep(100 * time.Millisecond)
	}
}

// bucket is the bucket of a histogram in which its quantile lies.
func bucket(metrics []byte, name string, q float64) string {
	var bounds []string
	var counts []float64
	for _, m := range regexp.MustCompile(name+`_bucket\{le="([^"]+)"\} (\S+)`).FindAllSubmatch(metrics, -1) {
		n, _ := strconv.ParseFloat(string(m[2]), 64)
		bounds, counts = append(bounds, string(m[1])), append(counts, n)
	}
	for i, n := range counts {
		if n >= q*counts[len(counts)-1] {
			return "≤ " + bounds[i] + " s"
		}
	}
	return "unknown"
}

// TestE2ERestart stops, kills and restarts the server on one store: the same history is there each time.
func TestE2ERestart(t *testing.T) {
	t.Parallel()
	_, xAddr := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "20", "--rate", "200", "--start", "2027-01-05T10:00:45Z")
	dir := filepath.Join(t.TempDir(), "store")
	serve := func() (*process, *judge) {
		p, addr := launch(t, serveAddress, "serve", "--listen", "127.0.0.1:0", "--dir", dir, "--rest", "http://"+xAddr, "--ws", "ws://"+xAddr, "--source", "trade")
		return p, newJudge("http://"+addr, "http://"+xAddr, network{})
	}
	p, j := serve()
	symbols, err := j.symbols()
	if err != nil {
		t.Fatal(err)
	}
	ahead := offset(t, j)
	now := func() market.Time { return market.TimeOf(time.Now().Add(ahead)) }
	first := at(t, "2027-01-05T10:01:00Z")
	for _, s := range []struct {
		signal syscall.Signal
		until  market.Time
	}{{syscall.SIGINT, first + 63*market.Second}, {syscall.SIGKILL, first + 123*market.Second}} {
		time.Sleep(s.until.Sub(now()))
		v, err := j.compare(symbols, market.ExchangeIntervals(), first, s.until-2*market.Second, false)
		must(t, "before "+s.signal.String(), v, err)
		if err := p.end(s.signal); err != nil && s.signal == syscall.SIGINT {
			t.Errorf("stopped by SIGINT: %v\n%s", err, p.output())
		}
		p, j = serve()
		v, err = j.compare(symbols, market.ExchangeIntervals(), first, s.until-2*market.Second, false)
		must(t, "after "+s.signal.String(), v, err)
	}
}

// TestE2EStopped stops the process across a boundary: what the sockets held meanwhile is read before anything closes.
func TestE2EStopped(t *testing.T) {
	t.Parallel()
	_, xAddr := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "5", "--rate", "300", "--start", "2027-01-05T10:00:45Z")
	p, addr := launch(t, serveAddress, "serve", "--listen", "127.0.0.1:0", "--dir", filepath.Join(t.TempDir(), "store"),
		"--rest", "http://"+xAddr, "--ws", "ws://"+xAddr, "--source", "trade", "--intervals", "1s,5s,1m", "--lanes", "1",
		"--grace", patient)
	j := newJudge("http://"+addr, "http://"+xAddr, network{})
	ahead := offset(t, j)
	now := func() market.Time { return market.TimeOf(time.Now().Add(ahead)) }
	symbols, err := j.symbols()
	if err != nil {
		t.Fatal(err)
	}
	ivs, err := parseIntervals("1s,5s,1m")
	if err != nil {
		t.Fatal(err)
	}
	heard, err := j.listen(t.Context(), symbols, ivs, now, "")
	if err != nil {
		t.Fatal(err)
	}
	first := max(firstWhole(t, p, j), market.OneMinute.Ceil(now()+5*market.Second)) // by then all seconds are heard
	for _, step := range []struct {
		at     market.Time
		signal syscall.Signal
	}{{first + 57500, syscall.SIGSTOP}, {first + 63500, syscall.SIGCONT}} {
		time.Sleep(step.at.Sub(now()))
		if err := p.cmd.Process.Signal(step.signal); err != nil {
			t.Fatal(err)
		}
	}
	end := first + 75*market.Second
	time.Sleep(end.Sub(now()))
	heard.await(symbols, ivs, end)
	heard.close()
	v, _, err := heard.check(j, symbols, ivs, first, end, false)
	must(t, "pushed", v, err)
}

// TestE2EBadInput starts the program with what cannot be: one line on stderr that names the thing, and the right status.
func TestE2EBadInput(t *testing.T) {
	t.Parallel()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	_, xAddr := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "5", "--rate", "10")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	silent := &http.Server{Handler: http.NotFoundHandler()}
	go silent.Serve(busy)
	defer silent.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("listen = \"127.0.0.1:0\"\nredundan = \"1m\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(dir, "held")
	_, _ = launch(t, serveAddress, "serve", "--listen", "127.0.0.1:0", "--dir", held, "--rest", "http://"+xAddr, "--ws", "ws://"+xAddr)
	ok := []string{"--listen", "127.0.0.1:0", "--rest", "http://" + xAddr, "--ws", "ws://" + xAddr, "--dir", filepath.Join(dir, "s")}
	serve := func(args ...string) []string { return append(append([]string{"serve"}, ok...), args...) }
	for _, c := range []struct {
		args   []string
		status int
		want   []string
	}{
		{[]string{"serv"}, 2, []string{`"serv"`, `"serve"`}},
		{[]string{"bench", "--rows", "decod"}, 2, []string{"--rows", `"decod"`, `"decode"`}},
		{[]string{"bench", "--rounds", "0"}, 2, []string{"--rounds", "0", "100"}},
		{serve("--intervall", "1m"), 2, []string{"--intervall", `"--intervals"`}},
		{serve("--intervals", "60m"), 2, []string{`"60m"`, "1h"}},
		{serve("--intervals", "7m"), 2, []string{"--intervals", `"7m"`}},
		{serve("--listen", "8080"), 2, []string{"--listen", `"8080"`, "HOST:PORT"}},
		{serve("--source", "ticks"), 2, []string{`"ticks"`, "aggTrade"}},
		{serve("--settle", "maybe"), 2, []string{"--settle", `"maybe"`, "on or off"}},
		{serve("--retain", "1m"), 2, []string{"--retain", `"1m"`, "1m=30d"}},
		{serve("--retain", "5m=90d,1m=30"), 2, []string{"--retain", `"1m=30"`, "12h, 30d or 8w", "forever"}},
		{serve("--retain", "1m=23h"), 2, []string{"--retain", `"1m=23h"`, "1d at least"}},
		{serve("--retain", "1h=2d"), 2, []string{"--retain", `"1h=2d"`, "3d at least"}},
		{serve("--retain", "1d=8w"), 2, []string{"--retain", `"1d=8w"`, "90d at least"}},
		{serve("--retain", "60m=90d"), 2, []string{"--retain", `"60m=90d"`, "1h"}},
		{serve("--retain", "1s=1d"), 2, []string{"--retain", `"1s=1d"`, "--intervals"}},
		{serve("--retain", "1m=30d,1m=forever"), 2, []string{"--retain", `"1m=forever"`, "twice"}},
		{serve("--lanes", "many"), 2, []string{"lanes", `"many"`}},
		{serve("--config", file), 2, []string{file, `"redundan"`, `"redundancy"`}},
		{serve("--config", filepath.Join(dir, "none.toml")), 2, []string{"none.toml"}},
		{serve("extra"), 2, []string{`"extra"`}},
		{serve("--listen", busy.Addr().String()), 1, []string{busy.Addr().String(), "in use"}},
		{serve("--dir", filepath.Join(file, "below")), 1, []string{file}},
		{serve("--dir", held), 1, []string{held, "process"}},
		{serve("--symbols", "BTCUSDT,NOSUCHUSDT"), 1, []string{"NOSUCHUSDT"}},
		{serve("--rest", "http://127.0.0.1:1"), 1, []string{"127.0.0.1:1"}},
		{serve("--rest", "http://"+busy.Addr().String()), 1, []string{busy.Addr().String(), "404"}},
		{serve("--ws", "ws://127.0.0.1:1"), 1, []string{"127.0.0.1:1"}},
		{serve("--ws", "ws://"+busy.Addr().String()), 1, []string{busy.Addr().String()}},
		{serve("--ws", "http://x"), 2, []string{"--ws", "http://x"}},
		{[]string{"sim", "--symbols", "0"}, 2, []string{"--symbols"}},
		{[]string{"sim", "--listen", busy.Addr().String(), "--rate", "-5"}, 2, []string{"--rate", "-5"}},
		{[]string{"sim", "--start", "tomorrow"}, 2, []string{`"tomorrow"`}},
		{[]string{"replay", filepath.Join(dir, "none.csv")}, 1, []string{"none.csv"}},
		{[]string{"replay"}, 2, []string{"files"}},
		{[]string{"export", "--dir", filepath.Join(dir, "none")}, 1, []string{"none", "no store"}},
		{[]string{"export", "--dir", held, "--symbols", "BTCUSD"}, 1, []string{held, "BTCUSD", `"BTCUSDT"`}},
		{[]string{"export", "--dir", held, "--format", "xlsx"}, 2, []string{`"xlsx"`, "parquet"}},
	} {
		t.Run(strings.Join(c.args[:1], " ")+" "+strings.Join(c.args[max(1, len(c.args)-2):], " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := ours(exec.CommandContext(ctx, path, c.args...))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			last := lines[len(lines)-1]
			for _, want := range c.want {
				if !strings.Contains(last, want) {
					t.Errorf("%q does not name %q", last, want)
				}
			}
			if len(lines) != 1 {
				t.Errorf("%d lines on stderr:\n%s", len(lines), stderr.String())
			}
		})
	}
}

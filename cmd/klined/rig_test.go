//go:build e2e || soak

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"klined/market"
)

// rig is a simulated exchange and a server in front of it, each a process of its own.
type rig struct {
	t      *testing.T
	o      rigOptions
	judge  *judge
	server *process
	ahead  time.Duration // of the exchange's clock before ours

	symbols []string
	first   market.Time // the first boundary that the server sees whole
}

// rigOptions say what a rig is like. What is zero has a default.
type rigOptions struct {
	start     string      // of the exchange's clock
	sees      market.Time // the server sees the minute from there on whole: where it starts too late for that, all begins again, earlier
	source    market.Source
	symbols   int     // 10
	rate      float64 // 200 trades a second
	seed      uint64  // 1
	dir       string  // of the store: a temporary one
	intervals string  // the exchange's
	serve     []string
	env       []string // of the server

	ivs []market.Interval // those of intervals
}

func (o rigOptions) withDefaults(t *testing.T) rigOptions {
	t.Helper()
	if o.symbols == 0 {
		o.symbols = 10
	}
	if o.rate == 0 {
		o.rate = 200
	}
	if o.seed == 0 {
		o.seed = 1
	}
	if o.dir == "" {
		o.dir = filepath.Join(t.TempDir(), "store")
	}
	if o.intervals == "" {
		o.intervals = intervalList(market.ExchangeIntervals())
	}
	var err error
	if o.ivs, err = parseIntervals(o.intervals); err != nil {
		t.Fatal(err)
	}
	return o
}

// startRig starts exchange and server. The exchange's aggTrades neither straddle nor burn ids: with either source every
// closed kline must be its own.
func startRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	o = o.withDefaults(t)
	for tries := 1; ; tries++ {
		r, exchange := tryRig(t, o)
		if o.sees == 0 || r.first <= o.sees {
			return r
		}
		if tries == 3 {
			t.Fatalf("the server sees the first whole minute from %s on, with the exchange's clock starting at %s: too late for the one from %s on", r.first, o.start, o.sees)
		}
		_, _ = exchange.end(syscall.SIGKILL), r.server.end(syscall.SIGKILL)
		o.start, o.dir = at(t, o.start).Add(-30*time.Second).String(), filepath.Join(t.TempDir(), "store")
	}
}

// tryRig is startRig, whatever the server sees first.
func tryRig(t *testing.T, o rigOptions) (_ *rig, exchange *process) {
	t.Helper()
	exchange, addr := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--straddle", "0", "--burn", "0", "--start", o.start,
		"--symbols", fmt.Sprint(o.symbols), "--rate", fmt.Sprint(o.rate), "--seed", fmt.Sprint(o.seed))
	r := &rig{t: t, o: o, judge: newJudge("", "http://"+addr, network{})}
	r.ahead = offset(t, r.judge)
	r.serve()
	var err error
	if r.symbols, err = r.judge.symbols(); err != nil || len(r.symbols) != o.symbols {
		t.Fatalf("%d symbols, %v", len(r.symbols), err)
	}
	r.first = firstWhole(t, r.server, r.judge)
	return r, exchange
}

// firstWhole is the boundary from which on a server that has just started sees every minute from its first trade on, by its own log.
func firstWhole(t *testing.T, server *process, j *judge) (boundary market.Time) {
	t.Helper()
	began := regexp.MustCompile(`msg="stream began" .*lane=(\d+) .*first_boundary=(\S+)`)
	poll(t, "all lanes bring trades", 90*time.Second, func() bool {
		var st status
		if err := j.own("/klined/v1/status", &st); err != nil {
			t.Fatal(err)
		}
		missing := make(map[string]bool)
		for _, c := range st.Connections {
			if c.Lane != nil {
				missing[fmt.Sprint(*c.Lane)] = true
			}
		}
		lanes := len(missing)
		for _, m := range began.FindAllStringSubmatch(server.output(), -1) {
			boundary = max(boundary, at(t, m[2]))
			delete(missing, m[1])
		}
		return lanes > 0 && len(missing) == 0
	})
	return boundary
}

// serveArgs is the command line of the server.
func (r *rig) serveArgs() []string {
	exchange := strings.TrimPrefix(r.judge.exchange, "http://")
	return append([]string{"serve", "--listen", "127.0.0.1:0", "--dir", r.o.dir, "--rest", "http://" + exchange, "--ws", "ws://" + exchange,
		"--source", r.o.source.String(), "--intervals", r.o.intervals, "--rest-weight", "2400", "--grace", patient, "--settle", "off",
		"--archive", "http://" + exchange, "--backfill", "0"}, r.o.serve...)
}

// serve starts the server, a second time too.
func (r *rig) serve() {
	r.t.Helper()
	p, addr := launchIn(r.t, r.o.env, serveAddress, r.serveArgs()...)
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Logf("klined serve on %s said:\n%s", addr, p.output())
		}
	})
	r.server, r.judge = p, newJudge("http://"+addr, r.judge.exchange, network{})
}

// now is what the exchange's clock shows.
func (r *rig) now() market.Time { return market.TimeOf(time.Now().Add(r.ahead)) }

// until lets the market run until the exchange's clock shows at.
func (r *rig) until(at market.Time) { time.Sleep(at.Sub(r.now())) }

// poll waits until ok, for so long at most.
func (r *rig) poll(what string, within time.Duration, ok func() bool) {
	r.t.Helper()
	poll(r.t, what, within, ok)
}

// poll waits until ok, for so long at most.
func poll(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	for by := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// fault makes something go wrong at the exchange, and gives the numbers of the connections that it is about.
func (r *rig) fault(fault string) []int {
	r.t.Helper()
	resp, err := http.Post(r.judge.exchange+"/sim/faults", "application/json", strings.NewReader(fault))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Conns []int
		Error string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
		r.t.Fatalf("%s: %v %s", fault, err, answer.Error)
	}
	return answer.Conns
}

// trades is a fault's field that keeps it to the streams of trades.
func (r *rig) trades() string { return fmt.Sprintf(`"stream":"@%s"`, r.o.source) }

// listen is a client on every stream.
func (r *rig) listen(query string) *audience {
	r.t.Helper()
	heard, err := r.judge.listen(r.t.Context(), r.symbols, r.o.ivs, r.now, query)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(heard.close)
	return heard
}

// status is the server's own.
func (r *rig) status() (st status) {
	r.t.Helper()
	if err := r.judge.own("/klined/v1/status", &st); err != nil {
		r.t.Fatal(err)
	}
	return st
}

// metric is the sum of a figure over those of its labels that hold all of the given ones.
func (r *rig) metric(name string, labels ...string) (sum float64) {
	r.t.Helper()
	text, err := r.judge.get(r.judge.server, "/metrics", nil)
	if err != nil {
		r.t.Fatal(err)
	}
line:
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(\{.*\})? (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		for _, label := range labels {
			if !strings.Contains(m[1], label) {
				continue line
			}
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			r.t.Fatalf("%s: %v", m[0], err)
		}
		sum += n
	}
	return sum
}

// calm waits until every symbol is whole, and nothing of it is missing or marked.
func (r *rig) calm(within time.Duration) {
	r.t.Helper()
	wrong := ""
	for by := time.Now().Add(within); time.Now().Before(by); time.Sleep(time.Second) {
		var err error
		if wrong, err = r.judge.wrong(r.symbols); err != nil {
			r.t.Fatal(err)
		}
		if wrong == "" && r.status().Gaps["open"] == 0 {
			return
		}
	}
	r.t.Fatalf("not whole again within %s: %s; gaps %v", within, wrong, r.status().Gaps)
}

// closed is what REST answers of all klines that closed within [from, to].
func (r *rig) closed(from, to market.Time) map[string]row {
	r.t.Helper()
	all := map[string]row{}
	for s, span := range closes(r.symbols, r.o.ivs, from, to) {
		rows, err := r.judge.ours(s.symbol, s.iv, span.From, span.To)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, k := range rows {
			key := keyOf(s.symbol, s.iv, k.open)
			if _, twice := all[key]; twice {
				r.t.Errorf("%s is twice in one answer", key)
			}
			all[key] = k
		}
	}
	return all
}

// right holds all that closed within [from, to] against the truth, as REST answers now.
func (r *rig) right(what string, from, to market.Time) {
	r.t.Helper()
	v, err := r.judge.compare(r.symbols, r.o.ivs, from, to, false)
	must(r.t, what, v, err)
}

// healed waits until nothing is missing any more, and holds all that has closed since the first boundary, up to the end
// that it gives, against the truth: as REST answers, and, where there is one, as a client that takes revisions heard it
// last.
func (r *rig) healed(heard *audience) (end market.Time) {
	r.t.Helper()
	r.calm(3 * time.Minute)
	end = r.now() - 5*market.Second
	r.right("REST", r.first, end)
	if heard == nil {
		return end
	}
	heard.close()
	v, err := heard.newest(r.judge, r.symbols, r.o.ivs, r.first, end)
	must(r.t, "pushed last", v, err)
	return end
}

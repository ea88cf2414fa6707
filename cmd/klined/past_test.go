package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
	"klined/store"
)

// pastMarket is an exchange whose past is asked for, on loopback: it was the tenth of March at noon when it began.
type pastMarket struct {
	t     *testing.T
	x     *sim.Exchange
	judge *judge
	asked *atomic.Pointer[func()] // called with each question for a file, where it is set
	o     pastOptions
}

func newPastMarket(t *testing.T, args ...string) *pastMarket {
	t.Helper()
	x, err := sim.New(sim.Options{Symbols: 4, Rate: 20, Seed: 11, Start: at(t, "2027-03-10T12:00:00Z")})
	if err != nil {
		t.Fatal(err)
	}
	asked := new(atomic.Pointer[func()])
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := asked.Load(); f != nil && strings.HasSuffix(r.URL.Path, ".zip") {
			(*f)()
		}
		x.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m := &pastMarket{t: t, x: x, asked: asked, judge: newJudge("", server.URL, network{})}
	t.Cleanup(m.judge.client.CloseIdleConnections)
	m.with(append([]string{"--dir", t.TempDir(), "--rest", server.URL, "--rest-weight", "2400"}, args...)...)
	return m
}

// with reads flags as the command line does.
func (m *pastMarket) with(args ...string) {
	m.t.Helper()
	cmd := newBackfillCommand()
	var o pastOptions
	cmd.ResetFlags()
	o.bind(cmd.Flags(), "bring")
	if err := cmd.ParseFlags(args); err != nil {
		m.t.Fatal(err)
	}
	if err := o.parse(); err != nil {
		m.t.Fatal(err)
	}
	o.readAgain = time.Millisecond
	m.o = o
}

func (m *pastMarket) fault(f sim.Fault) {
	m.t.Helper()
	if _, err := m.x.Fault(f); err != nil {
		m.t.Fatal(err)
	}
}

// backfill is the command, and what it says on stdout.
func (m *pastMarket) backfill(ctx context.Context) (string, error) {
	var out strings.Builder
	err := backfill(ctx, &m.o, m.judge.exchange, network{}, &out, io.Discard)
	return out.String(), err
}

// complete holds all that was asked for against the truth, as the store has it now, and says how many klines that are.
func (m *pastMarket) complete() (klines int) {
	m.t.Helper()
	st, err := store.OpenReader(m.o.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	wrong := 0
	for _, sym := range st.Symbols() {
		for _, r := range m.ranges(sym.ID) {
			rows, missing, err := st.Read(m.t.Context(), r.Series, r.Span)
			if err != nil || len(missing) > 0 {
				m.t.Fatalf("%s %s: %v, missing %v", sym.Name, r.Interval, err, missing)
			}
			var truth []row
			for from := r.From; from < r.To; from = r.Interval.OpenAt(r.Interval.Ordinal(from) + 1500) {
				page, err := m.judge.truth(sym.Name, r.Interval, from, min(r.To, r.Interval.OpenAt(r.Interval.Ordinal(from)+1500)))
				if err != nil {
					m.t.Fatal(err)
				}
				truth = append(truth, page...)
			}
			if len(rows) != len(truth) {
				m.t.Errorf("%s %s: %d rows, the truth has %d", sym.Name, r.Interval, len(rows), len(truth))
			}
			for i := range min(len(rows), len(truth)) {
				if klines++; rowOf(&rows[i], sym) != truth[i] {
					if wrong++; wrong < 5 {
						m.t.Errorf("%s %s %s:\n  ours  %s\n  truth %s", sym.Name, r.Interval, truth[i].open, rowOf(&rows[i], sym).values(), truth[i].values())
					}
				}
			}
		}
	}
	return klines
}

func (m *pastMarket) ranges(id market.SymbolID) []market.Range {
	m.t.Helper()
	_, ranges, err := m.o.ranges([]market.SymbolID{id}, at(m.t, "2027-03-10T12:00:00Z"))
	if err != nil {
		m.t.Fatal(err)
	}
	return ranges
}

// TestBackfillMarket: whatever is wrong with the archive's files, what is in the store at the end is the truth.
func TestBackfillMarket(t *testing.T) {
	if raced {
		t.Skip("too much for the race detector: make test does both")
	}
	for _, how := range []string{"", "checksum", "holes", "order", "micros", "headerless", "missing", "broken"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := newPastMarket(t, "--symbols", "BTCUSDT", "--from", "2027-02-18", "--to", "2027-03-10T11:00:00Z", "--intervals", "1m,15m,1h,1d,1w,1M")
			if how != "" {
				m.fault(sim.Fault{Kind: sim.FaultArchiveWrong, How: how, Seconds: 1000})
			}
			out, err := m.backfill(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := m.complete(); !strings.HasPrefix(out, fmt.Sprintf("%d klines: ", n)) {
				t.Errorf("%d klines; %s", n, out)
			}
			none := strings.Contains(out, " 0 of the archive")
			if wants := how == "checksum" || how == "missing" || how == "broken"; none != wants {
				t.Error(out)
			}
			if out, err = m.backfill(t.Context()); err != nil || !strings.HasPrefix(out, "0 klines: ") {
				t.Errorf("again: %s, %v", out, err)
			}
		})
	}
}

// TestBackfillStopped: a backfill that is stopped goes on where it was.
func TestBackfillStopped(t *testing.T) {
	if raced {
		t.Skip("too much for the race detector: make test does both")
	}
	m := newPastMarket(t, "--from", "2027-03-01", "--to", "2027-03-09", "--intervals", "1m,1h")
	total := 4 * (8*1440 + 8*24)
	for stops := 0; ; stops++ {
		ctx, cancel := context.WithCancel(t.Context())
		var files atomic.Int64
		stop := func() {
			if files.Add(1) == 8 {
				cancel()
			}
		}
		m.asked.Store(&stop)
		out, err := m.backfill(ctx)
		cancel()
		switch {
		case stops > 100:
			t.Fatal("it does not get on")
		case err == nil && stops == 0:
			t.Error("it was not stopped")
			return
		case err == nil:
			t.Logf("stopped %d times; the last brought %s", stops, out)
			if n := m.complete(); n != total {
				t.Errorf("%d klines, want %d", n, total)
			}
			return
		case !strings.Contains(err.Error(), "stopped after") && !errors.Is(err, context.DeadlineExceeded):
			t.Fatal(err)
		}
	}
}

// TestBackfillRefuses: what the exchange gives and cannot be true is not taken, and named.
func TestBackfillRefuses(t *testing.T) {
	m := newPastMarket(t, "--symbols", "ETHUSDT", "--from", "2027-03-09T10:00:00Z", "--to", "2027-03-09T12:00:00Z", "--intervals", "1m")
	m.fault(sim.Fault{Kind: sim.FaultRESTWrong, How: "breaks", Seconds: 1000})
	_, err := m.backfill(t.Context())
	if err == nil || !strings.Contains(err.Error(), "klines could not be had") || !strings.Contains(err.Error(), "breaks its own rules") {
		t.Error(err)
	}
	m.fault(sim.Fault{Kind: sim.FaultClear})
	if _, err := m.backfill(t.Context()); err != nil {
		t.Error(err)
	}
	if n := m.complete(); n != 120 {
		t.Errorf("%d klines", n)
	}
}

// audited is the command audit, what it says on stdout, and as JSON.
func (m *pastMarket) audited(repair bool) (text string, report auditReport, err error) {
	m.t.Helper()
	var out, js strings.Builder
	o := auditOptions{pastOptions: m.o, repair: repair}
	err = audit(m.t.Context(), &o, network{}, &out, io.Discard)
	o.asJSON, o.repair = true, false
	_ = audit(m.t.Context(), &o, network{}, &js, io.Discard)
	if err := json.Unmarshal([]byte(js.String()), &report); err != nil {
		m.t.Fatal(err)
	}
	return out.String(), report, err
}

// TestAudit: what was changed in the store is found, value by value; repaired, it is fetched again by the next backfill. A
// symbol that has left the exchange's list is named, and is no failure.
func TestAudit(t *testing.T) {
	m := newPastMarket(t, "--from", "2027-03-08", "--to", "2027-03-09", "--intervals", "1m,1h,1d")
	if _, err := m.backfill(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, report, err := m.audited(false)
	if err != nil || len(report.Differences) > 0 || report.Intervals[0].Compared != 4*1440 || report.Intervals[0].Equal != 4*1440 {
		t.Errorf("%v\n%s\n%+v", err, text, report)
	}
	noon := at(t, "2027-03-08T12:00:00Z")
	m.spoil("UPDATE kline_1m SET volume = volume + 7, close = close + 1 WHERE symbol = 1 AND open_time = ?", noon)
	m.spoil("UPDATE kline_1h SET trade_count = trade_count + 1 WHERE symbol IN (0, 2) AND open_time = ?", noon)
	m.spoil("DELETE FROM kline_1m WHERE symbol = 0 AND open_time = ?", noon+5*market.Minute)
	text, report, err = m.audited(true)
	if want := "4 of 5860 klines differ from the exchange's"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	for _, want := range []string{
		"BTCUSDT 1m 2027-03-08T12:05:00.000Z: absent\n", "ETHUSDT 1m 2027-03-08T12:00:00.000Z: close ", "BTCUSDT 1h 2027-03-08T12:00:00.000Z: count ",
		"4 klines are to be fetched again\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	minutes, hours := report.Intervals[0], report.Intervals[1]
	if minutes.Compared != 4*1440-1 || minutes.Equal != 4*1440-2 || minutes.Absent != 1 || minutes.Differ["volume"] != 1 || minutes.Differ["close"] != 1 || minutes.Differ["open"] != 0 ||
		hours.Differ["count"] != 2 || len(report.Differences) != 4 || report.Differences[1].Values["close"].Stored == report.Differences[1].Values["close"].Official {
		t.Errorf("%+v", report)
	}
	out, err := m.backfill(t.Context())
	if err != nil || !strings.HasPrefix(out, "4 klines: ") {
		t.Errorf("%v: %s", err, out)
	}
	if text, _, err = m.audited(false); err != nil {
		t.Errorf("after the repair: %v\n%s", err, text)
	}
	m.complete()
	m.fault(sim.Fault{Kind: sim.FaultDelist, Symbol: "ETHUSDT", Gone: true})
	m.fault(sim.Fault{Kind: sim.FaultClockSkew, MS: 60_000}) // until its list says so
	text, report, err = m.audited(false)
	if minutes := report.Intervals[0]; err != nil || !strings.Contains(text, "does not list them any more: ETHUSDT\n") || minutes.Equal != 3*1440 || minutes.Unlisted != 1440 {
		t.Errorf("after a symbol has left the exchange: %v\n%s", err, text)
	}
}

// spoil changes the store behind its back.
func (m *pastMarket) spoil(query string, args ...any) {
	m.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(m.o.dir, "klines.sqlite"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer db.Close()
	result, err := db.Exec(query, args...)
	if err != nil {
		m.t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		m.t.Fatal(n, err)
	}
}

// TestPastRefused: a command that looks at the past waits, as serve does, while the exchange takes no requests.
func TestPastRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, err := sim.New(sim.Options{Symbols: 2, Rate: 1, Seed: 5, Start: at(t, "2027-01-05T09:58:20Z")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Fault(sim.Fault{Kind: sim.FaultREST429, Seconds: 30}); err != nil {
			t.Fatal(err)
		}
		net := newMemnet()
		l, err := net.Listen("tcp", "exchange:80")
		if err != nil {
			t.Fatal(err)
		}
		stop := background(func(ctx context.Context) error { return simulate(ctx, x, l) })
		began := time.Now()
		var stderr strings.Builder
		p, err := openPast(t.Context(), &pastOptions{rest: "http://exchange", restWeight: 2400}, network{Dial: net.Dial}, &stderr)
		if err != nil {
			t.Fatal(err)
		}
		p.stop()
		if took := time.Since(began); took < 30*time.Second || !strings.Contains(stderr.String(), "waiting for the exchange to take requests again") {
			t.Errorf("after %s: %s", took, &stderr)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestPastTimes: what is not asked for is the last 30 days, or those before --to; what is asked for is taken at its word.
func TestPastTimes(t *testing.T) {
	now := at(t, "2027-03-10T12:00:30Z")
	for _, c := range []struct{ from, to, want string }{
		{"", "", "2027-02-08T12:00:30.000Z 2027-03-10T12:00:30.000Z <nil>"},
		{"2027-03-01", "", "2027-03-01T00:00:00.000Z 2027-03-10T12:00:30.000Z <nil>"},
		{"", "2027-03-01", "2027-01-30T00:00:00.000Z 2027-03-01T00:00:00.000Z <nil>"},
		{"1970-01-01", "", "1970-01-01T00:00:00.000Z 2027-03-10T12:00:30.000Z <nil>"},
		{"1960-01-01", "", "1970-01-01T00:00:00.000Z 2027-03-10T12:00:30.000Z <nil>"},
		{"", "1970-01-02", "1970-01-01T00:00:00.000Z 1970-01-02T00:00:00.000Z <nil>"},
		{"", "2030-01-01", "2027-02-08T12:00:30.000Z 2027-03-10T12:00:30.000Z <nil>"},
		{"2027-03-10", "2030-01-01", "2027-03-10T00:00:00.000Z 2027-03-10T12:00:30.000Z <nil>"},
		{"", "0", "--to 0: want a time after 1970-01-01"},
		{"1950-01-01", "1960-01-01", "--to 1960-01-01: want a time after 1970-01-01"},
		{"2027-03-11", "", "--from 2027-03-11T00:00:00.000Z: it is 2027-03-10T12:00:30.000Z at the exchange"},
		{"0", "0", "--from 0 is not before --to 0"},
		{"2027-03-02", "2027-03-01", "--from 2027-03-02 is not before --to 2027-03-01"},
	} {
		o := pastOptions{restWeight: 1200, rest: "http://exchange"}
		o.texts.symbols, o.texts.intervals, o.texts.from, o.texts.to = "all", "1m", c.from, c.to
		var asked market.Span
		err := o.parse()
		if err == nil {
			asked, _, err = o.ranges(nil, now)
		}
		got := fmt.Sprint(asked.From, " ", asked.To, " ", err)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("--from %s --to %s: %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

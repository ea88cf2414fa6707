package main

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"klined/market"
	"klined/sim"
)

// shownElsewhere are the metrics, and values of labels, that the market of this test does not bring: what it takes is no fault
// of an exchange, or takes too long. Each has a test that does.
var shownElsewhere = map[string]struct{ file, test, says string }{
	"klined_tape_left_out_total":              {"record_test.go", "TestRecordCounts", "TapeLeftOut"},
	"klined_burnt_ids_total":                  {"../../feed/burnt_test.go", "TestBurntIDs", "BurntIDs"},
	"klined_unknown_symbol_total":             {"../../binance/decode_test.go", "TestDecodeUnknownSymbol", "UnknownSymbols"},
	"klined_ws_slow_clients_total":            {"../../serve/push_test.go", "TestSlowClients", "WSSlowClients"},
	"klined_unauthorized_total":               {"../../serve/token_test.go", "TestToken", "klined_unauthorized_total"},
	"klined_ws_refused_total":                 {"../../serve/bounds_test.go", "TestTooManyClients", "klined_ws_refused_total"},
	"klined_store_dropped_rows_total":         {"../../store/lost_test.go", "TestFullOutbox", "DroppedRows"},
	`klined_close_waits_total{result="late"}`: {"../../feed/tail_test.go", "TestTailAfterStandstill", "klined_close_waits_total"},
	`klined_settle_share{when="checked"}`:     {"../../feed/tally_test.go", "TestSettleShares", "checked hour"},
}

// TestMetrics: METRICS.md lists what a server publishes, with the labels and values that there are, and everything in it
// moves: in a market where what can go wrong goes wrong, or where shownElsewhere says.
func TestMetrics(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	listed := listedMetrics(t)
	seen := troubledMarket(t)
	for name, m := range seen {
		want, known := listed[name]
		switch {
		case !known:
			t.Errorf("%s is not in METRICS.md", name)
			continue
		case m.kind != want.kind:
			t.Errorf("%s is a %s, METRICS.md says %s", name, m.kind, want.kind)
		case !strings.HasSuffix(m.help, "."):
			t.Errorf("%s: help %q is no sentence", name, m.help)
		}
		if got := slices.Sorted(maps.Keys(m.labels)); !slices.Equal(got, slices.Sorted(maps.Keys(want.labels))) {
			t.Errorf("%s has labels %v, METRICS.md says %v", name, got, slices.Sorted(maps.Keys(want.labels)))
		}
		for label, values := range want.labels {
			for _, value := range values {
				if series := fmt.Sprintf("%s{%s=%q}", name, label, value); !m.labels[label][value] {
					mustBeElsewhere(t, series)
				}
			}
			for value := range m.labels[label] {
				if values != nil && !slices.Contains(values, value) {
					t.Errorf("%s: METRICS.md lacks the value %q of label %s", name, value, label)
				}
			}
		}
		if !m.moved {
			mustBeElsewhere(t, name)
		} else if _, ok := shownElsewhere[name]; ok {
			t.Errorf("%s moves here too", name)
		}
	}
	for name := range listed {
		if _, published := seen[name]; !published {
			t.Errorf("%s is in METRICS.md, and nothing publishes it", name)
		}
	}
}

// mustBeElsewhere fails the test where what the market does not bring has no test that does.
func mustBeElsewhere(t *testing.T, what string) {
	t.Helper()
	shown, ok := shownElsewhere[what]
	if !ok {
		t.Errorf("%s did not move", what)
	} else if text := readFile(t, shown.file); !strings.Contains(text, "func "+shown.test+"(") || !strings.Contains(text, shown.says) {
		t.Errorf("%s: %s has no %s that looks at %s", what, shown.file, shown.test, shown.says)
	}
}

// metricRow is one metric of METRICS.md. A label without a list of values has nil.
type metricRow struct {
	kind   string
	labels map[string][]string
}

var (
	rowShape   = regexp.MustCompile("(?m)^\\| `(klined_\\w+)` \\| (\\w+) \\|([^|]*)\\| [^|]+ \\|[^|]*\\|$")
	labelShape = regexp.MustCompile("^`(\\w+)`(: ([\\w, ]+))?$")
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// listedMetrics reads METRICS.md's table.
func listedMetrics(t *testing.T) map[string]metricRow {
	t.Helper()
	text := readFile(t, "../../METRICS.md")
	all := make(map[string]metricRow)
	for _, row := range rowShape.FindAllStringSubmatch(text, -1) {
		m := metricRow{row[2], make(map[string][]string)}
		for label := range strings.SplitSeq(row[3], ";") {
			if label = strings.TrimSpace(label); label == "" {
				continue
			}
			parts := labelShape.FindStringSubmatch(label)
			if parts == nil {
				t.Fatalf("METRICS.md: %s: label %q", row[1], label)
			}
			m.labels[parts[1]] = nil
			if parts[3] != "" {
				m.labels[parts[1]] = strings.Split(parts[3], ", ")
			}
		}
		if _, twice := all[row[1]]; twice {
			t.Errorf("METRICS.md has %s twice", row[1])
		}
		all[row[1]] = m
	}
	if rows := strings.Count(text, "\n| `klined_"); rows != len(all) || rows == 0 {
		t.Fatalf("METRICS.md: %d rows, %d of them are read", rows, len(all))
	}
	return all
}

// seenMetric is a metric as a server published it over some time.
type seenMetric struct {
	kind, help string
	labels     map[string]map[string]bool // names and values
	first      map[string]float64         // by labels, when they were first seen
	moved      bool
}

// troubledMarket lets a market run in which what can go wrong goes wrong, and collects what its server publishes. What is
// above 0 when it is first seen has moved before.
func troubledMarket(t *testing.T) map[string]*seenMetric {
	seen := make(map[string]*seenMetric)
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T09:58:40Z")
		o := options(t, market.SourceAggTrade, append([]market.Interval{market.Interval(5 * market.Second)}, market.ExchangeIntervals()...)...)
		o.Settle, o.Forward, o.Record = true, forwardPublic, t.TempDir()
		m := startMarket(t, sim.Options{Symbols: 6, Rate: 120, Seed: 3, Start: start, Straddle: sim.DefaultStraddle, Burn: sim.DefaultBurn, Latency: 80 * time.Millisecond}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		heard, err := m.judge.listen(t.Context(), symbols, m.options.Intervals, m.x.Now, "")
		if err != nil {
			t.Fatal(err)
		}
		defer heard.close()
		first := market.OneMinute.Ceil(start + market.Second)
		for _, step := range []struct {
			after time.Duration // since the first boundary
			do    func()
		}{
			{10 * time.Second, func() { m.fault(sim.Fault{Kind: sim.FaultGarbage, N: 100}) }},
			{20 * time.Second, func() { // trades are missing, and what could heal them is wrong
				m.fault(sim.Fault{Kind: sim.FaultREST500, Seconds: 90, Path: "aggTrades"})
				m.fault(sim.Fault{Kind: sim.FaultRESTWrong, Seconds: 90, How: "breaks"})
				m.fault(sim.Fault{Kind: sim.FaultSilence, Seconds: 90, Stream: "@kline"})
				m.fault(sim.Fault{Kind: sim.FaultDrop, Percent: 40, Seconds: 5, Stream: "@aggTrade"})
			}},
			{80 * time.Second, func() {
				m.net.refuse(5 * time.Second)
				m.fault(sim.Fault{Kind: sim.FaultDisconnect})
			}},
			{130 * time.Second, func() { m.fault(sim.Fault{Kind: sim.FaultClockSkew, MS: 700}) }},
			{140 * time.Second, func() {
				m.request(t, m.judge.server, "GET", "/fapi/v1/depth?symbol=BTCUSDT", "", "")
				m.request(t, m.judge.server, "GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m", "", "")
				m.request(t, m.judge.server, "GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=0", "", "")
				m.until(market.Interval(5*market.Second).Ceil(m.x.Now()) + 10)
				m.request(t, m.judge.server, "GET", "/fapi/v1/klines?symbol=BTCUSDT&interval=5s", "", "")
			}},
			{190 * time.Second, func() {}},
		} {
			for m.x.Now() < first.Add(step.after) {
				m.collect(seen)
				time.Sleep(time.Second)
			}
			step.do()
		}
		m.collect(seen)
	})
	return seen
}

// collect takes in what the server publishes now.
func (m *fakeMarket) collect(seen map[string]*seenMetric) {
	m.t.Helper()
	text, err := m.judge.get(m.judge.server, "/metrics", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		m.t.Fatal(err)
	}
	for name, f := range families {
		if !strings.HasPrefix(name, "klined_") {
			continue
		}
		s := seen[name]
		if s == nil {
			s = &seenMetric{kind: strings.ToLower(f.GetType().String()), help: f.GetHelp(), labels: make(map[string]map[string]bool), first: make(map[string]float64)}
			seen[name] = s
		}
		for _, one := range f.Metric {
			s.take(one)
		}
	}
}

func (s *seenMetric) take(one *dto.Metric) {
	for _, l := range one.Label {
		if s.labels[l.GetName()] == nil {
			s.labels[l.GetName()] = make(map[string]bool)
		}
		s.labels[l.GetName()][l.GetValue()] = true
	}
	key, value := fmt.Sprint(one.Label), one.GetCounter().GetValue()+one.GetGauge().GetValue()+float64(one.GetHistogram().GetSampleCount())
	first, known := s.first[key]
	if !known {
		s.first[key] = value
	}
	s.moved = s.moved || value > 0 || known && value != first
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/health"
	"klined/market"
	"klined/sim"
)

// TestTapes: what a server records gives the exchange's own klines when it is replayed, in whatever order its tapes are
// read: each trade came over two connections, of which some ended. A server on an exchange that plays the tapes builds them again.
func TestTapes(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		t.Run(source.String(), func(t *testing.T) {
			tapes, truth := recordMarket(t, source)
			files, err := filepath.Glob(filepath.Join(tapes, "*.tape.zst"))
			if err != nil || len(files) != 2 {
				t.Fatalf("tapes %v, %v", files, err)
			}
			out := ""
			for range 2 {
				out = t.TempDir()
				got := runReplay(t, t.TempDir(), append(slices.Clone(files), "--out", out)...)
				if got.err != "" || strings.Contains(got.stderr, "missing") && source == market.SourceAggTrade {
					t.Errorf("%+v", got)
				}
				for symbol, rows := range truth {
					text, err := os.ReadFile(filepath.Join(out, symbol+"-1m.csv"))
					if err != nil {
						t.Fatal(err)
					}
					for _, row := range rows {
						if !bytes.Contains(text, []byte("\n"+row+"\n")) {
							t.Errorf("%s: replay lacks\n%s, it has\n%s", symbol, row, text)
						}
					}
				}
				slices.Reverse(files)
			}
			serveTape(t, source, files, out)
		})
	}
}

// recordMarket runs a server that records, over the turn of an hour and some trouble. It gives the folder of its tapes, and of each
// symbol the exchange's own minutes that have trades, as rows of CSV: those that the tapes hold whole.
func recordMarket(t *testing.T, source market.Source) (tapes string, truth map[string][]string) {
	tapes, truth = filepath.Join(t.TempDir(), "tapes"), make(map[string][]string)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(58*time.Minute + 40*time.Second) // so that this machine's hour turns, too
		start := at(t, "2027-01-05T09:58:40Z")
		o := options(t, source, market.OneMinute)
		o.Record, o.RecordSize = tapes, leastRecord
		m := startMarket(t, sim.Options{Symbols: 4, Rate: 80, Seed: 3, Start: start}, o)
		first := market.OneMinute.Ceil(start + market.Second)
		m.until(first.Add(30 * time.Second))
		m.fault(sim.Fault{Kind: sim.FaultDisconnect, Conn: m.oldestConns()[0]})
		m.until(first.Add(3*time.Minute + 2*time.Second))
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, symbol := range symbols {
			text, err := m.x.Truth(symbol, "1m", first, first.Add(3*time.Minute)-1)
			if err != nil {
				t.Fatal(err)
			}
			truth[symbol] = traded(t, text)
		}
		m.end()
	})
	return tapes, truth
}

// traded are the rows with trades of an answer of klines, as CSV.
func traded(t *testing.T, text []byte) (csv []string) {
	t.Helper()
	var rows [][]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if fmt.Sprint(row[8]) != "0" {
			csv = append(csv, strings.ReplaceAll(strings.Trim(fmt.Sprint(row), "[]"), " ", ","))
		}
	}
	if len(csv) == 0 {
		t.Fatalf("no trades in %s", text)
	}
	return csv
}

// TestRecordCounts: what is written and what is left out are counted, and replay says the latter.
func TestRecordCounts(t *testing.T) {
	dir := t.TempDir()
	s := &server{o: serveOptions{Record: dir, RecordSize: leastRecord}, metrics: health.NewMetrics(),
		dog: health.NewWatchdog(slog.New(slog.DiscardHandler)), log: slog.New(slog.DiscardHandler)}
	if err := s.openTape(); err != nil {
		t.Fatal(err)
	}
	record := s.record()
	record("c", time.UnixMilli(60000), []byte(strings.TrimSpace(aggFrame("BTCUSDT", 1, "10.50", "2", 60000, false))))
	record("c", time.UnixMilli(60000), make([]byte, 20<<20))
	if err := s.closeTape(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	info, err := os.Stat(files[0])
	if got := testutil.ToFloat64(s.metrics.TapeBytes); err != nil || got != float64(info.Size()) || got == 0 {
		t.Errorf("%v bytes counted; %v", got, err)
	}
	if got := testutil.ToFloat64(s.metrics.TapeLeftOut); got != 1 {
		t.Errorf("%v frames counted as left out", got)
	}
	got := runReplay(t, dir, files[0])
	if want := files[0] + ": 1 frame left out when it was recorded\n"; got.stderr != want || strings.Count(got.stdout, "\n") != 2 {
		t.Errorf("%+v", got)
	}
}

func TestRecordSize(t *testing.T) {
	for text, want := range map[string]int64{"64MiB": 64 << 20, "10GiB": 10 << 30, "1GB": 1e9, "63MiB": 0, "0": 0, "much": 0, "": 0} {
		got, err := parseSize("record-size", text, leastRecord, false)
		if got != want || (err == nil) == (want == 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klined/binance"
	"klined/engine"
	"klined/fixed"
	"klined/market"
	"klined/tape"
)

// realData is a file of the exchange's real data; without it the test is skipped.
func realData(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../../shared/data/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("no real data: ", err)
	}
	return path
}

// realPairs are trades and the exchange's own klines of the minutes around them.
var realPairs = []struct {
	trades, klines string
	minutes        int // fully covered
	stderr         string
}{
	{"pairs/BTCUSDT-trades-2020-12-09T00.csv.gz", "pairs/BTCUSDT-1m-2020-12-09T00.csv", 60, "BTCUSDT: 1 id missing or burnt: 307088663\n"},
	{"pairs/BTCUSDT-trade-frames-2024-07-18T2357.jsonl.gz", "pairs/BTCUSDT-1m-2024-07-18T2356.csv", 7, ""},
	{"pairs/ETHUSDT-trade-frames-2024-07-18T2357.jsonl.gz", "pairs/ETHUSDT-1m-2024-07-18T2356.csv", 7, ""},
}

// replayRows is the rows that klined replay prints of a file, without the header.
func replayRows(t *testing.T, file string, args ...string) ([]string, replayed) {
	t.Helper()
	got := runReplay(t, t.TempDir(), append(args, file)...)
	if got.err != "" {
		t.Fatal(got.err)
	}
	return strings.Split(strings.TrimSuffix(strings.TrimPrefix(got.stdout, klineHeader), "\n"), "\n"), got
}

// TestReplayEqualsOfficial: in every minute that the trades cover whole, the row is the exchange's own, byte for byte.
// The first and the last minute of a file of frames are cut, and stand in the official file beside whole ones.
func TestReplayEqualsOfficial(t *testing.T) {
	for _, pair := range realPairs {
		t.Run(filepath.Base(pair.trades), func(t *testing.T) {
			official, err := os.ReadFile(realData(t, pair.klines))
			if err != nil {
				t.Fatal(err)
			}
			rows, got := replayRows(t, realData(t, pair.trades))
			if got.stderr != pair.stderr {
				t.Errorf("stderr %q, want %q", got.stderr, pair.stderr)
			}
			whole := rows
			if len(rows) != pair.minutes {
				whole = rows[1 : len(rows)-1]
			}
			if len(whole) != pair.minutes {
				t.Fatalf("%d rows, want %d whole minutes", len(rows), pair.minutes)
			}
			if want := strings.Join(whole, "\n") + "\n"; !bytes.Contains(official, []byte(want)) {
				t.Errorf("not the exchange's own:\n%s", want)
			}
		})
	}
}

// TestReplayLongerIntervals: every longer kline is the fold of the minutes, whether the trades are summed to minutes
// first, for there are several intervals, or to the longer klines at once.
func TestReplayLongerIntervals(t *testing.T) {
	var names []string
	for _, iv := range append(market.ExchangeIntervals(), 2*market.OneMinute, 10*market.OneMinute, 3*market.OneHour) {
		names = append(names, iv.String())
	}
	for _, pair := range realPairs {
		t.Run(filepath.Base(pair.trades), func(t *testing.T) {
			file := realData(t, pair.trades)
			minutes, _ := replayRows(t, file)
			out := t.TempDir()
			if got := runReplay(t, out, "--out", out, "--interval", strings.Join(names, ","), file); got.err != "" {
				t.Fatal(got.err)
			}
			for _, name := range names {
				text, err := os.ReadFile(filepath.Join(out, filepath.Base(file)[:len("BTCUSDT")]+"-"+strings.Replace(name, "M", "mo", 1)+".csv"))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(klineHeader+strings.Join(foldRows(t, minutes, name), "\n")+"\n", string(text)); d != "" {
					t.Errorf("%s (-fold of the minutes +replay):\n%s", name, d)
				}
			}
			for _, name := range []string{"15m", "1M"} {
				rows, _ := replayRows(t, file, "--interval", name)
				if d := cmp.Diff(foldRows(t, minutes, name), rows); d != "" {
					t.Errorf("%s alone (-fold of the minutes +replay):\n%s", name, d)
				}
			}
		})
	}
}

// foldRows folds rows of minutes into rows of a longer interval by their columns, the plain way.
func foldRows(t *testing.T, minutes []string, interval string) []string {
	t.Helper()
	iv, err := market.ParseInterval(interval)
	if err != nil {
		t.Fatal(err)
	}
	var folded [][]string
	for _, minute := range minutes {
		cells := strings.Split(minute, ",")
		at, err := strconv.ParseInt(cells[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		open := iv.Open(market.Time(at))
		cells[0], cells[6] = strconv.FormatInt(int64(open), 10), strconv.FormatInt(int64(iv.Next(open)-1), 10)
		if len(folded) == 0 || folded[len(folded)-1][0] != cells[0] {
			folded = append(folded, cells)
			continue
		}
		k := folded[len(folded)-1]
		if fixed.MustParse(cells[2]) > fixed.MustParse(k[2]) {
			k[2] = cells[2]
		}
		if fixed.MustParse(cells[3]) < fixed.MustParse(k[3]) {
			k[3] = cells[3]
		}
		k[4] = cells[4]
		for _, i := range []int{5, 7, 8, 9, 10} {
			k[i] = addCells(t, k[i], cells[i])
		}
	}
	rows := make([]string, len(folded))
	for i, cells := range folded {
		rows[i] = strings.Join(cells, ",")
	}
	return rows
}

// addCells adds two numbers that have the same number of decimals.
func addCells(t *testing.T, a, b string) string {
	t.Helper()
	x, err := fixed.ParseSum(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := fixed.ParseSum(b)
	if err != nil {
		t.Fatal(err)
	}
	digits := 0
	if point := strings.IndexByte(a, '.'); point >= 0 {
		digits = len(a) - point - 1
	}
	return string(x.Add(y).Append(nil, digits))
}

// TestReplayEqualsEngine: an engine that takes the same trades one by one, in order, closes the same klines.
func TestReplayEqualsEngine(t *testing.T) {
	intervals := []market.Interval{15 * market.Interval(market.Second), market.OneMinute, 5 * market.OneMinute, market.OneHour}
	for _, pair := range realPairs {
		t.Run(filepath.Base(pair.trades), func(t *testing.T) {
			in := newReplayInput(replayOptions{intervals: intervals}, &bytes.Buffer{})
			e, err := engine.New(intervals)
			if err != nil {
				t.Fatal(err)
			}
			slot := e.Add(0)
			trades := realTrades(t, realData(t, pair.trades))
			e.First(slot, e.Base().Open(trades[0].Time))
			e.Begin(slot, market.OneMinute.Open(trades[0].Time))
			for i := range trades {
				e.Apply(slot, &trades[i])
			}
			if err := in.readFile(t.Context(), realData(t, pair.trades)); err != nil {
				t.Fatal(err)
			}
			last := trades[len(trades)-1].Time
			for at := last; at < market.OneHour.Next(last); {
				at = e.Base().Next(at)
				e.Tick(at)
			}
			closed := map[market.Interval][]market.Kline{}
			for _, u := range e.Drain(nil) {
				if u.TradeCount > 0 {
					u.State = market.StateOpen
					closed[u.Interval] = append(closed[u.Interval], u.Kline)
				}
			}
			for _, iv := range intervals {
				if d := cmp.Diff(closed[iv], in.chosen()[0].fold(iv)); d != "" {
					t.Errorf("%s (-engine +replay):\n%s", iv, d)
				}
			}
		})
	}
}

// realTrades reads the trades of a file, which stand in order.
func realTrades(t *testing.T, name string) (trades []market.Trade) {
	t.Helper()
	f, err := openInput(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines, err := tape.NewLines(name, f)
	if err != nil {
		t.Fatal(err)
	}
	first, err := lines.Next()
	if err != nil {
		t.Fatal(err)
	}
	archive, _ := binance.SniffArchive(first)
	var symbols market.Symbols
	decoder := binance.NewDecoder(&symbols, market.SourceTrade, nil, nil)
	decoder.OnUnknown = func(name []byte) { symbols.Put(market.Symbol{Name: string(name)}) }
	var batch market.Batch
	if archive == nil {
		lines.Back()
		for r := tape.NewReader(lines); err == nil; {
			var frame tape.Frame
			if frame, err = r.Next(); err == nil {
				_, err = decoder.Frame(frame.Data, &batch)
			}
		}
	}
	for err == nil {
		var line []byte
		if line, err = lines.Next(); err == nil {
			var tr market.Trade
			err = archive.Row(line, &tr)
			batch.Trades = append(batch.Trades, tr)
		}
	}
	if err != io.EOF || len(batch.Trades) == 0 {
		t.Fatal(err)
	}
	return batch.Trades
}

// TestReplayMixedCapture: out of one connection's mixed frames come the 91 aggTrades, by symbol.
func TestReplayMixedCapture(t *testing.T) {
	file := realData(t, "frames/um-aggTrade+kline-2021-07-22.txt")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in := newReplayInput(replayOptions{intervals: []market.Interval{market.OneMinute}}, &bytes.Buffer{})
	if err := in.readFile(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, b := range in.chosen() {
		sum += b.trades
		name := `"stream":"` + strings.ToLower(b.symbol) + `@aggTrade"`
		if want := bytes.Count(text, []byte(name)); b.trades != int64(want) {
			t.Errorf("%s: %d trades, want %d", b.symbol, b.trades, want)
		}
		if missing := b.seen.missing(); missing != nil || b.duplicates > 0 {
			t.Errorf("%s: %d duplicates, missing %v", b.symbol, b.duplicates, missing)
		}
	}
	if sum != 91 {
		t.Errorf("%d aggTrades, want 91", sum)
	}
}

// TestReplayArchiveToday: today's archive strips zeros of trades; the digits of exchangeInfo bring them back.
func TestReplayArchiveToday(t *testing.T) {
	rows, _ := replayRows(t, realData(t, "pairs/BTCUSDT-aggTrades-2026-09-15.first-rows.csv"),
		"--exchange-info", realData(t, "rest/prod-2026-09/fapi_v1_exchangeInfo.symbols.BTCUSDT.json"))
	want := []string{"1789430400000,78153.00,78153.00,78152.30,78152.30,0.159,1789430459999,12426.30810,15,0.001,78.15300,0"}
	if d := cmp.Diff(want, rows); d != "" {
		t.Error(d)
	}
}

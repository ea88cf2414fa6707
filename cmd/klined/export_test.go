package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klined/fixed"
	"klined/market"
	"klined/store"
)

// exportBegin is when the klines of these tests begin.
const exportBegin = "2026-09-01T11:30:00Z"

// exported is the klines of a test's store by series, as they were put.
type exported map[market.Series][]market.Kline

// exportStore is a store with three symbols: each has minutes minutes, all complete, and their hours, which nothing
// vouches for. Among the first symbol's are klines of the extremes of what can be kept.
func exportStore(t *testing.T, minutes int) (dir string, all exported) {
	t.Helper()
	dir, all = filepath.Join(t.TempDir(), "store"), make(exported)
	s, err := store.Open(store.Options{Dir: dir, Intervals: []market.Interval{market.OneMinute, market.OneHour, market.OneMonth}})
	if err != nil {
		t.Fatal(err)
	}
	symbols := []market.Symbol{exportSymbol(0), exportSymbol(1), {ID: 2, Name: "BTCUSDT", PriceDigits: 8, QtyDigits: 8}}
	if err := s.SaveSymbols(symbols); err != nil {
		t.Fatal(err)
	}
	from := at(t, exportBegin)
	for _, sym := range symbols {
		klines := randomMinutes(rand.New(rand.NewPCG(7, uint64(sym.ID))), sym, from, minutes)
		hours := market.FoldAll(market.OneHour, klines)
		if sym.ID == 0 {
			mostKept(klines)
		}
		series := market.Series{Symbol: sym.ID, Interval: market.OneMinute}
		all[series] = klines
		s.Fetched(series, market.Span{From: from, To: from + market.Time(minutes)*market.Minute}, klines)
		hour := market.Series{Symbol: sym.ID, Interval: market.OneHour}
		var changes market.Changes
		for _, k := range hours {
			k.State = market.StateClosed
			all[hour] = append(all[hour], k)
			changes.Updates = append(changes.Updates, market.Update{Series: hour, Kline: k})
		}
		s.Put(&changes)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, all
}

// mostKept makes the first klines those of a symbol without decimals and of the most that the store can keep.
func mostKept(klines []market.Kline) {
	price := fixed.MustParse("9999999999")
	most, _ := fixed.SumOf(1<<63-1, 3)
	klines[1].Open, klines[1].High, klines[1].Low, klines[1].Close = price, price, 0, price
	klines[1].Volume, klines[1].QuoteVolume, klines[1].TakerBuyVolume, klines[1].TakerBuyQuoteVolume = most, most, most, fixed.Sum{}
	klines[1].TradeCount, klines[1].FirstID, klines[1].LastID = 1<<63-1, 0, 1<<63-1
	klines[2].State, klines[2].Gap, klines[2].Revision = market.StateClosed, true, 1<<31-1
}

// runExport runs klined export with these arguments.
func runExport(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, failed bytes.Buffer
	status = run(t.Context(), append([]string{"export"}, args...), nil, &out, &failed)
	return status, out.String(), failed.String()
}

// mustExport is what klined export prints; stderr must be want.
func mustExport(t *testing.T, want string, args ...string) string {
	t.Helper()
	status, stdout, stderr := runExport(t, args...)
	if status != exitDone || stderr != want {
		t.Fatalf("export %s: status %d, stderr %q, want %q", strings.Join(args, " "), status, stderr, want)
	}
	return stdout
}

// texts is what is written of klines as text: the CSV's columns.
func texts(sym market.Symbol, iv market.Interval, klines []market.Kline) (rows [][]string) {
	for _, k := range klines {
		price := func(v fixed.Value) string { return string(v.Append(nil, sym.PriceDigits)) }
		sum := func(s fixed.Sum, digits int) string { return string(s.Append(nil, digits)) }
		rows = append(rows, []string{
			fmt.Sprint(int64(k.OpenTime)), price(k.Open), price(k.High), price(k.Low), price(k.Close), sum(k.Volume, sym.QtyDigits),
			fmt.Sprint(int64(iv.Next(k.OpenTime) - 1)), sum(k.QuoteVolume, sym.PriceDigits+sym.QtyDigits), fmt.Sprint(k.TradeCount),
			sum(k.TakerBuyVolume, sym.QtyDigits), sum(k.TakerBuyQuoteVolume, sym.PriceDigits+sym.QtyDigits), "0",
		})
	}
	return rows
}

// checkCSV compares a CSV with klines.
func checkCSV(t *testing.T, text string, sym market.Symbol, iv market.Interval, klines []market.Kline) {
	t.Helper()
	got, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := append([][]string{strings.Split(strings.TrimSpace(klineHeader), ",")}, texts(sym, iv, klines)...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s %s (-put +exported):\n%s", sym.Name, iv, diff)
	}
}

func TestExportCSV(t *testing.T) {
	dir, all := exportStore(t, 200)
	minutes := all[market.Series{Symbol: 1, Interval: market.OneMinute}]
	first := at(t, exportBegin)
	one := []string{"--dir", dir, "--symbols", exportSymbol(1).Name}
	for _, c := range []struct {
		args string
		want []market.Kline
	}{
		{"", minutes},
		{"--from 2026-09-01T12:00:00Z", minutes[30:]},
		{"--to 2026-09-01T14:00:00+02:00", minutes[:30]},
		{"--from 2026-09-01T12:00:00.001Z --to 2026-09-01T12:03:00.001Z", minutes[31:34]},
		{fmt.Sprintf("--from %d --to %d", first+market.Minute, first+3*market.Minute), minutes[1:3]},
		{"--from 2026-09-01", minutes},
		{"--to 2026-09-01", nil},
	} {
		var stderr string
		switch c.args {
		case "--from 2026-09-01":
			stderr = exportSymbol(1).Name + " 1m: 690 klines are missing or may lack trades, first those from 2026-09-01T00:00:00.000Z to 2026-09-01T11:30:00.000Z\n"
		case "--to 2026-09-01":
			stderr = exportSymbol(1).Name + " 1m: no klines are stored\n"
		}
		checkCSV(t, mustExport(t, stderr, append(one, strings.Fields(c.args)...)...), exportSymbol(1), market.OneMinute, c.want)
	}
}

// TestExportJSONL: several series in one stream, in the store's order.
func TestExportJSONL(t *testing.T) {
	dir, all := exportStore(t, 100)
	_, stdout, _ := runExport(t, "--dir", dir, "--format", "jsonl", "--intervals", "1h,1m", "--symbols", "btcusdt, "+exportSymbol(1).Name)
	btc := market.Symbol{ID: 2, Name: "BTCUSDT", PriceDigits: 8, QtyDigits: 8}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	for _, sym := range []market.Symbol{exportSymbol(1), btc} {
		for _, iv := range []market.Interval{market.OneMinute, market.OneHour} {
			for _, want := range texts(sym, iv, all[market.Series{Symbol: sym.ID, Interval: iv}]) {
				if len(lines) == 0 {
					t.Fatal("too few lines")
				}
				var row map[string]any
				decoder := json.NewDecoder(strings.NewReader(lines[0]))
				decoder.UseNumber()
				if err := decoder.Decode(&row); err != nil {
					t.Fatal(err)
				}
				got := []string{fmt.Sprint(row["symbol"]), fmt.Sprint(row["interval"])}
				for _, name := range strings.Split(strings.TrimSuffix(klineHeader, ",ignore\n"), ",") {
					got = append(got, fmt.Sprint(row[name]))
				}
				if diff := cmp.Diff(append([]string{sym.Name, iv.String()}, want[:11]...), got); diff != "" {
					t.Fatal(diff)
				}
				lines = lines[1:]
			}
		}
	}
	if len(lines) > 0 {
		t.Errorf("more lines: %q", lines)
	}
}

// TestExportOut: what --out makes, and what it leaves of what was there.
func TestExportOut(t *testing.T) {
	dir, all := exportStore(t, 100)
	work := t.TempDir()
	t.Chdir(work)
	names := func(folder string) string {
		t.Helper()
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return strings.Join(all, " ")
	}
	btc := market.Symbol{ID: 2, Name: "BTCUSDT", PriceDigits: 8, QtyDigits: 8}
	file := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if stdout := mustExport(t, "", "--dir", dir, "--symbols", "BTCUSDT", "--out", "one.csv"); stdout != "" {
		t.Errorf("stdout %q", stdout)
	}
	checkCSV(t, file("one.csv"), btc, market.OneMinute, all[market.Series{Symbol: 2, Interval: market.OneMinute}])

	runExport(t, "--dir", dir, "--intervals", "1m,1h,1M", "--out", "new/folder/")
	if got, want := names("new/folder"), "BTCUSDT-1h.csv BTCUSDT-1m.csv BTCUSDT-1mo.csv 币0USDT-1h.csv 币0USDT-1m.csv 币0USDT-1mo.csv 币1USDT-1h.csv 币1USDT-1m.csv 币1USDT-1mo.csv"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	checkCSV(t, file("new/folder/币1USDT-1h.csv"), exportSymbol(1), market.OneHour, all[market.Series{Symbol: 1, Interval: market.OneHour}])
	if got := file("new/folder/BTCUSDT-1mo.csv"); got != klineHeader {
		t.Errorf("a series without klines: %q", got)
	}
	mustExport(t, "", "--dir", dir, "--symbols", "BTCUSDT", "--out", "new") // a folder that is there
	if got, want := names("new"), "BTCUSDT-1m.csv folder"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	// What ends early leaves what was there, and nothing else.
	before := file("one.csv")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	if status := run(ctx, []string{"export", "--dir", dir, "--symbols", "BTCUSDT", "--out", "one.csv"}, nil, &stdout, &stderr); status != exitFailed ||
		stderr.String() != "klined: export stopped: context canceled\n" {
		t.Errorf("stopped: status %d, %q", status, stderr.String())
	}
	status, _, failed := runExport(t, "--dir", filepath.Join(dir, "none"), "--out", "none.csv")
	if status != exitFailed || !strings.Contains(failed, "none") {
		t.Errorf("no store: status %d, %q", status, failed)
	}
	if got, want := names("."), "new one.csv"; got != want || file("one.csv") != before {
		t.Errorf("files %s, want %s; one.csv changed: %t", got, want, file("one.csv") != before)
	}
}

// stopping stops the export after its first rows.
type stopping struct {
	klineWriter
	stop func()
}

func (w *stopping) write(klines []market.Kline) error {
	defer w.stop()
	return w.klineWriter.write(klines)
}

// TestExportStopped: an export that is stopped between two parts leaves no file.
func TestExportStopped(t *testing.T) {
	dir, _ := exportStore(t, 100)
	r, err := store.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	from, folder := at(t, exportBegin), t.TempDir()
	s := &stored{symbol: exportSymbol(0), interval: market.OneMinute,
		span: market.Span{From: from, To: from + market.Hour}, held: market.Span{From: from + 10*market.Minute, To: from + market.Hour}}
	ctx, cancel := context.WithCancel(t.Context())
	err = writeFile(folder, "x.csv", func(out io.Writer) error {
		return s.copyTo(ctx, &stopping{newKlineWriter(out, "csv"), cancel}, r)
	})
	if s.rows != 10 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d rows, want 10; %v", s.rows, err)
	}
	if left, _ := filepath.Glob(folder + "/*"); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// TestExportReports: what is not complete, of the range that was asked for.
func TestExportReports(t *testing.T) {
	dir, _ := exportStore(t, 200)
	const lacking = "klines are missing or may lack trades, first those from "
	for _, c := range []struct{ args, want string }{
		{"--symbols BTCUSDT", ""},
		{"--symbols BTCUSDT --intervals 1h", "BTCUSDT 1h: 4 " + lacking + "2026-09-01T11:00:00.000Z to 2026-09-01T15:00:00.000Z\n"},
		{"--symbols BTCUSDT --intervals 1M", "BTCUSDT 1M: no klines are stored\n"},
		{"--symbols BTCUSDT --intervals 1M --from 2026-09-01 --to 2026-11-01", "BTCUSDT 1M: 2 " + lacking + "2026-09-01T00:00:00.000Z to 2026-11-01T00:00:00.000Z\n"},
		{"--symbols BTCUSDT --from 2026-09-01T11:00:00Z --to 2026-09-01T15:00:00Z", "BTCUSDT 1m: 40 " + lacking + "2026-09-01T11:00:00.000Z to 2026-09-01T11:30:00.000Z\n"},
		{"--symbols BTCUSDT --from 2026-09-01T14:49:00Z --to 2026-09-01T14:51:00Z", "BTCUSDT 1m: 1 kline is missing or may lack trades: that of 2026-09-01T14:50:00.000Z\n"},
	} {
		mustExport(t, c.want, append([]string{"--dir", dir}, strings.Fields(c.args)...)...)
	}
	var series []*stored
	for range reportedSeries + 5 {
		series = append(series, &stored{symbol: exportSymbol(0), interval: market.OneMinute})
	}
	var stderr bytes.Buffer
	(&exportOptions{}).report(series, &stderr)
	if lines := strings.Split(stderr.String(), "\n"); len(lines) != reportedSeries+2 || lines[reportedSeries] != "… and 5 series more" {
		t.Errorf("%d series: %s", len(series), stderr.String())
	}
}

// TestExportOfNothing: a store in which nothing has been says so.
func TestExportOfNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := store.Open(store.Options{Dir: dir})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	mustExport(t, "store "+dir+" is empty: no symbol has been in it\n", "--dir", dir)
	status, _, stderr := runExport(t, "--dir", dir, "--symbols", "BTCUSDT")
	if want := "klined: store " + dir + " has no symbol \"BTCUSDT\": it is empty\n"; status != exitFailed || stderr != want {
		t.Errorf("status %d, %q, want %q", status, stderr, want)
	}
}

// TestExportRefuses: wrong usage and what the store does not have, in one line, with no file made.
func TestExportRefuses(t *testing.T) {
	dir, _ := exportStore(t, 3)
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--symbols BTCUSD", exitFailed, `store STORE has no symbol "BTCUSD" (did you mean "BTCUSDT"?)`},
		{"--intervals 5m --out x", exitFailed, "store STORE has no interval 5m, but 1m,1h,1M"},
		{"--intervals 60m", exitUsage, `--intervals: interval "60m": write 1h`},
		{"--symbols ,", exitUsage, `--symbols "," names no symbol`},
		{"--from yesterday", exitUsage, `--from "yesterday": want 2026-09-01T12:00:00Z, 2026-09-01 or Unix milliseconds`},
		{"--to 2026-09-31", exitUsage, `--to "2026-09-31": want 2026-09-01T12:00:00Z, 2026-09-01 or Unix milliseconds`},
		{"--to 9223372036854775807", exitUsage, `--to "9223372036854775807": want 2026-09-01T12:00:00Z, 2026-09-01 or Unix milliseconds`},
		{"--from 2026-09-02 --to 2026-09-02", exitUsage, "--from 2026-09-02 is not before --to 2026-09-02"},
		{"--format xlsx", exitUsage, `--format "xlsx": want csv, jsonl or parquet`},
		{"--out x.csv", exitUsage, "export: csv names no series, and there are 3: choose one with --symbols and --intervals, write a folder with --out DIR/, or take another --format"},
		{"--out none/x --symbols BTCUSDT", exitFailed, "cannot write into none: no such file or directory"},
		{"BTCUSDT", exitUsage, `export takes no argument "BTCUSDT"`},
	} {
		status, stdout, stderr := runExport(t, append([]string{"--dir", dir}, strings.Fields(c.args)...)...)
		if want := "klined: " + strings.ReplaceAll(c.want, "STORE", dir); status != c.status || !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("%s: status %d, want %d; stdout %q\ngot  %swant %s", c.args, status, c.status, stdout, stderr, want)
		}
	}
	if left, _ := filepath.Glob("*"); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// TestExportParts: whatever is asked for, the parts follow each other, are together what was asked for, and hold at most
// partKlines klines where there are rows.
func TestExportParts(t *testing.T) {
	const most = partKlines * market.Minute
	for _, c := range []struct{ span, held market.Span }{
		{market.Span{From: 0, To: 10 * most}, market.Span{From: 2 * most, To: 5*most + 1}},
		{market.Span{From: 3*most + 1, To: 3*most + 2}, market.Span{From: 2 * most, To: 5 * most}},
		{market.Span{From: 3 * most, To: 9 * most}, market.Span{From: 4*most + 1, To: 5 * most}},
		{market.Span{From: 0, To: most}, market.Span{}},
		{market.Span{From: 5 * most, To: 9 * most}, market.Span{From: most, To: 5 * most}},
		{market.Span{}, market.Span{}},
	} {
		s := &stored{interval: market.OneMinute, span: c.span, held: c.held}
		next := c.span.From
		_ = s.parts(func(part market.Span) error {
			if part.From != next || part.Empty() {
				t.Errorf("%v: part %v where %d is next", c, part, next)
			}
			if part.Overlaps(c.held) && market.OneMinute.Count(part) > partKlines {
				t.Errorf("%v: part %v is too long", c, part)
			}
			next = part.To
			return nil
		})
		if next != c.span.To {
			t.Errorf("%v: ends at %d", c, next)
		}
	}
}

// TestExportBesideAWriter: while a store commits, each export is the beginning of what it will hold, without a hole.
func TestExportBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sym := exportSymbol(0)
	if err := s.SaveSymbols([]market.Symbol{sym}); err != nil {
		t.Fatal(err)
	}
	from := at(t, exportBegin)
	klines := randomMinutes(rand.New(rand.NewPCG(3, 3)), sym, from, 2000)
	s.BeginLive(sym.ID, 0, from)
	commit := func(n, end int) {
		for ; n < end; n++ {
			u := market.Update{Series: market.Series{Symbol: sym.ID, Interval: market.OneMinute}, Kline: klines[n]}
			s.Put(&market.Changes{Updates: []market.Update{u}, UpTo: klines[n].OpenTime + market.Minute})
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	commit(0, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 10; n < len(klines); n += 10 {
			commit(n, n+10)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		text := mustExport(t, "", "--dir", dir)
		n := strings.Count(text, "\n") - 1
		if n%10 != 0 || !running && n != len(klines) {
			t.Fatalf("%s klines, where 10 are committed at once", strconv.Itoa(n))
		}
		checkCSV(t, text, sym, market.OneMinute, klines[:n])
	}
}

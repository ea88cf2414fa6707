package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"klined/fixed"
	"klined/market"
)

// parquetColumns are the columns with the types that DuckDB gives them.
var parquetColumns = [][2]string{
	{"symbol", "VARCHAR"}, {"interval", "VARCHAR"}, {"open_time", "TIMESTAMP WITH TIME ZONE"},
	{"open", "DECIMAL(18,8)"}, {"high", "DECIMAL(18,8)"}, {"low", "DECIMAL(18,8)"}, {"close", "DECIMAL(18,8)"},
	{"volume", "DECIMAL(38,8)"}, {"close_time", "TIMESTAMP WITH TIME ZONE"}, {"quote_volume", "DECIMAL(38,16)"}, {"count", "BIGINT"},
	{"taker_buy_volume", "DECIMAL(38,8)"}, {"taker_buy_quote_volume", "DECIMAL(38,16)"}, {"first_id", "BIGINT"}, {"last_id", "BIGINT"},
	{"state", "VARCHAR"}, {"gap", "BOOLEAN"}, {"revision", "INTEGER"},
}

// parquetTexts is klines as rows of those columns, their values as DuckDB writes them; nil where there is none.
func parquetTexts(sym market.Symbol, iv market.Interval, klines []market.Kline) (rows [][]any) {
	for _, k := range klines {
		price := func(v fixed.Value) string { return string(v.Append(nil, 8)) }
		sum := func(s fixed.Sum, digits int) string { return string(s.Append(nil, digits)) }
		id := func(n int64) any {
			if n < 0 {
				return nil
			}
			return fmt.Sprint(n)
		}
		rows = append(rows, []any{
			sym.Name, iv.String(), fmt.Sprint(int64(k.OpenTime)), price(k.Open), price(k.High), price(k.Low), price(k.Close),
			sum(k.Volume, 8), fmt.Sprint(int64(iv.Next(k.OpenTime) - 1)), sum(k.QuoteVolume, 16), fmt.Sprint(k.TradeCount),
			sum(k.TakerBuyVolume, 8), sum(k.TakerBuyQuoteVolume, 16), id(k.FirstID), id(k.LastID),
			k.State.String(), fmt.Sprint(k.Gap), fmt.Sprint(k.Revision),
		})
	}
	return rows
}

// scaled is the unscaled big-endian integer of a DECIMAL as text.
func scaled(b []byte, digits int) string {
	text := new(big.Int).SetBytes(b).String()
	for len(text) <= digits {
		text = "0" + text
	}
	return text[:len(text)-digits] + "." + text[len(text)-digits:]
}

// readParquet is the rows of a file as parquetTexts.
func readParquet(t *testing.T, file []byte) (rows [][]any) {
	t.Helper()
	read, err := parquet.Read[parquetKline](bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range read {
		price := func(n int64) string { return scaled(big.NewInt(n).Bytes(), 8) }
		id := func(n *int64) any {
			if n == nil {
				return nil
			}
			return fmt.Sprint(*n)
		}
		rows = append(rows, []any{
			r.Symbol, r.Interval, fmt.Sprint(r.OpenTime), price(r.Open), price(r.High), price(r.Low), price(r.Close),
			scaled(r.Volume[:], 8), fmt.Sprint(r.CloseTime), scaled(r.QuoteVolume[:], 16), fmt.Sprint(r.Count),
			scaled(r.TakerBuyVolume[:], 8), scaled(r.TakerBuyQuoteVolume[:], 16), id(r.FirstID), id(r.LastID),
			r.State, fmt.Sprint(r.Gap), fmt.Sprint(r.Revision),
		})
	}
	return rows
}

// exportedTexts is all that a test's store holds of minutes and hours, series after series.
func exportedTexts(all exported) (rows [][]any) {
	btc := market.Symbol{ID: 2, Name: "BTCUSDT", PriceDigits: 8, QtyDigits: 8}
	for _, sym := range []market.Symbol{exportSymbol(0), exportSymbol(1), btc} {
		for _, iv := range []market.Interval{market.OneMinute, market.OneHour} {
			rows = append(rows, parquetTexts(sym, iv, all[market.Series{Symbol: sym.ID, Interval: iv}])...)
		}
	}
	return rows
}

// TestExportParquet: several series in one file, on stdout too, and a file per series.
func TestExportParquet(t *testing.T) {
	dir, all := exportStore(t, 200)
	args := []string{"--dir", dir, "--format", "parquet", "--intervals", "1m,1h"}
	status, stdout, stderr := runExport(t, args...)
	if status != exitDone {
		t.Fatal(stderr)
	}
	if diff := gocmp.Diff(exportedTexts(all), readParquet(t, []byte(stdout))); diff != "" {
		t.Errorf("stdout (-put +exported):\n%s", diff)
	}
	folder := t.TempDir()
	runExport(t, append(args, "--out", folder)...)
	file, err := os.ReadFile(filepath.Join(folder, "币1USDT-1h.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(parquetTexts(exportSymbol(1), market.OneHour, all[market.Series{Symbol: 1, Interval: market.OneHour}]), readParquet(t, file)); diff != "" {
		t.Errorf("folder (-put +exported):\n%s", diff)
	}
}

// TestParquetRowGroups: none is longer than its bound.
func TestParquetRowGroups(t *testing.T) {
	if raced {
		t.Skip("one goroutine, and long under the race detector")
	}
	var out bytes.Buffer
	w := newParquetRows(&out)
	if err := w.begin(exportSymbol(0), market.OneMinute); err != nil {
		t.Fatal(err)
	}
	klines := randomMinutes(rand.New(rand.NewPCG(1, 1)), exportSymbol(0), 0, partKlines)
	const parts = 2*rowsPerGroup/partKlines + 1
	for range parts {
		if err := w.write(klines); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range file.RowGroups() {
		if group.NumRows() > rowsPerGroup {
			t.Errorf("a row group of %d rows", group.NumRows())
		}
	}
	if file.NumRows() != parts*partKlines || len(file.RowGroups()) < 3 {
		t.Errorf("%d rows in %d groups", file.NumRows(), len(file.RowGroups()))
	}
}

// TestParquetRefuses: a value that does not fit its column is an error that names the kline.
func TestParquetRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*market.Kline)
		want   string
	}{
		{func(k *market.Kline) { k.High = mostPrice + 1 }, "price 10000000000 does not fit DECIMAL(18,8)"},
		{func(k *market.Kline) { k.Volume = fixed.Sum{Lo: 1e8 + 1} }, "volume 0.0000000100000001 does not fit DECIMAL(38,8)"},
		{func(k *market.Kline) {
			k.TakerBuyQuoteVolume = fixed.Sum{Hi: 0x4b3b4ca85a86c47a, Lo: 0x098a224000000000}
		},
			"volume 10000000000000000000000 does not fit DECIMAL(38,16)"},
	} {
		w := newParquetRows(&bytes.Buffer{})
		if err := w.begin(exportSymbol(0), market.OneMinute); err != nil {
			t.Fatal(err)
		}
		k := market.EmptyKline(at(t, exportBegin), fixed.One)
		c.change(&k)
		if err := w.write([]market.Kline{k}); err == nil || err.Error() != "the kline of 2026-09-01T11:30:00.000Z: "+c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	most := fixed.Sum{Hi: 0x4b3b4ca85a86c47a, Lo: 0x098a224000000000 - 1}
	if d, fits := decimal38(most, 16); !fits || scaled(d[:], 0) != strings.Repeat("9", 38)+"." {
		t.Errorf("%s: %v, %t", most, d, fits)
	}
}

// nodeModules names the folder of node_modules in which @duckdb/node-api is installed.
const nodeModules = "KLINED_NODE_MODULES"

// TestDuckDBReadsParquet: what a reader of another house finds in the file: types, every value to the last digit, times and
// sums.
func TestDuckDBReadsParquet(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil || os.Getenv(nodeModules) == "" {
		t.Skipf("needs node, and %s naming a folder where npm has installed @duckdb/node-api: .ci/run does both", nodeModules)
	}
	dir, all := exportStore(t, 200)
	folder := t.TempDir()
	one := filepath.Join(folder, "all.parquet")
	for _, out := range []string{one, filepath.Join(folder, "series") + "/"} {
		if status, _, stderr := runExport(t, "--dir", dir, "--format", "parquet", "--intervals", "1m,1h", "--out", out); status != exitDone {
			t.Fatal(stderr)
		}
	}
	rows := exportedTexts(all)
	slices.SortFunc(rows, func(a, b []any) int {
		return cmp.Or(strings.Compare(a[0].(string), b[0].(string)), strings.Compare(a[1].(string), b[1].(string)), strings.Compare(a[2].(string), b[2].(string)))
	})
	type answer struct {
		Types map[string]string
		Rows  [][]any
		Sums  []string
		Hour  string
	}
	want := answer{Types: map[string]string{}, Rows: rows, Hour: fmt.Sprint(3 * (60 + 1))} // of 3 symbols
	for _, column := range parquetColumns {
		want.Types[column[0]] = column[1]
	}
	for _, of := range []struct{ column, digits int }{{3, 8}, {7, 8}, {9, 16}} { // open, volume, quote_volume
		sum := new(big.Rat)
		for _, row := range rows {
			amount, _ := new(big.Rat).SetString(row[of.column].(string))
			sum.Add(sum, amount)
		}
		want.Sums = append(want.Sums, sum.FloatString(of.digits))
	}
	for _, file := range []string{one, filepath.Join(folder, "series", "*.parquet")} {
		cmd := exec.Command(node, filepath.Join("testdata", "duckdb.cjs"), file)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("node: %v\n%s", err, out)
		}
		var got answer
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-put +read):\n%s", file, diff)
		}
	}
}

package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"klined/fixed"
	"klined/market"
)

// replayed is what a run of the command gave.
type replayed struct{ stdout, stderr, err string }

// runReplay runs klined replay with these arguments in the folder dir.
func runReplay(t *testing.T, dir string, args ...string) replayed {
	t.Helper()
	t.Chdir(dir)
	var stdout, stderr bytes.Buffer
	cmd := newReplayCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	got := replayed{}
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		got.err = err.Error()
	}
	got.stdout, got.stderr = stdout.String(), stderr.String()
	return got
}

func gz(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

// zipped is a zip file of names and their texts, one behind the other.
func zipped(files ...string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, _ := w.Create(files[i])
		_, _ = io.WriteString(f, files[i+1])
	}
	_ = w.Close()
	return b.String()
}

func zst(text string) string {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	return string(w.EncodeAll([]byte(text), nil))
}

const (
	aggHeader   = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
	tradeHeader = "id,price,qty,quote_qty,time,is_buyer_maker\n"

	agg1 = "1,10.5,2,1,3,60000,false\n"    // 00:01, taker buys 2
	agg2 = "2,10.70,1.5,4,4,119999,true\n" // 00:01
	agg3 = "3,9,0.25,5,6,180000,false\n"   // 00:03; nothing in 00:02
	aggs = agg1 + agg2 + agg3

	rows = "60000,10.50,10.70,10.50,10.70,3.50,119999,37.0500,4,2.00,21.0000,0\n" +
		"180000,9.00,9.00,9.00,9.00,0.25,239999,2.2500,2,0.25,2.2500,0\n"
)

func aggFrame(symbol string, id int, price, qty string, at int, maker bool) string {
	return fmt.Sprintf(`{"e":"aggTrade","E":%d,"a":%d,"s":"%s","p":"%s","q":"%s","f":%d,"l":%d,"T":%d,"m":%v}`,
		at+100, id, symbol, price, qty, 10*id, 10*id, at, maker) + "\n"
}

func tradeFrame(symbol string, id int, price, qty, kind string, at int) string {
	return fmt.Sprintf(`{"stream":"x@trade","data":{"e":"trade","E":%d,"T":%d,"s":"%s","t":%d,"p":"%s","q":"%s","X":"%s","m":false}}`,
		at, at, symbol, id, price, qty, kind) + "\n"
}

// burnt is archive CSV of n trades of the first minute: one aggTrade that stands for all, or the trades, without those that are burnt.
func burnt(kind string, n int, ids ...int) string {
	if kind == "agg" {
		return fmt.Sprintf("%s1,1,1,1,%d,60000,true\n", aggHeader, n)
	}
	text := tradeHeader
	for id := 1; id <= n; id++ {
		if !slices.Contains(ids, id) {
			text += fmt.Sprintf("%d,1,1,1,60000,true\n", id)
		}
	}
	return text
}

func TestReplay(t *testing.T) {
	const agg, trades = "BTCUSDT-aggTrades-2024-01.csv", "BTCUSDT-trades-2024-01-01.csv"
	one := aggFrame("BTCUSDT", 1, "10.50", "2", 60000, false)
	missing2 := "BTCUSDT: 1 id missing: 2\n"
	for _, c := range []struct {
		name  string
		files map[string]string // in this folder
		args  string
		want  replayed
	}{
		{"aggTrades", map[string]string{agg: aggHeader + aggs}, agg, replayed{stdout: rows}},
		{"no header", map[string]string{agg: aggs}, agg, replayed{stdout: rows}},
		{"another header", map[string]string{agg: "Agg Trade ID,Price,Quantity,First,Last,Time,Maker\n" + aggs}, agg, replayed{stdout: rows}},
		{"no last line end", map[string]string{agg: strings.TrimSuffix(aggs, "\n")}, agg, replayed{stdout: rows}},
		{"empty lines and carriage returns", map[string]string{agg: "\n" + strings.ReplaceAll(aggs, "\n", "\r\n\r\n")}, agg, replayed{stdout: rows}},
		{"True, False", map[string]string{agg: strings.NewReplacer("true", "True", "false", "False").Replace(aggs)}, agg, replayed{stdout: rows}},
		{"0, 1", map[string]string{agg: strings.NewReplacer("true", "1", "false", "0").Replace(aggs)}, agg, replayed{stdout: rows}},
		{"gzip under any name", map[string]string{"x": gz(aggHeader + aggs)}, "x --symbol BTCUSDT", replayed{stdout: rows}},
		{"zip", map[string]string{"BTCUSDT-aggTrades-2026-09.zip": zipped("b/", "", "b/x", aggHeader+aggs)}, "BTCUSDT-aggTrades-2026-09.zip", replayed{stdout: rows}},
		{"zstd under any name", map[string]string{"x": zst(aggHeader + aggs)}, "x --symbol BTCUSDT", replayed{stdout: rows}},
		{"truncated zip", map[string]string{"x": strings.Split(zipped("x", aggs), "PK\x07\x08")[0]}, "x --symbol BTCUSDT",
			replayed{stdout: rows, err: fmt.Sprintf("x: line 4, byte %d: truncated zip file", len(aggs))}},
		{"spot: microseconds, one more column", map[string]string{"x": "1,10.5,2,1,3,1577836860000000,False,True\n"}, "x --symbol BTCUSDT",
			replayed{stdout: "1577836860000,10.5,10.5,10.5,10.5,2,1577836919999,21.0,3,2,21.0,0\n"}},
		{"trades", map[string]string{trades: tradeHeader + "1,10.5,2,21,60000,false\n2,10.7,1,10.7,60001,true\n"}, trades,
			replayed{stdout: "60000,10.5,10.7,10.5,10.7,3,119999,31.7,2,2,21.0,0\n"}},
		{"trades, old header", map[string]string{trades: "id,price,qty,quoteQty,time,isBuyerMaker\n1,10.5,2,21,60000,0\n"}, trades,
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21.0,1,2,21.0,0\n"}},
		{"spot trades", map[string]string{"x": "1,10.5,2,21,60000,False,True\n"}, "x --symbol BTCUSDT",
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21.0,1,2,21.0,0\n"}},
		{"floats: an exponent stands for the decimals that it needs", map[string]string{"x": "1,1.0E-5,1.2345678E7,1,1,60000,true\n2,1.1e-05,2.0,2,2,60000,true\n"}, "x --symbol A",
			replayed{stdout: "60000,0.000010,0.000011,0.000010,0.000011,12345680.0,119999,123.4568020,2,0.0,0.0000000,0\n"}},
		{"joined files have a header each", map[string]string{agg: aggHeader + agg1 + aggHeader + agg2 + agg3 + aggHeader}, agg, replayed{stdout: rows}},
		{"another file's header", map[string]string{agg: aggHeader + aggs + tradeHeader}, agg, replayed{stdout: rows,
			stderr: agg + ": line 5: wrong number of columns, want 7: " + fmt.Sprintf("%q", strings.TrimSpace(tradeHeader)) + "\n" + agg + ": 1 unreadable row dropped\n"}},
		{"header only", map[string]string{agg: aggHeader}, agg, replayed{err: "no trades in the input"}},

		{"frames", map[string]string{"x": one}, "x", replayed{stdout: "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n"}},
		{"non-ASCII symbol", map[string]string{"x": strings.ReplaceAll(one, "BTCUSDT", "币安人生USDT")}, "x --symbol 币安人生USDT",
			replayed{stdout: "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n"}},
		{"trade frames: other kinds only take their id", map[string]string{"x": tradeFrame("A", 1, "10.5", "2", "MARKET", 60000) +
			tradeFrame("A", 2, "99", "9", "INSURANCE_FUND", 60001) + tradeFrame("A", 3, "0", "0", "NA", 60002) + tradeFrame("A", 4, "11", "1", "RPI", 60003)}, "x",
			replayed{stdout: "60000,10.5,11.0,10.5,11.0,3,119999,32.0,2,3,32.0,0\n", stderr: "A: 2 trades left out: of quantity 0 or none of the market\n"}},
		{"clocks, other frames, other lines", map[string]string{"x": "wss://host/stream\n1.5: " + one + "# note\n" +
			`{"e":"bookTicker","u":1,"s":"BTCUSDT"}` + "\n" + `{"result":null,"id":1}` + "\n"}, "x",
			replayed{stdout: "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n", stderr: "x: 2 lines without a frame skipped\n"}},
		{"trades, where all are there", map[string]string{"x": one + tradeFrame("BTCUSDT", 7, "1", "1", "MARKET", 60000)}, "x",
			replayed{stdout: "60000,1,1,1,1,1,119999,1,1,1,1,0\n", stderr: "BTCUSDT: 1 aggTrade left out, for the input holds its trades\n"}},
		{"aggTrades, where they stand for more", map[string]string{"x": tradeFrame("BTCUSDT", 7, "1", "1", "MARKET", 60000) + one +
			aggFrame("BTCUSDT", 2, "10.70", "1.5", 60000, true)}, "x",
			replayed{stdout: "60000,10.50,10.70,10.50,10.70,3.5,119999,37.050,2,2.0,21.000,0\n",
				stderr: "BTCUSDT: 1 trade left out, for the input holds its aggTrades\n"}},
		{"trades without an id that the aggTrades stand for", map[string]string{"a": burnt("agg", 200), "t": burnt("", 200, 7)}, "--symbol A a t",
			replayed{stdout: "60000,1,1,1,1,199,119999,199,199,0,0,0\n", stderr: "A: 1 aggTrade left out, for the input holds its trades, which are 1 fewer than these stand for\n" +
				"A: 1 id missing or burnt: 7\n"}},
		{"trades without three of 200", map[string]string{"a": burnt("agg", 200), "t": burnt("", 200, 7, 8, 9)}, "--symbol A a t",
			replayed{stdout: "60000,1,1,1,1,1,119999,1,200,0,0,0\n", stderr: "A: 197 trades left out, for the input holds its aggTrades\n"}},
		{"trades without a kline that the aggTrades have", map[string]string{"a": burnt("agg", 200) + "2,1,1,201,201,120000,true\n", "t": burnt("", 200)}, "--symbol A a t",
			replayed{stdout: "60000,1,1,1,1,1,119999,1,200,0,0,0\n120000,1,1,1,1,1,179999,1,1,0,0,0\n", stderr: "A: 200 trades left out, for the input holds its aggTrades\n"}},
		{"archive and frames", map[string]string{agg: agg1, "x": aggFrame("BTCUSDT", 2, "10.70", "1.5", 119999, true)}, agg + " x",
			replayed{stdout: "60000,10.50,10.70,10.50,10.70,3.5,119999,37.050,4,2.0,21.000,0\n"}},

		{"files in any order", map[string]string{"x1": agg1, "x2": agg2, "x3": agg3}, "--symbol BTCUSDT x3 x1 x2", replayed{stdout: rows}},
		{"duplicates", map[string]string{"x1": agg1 + agg2 + agg1, "x2": agg2 + agg3}, "--symbol BTCUSDT x1 x2",
			replayed{stdout: rows, stderr: "BTCUSDT: 2 duplicates dropped\n"}},
		{"a hole between files", map[string]string{"x1": agg1, "x2": agg3}, "--symbol BTCUSDT x1 x2",
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2.00,119999,21.000,3,2.00,21.000,0\n180000,9.0,9.0,9.0,9.0,0.25,239999,2.250,2,0.25,2.250,0\n", stderr: missing2}},
		{"5m", map[string]string{agg: aggs}, agg + " --interval 5m", replayed{stdout: "0,10.50,10.70,9.00,9.00,3.75,299999,39.3000,6,2.25,23.2500,0\n"}},
		{"1M", map[string]string{agg: aggs}, agg + " --interval 1M", replayed{stdout: "0,10.50,10.70,9.00,9.00,3.75,2678399999,39.3000,6,2.25,23.2500,0\n"}},
		{"1s", map[string]string{agg: agg1}, agg + " --interval 1s", replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,60999,21.0,3,2,21.0,0\n"}},
		{"jsonl", map[string]string{agg: agg1}, agg + " --format jsonl", replayed{stdout: `{"symbol":"BTCUSDT","interval":"1m","open_time":60000,` +
			`"open":"10.5","high":"10.5","low":"10.5","close":"10.5","volume":"2","close_time":119999,"quote_volume":"21.0","count":3,` +
			`"taker_buy_volume":"2","taker_buy_quote_volume":"21.0"}` + "\n"}},
		{"digits of exchangeInfo", map[string]string{agg: agg1, "info": `{"symbols":[{"symbol":"BTCUSDT","pricePrecision":2,"quantityPrecision":3}]}`},
			agg + " --exchange-info info", replayed{stdout: "60000,10.50,10.50,10.50,10.50,2.000,119999,21.00000,3,2.000,21.00000,0\n"}},
		{"digits of one symbol", map[string]string{agg: agg1, "info": `{"symbol":"BTCUSDT","pricePrecision":2,"quantityPrecision":3}`},
			agg + " --exchange-info info", replayed{stdout: "60000,10.50,10.50,10.50,10.50,2.000,119999,21.00000,3,2.000,21.00000,0\n"}},
		{"digits of an exchangeInfo that is packed", map[string]string{agg: agg1, "info": gz(`{"symbol":"BTCUSDT","pricePrecision":2,"quantityPrecision":3}`)},
			agg + " --exchange-info info", replayed{stdout: "60000,10.50,10.50,10.50,10.50,2.000,119999,21.00000,3,2.000,21.00000,0\n"}},
		{"digits of exchangeInfo too few: nothing is rounded", map[string]string{agg: agg1, "info": `{"symbol":"BTCUSDT","pricePrecision":0,"quantityPrecision":0}`},
			agg + " --exchange-info info", replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21,3,2,21,0\n"}},
		{"not in exchangeInfo", map[string]string{agg: agg1, "info": `{"symbol":"ETHUSDT"}`}, agg + " --exchange-info info",
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21.0,3,2,21.0,0\n", stderr: "BTCUSDT: not in info; written with the digits of the input\n"}},

		{"odd in exchangeInfo", map[string]string{agg: agg1, "info": `{"symbols":[{"symbol":"BTCUSDT","pricePrecision":9},{"symbol":"ETHUSDT"}]}`}, agg + " --exchange-info info",
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21.0,3,2,21.0,0\n",
				stderr: "BTCUSDT: odd in info (its prices and quantities are written with 9 and 0 decimals, want 0 to 8); written with the digits of the input\n"}},

		{"unreadable rows", map[string]string{agg: aggHeader + "x,1\n" + agg1 + "2,1x3,1,4,4,60000,true\n2,1,1,4,4,60000,yes\n2,1,1,4,3,60000,true\n2,1,-1,4,4,60000,true\n" +
			"9223372036854775808,1,1,4,4,60000,true\n" + agg2 + agg3}, agg, replayed{stdout: rows, stderr: agg + `: line 2: wrong number of columns, want 7: "x,1"` + "\n" +
			agg + `: line 4: price "1x3": not a decimal number` + "\n" + agg + `: line 5: is_buyer_maker "yes": want true or false` + "\n" +
			agg + ": line 6: ids out of order or out of range\n" + agg + `: line 7: quantity "-1": not a decimal number` + "\n" + agg + ": 6 unreadable rows dropped\n"}},
		{"more digits than can be kept", map[string]string{agg: agg1 + "2,10.123456789,1,4,4,60000,true\n"}, agg,
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21.0,3,2,21.0,0\n", stderr: agg + `: line 2: price "10.123456789": more decimals than can be kept` + "\n" +
				agg + ": 1 unreadable row dropped\n"}},
		{"truncated row", map[string]string{agg: agg1 + "2,10.70,1.5,4"}, agg,
			replayed{stdout: "60000,10.5,10.5,10.5,10.5,2,119999,21.0,3,2,21.0,0\n", err: agg + ": line 2, byte 25: truncated line"}},
		{"truncated frame", map[string]string{"x": one + one[:50]}, "x",
			replayed{stdout: "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n", err: fmt.Sprintf("x: line 2, byte %d: truncated line", len(one))}},
		{"truncated gzip, more behind it", map[string]string{"x": gz(agg1)[:len(gz(agg1))-4], "y": agg2 + agg3}, "--symbol BTCUSDT x y",
			replayed{stdout: rows, err: "x: line 2, byte 25: truncated gzip file"}},
		{"bad frames", map[string]string{"x": one + `{"e":"aggTrade","a":` + "\n" + `{"e":"aggTrade","a":"1"}` + "\n"}, "x",
			replayed{stdout: "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n", stderr: "x: line 2: not JSON\nx: line 3: a field is missing, doubled or of another type\nx: 2 unreadable rows dropped\n"}},
		{"empty", map[string]string{"x": ""}, "x", replayed{err: "x: empty"}},
		{"empty gzip", map[string]string{"x": gz("")}, "x", replayed{err: "x: empty"}},
		{"one file missing", map[string]string{agg: aggs}, "none " + agg, replayed{stdout: rows, err: "open none: no such file or directory"}},
		{"two files missing", nil, "none nil", replayed{stderr: "open none: no such file or directory\n", err: "open nil: no such file or directory"}},
		{"a folder", nil, ".", replayed{err: ".: is a folder"}},
		{"zip of two", map[string]string{"x": zipped("a", "", "b", "")}, "x", replayed{err: "x: a zip file of 2 files (a, b); want one"}},
		{"bzip2", map[string]string{"x": "BZh9…"}, "x", replayed{err: "x: a bzip2 file; want text, plain or packed once (gzip, zip, zstd)"}},
		{"klines", map[string]string{"x": klineHeader + rows}, "x", replayed{err: "x: neither archive CSV of trades nor lines of frames; it begins with " + fmt.Sprintf("%.80q", strings.TrimSpace(klineHeader))}},
		{"no symbol", map[string]string{"x": aggs}, "x", replayed{err: "x: archive CSV names no symbol: add --symbol"}},
		{"another symbol", map[string]string{agg: aggs}, agg + " --symbol ETHUSDT", replayed{err: agg + ": is of BTCUSDT by its name, where --symbol says ETHUSDT"}},
		{"several symbols", map[string]string{"x": one + aggFrame("ETHUSDT", 1, "1", "1", 1, true)}, "x",
			replayed{err: "the input holds 2 symbols (BTCUSDT, ETHUSDT): choose one with --symbol, or all with --out"}},
		{"one of several", map[string]string{"x": one + aggFrame("ETHUSDT", 1, "1.000", "1", 1, true)}, "x --symbol BTCUSDT",
			replayed{stdout: "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n"}},
		{"none of several", map[string]string{"x": one + aggFrame("ETHUSDT", 1, "1", "1", 1, true)}, "x --symbol LTCUSDT",
			replayed{err: "no trades of LTCUSDT in the input; it holds BTCUSDT, ETHUSDT"}},
		{"no such interval", nil, "x --interval 60m", replayed{err: `--interval: interval "60m": write 1h`}},
		{"several intervals", nil, "x --interval 1m,1h", replayed{err: "--interval 1m,1h: several intervals need --out"}},
		{"no such format", nil, "x --format xml", replayed{err: `--format "xml": want csv or jsonl`}},
		{"no exchangeInfo", map[string]string{agg: aggs}, agg + " --exchange-info none", replayed{err: "open none: no such file or directory"}},
		{"bad exchangeInfo", map[string]string{agg: aggs, "info": "["}, agg + " --exchange-info info",
			replayed{err: "info: cannot read the exchange's symbols: unexpected end of JSON input"}},
		{"no file", nil, "", replayed{err: "replay: which files?"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.want.stdout != "" && !strings.Contains(c.args, "jsonl") {
				c.want.stdout = klineHeader + c.want.stdout
			}
			got := runReplay(t, dir, strings.Fields(c.args)...)
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(replayed{})); d != "" {
				t.Errorf("klined replay %s (-want +got):\n%s", c.args, d)
			}
		})
	}
}

// TestReplayStatus: wrong usage ends with 2, a file that cannot be read with 1, and each says why in one line.
func TestReplayStatus(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("x", []byte(aggs+"4,1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("in", []byte(gz(aggs)), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open("in")
	if err != nil {
		t.Fatal(err)
	}
	defer func(stdin *os.File) { os.Stdin = stdin }(os.Stdin)
	os.Stdin = in
	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"replay x --symbol A", 1, klineHeader + rows, fmt.Sprintf("klined: x: line 4, byte %d: truncated line\n", len(aggs))},
		{"replay - --symbol btcusdt", 0, klineHeader + rows, ""},
		{"replay none", 1, "", "klined: open none: no such file or directory\n"},
		{"replay", 2, "", "klined: replay: which files?\n"},
		{"replay - x -", 2, "", "klined: - stands twice: stdin can be read once\n"},
		{"replay - --exchange-info -", 2, "", "klined: - stands twice: stdin can be read once\n"},
		{"replay x --interval 7m", 2, "", "klined: --interval: interval \"7m\": 7 must divide 60\n"},
		{"replay x --symbl A", 2, "", "klined: replay: unknown flag --symbl (did you mean \"--symbol\"?)\n"},
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr)
		if status != c.status || stdout.String() != c.stdout || stderr.String() != c.stderr {
			t.Errorf("klined %s: status %d, stdout %q, stderr %q", c.args, status, &stdout, &stderr)
		}
	}
}

// TestReplaySilence: a read of stdin that nothing comes on ends when the command is to stop.
func TestReplaySilence(t *testing.T) {
	in, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	defer func(stdin *os.File) { os.Stdin = stdin }(os.Stdin)
	os.Stdin = in
	info := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(info, []byte(aggs), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"replay - --symbol A", "replay --symbol A --exchange-info - " + info, "sim --listen 127.0.0.1:0 --faults -"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		var stdout, stderr bytes.Buffer
		if status := run(ctx, strings.Fields(args), nil, &stdout, &stderr); status != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), context.DeadlineExceeded.Error()) {
			t.Errorf("klined %s: status %d, stdout %q, stderr %q", args, status, &stdout, &stderr)
		}
		cancel()
	}
}

// TestReplayOut: with --out each series has its own file.
func TestReplayOut(t *testing.T) {
	dir := t.TempDir()
	frames := aggFrame("BTCUSDT", 1, "10.50", "2", 60000, false) + aggFrame("币安人生USDT", 9, "1.000", "1", 3600000, true)
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte(frames), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runReplay(t, dir, "x", "--interval", "1m,1h,1M", "--out", "a/b"); got != (replayed{}) {
		t.Errorf("%+v", got)
	}
	want := map[string]string{
		"BTCUSDT-1m.csv":   "60000,10.50,10.50,10.50,10.50,2,119999,21.00,1,2,21.00,0\n",
		"BTCUSDT-1h.csv":   "0,10.50,10.50,10.50,10.50,2,3599999,21.00,1,2,21.00,0\n",
		"BTCUSDT-1mo.csv":  "0,10.50,10.50,10.50,10.50,2,2678399999,21.00,1,2,21.00,0\n",
		"币安人生USDT-1m.csv":  "3600000,1.000,1.000,1.000,1.000,1,3659999,1.000,1,0,0.000,0\n",
		"币安人生USDT-1h.csv":  "3600000,1.000,1.000,1.000,1.000,1,7199999,1.000,1,0,0.000,0\n",
		"币安人生USDT-1mo.csv": "0,1.000,1.000,1.000,1.000,1,2678399999,1.000,1,0,0.000,0\n",
	}
	got := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(dir, "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, "a", "b", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = strings.TrimPrefix(string(text), klineHeader)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestReplayNameIsNoPath(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte(aggFrame("../../A", 1, "1", "1", 1, true)), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runReplay(t, dir, "x", "--out", "o")
	if want := `cannot write the klines of ../../A 1m: "../../A-1m.csv" cannot be a file name`; got.err != want {
		t.Errorf("%q, want %q", got.err, want)
	}
}

func TestReplayStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	name := filepath.Join(dir, "x")
	if err := os.WriteFile(name, []byte(aggs), 0o600); err != nil {
		t.Fatal(err)
	}
	o := replayOptions{symbol: "A", format: "csv", intervals: []market.Interval{market.OneMinute}}
	var out bytes.Buffer
	if err := replay(ctx, o, []string{name}, &out, &out); err != context.Canceled || out.Len() > 0 {
		t.Errorf("%v, %q", err, &out)
	}
}

// TestReplayReports: what two connections brought twice is a line, of however many symbols; ids of trades may be burnt.
func TestReplayReports(t *testing.T) {
	of := func(symbol string, source market.Source, ids ...int64) *book {
		b := newBook(bookKey{symbol, source}, market.OneMinute)
		for _, id := range ids {
			b.take(&market.Trade{ID: id, Qty: fixed.Value(id % 9)})
		}
		return b
	}
	for _, c := range []struct {
		want  string
		books []*book
	}{
		{"A: 1 duplicate dropped\nA: 1 id missing: 3\n", []*book{of("A", market.SourceAggTrade, 1, 2, 2, 4)}},
		{"A: 2 aggTrades left out: of quantity 0\n", []*book{of("A", market.SourceAggTrade, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)}},
		{"3 duplicates dropped, of 2 symbols\nB: 2 ids missing or burnt: 6-7\n", []*book{of("A", market.SourceTrade, 1, 1, 1), of("B", market.SourceTrade, 5, 8, 8)}},
	} {
		var got strings.Builder
		reportBooks(c.books, func(format string, args ...any) { fmt.Fprintf(&got, format+"\n", args...) })
		if got.String() != c.want {
			t.Errorf("%q, want %q", got.String(), c.want)
		}
	}
}

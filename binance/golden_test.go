package binance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"klined/market"
)

// brought puts what a frame brings into words.
func brought(d *Decoder, frame []byte) string {
	var b market.Batch
	var unknown string
	d.OnUnknown = func(name []byte) { unknown = string(name) }
	kind, err := d.Frame(frame, &b)
	switch {
	case err != nil:
		return "dropped: " + err.Error()
	case unknown != "":
		return "unknown " + unknown
	case len(b.Trades) == 1:
		t, side := b.Trades[0], "sold"
		if t.TakerBuy {
			side = "bought"
		}
		symbol := d.symbols.Get(t.SymbolID)
		return fmt.Sprintf("%s %d %d-%d %s × %s at %d %s", symbol.Name, t.ID, t.FirstID, t.LastID, t.Price, t.Qty, t.Time, side)
	case len(b.Tickers) == 1:
		t := b.Tickers[0]
		symbol := d.symbols.Get(t.SymbolID)
		return fmt.Sprintf("ticker %s %s of %s at %d", symbol.Name, t.Close, t.Volume, t.Time)
	case len(b.Official) == 1:
		u := b.Official[0]
		symbol := d.symbols.Get(u.Symbol)
		return fmt.Sprintf("%s %s %s %d %d-%d %s %s %s %s %s %s %d %s %s", u.State, symbol.Name, u.Interval, u.OpenTime, u.FirstID, u.LastID,
			u.Open, u.High, u.Low, u.Close, u.Volume, u.QuoteVolume, u.TradeCount, u.TakerBuyVolume, u.TakerBuyQuoteVolume)
	}
	return [...]string{"other", "trade", "kline", "ticker", "answer", "refusal"}[kind]
}

func TestDecodeGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n")[1:] {
		lines := strings.Split(block, "\n")
		for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
			c := newComparer(source)
			want := source.String() + ": "
			for _, line := range lines[1:] {
				if strings.HasPrefix(line, want) {
					want = line
				}
			}
			if got := source.String() + ": " + brought(NewDecoder(c.o.symbols, source, nil, nil), []byte(lines[0])); got != want {
				t.Errorf("%s\ngot  %s\nwant %s", lines[0], got, want)
			}
			c.compare(t, []byte(lines[0]))
		}
		c := newComparer(market.SourceAggTrade).wantsTickers()
		c.compare(t, []byte(lines[0]))
		if want := lines[len(lines)-1]; strings.HasPrefix(want, "tickers: ") {
			if got := "tickers: " + brought(c.d, []byte(lines[0])); got != want {
				t.Errorf("%s\ngot  %s\nwant %s", lines[0], got, want)
			}
		}
	}
}

// capture calls frame with each frame of a file of real ones; the test is skipped where the file is not.
func capture(t *testing.T, name string, frame func([]byte)) {
	t.Helper()
	file, err := os.Open(filepath.Join("../../shared/data/frames", name))
	if err != nil {
		t.Skipf("no real frames here: %v", err)
	}
	defer file.Close()
	var src io.Reader = file
	if strings.HasSuffix(name, ".gz") {
		if src, err = gzip.NewReader(file); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(src)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if i := bytes.IndexByte(lines.Bytes(), '{'); i >= 0 { // before it stands the recorder's clock
			frame(lines.Bytes()[i:])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// TestDecodeRealFrames holds real captures against the oracle and counts what they bring.
func TestDecodeRealFrames(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	f := func(name string, source market.Source, trades, official, klines, slow int) {
		t.Run(name+" "+source.String(), func(t *testing.T) {
			c := newComparer(source)
			c.d.OnUnknown = func(name []byte) { c.o.symbols.Put(market.Symbol{Name: string(name)}) }
			for _, name := range []string{"SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"} {
				c.o.symbols.Put(market.Symbol{Name: name})
			}
			var gotTrades, gotOfficial, gotKlines, gotSlow int
			capture(t, name, func(frame []byte) {
				c.compare(t, frame)
				gotTrades += len(c.b.Trades)
				gotOfficial += len(c.b.Official)
				kind, sure, err := c.d.strict(frame, &c.b)
				if err != nil {
					t.Errorf("%s: %v", frame, err)
				}
				if kind == KindKline || len(c.b.Official) > 0 {
					gotKlines++
				}
				if !sure {
					gotSlow++
				}
			})
			if gotTrades != trades || gotOfficial != official || gotKlines != klines || gotSlow != slow {
				t.Errorf("%d trades, %d official of %d klines, %d not by the strict path; want %d, %d of %d, %d",
					gotTrades, gotOfficial, gotKlines, gotSlow, trades, official, klines, slow)
			}
		})
	}
	f("um-2026-10-shapes.jsonl", market.SourceAggTrade, 2, 1, 1, 1)
	f("um-aggTrade+kline-2021-07-22.txt", market.SourceAggTrade, 91, 4, 67, 4)
	f("um-aggTrade+kline-2021-07-22.txt", market.SourceTrade, 0, 4, 67, 4)
	f("um-btcusdt-2024-07-18.gz", market.SourceTrade, 974, 0, 0, 1) // one line is an answer of REST
	f("um-btcusdt-2024-07-18.gz", market.SourceAggTrade, 0, 0, 0, 1)
}

// TestRESTRealBodies reads real answers; the test is skipped where they are not.
func TestRESTRealBodies(t *testing.T) {
	body := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join("../../shared/data/rest", name))
		if err != nil {
			t.Skipf("no real answers here: %v", err)
		}
		return text
	}
	for name, want := range map[string]int{
		"fapi_v1_klines.BTCUSDT.1d.limit5.20201014-18.json": 5, "fapi_v1_klines.BTCUSDT.1d.116.20190908-20200101.json": 116,
	} {
		klines, err := parseKlines(body(name), market.OneDay, 0)
		if err != nil || len(klines) != want {
			t.Errorf("%s: %d klines, %v; want %d", name, len(klines), err, want)
		}
	}
	fiveMinutes := 5 * market.OneMinute
	klines, err := parseKlines(body("fapi_v1_klines.LTCUSDT.5m.500.20201014-16a.json"), fiveMinutes, 0)
	if err != nil || len(klines) != 500 {
		t.Fatalf("%d klines, %v", len(klines), err)
	}
	for i := range klines[1:] {
		if klines[i+1].OpenTime != fiveMinutes.Next(klines[i].OpenTime) {
			t.Errorf("a hole behind %s", klines[i].OpenTime)
		}
	}
	for name, want := range map[string]int{
		"fapi_v1_aggTrades.CLUSDT.1000.20260501.json": 1000, "fapi_v1_aggTrades.LTCUSDT.500.20201016.json": 500,
		"prod-2026-09/fapi_v1_aggTrades.BTCUSDT.limit2.json": 2,
	} {
		trades, err := parseAggTrades(body(name), 3)
		if err != nil || len(trades) != want || trades[want-1].SymbolID != 3 {
			t.Errorf("%s: %d trades, %v; want %d", name, len(trades), err, want)
		}
	}
	for name, want := range map[string]int{
		"fapi_v1_exchangeInfo.20210721.json": 122, "fapi_v1_exchangeInfo.25symbols.json": 25,
		"prod-2026-09/fapi_v1_exchangeInfo.symbols.BTCUSDT.json": 1,
	} {
		info, err := ParseExchangeInfo(body(name))
		if err != nil || len(info.Listings) != want || len(info.Odd) != 0 {
			t.Errorf("%s: %+v, %v; want %d", name, info, err, want)
		}
	}
}

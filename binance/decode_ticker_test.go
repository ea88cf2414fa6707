package binance

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

const (
	tickerFrame = `{"e":"24hrMiniTicker","E":1791283239234,"s":"BTCUSDT","ps":"BTCUSDT","c":"86026.40","o":"86016.50","h":"86683.90","l":"84910.00","v":"119489.809","q":"10238568766.13","st":1}`
	tickerOld   = `{"e":"24hrMiniTicker","E":1791283239235,"s":"ETHUSDT","c":"0.0025","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18"}`
	tickerCoinM = `{"e":"24hrMiniTicker","E":1791283239234,"s":"BTCUSD_PERP","ps":"BTCUSD","c":"86026.4","o":"1","h":"1","l":"1","v":"1000","q":"1","st":2}`

	tickersFrame = `[` + tickerFrame + `,` + tickerCoinM + `,` + tickerOld + `]`
)

func tickerOf(symbol market.SymbolID, at market.Time, price, volume string) market.Ticker {
	v, err := fixed.ParseSum(volume)
	if err != nil {
		panic(err)
	}
	return market.Ticker{SymbolID: symbol, Time: at, Close: fixed.MustParse(price), Volume: v}
}

// droppedIn is how many frames and rows were dropped.
func droppedIn(metrics *health.Metrics) (n float64) {
	for _, reason := range reasons() {
		n += testutil.ToFloat64(metrics.DecodeErrors.WithLabelValues(reason))
	}
	return n
}

// tickersIn decodes a frame as a connection for tickers does.
func tickersIn(frame string) (b market.Batch, kind Kind, unknown []string, metrics *health.Metrics, err error) {
	metrics = health.NewMetrics()
	d := NewDecoder(registry(), market.SourceAggTrade, metrics, nil)
	d.Tickers = true
	d.OnUnknown = func(name []byte) { unknown = append(unknown, string(name)) }
	kind, err = d.Frame([]byte(frame), &b)
	return b, kind, unknown, metrics, err
}

func TestDecodeTickers(t *testing.T) {
	btc, eth := tickerOf(0, 1791283239234, "86026.4", "119489.809"), tickerOf(1, 1791283239235, "0.0025", "10000")
	f := func(name, frame string, want []market.Ticker, kind Kind, unknown ...string) {
		t.Helper()
		b, got, told, metrics, err := tickersIn(frame)
		if got != kind || err != nil {
			t.Errorf("%s: kind %d, error %v; want kind %d", name, got, err, kind)
		}
		if diff := cmp.Diff(want, b.Tickers); diff != "" {
			t.Errorf("%s: (−want +got)\n%s", name, diff)
		}
		if diff := cmp.Diff(unknown, told); diff != "" {
			t.Errorf("%s, unknown: (−want +got)\n%s", name, diff)
		}
		if n := testutil.ToFloat64(metrics.UnknownSymbols) + droppedIn(metrics); n != 0 {
			t.Errorf("%s: counted %v", name, n)
		}
	}
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(tickerFrame) }
	one := func(t market.Ticker) []market.Ticker { return []market.Ticker{t} }
	f("all", tickersFrame, []market.Ticker{btc, eth}, KindTicker)
	f("wrapped", `{"stream":"!miniTicker@arr","data":`+tickersFrame+`}`, []market.Ticker{btc, eth}, KindTicker)
	f("data before stream", `{"data":`+tickersFrame+`,"stream":"!miniTicker@arr"}`, []market.Ticker{btc, eth}, KindTicker)
	f("white space", strings.NewReplacer(`":`, `" : `, `,"`, " ,\n\t\"", `[`, "\n[ ", `},`, `} , `, `]`, " ] ").Replace(tickersFrame), []market.Ticker{btc, eth}, KindTicker)
	f("one symbol's", tickerFrame, one(btc), KindTicker)
	f("one symbol's, wrapped", `{"stream":"btcusdt@miniTicker","data":`+tickerFrame+`}`, one(btc), KindTicker)
	f("as documented", `[`+swap(`"ps":"BTCUSDT",`, ``, `,"st":1`, `,"ps":"BTCUSDT","st":1`)+`]`, one(btc), KindTicker)
	f("other order", `[{"st":1,"v":"119489.809","c":"86026.40","s":"BTCUSDT","E":1791283239234,"e":"24hrMiniTicker"}]`, one(btc), KindTicker)
	f("escaped", `[`+swap(`24hrMiniTicker`, `24hr\u004diniTicker`, `"s":"BTC`, `"s":"\u0042TC`, `86026`, `8602\u0036`)+`]`, one(btc), KindTicker)
	f("not ASCII", swap(`BTCUSDT`, `币安人生USDT`), one(tickerOf(2, btc.Time, "86026.4", "119489.809")), KindTicker)
	f("volume beyond 64 bits", swap(`119489.809`, `98765432109876.5`), one(tickerOf(0, btc.Time, "86026.4", "98765432109876.5")), KindTicker)
	f("never traded", swap(`86026.40`, `0.00`, `119489.809`, `0`), one(tickerOf(0, btc.Time, "0", "0")), KindTicker)
	f("what is not read", swap(`10238568766.13`, `no number`, `"86016.50"`, `null`), one(btc), KindTicker)
	f("COIN-M's under a name of ours", swap(`"st":1`, `"st":2`), nil, KindTicker)
	f("a market to come", swap(`"st":1`, `"st":3`), one(btc), KindTicker)
	f("nothing", `[]`, nil, KindOther)
	f("rows of another event", `[{"e":"markPriceUpdate","s":"BTCUSDT","p":"1"},{}]`, nil, KindOther)
	f("another event among them", `[{"e":"markPriceUpdate"},`+tickerFrame+`]`, one(btc), KindTicker)
	f("unknown", `[`+swap(`"s":"BTCUSDT"`, `"s":"NEWUSDT"`)+`,`+tickerOld+`]`, one(eth), KindTicker, "NEWUSDT")
	f("unknown, without st", `[`+strings.Replace(tickerOld, "ETH", "NEW", 1)+`]`, nil, KindTicker, "NEWUSDT")
	f("unknown, of a market to come", `[`+swap(`"s":"BTCUSDT"`, `"s":"NEWUSDT"`, `"st":1`, `"st":3`)+`]`, nil, KindTicker)
	f("another event", `{"e":"depthUpdate"`, nil, KindOther)
}

// TestDecodeTickersDropsBadRows: each bad row is counted by its reason, and the row behind it counts.
func TestDecodeTickersDropsBadRows(t *testing.T) {
	f := func(name, row, reason string) {
		t.Helper()
		b, kind, unknown, metrics, err := tickersIn(`[` + row + ` , ` + tickerOld + `]`)
		if kind != KindTicker || err != nil || len(b.Tickers) != 1 || b.Tickers[0].SymbolID != 1 || unknown != nil {
			t.Errorf("%s: kind %d, error %v, brought %+v, unknown %v", name, kind, err, b.Tickers, unknown)
		}
		if n := testutil.ToFloat64(metrics.DecodeErrors.WithLabelValues(reason)); n != 1 || droppedIn(metrics) != 1 {
			t.Errorf("%s: counted %v as %q, %v in all; want 1", name, n, reason, droppedIn(metrics))
		}
	}
	swap := func(old, by string) string { return strings.Replace(tickerFrame, old, by, 1) }
	f("no object", `[{"e":"24hrMiniTicker"}]`, "field")
	f("a number", `-1.5e7`, "field")
	f("twice", swap(`"ps":"BTCUSDT"`, `"c":"1"`), "field")
	f("st twice", swap(`"ps":"BTCUSDT"`, `"st":2`), "field")
	f("st is no number", swap(`"st":1`, `"st":"1"`), "field")
	f("without time", swap(`"E":1791283239234,`, ``), "field")
	f("without price", swap(`"c":"86026.40",`, ``), "field")
	f("without symbol", swap(`"s":"BTCUSDT",`, ``), "field")
	f("price is no text", swap(`"86026.40"`, `86026.40`), "field")
	f("9 decimals", swap(`86026.40`, `0.000000001`), "number")
	f("volume beyond the bound", swap(`119489.809`, `100000000000000001`), "number")
	f("negative volume", swap(`119489.809`, `-1`), "number")
	f("year 10000", swap(`1791283239234`, `253402300800000`), "time")
	f("before 1970", swap(`1791283239234`, `-1`), "time")
	f("empty name", swap(`"s":"BTCUSDT"`, `"s":""`), "symbol")
	f("long name", swap(`"s":"BTCUSDT"`, `"s":"`+strings.Repeat("A", 65)+`"`), "symbol")
	f("not UTF-8", swap(`"s":"BTCUSDT"`, "\"s\":\"BTC\xff\""), "utf8")
}

// TestDecodeTickersRefused: of a text that is no JSON nothing counts, and one symbol's event is dropped whole.
func TestDecodeTickersRefused(t *testing.T) {
	f := func(name, frame string, kind Kind, want error) {
		t.Helper()
		b, got, _, _, err := tickersIn(frame)
		if got != kind || err != want || len(b.Tickers) != 0 {
			t.Errorf("%s: kind %d, error %v, brought %+v; want %d, %v", name, got, err, b.Tickers, kind, want)
		}
	}
	f("cut short", tickersFrame[:len(tickersFrame)-1], KindOther, ErrSyntax)
	f("something after it", tickersFrame+`,`, KindOther, ErrSyntax)
	f("comma behind the last", `[`+tickerFrame+`,]`, KindOther, ErrSyntax)
	f("cut short, wrapped", `{"stream":"!miniTicker@arr","data":[`+tickerFrame+`}`, KindOther, ErrSyntax)
	f("one symbol's", strings.Replace(tickerFrame, "86026.40", "x", 1), KindTicker, ErrNumber)
	f("one symbol's, cut short", tickerFrame[:150], KindOther, ErrSyntax)
}

// TestDecodeUnwantedTickers: where tickers are not wanted they are not read, whatever they hold.
func TestDecodeUnwantedTickers(t *testing.T) {
	for _, frame := range []string{tickersFrame, ` [`, `[?`, tickerFrame, `{"e":"24hrMiniTicker",?`, `{"stream":"!miniTicker@arr","data":[?}`, ` {"data":` + tickersFrame + `}`} {
		d, b := NewDecoder(registry(), market.SourceAggTrade, nil, nil), market.Batch{}
		if kind, err := d.Frame([]byte(frame), &b); kind != KindOther || err != nil || len(b.Tickers) != 0 {
			t.Errorf("%s: kind %d, error %v, brought %+v", frame, kind, err, b.Tickers)
		}
	}
}

// TestDecodeTickerRegistersUnknown: a name that OnUnknown registers is known at once, in the row that brought it.
func TestDecodeTickerRegistersUnknown(t *testing.T) {
	symbols, b := registry(), market.Batch{}
	d := NewDecoder(symbols, market.SourceAggTrade, nil, nil)
	d.Tickers = true
	d.OnUnknown = func(name []byte) { symbols.Put(market.Symbol{Name: string(name)}) }
	_, err := d.Frame([]byte(`[`+strings.Replace(tickerOld, "ETH", "NEW", 1)+`]`), &b)
	if want := tickerOf(4, 1791283239235, "0.0025", "10000"); err != nil || len(b.Tickers) != 1 || b.Tickers[0] != want {
		t.Errorf("error %v, brought %+v", err, b.Tickers)
	}
}

func TestDecodeBadRowsAreLogged(t *testing.T) {
	lines := new(bytes.Buffer)
	d, b := NewDecoder(registry(), market.SourceAggTrade, nil, textLog(lines)), market.Batch{}
	d.Tickers = true
	if _, err := d.Frame([]byte(`[`+tickerFrame+`,"this",7]`), &b); err != nil || strings.Count(lines.String(), "\n") != 2 ||
		!strings.Contains(lines.String(), `msg="dropped a row"`) || !strings.Contains(lines.String(), `row="\"this\"" bytes=6`) {
		t.Errorf("error %v, log %s", err, lines)
	}
}

// TestDecodeRealTickers holds a real capture of tickers against the oracle and counts what they bring.
func TestDecodeRealTickers(t *testing.T) {
	c := newComparer(market.SourceAggTrade).wantsTickers()
	var unknown []string
	c.d.OnUnknown = func(name []byte) { unknown = append(unknown, string(name)) }
	rows, trades := 0, 0
	capture(t, "um-2026-10-shapes.jsonl", func(frame []byte) {
		c.compare(t, frame)
		rows, trades = rows+len(c.b.Tickers), trades+len(c.b.Trades)
	})
	if rows != 3 || trades != 2 || strings.Join(unknown, " ") != "NOTLISTEDUSDT" {
		t.Errorf("%d tickers, %d trades, unknown %v", rows, trades, unknown)
	}
}

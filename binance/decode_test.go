package binance

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

// registry holds the names that the tests' frames speak of.
func registry(names ...string) *market.Symbols {
	s := new(market.Symbols)
	for _, name := range append([]string{"BTCUSDT", "ETHUSDT", "币安人生USDT", "1000PEPEUSDT"}, names...) {
		s.Put(market.Symbol{Name: name, PriceDigits: 2, QtyDigits: 3})
	}
	return s
}

const (
	aggFrame   = `{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","nq":"0.020","f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}`
	aggDoc     = `{"e":"aggTrade","E":1791382992488,"s":"BTCUSDT","a":3477868433,"p":"83091.70","q":"0.022","nq":"0.020","f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}`
	aggOld     = `{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","f":8153634393,"l":8153634394,"T":1791382992338,"m":false}`
	aggWrapped = `{"stream":"btcusdt@aggTrade","data":` + aggFrame + `}`
	tradeFrame = `{"e":"trade","E":1785701708157,"T":1785701708156,"s":"BTCUSDT","t":7947574407,"p":"63437.30","q":"0.003","X":"MARKET","m":false,"st":1}`
	klineOpen  = `{"e":"kline","E":1791382992723,"s":"BTCUSDT","k":{"t":1791382980000,"T":1791383039999,"s":"BTCUSDT","i":"1m","f":8153633367,"L":8153634395,"o":"83084.90","c":"83091.60","h":"83091.70","l":"83051.20","v":"13.551","n":1027,"x":false,"q":"1125714.73960","V":"6.426","Q":"533856.66860","B":"0"}}`
)

var klineClosed = strings.Replace(klineOpen, `"x":false`, `"x":true`, 1)

var aggWant = market.Trade{
	ID: 3477868433, FirstID: 8153634393, LastID: 8153634394, Price: fixed.MustParse("83091.7"), Qty: fixed.MustParse("0.022"),
	Time: 1791382992338, SymbolID: 0, TakerBuy: true,
}

func change(f func(*market.Trade)) *market.Trade {
	t := aggWant
	f(&t)
	return &t
}

// swapped is the wire's aggTrade with one text replaced.
func swapped(old, by string) string { return strings.Replace(aggFrame, old, by, 1) }

// aggTradeBrings decodes one frame and holds what it brings against want; nil is nothing.
func aggTradeBrings(t *testing.T, name, frame string, want *market.Trade, kind Kind, wantErr error) {
	t.Helper()
	d := NewDecoder(registry(), market.SourceAggTrade, nil, nil)
	var b market.Batch
	got, err := d.Frame([]byte(frame), &b)
	if got != kind || !errors.Is(err, wantErr) {
		t.Errorf("%s: kind %d, error %v; want %d, %v", name, got, err, kind, wantErr)
	}
	switch {
	case want == nil && len(b.Trades) != 0:
		t.Errorf("%s: brought %+v", name, b.Trades)
	case want != nil && (len(b.Trades) != 1 || b.Trades[0] != *want):
		t.Errorf("%s: brought %+v, want %+v", name, b.Trades, *want)
	}
}

func TestDecodeAggTrade(t *testing.T) {
	same := &aggWant
	f := func(name, frame string, want *market.Trade) {
		t.Helper()
		aggTradeBrings(t, name, frame, want, KindTrade, nil)
	}
	f("wire", aggFrame, same)
	f("documented order", aggDoc, same)
	f("without nq and st", aggOld, same)
	f("wrapped", aggWrapped, same)
	f("taker sold", swapped("false", "true"), change(func(t *market.Trade) { t.TakerBuy = false }))
	f("quantity 0", swapped(`"0.022"`, `"0"`), change(func(t *market.Trade) { t.Qty = 0 }))
	f("not ASCII", swapped(`BTCUSDT`, `币安人生USDT`), change(func(t *market.Trade) { t.SymbolID = 2 }))
	f("escaped name", swapped(`BTCUSDT`, `\u5e01\u5B89\u4eba生USDT`), change(func(t *market.Trade) { t.SymbolID = 2 }))
	f("escaped price", swapped(`83091.70`, `\u00383091.70`), same)
	f("escaped key", swapped(`"p"`, `"\u0070"`), same)
	f("escaped event", swapped(`aggTrade`, `agg\u0054rade`), same)
	f("white space", strings.NewReplacer(`":`, `" : `, `,"`, " ,\n\t\"", `{`, `{ `, `}`, " }\r\n").Replace(aggWrapped), same)
	f("other order", `{"st":1,"m":false,"T":1791382992338,"l":8153634394,"f":8153634393,"q":"0.022","p":"83091.70","s":"BTCUSDT","a":3477868433,"e":"aggTrade"}`, same)
	f("data before stream", `{"data":`+aggFrame+`,"stream":"btcusdt@aggTrade"}`, same)
	f("unknown keys", swapped(`"nq"`, `"x":{"y":[1,{"z":null}],"e":-1.5e-7},"nq"`), same)
	f("18 decimals elsewhere", swapped(`"0.020"`, `"0.020000000000000000"`), same)
	f("unknown symbol", swapped("BTCUSDT", "BTCUSD_PERP"), nil)
}

func TestDecodeAggTradeRefused(t *testing.T) {
	f := func(name, frame string, kind Kind, wantErr error) {
		t.Helper()
		aggTradeBrings(t, name, frame, nil, kind, wantErr)
	}
	f("single trade", tradeFrame, KindOther, nil)
	f("9 decimals", swapped("0.022", "0.000000001"), KindTrade, ErrNumber)
	f("beyond the bound", swapped("0.022", "92233720369"), KindTrade, ErrNumber)
	f("notional beyond the bound", swapped("0.022", "92233720368"), KindTrade, ErrNumber)
	f("exponent", swapped("0.022", "2.2e-2"), KindTrade, ErrNumber)
	f("negative", swapped("0.022", "-1"), KindTrade, ErrNumber)
	f("price 0", swapped("83091.70", "0.00"), KindTrade, ErrNumber)
	f("id beyond 64 bits", swapped("3477868433", "9223372036854775808"), KindTrade, ErrNumber)
	f("ids reversed", swapped("8153634394", "8153634392"), KindTrade, ErrIDs)
	f("negative id", swapped("3477868433", "-1"), KindTrade, ErrIDs)
	f("year 10000", swapped(`"T":1791382992338`, `"T":253402300800000`), KindTrade, ErrTime)
	f("number as text", swapped(`3477868433`, `"3477868433"`), KindTrade, ErrField)
	f("text as number", swapped(`"0.022"`, `0.022`), KindTrade, ErrField)
	f("null", swapped(`false`, `null`), KindTrade, ErrField)
	f("twice", swapped(`"st":1`, `"p":"1"`), KindOther, ErrField)
	f("twice, one escaped", swapped(`"st":1`, `"\u0070":"1"`), KindOther, ErrField)
	f("without price", swapped(`"p":"83091.70",`, ``), KindTrade, ErrField)
	f("empty name", swapped("BTCUSDT", ""), KindTrade, ErrSymbol)
	f("long name", swapped("BTCUSDT", strings.Repeat("A", 65)), KindTrade, ErrSymbol)
	f("long escaped name", swapped("BTCUSDT", strings.Repeat(`\u0041`, 65)), KindTrade, ErrSymbol)
	f("not UTF-8", swapped("BTCUSDT", "BTC\xffUSDT"), KindTrade, ErrUTF8)
	f("cut short", aggFrame[:100], KindOther, ErrSyntax)
	f("something after it", aggFrame+"x", KindOther, ErrSyntax)
	f("leading zero", swapped(`3477868433`, `03477868433`), KindOther, ErrSyntax)
	f("too deep", swapped(`"nq"`, `"x":`+strings.Repeat("[", 65)+strings.Repeat("]", 65)+`,"nq"`), KindOther, ErrSyntax)
	f("bare and wrapped", `{"data":`+aggFrame+`,"e":"aggTrade"}`, KindOther, ErrField)
	f("empty", ``, KindOther, ErrSyntax)
	f("space", ` `, KindOther, ErrSyntax)
	f("a word", `hello`, KindOther, ErrSyntax)
}

func TestDecodeTrade(t *testing.T) {
	want := market.Trade{
		ID: 7947574407, FirstID: 7947574407, LastID: 7947574407, Price: fixed.MustParse("63437.3"), Qty: fixed.MustParse("0.003"),
		Time: 1785701708156, TakerBuy: true,
	}
	none := want
	none.Qty = 0
	burnt := none
	burnt.Price = 0
	f := func(name, frame string, want market.Trade) {
		t.Helper()
		for _, text := range []string{frame, `{"stream":"btcusdt@trade","data":` + frame + `}`, " " + frame} {
			d := NewDecoder(registry(), market.SourceTrade, nil, nil)
			var b market.Batch
			kind, err := d.Frame([]byte(text), &b)
			if kind != KindTrade || err != nil || len(b.Trades) != 1 || b.Trades[0] != want {
				t.Errorf("%s: kind %d, error %v, brought %+v, want %+v", name, kind, err, b.Trades, want)
			}
		}
	}
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(tradeFrame) }
	f("market", tradeFrame, want)
	f("yesterday's", swap(`,"st":1`, ``), want)
	f("without kind", swap(`"X":"MARKET",`, ``), want)
	f("retail price improvement", swap(`MARKET`, `RPI`), want)
	f("insurance fund", swap(`MARKET`, `INSURANCE_FUND`), none)
	f("deleveraging", swap(`MARKET`, `ADL`), none)
	f("a kind to come", swap(`MARKET`, `market`), none)
	f("burnt id", swap(`MARKET`, `NA`, `"63437.30"`, `"0"`, `"0.003"`, `"0"`), burnt)

	d, b := NewDecoder(registry(), market.SourceTrade, nil, nil), market.Batch{}
	if kind, err := d.Frame([]byte(aggFrame), &b); kind != KindOther || err != nil || len(b.Trades) != 0 {
		t.Errorf("aggTrade with source trade: kind %d, error %v, %d trades", kind, err, len(b.Trades))
	}
	if kind, err := d.Frame([]byte(swap(`"MARKET"`, `1`)), &b); kind != KindTrade || err != ErrField {
		t.Errorf("kind that is no text: kind %d, error %v", kind, err)
	}
}

func TestDecodeKline(t *testing.T) {
	want := market.Update{
		Series: market.Series{Symbol: 0, Interval: market.OneMinute},
		Kline: market.Kline{
			OpenTime: 1791382980000, Open: fixed.MustParse("83084.9"), High: fixed.MustParse("83091.7"),
			Low: fixed.MustParse("83051.2"), Close: fixed.MustParse("83091.6"), TradeCount: 1027,
			FirstID: 8153633367, LastID: 8153634395, LastTradeID: -1, State: market.StateSettled,
		},
	}
	want.Volume, _ = fixed.ParseSum("13.551")
	want.QuoteVolume, _ = fixed.ParseSum("1125714.7396")
	want.TakerBuyVolume, _ = fixed.ParseSum("6.426")
	want.TakerBuyQuoteVolume, _ = fixed.ParseSum("533856.6686")
	f := func(name, frame string, want *market.Update, kind Kind, wantErr error) {
		t.Helper()
		d := NewDecoder(registry(), market.SourceAggTrade, nil, nil)
		var b market.Batch
		got, err := d.Frame([]byte(frame), &b)
		if got != kind || err != wantErr {
			t.Errorf("%s: kind %d, error %v; want %d, %v", name, got, err, kind, wantErr)
		}
		if want == nil && len(b.Official) != 0 {
			t.Errorf("%s: brought %+v", name, b.Official)
		}
		if want != nil {
			if diff := cmp.Diff([]market.Update{*want}, b.Official); diff != "" {
				t.Errorf("%s: (−want +got)\n%s", name, diff)
			}
		}
	}
	swap := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(klineClosed) }
	f("closed", klineClosed, &want, KindKline, nil)
	f("closed, wrapped", `{"stream":"btcusdt@kline_1m","data":`+klineClosed+`}`, &want, KindKline, nil)
	f("open", klineOpen, nil, KindKline, nil)
	f("open, never read", `{"e":"kline",?"x":false`, nil, KindKline, nil)
	f("open, spaced", strings.Replace(klineOpen, `"x":false`, `"x" : false`, 1), nil, KindKline, nil)
	f("open, but only in a key", swap(`"B":"0"`, `"B\"x":false`), &want, KindKline, nil)
	f("continuous", swap(`"kline"`, `"continuous_kline"`), nil, KindOther, nil)
	f("unknown symbol", swap(`BTCUSDT`, `XRPUSDT`), nil, KindKline, nil)
	f("without k.s", swap(`"s":"BTCUSDT","i"`, `"i"`), &want, KindKline, nil)
	f("two symbols", swap(`"s":"BTCUSDT","i"`, `"s":"ETHUSDT","i"`), nil, KindKline, ErrSymbol)
	f("1s", swap(`"1m"`, `"1s"`), nil, KindKline, ErrField)
	f("off the grid", swap(`1791382980000`, `1791382980001`), nil, KindKline, ErrTime)
	f("close time of another", swap(`1791383039999`, `1791383039998`), nil, KindKline, ErrTime)
	f("negative count", swap(`1027`, `-1`), nil, KindKline, ErrIDs)
	f("k is no object", `{"e":"kline","s":"BTCUSDT","k":[]}`, nil, KindKline, ErrField)
	f("without x", swap(`"x":true,`, ``), nil, KindKline, ErrField)
}

func TestDecodeOthers(t *testing.T) {
	f := func(frame string, want Kind) {
		t.Helper()
		d := NewDecoder(registry(), market.SourceAggTrade, nil, nil)
		var b market.Batch
		if kind, err := d.Frame([]byte(frame), &b); kind != want || err != nil || len(b.Trades)+len(b.Official) > 0 {
			t.Errorf("%s: kind %d, error %v, brought %v; want kind %d", frame, kind, err, b, want)
		}
	}
	f(`{"result":null,"id":1}`, KindAck)
	f(`{"result":["btcusdt@aggTrade"],"id":3}`, KindAck)
	f(`{"id":3,"result":true}`, KindAck)
	f(`{"error":{"code":4,"msg":"Too many subscriptions"},"id":4}`, KindRefusal)
	f(`{"error":{"code":4,"msg":"Too many subscriptions"}}`, KindRefusal)
	f(`[{"e":"24hrMiniTicker","E":1791283239234,"s":"BTCUSDT"}]`, KindOther)
	f(`{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}`, KindOther)
	f(`{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":1}}`, KindOther)
	f(`{"e":"depthUpdate"`, KindOther)
	f(`{}`, KindOther)
	f(`{"e":5}`, KindOther)
	f(`{"data":5}`, KindOther)
}

func TestDecodeUnknownSymbol(t *testing.T) {
	symbols, metrics := registry(), health.NewMetrics()
	d := NewDecoder(symbols, market.SourceAggTrade, metrics, nil)
	var b market.Batch
	frame := []byte(strings.Replace(aggFrame, "BTCUSDT", "NEWUSDT", 1))
	var told []string
	d.OnUnknown = func(name []byte) { told = append(told, string(name)) }
	if _, err := d.Frame(frame, &b); err != nil || len(b.Trades) != 0 {
		t.Fatalf("error %v, %d trades", err, len(b.Trades))
	}
	d.OnUnknown = func(name []byte) { symbols.Put(market.Symbol{Name: string(name)}) }
	if _, err := d.Frame(frame, &b); err != nil || len(b.Trades) != 1 || b.Trades[0].SymbolID != 4 {
		t.Fatalf("after registration: error %v, trades %+v", err, b.Trades)
	}
	if diff := cmp.Diff([]string{"NEWUSDT"}, told); diff != "" {
		t.Error(diff)
	}
	if n := testutil.ToFloat64(metrics.UnknownSymbols); n != 1 {
		t.Errorf("counted %v unknown symbols, want 1", n)
	}
}

func TestDecodeErrorsAreCountedAndLogged(t *testing.T) {
	metrics, lines := health.NewMetrics(), new(bytes.Buffer)
	d := NewDecoder(registry(), market.SourceAggTrade, metrics, textLog(lines))
	var b market.Batch
	for range 3 {
		_, _ = d.Frame([]byte("{\"e\":\x00"+strings.Repeat("x", 500)), &b)
	}
	if n := testutil.ToFloat64(metrics.DecodeErrors.WithLabelValues("syntax")); n != 3 {
		t.Errorf("counted %v, want 3", n)
	}
	if n := strings.Count(lines.String(), "\n"); n != 3 || !strings.Contains(lines.String(), `msg="dropped a frame"`) || !strings.Contains(lines.String(), `\x00xxx`) || lines.Len() > 3*400 {
		t.Errorf("%d lines: %s", n, lines)
	}
}

// TestDecodeCorruptedFrames changes each byte of strict frames to each that has a meaning in JSON, and in each bit, leaves it
// out and doubles it: the decoder refuses or agrees with encoding/json.
func TestDecodeCorruptedFrames(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	const bytesToTry = "\"\\{}[]:,.-+eEtTfns019 \n\x00\x1f\x7f\x80\xc3\xff"
	corrupt := func(c *comparer, frames ...string) {
		for _, frame := range frames {
			for i := range len(frame) {
				for j := range len(bytesToTry) {
					c.compare(t, []byte(frame[:i]+bytesToTry[j:j+1]+frame[i+1:]))
				}
				for bit := range 8 {
					c.compare(t, []byte(frame[:i]+string([]byte{frame[i] ^ 1<<bit})+frame[i+1:]))
				}
				c.compare(t, []byte(frame[:i]+frame[i+1:]))
				c.compare(t, []byte(frame[:i]+frame[i:i+1]+frame[i:]))
				c.compare(t, []byte(frame[:i]))
			}
		}
	}
	for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		corrupt(newComparer(source), aggFrame, aggDoc, aggOld, aggWrapped, tradeFrame, klineClosed, klineOpen)
	}
	const row = `{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1","v":"2","st":1}`
	corrupt(newComparer(market.SourceAggTrade).wantsTickers(), row, `[`+row+`,`+row+`]`, `{"stream":"x","data":[`+row+`]}`)
}

// wantsTickers makes c that of a connection for tickers.
func (c *comparer) wantsTickers() *comparer {
	c.d.Tickers, c.o.tickers = true, true
	return c
}

// comparer holds a decoder against the oracle.
type comparer struct {
	d *Decoder
	o oracle
	b market.Batch
}

func newComparer(source market.Source) *comparer {
	symbols := registry("\ufffd", "A\ufffd")
	return &comparer{d: NewDecoder(symbols, source, nil, nil), o: oracle{symbols: symbols, source: source}}
}

func (c *comparer) compare(t *testing.T, frame []byte) {
	t.Helper()
	c.b.Reset()
	kind, err := c.d.Frame(frame, &c.b)
	if err != nil && len(c.b.Trades)+len(c.b.Official)+len(c.b.Tickers) > 0 {
		t.Fatalf("%q: error %v, and yet %+v", frame, err, c.b)
	}
	want := c.o.decode(frame)
	if kind == KindKline && err == nil && stillOpen(frame) {
		want.Official = nil // says x:false somewhere, and is not read any further
	}
	if !slices.Equal(c.b.Trades, want.Trades) || !slices.Equal(c.b.Official, want.Official) || !slices.Equal(c.b.Tickers, want.Tickers) {
		t.Fatalf("%q\nkind %d, error %v\ngot  %+v\nwant %+v", frame, kind, err, c.b, want)
	}
}

// TestUnescape holds the reading of escapes against encoding/json, halves of surrogate pairs among them.
func TestUnescape(t *testing.T) {
	for _, text := range []string{
		`a`, `\"\\\/\b\f\n\r\t`, `\u00e9\u5E01\uABCD\uabcd`, `\ud83d\ude00`, `\ud83d`, `\ude00\ud83d`, `\ud83d\u0041`, `\ud83dx`,
		`\ud83d\n`, `\ud83d\ud83d\ude00`, `\u0000`,
	} {
		var want string
		if err := json.Unmarshal([]byte(`"`+text+`"`), &want); err != nil {
			t.Fatal(err)
		}
		s := scanner{text: []byte(`"` + text + `"`)}
		if _, ok := s.str(); !ok || !s.end() || string(unescape(nil, []byte(text))) != want {
			t.Errorf("%s is %q, want %q", text, unescape(nil, []byte(text)), want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, frame := range []string{
		aggFrame, aggDoc, aggOld, aggWrapped, tradeFrame, klineOpen, klineClosed, `{"result":null,"id":1}`,
		`{"data":` + aggFrame + `,"stream":"x"}`, `{"\u0065":"trade","\u0041":[{},[],"\ud83d\ude00\ud800",1.5e+7,-0,true,null]}`,
		strings.Replace(aggFrame, "BTCUSDT", `\u5e01安\u4eba\u751fUSDT`, 1), strings.Replace(tradeFrame, "MARKET", "NA", 1),
		` { "e" : "aggTrade" , "m" : true } `, tickerFrame, tickersFrame, `{"stream":"!miniTicker@arr","data":` + tickersFrame + `}`, ` [ ] `,
	} {
		f.Add([]byte(frame))
	}
	agg, trade, tickers := newComparer(market.SourceAggTrade), newComparer(market.SourceTrade), newComparer(market.SourceAggTrade).wantsTickers()
	f.Fuzz(func(t *testing.T, frame []byte) {
		if bytes.Count(frame, []byte("["))+bytes.Count(frame, []byte("{")) > maxDepth {
			t.Skip("may lie deeper than the decoder goes")
		}
		agg.compare(t, frame)
		trade.compare(t, frame)
		tickers.compare(t, frame)
	})
}

func TestDecodeAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	f := func(name string, source market.Source, frame string) {
		t.Helper()
		d := NewDecoder(registry(), source, health.NewMetrics(), nil)
		d.Tickers, d.OnUnknown = strings.Contains(frame, "MiniTicker"), func([]byte) {}
		b, text := market.Batch{Trades: make([]market.Trade, 0, 8), Official: make([]market.Update, 0, 8), Tickers: make([]market.Ticker, 0, 8)}, []byte(frame)
		if n := testing.AllocsPerRun(100, func() {
			b.Reset()
			if _, err := d.Frame(text, &b); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	f("aggTrade", market.SourceAggTrade, aggFrame)
	f("aggTrade wrapped", market.SourceAggTrade, aggWrapped)
	f("aggTrade tolerant", market.SourceAggTrade, " "+aggFrame)
	f("aggTrade unknown symbol", market.SourceAggTrade, strings.Replace(aggFrame, "BTCUSDT", "XRPUSDT", 1))
	f("aggTrade escaped name", market.SourceAggTrade, strings.Replace(aggFrame, "BTCUSDT", `\u0042TCUSDT`, 1))
	f("trade", market.SourceTrade, tradeFrame)
	f("trade tolerant", market.SourceTrade, " "+tradeFrame)
	f("kline open", market.SourceAggTrade, klineOpen)
	f("kline closed", market.SourceAggTrade, klineClosed)
	f("ticker", market.SourceAggTrade, tickerFrame)
	f("tickers", market.SourceAggTrade, tickersFrame)
	f("tickers of unknown symbols", market.SourceAggTrade, strings.ReplaceAll(tickersFrame, "BTCUSDT", "XRPUSDT"))
}

func TestMain(m *testing.M) { os.Exit(leakless(m)) }

package binance

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"klined/market"
)

func texts(all [][]byte) (out []string) {
	for _, b := range all {
		out = append(out, string(b))
	}
	return out
}

// TestPayloads: a batch has the exchange's own bytes of each trade and of each row, taken out of whatever they are wrapped in, and
// of nothing else.
func TestPayloads(t *testing.T) {
	spaced := strings.NewReplacer(`":`, `" : `, `,"`, " ,\n\t\"").Replace(aggFrame)
	escaped := strings.Replace(aggFrame, `"s":"BTC`, `"s":"\u0042TC`, 1)
	other := `{"m":false,"T":1791382992338,"l":8153634394,"f":8153634393,"q":"0.022","p":"83091.70","s":"BTCUSDT","a":3477868433,"e":"aggTrade","x":{"data":[]}}`
	odd := `{"e":"24hrMiniTicker","E":1,"s":"NEWUSDT","c":"1","v":"1"}`
	for _, c := range []struct {
		name, frame             string
		trades, rows, summaries []string
		source                  market.Source
	}{
		{name: "bare", frame: aggFrame, trades: []string{aggFrame}},
		{name: "documented order", frame: aggDoc, trades: []string{aggDoc}},
		{name: "wrapped", frame: aggWrapped, trades: []string{aggFrame}},
		{name: "a trade", frame: tradeFrame, source: market.SourceTrade, trades: []string{tradeFrame}},
		{name: "white space", frame: " \n" + spaced + "\t", trades: []string{spaced}},
		{name: "white space, wrapped", frame: `{ "stream" : "x" , "data" : ` + spaced + ` } `, trades: []string{spaced}},
		{name: "data first", frame: `{"data":` + aggFrame + `,"stream":"btcusdt@aggTrade"}`, trades: []string{aggFrame}},
		{name: "escaped", frame: escaped, trades: []string{escaped}},
		{name: "escaped, wrapped", frame: `{"stream":"\u0062tcusdt@aggTrade","data":` + escaped + `}`, trades: []string{escaped}},
		{name: "other order", frame: other, trades: []string{other}},
		{name: "other order, wrapped", frame: `{"stream":"x","data":` + other + `}`, trades: []string{other}},
		{name: "unknown symbol", frame: strings.Replace(aggFrame, "BTCUSDT", "NEWUSDT", 1)},
		{name: "the other source", frame: tradeFrame},
		{name: "refused", frame: strings.Replace(aggFrame, `"p":"83091.70"`, `"p":"x"`, 1)},
		{name: "tickers", frame: tickersFrame, rows: []string{tickerFrame, tickerOld}, summaries: []string{tickersFrame}},
		{name: "tickers, wrapped", frame: `{"stream":"!miniTicker@arr","data":` + tickersFrame + `}`, rows: []string{tickerFrame, tickerOld}, summaries: []string{tickersFrame}},
		{name: "unknown tickers", frame: `[` + odd + `]`, summaries: []string{`[` + odd + `]`}},
		{name: "one ticker", frame: tickerFrame, rows: []string{tickerFrame}},
		{name: "a bad row", frame: `[{"e":"24hrMiniTicker"}, ` + tickerFrame + ` ]`, rows: []string{tickerFrame}, summaries: []string{`[{"e":"24hrMiniTicker"}, ` + tickerFrame + ` ]`}},
		{name: "rows of another event", frame: `[{"e":"markPriceUpdate"}]`},
	} {
		d, b := NewDecoder(registry(), c.source, nil, nil), market.Batch{}
		d.Tickers = true
		_, _ = d.Frame([]byte(c.frame), &b)
		for what, pair := range map[string][2][]string{
			"trades": {c.trades, texts(b.Payloads)}, "rows": {c.rows, texts(b.Rows)}, "summaries": {c.summaries, texts(b.Summaries)},
		} {
			if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
				t.Errorf("%s, %s: (−want +got)\n%s", c.name, what, diff)
			}
		}
		if len(b.Payloads) != len(b.Trades) || len(b.Rows) != len(b.Tickers) {
			t.Errorf("%s: %d payloads of %d trades, %d rows of %d tickers", c.name, len(b.Payloads), len(b.Trades), len(b.Rows), len(b.Tickers))
		}
	}
}

// TestPayloadsOfOneRead: what one read brings stays until the next, fragmented messages among them.
func TestPayloadsOfOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := []string{aggFrame, aggDoc, strings.Replace(aggDoc, "0.022", "0.033", 1), strings.Replace(aggFrame, "0.022", "0.044", 1)}
		e := &exchange{t: t, first: compiled(
			ws.NewTextFrame([]byte(frames[0])),
			ws.NewFrame(ws.OpText, false, []byte(frames[1][:50])), ws.NewFrame(ws.OpContinuation, true, []byte(frames[1][50:])),
			ws.NewFrame(ws.OpText, false, []byte(frames[2][:70])), ws.NewFrame(ws.OpContinuation, true, []byte(frames[2][70:])),
			ws.NewTextFrame([]byte(frames[3]))), serve: (*peer).acknowledge}
		var b market.Batch
		if err := e.dialled(1).Read(&b); err != nil || len(b.Trades) != 4 {
			t.Fatalf("error %v, %d trades", err, len(b.Trades))
		}
		if diff := cmp.Diff(frames, texts(b.Payloads)); diff != "" {
			t.Error(diff)
		}
	})
}

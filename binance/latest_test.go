package binance

import (
	"net/http"
	"strings"
	"testing"

	"klined/market"
)

func TestLatestID(t *testing.T) {
	const (
		agg   = `[{"a":3450415493,"p":"76906.00","q":"0.004","nq":"0.004","f":8079747315,"l":8079747316,"T":1789478330891,"m":false}]`
		trade = `[{"id":7947579848,"price":"63440.80","qty":"0.001","quoteQty":"63.44","time":1785702045391,"isBuyerMaker":true,"isRPITrade":false}]`
		older = `[{"id":7947579847,"time":1785702045390},`
	)
	f := func(name string, source market.Source, body string, id int64, at market.Time, weight int, question string) {
		t.Helper()
		var asked string
		r := newTestREST(func(q *http.Request) (int, map[string]string, string) {
			asked = q.URL.RequestURI()
			return 200, nil, body
		})
		r.o.Source = source
		gotID, gotAt, err := r.LatestID(t.Context(), market.ClassHeal, 1)
		if err != nil || gotID != id || gotAt != at || asked != question || r.budget.Used() != weight {
			t.Errorf("%s: %d at %d, error %v, asked %s for %d; want %d at %d, %s for %d", name, gotID, gotAt, err, asked, r.budget.Used(), id, at, question, weight)
		}
	}
	f("aggTrade", market.SourceAggTrade, agg, 3450415493, 1789478330891, 20, "/fapi/v1/aggTrades?limit=1&symbol=ETHUSDT")
	f("aggTrade, never traded", market.SourceAggTrade, `[]`, 0, 0, 20, "/fapi/v1/aggTrades?limit=1&symbol=ETHUSDT")
	f("trade", market.SourceTrade, trade, 7947579848, 1785702045391, 5, "/fapi/v1/trades?limit=1&symbol=ETHUSDT")
	f("trade, more than was asked for", market.SourceTrade, older+trade[1:], 7947579848, 1785702045391, 5, "/fapi/v1/trades?limit=1&symbol=ETHUSDT")
	f("trade, never traded", market.SourceTrade, `[]`, 0, 0, 5, "/fapi/v1/trades?limit=1&symbol=ETHUSDT")
	for _, body := range []string{``, `{}`, `null`, `[`, `[1]`, `[{}]`, `[{"id":5}]`, `[{"time":5}]`, `[{"id":-1,"time":5}]`, `[{"id":1,"time":-5}]`, `[{"id":"1","time":5}]`, trade + `x`} {
		r := says(body)
		r.o.Source = market.SourceTrade
		if id, at, err := r.LatestID(t.Context(), market.ClassHeal, 1); err == nil || !strings.HasPrefix(err.Error(), "GET /fapi/v1/trades?limit=1&symbol=ETHUSDT: ") {
			t.Errorf("%s gave %d at %d, error %v", body, id, at, err)
		}
	}
}

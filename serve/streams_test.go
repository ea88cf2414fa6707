package serve

import (
	"net/url"
	"slices"
	"testing"
)

// TestBaseAddresses: klined's own parameters reach it through each of the usual clients, which know a base address and nothing of
// them. What a client makes of its base is its own source's.
func TestBaseAddresses(t *testing.T) {
	const kline, both = "btcusdt@kline_1m", "/final=settled&revisions=1"
	for _, c := range []struct {
		client, address    string
		revisions, settled bool
		names              []string
	}{
		{"ccxt, urls.api.ws.future = …/final=settled/ws", "/final=settled/market/ws/0", false, true, []string{"0"}},
		{"binance, wsUrl = …/final=settled", "/final=settled/market/stream", false, true, nil},
		{"binance before routes", "/final=settled/stream", false, true, nil},
		{"the exchange's, wsURL = …/final=settled", "/final=settled/market/stream?streams=" + kline, false, true, []string{kline}},
		{"the exchange's, with a slash", "/final=settled//market/stream?streams=" + kline, false, true, []string{kline}},
		{"go-binance, BaseWsMainUrl = …/market/ws", both + "/market/ws/" + kline, true, true, []string{kline}},
		{"go-binance, BaseCombinedMainURL = …/market/stream?streams=", both + "/market/stream?streams=" + kline + "/a@b", true, true, []string{kline, "a@b"}},
		{"escaped", "/final%3Dsettled%26revisions%3D1/ws", true, true, nil},
		{"revisions alone", "/revisions=1/ws", true, false, nil},
		{"nothing of that", "/market/ws/" + kline, false, false, []string{kline}},
		{"front and query", "/revisions=1/ws?final=settled", true, true, nil},
		{"both say it, the front first", "/final=closed/ws?final=settled", false, false, nil},
	} {
		u, err := url.ParseRequestURI(c.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := streamsAt(u.Path); !ok {
			t.Errorf("%s: %s leads to no streams", c.client, c.address)
		}
		got, refused := wantedBy(u)
		if refused != nil || got.revisions != c.revisions || got.settled != c.settled || !slices.Equal(got.names, c.names) {
			t.Errorf("%s: %s: %+v, %v", c.client, c.address, got, refused)
		}
	}
}

package binance

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"klined/market"
)

// TestCheckAddress: addresses that are known to be wrong are refused before anybody is asked.
func TestCheckAddress(t *testing.T) {
	for _, c := range []struct{ want, address, refused string }{
		{DefaultREST, DefaultREST, ""},
		{DefaultREST, DefaultREST + "/", ""},
		{DefaultREST, "https://demo-fapi.binance.com", ""},
		{DefaultREST, "https://testnet.binancefuture.com", ""},
		{DefaultREST, "http://127.0.0.1:8090", ""},
		{DefaultREST, "https://example.org/exchange", ""},
		{DefaultWS, DefaultWS, ""},
		{DefaultWS, "wss://fstream.binancefuture.com", ""},
		{DefaultWS, "ws://[::1]:8090", ""},
		{DefaultArchive, DefaultArchive, ""},
		{DefaultREST, "https://api.binance.com", "api.binance.com is the spot market; want https://fapi.binance.com"},
		{DefaultREST, "https://API.Binance.com:443", "is the spot market"},
		{DefaultREST, "https://dapi.binance.com", "is the COIN-M futures"},
		{DefaultREST, "https://fstream.binance.com", "is the streams"},
		{DefaultREST, DefaultArchive, "is the archive"},
		{DefaultREST, "https://fapi.binance.com/fapi/v1", "/fapi/v1, which klined appends itself"},
		{DefaultWS, "wss://stream.binance.com:9443", "stream.binance.com:9443 is the spot market; want wss://fstream.binance.com"},
		{DefaultWS, "wss://dstream.binance.com", "is the COIN-M futures"},
		{DefaultWS, "wss://fapi.binance.com", "is REST"},
		{DefaultWS, "wss://ws-fapi.binance.com/ws-fapi/v1", "has no streams"},
		{DefaultWS, "wss://fstream.binance.com/ws", "it ends in /ws, which klined appends itself; want an address without, like wss://fstream.binance.com"},
		{DefaultWS, "wss://fstream.binance.com/market/stream", "klined appends itself"},
		{DefaultArchive, "https://data.binance.vision/data/futures/um", "klined appends itself"},
	} {
		err := CheckAddress(c.want, c.address)
		if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s for %s: %v, want %q", c.address, c.want, err, c.refused)
		}
	}
}

// TestExplain: what an operator meets in place of the exchange, and what is said of it.
func TestExplain(t *testing.T) {
	answering := func(status int, body string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
	}
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	page := answering(200, "<html>please sign in</html>")
	const restricted = `{"code":0,"msg":"Service unavailable from a restricted location according to 'b. Eligibility'"}`
	servers := []*httptest.Server{secure, page}
	at := func(status int, body string) string {
		s := answering(status, body)
		servers = append(servers, s)
		return s.URL
	}
	failing := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for _, c := range []struct {
		name, base string
		dial       func(context.Context, string, string) (net.Conn, error)
		rest, ws   string
	}{
		{"another API", at(404, `{"code":-5000,"msg":"Path /fapi/v1/time is invalid"}`), nil, "not where the exchange's USDⓈ-M futures are, or not any more; want https://fapi.binance.com", "want wss://fstream.binance.com"},
		{"a retired host", at(410, "gone"), nil, "not any more", "not any more"},
		{"the firewall", at(403, "<html>403 Forbidden</html>"), nil, "firewall refuses this machine's address", "firewall refuses"},
		{"a restricted place", at(451, restricted), nil, "does not serve the country", "does not serve the country"},
		{"trouble", at(502, "<html>Bad gateway</html>"), nil, "trouble of its own", "trouble of its own"},
		{"a page for signing in", page.URL, nil, "a page for signing in", "want wss://"},
		{"a certificate of nobody's", secure.URL, nil, "SSL_CERT_FILE", "SSL_CERT_FILE"},
		{"TLS where there is none", strings.Replace(page.URL, "http:", "https:", 1), nil, "no TLS at that port", "no TLS at that port"},
		{"none where there is TLS", strings.Replace(secure.URL, "https:", "http:", 1), nil, "want https", "and wss for streams"},
		{"nobody", "http://127.0.0.1:1", nil, "nothing listens there", "nothing listens there"},
		{"no such name", "http://exchange.invalid", failing(&net.DNSError{Err: "no such host", Name: "exchange.invalid", IsNotFound: true}), "is it spelt right?", "is it spelt right?"},
		{"no names at all", "http://exchange.invalid", failing(&net.DNSError{Err: "server misbehaving", Name: "exchange.invalid", IsTemporary: true}), "cannot resolve names just now", "cannot resolve names"},
		{"silence", "http://exchange.invalid", failing(&net.OpError{Op: "dial", Err: context.DeadlineExceeded}), "only --proxy leads out of", "only --proxy"},
	} {
		transport := &http.Transport{DialContext: c.dial}
		rest := NewREST(RESTOptions{Base: c.base, HTTP: &http.Client{Transport: transport}})
		_, err := rest.Time(t.Context())
		if err = Explain(c.base, err); err == nil || !strings.Contains(err.Error(), c.rest) {
			t.Errorf("%s: %v, want %q", c.name, err, c.rest)
		}
		transport.CloseIdleConnections()
		address := strings.Replace(c.base, "http", "ws", 1)
		_, err = NewVenue(VenueOptions{URL: address, Dial: c.dial}).DialTrades(t.Context(), "probe", nil)
		if err == nil || strings.Count(err.Error(), c.ws) != 1 {
			t.Errorf("%s, streams: %v, want %q", c.name, err, c.ws)
		}
	}
	for _, s := range servers {
		s.CloseClientConnections()
		s.Close()
	}
}

// TestSpot: a market without contracts is not taken for futures: its klines would be wrong here.
func TestSpot(t *testing.T) {
	spot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"timezone":"UTC","symbols":[{"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","quoteAsset":"BTC"}]}`))
	}))
	defer spot.Close()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	_, err := NewREST(RESTOptions{Base: spot.URL, HTTP: client}).ExchangeInfo(t.Context(), market.ClassStart)
	if err == nil || !strings.Contains(err.Error(), "none of its 1 symbols is a futures contract (ETHBTC, …)") {
		t.Error(err)
	}
}

package binance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// others are hosts of the exchange that are taken for those of its USDⓈ-M futures.
var others = map[string]string{
	"api.binance.com":            "the spot market",
	"api1.binance.com":           "the spot market",
	"api2.binance.com":           "the spot market",
	"api3.binance.com":           "the spot market",
	"api4.binance.com":           "the spot market",
	"api-gcp.binance.com":        "the spot market",
	"data-api.binance.vision":    "the spot market",
	"stream.binance.com":         "the spot market",
	"data-stream.binance.vision": "the spot market",
	"testnet.binance.vision":     "the spot market's test",
	"dapi.binance.com":           "the COIN-M futures",
	"dstream.binance.com":        "the COIN-M futures",
	"ws-fapi.binance.com":        "the API for orders over WebSocket, which has no streams",
	"www.binance.com":            "the web site",
	"binance.com":                "the web site",
	"fapi.binance.com":           "REST",
	"demo-fapi.binance.com":      "REST",
	"fstream.binance.com":        "the streams",
	"demo-fstream.binance.com":   "the streams",
	"data.binance.vision":        "the archive",
}

// appended are the words that paths of the exchange begin with.
var appended = []string{"fapi", "dapi", "api", "ws", "stream", "market", "public", "private", "data"}

// CheckAddress refuses an address that is known to be something else of the exchange's than want, one of the Default addresses, and
// one with a path of the exchange's: these are appended here. Hosts that are not known may be anybody's copy.
func CheckAddress(want, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	right, err := url.Parse(want)
	if err != nil {
		return err
	}
	host := strings.ToLower(u.Hostname())
	if is, known := others[host]; known && is != others[right.Hostname()] {
		return fmt.Errorf("%s is %s; want %s", u.Host, is, want)
	}
	for name := range strings.SplitSeq(strings.Trim(u.Path, "/"), "/") {
		if slices.Contains(appended, name) {
			return fmt.Errorf("it ends in %s, which klined appends itself; want an address without, like %s", u.Path, want)
		}
	}
	return nil
}

// Explain adds to an error from address, one of the exchange's, what it most likely means and what helps.
func Explain(address string, err error) error {
	if err == nil {
		return nil
	}
	for _, explain := range []func(string, error) string{ofTLS, ofAnswer, ofNetwork} {
		if words := explain(address, err); words != "" {
			return fmt.Errorf("%w (%s)", err, words)
		}
	}
	return err
}

// ofTLS explains what is wrong with who is at the other end.
func ofTLS(_ string, err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not of this time: is this machine's clock right? It shows " + time.Now().UTC().Format(time.DateTime) + " UTC"
	case errors.As(err, &authority), errors.As(err, &invalid):
		return "whoever answers has a certificate that nobody this machine trusts has signed: somebody stands between, or a company's proxy does, " +
			"whose certificate SSL_CERT_FILE may name"
	case errors.As(err, &name):
		return "whoever answers has a certificate for another name"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "there is no TLS at that port: http and ws are without"
	}
	return ""
}

// ofAnswer explains what somebody answered who is not the exchange, or not the part of it.
func ofAnswer(address string, err error) string {
	var api *APIError
	var upgrade ws.StatusError
	var syntax *json.SyntaxError
	status := 0
	if errors.As(err, &api) {
		status = api.Status
	} else if errors.As(err, &upgrade) {
		status = int(upgrade)
	}
	switch {
	case errors.As(err, &syntax):
		return "that is not the exchange's REST: a page for signing in to the network, or a wrong address; want one like " + wanted(address)
	case errors.Is(err, ws.ErrHandshakeBadProtocol):
		return "whoever answers speaks HTTP/1.0: there is TLS at that port (then want https, and wss for streams), or no WebSocket"
	case status == http.StatusBadRequest && api != nil && strings.Contains(api.Msg, "HTTPS"):
		return "there is TLS at that port: want https, and wss for streams"
	case status == 0:
		return ""
	case status == http.StatusNotFound, status == http.StatusGone, status == http.StatusMethodNotAllowed, status/100 == 3, status == http.StatusOK:
		return "that is not where the exchange's USDⓈ-M futures are, or not any more; want " + wanted(address)
	case status == http.StatusForbidden:
		return "the exchange's firewall refuses this machine's address, for some minutes where it asked too often; --proxy takes another one"
	case status == http.StatusUnavailableForLegalReasons:
		return "the exchange does not serve the country that this machine's address, or the proxy's, is in"
	case status == http.StatusProxyAuthRequired:
		return "a proxy stands between: --proxy tells its user and password"
	case status >= 500:
		return "the exchange, or what stands before it, has trouble of its own: later"
	}
	return ""
}

// wanted is the exchange's address for what address was to be.
func wanted(address string) string {
	if strings.HasPrefix(address, "ws") {
		return DefaultWS
	}
	return DefaultREST
}

// ofNetwork explains why nobody answered.
func ofNetwork(_ string, err error) string {
	var dns *net.DNSError
	var timeout net.Error
	var budget *market.BudgetError
	switch {
	case errors.As(err, &budget): // it was not even asked
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no such name: is it spelt right? With --proxy the proxy resolves it"
	case errors.As(err, &dns):
		return "this machine cannot resolve names just now; with --proxy the proxy does"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the port right?"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no way leads there from this machine: is it on the network?"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "nobody answers: a firewall, or a network that only --proxy leads out of"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "whoever is there hangs up: a firewall, or not the exchange"
	}
	return ""
}

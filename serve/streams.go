package serve

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

const handshakeWithin = 10 * time.Second

// serveStreams upgrades a request below /ws (bare frames) or /stream (wrapped ones) and subscribes it to the streams
// that its URL names. The prefixes /market and /public make no difference: every stream is served on every path.
func (s *Server) serveStreams(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeError(w, &apiError{status: http.StatusUpgradeRequired, code: -1000, msg: "This path speaks WebSocket."})
		return
	}
	want := wantedBy(r.URL)
	conn, rw, _, err := ws.HTTPUpgrader{Timeout: handshakeWithin}.Upgrade(r, w)
	if err != nil {
		s.log.Debug("websocket refused", "from", r.RemoteAddr, "err", err)
		if conn != nil {
			_ = conn.Close()
		}
		return
	}
	s.hub.start(conn, rw.Reader, want)
}

// wanted is what the URL of a connection asks for.
type wanted struct {
	names     []string // of streams
	combined  bool     // frames come wrapped in {"stream":…,"data":…}
	revisions bool     // later versions of closed klines come too
}

// wantedBy reads /ws/<name>/<name>…, or /stream?streams=<name>/<name>…, either with revisions=1 in its query. Other
// values of revisions, and other keys, ask for nothing: the exchange ignores what it does not know.
func wantedBy(u *url.URL) wanted {
	query := u.Query()
	path := strings.TrimPrefix(strings.TrimPrefix(u.Path, "/market"), "/public")
	list, bare := strings.CutPrefix(path, "/ws")
	if !bare {
		list = query.Get("streams")
	}
	want := wanted{combined: !bare, revisions: query.Get("revisions") == "1"}
	for name := range strings.SplitSeq(list, "/") {
		if name != "" {
			want.names = append(want.names, name)
		}
	}
	return want
}

// series finds what a stream name stands for: <symbol>@kline_<interval>, the symbol in lower case (ASCII letters; others
// as they are). Names of anything else are subscribed and stay silent, as on the exchange.
func (s *Server) series(stream string) (market.Series, bool) {
	symbol, name, ok := strings.Cut(stream, "@kline_")
	if !ok || lower(symbol) != symbol {
		return market.Series{}, false
	}
	interval, err := market.ParseInterval(name)
	if err != nil || !s.serves(interval) {
		return market.Series{}, false
	}
	sym, ok := s.symbol(upper(symbol))
	if !ok {
		return market.Series{}, false
	}
	return market.Series{Symbol: sym.ID, Interval: interval}, true
}

// streamName is the stream of a series.
func streamName(sym *market.Symbol, interval market.Interval) string {
	return lower(sym.Name) + "@kline_" + interval.String()
}

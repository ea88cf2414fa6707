package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

const handshakeWithin = 10 * time.Second

// serveStreams upgrades a request below /ws (bare frames) or /stream (wrapped ones) and subscribes it to the streams
// that its URL names. The prefixes /market, /public and /private make no difference: every stream is served on every path, but
// for user data on none.
func (s *Server) serveStreams(w http.ResponseWriter, r *http.Request) {
	s.openHeader(w.Header())
	want, refused := wantedBy(r.URL)
	if refused != nil {
		writeError(w, refused)
		return
	}
	s.upgrade(w, r, want)
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, want wanted) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Add("Connection", "Upgrade") // beside the "close" of lastOfChunks
		w.Header().Set("Upgrade", "websocket")
		writeError(w, &apiError{status: http.StatusUpgradeRequired, code: -1000, msg: "This path speaks WebSocket."})
		return
	}
	want.who = s.boundOf(r)
	if want.who != "" && !s.hub.from.enter(want.who, maxWebSocketOfOne) {
		s.hub.metrics.WSRefused.Inc()
		writeError(w, &apiError{status: http.StatusServiceUnavailable, code: -1008, msg: fmt.Sprintf("Too many WebSocket connections of this address: %d is what it may have.", maxWebSocketOfOne)})
		return
	}
	if !s.hub.admit() {
		s.hub.left(want.who)
		writeError(w, &apiError{status: http.StatusServiceUnavailable, code: -1008, msg: fmt.Sprintf("Too many WebSocket connections: %d is what this server takes.", s.hub.maxClients)})
		return
	}
	conn, rw, _, err := ws.HTTPUpgrader{Timeout: handshakeWithin}.Upgrade(r, w)
	if err != nil {
		s.log.Debug("websocket refused", "from", r.RemoteAddr, "error", err)
		if conn != nil {
			_ = conn.Close()
		}
		s.hub.admitted.Add(-1)
		s.hub.left(want.who)
		return
	}
	s.log.Debug("client came", "from", r.RemoteAddr, "streams", len(want.names)) // here, for a log's frames would grow the reader's stack
	s.hub.start(conn, rw.Reader, want)
}

// boundOf is for whom a WebSocket is counted: its address; "" for this machine, and for who has shown the token.
func (s *Server) boundOf(r *http.Request) string {
	if s.gate != nil {
		return ""
	}
	return countedFor(r.RemoteAddr)
}

// wanted is what a connection asks for, by its URL.
type wanted struct {
	names     []string // of streams
	combined  bool     // frames come wrapped in {"stream":…,"data":…}
	revisions bool     // later versions of closed klines come too
	settled   bool     // klines are final when they are settled
	private   bool     // it is on the path of user data
	who       string   // for whom it is counted: boundOf
}

// wantedBy reads /ws/<name>/<name>…, or /stream?streams=<name>/<name>…, either with revisions=1 and final=settled in its
// query or in front of its path, or refuses it. Keys that are neither the exchange's nor klined's ask for nothing: the exchange
// ignores them.
func wantedBy(u *url.URL) (want wanted, refused *apiError) {
	query := u.Query()
	at, _ := streamsAt(u.Path)
	if !at.bare {
		at.list = query.Get("streams")
	}
	for key, values := range at.front {
		if key != "revisions" && key != "final" {
			return want, notInFront(u.Path, key)
		}
		query[key] = append(values, query[key]...)
	}
	want = wanted{combined: !at.bare, private: at.routed == "private"}
	if want.revisions, refused = oneOf(query, "revisions", "0", "1"); refused != nil {
		return want, refused
	}
	if want.settled, refused = oneOf(query, "final", "closed", "settled"); refused != nil {
		return want, refused
	}
	if query.Has("listenKey") {
		return want, userDataElsewhere()
	}
	for name := range strings.SplitSeq(at.list, "/") {
		if name == "" {
			continue
		}
		if ofUserData(name, want.private) {
			return want, userDataElsewhere()
		}
		want.names = append(want.names, name)
	}
	return want, nil
}

// notInFront refuses a path of streams behind something that may not stand there.
func notInFront(path, key string) *apiError {
	return &apiError{status: http.StatusNotFound, code: -5000, msg: "Path " + path + " is invalid: " + strconv.Quote(key) + " is neither final nor revisions."}
}

// oneOf reports whether a parameter of klined's own is on: off where it is not sent or empty. Of several values the first counts.
func oneOf(query url.Values, name, off, on string) (bool, *apiError) {
	for _, value := range query[name] {
		if value != "" && value != off && value != on {
			return false, &apiError{status: http.StatusBadRequest, code: -1130,
				msg: "Data sent for parameter '" + name + "' is not valid: " + strconv.Quote(value) + " is neither " + off + " nor " + on + "."}
		}
	}
	return query.Get(name) == on, nil
}

// streamsPath is a path that leads to streams, taken apart.
type streamsPath struct {
	front  url.Values // what stands in front of it all; klined's own parameters may
	routed string     // the exchange's prefix, or none
	list   string     // of names
	bare   bool       // its frames are
}

// streamsAt takes a path apart that leads to streams: /ws and what is below it, whose frames are bare, and /stream, each behind
// one of the exchange's prefixes or none. One with slashes too many, as addresses have that are put together, leads to the same.
// In front of it all klined's own parameters may stand, as in a query: /final=settled&revisions=1/market/ws. A client that puts its
// addresses together from a base cannot send them otherwise.
func streamsAt(path string) (at streamsPath, ok bool) {
	first, rest, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	if strings.Contains(first, "=") {
		var err error
		if at.front, err = url.ParseQuery(first); err != nil {
			return at, false
		}
		first, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
	}
	switch first {
	case "market", "public", "private":
		at.routed = first
		first, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
	}
	switch first {
	case "ws":
		at.list, at.bare = rest, true
		return at, true
	case "stream":
		return at, strings.Trim(rest, "/") == ""
	}
	return at, false
}

// streamsBefore serves the paths of streams, and leaves the others to next. A ServeMux would redirect those with slashes
// too many, and WebSocket clients do not follow.
func (s *Server) streamsBefore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := streamsAt(r.URL.Path); ok {
			s.serveStreams(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// resolve finds what a stream name stands for, for c, and the name as all who take the stream share it. Names of nothing are subscribed
// and stay silent, as on the exchange. Its caller holds subscribing.
func (h *hub) resolve(c *client, name string) (_ topic, _ form, shared string) {
	if t, form := h.klinesNamed(name); t != nil {
		return t, form, t.names[form]
	}
	if f := h.fact(c, name); f != nil {
		return f, 0, f.name
	}
	return nil, 0, strings.Clone(name)
}

// klinesNamed is the topic of the klines that a stream name stands for; nil where it stands for none of ours. Its caller holds
// subscribing.
func (h *hub) klinesNamed(name string) (*klineTopic, form) {
	series, form, ok := h.server.series(name)
	if !ok {
		return nil, 0
	}
	t := h.klinesOf(series)
	if t.names[form] == "" {
		t.names[form] = strings.Clone(name)
	}
	return t, form
}

// series finds the klines that a stream name stands for: <symbol>@kline_<interval>, or
// <pair>_<contract>@continuousKline_<interval>. All but the interval is in lower case (ASCII letters; others as they are).
func (s *Server) series(stream string) (market.Series, form, bool) {
	who, what, _ := strings.Cut(stream, "@")
	var sym market.Symbol
	var found bool
	form := plain
	name, ok := strings.CutPrefix(what, "kline_")
	if ok {
		sym, found = s.symbol(upper(who))
	} else if name, ok = strings.CutPrefix(what, "continuousKline_"); ok {
		form = continuous
		sym, found = s.perpetual(who)
	}
	if !found || lower(who) != who {
		return market.Series{}, 0, false
	}
	interval, err := market.ParseInterval(name)
	if err != nil || !s.serves(interval) {
		return market.Series{}, 0, false
	}
	return market.Series{Symbol: sym.ID, Interval: interval}, form, true
}

// Types of contracts that have no delivery date: their pair is their name.
const (
	contractPerpetual = "PERPETUAL"
	contractTradFi    = "TRADIFI_PERPETUAL"
)

// perpetual finds the symbol of <pair>_<contract>, in lower case.
func (s *Server) perpetual(name string) (market.Symbol, bool) {
	for _, contract := range []string{contractTradFi, contractPerpetual} {
		if pair, ok := strings.CutSuffix(name, "_"+lower(contract)); ok {
			sym, ok := s.symbol(upper(pair))
			return sym, ok && s.opt.Contract(sym.ID) == contract
		}
	}
	return market.Symbol{}, false
}

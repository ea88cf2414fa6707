package serve

import (
	"net/http"
	"strings"
)

const noUserData = "User data streams are the exchange's alone: connect to it for them."

// servePrivate serves the exchange's path of user data, /private. Clients open it beside the others, whatever they are going
// to ask for; such a connection is one like any other. Who names a listen key, in the URL or in a SUBSCRIBE, is refused: orders
// and balances are between the client and the exchange, and silence would look like nothing happened.
func (s *Server) servePrivate(w http.ResponseWriter, r *http.Request) {
	want := wantedBy(r.URL)
	if len(want.names) > 0 || r.URL.Query().Has("listenKey") {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeError(w, &apiError{status: http.StatusNotFound, code: -5000, msg: noUserData})
		return
	}
	want.private = true
	s.upgrade(w, r, want)
}

// ofUserData reports whether a name is a listen key, or one with an event: <listenKey>@ORDER_TRADE_UPDATE. Streams of the market
// have an @ or begin with !, and what is behind the @ begins in lower case.
func ofUserData(name string) bool {
	_, what, found := strings.Cut(name, "@")
	if !found {
		return !strings.HasPrefix(name, "!")
	}
	return what != "" && 'A' <= what[0] && what[0] <= 'Z'
}

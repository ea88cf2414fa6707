package serve

import "net/http"

// servePrivate serves the exchange's path of user data, /private. Clients open it beside the others, whatever they are going
// to ask for; such a connection is one like any other. A request that names a listen key is refused: orders and balances are
// between the client and the exchange, and silence would look like nothing happened.
func (s *Server) servePrivate(w http.ResponseWriter, r *http.Request) {
	if want := wantedBy(r.URL); len(want.names) > 0 || r.URL.Query().Has("listenKey") {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		writeError(w, &apiError{status: http.StatusNotFound, code: -5000, msg: "User data streams are the exchange's alone: connect to it for them."})
		return
	}
	s.serveStreams(w, r)
}

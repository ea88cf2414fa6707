package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"klined/market"
)

// The exchange's REST lies below these.
var exchangePaths = []string{"/fapi/", "/dapi/", "/futures/data/"}

// isExchangePath reports whether a request is for a path that the exchange could have: below one of its own, written
// with letters, digits, - and _ alone. What is spelt in any other way could mean another place to who reads it next.
func isExchangePath(r *http.Request) bool {
	for _, below := range exchangePaths {
		if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), below); ok {
			return isPlainPath(rest)
		}
	}
	return false
}

func isPlainPath(rest string) bool {
	for name := range strings.SplitSeq(rest, "/") {
		if name == "" || strings.ContainsFunc(name, func(c rune) bool {
			return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
		}) {
			return false
		}
	}
	return true
}

// carriesKey reports whether a request is more than a question that anybody may ask.
func carriesKey(r *http.Request) bool {
	return r.Header.Get("X-MBX-APIKEY") != "" || r.URL.Query().Has("signature")
}

func keyNotForwarded() *apiError {
	return &apiError{status: http.StatusUnauthorized, code: -2015,
		msg: "Invalid API-key, IP, or permissions for action. klined passes on requests with a key or a signature only with --forward all."}
}

// outcomeUnknown is what the exchange says where it cannot tell what became of a request.
func outcomeUnknown() *apiError {
	return &apiError{status: http.StatusRequestTimeout, code: -1007,
		msg: "Timeout waiting for response from backend server. Send status unknown; execution status unknown."}
}

// elsewhere answers for the exchange's paths that are not served here: by the exchange, or that there is none.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	if s.opt.Forward == nil || !isExchangePath(r) {
		writeError(w, noSuchPath(r, http.StatusNotFound))
		return
	}
	used := s.weights.add(address(r), s.opt.Forward.Weight(r))
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
	s.pass(w, r)
}

// pass has the exchange answer. What a request carries is not logged.
func (s *Server) pass(w http.ResponseWriter, r *http.Request) {
	if !s.opt.ForwardAll && carriesKey(r) {
		writeError(w, keyNotForwarded())
		return
	}
	err := s.opt.Forward.Pass(w, r)
	if err == nil || r.Context().Err() != nil {
		return
	}
	refused := refusal(err)
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, market.ErrOutcomeUnknown):
		refused = outcomeUnknown()
	case errors.As(err, &tooLong):
		refused = &apiError{status: http.StatusRequestEntityTooLarge, code: -1000, msg: fmt.Sprintf("A body of more than %d bytes is not passed on.", tooLong.Limit)}
	}
	if refused.status != http.StatusTooManyRequests {
		s.log.Warn("cannot forward", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeError(w, refused)
}

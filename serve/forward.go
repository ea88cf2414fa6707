package serve

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

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

// isSigned reports whether a request is signed. A pair that is not well formed is one to who reads the query in another way.
func isSigned(r *http.Request) bool {
	return strings.Contains(r.URL.RawQuery, "signature=") || r.URL.Query().Has("signature")
}

func hasKey(r *http.Request) bool { return len(r.Header["X-Mbx-Apikey"]) > 0 }

func asks(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// acts reports whether a request is more than a question that anybody may ask.
func acts(r *http.Request) bool { return hasKey(r) || isSigned(r) || !asks(r) }

// isPrivate reports whether a request goes on as it came, key and all. Without ForwardAll none does; with it all do but the
// questions that a browser asks for pages of other sites: these share the budget, or any page could use up the exchange's.
func (s *Server) isPrivate(r *http.Request) bool {
	return s.opt.ForwardAll && (acts(r) || s.mayAct(r))
}

// mayAct reports whether who asks may have done what a key or another method than GET can do: a program of this machine or a page
// of ours; where there is a token r has shown it, from wherever.
func (s *Server) mayAct(r *http.Request) bool {
	return ownOrigin(r) && (s.gate != nil || isLocal(r))
}

// crossOrigin knows requests that a browser sends for a page of another origin.
var crossOrigin = http.NewCrossOriginProtection()

// ownOrigin reports whether a request was not sent by a browser for the page of another site.
func ownOrigin(r *http.Request) bool {
	asked := *r
	asked.Method = http.MethodPost // questions are looked at as orders are
	return crossOrigin.Check(&asked) == nil
}

// isLocal reports whether a request names this machine by a loopback address. A browser here sends what pages of others tell it; one
// that came by a name of its own takes us for its own server.
func isLocal(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

func signedNotForwarded() *apiError {
	return &apiError{status: http.StatusUnauthorized, code: -2015,
		msg: "Invalid API-key, IP, or permissions for action. klined passes on what is signed, and other methods than GET, only with --forward all."}
}

func foreignNotForwarded() *apiError {
	return &apiError{status: http.StatusForbidden, code: -2015,
		msg: "Invalid API-key, IP, or permissions for action. klined passes on what carries a key or is signed, and other methods than GET, only where it is asked as localhost or 127.0.0.1, or with --token, and not by the page of another site."}
}

// outcomeUnknown is what the exchange says where it cannot tell what became of a request.
func outcomeUnknown() *apiError {
	return &apiError{status: http.StatusRequestTimeout, code: -1007,
		msg: "Timeout waiting for response from backend server. Send status unknown; execution status unknown."}
}

// elsewhere answers for the exchange's paths that are not served here: by the exchange, or that there is none.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	if s.opt.Forward == nil || !isExchangePath(r) {
		s.refuse(w, noSuchPath(r, http.StatusNotFound))
		return
	}
	used := s.weights.add(address(r), s.opt.Forward.Weight(r, s.isPrivate(r)))
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
	s.pass(w, r)
}

// maxCrowd is how many questions of one client are passed on at once: the exchange's answers are for others too.
const maxCrowd = 32

// crowd counts what is under way, by whose it is.
type crowd struct {
	mu sync.Mutex
	of map[string]int
}

// enter counts one more; false where there are enough.
func (c *crowd) enter(who string, most int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[string]int)
	}
	if c.of[who] >= most {
		return false
	}
	c.of[who]++
	return true
}

func (c *crowd) leave(who string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[who]--; c.of[who] == 0 {
		delete(c.of, who)
	}
}

// pass has the exchange answer. What a request carries is not logged.
func (s *Server) pass(w http.ResponseWriter, r *http.Request) {
	private := s.isPrivate(r)
	switch {
	case private && !s.mayAct(r):
		s.refuse(w, foreignNotForwarded())
		return
	case private && acts(r):
		w.Header().Del("Access-Control-Allow-Origin")
	case isSigned(r):
		s.refuse(w, signedNotForwarded())
		return
	}
	if who := whose(r); !private {
		if !s.crowd.enter(who, maxCrowd) {
			s.refuse(w, refusal(&market.BudgetError{RetryAfter: time.Second, Reason: "too many questions of this client wait for the exchange"}))
			return
		}
		defer s.crowd.leave(who)
	}
	err := s.opt.Forward.Pass(w, r, private)
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
		s.log.Warn("cannot forward", "from", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "error", err)
	}
	s.refuse(w, refused)
}

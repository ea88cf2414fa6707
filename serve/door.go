package serve

import (
	"net/http"
	"strconv"
	"time"

	"klined/market"
)

// Bounds of one address that is not this machine's, within a UTC minute. Many clients of this machine share its address, as all do
// that come through a proxy on it: these bounds are not for them.
const (
	weightPerMinute = 2400 // the exchange's own; not for who shows the token
	wrongPerMinute  = 20   // wrong tokens; after that they are answered as too much is. A right one passes: many may share an address
)

// door is what each request passes first: the token, where there is one, and the bounds of its address.
func (s *Server) door(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.gate != nil && isProbe(r) && s.gate.look(r) != right {
			s.probed(w, r)
			return
		}
		trusted, refused := s.admitted(r)
		switch {
		case refused != nil:
			s.turnAway(w, refused)
		case !trusted && s.limits(r):
			w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(s.weights.of(address(r))))
			s.turnAway(w, tooManyOfAddress(s.opt.Clock.Now()))
		default:
			if trusted {
				s.gate.welcome(w, r)
			}
			next.ServeHTTP(w, r)
		}
	})
}

// admitted reports whether r may pass, and whether it showed the token for that.
func (s *Server) admitted(r *http.Request) (trusted bool, refused *apiError) {
	// What a browser asks before it asks carries nothing, and the answer says nothing but which methods there are.
	if s.gate == nil || r.Method == http.MethodOptions {
		return false, nil
	}
	seen := s.gate.look(r)
	if seen == right {
		return true, nil
	}
	s.opt.Metrics.Unauthorized.Inc()
	if seen == foreign {
		return false, tokenOfForeignPage()
	}
	if from, bounded := boundedFrom(r.RemoteAddr); bounded && seen == wrong {
		if s.wrong.of(from) >= wrongPerMinute {
			return false, tooManyOfAddress(s.opt.Clock.Now())
		}
		s.wrong.add(from, 1)
	}
	if s.hub.tells(time.Now()) {
		reason := "it showed none"
		if seen == wrong {
			reason = "it showed another one"
		}
		s.log.Warn("a client without the token was turned away", "from", r.RemoteAddr, "path", r.URL.Path, "reason", reason)
	}
	return false, tokenWanted()
}

// turnAway answers a request that may not pass; pages of others may read why, and for how long.
func (s *Server) turnAway(w http.ResponseWriter, refused *apiError) {
	h := w.Header()
	s.openHeader(h)
	if refused.status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", `Bearer realm="klined"`)
		h.Add("WWW-Authenticate", `Basic realm="klined", charset="UTF-8"`)
	}
	s.refuse(w, refused)
}

// isProbe reports whether r only asks whether the process works: a service manager has no token.
func isProbe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// probed answers such a request without the token: it learns whether, and nothing of why.
func (s *Server) probed(w http.ResponseWriter, r *http.Request) {
	s.openHeader(w.Header())
	check := s.opt.Health
	if r.URL.Path == "/readyz" {
		check = s.opt.Ready
	}
	checked(func() (bool, any) { return check == nil || first(check()), nil })(w, r)
}

func first(ok bool, _ any) bool { return ok }

// limits counts r, and reports whether its address has asked for too much. The exchange's own paths, and klines on ours, are counted
// where they are answered, with the exchange's weights.
func (s *Server) limits(r *http.Request) bool {
	from, bounded := boundedFrom(r.RemoteAddr)
	if !bounded {
		return false
	}
	if s.weights.of(from) >= weightPerMinute {
		return true
	}
	switch {
	case r.URL.Path == "/udf/history": // 15,000 klines at most
		s.weights.add(from, klinesWeight(maxLimit))
	case !isExchangePath(r) && (r.URL.Path != pathOwnKlines || r.Method != http.MethodGet && r.Method != http.MethodHead):
		s.weights.add(from, 1)
	}
	return false
}

// tooManyOfAddress is the exchange's refusal, until the minute is over.
func tooManyOfAddress(now market.Time) *apiError {
	return refusal(&market.BudgetError{RetryAfter: market.OneMinute.Next(now).Sub(now)})
}

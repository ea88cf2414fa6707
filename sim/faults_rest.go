package sim

import (
	"net/http"
	"strings"
	"time"
)

// gatewayPage is what a server in front of the exchange says when there is nothing behind it.
const gatewayPage = "<html>\r\n<head><title>500 Internal Server Error</title></head>\r\n<body>\r\n" +
	"<center><h1>500 Internal Server Error</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"

// troubleREST is what the faults in force do to a request for a path: the refusal of the one that began first, nil where
// there is none, and how much longer the answer takes.
func (e *Exchange) troubleREST(path, ip string) (refused *apiError, late time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.inForce() {
		switch {
		case !t.reachesREST(path):
		case t.Kind == FaultRESTSlow:
			late = max(late, t.delay())
		case refused == nil:
			refused = e.refusal(t, ip)
		}
	}
	return refused, late
}

// reachesREST reports whether a fault of REST is about a path.
func (f *Fault) reachesREST(path string) bool {
	return strings.Contains(path, f.Path) && (strings.HasPrefix(f.Path, archiveRoot) || !strings.HasPrefix(path, archiveRoot))
}

func (f *Fault) delay() time.Duration {
	if f.Delay == 0 {
		return defaultDelay * time.Second
	}
	return time.Duration(f.Delay * float64(time.Second))
}

// refusal is how a fault of REST answers a request; nil where it is none that does.
func (e *Exchange) refusal(t *trouble, ip string) *apiError {
	now, until := e.Now(), e.clockAt(t.until)
	switch t.Kind {
	case FaultREST429:
		return tooMany(min(until, oneMinute.next(now)) - now)
	case FaultREST418:
		return ban(ip, until, now)
	case FaultREST500:
		if t.answers++; t.answers%2 == 1 {
			return &apiError{status: http.StatusInternalServerError, page: gatewayPage}
		}
		return &apiError{status: http.StatusServiceUnavailable, code: -1001,
			msg: "Internal error; unable to process your request. Please try again."}
	}
	return nil
}

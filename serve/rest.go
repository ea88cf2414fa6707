package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"

	"klined/market"
)

// apiError is an answer that refuses, in the exchange's form: {"code":-1121,"msg":"Invalid symbol."}.
type apiError struct {
	status     int
	code       int
	msg        string
	retryAfter time.Duration // sent where not 0
	unknown    bool          // it is about what is not carried here; the exchange may know it
}

func (e *apiError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.msg) }

// The exchange's refusals (USDⓈ-M Futures, "Error codes").
func invalidSymbol() *apiError {
	return &apiError{status: 400, code: -1121, msg: "Invalid symbol.", unknown: true}
}
func invalidInterval() *apiError {
	return &apiError{status: 400, code: -1120, msg: "Invalid interval.", unknown: true}
}
func invalidContract() *apiError {
	return &apiError{status: 400, code: -4104, msg: "Invalid contract type", unknown: true}
}
func sentTwice(param string) *apiError {
	return &apiError{status: 400, code: -1101, msg: "Duplicate values for parameter '" + param + "'."}
}
func tooManyParams() *apiError {
	return &apiError{status: 400, code: -1101, msg: "Too many parameters sent for this endpoint."}
}
func startAfterEnd() *apiError {
	return &apiError{status: 400, code: -1023, msg: "Start time is greater than end time."}
}
func invalidValue(param string) *apiError {
	return &apiError{status: 400, code: -1130, msg: "Data sent for parameter '" + param + "' is not valid."}
}
func notSent(param string) *apiError {
	return &apiError{status: 400, code: -1102, msg: "Mandatory parameter '" + param + "' was not sent, was empty/null, or malformed."}
}
func illegalCharacters(param string) *apiError {
	return &apiError{status: 400, code: -1100, msg: "Illegal characters found in parameter '" + param + "'; legal range is '^[0-9]{1,20}$'."}
}
func illegalPair(pair string) *apiError {
	return &apiError{status: 400, code: -1100, msg: "Illegal characters found in '" + pair + "'."}
}
func noSuchPath(r *http.Request, status int) *apiError {
	return &apiError{status: status, code: -5000, msg: "Path " + r.URL.Path + ", Method " + r.Method + " is invalid"}
}

// refusal turns what went wrong on the way to the exchange into an answer.
func refusal(err error) *apiError {
	var refused *apiError
	if errors.As(err, &refused) {
		return refused
	}
	var budget *market.BudgetError
	if errors.As(err, &budget) {
		return &apiError{
			status: http.StatusTooManyRequests, code: -1003, retryAfter: max(budget.RetryAfter, time.Second),
			msg: "Too many requests; current limit is 2400 requests per minute. Please use the websocket for live updates to avoid polling the API.",
		}
	}
	var heavy *market.TooHeavyError
	if errors.As(err, &heavy) {
		return &apiError{
			status: http.StatusBadRequest, code: -1000,
			msg: fmt.Sprintf("A request of weight %d is not passed on: --rest-weight leaves %d a minute.", heavy.Weight, heavy.Limit),
		}
	}
	return &apiError{status: http.StatusServiceUnavailable, code: -1001, msg: "Internal error; unable to process your request. Please try again."}
}

// routes lays out every path of the listen address.
func (s *Server) routes() http.Handler {
	rest := http.NewServeMux()
	rest.Handle("/fapi/v1/ping", s.counted(one, s.ping))
	rest.Handle("/fapi/v1/time", s.counted(one, s.time))
	rest.Handle("/fapi/v1/exchangeInfo", s.counted(one, s.exchangeInfo))
	rest.Handle("/fapi/v1/ticker/price", s.counted(priceWeight, s.price))
	rest.Handle("/fapi/v2/ticker/price", s.counted(priceWeight, s.price))
	for _, below := range exchangePaths {
		rest.HandleFunc(below, s.elsewhere)
	}
	s.ownRoutes(rest)
	s.udfRoutes(rest)
	s.pageRoutes(rest)
	mux := http.NewServeMux()
	// Klines are digits: Huffman's code alone makes 31 kB of 66 in 0.2 ms, with matches it is 20 in 0.9.
	quick := zip(gzip.HuffmanOnly)
	mux.Handle("/fapi/v1/klines", quick(s.counted(klinesQueryWeight, s.klines)))
	mux.Handle("/fapi/v1/continuousKlines", quick(s.counted(klinesQueryWeight, s.continuousKlines)))
	mux.Handle("/", zip(gzip.BestSpeed)(rest))
	return s.streamsBefore(s.open(s.getOnly(mux)))
}

// zip packs what is worth it, for who takes it, unless it is packed already. It adds Vary each time: no answer goes through two.
func zip(level int) func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1024), gzhttp.CompressionLevel(level), gzhttp.EnableZstd(false))
	if err != nil {
		panic(fmt.Sprintf("serve: gzip: %v", err)) // the options above are constants
	}
	return wrap
}

// open opens next to every origin: where it sends who wrote a slash too many elsewhere, too.
func (s *Server) open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.openHeader(w.Header())
		next.ServeHTTP(w, r)
	})
}

// openHeader lets pages of every origin read an answer. It is dated by the exchange's time: by it who reads klines, a klined for
// one, tells those that are over from the running one.
func (s *Server) openHeader(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "X-MBX-USED-WEIGHT-1M, X-Klined-State, Retry-After")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Date", s.opt.Clock.Now().Std().Format(http.TimeFormat))
}

// getOnly lets GET and HEAD through. Other methods are the exchange's, or refused.
func (s *Server) getOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			next.ServeHTTP(w, r)
		case http.MethodOptions:
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "*, Authorization") // which the star leaves out
			h.Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
		default:
			if s.opt.ForwardAll && isExchangePath(r) {
				s.elsewhere(w, r)
				return
			}
			if s.opt.Forward != nil && isExchangePath(r) && (hasKey(r) || isSigned(r)) {
				s.refuse(w, signedNotForwarded())
				return
			}
			if isExchangePath(r) { // which has one answer for what it has not and what it has for other methods
				s.refuse(w, noSuchPath(r, http.StatusNotFound))
				return
			}
			h.Set("Allow", "GET, HEAD, OPTIONS")
			writeError(w, noSuchPath(r, http.StatusMethodNotAllowed))
		}
	})
}

// answerer answers a request whose parameters have been read.
type answerer func(w http.ResponseWriter, r *http.Request, params url.Values) error

// counted adds the weight of each request to its address and says the sum in the answer; refused requests count too. What
// is about something that is not carried here is passed on.
func (s *Server) counted(weight func(params url.Values) int, answer answerer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		params, err := readQuery(r.URL.RawQuery)
		used := s.weights.add(address(r), weight(params))
		w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
		if err == nil {
			err = answer(w, r, params)
		}
		if err != nil && r.Context().Err() == nil {
			refused := refusal(err)
			if refused.unknown && s.opt.Forward != nil && isExchangePath(r) {
				s.pass(w, r)
				return
			}
			if refused.status >= 500 {
				s.log.Warn("cannot answer", "from", r.RemoteAddr, "path", r.URL.Path, "symbol", params.Get("symbol"), "error", err)
			}
			s.refuse(w, refused)
		}
	})
}

// refuse writes an error, and counts it.
func (s *Server) refuse(w http.ResponseWriter, e *apiError) {
	s.opt.Metrics.Refused.WithLabelValues(strconv.Itoa(e.status)).Inc()
	writeError(w, e)
}

func one(url.Values) int { return 1 }

func (s *Server) ping(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	writeJSON(w, http.StatusOK, []byte("{}"))
	return nil
}

func (s *Server) time(w http.ResponseWriter, _ *http.Request, _ url.Values) error {
	body := strconv.AppendInt([]byte(`{"serverTime":`), int64(s.opt.Clock.Now()), 10)
	writeJSON(w, http.StatusOK, append(body, '}'))
	return nil
}

func (s *Server) exchangeInfo(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	body, err := s.opt.ExchangeInfo(ctx)
	if err != nil {
		return fmt.Errorf("exchangeInfo: %w", err)
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone is nobody's error
}

func writeError(w http.ResponseWriter, e *apiError) {
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retryAfter.Seconds()))))
	}
	msg, _ := json.Marshal(e.msg) // a string always marshals
	body := append(strconv.AppendInt([]byte(`{"code":`), int64(e.code), 10), `,"msg":`...)
	writeJSON(w, e.status, append(append(body, msg...), '}'))
}

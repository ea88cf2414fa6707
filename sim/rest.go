package sim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// apiError is a refusal as REST has it: {"code":-1121,"msg":"Invalid symbol."}
type apiError struct {
	status, code int
	msg          string
	retry        int    // seconds, for Retry-After; 0 is none
	page         string // stands for all but status, where it is not the exchange that answers but what is in front of it
}

// endpoint answers one path: from the query, a body or a refusal.
type endpoint struct {
	weight func(q url.Values) int
	answer func(q url.Values) ([]byte, *apiError)
}

// routes are all that one port serves.
func (e *Exchange) routes() http.Handler {
	mux := http.NewServeMux()
	e.routesWS(mux)
	e.routesSim(mux)
	mux.HandleFunc("GET "+archiveRoot+"/", e.serveArchive)
	for path, ep := range map[string]endpoint{
		"/fapi/v1/ping":             {always(1), func(url.Values) ([]byte, *apiError) { return []byte("{}"), nil }},
		"/fapi/v1/time":             {always(1), e.serverTime},
		"/fapi/v1/klines":           {weighKlines, e.klines},
		"/fapi/v1/continuousKlines": {weighKlines, e.continuousKlines},
		"/fapi/v1/aggTrades":        {always(20), e.aggTrades},
		"/fapi/v1/trades":           {always(5), e.trades},
		"/fapi/v1/historicalTrades": {always(200), keyWanted},
		"/fapi/v1/ticker/price":     {weighOneOrAll(1, 2), e.oneOrAll(listed, appendLatest)},
		"/fapi/v2/ticker/price":     {weighOneOrAll(1, 2), e.oneOrAll(listed, appendLatest)},
	} {
		mux.Handle("GET "+path, e.public(ep))
	}
	e.routesFurther(mux)
	mux.Handle("GET /fapi/v1/exchangeInfo", gzhttp.GzipHandler(e.public(endpoint{always(1), e.exchangeInfo})))
	return mux
}

// public serves an endpoint within the limits and as the faults in force let it, a latency away.
func (e *Exchange) public(ep endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		travel(r.Context(), e.askDelay())
		q, ip := r.URL.Query(), addressOf(r.RemoteAddr)
		weight := ep.weight(q)
		used, refused := e.limiter.charge(ip, weight, e.Now())
		trouble, late := e.troubleREST(r.URL.Path, ip)
		if refused == nil {
			refused = trouble
		}
		var body []byte
		if refused == nil {
			body, refused = ep.answer(q)
		}
		head := w.Header()
		head.Set("Date", e.Now().Std().UTC().Format(http.TimeFormat))
		travel(r.Context(), late+e.askDelay())
		if refused != nil && refused.page != "" {
			refused.writePage(w)
			return
		}
		head.Set("Content-Type", "application/json")
		if weight > 0 { // what has no weight has a limit of its own, and does not speak of this one
			head.Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
		}
		if refused != nil {
			if refused.retry > 0 {
				head.Set("Retry-After", strconv.Itoa(refused.retry))
			}
			w.WriteHeader(refused.status)
			body = fmt.Appendf(nil, `{"code":%d,"msg":%q}`, refused.code, refused.msg)
		}
		_, _ = w.Write(body)
	})
}

func (a *apiError) writePage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.page)
}

// travel takes as long as a message that is on its way.
func travel(ctx context.Context, late time.Duration) {
	if late == 0 {
		return
	}
	t := time.NewTimer(late)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func always(weight int) func(url.Values) int { return func(url.Values) int { return weight } }

// weighKlines is what klines cost, as measured: without a limit 5, though 500 rows come.
func weighKlines(q url.Values) int {
	limit, err := strconv.ParseUint(q.Get("limit"), 10, 63)
	switch {
	case err != nil:
		return 5
	case limit <= 100:
		return 1
	case limit <= 500:
		return 2
	case limit <= 1000:
		return 5
	}
	return 10
}

func keyWanted(url.Values) ([]byte, *apiError) {
	return nil, &apiError{status: http.StatusUnauthorized, code: -2014, msg: "API-key format invalid."}
}

func (e *Exchange) serverTime(url.Values) ([]byte, *apiError) {
	return append(appendInt(nil, `{"serverTime":`, int64(e.Now())), '}'), nil
}

func (e *Exchange) exchangeInfo(url.Values) ([]byte, *apiError) {
	e.mu.Lock()
	e.catchUp()
	if e.info == nil {
		e.info = newInfoBody(e.symbols)
	}
	info := e.info
	e.mu.Unlock()
	return info.at(e.Now()), nil
}

func (e *Exchange) klines(q url.Values) ([]byte, *apiError) {
	iv, w, bad := klinesAsked(q, "symbol", "interval")
	if bad != nil {
		return nil, bad
	}
	s, bad := e.symbolOf(q, "symbol")
	if bad != nil {
		return nil, bad
	}
	return e.klinesOf(s, iv, w)
}

func (e *Exchange) continuousKlines(q url.Values) ([]byte, *apiError) {
	iv, w, bad := klinesAsked(q, "pair", "contractType", "interval")
	if bad != nil {
		return nil, bad
	}
	s := e.pairOf(q.Get("pair"), q.Get("contractType"))
	if s == nil {
		return nil, refuse(-1121, "Invalid symbol.")
	}
	return e.klinesOf(s, iv, w)
}

// klinesAsked reads what both have in common. Which of several errors the exchange names is not known; here it is the
// first of: sent twice, not sent, a value that is none, times the wrong way round, a contract type, an interval, a symbol.
func klinesAsked(q url.Values, mandatory ...string) (iv interval, w window, bad *apiError) {
	if bad = sentOnce(q, append(mandatory, "startTime", "endTime", "limit")...); bad != nil {
		return iv, w, bad
	}
	for _, name := range mandatory {
		if q.Get(name) == "" {
			return iv, w, missing(name)
		}
	}
	if w, bad = windowOf(q, 500, 1500); bad != nil {
		return iv, w, bad
	}
	if slices.Contains(mandatory, "contractType") && !slices.Contains(contractTypes, q.Get("contractType")) {
		return iv, w, refuse(-4104, "Invalid contract type")
	}
	iv, ok := exchangeInterval(q.Get("interval"))
	if !ok {
		return iv, w, refuse(-1120, "Invalid interval.")
	}
	return iv, w, nil
}

var contractTypes = []string{perpetual, tradFi, currentQuarter, nextQuarter}

// klinesOf answers klines of one symbol.
func (e *Exchange) klinesOf(s *symbol, iv interval, w window) ([]byte, *apiError) {
	v := e.look(s)
	rows := v.klines(iv, w)
	if s.lacks(iv, rows) {
		return nil, notTaped()
	}
	if t, wrong := e.misled(FaultRESTWrong, s); wrong {
		t.falsify(v, iv, rows)
	}
	return s.appendRows(nil, iv, rows), nil
}

// look is a view of a symbol as it stands now.
func (e *Exchange) look(s *symbol) *view {
	e.mu.Lock()
	defer e.mu.Unlock()
	return s.look(e.catchUp())
}

func (s *symbol) appendRows(dst []byte, iv interval, rows []row) []byte {
	dst = append(dst, '[')
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendREST(dst, iv, &rows[i])
	}
	return append(dst, ']')
}

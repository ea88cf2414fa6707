package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"klined/market"
)

// pathOwnKlines weighs as klines does at the exchange.
const pathOwnKlines = "/klined/v1/klines"

// ownRoutes lays out the paths that the exchange does not have.
func (s *Server) ownRoutes(mux *http.ServeMux) {
	mux.HandleFunc("/healthz", checked(s.opt.Health))
	mux.HandleFunc("/readyz", checked(s.opt.Ready))
	mux.Handle("/metrics", promhttp.HandlerFor(s.opt.Metrics.Registry, promhttp.HandlerOpts{DisableCompression: true}))
	mux.HandleFunc("/klined/v1/status", s.status)
	mux.HandleFunc("/klined/v1/gaps", listed(s.opt.Gaps))
	mux.HandleFunc("/klined/v1/symbols", s.symbols)
	mux.HandleFunc("/klined/v1/differences", s.differences)
	mux.Handle(pathOwnKlines, s.counted(klinesQueryWeight, s.ownKlines))
}

// checked answers 200 or 503 with the check's detail. Without a check it answers 200.
func checked(check func() (ok bool, detail any)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		ok, detail := true, any(nil)
		if check != nil {
			ok, detail = check()
		}
		if detail == nil {
			detail = map[string]bool{"ok": ok}
		}
		status := http.StatusOK
		if !ok {
			status = http.StatusServiceUnavailable
		}
		writeValue(w, status, detail)
	}
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	var status any = map[string]string{"version": s.opt.Version}
	if s.opt.Status != nil {
		status = s.opt.Status()
	}
	writeValue(w, http.StatusOK, status)
}

// listed answers with a list, which is empty where there is none to ask for.
func listed(list func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		items := any([]struct{}{})
		if list != nil {
			items = list()
		}
		writeValue(w, http.StatusOK, items)
	}
}

// symbols answers with how each symbol stands, or the one that is asked for.
func (s *Server) symbols(w http.ResponseWriter, r *http.Request) {
	items, symbol := any([]struct{}{}), upper(r.URL.Query().Get("symbol"))
	if s.opt.Standings != nil {
		if items = s.opt.Standings(symbol); items == nil {
			writeError(w, invalidSymbol())
			return
		}
	}
	writeValue(w, http.StatusOK, items)
}

// differences answers with the newest ones.
func (s *Server) differences(w http.ResponseWriter, r *http.Request) {
	items := any([]struct{}{})
	if s.opt.Differences != nil {
		var err error
		if items, err = s.opt.Differences(r.Context()); err != nil {
			s.log.Warn("cannot answer", "from", r.RemoteAddr, "path", r.URL.Path, "error", err)
			writeError(w, refusal(err))
			return
		}
	}
	writeValue(w, http.StatusOK, items)
}

// ownKlines answers as klines does, with two values more in each row: what the kline is, as k.st of its event says, and its
// Revision.
//
//	[1789478160000,"76936.20", … ,"0","settled",1]
func (s *Server) ownKlines(w http.ResponseWriter, r *http.Request, params url.Values) error {
	q, err := s.parseKlines(params)
	if err != nil {
		return err
	}
	return s.answerKlines(w, r, &q, appendStandings)
}

// beyondHoles adds to rows, which q found below a minute, up to n more: what lies beyond the times in which klined did not run; and
// where a symbol has left the exchange, and its last klines are asked for, those before the time since.
// Without a startTime they lie before rows, else behind them. Long reads wait for their turn, as those of UDF do.
func (s *Server) beyondHoles(ctx context.Context, q *query, rows []market.Kline, n int64, who string) ([]market.Kline, error) {
	if q.start >= 0 && len(rows) > 0 && rows[len(rows)-1].State == market.StateOpen {
		return rows, nil // even where it is over by now: what follows it would make it a closed one that lacks its end
	}
	iv, g := q.series.Interval, q.grid(s.opt.Clock.Now())
	since, err := s.opt.Store.Since(ctx, iv)
	if err != nil {
		return nil, err
	}
	lowest := iv.Ordinal(iv.Ceil(max(min(since, iv.OpenAt(g.bound)), s.kept(iv))))
	if q.start < 0 {
		end := g.bound
		if len(rows) > 0 {
			end = iv.Ordinal(rows[0].OpenTime) - 1
		}
		older, err := s.udfBack(ctx, q.series, iv.OpenAt(end), max(lowest, end-udfReach), n, who)
		return append(older, rows...), err
	}
	first := max(g.first, lowest)
	if len(rows) > 0 {
		first = iv.Ordinal(rows[len(rows)-1].OpenTime) + 1
	}
	last := min(g.bound, first+udfReach)
	for size := int64(maxLimit); n > 0 && first <= last; first, size = first+size, min(2*size, udfMost) {
		page, err := s.udfPage(ctx, new(scratch), &query{series: q.series, start: iv.OpenAt(first), end: iv.OpenAt(last), limit: int(size)}, who)
		if err != nil {
			return nil, err
		}
		page = page[:min(n, int64(len(page)))]
		rows, n = append(rows, page...), n-int64(len(page))
	}
	return rows, nil
}

// appendStandings is appendRows with those two values.
func appendStandings(dst []byte, rows []market.Kline, interval market.Interval, sym *market.Symbol) []byte {
	dst = append(dst, '[')
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRow(dst, &rows[i], interval, sym)
		dst = append(append(append(dst[:len(dst)-1], `,"`...), standing(&rows[i])...), `",`...)
		dst = append(strconv.AppendInt(dst, int64(rows[i].Revision), 10), ']')
	}
	return append(dst, ']')
}

// writeValue answers with v as indented JSON: people read these.
func writeValue(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		writeError(w, refusal(fmt.Errorf("cannot encode the answer: %w", err)))
		return
	}
	writeJSON(w, status, append(body, '\n'))
}

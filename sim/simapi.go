package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"klined/market"
)

// routesSim are the control endpoints: outside every limit, latency and fault.
func (e *Exchange) routesSim(mux *http.ServeMux) {
	handle := func(pattern string, answer func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := answer(r)
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				body = map[string]string{"error": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(body)
		})
	}
	handle("GET /sim/status", func(*http.Request) (any, error) { return e.Status(), nil })
	handle("POST /sim/faults", e.postFault)
	handle("GET /sim/truth", e.getTruth)
	handle("GET /sim/deviations", e.getDeviations)
	mux.HandleFunc("GET /sim/tape", e.getTape)
}

// Status is what GET /sim/status answers.
type Status struct {
	Now         market.Time   `json:"now"` // the exchange's clock
	Start       market.Time   `json:"start"`
	Seed        uint64        `json:"seed"`
	Symbols     int           `json:"symbols"` // perpetuals that trade
	Trades      int64         `json:"trades"`  // aggTrades published
	Fills       int64         `json:"fills"`
	Streams     int           `json:"streams"` // different ones that somebody hears
	Skew        int64         `json:"skew"`    // ms that the clock has been stepped by
	Faults      int           `json:"faults"`  // that are in force
	InForce     []FaultStatus `json:"inForce"` // these, in the order they began
	Archive     ArchiveStatus `json:"archive"`
	Connections []ConnStatus  `json:"connections"`
}

// ArchiveStatus is how often the archive was asked: for files by the days and by the months, for checksums of either, and
// with what HTTP status it answered these and all else.
type ArchiveStatus struct {
	Daily     int         `json:"daily"`
	Monthly   int         `json:"monthly"`
	Checksums int         `json:"checksums"`
	Statuses  map[int]int `json:"statuses"`
}

// FaultStatus is a lasting fault's part of Status.
type FaultStatus struct {
	Kind string  `json:"kind"`
	Left float64 `json:"secondsLeft"`
}

// ConnStatus is one connection's part of Status.
type ConnStatus struct {
	Conn    int         `json:"conn"`
	Path    string      `json:"path"`
	Remote  string      `json:"remote"`
	Since   market.Time `json:"since"`
	Streams int         `json:"streams"` // subscribed, heard or not
	Sent    uint64      `json:"sent"`    // frames of streams
	Queued  int         `json:"queued"`  // bytes
}

// Status is how the exchange stands.
func (e *Exchange) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	st := Status{
		Now: e.Now(), Start: e.opt.Start, Seed: e.opt.Seed, Symbols: len(e.trading()), Trades: e.live.trades,
		Fills: e.live.happened, Streams: len(e.streams.live), Skew: e.skew.Load(), InForce: []FaultStatus{}, Connections: []ConnStatus{},
		Archive: e.asked,
	}
	st.Archive.Statuses = maps.Clone(e.asked.Statuses)
	for _, t := range e.inForce() {
		st.InForce = append(st.InForce, FaultStatus{t.Kind, time.Until(t.until).Round(time.Millisecond).Seconds()})
	}
	st.Faults = len(st.InForce)
	for _, c := range e.conns {
		if c.gone() {
			continue
		}
		queued, sent := c.queued()
		st.Connections = append(st.Connections, ConnStatus{c.num, c.path, c.ip, c.born, len(c.names), sent, queued})
	}
	slices.SortFunc(st.Connections, func(a, b ConnStatus) int { return a.Conn - b.Conn })
	return st
}

func (e *Exchange) postFault(r *http.Request) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("cannot read the fault: %w", err)
	}
	f, err := parseFault(body)
	if err != nil {
		return nil, err
	}
	conns, err := e.fault(&f)
	if err != nil {
		return nil, err
	}
	done := map[string]any{"kind": f.Kind, "conns": conns}
	if f.Kind == FaultList {
		done["symbol"] = f.Symbol
	}
	return done, nil
}

// getTruth answers official klines as GET /fapi/v1/klines does, of any interval of a second or more, as many as there
// are from startTime on.
func (e *Exchange) getTruth(r *http.Request) (any, error) {
	q := r.URL.Query()
	s, iv, w, err := e.simQuery(q)
	if err != nil {
		return nil, err
	}
	rows, err := e.truth(s, iv, w)
	return json.RawMessage(rows), err
}

// Truth are the official klines of a symbol with start ≤ open time ≤ end, as the rows of GET /fapi/v1/klines. A zero
// start is as far back as there are any, a zero end is now; the last row may be running. Klines shorter than a minute
// reach back as far as fills are remembered.
func (e *Exchange) Truth(symbol, interval string, start, end market.Time) ([]byte, error) {
	s := e.find(symbol)
	if s == nil {
		return nil, fmt.Errorf("symbol %q: there is none", symbol)
	}
	iv, err := parseInterval(interval)
	if err != nil {
		return nil, err
	}
	return e.truth(s, iv, window{max(start, 1), end, math.MaxInt})
}

func (e *Exchange) truth(s *symbol, iv interval, w window) ([]byte, error) {
	if iv.length == 0 || iv.length >= market.Minute {
		rows := e.look(s).klines(iv, w)
		if s.lacks(iv, rows) {
			return nil, fmt.Errorf("symbol %q: the tape lacks trades", s.name)
		}
		return s.appendRows(nil, iv, rows), nil
	}
	if e.player != nil {
		return nil, fmt.Errorf("interval %q: of a tape there are none shorter than 1m", iv.name)
	}
	e.mu.Lock()
	rows := s.short(iv, w, e.catchUp())
	e.mu.Unlock()
	return s.appendRows(nil, iv, rows), nil
}

// getDeviations answers what klines built from aggTrades lack or have too much.
func (e *Exchange) getDeviations(r *http.Request) (any, error) {
	q := r.URL.Query()
	if !q.Has("interval") {
		q.Set("interval", oneMinute.name)
	}
	s, iv, w, err := e.simQuery(q)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.catchUp()
	if w.end == 0 {
		w.end = now
	}
	return s.deviations(iv, w.start, w.end), nil
}

// simQuery reads the parameters of the control endpoints.
func (e *Exchange) simQuery(q url.Values) (s *symbol, iv interval, w window, err error) {
	if s = e.find(upper(q.Get("symbol"))); s == nil {
		return nil, iv, w, fmt.Errorf("symbol %q: there is none", q.Get("symbol"))
	}
	w, bad := windowOf(q, 500, math.MaxInt)
	if bad != nil {
		return nil, iv, w, fmt.Errorf("%s (%d)", bad.msg, bad.code)
	}
	if w.start != 0 && !q.Has("limit") {
		w.limit = math.MaxInt
	}
	w.limit = min(w.limit, math.MaxInt32)
	iv, err = parseInterval(q.Get("interval"))
	return s, iv, w, err
}

// getTape answers the latest payloads of trade streams, one on each line.
func (e *Exchange) getTape(w http.ResponseWriter, r *http.Request) {
	n, err := limitText(r.URL.Query().Get("limit"), tapeFrames)
	if err != nil || n < 1 {
		http.Error(w, `{"error":"limit: want a number of 1 or more"}`, http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	e.catchUp()
	lines := e.tape.lines(n)
	e.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(lines)
}

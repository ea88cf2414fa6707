package serve

import (
	"net/url"
	"strconv"
	"strings"

	"klined/market"
)

// Limits of klines.
const (
	defaultLimit = 500
	maxLimit     = 1500
)

// lastTime is the year 9999's end: times beyond it ask for no other klines.
const lastTime market.Time = 253402300799999

// query is what a klines request asks for.
type query struct {
	symbol market.Symbol
	series market.Series
	start  market.Time // −1 where not sent
	end    market.Time // −1 where not sent
	limit  int
}

// The parameters of klines requests that may be left out.
var optionalParams = []string{"startTime", "endTime", "limit"}

// parseKlines reads the parameters of a klines request, or says as the exchange would what is wrong with them.
func (s *Server) parseKlines(params url.Values) (query, error) {
	q, err := s.parseRange(params, "symbol", "interval")
	if err != nil {
		return q, err
	}
	return q, s.name(&q, params.Get("symbol"), params.Get("interval"))
}

// parseContinuousKlines does so for continuousKlines. A perpetual's pair is its name.
func (s *Server) parseContinuousKlines(params url.Values) (query, error) {
	q, err := s.parseRange(params, "pair", "contractType", "interval")
	if err != nil {
		return q, err
	}
	contract := params.Get("contractType")
	switch contract {
	case "PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER":
	default:
		return q, invalidContract()
	}
	if err := s.name(&q, params.Get("pair"), params.Get("interval")); err != nil {
		return q, err
	}
	if s.opt.Contract(q.symbol.ID) != contract {
		return q, invalidSymbol()
	}
	return q, nil
}

// parseRange reads what klines requests have in common: first what is sent twice, then what must be sent and is not, then
// each value by itself. Other parameters are ignored, and an empty optional one counts as not sent. (In which order the
// exchange looks is not documented.)
func (s *Server) parseRange(params url.Values, mandatory ...string) (q query, err error) {
	if err := once(params, append(mandatory, optionalParams...)...); err != nil {
		return q, err
	}
	for _, name := range mandatory {
		if params.Get(name) == "" {
			return q, notSent(name)
		}
	}
	q.limit = defaultLimit
	if text := params.Get("limit"); text != "" {
		n, err := parseNumber(text)
		if err != nil || n < 1 || n > maxLimit {
			return q, invalidValue("limit")
		}
		q.limit = int(n)
	}
	if q.start, err = parseTime(params, "startTime"); err != nil {
		return q, err
	}
	if q.end, err = parseTime(params, "endTime"); err != nil {
		return q, err
	}
	if q.start >= 0 && q.end >= 0 && q.start > q.end {
		return q, startAfterEnd()
	}
	q.start, q.end = min(q.start, lastTime), min(q.end, lastTime)
	return q, nil
}

// readQuery reads a raw query. Of what is not name=value the first pair is refused; the others are given nevertheless, for a
// request that is refused has a weight too.
func readQuery(raw string) (url.Values, error) {
	params, err := url.ParseQuery(raw)
	if err == nil {
		return params, nil
	}
	for pair := range strings.SplitSeq(raw, "&") {
		if _, err := url.ParseQuery(pair); err != nil {
			return params, illegalPair(pair)
		}
	}
	return params, tooManyParams() // more than net/url reads
}

// once refuses the first of some parameters that is sent more than once.
func once(params url.Values, names ...string) error {
	for _, name := range names {
		if len(params[name]) > 1 {
			return sentTwice(name)
		}
	}
	return nil
}

// name finds the series that q asks for.
func (s *Server) name(q *query, symbol, interval string) error {
	iv, err := market.ParseInterval(interval)
	if err != nil || !s.serves(iv) {
		return invalidInterval()
	}
	sym, ok := s.symbol(upper(symbol))
	if !ok {
		return invalidSymbol()
	}
	q.symbol, q.series = sym, market.Series{Symbol: sym.ID, Interval: iv}
	return nil
}

// parseTime reads a time parameter; −1 where it was not sent.
func parseTime(params url.Values, name string) (market.Time, error) {
	text := params.Get(name)
	if text == "" {
		return -1, nil
	}
	if len(text) > 20 || strings.Trim(text, "0123456789") != "" {
		return 0, illegalCharacters(name)
	}
	n, err := parseNumber(text)
	if err != nil {
		return 0, invalidValue(name)
	}
	return market.Time(n), nil
}

// parseNumber reads digits alone, up to the largest int64.
func parseNumber(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), err
}

// klinesQueryWeight is the weight of a klines request, refused or not.
func klinesQueryWeight(params url.Values) int {
	limit, err := parseNumber(params.Get("limit"))
	if err != nil {
		return klinesWeight(0)
	}
	return klinesWeight(int(max(limit, 1)))
}

// grid is the ordinals of the klines that a query asks for, from first to last, and the bound that it could go on to:
// the running kline's, or the last that opens by endTime. Where first is beyond last it asks for none.
type grid struct{ first, last, bound int64 }

// grid lays q out at a time: no startTime, the latest limit klines; with it, the earliest limit klines.
func (q *query) grid(now market.Time) grid {
	iv, n := q.series.Interval, int64(q.limit)
	bound := iv.Ordinal(now)
	if q.end >= 0 {
		bound = min(bound, iv.Ordinal(q.end))
	}
	if q.start < 0 {
		return grid{max(bound-n+1, iv.Ordinal(iv.Ceil(0))), bound, bound}
	}
	first := iv.Ordinal(iv.Ceil(q.start))
	return grid{first, min(first+n-1, bound), bound}
}

// begin moves a grid that begins before open to begin there, at its length or up to its bound.
func (q *query) begin(g grid, open market.Time) grid {
	if first := q.series.Interval.Ordinal(open); first > g.first {
		return grid{first, min(first+int64(q.limit)-1, g.bound), g.bound}
	}
	return g
}

// span is the time that g covers in klines of interval.
func (g grid) span(interval market.Interval) market.Span {
	if g.last < g.first {
		return market.Span{}
	}
	return market.Span{From: interval.OpenAt(g.first), To: interval.OpenAt(g.last + 1)}
}

// upper and lower change the case of ASCII letters alone, as the exchange does with symbols.
func upper(name string) string { return mapASCII(name, 'a', 'z', 'A'-'a') }
func lower(name string) string { return mapASCII(name, 'A', 'Z', 'a'-'A') }

func mapASCII(name string, from, to byte, by int) string {
	b := []byte(name)
	for i, c := range b {
		if from <= c && c <= to {
			b[i] = byte(int(c) + by)
		}
	}
	return string(b)
}

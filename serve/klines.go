package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"klined/market"
)

// Bounds of how long a request may wait: together less than the 10 s after which usual clients give up (ccxt's timeout), and
// would not learn why.
const (
	answerWithin = 8 * time.Second
	lookWithin   = time.Second // for a last look where a close came too late
)

// scratch is what one klines request works in.
type scratch struct {
	live []market.Kline
	rows []market.Kline
	body []byte

	newest market.Time // open time of the lane's last kline, as last asked; 0 where it had none
	late   bool        // a close was waited for in vain, as last asked
	gone   bool        // the exchange has forgotten the symbol, as last asked: what is here is all there is
}

// klines answers GET /fapi/v1/klines: whole, or refused.
func (s *Server) klines(w http.ResponseWriter, r *http.Request, params url.Values) error {
	q, err := s.parseKlines(params)
	if err != nil {
		return err
	}
	return s.answerKlines(w, r, &q, appendRows)
}

// continuousKlines answers GET /fapi/v1/continuousKlines likewise.
func (s *Server) continuousKlines(w http.ResponseWriter, r *http.Request, params url.Values) error {
	q, err := s.parseContinuousKlines(params)
	if err != nil {
		return err
	}
	return s.answerKlines(w, r, &q, appendRows)
}

// answerKlines answers with the rows that q asks for, as write makes a body of them.
func (s *Server) answerKlines(w http.ResponseWriter, r *http.Request, q *query, write rowsWriter) error {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	sc, _ := s.scratches.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	defer s.scratches.Put(sc)
	rows, err := s.answer(ctx, sc, q, whose(r))
	if err != nil && sc.late { // it may be here since: this process stood still, or the exchange was slow to fail
		look, cancel := context.WithTimeout(r.Context(), lookWithin)
		defer cancel()
		if again, e := s.answer(look, sc, q, whose(r)); e == nil {
			ctx, rows, err = look, again, nil
		}
	}
	if missing := q.limit - len(rows); err == nil && missing > 0 && (q.series.Interval < market.OneMinute || sc.gone && q.start < 0) {
		rows, err = s.beyondHoles(ctx, q, slices.Clone(rows), int64(missing), whose(r))
	}
	if err != nil {
		return fmt.Errorf("klines of %s %s: %w", q.symbol.Name, q.series.Interval, err)
	}
	sc.body = write(sc.body[:0], rows, q.series.Interval, &q.symbol)
	w.Header().Set("X-Klined-State", string(appendState(nil, rows)))
	w.Header().Set("Content-Length", strconv.Itoa(len(sc.body))) // or it would be written in chunks
	writeJSON(w, http.StatusOK, sc.body)
	return nil
}

// answer gathers the rows that q asks for; they are valid until sc is used again. A lane that has seen a trade of a
// later interval than the clock is believed: what it has closed is never the last row of an open end.
func (s *Server) answer(ctx context.Context, sc *scratch, q *query, who string) ([]market.Kline, error) {
	now := s.opt.Clock.Now()
	rows, err := s.answerAt(ctx, sc, q, now, who)
	if err == nil && sc.newest > now {
		return s.answerAt(ctx, sc, q, sc.newest, who)
	}
	return rows, err
}

// answerAt is answer at a time. A query that begins before the series does is answered from its first kline on, as the
// exchange answers it.
func (s *Server) answerAt(ctx context.Context, sc *scratch, q *query, now market.Time, who string) ([]market.Kline, error) {
	iv, g := q.series.Interval, q.grid(now)
	sc.newest, sc.late, sc.gone = 0, false, false
	if first, known := s.firsts.get(q.series); known && q.start >= 0 {
		g = q.begin(g, first)
	}
	rows, err := s.rows(ctx, sc, q.series, g.span(iv), now, who)
	begins := len(rows) > 0 && iv.Ordinal(rows[0].OpenTime) == g.first
	if err != nil || q.start < 0 || iv < market.OneMinute || g.last >= g.bound || begins {
		return rows, err
	}
	first, known, err := s.firstOpen(ctx, q.series, who)
	if err != nil {
		return nil, err
	}
	if !known || iv.Ordinal(first) <= g.first {
		return rows, nil
	}
	s.firsts.set(q.series, first)
	return s.rows(ctx, sc, q.series, q.begin(g, first).span(iv), now, who)
}

// rows gathers the klines of span: the lane's and the store's, the better version of each; what neither has whole is
// fetched. span ends at the running kline's end, at most. Where the symbol is not whole yet, the running kline and those that the
// exchange has only just closed are the exchange's own rows, as they are; what it does not have does not exist. So are those that
// the lane was to have closed, and did not in time.
func (s *Server) rows(ctx context.Context, sc *scratch, series market.Series, span market.Span, now market.Time, who string) ([]market.Kline, error) {
	if span.Empty() {
		return nil, nil
	}
	iv := series.Interval
	running := iv.Open(now)
	live, err := s.live(ctx, sc, series, span, now)
	if err != nil {
		return nil, err
	}
	closed := market.Span{From: span.From, To: min(span.To, running)}
	rows, absent, err := s.stored(ctx, sc, series, closed, live)
	if err != nil {
		return nil, err
	}
	lacks := lacking(iv, rows, s.unhealed(series.Symbol, now))
	if iv >= market.OneMinute && !(absent.Empty() && lacks.Empty()) {
		fetched, err := s.opt.Fetch(ctx, who, series, hull(absent, lacks))
		if s.gone(series.Symbol, err) {
			sc.gone = true
			return rows, nil
		}
		if err != nil && !absent.Empty() {
			return nil, err
		} // else they are served as they are, and say that they lack trades
		if rows, absent, err = s.stored(ctx, sc, series, closed, join(nil, fetched, live)); err != nil {
			return nil, err
		}
		absent.From = max(absent.From, min(s.kept(iv), absent.To)) // what is not kept and did not come does not exist
	}
	if iv < market.OneMinute {
		return rows, nil // the exchange has none: what is not held here exists nowhere
	}
	if !absent.Empty() && iv.Next(absent.From) <= now.Add(-unconfirmed) {
		return nil, errIncomplete(iv, absent)
	}
	absent = hull(absent, unclosed(iv, rows, running))
	if span.To > running && (len(rows) == 0 || rows[len(rows)-1].OpenTime < running) {
		absent = hull(absent, market.Span{From: running, To: span.To})
	}
	if absent.Empty() {
		return rows, nil
	}
	last, err := s.upstream(ctx, series, absent, who)
	if s.gone(series.Symbol, err) {
		sc.gone = true
		return rows, nil
	}
	if err != nil {
		return nil, err
	}
	if open := unclosed(iv, rows, running); !open.Empty() {
		if _, given := market.Search(last, open.From); !given {
			return nil, errIncomplete(iv, open)
		}
	}
	return join(nil, rows, last), nil
}

// gone reports whether err says that the exchange has forgotten a symbol that it had ended: what is here is all there is.
func (s *Server) gone(id market.SymbolID, err error) bool {
	return errors.Is(err, market.ErrNotListed) && s.opt.Ended(id)
}

// healsFor is how long after its end a kline that lacks trades is left to its lane, which heals it.
const healsFor = 10 * time.Minute

// unhealed is the time up to which nobody heals the klines of a symbol that lack trades unless a client asks for them:
// those that ended before the lane's stream began are an earlier process's.
func (s *Server) unhealed(id market.SymbolID, now market.Time) market.Time {
	begun, ok := s.opt.Live.Begun(id)
	if !ok {
		return now
	}
	return max(begun-1, now.Add(-healsFor))
}

// lacking is the span from the first to the last kline that lacks trades and ended by a time.
func lacking(iv market.Interval, rows []market.Kline, by market.Time) (span market.Span) {
	for i := range rows {
		if k := &rows[i]; k.Gap && k.State == market.StateClosed && iv.Next(k.OpenTime) <= by {
			span = hull(span, market.Span{From: k.OpenTime, To: iv.Next(k.OpenTime)})
		}
	}
	return span
}

// unclosed is the span of the last kline that is over by a time, where it has not closed.
func unclosed(iv market.Interval, rows []market.Kline, by market.Time) (span market.Span) {
	over, _ := market.Search(rows, by)
	if over > 0 && rows[over-1].State == market.StateOpen {
		span = market.Span{From: rows[over-1].OpenTime, To: iv.Next(rows[over-1].OpenTime)}
	}
	return span
}

// hull is the span from where the first of a and b begins to where the last ends; an empty one does not count.
func hull(a, b market.Span) market.Span {
	switch {
	case a.Empty():
		return b
	case b.Empty():
		return a
	}
	return market.Span{From: min(a.From, b.From), To: max(a.To, b.To)}
}

// unconfirmed is how long after its end a kline may be one that Fetch does not believe yet.
const unconfirmed = time.Minute

func errIncomplete(iv market.Interval, absent market.Span) error {
	return fmt.Errorf("%d klines from %s on are not here and the exchange did not give them", iv.Count(absent), absent.From)
}

// live is the lane's part of span. The lane is not asked, nor waited for, where span is well in the past: the store
// has that.
func (s *Server) live(ctx context.Context, sc *scratch, series market.Series, span market.Span, now market.Time) ([]market.Kline, error) {
	recent := max(market.Minute, 2*market.Time(series.Interval))
	if span.To <= now-recent {
		return nil, nil
	}
	rows, err := s.opt.Live.Tail(ctx, sc.live[:0], series, span.From)
	if err != nil {
		sc.late = ctx.Err() != nil
		return nil, fmt.Errorf("lane: %w", err)
	}
	sc.live = rows
	sc.late = !unclosed(series.Interval, rows, series.Interval.Open(now)).Empty()
	if len(rows) > 0 {
		sc.newest = rows[len(rows)-1].OpenTime
	}
	kept := rows[:0]
	for i := range rows {
		if k := &rows[i]; k.OpenTime >= span.From && k.OpenTime < span.To && k.State != market.StateAbsent {
			kept = append(kept, *k)
		}
	}
	return kept, nil
}

// stored reads span from the store and joins live to it. absent is the part of span, from the first to the last of
// what is missing, that neither knows to be complete.
func (s *Server) stored(ctx context.Context, sc *scratch, series market.Series, span market.Span, live []market.Kline) (rows []market.Kline, absent market.Span, err error) {
	if span.Empty() {
		return live, market.Span{}, nil
	}
	stored, missing, err := s.opt.Store.Klines(ctx, sc.rows[:0], series, span)
	if err != nil {
		return nil, absent, fmt.Errorf("store: %w", err)
	}
	sc.rows = joinTo(stored, live)
	return sc.rows, uncovered(series.Interval, missing, sc.rows), nil
}

// join appends two runs of one series, each by open time, as one: of two versions of a kline the better.
func join(dst, a, b []market.Kline) []market.Kline {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].OpenTime < b[0].OpenTime:
			dst, a = append(dst, a[0]), a[1:]
		case a[0].OpenTime > b[0].OpenTime:
			dst, b = append(dst, b[0]), b[1:]
		case market.Better(&b[0], &a[0]):
			dst, a, b = append(dst, b[0]), a[1:], b[1:]
		default:
			dst, a, b = append(dst, a[0]), a[1:], b[1:]
		}
	}
	return append(append(dst, a...), b...)
}

// joinTo is join into the memory of a. Where b only goes on where a ends, or is newer in part, nothing is copied but b.
func joinTo(a, b []market.Kline) []market.Kline {
	at := 0
	if len(b) > 0 {
		at, _ = market.Search(a, b[0].OpenTime)
	}
	for i := range b {
		for at < len(a) && a[at].OpenTime < b[i].OpenTime {
			at++
		}
		switch {
		case at == len(a):
			return append(a, b[i:]...)
		case a[at].OpenTime != b[i].OpenTime:
			return join(nil, a, b[i:])
		case market.Better(&b[i], &a[at]):
			a[at] = b[i]
		}
	}
	return a
}

// uncovered is the span from the first to the last kline within missing that rows does not hold.
func uncovered(iv market.Interval, missing []market.Span, rows []market.Kline) (absent market.Span) {
	i := 0
	for _, m := range missing {
		for open := iv.Ceil(m.From); open < m.To; open = iv.Next(open) {
			for i < len(rows) && rows[i].OpenTime < open {
				i++
			}
			if i < len(rows) && rows[i].OpenTime == open {
				continue
			}
			if absent.Empty() {
				absent.From = open
			}
			absent.To = iv.Next(open)
		}
	}
	return absent
}

// kept is since when klines of iv are kept.
func (s *Server) kept(iv market.Interval) market.Time {
	if s.opt.Kept == nil {
		return 0
	}
	return s.opt.Kept(iv)
}

var errNoUpstream = errors.New("the running kline is not here yet")

// upstream is the exchange's klines of span. What it has only the minutes of is folded from them.
func (s *Server) upstream(ctx context.Context, series market.Series, span market.Span, who string) ([]market.Kline, error) {
	if s.opt.Upstream == nil {
		return nil, errNoUpstream
	}
	if !series.Interval.OnExchange() && market.OneMinute.Count(span) > maxLimit {
		return nil, errIncomplete(series.Interval, span)
	}
	if series.Interval.OnExchange() {
		return s.opt.Upstream(ctx, who, series, span, int(min(series.Interval.Count(span), maxLimit)))
	}
	minutes, err := s.opt.Upstream(ctx, who, market.Series{Symbol: series.Symbol, Interval: market.OneMinute}, span, int(market.OneMinute.Count(span)))
	if err != nil {
		return nil, err
	}
	return market.FoldAll(series.Interval, minutes), nil
}

package serve

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"klined/market"
)

const (
	// udfMost is how many klines one answer holds at most.
	udfMost = 15_000
	// udfReach is how many klines beyond the asked ones are looked through where there are holes: below a minute, and since a symbol has left the exchange.
	udfReach = 100_000
	// udfWide is how many reads of more than maxLimit klines are under way at once; others wait for their turn.
	udfWide = 2
	// udfWithin bounds how long a request may wait: one of many pages takes longer than answerWithin, and a browser's waits.
	udfWithin = 20 * time.Second
)

// udfQuery is what a history request asks for: the last klines before to, or those from one time up to another.
type udfQuery struct {
	symbol market.Symbol
	series market.Series
	from   market.Time // the first that may open
	to     market.Time // none opens at it or later
	count  int64       // 0: those from from
}

// udfHistory answers with klines, oldest first, as columns; where there are none, with the time of the one before them:
//
//	{"s":"ok","t":[1789478160],"o":[76936.20],"h":[76965.50],"l":[76936.10],"c":[76965.40],"v":[20.680]}
//	{"s":"no_data","nextTime":1789478100}
func (s *Server) udfHistory(w http.ResponseWriter, r *http.Request, params url.Values) {
	ctx, cancel := context.WithTimeout(r.Context(), udfWithin)
	defer cancel()
	q, err := s.parseUDF(params)
	if err != nil {
		writeUDFError(w, err)
		return
	}
	rows, before, err := s.udfRows(ctx, &q, whose(r))
	if err != nil {
		if r.Context().Err() == nil && refusal(err).status >= 500 {
			s.log.Warn("cannot answer", "from", r.RemoteAddr, "path", r.URL.Path, "symbol", params.Get("symbol"), "error", err)
		}
		writeUDFError(w, fmt.Errorf("klines of %s %s: %w", q.symbol.Name, q.series.Interval, err))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Klined-State", string(appendState(nil, rows)))
	writeJSON(w, http.StatusOK, appendUDF(nil, rows, before, &q.symbol))
}

// parseUDF reads the parameters of a history request. countback is stronger than from.
func (s *Server) parseUDF(params url.Values) (q udfQuery, err error) {
	if q.symbol, err = s.udfNamed(params); err != nil {
		return q, err
	}
	q.series.Symbol = q.symbol.ID
	if q.series.Interval, err = s.udfInterval(params.Get("resolution")); err != nil {
		return q, err
	}
	q.to = s.opt.Clock.Now() + 1
	if params.Get("to") != "" {
		if q.to, err = udfTime(params, "to"); err != nil {
			return q, err
		}
	}
	if text := params.Get("countback"); text != "" {
		if q.count, err = parseNumber(text); err != nil || q.count < 1 {
			return q, udfInvalid("countback", text, "a number from 1 on")
		}
		q.count = min(q.count, udfMost)
		return q, nil
	}
	q.from, err = udfTime(params, "from")
	return q, err
}

// udfTime reads a time in seconds. What lies before 1970 is 1970.
func udfTime(params url.Values, name string) (market.Time, error) {
	text := params.Get(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, udfInvalid(name, text, "a time in Unix seconds")
	}
	return market.Time(min(max(n, 0), int64(lastTime/market.Second))) * market.Second, nil
}

// udfRows gathers the klines that q asks for: where they are more than udfMost, the newest. Where there are none, before is when the last one before them opens; 0 where
// nothing lies before them.
func (s *Server) udfRows(ctx context.Context, q *udfQuery, who string) (rows []market.Kline, before market.Time, err error) {
	iv := q.series.Interval
	end := min(q.to-1, s.opt.Clock.Now()) // the last moment at which one may open
	if end < 0 {
		return nil, 0, nil
	}
	lowest := iv.Ordinal(iv.Ceil(0))
	if iv < market.OneMinute {
		lowest = max(iv.Ordinal(iv.Ceil(s.kept(iv))), iv.Ordinal(end)-udfReach)
	}
	if q.count > 0 {
		rows, err = s.udfBack(ctx, q.series, end, lowest, q.count, who)
		return rows, 0, err
	}
	first := max(iv.Ordinal(iv.Ceil(q.from)), lowest)
	if n := min(iv.Ordinal(end)-first+1, udfMost); n > 0 {
		if rows, err = s.udfBack(ctx, q.series, end, first, n, who); err != nil || len(rows) > 0 {
			return rows, 0, err
		}
	}
	end = min(end, iv.OpenAt(first)-1)
	last, err := s.udfBack(ctx, q.series, end, lowest, 1, who)
	if err != nil || len(last) == 0 {
		return nil, 0, err
	}
	return nil, last[0].OpenTime, nil
}

// udfBack gathers the last n klines that open at end or earlier, and not below an ordinal, in pages from the newest back:
// each is whole, or there is an error. From a minute on klines follow each other, so a short page is the series' begin;
// below, there are holes to look beyond, and so is the time since a symbol has left the exchange: each page is wider than the one before.
func (s *Server) udfBack(ctx context.Context, series market.Series, end market.Time, lowest, n int64, who string) (rows []market.Kline, err error) {
	iv, widest := series.Interval, int64(maxLimit)
	if iv < market.OneMinute {
		widest = udfMost
	}
	sc, _ := s.scratches.Get().(*scratch)
	if sc == nil {
		sc = new(scratch)
	}
	defer s.scratches.Put(sc)
	newest := iv.Ordinal(end)
	for last, size := newest, n; last >= lowest && int64(len(rows)) < n; end = iv.OpenAt(last) {
		size = min(size, widest, last-lowest+1)
		page, err := s.udfPage(ctx, sc, &query{series: series, start: -1, end: end, limit: int(size)}, who)
		if err != nil {
			return nil, err
		}
		rows = append(slices.Clone(page), rows...)
		last -= size
		if sc.gone && iv >= market.OneMinute { // what lies before what is kept is not here either
			lowest = max(lowest, iv.Ordinal(iv.Ceil(s.kept(iv))), newest-udfReach)
		}
		switch short := int64(len(page)) < size; {
		case iv < market.OneMinute || sc.gone:
			size = max(2*size, maxLimit)
		case short:
			return rows, nil
		default:
			size = n - int64(len(rows))
		}
	}
	return rows[max(0, int64(len(rows))-n):], nil
}

// udfPage is answer. What asks for more than any klines request waits for its turn: such reads leave the disk to others.
func (s *Server) udfPage(ctx context.Context, sc *scratch, q *query, who string) ([]market.Kline, error) {
	if q.limit > maxLimit {
		select {
		case s.wide <- struct{}{}:
			defer func() { <-s.wide }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.answer(ctx, sc, q, who)
}

// appendUDF writes a history answer. Numbers are the exact decimals.
func appendUDF(dst []byte, rows []market.Kline, before market.Time, sym *market.Symbol) []byte {
	if len(rows) == 0 {
		dst = append(dst, `{"s":"no_data"`...)
		if before > 0 {
			dst = strconv.AppendInt(append(dst, `,"nextTime":`...), int64(before/market.Second), 10)
		}
		return append(dst, '}')
	}
	dst = append(dst, `{"s":"ok"`...)
	for _, column := range []struct {
		name  string
		value func(dst []byte, k *market.Kline) []byte
	}{
		{"t", func(dst []byte, k *market.Kline) []byte {
			return strconv.AppendInt(dst, int64(k.OpenTime/market.Second), 10)
		}},
		{"o", func(dst []byte, k *market.Kline) []byte { return k.Open.Append(dst, sym.PriceDigits) }},
		{"h", func(dst []byte, k *market.Kline) []byte { return k.High.Append(dst, sym.PriceDigits) }},
		{"l", func(dst []byte, k *market.Kline) []byte { return k.Low.Append(dst, sym.PriceDigits) }},
		{"c", func(dst []byte, k *market.Kline) []byte { return k.Close.Append(dst, sym.PriceDigits) }},
		{"v", func(dst []byte, k *market.Kline) []byte { return k.Volume.Append(dst, sym.QtyDigits) }},
	} {
		dst = append(append(append(dst, `,"`...), column.name...), `":[`...)
		for i := range rows {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = column.value(dst, &rows[i])
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

package serve

import (
	"context"
	"sync"

	"klined/market"
)

// firstOpen asks the exchange for the open time of the very first kline of series, of a minute or longer.
func (s *Server) firstOpen(ctx context.Context, series market.Series, who string) (first market.Time, known bool, err error) {
	if s.opt.Upstream == nil {
		return 0, false, nil
	}
	asked := series
	if !asked.Interval.OnExchange() {
		asked.Interval = market.OneMinute
	}
	rows, err := s.opt.Upstream(ctx, who, asked, market.Span{From: 1}, 1)
	if s.gone(series.Symbol, err) {
		err = nil
	}
	if err != nil || len(rows) == 0 {
		return 0, false, err
	}
	return series.Interval.Open(rows[0].OpenTime), true, nil
}

// firsts remembers the open time of a series' first kline, where a request began before it.
type firsts struct {
	mu   sync.Mutex
	open map[market.Series]market.Time
}

func (f *firsts) get(series market.Series) (open market.Time, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	open, known = f.open[series]
	return open, known
}

func (f *firsts) set(series market.Series, open market.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = make(map[market.Series]market.Time)
	}
	f.open[series] = open
}

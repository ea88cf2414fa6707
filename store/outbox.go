package store

import (
	"slices"

	"klined/market"
)

// held is a kline that waits for its commit, with the digits it will be written with.
type held struct {
	market.Kline
	digits digits
}

// outbox is the klines that wait to be written, one version of each: the best seen. Whoever calls holds Store.mu.
type outbox struct {
	rows map[market.Series][]held // by rising open time
	n    int
}

func newOutbox() *outbox { return &outbox{rows: make(map[market.Series][]held)} }

// find is where the kline that opens at open stands, or would stand, in rows.
func find(rows []held, open market.Time) (int, bool) {
	if n := len(rows); n == 0 || rows[n-1].OpenTime < open {
		return n, false // a newer kline: the common case
	}
	return slices.BinarySearchFunc(rows, open, func(h held, open market.Time) int {
		return int(min(max(h.OpenTime-open, -1), 1))
	})
}

// put takes h in unless a version as good is there.
func (o *outbox) put(series market.Series, h *held) {
	rows := o.rows[series]
	i, found := find(rows, h.OpenTime)
	switch {
	case !found:
		o.rows[series] = slices.Insert(rows, i, *h)
		o.n++
	case market.Better(&h.Kline, &rows[i].Kline):
		rows[i] = *h
	}
}

// putRun is put for each of run. A page of rising open times that fits between two neighbours goes in at once: pages come from the
// newest to the oldest, and one kline at a time each would move all that is there.
func (o *outbox) putRun(series market.Series, run []held) {
	if len(run) == 0 {
		return
	}
	rows := o.rows[series]
	i, found := find(rows, run[0].OpenTime)
	fits := !found && (i == len(rows) || run[len(run)-1].OpenTime < rows[i].OpenTime)
	for n := 1; n < len(run) && fits; n++ {
		fits = run[n-1].OpenTime < run[n].OpenTime
	}
	if fits {
		o.rows[series] = slices.Insert(rows, i, run...)
		o.n += len(run)
		return
	}
	for i := range run {
		o.put(series, &run[i])
	}
}

// absorb takes in all of p; where both have a version as good, o's stays.
func (o *outbox) absorb(p *outbox) {
	for series, rows := range p.rows {
		for i := range rows {
			o.put(series, &rows[i])
		}
	}
}

// within appends the series' klines that open within s to dst.
func (o *outbox) within(dst []market.Kline, series market.Series, s market.Span) []market.Kline {
	rows := o.rows[series]
	from, _ := find(rows, s.From)
	for i := from; i < len(rows) && rows[i].OpenTime < s.To; i++ {
		dst = append(dst, rows[i].Kline)
	}
	return dst
}

// dropOldest takes out at least n klines, those that ended first, and hands each to lost.
func (o *outbox) dropOldest(n int, lost func(market.Series, market.Time)) {
	ends := make([]market.Time, 0, o.n)
	for series, rows := range o.rows {
		for i := range rows {
			ends = append(ends, series.Interval.Next(rows[i].OpenTime))
		}
	}
	slices.Sort(ends)
	last := ends[min(n, len(ends))-1]
	for series, rows := range o.rows {
		cut := 0
		for cut < len(rows) && series.Interval.Next(rows[cut].OpenTime) <= last {
			lost(series, rows[cut].OpenTime)
			cut++
		}
		o.n -= cut
		if cut == len(rows) {
			delete(o.rows, series)
		} else {
			o.rows[series] = slices.Delete(rows, 0, cut)
		}
	}
}

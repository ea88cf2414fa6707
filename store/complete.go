package store

import (
	"maps"

	"klined/market"
)

// completeness says which klines are known: all of them are on disk or in the outbox, and where there is none the
// exchange has none. Per series that is
//
//	known ∪ what the symbol's live session has brought − holes
//
// as far back as its interval is kept.
//
// Whoever calls holds Store.mu.
type completeness struct {
	known spanTable
	holes spanTable // rows that were lost on their way to the disk, or lack trades
	live  map[market.SymbolID]session
	lanes map[int]market.Time // what each lane has handed on: its highest Changes.UpTo

	retention retention

	settled map[market.SymbolID]market.Time // minutes before it have been held against the exchange's own

	dirtyLive    map[market.SymbolID]struct{} // differ from the disk
	dirtyLanes   bool
	dirtySettled map[market.SymbolID]struct{}
}

// session is a symbol's feed since it began: complete from there up to its lane's watermark.
type session struct {
	lane int
	from market.Time
}

// spanTable is the spans of each series, and which of them differ from the disk.
type spanTable struct {
	of    map[market.Series]spans
	dirty map[market.Series]struct{}
}

func newSpanTable() spanTable {
	return spanTable{of: make(map[market.Series]spans), dirty: make(map[market.Series]struct{})}
}

func (t *spanTable) add(series market.Series, s market.Span) {
	if !s.Empty() {
		t.of[series] = t.of[series].add(s)
		t.dirty[series] = struct{}{}
	}
}

func (t *spanTable) remove(series market.Series, s market.Span) {
	old := t.of[series]
	if len(old.within(s)) == 0 {
		return
	}
	t.dirty[series] = struct{}{}
	if rest := old.remove(s); len(rest) > 0 {
		t.of[series] = rest
	} else {
		delete(t.of, series)
	}
}

// takeDirty copies the spans of the series that differ from the disk, which from now on count as written.
func (t *spanTable) takeDirty() map[market.Series]spans {
	taken := make(map[market.Series]spans, len(t.dirty))
	for series := range t.dirty {
		taken[series] = append(spans(nil), t.of[series]...)
	}
	clear(t.dirty)
	return taken
}

// putBack undoes takeDirty: what was taken is not on disk.
func (t *spanTable) putBack(taken map[market.Series]spans) {
	for series := range taken {
		t.dirty[series] = struct{}{}
	}
}

func newCompleteness() completeness {
	return completeness{
		known: newSpanTable(), holes: newSpanTable(),
		live: make(map[market.SymbolID]session), lanes: make(map[int]market.Time),
		dirtyLive: make(map[market.SymbolID]struct{}),
		settled:   make(map[market.SymbolID]market.Time), dirtySettled: make(map[market.SymbolID]struct{}),
	}
}

// spanOf is what a session of series' symbol, begun at from, has completed when its lane has handed on all that ends
// at or before upTo. The kline that contains from is whole: what of it lies before from was official. Below a minute
// there is nothing official, so there it begins with the first whole minute.
func spanOf(iv market.Interval, from, upTo market.Time) market.Span {
	first := iv.Open(from)
	if iv < market.OneMinute {
		first = market.OneMinute.Ceil(from)
	}
	return market.Span{From: first, To: iv.Open(upTo)}
}

// missing is the parts of s, in whole klines, that are not known.
func (c *completeness) missing(series market.Series, s market.Span) spans {
	iv := series.Interval
	s = market.Span{From: iv.Ceil(s.From), To: iv.Ceil(s.To)}
	known := c.known.of[series].within(s)
	if live, ok := c.live[series.Symbol]; ok {
		now := spanOf(iv, live.from, c.lanes[live.lane])
		known = known.add(market.Span{From: max(now.From, s.From), To: min(now.To, s.To)})
	}
	missing := spans(nil).add(s)
	for _, part := range known {
		missing = missing.remove(part)
	}
	for _, hole := range c.holes.of[series].within(s) {
		missing = missing.add(hole)
	}
	return missing.add(c.retention.gone(iv, s))
}

// begin opens a session. One that is open already is kept if it reaches the new one, else it ends as known spans.
func (c *completeness) begin(symbol market.SymbolID, s session, intervals []market.Interval) {
	if old, ok := c.live[symbol]; ok {
		if old.lane == s.lane && old.from <= s.from && s.from <= c.lanes[old.lane] {
			return
		}
		c.end(symbol, old, intervals, c.lanes[old.lane])
	}
	c.live[symbol] = s
	c.dirtyLive[symbol] = struct{}{}
}

// end turns what a session has brought so far into known spans of the intervals that were kept meanwhile. What ended
// after believed is not known, where the exchange can be asked.
func (c *completeness) end(symbol market.SymbolID, s session, intervals []market.Interval, believed market.Time) {
	for _, iv := range intervals {
		upTo := c.lanes[s.lane]
		if iv >= market.OneMinute {
			upTo = min(upTo, believed)
		}
		c.known.add(market.Series{Symbol: symbol, Interval: iv}, spanOf(iv, s.from, upTo))
	}
	delete(c.live, symbol)
	c.dirtyLive[symbol] = struct{}{}
}

// advance moves a lane's watermark; it never moves back. It reports whether a kline of shortest ended by it.
func (c *completeness) advance(lane int, upTo market.Time, shortest market.Interval) bool {
	old := c.lanes[lane]
	if upTo <= old {
		return false
	}
	c.lanes[lane], c.dirtyLanes = upTo, true
	c.retention.now = max(c.retention.now, upTo)
	return shortest.Open(upTo) > old
}

// facts is what of a completeness has to be written with the next rows.
type facts struct {
	known, holes map[market.Series]spans
	live         map[market.SymbolID]*session // nil: ended
	lanes        map[int]market.Time          // nil: as before
	settled      map[market.SymbolID]market.Time
	differ       []differed              // that were seen
	dropped      map[market.Series]spans // of which the disk may have older versions
}

func (f *facts) empty() bool {
	return len(f.known) == 0 && len(f.holes) == 0 && len(f.live) == 0 && f.lanes == nil &&
		len(f.settled) == 0 && len(f.differ) == 0 && len(f.dropped) == 0
}

// take copies what differs from the disk, which from now on counts as written.
func (c *completeness) take() facts {
	f := facts{known: c.known.takeDirty(), holes: c.holes.takeDirty(), live: make(map[market.SymbolID]*session, len(c.dirtyLive))}
	for symbol := range c.dirtyLive {
		f.live[symbol] = nil
		if s, ok := c.live[symbol]; ok {
			f.live[symbol] = &s
		}
	}
	if c.dirtyLanes {
		f.lanes = maps.Clone(c.lanes)
	}
	f.settled = make(map[market.SymbolID]market.Time, len(c.dirtySettled))
	for symbol := range c.dirtySettled {
		f.settled[symbol] = c.settled[symbol]
	}
	clear(c.dirtyLive)
	clear(c.dirtySettled)
	c.dirtyLanes = false
	return f
}

// putBack undoes take: f is not on disk.
func (c *completeness) putBack(f facts) {
	c.known.putBack(f.known)
	c.holes.putBack(f.holes)
	for symbol := range f.live {
		c.dirtyLive[symbol] = struct{}{}
	}
	for symbol := range f.settled {
		c.dirtySettled[symbol] = struct{}{}
	}
	c.dirtyLanes = c.dirtyLanes || f.lanes != nil
}

package feed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// When a connection is silent, and for whom. The venue has been seen to let connections live that bring nothing, or
// nothing of some symbols, so neither an open socket nor an answer proves anything: trades do.
const (
	lookEvery    = time.Second
	looksMissed  = 3                // looks in a row at which a connection lacks what another has brought
	tradesMissed = 3                // ids that it lacks at least: a lost frame is a gap, no silence
	witnessed    = 5 * time.Second  // after the witness has seen a trade: it must have come by then
	tickerLag    = 2 * time.Second  // from a trade to the row that shows it, at most
	firstRows    = 5 * time.Second  // a new connection of the witness may bring any symbol's row
	witnessAway  = 5 * time.Second  // without a row the witness tells nothing
	silentTimes  = 100              // mean gaps between a symbol's trades; where there is no witness
	silentLeast  = 10 * time.Second // and no less than this
	unseenForgot = 10 * time.Minute // after it the next end comes soon again
	muteEnds     = 10 * time.Second // after all streams were acknowledged: trades must have come, if there are any
	muteWarns    = 30 * time.Second // as muteEnds, where nobody knows whether there are any
)

// seen is what the venue's own summary says of a symbol.
type seen struct {
	last   market.Ticker
	by     time.Time   // when the connection began that brought last
	at     time.Time   // when it last showed a trade that has not come; zero where all have
	traded market.Time // when that trade took place, at the latest
	since  time.Time   // when it first showed, for certain, one that has not come; zero where it has not
	sure   time.Time   // when it last did so of any
}

// before reports whether what was shown took place before an instant, as far as is known.
func (w *seen) before(t time.Time) bool { return w.at.Add(-tickerLag).Before(t) }

// witness takes the venue's own summary: a row whose close changed or whose volume rose shows that the symbol traded.
// The rows are of the connection that began at the given time. Its first of a symbol has nothing to be compared with: that
// it comes at all, later than those of the busy ones, is because the symbol traded, or because a trade of a day ago does not
// count any more.
func (f *Feed) witness(rows []market.Ticker, began time.Time) {
	if len(rows) == 0 {
		return
	}
	f.lastTicker.Store(time.Now().UnixNano())
	for i := range rows {
		if l, slot := f.laneOf(rows[i].SymbolID); l != nil {
			l.shows(slot, &rows[i], began)
		}
	}
}

// shows takes one row of the summary.
func (l *lane) shows(slot engine.Slot, row *market.Ticker, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, now := &l.symbols[slot], time.Now()
	if s.state == Ended {
		return
	}
	w := &s.seen
	first := !w.by.Equal(began)
	sure := !first && (row.Close != w.last.Close || row.Volume.Cmp(w.last.Volume) > 0)
	w.last, w.by = *row, began
	if w.at.IsZero() && (sure || first && now.Sub(began) > firstRows) {
		w.at, w.traded = now, row.Time
	}
	if sure {
		w.sure = now
		if w.since.IsZero() {
			w.since = now
		}
	}
	if s.doubt.first.Time != 0 && row.Time >= s.doubt.first.Time && row.Close == s.doubt.first.Price {
		l.trustFirst(slot, s)
		l.signal()
	}
}

// look finds the connections that are silent, or late, and ends or replaces them. It is called about once every lookEvery.
func (l *lane) look(ctx context.Context, now time.Time) {
	taken := l.lock()
	l.rate.measure(now)
	var ends []*carrier
	l.unseen = false
	if l.silent != 0 && l.brought(l.silent) {
		l.silent = 0
		l.see()
	}
	if l.from != 0 {
		for slot := range l.symbols {
			s := &l.symbols[slot]
			if s.from != 0 && s.state != Ended {
				ends = append(ends, l.lookAt(engine.Slot(slot), s, now)...)
			}
			if l.f.settles {
				l.settleSaid(engine.Slot(slot), s)
			}
			s.passedBefore = s.next - 1
		}
	}
	if !l.unseen && now.Sub(l.unseenAfter) > unseenForgot {
		l.unseenEnds = 0
	}
	ends = append(ends, l.mute(now)...)
	l.behindTwins(now)
	l.unlock(taken)
	if len(ends) > 0 {
		l.f.doubtClock(ctx) // the exchange's may have stepped back: then it is silent until it has caught up
	}
	for _, c := range ends {
		l.f.log.Warn("connection is silent", "conn", c.name, "reason", c.silent)
		go c.conn.Close(silent)
	}
}

// lookAt looks for connections that bring nothing of a symbol though it trades.
func (l *lane) lookAt(slot engine.Slot, s *symbol, now time.Time) (ends []*carrier) {
	brings := func(c *carrier) bool { return c.brings(slot) && c.runs[slot].newest >= s.passedBefore }
	for _, c := range l.conns {
		r := &c.runs[slot]
		if !c.brings(slot) || c.silent != "" || s.passedBefore-r.newest < tradesMissed || !slices.ContainsFunc(l.conns, brings) {
			r.missed = 0
			continue
		}
		if r.missed++; r.missed >= looksMissed && l.spare() {
			c.silent = fmt.Sprintf("nothing of %s for %s, though another connection brings it", l.f.name(s.id), looksMissed*lookEvery)
			ends = append(ends, c)
		}
	}
	if c := l.nobodyBrings(slot, s, now); c != nil {
		ends = append(ends, c)
	}
	return ends
}

// spare reports whether a connection may be ended: others carry the lane, and none of them is being ended.
func (l *lane) spare() bool {
	for _, c := range l.conns {
		if c.silent != "" {
			return false
		}
	}
	return l.carriers() > 1
}

// nobodyBrings is the connection to end because a symbol trades and no connection brings it: the oldest of the lane, one at a
// time, and after twice as long each time.
func (l *lane) nobodyBrings(slot engine.Slot, s *symbol, now time.Time) *carrier {
	newest := s.lastTime
	if n := len(s.held); n > 0 {
		newest = max(newest, s.held[n-1].Time)
	}
	why := ""
	switch w := &s.seen; {
	case !w.at.IsZero() && s.has(newest):
		l.accounted(s)
	case !w.at.IsZero() && w.before(l.since(slot, s)): // none of these connections was to bring it
		if !w.before(l.unbrokenOf(s)) || s.unopened() {
			l.missed(slot, s)
		}
		l.accounted(s)
	case !w.at.IsZero() && now.Sub(w.at) >= witnessed && w.since.IsZero():
		l.missed(slot, s)
		l.accounted(s)
	case !w.since.IsZero() && now.Sub(w.since) >= witnessed:
		l.missed(slot, s)
		why = fmt.Sprintf("nothing of %s, though the venue's own summary shows that it traded at %s", l.f.name(s.id), w.traded)
	case l.f.unwitnessed(now) && s.passed > silentTimes && l.overdue(s, newest):
		if since, silent := l.silentSince(now); silent && l.silent == 0 {
			l.silent = since
			l.allBlind(since - blindMargin)
		}
		why = fmt.Sprintf("nothing of %s since %s, %d times as long as between its trades", l.f.name(s.id), newest, silentTimes)
	}
	if why == "" {
		return nil
	}
	l.unseen = true
	if now.Before(l.unseenAfter) || !l.spare() && l.f.redundancy > 1 {
		return nil
	}
	var oldest *carrier
	for _, c := range l.conns {
		if c.carries && c.silent == "" && (oldest == nil || c.since.Before(oldest.since)) {
			oldest = c
		}
	}
	if oldest != nil {
		oldest.silent = why
		l.unseenEnds = min(l.unseenEnds+1, 6)
		l.unseenAfter = now.Add(witnessed << l.unseenEnds)
	}
	return oldest
}

// has reports whether what the summary has shown has come: a trade since then by our own clock, or, as the row may be late, one
// of about that time by the venue's.
func (s *symbol) has(newest market.Time) bool {
	w := &s.seen
	return w.before(s.heard) || newest >= w.traded.Add(-tickerLag) && newest <= w.traded.Add(tickerLag)
}

// missed takes note that a trade that the venue's summary has shown did not come, whoever is to blame.
func (l *lane) missed(slot engine.Slot, s *symbol) {
	b, from := &s.blind, s.seen.traded.Add(-tickerLag)
	if b.from != 0 && b.from <= from && b.to == 0 {
		return
	}
	l.reopen(s, market.Span{From: from})
	s.opening = s.unopened()
	l.mark(slot, s)
	l.recall(slot, s)
	l.signal()
}

// accounted takes note that what the summary has shown of a symbol has come, or is known to be missed.
func (l *lane) accounted(s *symbol) {
	s.seen.at, s.seen.since = time.Time{}, time.Time{}
	if l.carriers() > 0 {
		s.blind.see(l.f.clock.Now())
	}
}

// silentSince is the time of the youngest trade that the lane's connections have brought; false where one has brought
// something lately.
func (l *lane) silentSince(now time.Time) (newest market.Time, silent bool) {
	for _, c := range l.conns {
		if c.carries && now.Sub(c.last.at) < witnessed {
			return 0, false
		}
		newest = max(newest, c.last.newest)
	}
	return newest, newest != 0
}

// brought reports whether a connection that carries the lane has brought a trade that is younger than the time.
func (l *lane) brought(since market.Time) bool {
	return slices.ContainsFunc(l.conns, func(c *carrier) bool { return c.carries && c.last.newest > since })
}

// since is from when on the oldest of the connections that carry the symbol does; now where none does.
func (l *lane) since(slot engine.Slot, s *symbol) time.Time {
	since := time.Now()
	for _, c := range l.conns {
		if c.brings(slot) && c.since.Before(since) {
			since = c.since
		}
	}
	if since.Before(s.carried) {
		return s.carried
	}
	return since
}

// unbrokenOf is from when on one connection or another has carried the symbol without a break.
func (l *lane) unbrokenOf(s *symbol) time.Time {
	if l.unbroken.Before(s.carried) {
		return s.carried
	}
	return l.unbroken
}

// overdue reports whether a symbol has been silent for much longer than it used to be between its trades.
func (l *lane) overdue(s *symbol, newest market.Time) bool {
	return l.f.clock.Now().Sub(newest) > max(silentLeast, silentTimes*l.meanGap(s))
}

// unwitnessed reports whether the venue's summary has not come for a while.
func (f *Feed) unwitnessed(now time.Time) bool {
	return now.Sub(time.Unix(0, f.lastTicker.Load())) > witnessAway
}

// acknowledged notes that all streams of a connection are, as of a read without trades.
func (l *lane) acknowledged(c *carrier, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.ready.IsZero() {
		c.ready = time.Now()
	}
	if len(c.asks) > 0 {
		l.granted(c, at)
		l.signal()
	}
}

// mute finds connections that acknowledged their streams and brought nothing since, though symbols of the lane trade.
// Where nobody knows whether they do, it is said and the connection lives on.
func (l *lane) mute(now time.Time) (ends []*carrier) {
	for _, c := range l.conns {
		mute := now.Sub(c.ready)
		if c.carries || c.silent != "" || c.ready.IsZero() || mute < muteEnds || l.living == 0 {
			continue
		}
		why := fmt.Sprintf("the venue has acknowledged %d streams and sent nothing for %s: is this the address of its trades?",
			l.living, mute.Round(time.Second))
		switch {
		case l.trades(c.ready):
			c.silent = why
			ends = append(ends, c)
		case mute >= muteWarns:
			c.link.component.Fail(why)
			if !c.warned {
				c.warned = true
				go l.f.log.Error("connection is mute", "conn", c.name, "reason", why)
			}
		}
	}
	return ends
}

// trades reports whether a symbol of the lane has traded since, by another connection or by the venue's summary.
func (l *lane) trades(since time.Time) bool {
	for _, c := range l.conns {
		if c.carries && c.last.at.After(since) {
			return true
		}
	}
	for i := range l.symbols {
		if s := &l.symbols[i]; s.state != Ended && s.seen.sure.After(since) {
			return true
		}
	}
	return false
}

// foundSilent is why a connection was ended for its silence; empty where it was not.
func (l *lane) foundSilent(c *carrier) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.silent
}

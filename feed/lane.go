package feed

import (
	"slices"
	"sync"
	"time"

	"klined/engine"
	"klined/market"
)

// Bounds of what a lane holds back for ids that are missing. What exceeds them is let through.
const (
	otherLate  = 200 * time.Millisecond // a hole older than this is a gap: the other connection has not filled it
	holdTime   = 2 * time.Second        // a gap older than this is let through
	holdTrades = 4096                   // of one symbol
	holdAll    = 256 << 10              // of all symbols, shared out evenly among the lanes
	burntKept  = 4096                   // runs of burnt ids remembered per symbol, in case one comes after all
)

// lane is one mutex around the sequences of its symbols and their engine. A reader takes it once per read; ticks, heals
// and reads take the same one. Nobody waits, does I/O or encodes under it.
type lane struct {
	f *Feed
	n int

	mu       sync.Mutex
	engine   *engine.Engine
	symbols  []symbol          // by engine.Slot
	links    []*link           // its trade connections
	era      int               // how often no connection was left that carried it
	holes    []engine.Slot     // symbols with held trades
	heldAll  int               // trades held in the lane
	from     market.Time       // the first boundary after its stream began; 0 until then
	upTo     market.Time       // what ends at or before it has been closed
	working  time.Time         // since when its closes wait for the readers; zero while they do not
	received time.Time         // of the oldest frame behind what the drainer has not taken; zero where none is
	wholes   []market.SymbolID // became whole since the last drain
	closed   chan struct{}     // closed and made anew by the drainer after each drain that brought closes
	tally    tally
	counted  engine.Counts // what the counters have been told of the engine's

	wake chan struct{} // of the drainer; holds one
}

// tally is what the counters have not been told yet: all readers share them, so they are moved once a read.
type tally struct{ trades, duplicates int }

// symbol is what a lane knows of one symbol besides its klines.
type symbol struct {
	sequence
	id    market.SymbolID
	state State
	blind market.Time     // since when it cannot be known whether a trade was missed; 0 where it can
	gappy bool            // some of its gaps are marked
	said  [2]market.Kline // the venue's own of the youngest two minutes, by ordinal, as frames brought them
	watch uint64          // bit i: somebody wants the running kline of Feed.intervals[i]
}

// lock takes the mutex. Give what it returns to unlock.
func (l *lane) lock() (taken time.Time) {
	l.mu.Lock()
	return time.Now()
}

// unlock gives the mutex back and measures how long it was held.
func (l *lane) unlock(taken time.Time) {
	held := time.Since(taken)
	l.mu.Unlock()
	l.f.metrics.LaneHold.Observe(held.Seconds())
}

// take applies what one read of a trade connection brought; there are trades in it.
func (l *lane) take(from *link, b *market.Batch) {
	defer l.unlock(l.lock())
	if l.received.IsZero() {
		l.received = b.Received
	}
	if b.Ready && !from.carries {
		l.seen(from)
	}
	for i := range b.Trades {
		l.accept(from, &b.Trades[i], b.Received)
	}
	newest := b.Trades[len(b.Trades)-1].Time
	from.last = brought{at: b.Received, newest: newest, lag: l.f.clock.Now().Sub(newest)}
	l.count(causeLate)
	l.signal()
}

// seen counts a connection as carrying its symbols: all its streams are acknowledged and trades come. The lane's stream
// begins with the first such connection: from the next full minute on, every minute is whole from its first trade.
func (l *lane) seen(from *link) {
	from.carries = true
	if l.from != 0 {
		return
	}
	l.from = market.OneMinute.Ceil(l.f.clock.Now() + beginMargin)
	for slot := range l.symbols {
		l.engine.Begin(engine.Slot(slot), l.from)
	}
	l.f.log.Info("stream began", "lane", l.n, "symbols", len(l.symbols), "first_boundary", l.from.String())
}

// beginMargin is how far before a boundary a stream must have begun for the minute after it to be ours: more than the
// clock may be off.
const beginMargin = market.Second

// accept puts one trade in its place: passes it on, holds it, or drops it.
func (l *lane) accept(from *link, t *market.Trade, received time.Time) {
	own, slot := l.f.laneOf(t.SymbolID)
	if own != l { // nobody subscribed to it here
		l.f.metrics.UnknownSymbols.Inc()
		return
	}
	s := &l.symbols[slot]
	if from.began[slot] == 0 {
		from.began[slot] = t.ID
	}
	p, i := s.place(t.ID)
	if s.hole != nil && t.ID <= s.hole.Last && (p == isNext || p == isAhead) {
		l.f.metrics.HealedTrades.Inc()
	}
	switch p {
	case isNext:
		l.pass(slot, s, t, l.era)
		l.release(slot, s)
	case isDuplicate:
		l.tally.duplicates++
		l.jump(from, slot, s, t.ID)
	case isAhead:
		l.hold(slot, s, i, t, received)
		l.jump(from, slot, s, t.ID)
	case isMissing:
		l.late(slot, s, i, t)
	case isEarlier:
		l.earlier(slot, s, t)
	}
	if s.gappy && l.f.source == market.SourceTrade {
		l.burnt(from, slot, s, t.ID)
	}
}

// pass applies the next trade in order, received in the given era.
func (l *lane) pass(slot engine.Slot, s *symbol, t *market.Trade, era int) {
	if s.blind != 0 && era == l.era {
		l.sighted(slot, s, t)
	}
	s.note(t)
	l.apply(slot, t)
}

// apply hands a trade to the engine and counts what became of it.
func (l *lane) apply(slot engine.Slot, t *market.Trade) engine.Applied {
	if l.from == 0 {
		return engine.Before // until the stream's first boundary is known, no minute is ours
	}
	l.tally.trades++
	applied := l.engine.Apply(slot, t)
	if applied == engine.Late || applied == engine.TooLate {
		l.f.metrics.LateTrades.Inc()
	}
	return applied
}

// release passes on the held trades that follow s.next without a hole.
func (l *lane) release(slot engine.Slot, s *symbol) {
	n := 0
	for n < len(s.held) && s.held[n].ID <= s.next {
		if s.held[n].ID == s.next {
			l.pass(slot, s, &s.held[n].Trade, s.held[n].era)
		}
		n++
	}
	if n > 0 {
		l.unhold(slot, s, n)
		l.filled(slot, s)
	}
}

// unhold forgets the first n held trades, which have been passed on.
func (l *lane) unhold(slot engine.Slot, s *symbol, n int) {
	s.held = slices.Delete(s.held, 0, n)
	l.heldAll -= n
	if len(s.held) == 0 {
		i := slices.Index(l.holes, slot)
		l.holes = slices.Delete(l.holes, i, i+1)
	}
}

// jump passes over burnt ids: with --source trade a connection that has carried every id from below s.next up to id
// without a break proves that what did not come does not exist. Trades held up to id are passed on.
func (l *lane) jump(from *link, slot engine.Slot, s *symbol, id int64) {
	if l.f.source != market.SourceTrade || from.began[slot] == 0 || from.began[slot] >= s.next {
		return
	}
	n := 0
	for n < len(s.held) && s.held[n].ID <= id {
		h := &s.held[n]
		s.burn(h.ID, h.Time)
		l.pass(slot, s, &h.Trade, h.era)
		n++
	}
	if n > 0 {
		l.unhold(slot, s, n)
		l.release(slot, s)
		l.filled(slot, s)
	}
}

// burnt ends the gaps that the connection's run proves to be burnt ids, as jump does for what is still held.
func (l *lane) burnt(from *link, slot engine.Slot, s *symbol, id int64) {
	for i := range s.gaps {
		g := &s.gaps[i]
		if (g.record != nil || g.official) && from.began[slot] < g.first && g.last < id {
			record := g.record
			g.record, g.official = nil, false
			l.end(s, record, GapHealed)
			l.mark(slot, s)
			l.recovered(s)
		}
	}
}

// burn remembers the ids from s.next up to id as burnt.
func (s *symbol) burn(id int64, at market.Time) {
	if id == s.next {
		return
	}
	s.gaps = append(s.gaps, gap{first: s.next, last: id - 1, span: market.Span{From: s.lastTime, To: at + 1}})
	if len(s.gaps) > burntKept {
		if i := slices.IndexFunc(s.gaps, func(g gap) bool { return g.record == nil && !g.official }); i >= 0 {
			s.gaps = slices.Delete(s.gaps, i, i+1)
		}
	}
}

// hold keeps a trade back until the ids below it have come. Beyond the bounds it is let through.
func (l *lane) hold(slot engine.Slot, s *symbol, i int, t *market.Trade, received time.Time) {
	if len(s.held) == 0 {
		l.holes = append(l.holes, slot)
	}
	if i < len(s.held) {
		received = s.held[i].since // the trade above has shown the hole already
	}
	s.held = slices.Insert(s.held, i, heldTrade{*t, received, l.era})
	l.heldAll++
	if len(s.held) > holdTrades || l.heldAll > holdAll/len(l.f.lanes) {
		l.through(slot, s, never)
	}
}

// signal wakes the drainer.
func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Why a closed kline was revised.
const (
	causeLate = "late" // a trade came after its close
	causeHeal = "heal" // it was missing trades, or is known not to any more
)

// count moves the counters by what has happened since it was last called; what was revised has the given cause.
func (l *lane) count(cause string) {
	now := l.engine.Counts()
	if n := now.Closed - l.counted.Closed; n > 0 {
		l.f.metrics.KlinesClosed.Add(float64(n))
	}
	if n := now.Revised - l.counted.Revised; n > 0 {
		l.f.metrics.KlinesRevised.WithLabelValues(cause).Add(float64(n))
	}
	l.counted = now
	if l.tally.trades > 0 {
		l.f.metrics.Trades.Add(float64(l.tally.trades))
	}
	if l.tally.duplicates > 0 {
		l.f.metrics.DuplicateTrades.Add(float64(l.tally.duplicates))
	}
	l.tally = tally{}
}

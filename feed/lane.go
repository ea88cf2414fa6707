package feed

import (
	"sync"
	"time"

	"klined/engine"
	"klined/health"
	"klined/market"
)

// Bounds of what a lane holds back for ids that are missing. What exceeds them is let through.
const (
	otherLate  = 200 * time.Millisecond // a hole older than this is a gap: the other connection has not filled it
	holdTime   = 2 * time.Second        // a gap older than this is let through
	holdTrades = 4096                   // of one symbol
	holdAll    = 256 << 10              // of all symbols, shared out evenly among the lanes
	burntKept  = 1024                   // runs of burnt ids remembered per symbol, in case one comes after all
)

// lane is one mutex around the sequences of its symbols and their engine. A reader takes it once per read; ticks, heals
// and reads take the same one. Nobody waits, does I/O or encodes under it.
type lane struct {
	f     *Feed
	n     int
	links []*link // for its trades; read-only after New

	mu          sync.Mutex
	engine      *engine.Engine
	symbols     []symbol            // by engine.Slot
	living      int                 // those that have not ended
	conns       []*carrier          // its trade connections that are up
	newest      market.Time         // time of the youngest trade that has come, as far as it had come by our clock, too
	era         int                 // how often a loss has made symbols blind
	unbroken    time.Time           // from then on one has carried it, until there is none
	silent      market.Time         // none has brought anything younger, though it should have; 0: it has since
	holes       []engine.Slot       // symbols with held trades
	heldAll     int                 // trades held in the lane
	from        market.Time         // the first boundary after its stream began; 0 until then
	upTo        market.Time         // what ends at or before it has been closed
	working     time.Time           // since when its closes wait for the readers; zero while they do not
	lagging     market.Time         // what is younger has not been read, though closes go on; 0: the readers keep up
	lagSince    time.Time           // see lagging
	unproven    market.Time         // nothing ran here from then on until woke; 0: the connections have shown since that they live
	woke        time.Time           // see unproven
	provenBy    time.Time           // see unproven
	received    time.Time           // of the oldest frame behind what the drainer has not taken; zero where none is
	wholes      []whole             // since the last drain
	tails       []wait              // reads that wait for a close: the drainer lets them go on
	lags        lags                // of the trades that came first
	unseenAfter time.Time           // no connection is ended before it because nobody brings a symbol
	unseen      bool                // at the last look nobody brought some symbol
	unseenEnds  uint8               // how many were, since all came
	differ      []market.Difference // what gave way to the venue's own, since the last drain
	counts      passed
	drained     uint64        // what the engine had revised at the last drain
	counted     engine.Counts // what the counters have been told of the engine's
	cause       string        // why what is applied now revises klines that have closed
	spans       []market.Span // scratch of mark
	relays      relays
	rate        rate
	leaving     []engine.Slot // symbols that have ended and are looked after yet
	payload     []byte        // of the trade that is being taken, where somebody takes trades of the lane

	mutex   *health.Component
	drains  *health.Component
	wake    chan struct{} // of the drainer; holds one
	handing sync.Mutex    // the drainer's, from before it collects until all has been handed on; taken before mu
}

// whole is a symbol that has become whole, and the instant from which on its klines have left, beginning with those that
// contain it.
type whole struct {
	id    market.SymbolID
	since market.Time
}

// passed is what the counters have not been told yet: all readers share them, so they are moved once a read.
type passed struct{ trades, duplicates int }

// symbol is what a lane knows of one symbol besides its klines.
type symbol struct {
	sequence
	id           market.SymbolID
	state        State
	from         market.Time // the first boundary after its stream began; 0 until then
	carried      time.Time   // when its stream began
	ended        market.Time // when it last ended; 0 where it never did
	streams      bool        // though it has ended its streams have not
	blind        blind
	fresh        bool            // the venue had no klines of it: its first trade is number 1
	listed       bool            // it is new at the venue: trades that have not come are missing from number 1 on
	opening      bool            // it is not known whether such trades took place before its stream began
	gappy        bool            // some of its gaps are marked
	passedBefore int64           // its last id in order at the last look for silence
	heard        time.Time       // when a connection brought its last trade, or one ahead of it
	said         [2]market.Kline // the venue's own of the youngest two minutes, by ordinal, as frames brought them
	seen         seen            // of the venue's own summary
	watch        uint64          // bit i: somebody wants the running kline of Feed.intervals[i]
	relayed      bool            // somebody wants its trades as they come
	relayFrom    int64           // the id from which on they are kept for it
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
func (l *lane) take(from *carrier, b *market.Batch) {
	defer l.unlock(l.lock())
	if l.received.IsZero() {
		l.received = b.Received
	}
	if b.Ready {
		l.ready(from, b.Received)
	}
	now, newest := l.f.clock.Now(), market.Time(0)
	for i := range b.Trades {
		if l.relays.symbols > 0 && i < len(b.Payloads) {
			l.payload = b.Payloads[i]
		}
		l.accept(from, &b.Trades[i], b.Received, now)
		newest = max(newest, b.Trades[i].Time)
	}
	l.payload = nil
	from.last = brought{at: b.Received, newest: newest, lag: now.Sub(newest)}
	from.lag.add(from.last.lag)
	l.newest = max(l.newest, min(newest, now))
	l.count(l.cause)
	l.signal()
}

// ready takes note that all of a connection's streams are acknowledged and trades come.
func (l *lane) ready(from *carrier, at time.Time) {
	if len(from.asks) > 0 {
		l.granted(from, at)
	}
	if !from.carries {
		l.begin(from)
	}
}

// begin counts a connection as carrying its symbols. The lane's stream begins with the first that does.
func (l *lane) begin(from *carrier) {
	if l.carriers() == 0 {
		l.unbroken = time.Now()
	}
	from.carry(l)
	l.see()
	began := l.from != 0
	if !began {
		l.from = market.OneMinute.Ceil(l.f.clock.Now() + beginMargin)
	}
	l.beginSymbols(from)
	if began {
		return
	}
	go l.f.log.Info("stream began", "lane", l.n, "symbols", len(l.symbols), "first_boundary", l.from.String())
}

// beginMargin is how far before a boundary a stream must have begun for the minute after it to be ours: more than the
// clock may be off.
const beginMargin = market.Second

// accept puts one trade in its place: passes it on, holds it, or drops it. It came over from, at the time now.
func (l *lane) accept(from *carrier, t *market.Trade, received time.Time, now market.Time) {
	own, slot := l.f.laneOf(t.SymbolID)
	if own != l || l.symbols[slot].isOver(t) { // nobody subscribed to it here, or not any more
		l.f.metrics.UnknownSymbols.Inc()
		return
	}
	s := &l.symbols[slot]
	if s.from == 0 && s.listed { // that a trade comes at all shows that it is carried
		l.beginSymbol(slot, s)
	}
	p, i := s.place(t)
	if p == isNext || p == isAhead {
		if t.Time+pastBound < s.lastTime {
			l.lie(lieTime)
			l.distrust(slot, s, t.ID, dropped(now))
			return
		}
		l.lags.add(now - t.Time)
		if s.hole.record != nil && t.ID <= s.hole.last {
			l.f.metrics.HealedTrades.Inc()
		}
		if p == isAhead && len(s.held) == 0 && received.Sub(s.heard) > l.burntPause(s) {
			s.unburn(idSpan{s.next, t.ID - 1}) // by our own clock: the venue's may have stepped
		}
		s.heard = received
	}
	from.bring(slot, s, t.ID)
	l.enter(from, slot, s, t, p, i, received)
	if s.gappy && l.f.source == market.SourceTrade {
		l.burnt(from, slot, s, t.ID)
	}
}

// enter does what the place of a trade asks for; from is nil where REST has brought it.
func (l *lane) enter(from *carrier, slot engine.Slot, s *symbol, t *market.Trade, p placed, i int, received time.Time) {
	era := l.era
	if from == nil {
		era = noEra // it proves nothing of what the connections bring
	}
	switch p {
	case isNext:
		l.pass(slot, s, t, era, l.payload)
		l.release(slot, s)
	case isDuplicate:
		l.counts.duplicates++
		if from != nil && t.ID == s.blind.rest && t.ID == s.next-1 && t.Time == s.lastTime {
			l.sighted(slot, s, t, false)
		}
		l.jump(from, slot, s, t.ID)
	case isAhead:
		l.hold(slot, s, i, heldTrade{*t, received, era, s.keep(l.payload)})
		l.jump(from, slot, s, t.ID)
	case isMissing:
		l.late(slot, s, i, t)
	case isEarlier:
		l.earlier(slot, s, t)
	case isBackwards:
		l.backwards(s, t)
	}
}

// noEra is the era of a trade that no connection has brought.
const noEra = -1

// pass applies the next trade in order, received in the given era. Whoever wants the symbol's trades gets its payload, where
// there is one.
func (l *lane) pass(slot engine.Slot, s *symbol, t *market.Trade, era int, payload []byte) {
	switch {
	case s.next == 0:
		l.firstEver(slot, s, t)
	case s.doubt.first.Time != 0 && l.follows(s.doubt.first.ID, t.ID):
		l.trustFirst(slot, s)
	}
	alone, shows := s.next == 0, s.blind.from != 0 && era == l.era
	s.note(t)
	if shows && l.opens(slot, t) { // ahead of what it closes: that is whole
		l.sighted(slot, s, t, alone)
		shows = false
	}
	if l.apply(slot, s, t) == engine.TooLate {
		l.tooLate(slot, s, t)
	}
	switch { // behind what it changes: no kline loses the mark without it
	case shows:
		l.sighted(slot, s, t, alone)
	case s.blind.from != 0 && era == noEra:
		s.blind.rest = t.ID
	}
	if s.relayed && payload != nil && t.ID >= s.relayFrom {
		l.relays.add(s.id, payload)
	}
	if len(s.held) > 0 && s.held[0].ID > s.next {
		l.underneath(slot, s, t)
	}
}

// opens reports whether a trade begins a base kline, and so closes the one before.
func (l *lane) opens(slot engine.Slot, t *market.Trade) bool {
	boundary, begun := l.engine.Boundary(slot)
	return begun && t.Time >= boundary
}

// apply hands a trade to the engine and counts what became of it.
func (l *lane) apply(slot engine.Slot, s *symbol, t *market.Trade) engine.Applied {
	if s.from == 0 {
		return engine.Before // until the stream's first boundary is known, no minute is ours
	}
	l.counts.trades++
	applied := l.engine.Apply(slot, t)
	switch applied {
	case engine.Before:
		l.older(slot, s, t)
	case engine.Late, engine.TooLate:
		l.f.metrics.LateTrades.Inc()
		l.f.metrics.LateSeconds.Observe(l.f.clock.Now().Sub(t.Time).Seconds())
	}
	return applied
}

// jump passes over burnt ids: with --source trade a connection that has carried every id from below s.next up to id
// without a break proves that what did not come does not exist. Trades held up to id are passed on, where so few ids and
// so little time lie between that nothing can have kept the connection from bringing them.
func (l *lane) jump(from *carrier, slot engine.Slot, s *symbol, id int64) {
	if l.f.source != market.SourceTrade || from == nil || !from.began(slot, s.next) || !s.seen.at.IsZero() {
		return
	}
	for len(s.held) > 0 && s.held[0].ID <= id && l.mayBeBurnt(s, idSpan{s.next, s.held[0].ID - 1}, s.holeSpan()) {
		h := s.held[0]
		if s.hole.record != nil {
			l.f.metrics.BurntIDs.Add(float64(max(0, min(h.ID-1, s.hole.last)-s.next+1)))
		}
		s.burn(h.ID, h.Time)
		l.unhold(slot, s, 0, 1)
		l.pass(slot, s, &h.Trade, h.era, h.payload)
		l.release(slot, s)
		l.boundGaps(slot, s)
	}
}

// mayBeBurnt reports whether ids that did not come within a span look burnt: few, in no silence of the symbol, and none of
// them dropped.
func (l *lane) mayBeBurnt(s *symbol, ids idSpan, span market.Span) bool {
	return ids.last-ids.first < burntRun && !s.given(ids) && span.To.Sub(span.From) <= l.burntPause(s)
}

// burntPause is how long the longest pause between a symbol's trades is in which ids look burnt.
func (l *lane) burntPause(s *symbol) time.Duration {
	return max(burntWithin, burntGaps*l.meanGap(s))
}

// meanGap is the mean time between a symbol's trades so far.
func (l *lane) meanGap(s *symbol) time.Duration {
	return s.lastTime.Sub(max(s.from-market.Minute, s.begins)) / time.Duration(max(s.passed, 1))
}

// burnt ends the gaps that the connection's run proves to be burnt ids, as jump does for what is still held.
func (l *lane) burnt(from *carrier, slot engine.Slot, s *symbol, id int64) {
	for i := range s.gaps {
		g := &s.gaps[i]
		if !g.burnt() && !g.given && from.began(slot, g.first) && g.last < id && l.mayBeBurnt(s, idSpan{g.first, g.last}, g.span) {
			record := g.record
			g.record, g.official = nil, false
			l.f.metrics.BurntIDs.Add(float64(g.last - g.first + 1))
			l.end(s, record, GapHealed)
			l.mark(slot, s)
			l.recovered(s)
			return // mark may have moved the others
		}
	}
}

// burn remembers the ids from s.next up to id as burnt.
func (s *symbol) burn(id int64, at market.Time) {
	if id != s.next {
		s.gaps = append(s.gaps, gap{first: s.next, last: id - 1, span: market.Span{From: s.lastTime, To: at + 1}})
		s.next = id
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
	causeLate   = "late"   // a trade came after its close
	causeHeal   = "heal"   // it was missing trades, or is known not to any more
	causeSettle = "settle" // the venue's own has other values
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
	if l.counts.trades > 0 {
		l.f.metrics.Trades.Add(float64(l.counts.trades))
		l.rate.trades += l.counts.trades
	}
	if l.counts.duplicates > 0 {
		l.f.metrics.DuplicateTrades.Add(float64(l.counts.duplicates))
	}
	l.counts = passed{}
}

package sim

import (
	"math"

	"klined/market"
)

// remembered bounds the fills that are kept, of all symbols together: 32 bytes each. What is older can be asked for
// by no one; minutes are kept for as long as the process lives, 88 bytes each.
const remembered = 4_000_000

// keepAtLeast is how long fills are kept even beyond that bound.
const keepAtLeast = 2 * market.Minute

// liveMarket is what happens next, of all symbols.
type liveMarket struct {
	fills    dueHeap // the next fill of each symbol that trades; µs
	publish  dueHeap // aggTrades to be published; ms
	stirred  []*symbol
	reached  market.Time // how far it has come; never goes back
	held     int         // fills remembered
	forgot   market.Time // fills before it are forgotten
	happened int64       // fills so far
	trades   int64       // aggTrades published so far
}

func (m *liveMarket) start(symbols []*symbol) {
	for _, s := range symbols {
		if !s.path.flat {
			m.fills.push(due{s.gen.plan[0].us, s})
		}
		m.forgot, m.reached = s.start, s.start-1
	}
}

// nextEvent is when the next fill happens or the next frame is due.
func (m *liveMarket) nextEvent() market.Time {
	next := market.Time(math.MaxInt64)
	if len(m.fills) > 0 {
		next = market.Time(m.fills[0].at / 1000)
	}
	if len(m.publish) > 0 {
		next = min(next, market.Time(m.publish[0].at))
	}
	for _, s := range m.stirred {
		next = min(next, s.pushes.due)
	}
	return next
}

// happenBy lets everything happen that is due by now.
func (e *Exchange) happenBy(now market.Time) {
	if e.player != nil {
		e.playBy(now)
		return
	}
	m := &e.live
	until := int64(now)*1000 + 999
	for len(m.fills) > 0 && m.fills[0].at <= until {
		s := m.fills[0].s
		if s.ends != 0 && m.fills[0].at >= int64(s.ends)*1000 {
			m.fills.pop()
			continue
		}
		e.happen(s)
		m.fills.replace(due{s.gen.plan[s.gen.done].us, s})
	}
	for len(m.publish) > 0 && m.publish[0].at <= int64(now) {
		d := m.publish[0]
		m.publish.pop()
		e.publishTrade(d.s, market.Time(d.at))
	}
	if m.held > remembered && m.forgot+keepAtLeast < now {
		e.forget()
	}
}

// happen makes a symbol's next fill a fact.
func (e *Exchange) happen(s *symbol) {
	g := &s.gen
	f := g.plan[g.done].fill
	if f.first() {
		e.live.publish.push(due{int64(g.publish), s})
	}
	if s.streams.trade != nil {
		e.publishFills(s, &f)
	}
	if s.streams.quotes.book != nil || e.streams.quotes.book != nil {
		e.pushBook(s, &f)
	}
	if s.untraded() {
		s.beginLanes(&f)
	}
	s.mem.add(f)
	s.trade(&f)
	e.live.held++
	e.live.happened++
	if !s.pushes.stirred && s.pushes.wanted() {
		s.pushes.stirred = true
		e.live.stirred = append(e.live.stirred, s)
	}
	s.pushes.dirty, s.pushes.traded = true, true
	if g.done++; g.done == len(g.plan) {
		g.next()
	}
}

// publishTrade publishes the next aggTrade of a symbol: all its fills have happened.
func (e *Exchange) publishTrade(s *symbol, at market.Time) {
	s.mem.sent++
	e.live.trades++
	if s.streams.agg != nil {
		a := s.mem.trade(s.mem.sent)
		e.publish(s.streams.agg, func(dst []byte) []byte { return s.appendAggTrade(dst, &a, at) })
	}
}

// publishFills publishes a fill on the trade stream, and before it, of the ids burnt between it and the one before,
// those that are announced.
func (e *Exchange) publishFills(s *symbol, f *fill) {
	at := f.time() + market.Time(mix(uint64(f.id))&1)
	for id := s.last.id + 1; id < f.id; id++ {
		if s.announced(id) {
			burnt := fill{id: id, at: f.at}
			e.publish(s.streams.trade, func(dst []byte) []byte { return s.appendTrade(dst, &burnt, at) })
		}
	}
	e.publish(s.streams.trade, func(dst []byte) []byte { return s.appendTrade(dst, f, at) })
}

// forget drops the oldest minute of fills.
func (e *Exchange) forget() {
	m := &e.live
	m.forgot = oneMinute.next(m.forgot)
	for _, s := range e.symbols {
		m.held -= s.mem.forget(m.forgot)
		s.from = m.forgot
	}
}

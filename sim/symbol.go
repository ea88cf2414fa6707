package sim

import (
	"math/rand/v2"
	"sync"

	"klined/market"
)

// symbol is one contract with its past and its live market.
type symbol struct {
	*listing
	path    path
	start   market.Time // where its live part begins: of the exchange's clock, or its first trade
	lower   string
	firstID int64       // the id where the live fills begin
	opens   market.Time // its first minute: before it there is no kline

	pastMu sync.Mutex
	days   map[market.Time]row // days of the past, summed once

	// The live part, guarded by the exchange's mutex.
	gen     generator
	mem     memory
	minutes []row       // from the minute of the start on; all but the last are final
	last    fill        // the newest fill
	from    market.Time // what is older is forgotten, or was before the start
	streams symbolStreams
	pushes  pushState

	taped *tapeSymbol          // what a tape that is played says of it; nil where none is
	gaps  map[market.Time]bool // minutes of which it lacks trades

	tradesFrom market.Time // when exchangeInfo says that it trades; 0 where it always has
	ends       market.Time // when it trades no more; 0 where that is not known
	vanishes   bool        // and is gone from exchangeInfo then
	gone       bool        // it is
}

func newSymbol(l *listing, opt Options) *symbol {
	s := &symbol{listing: l, path: newPath(l), start: opt.Start, from: opt.Start, opens: l.begin, lower: l.lowerName(), days: make(map[market.Time]row)}
	seam := oneMinute.open(opt.Start)
	past := s.look(opt.Start)
	carried := l.mid
	if l.begin < seam {
		carried = past.minute(seam - market.Minute).c
	}
	s.minutes = []row{emptyRow(seam, carried)}
	s.mem.agg, s.gen.nextID = s.firstIDs(past)
	s.firstID = s.gen.nextID
	s.mem.sent, s.mem.before = s.mem.agg-1, carried
	s.last = fill{id: s.gen.nextID - 1, price: carried}
	s.gen.start(s, opt)
	return s
}

// newListed is a symbol without a past, that begins at its onboard time.
func newListed(l *listing, opt Options) *symbol {
	opt.Start = l.begin
	s := newSymbol(l, opt)
	s.start, s.from = s.gen.plan[0].time(), 0
	s.opens = oneMinute.open(s.start)
	s.minutes[0] = emptyRow(s.opens, l.mid)
	return s
}

// untraded reports whether the symbol has not had its first trade: the ids of all others go back further.
func (s *symbol) untraded() bool { return s.last.id == 0 }

// firstIDs are the ids of the first live aggTrade and fill: large for the old and busy, and counted from the first
// trade for the young.
func (s *symbol) firstIDs(past *view) (agg, id int64) {
	if s.young {
		r := past.sum(s.begin, oneMinute.open(s.start))
		return r.count/fillsPerTrade + 1, r.count + 1
	}
	scale := 1.0
	switch s.name {
	case "BTCUSDT":
	case "ETHUSDT":
		scale = 0.93
	default:
		scale = 0.02 + float64(s.key%1000)/4000
	}
	id = int64(8_000_000_000*scale) + int64(s.key>>16%10_000_000)
	return id / 1000 * 425, id
}

// seam is the open time of the first live minute.
func (s *symbol) seam() market.Time { return s.minutes[0].open }

// trade counts a fill in its minute.
func (s *symbol) trade(f *fill) {
	at := oneMinute.open(f.time())
	for s.minutes[len(s.minutes)-1].open < at {
		r := &s.minutes[len(s.minutes)-1]
		s.minutes = append(s.minutes, emptyRow(r.open+market.Minute, r.c))
	}
	s.minutes[len(s.minutes)-1].trade(f)
	s.last = *f
}

// source is the stream of random numbers of a symbol's live market.
func source(l *listing, start market.Time) *rand.Rand {
	return rand.New(rand.NewPCG(l.key, mix(uint64(start))))
}

package sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"klined/market"
)

// player plays a tape. It is guarded by the exchange's mutex.
type player struct {
	*Tape
	reader tapeReader
	next   tapeFrame // the frame that is due next
	at     market.Time
	over   bool
	minute market.Time // the running one
	seen   map[string]*idRuns
}

// newPlayer begins to play a tape from its first frame.
func newPlayer(t *Tape) *player {
	p := &player{Tape: t, reader: tapeReader{files: t.files}, at: t.from, minute: oneMinute.open(t.from), seen: make(map[string]*idRuns)}
	p.advance()
	return p
}

// advance reads the next frame. What was received out of order is due at once.
func (p *player) advance() {
	f, received, err := p.reader.next()
	if err != nil {
		p.reader.close()
		p.over = true
		return
	}
	p.next = f
	p.at = max(p.at, cmp.Or(received, f.sent)-p.late)
}

// tapedSymbols are the symbols of a tape, in the order of their names.
func tapedSymbols(opt Options) (all []*symbol) {
	for _, name := range slices.Sorted(maps.Keys(opt.Tape.symbols)) {
		ts := opt.Tape.symbols[name]
		from, gaps := ts.whole(opt.Tape.to)
		base, _, dated := strings.Cut(name, "_")
		l := &listing{name: name, pair: base, base: strings.TrimSuffix(base, quoteAsset), contract: perpetual, status: statusTrading,
			underlying: "COIN", priceDigits: ts.priceDigits, qtyDigits: ts.qtyDigits, tick: 1, lot: 1, mid: 1, meanQty: 1, young: true,
			begin: from, delivery: perpetualDelivery, key: keyOf(opt.Seed, name)}
		if dated {
			l.contract = currentQuarter
			if end, ok := deliveryOf(name); ok {
				l.delivery = end
			}
		}
		s := newSymbol(l, opt)
		s.taped, s.gaps = ts, gaps
		all = append(all, s)
	}
	return all
}

// playBy sends every frame that is due by now to who hears its stream, and lets its trade happen.
func (e *Exchange) playBy(now market.Time) {
	p := e.player
	for !p.over && p.at <= now {
		e.turnMinute(p.at)
		f := &p.next
		if f.trade == nil || e.played(f.trade) {
			if st := e.streams.live[f.stream]; st != nil {
				e.publish(st, func(dst []byte) []byte { return append(dst, f.payload...) })
			}
		}
		p.advance()
	}
	e.turnMinute(now)
}

// played makes a trade of the tape a fact; false where it is one already, for each came over several connections.
func (e *Exchange) played(t *tapeTrade) bool {
	kind := "trade "
	if t.fills {
		kind = "aggTrade "
	}
	seen := e.player.seen[kind+t.symbol]
	if seen == nil {
		seen = new(idRuns)
		e.player.seen[kind+t.symbol] = seen
	}
	if !seen.add(t.id, t.at) {
		return false
	}
	s := e.byName[t.symbol]
	e.live.trades++
	if s == nil || s.taped.fills != t.fills || !t.counts {
		return true
	}
	e.live.happened += t.last - t.first + 1
	if r := &s.minutes[len(s.minutes)-1]; oneMinute.open(t.at) == r.open && r.tapeTrade(t, s.priceDigits, s.qtyDigits) && t.last > s.last.id {
		s.last = fill{id: t.last, price: r.c, qty: 1, at: int64(t.at) << flagBits}
	}
	return true
}

// turnMinute makes the minutes that are over by now what the whole tape says they were.
func (e *Exchange) turnMinute(now market.Time) {
	p := e.player
	for next := oneMinute.next(p.minute); next <= now; next = oneMinute.next(p.minute) {
		for _, s := range e.symbols {
			r := &s.minutes[len(s.minutes)-1]
			if whole := s.taped.minutes[r.open]; whole != nil {
				*r = *whole
			}
			s.minutes = append(s.minutes, emptyRow(next, r.c))
		}
		p.minute = next
	}
}

// lacks reports whether the tape lacks trades of a minute that some klines are made of.
func (s *symbol) lacks(iv interval, rows []row) bool {
	return len(s.gaps) > 0 && slices.ContainsFunc(rows, func(r row) bool {
		for at := r.open; at < iv.next(r.open); at += market.Minute {
			if s.gaps[at] {
				return true
			}
		}
		return false
	})
}

// notTaped refuses what a tape cannot answer.
func notTaped() *apiError {
	return &apiError{status: 503, code: -1001, msg: "Internal error; unable to process your request. Please try again."}
}

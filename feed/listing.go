package feed

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"klined/engine"
	"klined/health"
	"klined/market"
)

// openingReach is how long ago a symbol that is new at the venue may have begun to trade, at least.
const openingReach = market.Hour

// layout is how symbols are laid out; read-only after New.
type layout struct {
	dialTrades, dialKlines, dialTickers Dial
	capacity                            int // symbols that live at once; 0: what the lanes carry
	tradesPerConn, klinesPerConn        int
	rotate                              time.Duration
	watchdog                            *health.Watchdog
}

func layoutOf(o Options) layout {
	return layout{dialTrades: o.DialTrades, dialKlines: o.DialKlines, dialTickers: o.DialTickers, capacity: o.Capacity,
		tradesPerConn: orDefault(o.TradesPerConn, 1000), klinesPerConn: orDefault(o.KlinesPerConn, 1000),
		rotate: orDefault(o.Rotate, rotateAfter), watchdog: o.Watchdog}
}

// most is how many symbols may live at once.
func (f *Feed) most() int {
	most := len(f.lanes) * f.layout.tradesPerConn
	if f.layout.capacity > 0 {
		most = min(most, f.layout.capacity)
	}
	return most
}

// Add carries further symbols, from now on and without a connection being dialled anew: each in the lane in which the fewest
// trades a second come. Those that are first are new at the venue: their next trade has the id 1, and what has been missed of
// their opening, within the last hour, is fetched by id; they are whole as soon as a connection carries them. Any other begins
// like those of New, and so does one that had ended: it has the lane that it had. It takes all of them or, with an error that
// names the bound, none.
func (f *Feed) Add(ids []market.SymbolID, first bool) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	chosen, err := f.choose(ids)
	if err != nil {
		return err
	}
	for i, id := range ids {
		f.put(id, chosen[i], chosen[i].admit(id, first))
	}
	f.living.Add(int64(len(ids)))
	for _, l := range f.lanes {
		var own []market.SymbolID
		for i, id := range ids {
			if chosen[i] == l {
				own = append(own, id)
			}
		}
		if len(own) == 0 {
			continue
		}
		for _, k := range l.links {
			k.begin(own)
		}
	}
	f.carryKlines(ids)
	return nil
}

// choose is the lane of each symbol that is to be added.
func (f *Feed) choose(ids []market.SymbolID) (chosen []*lane, err error) {
	for i, id := range ids {
		if id < 0 || slices.Contains(ids[:i], id) {
			return nil, fmt.Errorf("%s is named twice, or is none", f.name(id))
		}
	}
	if living := int(f.living.Load()); living+len(ids) > f.most() {
		return nil, fmt.Errorf("%d symbols are carried and %d more would be too many: at most %d on %d lanes", living, len(ids), f.most(), len(f.lanes))
	}
	loads, mean := f.loads()
	for _, id := range ids {
		l, _ := f.laneOf(id)
		switch {
		case l != nil && f.Standing(id) != Ended:
			return nil, fmt.Errorf("%s is carried already", f.name(id))
		case l == nil:
			l = f.lanes[quietest(loads, f.layout.tradesPerConn)]
		}
		if !slices.Contains(l.links[0].carries(), id) {
			loads[l.n].streams++
		}
		if loads[l.n].streams > f.layout.tradesPerConn {
			return nil, fmt.Errorf("%s would be one more on the connections of lane %d than the %d that they may carry; a symbol that has ended counts until its last minute is over",
				f.name(id), l.n, f.layout.tradesPerConn)
		}
		loads[l.n].rate += mean
		chosen = append(chosen, l)
	}
	return chosen, nil
}

// put says where a symbol lives. f.changing is held.
func (f *Feed) put(id market.SymbolID, l *lane, slot engine.Slot) {
	old := *f.places.Load()
	places := make([]place, max(len(old), int(id)+1))
	for i := copy(places, old); i < len(places); i++ {
		places[i].lane = -1
	}
	places[id] = place{lane: int32(l.n), slot: slot}
	f.places.Store(&places)
}

// admit makes room for a symbol, or lets one begin anew that had ended. No connection carries it yet.
func (l *lane) admit(id market.SymbolID, first bool) engine.Slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, slot := l.f.laneOf(id)
	if own == nil {
		slot = l.engine.Add(id)
		l.symbols = append(l.symbols, symbol{id: id})
		for _, c := range l.conns {
			c.runs = append(c.runs, run{})
		}
	}
	s := &l.symbols[slot]
	if own != nil {
		l.f.metrics.Symbols.WithLabelValues(string(s.state)).Dec()
		l.forget(slot, s)
		l.engine.Reopen(slot)
	}
	s.state = Waiting
	l.living++
	l.f.metrics.Symbols.WithLabelValues(string(Waiting)).Inc()
	if first {
		s.listed, s.opening, s.first, s.next = true, true, 1, 1
	}
	for _, c := range l.conns {
		c.runs[slot] = run{newest: s.next - 1}
		c.asks = append(c.asks, asking{slot: slot})
	}
	return slot
}

// forget drops all that is known of a symbol's trades. What was missing of them is not asked for any more.
func (l *lane) forget(slot engine.Slot, s *symbol) {
	l.unhold(slot, s, 0, len(s.held))
	l.f.gaps.giveUp(s.id, l.f.clock.Now())
	*s = symbol{id: s.id, watch: s.watch, relayed: s.relayed, ended: s.ended}
}

// asking is a symbol whose stream a connection has been asked for and has not been shown to carry.
type asking struct {
	slot engine.Slot
	at   time.Time // zero while it has not been asked yet
}

// asked notes that a connection has been asked to carry symbols of the lane.
func (l *lane) asked(c *carrier, ids []market.SymbolID, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		_, slot := l.f.laneOf(id)
		c.asks = slices.DeleteFunc(c.asks, func(a asking) bool { return a.slot == slot })
		c.asks = append(c.asks, asking{slot, at})
	}
}

// granted notes that all that a connection had been asked for before the given time is acknowledged.
func (l *lane) granted(c *carrier, before time.Time) {
	c.asks = slices.DeleteFunc(c.asks, func(a asking) bool {
		granted := !a.at.IsZero() && a.at.Before(before)
		if granted {
			s := &l.symbols[a.slot]
			c.runs[a.slot].newest = max(c.runs[a.slot].newest, s.next-1)
			if c.carries && s.seen.at.IsZero() {
				s.blind.see(l.f.clock.Now())
			}
		}
		return granted
	})
	if c.carries {
		l.beginSymbols(c)
	}
}

// beginSymbols begins the streams of those symbols that a connection brings and that none has brought before.
func (l *lane) beginSymbols(c *carrier) {
	for slot := range l.symbols {
		if s := &l.symbols[slot]; s.from == 0 && s.state != Ended && !c.asksFor(engine.Slot(slot)) {
			l.beginSymbol(engine.Slot(slot), s)
		}
	}
}

// beginSymbol begins a symbol's stream: from the next full minute on, every minute is whole from its first trade. Of one
// that is new at the venue all trades come, or are known to be missing by their ids.
func (l *lane) beginSymbol(slot engine.Slot, s *symbol) {
	s.carried = time.Now()
	s.from = market.OneMinute.Ceil(l.f.clock.Now() + beginMargin)
	if s.listed {
		s.from = max(market.OneHour.Open(l.f.clock.Now()-openingReach), s.ended)
		l.engine.Fresh(slot)
	}
	l.engine.Begin(slot, s.from)
	l.becameWhole(slot, s)
}

// unopened reports whether the symbol is new at the venue and none of its trades has come.
func (s *symbol) unopened() bool { return s.listed && s.next == 1 && len(s.held) == 0 }

// opens reports whether the venue is to be asked for the symbol's first trades, though none is known to be missing.
func (s *symbol) opens() bool { return s.opening && s.from != 0 && s.unopened() }

// notOpened takes note that the venue has not said whether the symbol traded before its stream began. Unless the question
// could not be asked, that is left to its next trade and the venue's summary: an exchange may not know a symbol before it trades.
func (l *lane) notOpened(slot engine.Slot, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if budget := (*market.BudgetError)(nil); !errors.As(why, &budget) {
		l.symbols[slot].opening = false
	}
}

// older takes note of a trade of before what its lane keeps. A symbol that was thought to be new has a past: what contains
// that time waits for what is official.
func (l *lane) older(slot engine.Slot, s *symbol, t *market.Trade) {
	if s.listed {
		s.listed = false
		l.engine.First(slot, market.OneMinute.Open(t.Time))
	}
}

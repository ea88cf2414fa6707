package feed

import (
	"fmt"
	"time"

	"klined/engine"
	"klined/health"
	"klined/market"
)

// State is a symbol's standing.
type State string

// How a symbol may stand.
const (
	Waiting State = "waiting" // not yet whole
	Whole   State = "whole"
	Behind  State = "behind" // a gap was let through
	Ended   State = "ended"  // the venue has ended it: its klines stay readable
)

// stand changes a symbol's standing. What is waiting becomes whole first.
func (l *lane) stand(s *symbol, state State) {
	if s.state == state || s.state == Ended || s.state == Waiting && state == Behind {
		return
	}
	l.f.metrics.Symbols.WithLabelValues(string(s.state)).Dec()
	l.f.metrics.Symbols.WithLabelValues(string(state)).Inc()
	s.state = state
}

// Status is the feed as operators see it.
type Status struct {
	Grace       string         `json:"grace"`
	Connections []ConnStatus   `json:"connections"`
	Symbols     map[State]int  `json:"symbols"`
	Trades      uint64         `json:"trades"`
	Gaps        map[string]int `json:"gaps"`
	Settled     Settled        `json:"settled"`
}

// ConnStatus is one connection as operators see it.
type ConnStatus struct {
	ID        string        `json:"id"`
	Lane      *int          `json:"lane"` // nil where it carries no trades
	State     string        `json:"state"`
	Streams   int           `json:"streams"`
	UpSince   health.Moment `json:"up_since"` // zero where it is not up
	LastFrame health.Moment `json:"last_frame"`
	Frames    uint64        `json:"frames"`
	Lag       *float64      `json:"lag_ms"`     // how old trades are when they come; nil where no trade has come
	LagMost   *float64      `json:"lag_max_ms"` // the greatest within the last minute
}

// Status collects the feed's state.
func (f *Feed) Status() Status {
	s := Status{Grace: f.graceNow().String(), Symbols: noSymbols()}
	for _, l := range f.lanes {
		l.mu.Lock()
		for i := range l.symbols {
			s.Symbols[l.symbols[i].state]++
			s.Trades += l.symbols[i].passed
		}
		l.mu.Unlock()
	}
	for _, k := range f.allLinks() {
		s.Connections = append(s.Connections, k.status())
	}
	seen, open, healed := f.gaps.counts()
	s.Gaps = map[string]int{"seen": seen, "open": open, "healed": healed}
	s.Settled = f.settled()
	return s
}

func (k *link) status() ConnStatus {
	s := ConnStatus{ID: k.name, Frames: k.frames.Load()}
	if k.lane != nil {
		s.Lane = &k.lane.n
		if now, most, ok := k.lane.lagOf(k); ok {
			s.Lag, s.LagMost = new(now.Seconds()*1000), new(most.Seconds()*1000)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.State, s.Streams = k.state, len(k.symbols)
	if k.state == linkUp {
		s.UpSince.Time = k.since
	}
	if ns := k.lastFrame.Load(); ns != 0 {
		s.LastFrame.Time = time.Unix(0, ns)
	}
	return s
}

// Gaps are the open gaps and the youngest that ended, youngest first.
func (f *Feed) Gaps() []GapRecord { return f.gaps.list() }

// noSymbols counts none of each state.
func noSymbols() map[State]int { return map[State]int{Waiting: 0, Whole: 0, Behind: 0, Ended: 0} }

// Standing is the state of one symbol.
func (f *Feed) Standing(id market.SymbolID) State {
	l, slot := f.laneOf(id)
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.symbols[slot].state
}

// SymbolStatus is one symbol as operators see it.
type SymbolStatus struct {
	Symbol    market.SymbolID
	State     State
	Reason    string      // why it is not whole, or not known to be; empty where it is
	LastID    int64       // of the last trade in order; −1 before it
	LastTrade market.Time // its time; 0 before it
	LastClose market.Time // the end of its last closed kline of the shortest interval; 0 before the first
	Gaps      int         // that are open
}

// Symbols tells how each symbol stands, in the order of their numbers.
func (f *Feed) Symbols() []SymbolStatus {
	places := *f.places.Load()
	all := make([]SymbolStatus, 0, len(places))
	for id := range places {
		l, slot := f.laneOf(market.SymbolID(id))
		if l == nil {
			continue
		}
		l.mu.Lock()
		all = append(all, l.symbolStatus(slot))
		l.mu.Unlock()
	}
	return all
}

func (l *lane) symbolStatus(slot engine.Slot) SymbolStatus {
	s := &l.symbols[slot]
	st := SymbolStatus{Symbol: s.id, State: s.state, LastID: s.lastID(), LastTrade: s.lastTime, Reason: l.reason(slot, s)}
	if boundary, begun := l.engine.Boundary(slot); begun {
		if open := l.engine.Base().Open(boundary - 1); open > s.from && !(s.listed && s.begins == 0) {
			st.LastClose = open
			if s.state == Ended {
				st.LastClose = min(open, s.ended)
			}
		}
	}
	for i := range s.gaps {
		if s.gaps[i].open() {
			st.Gaps++
		}
	}
	for i := range s.debts {
		if !s.debts[i].official {
			st.Gaps++
		}
	}
	if s.hole.declared {
		st.Gaps++
	}
	return st
}

// lastID is the id of the symbol's last trade in order; −1 before it.
func (s *symbol) lastID() int64 {
	if s.unopened() {
		return -1
	}
	return s.next - 1
}

// reason is why a symbol is not whole; empty where it is.
func (l *lane) reason(slot engine.Slot, s *symbol) string {
	switch {
	case s.state == Ended:
		return "the exchange has ended it"
	case s.from == 0 && l.from != 0:
		return "the exchange has not acknowledged its stream yet"
	case s.from == 0:
		return "no connection has brought a trade of its lane yet"
	case s.state == Waiting:
		return l.waitsFor(slot, s)
	case s.blind.open() && s.blind.to == 0:
		return "no connection carries it since " + s.blind.from.String()
	case s.blind.open():
		return "its next trade, or official klines, must show whether one was missed since " + s.blind.from.String()
	case s.hole.declared && len(s.held) > 0:
		return fmt.Sprintf("trades %d to %d are missing", s.next, s.held[0].ID-1)
	}
	if s.doubt.first.Time != 0 {
		return "its first trade stands alone since " + s.doubt.first.Time.String()
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; g.open() {
			return fmt.Sprintf("trades %d to %d are missing", g.first, g.last)
		}
	}
	for i := range s.debts {
		if d := &s.debts[i]; !d.official {
			return "official klines are missing since " + d.span.From.String()
		}
	}
	return ""
}

// waitsFor is what a symbol lacks to become whole.
func (l *lane) waitsFor(slot engine.Slot, s *symbol) string {
	if now := l.f.clock.Now(); now < s.from {
		return "its first whole minute begins at " + s.from.String()
	}
	if _, there := l.engine.Kline(slot, market.OneMinute, s.from-market.Minute); !there {
		return "the official kline of the minute in which its stream began is missing"
	}
	for _, iv := range l.f.intervals {
		if _, ok := l.engine.Running(slot, iv); !ok {
			return fmt.Sprintf("official klines that its %s kline is folded from are missing", iv)
		}
	}
	return "a price is missing"
}

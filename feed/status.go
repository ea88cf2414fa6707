package feed

import (
	"time"

	"klined/market"
)

// State is a symbol's standing.
type State string

// How a symbol may stand.
const (
	Waiting State = "waiting" // not yet whole
	Whole   State = "whole"
	Behind  State = "behind" // a gap was let through
)

// stand changes a symbol's standing. What is waiting becomes whole first.
func (l *lane) stand(s *symbol, state State) {
	if s.state == state || s.state == Waiting && state == Behind {
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
}

// ConnStatus is one connection as operators see it.
type ConnStatus struct {
	ID        string    `json:"id"`
	Lane      *int      `json:"lane,omitempty"`
	State     string    `json:"state"`
	Streams   int       `json:"streams"`
	UpSince   time.Time `json:"up_since,omitzero"`
	LastFrame time.Time `json:"last_frame,omitzero"`
	Frames    uint64    `json:"frames"`
}

// Status collects the feed's state.
func (f *Feed) Status() Status {
	s := Status{Grace: f.grace.String(), Symbols: map[State]int{Waiting: 0, Whole: 0, Behind: 0}}
	for _, l := range f.lanes {
		l.mu.Lock()
		for i := range l.symbols {
			s.Symbols[l.symbols[i].state]++
			s.Trades += l.symbols[i].passed
		}
		l.mu.Unlock()
	}
	for _, k := range f.links {
		s.Connections = append(s.Connections, k.status())
	}
	seen, open, healed := f.gaps.counts()
	s.Gaps = map[string]int{"seen": seen, "open": open, "healed": healed}
	return s
}

func (k *link) status() ConnStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := ConnStatus{ID: k.name, State: k.state, Streams: len(k.symbols), Frames: k.frames.Load()}
	if k.lane != nil {
		s.Lane = &k.lane.n
	}
	if k.state == linkUp {
		s.UpSince = k.since
	}
	if ns := k.lastFrame.Load(); ns != 0 {
		s.LastFrame = time.Unix(0, ns)
	}
	return s
}

// Gaps are the open gaps and the youngest that ended, youngest first.
func (f *Feed) Gaps() []GapRecord { return f.gaps.list() }

// Ready reports whether every lane has a connection and at least 99 % of the symbols are whole, with the counts and the
// lanes that no connection carries.
func (f *Feed) Ready() (ok bool, symbols map[State]int, uncarried []int) {
	symbols = map[State]int{Waiting: 0, Whole: 0, Behind: 0}
	for _, l := range f.lanes {
		l.mu.Lock()
		if l.carriers() == 0 {
			uncarried = append(uncarried, l.n)
		}
		for i := range l.symbols {
			symbols[l.symbols[i].state]++
		}
		l.mu.Unlock()
	}
	all := symbols[Waiting] + symbols[Whole] + symbols[Behind]
	return len(uncarried) == 0 && symbols[Whole]*100 >= all*99, symbols, uncarried
}

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

// Package engine owns every open kline; trades and clock ticks in, changed klines out.
//
// It is blind: it reads no clock, no socket, no map and no string. One goroutine at a time may use an Engine; its lane
// holds a mutex around it. See DESIGN.md for the picture.
package engine

import "klined/market"

// Slot is a symbol's place in its Engine: 0, 1, 2 … in the order of Add.
type Slot int32

// Engine keeps the klines of some symbols over all configured intervals. Only the base interval takes trades; every
// longer kline is a fold of what lies below it.
type Engine struct {
	rungs   []rung // shortest first; rungs[0] is the base
	minute  int    // the rung of 1m
	hour    int    // the rung of 1h
	day     int    // the rung of 1d
	entries int    // of one symbol
	symbols []symbol
	changed []market.Update // closed and revised klines since the last Drain
	touched []Slot          // symbols whose running klines changed since the last Touched
	counts  Counts
}

// Counts is what an Engine has done so far.
type Counts struct {
	Closed  uint64 // first closes
	Revised uint64 // closed klines that changed
}

// never is a time that does not come.
const never market.Time = 1<<63 - 1

// symbol is one symbol's state. open and next bound the running base kline; both are 0 until Begin.
type symbol struct {
	open, next market.Time
	running    *entry // the running base kline, within entries
	id         market.SymbolID
	touched    bool          // listed in Engine.touched
	fresh      bool          // no kline exists before its first trade
	from       market.Time   // its trades are whole from here on; never until Begin
	first      market.Time   // no kline exists before it
	until      market.Time   // none opens at or after it; never while the symbol lives
	over       market.Time   // what opens before until has closed by then
	priced     market.Time   // its earliest known kline of 1m or shorter; never while there is none
	gaps       []market.Span // where trades are known to be missing
	entries    []entry
}

// entry is one kline in a ring. Folded parts reach from start to upTo; the kline is complete when upTo == end.
// While it is not, Kline is the fold of the parts so far and State theirs.
type entry struct {
	market.Kline
	upTo market.Time
	end  market.Time
}

func (k *entry) complete() bool { return k.upTo == k.end && k.State != market.StateAbsent }

// New makes an Engine for these intervals.
func New(intervals []market.Interval) (*Engine, error) {
	rungs, err := ladder(intervals)
	if err != nil {
		return nil, err
	}
	e := &Engine{rungs: rungs}
	for i, r := range rungs {
		e.entries += r.size
		switch r.interval {
		case market.OneMinute:
			e.minute = i
		case market.OneHour:
			e.hour = i
		case market.OneDay:
			e.day = i
		}
	}
	return e, nil
}

// Base is the interval that takes trades.
func (e *Engine) Base() market.Interval { return e.rungs[0].interval }

// Add makes room for a symbol. It takes no trades before Begin.
func (e *Engine) Add(id market.SymbolID) Slot {
	e.symbols = append(e.symbols, symbol{id: id, from: never, until: never, over: never, priced: never, entries: make([]entry, e.entries)})
	return Slot(len(e.symbols) - 1)
}

// First says that no kline of the symbol exists before t, the open time of its first one: longer klines that contain t
// begin with it. It may come late: those that waited for what does not exist go on.
func (e *Engine) First(slot Slot, t market.Time) {
	s := &e.symbols[slot]
	s.fresh, s.first = false, t
	e.narrow(s)
	for u := 1; u < len(e.rungs); u++ {
		k := e.at(s, u, s.first)
		if k.OpenTime == e.rungs[u].interval.Open(s.first) && k.end != 0 && !k.complete() {
			e.refold(s, u, k)
		}
	}
	e.touch(slot, s)
}

// Fresh says that the exchange has no kline of the symbol: its klines begin with its first trade, which may have come.
func (e *Engine) Fresh(slot Slot) {
	s := &e.symbols[slot]
	if s.priced != never {
		e.First(slot, s.priced)
		return
	}
	s.fresh = true
}

// Begin says that every trade from the time from on, a full minute, will be applied or marked as missing. What lies
// before comes from Load and Replace. Klines that end at or after from leave the engine; what ended before is history.
func (e *Engine) Begin(slot Slot, from market.Time) {
	s := &e.symbols[slot]
	s.from = from
	e.openBase(s, from)
	e.touch(slot, s)
}

// Begun reports whether Begin was called for the symbol, and with what.
func (e *Engine) Begun(slot Slot) (from market.Time, ok bool) {
	from = e.symbols[slot].from
	return from, from != never
}

// Counts is what the engine has done so far.
func (e *Engine) Counts() Counts { return e.counts }

// Drain hands over the klines that were closed or revised since the last call, oldest first, and takes an empty slice
// to fill from now on.
func (e *Engine) Drain(empty []market.Update) []market.Update {
	full := e.changed
	e.changed = empty[:0]
	return full
}

// Touched calls f with each symbol whose running klines changed since the last call.
func (e *Engine) Touched(f func(Slot)) {
	for _, slot := range e.touched {
		e.symbols[slot].touched = false
		f(slot)
	}
	e.touched = e.touched[:0]
}

// touch notes that the running klines of s changed.
func (e *Engine) touch(slot Slot, s *symbol) {
	if !s.touched {
		s.touched = true
		e.touched = append(e.touched, slot)
	}
}

// exists notes that the symbol had a price in the kline k: it is the first, or not younger than the first.
func (e *Engine) exists(s *symbol, k *entry) {
	s.priced = min(s.priced, k.OpenTime)
	if s.fresh || k.end <= s.first {
		s.fresh, s.first = false, k.OpenTime
	}
	e.narrow(s)
}

// narrow lets a symbol of which only the first minute is known begin with the first base kline of it that is there: none
// before will come, but by a trade, which is the first then.
func (e *Engine) narrow(s *symbol) {
	end := market.OneMinute.Next(market.OneMinute.Open(s.first))
	for open := s.first; open < end && end > e.reach(s, 0); open += market.Time(e.Base()) {
		if k := e.at(s, 0, open); k.OpenTime == open && k.State != market.StateAbsent {
			s.first = open
			return
		}
	}
}

// reach is where the klines of rung r begin that may still change: all that is folded from them is kept from there on.
func (e *Engine) reach(s *symbol, r int) market.Time {
	switch iv := e.rungs[r].interval; {
	case iv < market.OneMinute:
		return market.OneMinute.Open(s.open) - keepBase + market.Minute
	case iv == market.OneMinute:
		return market.OneHour.Open(s.open - market.Hour)
	case iv == market.OneHour:
		return market.OneDay.Open(s.open - market.Day)
	}
	return market.OneMonth.Open(market.OneMonth.Open(s.open) - 1)
}

// at is the ring entry where the kline of rung r that contains t stands, if it is there at all.
func (e *Engine) at(s *symbol, r int, t market.Time) *entry {
	ru := &e.rungs[r]
	i := ru.interval.Ordinal(t) % int64(ru.size)
	if i < 0 {
		i += int64(ru.size)
	}
	return &s.entries[ru.offset+int(i)]
}

// find is the complete kline of rung r that opens at open, or nil.
func (e *Engine) find(s *symbol, r int, open market.Time) *entry {
	if k := e.at(s, r, open); k.OpenTime == open && k.complete() {
		return k
	}
	return nil
}

// rungOf is the index of iv, −1 where the engine does not carry it.
func (e *Engine) rungOf(iv market.Interval) int {
	for i := range e.rungs {
		if e.rungs[i].interval == iv {
			return i
		}
	}
	return -1
}

// blank is an entry of which no part is known.
func blank(open, start, end market.Time) entry {
	k := market.EmptyKline(open, 0)
	k.State = market.StateAbsent
	return entry{Kline: k, upTo: start, end: end}
}

// leaves reports whether a kline of rung r leaves the engine: it is configured, not history, and opens before the symbol's end.
func (e *Engine) leaves(s *symbol, r int, k *entry) bool {
	return e.rungs[r].shown && k.end >= s.from && k.OpenTime < s.until
}

// emit lists a complete kline of rung r as changed, if it leaves.
func (e *Engine) emit(s *symbol, r int, k *entry) {
	if e.leaves(s, r, k) {
		e.changed = append(e.changed, market.Update{
			Series: market.Series{Symbol: s.id, Interval: e.rungs[r].interval}, Kline: k.Kline})
	}
}

// closed lists a kline that has become complete.
func (e *Engine) closed(s *symbol, r int, k *entry) {
	if e.leaves(s, r, k) {
		e.counts.Closed++
	}
	e.emit(s, r, k)
}

// revised lists a complete kline whose values or mark have changed.
func (e *Engine) revised(s *symbol, r int, k *entry) {
	k.Revision++
	if e.leaves(s, r, k) {
		e.counts.Revised++
	}
	e.emit(s, r, k)
}

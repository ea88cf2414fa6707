package feed

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"klined/engine"
	"klined/market"
)

// ErrTooOld says that the venue does not give trades of so long ago by their ids any more.
var ErrTooOld = errors.New("older than the venue's trades by id reach")

// What healing by trades costs, and how it is paced.
const (
	healPage   = 1000 // trades of one answer
	healWeight = 20   // of one question; minutes cost 1, whatever they hold
	healers    = 4    // questions under way at once
	healTick   = 250 * time.Millisecond
	healFirst  = time.Second // before a symbol is tried again; twice as long each time
	healLast   = time.Minute
)

// Healer asks the venue for what is missing. Each function may be nil: then there is no such way.
type Healer struct {
	Trades func(ctx context.Context, id market.SymbolID, from int64, limit int) ([]market.Trade, error) // from an id on, oldest first
	Latest func(ctx context.Context, id market.SymbolID) (int64, market.Time, error)                    // the newest id, and its time
	Room   func() int                                                                                   // request weight that may be used now
}

// healer fetches missing trades by id: those of a few symbols at once; where too many are missing for the request weight
// that is there, the official klines are sooner, and cost next to nothing.
type healer struct {
	Healer
	f    *Feed
	wake chan struct{} // holds one

	mu    sync.Mutex
	tries map[market.SymbolID]*try
}

// try is how a symbol's healing stands.
type try struct {
	busy  bool
	left  int // request weight that it will take yet, while it is busy
	due   time.Time
	pause time.Duration
}

// want is what one symbol lacks.
type want struct {
	id     market.SymbolID
	spans  []idSpan
	latest bool // what the newest id is
}

// idSpan is the ids [first, last].
type idSpan struct{ first, last int64 }

func (w *want) weight() int {
	n := 0
	for _, s := range w.spans {
		n += int((s.last - s.first) / healPage)
		n++
	}
	return n * healWeight
}

func newHealer(f *Feed, o Healer) *healer {
	return &healer{Healer: o, f: f, wake: make(chan struct{}, 1), tries: make(map[market.SymbolID]*try)}
}

// signal says that something is missing.
func (h *healer) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run heals until ctx ends.
func (h *healer) run(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-time.After(healTick):
		}
		h.f.alive.healer.Beat()
		for _, w := range h.choose(h.f.wants(time.Now())) {
			asking.Go(func() {
				h.ask(ctx, &w)
				h.signal()
			})
		}
	}
}

// choose takes those wants that are asked for now; they are busy from then on.
func (h *healer) choose(wants []want) []want {
	h.mu.Lock()
	defer h.mu.Unlock()
	wants, busy := h.due(wants)
	wants = h.affordable(wants)
	wants = wants[:min(len(wants), healers-busy)]
	for i := range wants {
		t := h.tries[wants[i].id]
		if t == nil {
			t = &try{}
			h.tries[wants[i].id] = t
		}
		t.busy, t.left = true, wants[i].weight()
	}
	return wants
}

// due drops the wants that are being asked for, or have been in vain a short time ago, and says how many are being.
// h.mu is held.
func (h *healer) due(wants []want) (_ []want, busy int) {
	now := time.Now()
	missing := make(map[market.SymbolID]bool, len(wants))
	wants = slices.DeleteFunc(wants, func(w want) bool {
		missing[w.id] = true
		t := h.tries[w.id]
		return t != nil && (t.busy || now.Before(t.due))
	})
	for id, t := range h.tries {
		switch {
		case t.busy:
			busy++
		case !missing[id]:
			delete(h.tries, id)
		}
	}
	return wants, busy
}

// room is the request weight that may be used now.
func (h *healer) room() int {
	if h.Room == nil {
		return 1 << 30
	}
	return h.Room()
}

// spends notes that a symbol's next question is being asked; false where there is no weight for it any more.
func (h *healer) spends(id market.SymbolID) bool {
	room := h.room()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries[id].left -= healWeight
	return room >= healWeight
}

// affordable keeps the wants that are healed by trades: all, where there is room for them; else those that cost least,
// and room is kept for the official klines of the others.
func (h *healer) affordable(wants []want) []want {
	room, total := h.room(), 0
	for _, t := range h.tries {
		if t.busy {
			room -= t.left
		}
	}
	slices.SortStableFunc(wants, func(a, b want) int { return cmp.Compare(a.weight(), b.weight()) })
	for i := range wants {
		total += wants[i].weight()
	}
	if total > room {
		room -= len(wants)
	}
	n := 0
	for n < len(wants) && wants[n].weight() <= room {
		room -= wants[n].weight()
		n++
	}
	return wants[:n]
}

// release notes how a try went: after a failure, and where nothing came of it, the next one is put off. It reports whether
// it was the first that did.
func (h *healer) release(id market.SymbolID, err error, healed int) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tries[id]
	t.busy = false
	if err == nil && healed > 0 {
		t.pause = 0
		return false
	}
	first = t.pause == 0
	t.pause = min(max(2*t.pause, healFirst), healLast)
	t.due = time.Now().Add(t.pause)
	var budget *market.BudgetError
	if errors.As(err, &budget) {
		t.due = time.Now().Add(max(t.pause, budget.RetryAfter))
	}
	return first
}

// ask asks for all that a symbol lacks.
func (h *healer) ask(ctx context.Context, w *want) {
	healed, err := 0, error(nil)
	if w.latest && h.Latest != nil {
		healed, err = h.askLatest(ctx, w.id)
	}
	for _, span := range w.spans {
		for from := span.first; from <= span.last && err == nil && ctx.Err() == nil && h.spends(w.id); from += healPage {
			var n int
			var end bool
			n, end, err = h.askTrades(ctx, w.id, from, min(span.last, from+healPage-1))
			healed += n
			if end {
				break
			}
		}
	}
	if first := h.release(w.id, err, healed); first && err != nil && ctx.Err() == nil {
		h.f.log.Warn("cannot heal by trades", "symbol", h.f.name(w.id), "error", err)
	}
	h.f.log.Debug("asked for missed trades", "symbol", h.f.name(w.id), "spans", len(w.spans), "came", healed)
}

// askLatest asks for the newest id.
func (h *healer) askLatest(ctx context.Context, id market.SymbolID) (int, error) {
	asked := time.Now()
	latest, at, err := h.Latest(ctx, id)
	if err != nil {
		return 0, err
	}
	l, slot := h.f.laneOf(id)
	defer l.unlock(l.lock())
	s := &l.symbols[slot]
	s.doubt.askAfter = asked.Add(askAgain)
	l.judge(slot, s, latest, at, asked)
	s.doubt.backwards = 0
	l.signal()
	return 1, nil
}

// askTrades asks for the ids from first to last, and one more: what is held above them is then known too. end says that
// the venue has no more.
func (h *healer) askTrades(ctx context.Context, id market.SymbolID, first, last int64) (healed int, end bool, err error) {
	limit := int(min(last-first+2, healPage))
	asked := time.Now()
	trades, err := h.Trades(ctx, id, first, limit)
	l, slot := h.f.laneOf(id)
	if errors.Is(err, ErrTooOld) {
		defer l.unlock(l.lock())
		l.tooOld(slot, first, last)
		return 1, true, nil
	}
	if err != nil {
		l.notOpened(slot, err)
		return 0, false, err
	}
	defer l.unlock(l.lock())
	healed = l.heal(slot, first, last, trades, len(trades) < limit, asked)
	return healed, len(trades) < limit, nil
}

// heal takes trades that REST has brought, from the id first on; end says that the venue has no more. It returns how
// many of them were missing. What REST leaves out does not exist.
func (l *lane) heal(slot engine.Slot, first, last int64, trades []market.Trade, end bool, asked time.Time) (healed int) {
	s := &l.symbols[slot]
	before := s.passed
	s.opening = s.opening && first > 1
	l.count(causeLate)
	l.cause = causeHeal
	upTo := first - 1
	for i := range trades {
		t := &trades[i]
		if t.ID < first || t.ID <= upTo {
			continue // not what was asked for
		}
		if t.ID > upTo+1 {
			l.void(slot, s, upTo+1, min(t.ID-1, last))
		}
		upTo = t.ID
		l.healOne(slot, s, t, last, asked)
	}
	if end {
		at := s.lastTime
		if n := len(trades); n > 0 {
			at = trades[n-1].Time
		}
		l.judge(slot, s, upTo, at, asked)
	}
	l.count(causeHeal)
	l.cause = causeLate
	l.signal()
	return int(s.passed - before)
}

// healOne takes one trade that REST has brought; it was asked up to the id last.
func (l *lane) healOne(slot engine.Slot, s *symbol, t *market.Trade, last int64, asked time.Time) {
	s.doubt.sure = max(s.doubt.sure, t.ID)
	if s.isOver(t) {
		return
	}
	p, i := s.place(t)
	if p == isNext && s.hole.declared && t.ID <= s.hole.last {
		if s.hole.record == nil {
			s.hole.record = l.record(s, s.next, s.hole.last)
		}
		l.f.metrics.HealedTrades.Inc()
	}
	if p != isBackwards && (p != isAhead || t.ID <= last) {
		l.enter(nil, slot, s, t, p, i, asked)
	}
}

// void takes ids that REST leaves out, out of what is waited for by id. The venue gives every id, so rather than that they
// do not exist REST may be wrong: their minutes are owed.
func (l *lane) void(slot engine.Slot, s *symbol, first, last int64) {
	if s.next >= first && s.next <= last && len(s.held) > 0 {
		l.declare(slot, s)
		span := s.holeSpan()
		s.next = min(last+1, s.held[0].ID)
		l.owe(slot, s, debt{span: span, record: s.hole.record})
		l.release(slot, s)
	}
	within := func(g gap) bool { return !g.burnt() && g.first <= last && g.last >= first }
	for i := slices.IndexFunc(s.gaps, within); i >= 0; i = slices.IndexFunc(s.gaps, within) {
		g := s.gaps[i]
		s.fill(i, max(first, g.first), min(last, g.last))
		l.owe(slot, s, debt{span: g.span, record: g.record, official: g.official})
	}
	l.recovered(s)
}

// tooOld gives up on ids that the venue does not give any more: their minutes are owed.
func (l *lane) tooOld(slot engine.Slot, first, last int64) {
	s := &l.symbols[slot]
	within := func(g gap) bool { return !g.burnt() && g.first <= last && g.last >= first }
	for i := slices.IndexFunc(s.gaps, within); i >= 0; i = slices.IndexFunc(s.gaps, within) {
		l.giveUp(slot, s, i)
	}
	if s.hole.declared && len(s.held) > 0 && s.next <= last {
		s.doubt.sure = max(s.doubt.sure, s.held[0].ID)
		l.through(slot, s, s.held[0].Time+1)
	}
	l.signal()
}

// wants lists what the symbols lack by id.
func (f *Feed) wants(now time.Time) (all []want) {
	for _, l := range f.lanes {
		l.mu.Lock()
		for slot := range l.symbols {
			s := &l.symbols[slot]
			if !l.heals(s) || !s.hole.declared && !s.gappy && s.doubt.backwards < 2 && !s.opens() {
				continue
			}
			w := want{id: s.id, latest: l.asks(s, now)}
			if f.healer.Trades != nil {
				w.spans = l.missing(s)
			}
			if w.latest || len(w.spans) > 0 {
				all = append(all, w)
			}
		}
		l.mu.Unlock()
	}
	return all
}

// missing is the ids that are waited for: those of the gaps, and of the declared hole; of that one the first page where
// it is not believed yet. What one answer holds is one span, whatever has come of it.
func (l *lane) missing(s *symbol) (ids []idSpan) {
	add := func(w idSpan) {
		if n := len(ids); n > 0 && w.last-ids[n-1].first < healPage-1 {
			ids[n-1].last = w.last
			return
		}
		ids = append(ids, w)
	}
	if s.opens() {
		add(idSpan{1, healPage - 1})
	}
	for i := range s.gaps {
		if g := &s.gaps[i]; !g.burnt() {
			add(idSpan{g.first, g.last})
		}
	}
	if s.hole.declared && len(s.held) > 0 {
		w := idSpan{s.next, s.held[0].ID - 1}
		if !l.believes(s) {
			w.last = min(w.last, w.first+healPage-1)
		}
		add(w)
	}
	return ids
}

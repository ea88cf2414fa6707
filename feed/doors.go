package feed

import (
	"cmp"
	"context"
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// closeWait bounds how long a read waits for a close that is due, beyond the grace.
const closeWait = 2 * time.Second

// Tail appends to dst the klines of series that open at or after from, oldest first and without a hole, the running one
// last. Between a boundary and the close of what ended there it waits for that close, as long as grace and holes may
// take, and once more where nothing ran meanwhile: the readers have what was waiting first. Where it waits in vain the last
// kline is over and still open. Nothing is appended where the symbol's running kline cannot be shown yet.
func (f *Feed) Tail(ctx context.Context, dst []market.Kline, series market.Series, from market.Time) ([]market.Kline, error) {
	l, slot := f.laneOf(series.Symbol)
	if l == nil {
		return dst, nil
	}
	now, patience := f.clock.Now(), f.graceNow()+closeWait
	open, due := series.Interval.Open(now), now.Add(patience)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for again := false; ; {
		l.mu.Lock()
		if l.closed(slot, open) {
			dst = l.engine.Klines(dst, slot, series.Interval, from)
			l.mu.Unlock()
			return dst, nil
		}
		closed := make(chan struct{})
		l.tails = append(l.tails, wait{slot: slot, open: open, closed: closed})
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			l.waitNoMore(closed)
			return dst, ctx.Err()
		case <-closed:
			f.metrics.CloseWaits.WithLabelValues("closed").Inc()
		case <-deadline.C:
			l.waitNoMore(closed)
			if stood := f.clock.Now().Sub(due) > lateTick; stood && !again {
				again = true
				deadline.Reset(closeWait)
				continue
			}
			f.metrics.CloseWaits.WithLabelValues("late").Inc()
			open = 0 // what there is
		}
	}
}

// wait is a read that waits until what ended at open has closed and was handed on.
type wait struct {
	slot   engine.Slot
	open   market.Time
	closed chan struct{}
}

// letGo lets those go on whose close was handed on, and nobody else: at a boundary hundreds may wait, and a lane's closes come
// in many drains.
func (l *lane) letGo() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tails = slices.DeleteFunc(l.tails, func(w wait) bool {
		over := l.closed(w.slot, w.open)
		if over {
			close(w.closed)
		}
		return over
	})
}

// closed reports whether what ended at open has closed, or never will.
func (l *lane) closed(slot engine.Slot, open market.Time) bool {
	boundary, begun := l.engine.Boundary(slot)
	s := &l.symbols[slot]
	return !begun || boundary > open || s.state == Ended && boundary > s.ended
}

// waitNoMore ends a wait before its time.
func (l *lane) waitNoMore(closed chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tails = slices.DeleteFunc(l.tails, func(w wait) bool { return w.closed == closed })
}

// Watch says whether somebody wants the running kline of series with each change.
func (f *Feed) Watch(series market.Series, on bool) {
	l, slot := f.laneOf(series.Symbol)
	i := slices.Index(f.intervals, series.Interval)
	if l == nil || i < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if on {
		l.symbols[slot].watch |= 1 << i
	} else {
		l.symbols[slot].watch &^= 1 << i
	}
}

// First says that the symbol's first kline opens at t: what contains t begins with it.
func (f *Feed) First(id market.SymbolID, t market.Time) {
	if l, slot := f.laneOf(id); l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.engine.First(slot, t)
	}
}

// Fresh says that the exchange has no klines of the symbol yet: they begin with its first trade, which may have come
// meanwhile.
func (f *Feed) Fresh(id market.SymbolID) {
	l, slot := f.laneOf(id)
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.symbols[slot].fresh = true
	if s := &l.symbols[slot]; s.begins == 0 || s.from != 0 && s.begins >= s.from {
		l.engine.Fresh(slot)
	} // else what came before the first boundary is in an official kline that the exchange has not closed yet
}

// Load puts complete klines that were known before, oldest first: the store's, or official ones (State Settled). From the
// minute on in which the stream began only official ones are taken, and only those that are absent here.
func (f *Feed) Load(id market.SymbolID, iv market.Interval, rows []market.Kline) {
	if l, slot := f.laneOf(id); l != nil {
		defer l.unlock(l.lock())
		l.load(slot, iv, rows)
		l.signal()
	}
}

// Begun is the first boundary of the symbol's stream; false before its stream began.
func (f *Feed) Begun(id market.SymbolID) (market.Time, bool) {
	l, slot := f.laneOf(id)
	if l == nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.engine.Begun(slot)
}

// BusyFirst sorts symbols by how many trades have come so far, most first.
func (f *Feed) BusyFirst(ids []market.SymbolID) {
	passed := make(map[market.SymbolID]uint64, f.living.Load())
	for _, l := range f.lanes {
		l.mu.Lock()
		for i := range l.symbols {
			passed[l.symbols[i].id] = l.symbols[i].passed
		}
		l.mu.Unlock()
	}
	slices.SortStableFunc(ids, func(a, b market.SymbolID) int { return cmp.Compare(passed[b], passed[a]) })
}

// Waiting reports whether the symbol is not yet whole.
func (f *Feed) Waiting(id market.SymbolID) bool { return f.Standing(id) == Waiting }

// owedMost is how many minutes one symbol's range of Owed spans at most.
const owedMost = 99

// Owed lists, symbol by symbol, the time in which minutes lack trades, or may, and are over by then: official klines make
// them whole. At most 99 minutes a symbol are told at once, the oldest.
func (f *Feed) Owed(by market.Time) (owed []market.Range) {
	for _, l := range f.lanes {
		l.mu.Lock()
		for slot := range l.symbols {
			s := &l.symbols[slot]
			if s.from == 0 || !l.heals(s) || !s.gappy && !s.hole.declared && !s.blind.open() && s.doubt.first.Time == 0 {
				continue
			}
			if span := l.owed(engine.Slot(slot), s, by); !span.Empty() {
				span.To = min(span.To, span.From+owedMost*market.Minute)
				owed = append(owed, market.Range{Series: market.Series{Symbol: s.id, Interval: market.OneMinute}, Span: span})
			}
		}
		l.mu.Unlock()
	}
	return owed
}

// Official offers an official kline of 1m, 1h or 1d that REST has brought at least some seconds after its close; said
// is how often.
func (f *Feed) Official(id market.SymbolID, iv market.Interval, k *market.Kline, said market.Said) market.Belief {
	l, slot := f.laneOf(id)
	if l == nil {
		return market.OutOfReach
	}
	defer l.unlock(l.lock())
	defer l.signal()
	return l.rest(slot, iv, k, said)
}

// Paid says that the symbol's minutes before upTo are official in the store: those that Official found out of reach.
func (f *Feed) Paid(id market.SymbolID, upTo market.Time) {
	if l, slot := f.laneOf(id); l != nil {
		defer l.unlock(l.lock())
		l.paid(slot, &l.symbols[slot], upTo)
		l.signal()
	}
}

// Follows reports whether the kline of series, longer than a minute, that opens at open follows what is replaced below it,
// and leaves. Others are the store's: they ended before the stream began, or what they are folded from is not kept any more.
func (f *Feed) Follows(series market.Series, open market.Time) bool {
	l, slot := f.laneOf(series.Symbol)
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.symbols[slot].ours(series.Interval, open) && l.engine.Follows(slot, series.Interval, open)
}

// Compared counts that a closed kline of ours gave way to the venue's own on the store.
func (f *Feed) Compared(d market.Difference) {
	if l, _ := f.laneOf(d.Symbol); l != nil {
		defer l.unlock(l.lock())
		l.compare(d)
		l.signal()
	}
}

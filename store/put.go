package store

import (
	"fmt"
	"log/slog"
	"time"

	"klined/market"
)

// maxOutboxRows bounds what waits for the disk, in klines.
const maxOutboxRows = 500_000

// manyRows is how many klines make a commit worth while before its time.
const manyRows = 20_000

// Put takes the closed and settled klines of changes, and that their lane has handed on everything that ends at or
// before UpTo. It never waits for the disk. A kline that cannot be kept exactly is refused: counted, and missing.
func (s *Store) Put(changes *market.Changes) {
	s.mu.Lock()
	defer s.unlock()
	if s.closed {
		return
	}
	for i := range changes.Updates {
		u := &changes.Updates[i]
		if h, ok := s.take(u.Series, &u.Kline); ok {
			s.pending.put(u.Series, &h)
		}
	}
	s.differs(changes.Differ)
	ended := s.complete.advance(changes.Lane, changes.UpTo, s.opts.Intervals[0])
	s.taken(ended || s.pending.n > 0)
}

// Fetched takes what the exchange has of the series' klines that open within span: rows and nothing else, so that the
// span is known from now on, as far as the first row that is still open. The span must not reach beyond the exchange's
// time. Rows outside of it are taken too, and prove nothing. What is older than is kept is neither stored nor known.
func (s *Store) Fetched(series market.Series, span market.Span, rows []market.Kline) {
	s.mu.Lock()
	defer s.unlock()
	if _, kept := s.upserts[series.Interval]; !kept || s.closed {
		return
	}
	span = market.Span{From: max(series.Interval.Ceil(span.From), s.complete.retention.from[series.Interval]), To: series.Interval.Ceil(span.To)}
	for i := range rows {
		if rows[i].State < market.StateClosed {
			span.To = min(span.To, rows[i].OpenTime)
		}
	}
	s.complete.known.add(series, span)
	s.complete.holes.remove(series, span)
	run := make([]held, 0, len(rows))
	for i := range rows {
		if h, ok := s.take(series, &rows[i]); ok {
			run = append(run, h)
		}
	}
	s.pending.putRun(series, run)
	s.taken(true)
}

// BeginLive says that the symbol's lane brings all of its klines from now on: from is an instant within the first
// kline of each interval that it brings: within the minute in which its stream began, whose official kline is Put, or later. Every series of the symbol is
// then complete up to the lane's UpTo, beginning with the kline that contains from; sub-minute series begin with the
// first minute that opens at or after from. What the lane put between from and now counts.
func (s *Store) BeginLive(symbol market.SymbolID, lane int, from market.Time) {
	s.mu.Lock()
	defer s.unlock()
	if s.closed {
		return
	}
	s.complete.begin(symbol, session{lane: lane, from: from}, s.opts.Intervals)
	s.taken(true)
}

// EndLive says that the symbol's lane brings no klines of it that end later than what the lane has handed on by now, or at least
// not all. What is missing behind that is the exchange's to tell.
func (s *Store) EndLive(symbol market.SymbolID) {
	s.mu.Lock()
	defer s.unlock()
	old, live := s.complete.live[symbol]
	if s.closed || !live {
		return
	}
	s.complete.end(symbol, old, s.opts.Intervals, s.complete.lanes[old.lane])
	s.taken(true)
}

// take is one kline as the outbox takes it; ok is false where it is not kept. All but the outbox knows of it by then.
func (s *Store) take(series market.Series, k *market.Kline) (h held, ok bool) {
	if _, kept := s.upserts[series.Interval]; !kept || k.State < market.StateClosed || k.OpenTime < s.complete.retention.from[series.Interval] {
		return held{}, false
	}
	h = held{Kline: *k}
	whole := market.Span{From: k.OpenTime, To: series.Interval.Next(k.OpenTime)}
	if err := s.check(series, &h); err != nil {
		s.complete.holes.add(series, whole)
		s.refuse(series, k, err)
		return held{}, false
	}
	// A kline that is known to lack trades is kept, and asked for again. Whatever else was lost was no better than what
	// comes after it.
	if lacks := k.Gap && k.State != market.StateSettled && series.Interval >= market.OneMinute; lacks {
		s.complete.holes.add(series, whole)
	} else if !k.Gap {
		s.complete.holes.remove(series, whole)
	}
	s.window.take(series, k)
	return h, true
}

// check reports why h cannot be kept, and sets its digits.
func (s *Store) check(series market.Series, h *held) error {
	if series.Symbol < 0 || int(series.Symbol) >= len(s.symbols) {
		return fmt.Errorf("symbol %d was not saved", series.Symbol)
	}
	if open := series.Interval.Open(h.OpenTime); open != h.OpenTime {
		return fmt.Errorf("no kline opens then; the nearest opens at %s", open)
	}
	sym := &s.symbols[series.Symbol]
	h.digits = digitsOf(sym)
	_, err := amounts(&h.Kline, h.digits)
	return err
}

// refuse counts a refused kline, and logs at most one a minute.
func (s *Store) refuse(series market.Series, k *market.Kline, why error) {
	name := fmt.Sprintf("symbol %d", series.Symbol)
	if series.Symbol >= 0 && int(series.Symbol) < len(s.symbols) {
		name = s.symbols[series.Symbol].Name
	}
	s.stats.refused++
	s.stats.lastRefused = fmt.Sprintf("%s %s %s: %v", name, series.Interval, k.OpenTime, why)
	if now := time.Now(); now.Sub(s.stats.refusalLogged) >= time.Minute {
		s.stats.refusalLogged = now
		s.note(slog.LevelError, "kline refused", "kline", s.stats.lastRefused, "refused so far", s.stats.refused)
	}
}

// taken ends every change: it holds the bound, and wakes the writer if something waits that should not wait long.
func (s *Store) taken(wake bool) {
	s.dropOverflow()
	s.opts.Metrics.StoreOutboxRows.Set(float64(s.waiting()))
	if wake {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// waiting is the number of klines in the outbox.
func (s *Store) waiting() int {
	if s.inFlight != nil {
		return s.pending.n + s.inFlight.n
	}
	return s.pending.n
}

// dropOverflow drops the oldest klines where the outbox is over its bound, a tenth of it at once so that the search for
// them is rare. They are holes from now on, and what the disk has of them yields to whatever comes; those of a minute and longer can be fetched again, shorter ones are lost.
func (s *Store) dropOverflow() {
	if s.waiting() <= s.maxRows || s.pending.n == 0 {
		return
	}
	before := s.pending.n
	s.pending.dropOldest(max(s.maxRows/10, s.waiting()-s.maxRows), func(series market.Series, open market.Time) {
		one := market.Span{From: open, To: series.Interval.Next(open)}
		s.complete.holes.add(series, one)
		s.window.forget(series)
		if series.Interval < market.OneMinute {
			s.stats.lost++
		} else {
			s.dropped[series] = s.dropped[series].add(one)
		}
	})
	dropped := before - s.pending.n
	s.stats.dropped += uint64(dropped)
	s.note(slog.LevelError, "outbox full: oldest klines dropped, to be fetched again", "rows", dropped, "bound", s.maxRows,
		"cause", s.stats.writeErr)
}

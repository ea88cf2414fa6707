package history

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"klined/health"
	"klined/market"
)

// How closed klines are held against the exchange's own. A round takes one question a symbol, of weight 1, and so does each
// of the day's intervals.
const (
	roundEvery    = market.Hour
	longestDoubt  = time.Hour          // how long a row that is doubted may wait to be read again
	givenUp       = market.Day         // how long a minute may be doubted before it stays as it is
	doubtsMost    = 500                // of one symbol; the oldest stay as they are
	dayBegins     = 10 * market.Minute // into the day the one before is looked at,
	daySpread     = 20 * market.Second // one symbol after the other
	begunFrom     = 62                 // hours and days that are looked at first
	farBehind     = 2 * market.Hour    // minutes are looked for in the store before they are asked for
	storedAtATime = market.Day
)

// checkedDaily are the intervals that are held against the exchange's own once a day, though they are folded from minutes
// that are.
var checkedDaily = [...]market.Interval{market.OneHour, market.OneDay}

// Settle holds the closed klines of the symbols that are carried against the exchange's own until ctx ends: minutes in a
// round an hour, spread over it, hours and days once a day. What frames have settled is read once more; what no frame has
// brought is settled by what is read. Those of a symbol that is dropped are settled up to then.
func (h *History) Settle(ctx context.Context) error {
	s := &settling{h: h, torn: make(map[market.Series][]market.Span), seen: make(map[market.Series]bool)}
	s.alive = h.dog.Component("settle", health.Vital) // it reads the disk
	a := asking{h: h, class: market.ClassSettle, longest: longestDoubt, errand: s, alive: s.alive}
	return a.run(ctx)
}

// settling is the errand of klines that are not known to be as the exchange's own. All but theirs is called by one
// goroutine.
type settling struct {
	h       *History
	alive   *health.Component
	symbols []settled

	mu   sync.Mutex                      // guards what follows
	torn map[market.Series][]market.Span // what is folded from them has still to be made right
	seen map[market.Series]bool          // a process before may have left such
}

// settled is how far a symbol's klines have been held against the exchange's own. Times are the exchange's.
type settled struct {
	id      market.SymbolID
	until   market.Time // it was dropped then; 0 while it is carried
	upTo    market.Time // minutes before it have been, but for those that are doubted; 0 until its stream has begun
	found   market.Time // upTo is a minute to settle, as the store was asked
	first   market.Time // its first round begins
	due     market.Time // its next round begins
	checked [len(checkedDaily)]market.Time
	doubts  []market.Time // open times of minutes, rising
}

// now is the time up to which klines are asked for. What is so young that the clock would have to be measured for it
// waits for the next round.
func (s *settling) now() market.Time { return s.h.clock.Now().Add(-settleAfter - young) }

// duties are the minutes since the last round, where the next is due, those that are doubted, and the day before, where that
// has not been checked.
func (s *settling) duties(ctx context.Context, by market.Time) (duties []duty) {
	by = min(by, s.now())
	s.know(by)
	for i := range s.symbols {
		st := &s.symbols[i]
		s.alive.Beat()
		from, begun := s.h.lanes.Begun(st.id)
		if !begun || by < from {
			continue
		}
		if st.upTo == 0 {
			if st.upTo = s.h.store.SettledUpTo(st.id); st.upTo == 0 {
				s.move(st, from-readRows*market.Minute) // with those that the symbol began from: they were read once
			}
			st.first = by + market.Time(i)*roundEvery/market.Time(len(s.symbols))
			st.due = st.first
		}
		duties = append(duties, s.round(ctx, st, by)...)
		duties = append(duties, s.again(st, by)...)
		if by >= st.first && st.until == 0 {
			duties = append(duties, s.daily(st, by-market.Time(i)*daySpread)...)
		}
	}
	return duties
}

// know takes in the symbols that are carried, and lets go of those that were dropped and are settled up to then; of what is
// not within a day, too.
func (s *settling) know(by market.Time) {
	known := make(map[market.SymbolID]bool, len(s.symbols))
	s.symbols = slices.DeleteFunc(s.symbols, func(st settled) bool {
		done := st.until != 0 && (st.upTo >= market.OneMinute.Open(st.until) && len(st.doubts) == 0 || by > st.until+givenUp)
		known[st.id] = !done
		return done
	})
	for _, id := range s.h.carries() {
		if !known[id] {
			s.symbols = append(s.symbols, settled{id: id})
		}
	}
	for i := range s.symbols {
		s.symbols[i].until = s.h.droppedAt(s.symbols[i].id)
	}
}

// round is the minutes to ask for now.
func (s *settling) round(ctx context.Context, st *settled, by market.Time) []duty {
	if by < st.due {
		return nil
	}
	if st.upTo < by-farBehind && st.upTo != st.found {
		s.skip(ctx, st, by)
		st.found = st.upTo
	}
	end := by
	if st.until != 0 {
		end = min(by, st.until)
	}
	span := market.Span{From: st.upTo, To: min(market.OneMinute.Open(end), st.upTo+readRows*market.Minute)}
	if span.Empty() {
		st.due = by + roundEvery
		return nil
	}
	return []duty{minutesOf(st.id, span)}
}

func minutesOf(id market.SymbolID, span market.Span) duty {
	return duty{Range: market.Range{Series: market.Series{Symbol: id, Interval: market.OneMinute}, Span: span}}
}

// skip passes over minutes that the store lacks, or has as the exchange's own: an earlier process's, and those after it.
func (s *settling) skip(ctx context.Context, st *settled, by market.Time) {
	series := market.Series{Symbol: st.id, Interval: market.OneMinute}
	upTo := st.upTo
	for end := market.OneMinute.Open(by - farBehind); upTo < end; {
		page := market.Span{From: upTo, To: min(end, upTo+storedAtATime)}
		rows, _, err := s.h.store.Read(ctx, series, page)
		if err != nil {
			s.h.log.Warn("cannot read which minutes are settled", "symbol", s.h.name(st.id), "error", err)
			return
		}
		if i := slices.IndexFunc(rows, func(k market.Kline) bool { return k.State < market.StateSettled }); i >= 0 {
			upTo = rows[i].OpenTime
			break
		}
		upTo = page.To
	}
	if upTo > st.upTo {
		s.move(st, upTo)
	}
}

func (s *settling) move(st *settled, upTo market.Time) {
	st.upTo = upTo
	s.h.store.SettleUpTo(st.id, upTo)
}

// again is the minutes that are doubted. Those of a day ago stay as they are.
func (s *settling) again(st *settled, by market.Time) []duty {
	for len(st.doubts) > 0 && (st.doubts[0] < by-givenUp || len(st.doubts) > doubtsMost) {
		s.h.log.Warn("no two reads have agreed on a minute: it stays as it is", "symbol", s.h.name(st.id), "minute", st.doubts[0])
		st.doubts = st.doubts[1:]
	}
	if len(st.doubts) == 0 {
		return nil
	}
	n, _ := slices.BinarySearch(st.doubts, st.doubts[0]+readRows*market.Minute)
	d := minutesOf(st.id, market.Span{From: st.doubts[0], To: st.doubts[n-1] + market.Minute})
	d.only = slices.Clone(st.doubts[:n])
	return []duty{d}
}

// daily is the hours and the day to ask for now.
func (s *settling) daily(st *settled, by market.Time) (duties []duty) {
	today := market.OneDay.Open(by - dayBegins)
	for i, iv := range checkedDaily {
		from := max(st.checked[i], today-market.Day)
		if st.checked[i] == 0 { // with those that the symbol began from
			from = iv.OpenAt(iv.Ordinal(today) - begunFrom)
		}
		span := market.Span{From: from, To: today}
		if !span.Empty() && s.h.builds(iv) {
			duties = append(duties, duty{Range: market.Range{Series: market.Series{Symbol: st.id, Interval: iv}, Span: span}})
		}
	}
	return duties
}

func (s *settling) took(d duty, upTo market.Time, doubted []market.Time) {
	i := slices.IndexFunc(s.symbols, func(st settled) bool { return st.id == d.Symbol })
	if i < 0 {
		return // it was dropped meanwhile
	}
	st, now := &s.symbols[i], s.now()
	at := slices.Index(checkedDaily[:], d.Interval)
	switch {
	case at >= 0 && len(doubted) > 0:
		st.checked[at] = slices.Min(doubted)
	case at >= 0:
		st.checked[at] = upTo
	case d.only != nil:
		st.doubts = slices.DeleteFunc(st.doubts, func(open market.Time) bool {
			return slices.Contains(d.only, open) && !slices.Contains(doubted, open)
		})
	default:
		st.doubts = append(st.doubts, doubted...)
		slices.Sort(st.doubts)
		st.doubts = slices.Compact(st.doubts)
		s.move(st, upTo)
		if upTo > now-roundEvery {
			st.due = now + roundEvery
		}
	}
}

// nothing: the exchange has no klines of the symbol there, so there is nothing to hold ours against.
func (s *settling) nothing(context.Context, duty) error { return nil }

// theirs settles what the store has of klines that the lanes do not hand on: what is believed takes its place, and what is
// longer is folded anew. A row is believed where it says what ours does, or there is none of ours, or two reads agree; for what
// is settled, where REST has said so for an hour.
func (s *settling) theirs(ctx context.Context, d duty, rows []reading) (doubted []market.Kline, err error) {
	h, iv := s.h, d.Interval
	ours, _, err := h.inStore(ctx, d.Series, market.Span{From: rows[0].OpenTime, To: iv.Next(rows[len(rows)-1].OpenTime)})
	if err != nil {
		return nil, err
	}
	var news []market.Kline
	for i := range rows {
		k := &rows[i].Kline
		old, there := findOpen(ours, k.OpenTime)
		switch {
		case !there || old.Gap:
		case market.SameValues(old, k):
			if old.State == market.StateSettled {
				continue
			}
		case rows[i].said < market.SaidAgain, old.State == market.StateSettled && rows[i].said < market.SaidLong:
			h.metrics.SettleDoubted.WithLabelValues("unconfirmed").Inc()
			doubted = append(doubted, *k)
			continue
		}
		if there {
			s.succeeds(d.Series, old, k)
		}
		news = append(news, *k)
	}
	spans := runs(iv, news)
	for _, span := range spans {
		h.store.Fetched(d.Series, span, within(news, span))
	}
	return doubted, s.refold(ctx, d.Series, market.Span{From: rows[0].OpenTime, To: iv.Next(rows[len(rows)-1].OpenTime)}, spans)
}

// refold makes right what is longer than the spans, and what was left so before: in this process, where it failed, or in an
// earlier one, which may have ended between the two; then it is all that was looked at first.
func (s *settling) refold(ctx context.Context, series market.Series, all market.Span, spans []market.Span) (failed error) {
	s.mu.Lock()
	if !s.seen[series] {
		s.seen[series], spans = true, []market.Span{all}
	}
	spans = append(spans, s.torn[series]...)
	s.torn[series] = spans
	s.mu.Unlock()
	var left []market.Span
	for _, span := range spans {
		if err := s.h.refold(ctx, market.ClassSettle, series.Interval, series.Symbol, span); err != nil {
			left = append(left, span)
			failed = cmp.Or(failed, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torn[series] = left; len(left) == 0 {
		delete(s.torn, series)
	}
	return failed
}

// succeeds lets k take the place of old: REST brings no ids, so ours stay. One of ours without the mark is compared.
func (s *settling) succeeds(series market.Series, old, k *market.Kline) {
	if !old.Gap {
		s.h.debts.Compared(market.Difference{Series: series, Ours: *old, Official: *k})
	}
	if k.TradeCount > 0 {
		k.FirstID, k.LastID = old.FirstID, old.LastID
	}
	k.LastTradeID = old.LastTradeID
	k.Revision = old.Revision
	if !market.SameValues(old, k) {
		k.Revision++
	}
}

// runs are the spans of klines, by rising open time, that follow each other.
func runs(iv market.Interval, klines []market.Kline) (spans []market.Span) {
	for i := range klines {
		open := klines[i].OpenTime
		if n := len(spans); n > 0 && spans[n-1].To == open {
			spans[n-1].To = iv.Next(open)
		} else {
			spans = append(spans, market.Span{From: open, To: iv.Next(open)})
		}
	}
	return spans
}

// within is those of klines, by rising open time, that open within a span.
func within(klines []market.Kline, span market.Span) []market.Kline {
	from, _ := market.Search(klines, span.From)
	to, _ := market.Search(klines, span.To)
	return klines[from:to]
}

// findOpen is the kline of rows, by rising open time, that opens at open.
func findOpen(rows []market.Kline, open market.Time) (k *market.Kline, there bool) {
	i, there := market.Search(rows, open)
	if !there {
		return nil, false
	}
	return &rows[i], true
}

package history

import (
	"cmp"
	"context"
	"slices"
	"time"

	"klined/market"
)

// How closed klines are held against the exchange's own. A round takes one question a symbol, of weight 1, and so does each
// of the day's intervals.
const (
	roundEvery    = market.Hour
	longestDoubt  = time.Hour          // how long a row that is doubted may wait to be read again
	givenUp       = market.Day         // how long a minute may be doubted before it stays as it is
	dayBegins     = 10 * market.Minute // into the day the one before is looked at,
	daySpread     = 20 * market.Second // one symbol after the other
	farBehind     = 2 * market.Hour    // minutes are looked for in the store before they are asked for
	storedAtATime = market.Day
)

// checkedDaily are the intervals that are held against the exchange's own once a day, though they are folded from minutes
// that are.
var checkedDaily = [...]market.Interval{market.OneHour, market.OneDay}

// Settle holds the closed klines of the symbols against the exchange's own until ctx ends: minutes in a round an hour,
// spread over it, hours and days once a day. What frames have settled is read once more; what no frame has brought is
// settled by what is read.
func (h *History) Settle(ctx context.Context, ids []market.SymbolID) error {
	s := &settling{h: h}
	for _, id := range ids {
		s.symbols = append(s.symbols, settled{id: id})
	}
	a := asking{h: h, class: market.ClassSettle, longest: longestDoubt, errand: s}
	return a.run(ctx)
}

// settling is the errand of klines that are not known to be as the exchange's own. All but theirs is called by one
// goroutine.
type settling struct {
	h       *History
	symbols []settled
}

// settled is how far a symbol's klines have been held against the exchange's own. Times are the exchange's.
type settled struct {
	id      market.SymbolID
	upTo    market.Time // minutes before it have been; 0 until its stream has begun
	moved   market.Time // when that last changed
	found   market.Time // upTo is a minute to settle, as the store was asked
	due     market.Time // its next round begins
	checked [len(checkedDaily)]market.Time
}

// duties are the minutes since the last round, where the next is due, and the day before, where that has not been checked.
// What is so young that the clock would have to be measured for it waits for the next round.
func (s *settling) duties(ctx context.Context, by market.Time) (duties []market.Range) {
	by = by.Add(-young)
	for i := range s.symbols {
		st := &s.symbols[i]
		from, begun := s.h.lanes.Begun(st.id)
		if !begun || by < from {
			continue
		}
		if st.upTo == 0 {
			st.upTo, st.moved = s.h.store.SettledUpTo(st.id), by
			if st.upTo == 0 {
				s.move(st, from-market.Minute, by) // the next process goes on from there if no round ends before
			}
			st.due = by + market.Time(i)*roundEvery/market.Time(len(s.symbols))
		}
		duties = append(duties, s.round(ctx, st, by)...)
		duties = append(duties, s.daily(st, by-market.Time(i)*daySpread)...)
	}
	return duties
}

// round is the minutes to ask for now.
func (s *settling) round(ctx context.Context, st *settled, by market.Time) []market.Range {
	if by < st.due {
		return nil
	}
	if st.upTo < by-farBehind && st.upTo != st.found {
		s.skip(ctx, st, by)
		st.found = st.upTo
	}
	if by-st.moved > givenUp {
		s.h.log.Warn("for a day no two reads have agreed on a minute, or none was to be had: it stays as it is", "symbol_id", st.id, "minute", st.upTo)
		s.move(st, st.upTo+market.Minute, by)
	}
	span := market.Span{From: st.upTo, To: min(market.OneMinute.Open(by), st.upTo+readRows*market.Minute)}
	if span.Empty() {
		st.due = by + roundEvery
		return nil
	}
	return []market.Range{{Series: market.Series{Symbol: st.id, Interval: market.OneMinute}, Span: span}}
}

// skip passes over minutes that the store lacks, or has as the exchange's own: an earlier process's, and those after it.
func (s *settling) skip(ctx context.Context, st *settled, by market.Time) {
	series := market.Series{Symbol: st.id, Interval: market.OneMinute}
	upTo := st.upTo
	for end := market.OneMinute.Open(by - farBehind); upTo < end; {
		page := market.Span{From: upTo, To: min(end, upTo+storedAtATime)}
		rows, _, err := s.h.store.Read(ctx, series, page)
		if err != nil {
			s.h.log.Warn("cannot read which minutes are settled", "symbol_id", st.id, "error", err)
			return
		}
		if i := slices.IndexFunc(rows, func(k market.Kline) bool { return k.State < market.StateSettled }); i >= 0 {
			upTo = rows[i].OpenTime
			break
		}
		upTo = page.To
	}
	if upTo > st.upTo {
		s.move(st, upTo, by)
	}
}

func (s *settling) move(st *settled, upTo, now market.Time) {
	st.upTo, st.moved = upTo, now
	s.h.store.SettleUpTo(st.id, upTo)
}

// daily is the hours and the day to ask for now.
func (s *settling) daily(st *settled, by market.Time) (duties []market.Range) {
	today := market.OneDay.Open(by - dayBegins)
	for i, iv := range checkedDaily {
		if span := (market.Span{From: max(st.checked[i], today-market.Day), To: today}); !span.Empty() {
			duties = append(duties, market.Range{Series: market.Series{Symbol: st.id, Interval: iv}, Span: span})
		}
	}
	return duties
}

func (s *settling) took(d market.Range, upTo market.Time) {
	i := slices.IndexFunc(s.symbols, func(st settled) bool { return st.id == d.Symbol })
	st, now := &s.symbols[i], s.h.clock.Now().Add(-settleAfter-young)
	if at := slices.Index(checkedDaily[:], d.Interval); at >= 0 {
		st.checked[at] = upTo
		return
	}
	s.move(st, upTo, now)
	if upTo == d.To && upTo > now-roundEvery {
		st.due = now + roundEvery
	}
}

// nothing: the exchange has no klines of the symbol there, so there is nothing to hold ours against.
func (s *settling) nothing(context.Context, market.Range) error { return nil }

// theirs settles what the store has of klines that the lanes do not hand on: what is believed takes its place, and what is
// longer is folded anew. A row is believed where it says what ours does, or there is none of ours, or two reads agree.
func (s *settling) theirs(ctx context.Context, d market.Range, rows []reading) (doubted []market.Kline, err error) {
	h, iv := s.h, d.Interval
	ours, _, err := h.stored(ctx, d.Series, market.Span{From: rows[0].OpenTime, To: iv.Next(rows[len(rows)-1].OpenTime)})
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
		case !rows[i].confirmed:
			h.metrics.SettleDoubted.WithLabelValues("unconfirmed").Inc()
			doubted = append(doubted, *k)
			continue
		}
		if there {
			s.succeeds(d.Series, old, k)
		}
		news = append(news, *k)
	}
	for len(news) > 0 {
		n := 1
		for n < len(news) && news[n].OpenTime == iv.Next(news[n-1].OpenTime) {
			n++
		}
		span := market.Span{From: news[0].OpenTime, To: iv.Next(news[n-1].OpenTime)}
		h.store.Fetched(d.Series, span, news[:n])
		if err := h.refold(ctx, market.ClassSettle, iv, d.Symbol, span); err != nil {
			return doubted, err
		}
		news = news[n:]
	}
	return doubted, nil
}

// succeeds lets k take the place of old: REST brings no ids, so ours stay. A closed minute of ours is compared.
func (s *settling) succeeds(series market.Series, old, k *market.Kline) {
	if series.Interval == market.OneMinute && old.State == market.StateClosed && !old.Gap {
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

// openOf orders klines by open time.
func openOf(k market.Kline, open market.Time) int { return cmp.Compare(k.OpenTime, open) }

// findOpen is the kline of rows, by rising open time, that opens at open.
func findOpen(rows []market.Kline, open market.Time) (k *market.Kline, there bool) {
	i, there := slices.BinarySearchFunc(rows, open, openOf)
	if !there {
		return nil, false
	}
	return &rows[i], true
}

package engine

import (
	"slices"

	"pgregory.net/rapid"

	"klined/fixed"
	"klined/market"
)

// step draws one call of one door and makes it, on engine and model.
func (w *world) step(t *rapid.T) {
	i := rapid.IntRange(0, len(w.symbols)-1).Draw(t, "symbol")
	s, slot := w.symbols[i], Slot(i)
	doors := []string{"trade", "trade", "trade", "late", "late", "tick", "mark", "official", "official", "long", "owed"}
	switch rapid.SampledFrom(doors).Draw(t, "door") {
	case "trade":
		w.trade(t, slot, s, s.now+w.ahead(t))
	case "late":
		far := []market.Time{market.Second, w.baseTime(), market.Minute, 6 * market.Minute, market.Hour, 3 * market.Hour}
		back := rapid.SampledFrom(far).Draw(t, "back")
		w.trade(t, slot, s, s.now-market.Time(rapid.Int64Range(0, int64(back)).Draw(t, "by")))
	case "tick":
		at := s.now + w.ahead(t)
		w.e.Tick(at)
		for _, s := range w.symbols {
			s.advance(at)
		}
	case "mark":
		spans := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) market.Span {
			from := s.now + 5*market.Minute - market.Time(rapid.Int64Range(0, int64(3*market.Hour)).Draw(t, "gap"))
			return market.Span{From: from, To: from + market.Time(rapid.Int64Range(1, int64(10*market.Minute)).Draw(t, "length"))}
		}), 0, 3).Draw(t, "spans")
		w.e.Mark(slot, spans)
		s.mark(spans)
	case "official":
		back := rapid.Int64Range(-2, 70).Draw(t, "minutes back")
		w.official(t, slot, s, market.OneMinute, market.OneMinute.Open(s.now)-market.Time(back)*market.Minute)
	case "long":
		iv := rapid.SampledFrom([]market.Interval{market.OneHour, market.OneHour, market.OneDay}).Draw(t, "interval")
		back := rapid.Int64Range(1, 30).Draw(t, "back")
		w.official(t, slot, s, iv, iv.OpenAt(iv.Ordinal(s.now)-back))
	case "owed":
		w.deliver(t, slot, s)
	}
}

func (w *world) baseTime() market.Time { return market.Time(w.base) }

// ahead draws how far time goes on, at times backwards.
func (w *world) ahead(t *rapid.T) market.Time {
	base := w.baseTime()
	far := rapid.SampledFrom([]market.Time{market.Second, base, 2 * base, 3 * market.Minute, 30 * base, 150 * base}).Draw(t, "far")
	return market.Time(rapid.Int64Range(-int64(w.baseTime()), int64(far)).Draw(t, "ahead"))
}

// trade applies a trade at the given time. Once the exchange has said which kline is a symbol's first, none is earlier.
func (w *world) trade(t *rapid.T, slot Slot, s *witness, at market.Time) {
	if at < market.OneMinute.Open(s.first) && len(s.officials[market.OneMinute]) > 0 {
		return
	}
	id := w.nextID
	w.nextID += 2
	if rapid.IntRange(0, 3).Draw(t, "older id") == 0 {
		id -= 2*rapid.Int64Range(1, 5).Draw(t, "how much older") + 1
		if slices.ContainsFunc(s.all(), func(o market.Trade) bool { return o.ID == id }) {
			id = w.nextID
			w.nextID += 2
		}
	}
	trade := market.Trade{
		ID: id, FirstID: 10 * id, LastID: 10*id + rapid.Int64Range(0, 3).Draw(t, "fills"),
		SymbolID: market.SymbolID(slot), Time: at,
		Price:    fixed.Value(rapid.Int64Range(1, 9e10).Draw(t, "price")),
		Qty:      fixed.Value(rapid.SampledFrom([]int64{0, 1, 1e8, 123456789}).Draw(t, "qty")),
		TakerBuy: rapid.Bool().Draw(t, "buy"),
	}
	want := s.apply(trade)
	if got := w.e.Apply(slot, &trade); got != want {
		t.Fatalf("trade %+v: %d, want %d", trade, got, want)
	}
}

func (m *model) all() (out []market.Trade) {
	for _, trades := range m.trades {
		out = append(out, trades...)
	}
	return out
}

// official replaces the kline of iv at open: equal to ours, or drawn. Where a longer one is official, what lies below is
// not touched any more: which of the two holds then depends on their order.
func (w *world) official(t *rapid.T, slot Slot, s *witness, iv market.Interval, open market.Time) {
	if iv == market.OneMinute && open < s.from-market.Minute || open < iv.Open(s.first) || s.overruled(iv, open) {
		return
	}
	if s.fresh && iv > market.OneMinute || iv.Next(open) < s.from || iv == market.OneDay && open < market.OneDay.Open(s.from) {
		return
	}
	s.view()
	k := anyOfficial(drawRandom(t), open)
	if k.TradeCount == 0 { // the exchange carries the price before it
		before, ok := s.complete(iv, iv.Open(open-1))
		if !ok {
			return
		}
		closeAt(&k, before.close)
	}
	if iv > market.OneMinute {
		ours, ok := s.complete(iv, open)
		if !ok {
			return
		}
		if s.officialAfter(iv.Next(open) - market.Minute) {
			closeAt(&k, ours.close)
		}
	}
	if ours, ok := s.complete(iv, open); ok && rapid.Bool().Draw(t, "equal") {
		k = ours.kline(open, market.StateSettled, 0)
		k.FirstID, k.LastID, k.LastTradeID, k.Gap = -1, -1, -1, false
	}
	w.replace(t, slot, s, iv, &k)
}

func (w *world) replace(t *rapid.T, slot Slot, s *witness, iv market.Interval, k *market.Kline) {
	want := Different
	s.advance(k.OpenTime)
	s.view()
	ours, ok := s.partial(iv, k.OpenTime)
	if ok {
		shown := ours.kline(k.OpenTime, market.StateSettled, 0)
		if market.SameValues(&shown, k) {
			want = Equal
		}
	}
	if k.OpenTime < s.reachOf(iv) {
		want = OutOfReach
	}
	complete, isComplete := s.complete(iv, k.OpenTime)
	if !(want == Equal && isComplete && complete.settled) && want != OutOfReach {
		s.official(iv, k)
	}
	if got := w.e.Replace(slot, iv, k); got != want {
		t.Fatalf("official %s %s: %d, want %d", iv, k.OpenTime, got, want)
	}
}

// officialAfter reports whether a minute or an hour that ends after t is official: its price, where it is empty, says
// what the price before it was.
func (m *model) officialAfter(t market.Time) bool {
	for open := range m.officials[market.OneMinute] {
		if open >= t {
			return true
		}
	}
	for open := range m.officials[market.OneHour] {
		if open+hour > t {
			return true
		}
	}
	return false
}

// overruled reports whether a longer kline that contains open is official.
func (m *model) overruled(iv market.Interval, open market.Time) bool {
	for _, longer := range []market.Interval{market.OneHour, market.OneDay} {
		if _, ok := m.officials[longer][longer.Open(open)]; ok && longer > iv {
			return true
		}
	}
	return false
}

func (m *model) reachOf(iv market.Interval) market.Time {
	switch {
	case iv < market.OneMinute:
		return m.reach()
	case iv < market.OneHour:
		return m.reachMinute()
	case iv < market.OneDay:
		return m.now - m.now%day - day
	}
	return market.OneMonth.Open(market.OneMonth.Open(m.now) - 1)
}

// deliver says which kline is the first, or brings one of the owed klines, by load or as official, while it is in reach.
func (w *world) deliver(t *rapid.T, slot Slot, s *witness) {
	if s.young != 0 && s.young >= s.reachMinute() {
		w.e.First(slot, s.young)
		s.first, s.young = s.young, 0
		s.narrow()
		return
	}
	if len(s.owed) == 0 {
		return
	}
	u := s.owed[0]
	s.owed = s.owed[1:]
	if u.OpenTime < s.reachOf(u.Interval) || s.overruled(u.Interval, u.OpenTime) {
		return
	}
	if _, ok := s.officials[u.Interval][u.OpenTime]; ok {
		return
	}
	if rapid.Bool().Draw(t, "as official") {
		w.replace(t, slot, s, u.Interval, &u.Kline)
		return
	}
	s.view()
	s.official(u.Interval, &u.Kline)
	if !w.e.Load(slot, u.Interval, &u.Kline) {
		t.Fatalf("load %s %s refused", u.Interval, u.OpenTime)
	}
}

package engine

import (
	"math/big"
	"slices"

	"klined/fixed"
	"klined/market"
)

// model says slowly and plainly what an engine must show for one symbol: it keeps the facts (trades, official klines,
// marks) and sums each kline anew from them, with big.Int. It shares no code with the engine, and neither rule with
// package market.
type model struct {
	base  market.Time
	from  market.Time // Begin
	first market.Time // First, or what Fresh found
	fresh bool
	now   market.Time // the open time of the running base kline

	trades    map[market.Time][]market.Trade // by the open time of their base kline
	officials map[market.Interval]map[market.Time]sums
	marks     map[market.Time]bool // base klines with the mark
	spans     []market.Span

	known map[market.Time]sums // the base klines, as computed by view
	lost  map[market.Time]bool // base klines that were absent when they fell out of reach
	folds map[market.Series]map[market.Time]*sums
}

// sums is a kline of the model; nil stands for an absent one.
type sums struct {
	open, high, low, close      fixed.Value
	volume, quote, buy, buyQ    *big.Int
	count, first, last, tradeID int64
	settled, gap                bool
	foreign                     bool // official, or folded with what is: some ids are not ours
}

const (
	minute = market.Minute
	hour   = market.Hour
	day    = market.Day
)

func newModel(base market.Interval, from market.Time) *model {
	return &model{
		base: market.Time(base), from: from, now: from,
		trades: map[market.Time][]market.Trade{},
		officials: map[market.Interval]map[market.Time]sums{
			market.OneMinute: {}, market.OneHour: {}, market.OneDay: {},
		},
		marks: map[market.Time]bool{}, lost: map[market.Time]bool{},
	}
}

func (m *model) openOf(t market.Time) market.Time { return t - t%m.base }

// reach is the oldest open time that a late trade may have.
func (m *model) reach() market.Time {
	if m.base < minute {
		return m.now - m.now%minute - 5*minute
	}
	return m.reachMinute()
}

func (m *model) reachMinute() market.Time { return m.now - m.now%hour - hour }

// advance lets base klines open up to the one that contains t; each takes the mark as it opens.
func (m *model) advance(t market.Time) {
	for m.now+m.base <= t {
		m.now += m.base
		m.marks[m.now] = m.lacks(m.now)
	}
}

func (m *model) lacks(open market.Time) bool {
	return slices.ContainsFunc(m.spans, func(s market.Span) bool { return s.From < open+m.base && s.To > open })
}

func (m *model) apply(t market.Trade) Applied {
	if t.Time < m.from {
		return Before
	}
	m.advance(t.Time)
	open := m.openOf(t.Time)
	_, settled := m.officials[market.OneMinute][open]
	switch {
	case open < m.now && open < m.reach():
		return TooLate
	case open < m.now && m.base == minute && settled:
		return Settled
	case open < m.now && t.Qty == 0:
		return InTime
	}
	m.trades[open] = append(m.trades[open], t)
	if t.Qty != 0 {
		m.exists(open, open+m.base)
	}
	if open < m.now {
		return Late
	}
	return InTime
}

func (m *model) exists(open, end market.Time) {
	if m.fresh || end <= m.first {
		m.fresh, m.first = false, open
	}
	m.narrow()
}

// narrow says that nothing is before the first trade in a first minute that may still change.
func (m *model) narrow() {
	for open := m.first; open < m.first-m.first%minute+minute; open += m.base {
		if open >= m.reach() && m.sum(m.trades[open]).count > 0 {
			m.first = open
			return
		}
	}
}

// mark sets the marks of what is still in reach.
func (m *model) mark(spans []market.Span) {
	m.spans = spans
	for open := max(m.reachMinute(), m.from); open <= m.now; open += m.base {
		m.marks[open] = m.lacks(open)
	}
}

// official takes an official kline, which brings no ids: ours stay. Call advance to its open time and view before.
func (m *model) official(iv market.Interval, k *market.Kline) {
	s := sumsOf(k)
	if ours, ok := m.partial(iv, k.OpenTime); ok {
		if s.count != 0 {
			s.first, s.last = ours.first, ours.last
		}
		s.tradeID = ours.tradeID
	}
	if iv == market.OneMinute {
		m.exists(k.OpenTime, k.OpenTime+minute)
		if m.base == minute {
			s.tradeID = max(s.tradeID, m.sum(m.trades[k.OpenTime]).tradeID)
			m.advance(k.OpenTime + minute)
		}
	}
	m.officials[iv][k.OpenTime] = s
}

// partial is the kline of iv at open as far as its parts follow one another.
func (m *model) partial(iv market.Interval, open market.Time) (sums, bool) {
	if k, ok := m.complete(iv, open); ok {
		return *k, true
	}
	if market.Time(iv) == m.base {
		k, ok := m.known[open]
		return k, ok
	}
	below := m.below(iv)
	var parts []sums
	for at := max(open, below.Open(m.first)); at < iv.Next(open); at = below.Next(at) {
		part, ok := m.complete(below, at)
		if !ok {
			break
		}
		parts = append(parts, *part)
	}
	return foldSums(parts), len(parts) > 0
}

// view computes the base klines anew, from Begin to the running one.
func (m *model) view() {
	m.known, m.folds = map[market.Time]sums{}, map[market.Series]map[market.Time]*sums{}
	for open := m.from; open <= m.now; open += m.base {
		if official, ok := m.officials[market.OneMinute][open]; ok && m.base == minute {
			m.known[open] = official
			continue
		}
		k := m.sum(m.trades[open])
		if k.count == 0 {
			price, ok := m.carried(open)
			if !ok || m.lost[open] {
				m.lost[open] = open < m.reach()
				continue
			}
			k.open, k.high, k.low, k.close = price, price, price, price
		}
		k.gap = m.marks[open]
		m.known[open] = k
	}
}

// carried is the price before open: an official close where there is one, the shortest first; else ours.
func (m *model) carried(open market.Time) (fixed.Value, bool) {
	for _, iv := range []market.Interval{market.OneMinute, market.OneHour, market.OneDay} {
		if k, ok := m.officials[iv][open-market.Time(iv)]; ok && open%market.Time(iv) == 0 {
			return k.close, true
		}
	}
	k, ok := m.known[open-m.base]
	return k.close, ok
}

// sum adds trades: open and close by the ids of their fills.
func (m *model) sum(trades []market.Trade) sums {
	k := emptySums()
	for _, t := range trades {
		k.tradeID = max(k.tradeID, t.ID)
		if t.Qty == 0 {
			continue
		}
		if k.count == 0 {
			k.high, k.low = t.Price, t.Price
		}
		if k.count == 0 || t.FirstID < k.first {
			k.open, k.first = t.Price, t.FirstID
		}
		if k.count == 0 || t.LastID > k.last {
			k.close, k.last = t.Price, t.LastID
		}
		k.high, k.low = max(k.high, t.Price), min(k.low, t.Price)
		k.count += t.LastID - t.FirstID + 1
		qty := new(big.Int).Mul(big.NewInt(int64(t.Qty)), big.NewInt(1e8))
		quote := new(big.Int).Mul(big.NewInt(int64(t.Qty)), big.NewInt(int64(t.Price)))
		k.volume.Add(k.volume, qty)
		k.quote.Add(k.quote, quote)
		if t.TakerBuy {
			k.buy.Add(k.buy, qty)
			k.buyQ.Add(k.buyQ, quote)
		}
	}
	return k
}

// complete is the kline of iv at open, if it is over and no part of it is absent.
func (m *model) complete(iv market.Interval, open market.Time) (*sums, bool) {
	series := market.Series{Interval: iv}
	if m.folds[series] == nil {
		m.folds[series] = map[market.Time]*sums{}
	}
	k, ok := m.folds[series][open]
	if !ok {
		k = m.fold(iv, open)
		m.folds[series][open] = k
	}
	return k, k != nil
}

func (m *model) fold(iv market.Interval, open market.Time) *sums {
	if k, ok := m.officials[iv][open]; ok {
		return &k
	}
	if market.Time(iv) == m.base {
		k, ok := m.known[open]
		if !ok || open >= m.now {
			return nil
		}
		return &k
	}
	below := m.below(iv)
	var parts []sums
	for at := max(open, below.Open(m.first)); at < iv.Next(open); at = below.Next(at) {
		part, ok := m.complete(below, at)
		if !ok {
			return nil
		}
		parts = append(parts, *part)
	}
	if len(parts) == 0 {
		return nil
	}
	k := foldSums(parts)
	return &k
}

// running is the kline of iv that contains the running base kline, with it; over where the exchange has closed it already.
func (m *model) running(iv market.Interval) (k sums, over, ok bool) {
	open := iv.Open(m.now)
	if k, ok := m.complete(iv, open); ok {
		return *k, true, true
	}
	if market.Time(iv) == m.base {
		k, ok := m.known[m.now]
		return k, false, ok
	}
	below := m.below(iv)
	var parts []sums
	for at := max(open, below.Open(m.first)); at <= m.now; at = below.Next(at) {
		part, ok := m.complete(below, at)
		if ok {
			parts = append(parts, *part)
			continue
		}
		if at != below.Open(m.now) {
			return sums{}, false, false
		}
		last, _, ok := m.running(below)
		if !ok {
			return sums{}, false, false
		}
		parts = append(parts, last)
	}
	return foldSums(parts), false, len(parts) > 0
}

// below is what iv is folded from. It matters only for what official klines stand in for.
func (m *model) below(iv market.Interval) market.Interval {
	switch {
	case iv > market.OneDay:
		return market.OneDay
	case iv > market.OneHour:
		return market.OneHour
	case iv > market.OneMinute:
		return market.OneMinute
	}
	return market.Interval(m.base)
}

// foldSums joins klines that follow one another.
func foldSums(parts []sums) sums {
	k := emptySums()
	k.settled = true
	for i, p := range parts {
		k.settled, k.gap, k.foreign = k.settled && p.settled, k.gap || p.gap, k.foreign || p.foreign
		k.tradeID = max(k.tradeID, p.tradeID)
		switch {
		case i == 0 || k.count == 0 && p.count > 0:
			k.open, k.high, k.low, k.close, k.first, k.last = p.open, p.high, p.low, p.close, p.first, p.last
		case p.count > 0:
			k.high, k.low, k.close, k.last = max(k.high, p.high), min(k.low, p.low), p.close, p.last
		}
		k.count += p.count
		k.volume.Add(k.volume, p.volume)
		k.quote.Add(k.quote, p.quote)
		k.buy.Add(k.buy, p.buy)
		k.buyQ.Add(k.buyQ, p.buyQ)
	}
	return k
}

func emptySums() sums {
	return sums{volume: new(big.Int), quote: new(big.Int), buy: new(big.Int), buyQ: new(big.Int), first: -1, last: -1, tradeID: -1}
}

func sumsOf(k *market.Kline) sums {
	return sums{
		open: k.Open, high: k.High, low: k.Low, close: k.Close, count: k.TradeCount, first: k.FirstID, last: k.LastID,
		volume: bigOf(k.Volume), quote: bigOf(k.QuoteVolume), buy: bigOf(k.TakerBuyVolume), buyQ: bigOf(k.TakerBuyQuoteVolume),
		tradeID: k.LastTradeID, settled: true, foreign: true,
	}
}

// kline is s as the engine writes it.
func (s *sums) kline(open market.Time, state market.State, revision int32) market.Kline {
	return market.Kline{
		OpenTime: open, Open: s.open, High: s.high, Low: s.low, Close: s.close,
		Volume: fixedOf(s.volume), QuoteVolume: fixedOf(s.quote), TakerBuyVolume: fixedOf(s.buy), TakerBuyQuoteVolume: fixedOf(s.buyQ),
		TradeCount: s.count, FirstID: s.first, LastID: s.last, LastTradeID: s.tradeID,
		State: state, Revision: revision, Gap: s.gap,
	}
}

func bigOf(s fixed.Sum) *big.Int {
	n := new(big.Int).Lsh(new(big.Int).SetUint64(s.Hi), 64)
	return n.Add(n, new(big.Int).SetUint64(s.Lo))
}

func fixedOf(n *big.Int) fixed.Sum {
	return fixed.Sum{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: n.Uint64()}
}

package feed

import (
	"sync"

	"klined/engine"
	"klined/market"
)

// settleFields are the nine values in which a kline of ours may differ from the venue's own.
var settleFields = [...]struct {
	name  string
	equal func(a, b *market.Kline) bool
}{
	{"open", func(a, b *market.Kline) bool { return a.Open == b.Open }},
	{"high", func(a, b *market.Kline) bool { return a.High == b.High }},
	{"low", func(a, b *market.Kline) bool { return a.Low == b.Low }},
	{"close", func(a, b *market.Kline) bool { return a.Close == b.Close }},
	{"volume", func(a, b *market.Kline) bool { return a.Volume == b.Volume }},
	{"quote_volume", func(a, b *market.Kline) bool { return a.QuoteVolume == b.QuoteVolume }},
	{"count", func(a, b *market.Kline) bool { return a.TradeCount == b.TradeCount }},
	{"taker_buy_volume", func(a, b *market.Kline) bool { return a.TakerBuyVolume == b.TakerBuyVolume }},
	{"taker_buy_quote_volume", func(a, b *market.Kline) bool { return a.TakerBuyQuoteVolume == b.TakerBuyQuoteVolume }},
}

// Settled is how closed minutes compared with the venue's own since the start. Marked ones are not compared: they say
// themselves that they are not whole.
type Settled struct {
	Compared uint64             `json:"compared"`
	Equal    uint64             `json:"equal"`  // in all nine values
	Shares   map[string]float64 `json:"shares"` // of those compared, equal in this value
}

// settling counts what minutes were compared, and where they differed.
type settling struct {
	mu              sync.Mutex
	compared, equal uint64
	differs         [len(settleFields)]uint64
}

// settleSaid settles a symbol's minutes that have closed after the frame had come that says what they are.
func (l *lane) settleSaid(slot engine.Slot, s *symbol) {
	for i := range s.said {
		k := &s.said[i]
		if _, ok := l.unsettled(slot, k.OpenTime); ok && l.believed(s, market.OneMinute, k) {
			l.settle(slot, s, k)
		}
	}
}

// unsettled is a closed minute of ours that a frame may settle. A marked one is not compared: that it is not whole is known.
func (l *lane) unsettled(slot engine.Slot, open market.Time) (ours market.Kline, ok bool) {
	ours, ok = l.engine.Kline(slot, market.OneMinute, open)
	return ours, ok && ours.State != market.StateSettled && !ours.Gap && l.ours(market.OneMinute, open)
}

// settle compares a closed minute of ours with the venue's own, as a frame has brought it, which then takes its place.
// Klines folded from it follow, and are settled when all their minutes are.
func (l *lane) settle(slot engine.Slot, s *symbol, k *market.Kline) {
	ours, ok := l.unsettled(slot, k.OpenTime)
	if !ok {
		return
	}
	l.f.compare(&ours, k)
	l.count(l.cause)
	l.engine.Replace(slot, market.OneMinute, k)
	l.count(causeSettle)
	l.endOfficial(slot, s)
	l.signal()
}

// compare counts in what ours differs from the venue's own.
func (f *Feed) compare(ours, official *market.Kline) {
	f.settling.mu.Lock()
	defer f.settling.mu.Unlock()
	f.settling.compared++
	result := "equal"
	for i := range settleFields {
		if !settleFields[i].equal(ours, official) {
			result = "replaced"
			f.settling.differs[i]++
			f.metrics.SettleDifference.WithLabelValues(settleFields[i].name).Inc()
		}
	}
	if result == "equal" {
		f.settling.equal++
	}
	f.metrics.KlinesSettled.WithLabelValues(result).Inc()
}

// settled is what was compared so far.
func (f *Feed) settled() Settled {
	f.settling.mu.Lock()
	defer f.settling.mu.Unlock()
	s := Settled{Compared: f.settling.compared, Equal: f.settling.equal, Shares: make(map[string]float64)}
	for i := range settleFields {
		if s.Compared > 0 {
			s.Shares[settleFields[i].name] = 1 - float64(f.settling.differs[i])/float64(s.Compared)
		}
	}
	return s
}

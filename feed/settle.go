package feed

import (
	"klined/engine"
	"klined/market"
)

// Settled is how klines compared with the venue's own, each for the last "hour", the last "day" and since the "start".
// Marked ones are not compared: they say themselves that they are not whole.
type Settled struct {
	AtOnce  map[string]Compared `json:"at_once"` // closed minutes as they were before the venue's own took their place
	Checked map[string]Compared `json:"checked"` // settled klines that were read again
}

// settling is what was compared.
type settling struct{ atOnce, checked tally }

// What became of a minute of ours that the venue's own settled.
const (
	settledEqual    = "equal"
	settledReplaced = "replaced"
)

// Why one of the venue's own klines is not believed.
const (
	doubtEarly  = "early"       // it is not over
	doubtRules  = "rules"       // it breaks its own rules
	doubtTrades = "trades"      // it leaves out a whole trade of ours
	doubtRead   = "unconfirmed" // REST brought it, ours is another, and no second read has said the same
)

// settleSaid settles a symbol's minutes that have closed after the frame had come that says what they are.
func (l *lane) settleSaid(slot engine.Slot, s *symbol) {
	for i := range s.said {
		k := &s.said[i]
		if _, ok := l.unsettled(slot, k.OpenTime); ok && l.doubts(s, market.OneMinute, k) == "" {
			l.replace(slot, market.OneMinute, k)
			l.signal()
		}
	}
}

// unsettled is a closed minute of ours that the venue's own may settle. A marked one is not compared: that it is not whole
// is known.
func (l *lane) unsettled(slot engine.Slot, open market.Time) (ours market.Kline, ok bool) {
	ours, ok = l.engine.Kline(slot, market.OneMinute, open)
	return ours, ok && ours.State != market.StateSettled && !ours.Gap && l.symbols[slot].ours(market.OneMinute, open)
}

// compare counts in what a closed minute of ours differs from the venue's own. Both are kept where they differ, though ours had
// been settled. What is longer is not compared: its minutes are.
func (l *lane) compare(d market.Difference) {
	if d.Interval != market.OneMinute {
		return
	}
	values := market.Differing(&d.Ours, &d.Official)
	if values != 0 {
		l.differ = append(l.differ, d)
	}
	if d.Ours.State == market.StateSettled {
		return
	}
	l.f.settling.atOnce.add(values)
	for i, name := range market.ValueNames {
		if values>>i&1 != 0 {
			l.f.metrics.SettleDifference.WithLabelValues(name).Inc()
		}
	}
	result := settledEqual
	if values != 0 {
		result = settledReplaced
	}
	l.f.metrics.KlinesSettled.WithLabelValues(result).Inc()
}

// doubted counts that one of the venue's own klines was not believed.
func (f *Feed) doubted(why string) { f.metrics.SettleDoubted.WithLabelValues(why).Inc() }

// settled is what was compared so far.
func (f *Feed) settled() Settled {
	return Settled{AtOnce: f.settling.atOnce.within(), Checked: f.settling.checked.within()}
}

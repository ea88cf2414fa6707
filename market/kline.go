package market

import (
	"cmp"
	"sort"
	"strconv"

	"klined/fixed"
)

// State is a kline's standing. The zero value is StateAbsent: not known, which is not the same as empty.
type State uint8

// The states, in the order a kline passes through them.
const (
	StateAbsent  State = iota // not known here
	StateOpen                 // its interval is running
	StateClosed               // ours, closed at the boundary
	StateSettled              // equal to the exchange's own kline, or replaced by it
)

// String is the state's word.
func (s State) String() string {
	return [...]string{"absent", "open", "closed", "settled"}[s]
}

// Kline is the open, high, low, close and volumes of one symbol over one interval. Where TradeCount is 0 its prices
// are only carried: all four are the close before it.
type Kline struct {
	OpenTime            Time
	Open                fixed.Value
	High                fixed.Value
	Low                 fixed.Value
	Close               fixed.Value
	Volume              fixed.Sum // base asset
	QuoteVolume         fixed.Sum // quote asset
	TakerBuyVolume      fixed.Sum // base asset
	TakerBuyQuoteVolume fixed.Sum // quote asset
	TradeCount          int64     // fills: Σ (LastID − FirstID + 1) of its trades
	FirstID             int64     // first fill id, −1 where none or unknown
	LastID              int64     // last fill id, −1 where none or unknown
	LastTradeID         int64     // its last Trade.ID, −1 where none or unknown
	Revision            int32     // how often it changed after it was closed
	State               State
	Gap                 bool // trades are known to be missing
}

// EmptyKline is the kline without trades at open, its prices carried.
func EmptyKline(open Time, carried fixed.Value) Kline {
	return Kline{
		OpenTime: open, Open: carried, High: carried, Low: carried, Close: carried,
		FirstID: -1, LastID: -1, LastTradeID: -1, State: StateOpen,
	}
}

// ValueNames are the nine values that the exchange publishes of a kline, besides its times.
var ValueNames = [...]string{"open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume", "taker_buy_quote_volume"}

// Differing is the values in which a and b differ: bit i stands for ValueNames[i].
func Differing(a, b *Kline) (values uint16) {
	for i, equal := range [len(ValueNames)]bool{a.Open == b.Open, a.High == b.High, a.Low == b.Low, a.Close == b.Close, a.Volume == b.Volume,
		a.QuoteVolume == b.QuoteVolume, a.TradeCount == b.TradeCount, a.TakerBuyVolume == b.TakerBuyVolume,
		a.TakerBuyQuoteVolume == b.TakerBuyQuoteVolume} {
		if !equal {
			values |= 1 << i
		}
	}
	return values
}

// SameValues reports whether a and b agree in all nine values.
func SameValues(a, b *Kline) bool { return Differing(a, b) == 0 }

// ValueText is the value ValueNames[i] of k, as the exchange writes it of that symbol.
func (k *Kline) ValueText(i int, s *Symbol) string {
	switch i {
	case 0, 1, 2, 3:
		price := [...]fixed.Value{k.Open, k.High, k.Low, k.Close}[i]
		return string(price.Append(nil, s.PriceDigits))
	case 4:
		return string(k.Volume.Append(nil, s.QtyDigits))
	case 5:
		return string(k.QuoteVolume.Append(nil, s.QuoteDigits()))
	case 6:
		return strconv.FormatInt(k.TradeCount, 10)
	case 7:
		return string(k.TakerBuyVolume.Append(nil, s.QtyDigits))
	}
	return string(k.TakerBuyQuoteVolume.Append(nil, s.QuoteDigits()))
}

// Difference is a closed kline of ours, and the exchange's own that took its place because its values are others.
type Difference struct {
	Series
	Ours, Official Kline
}

// Better reports whether version a of a kline wins over version b: settled over ours, then the higher Revision, then
// the one without Gap. Of two equal ones neither wins.
func Better(a, b *Kline) bool {
	if a.State != b.State {
		return a.State > b.State
	}
	if a.Revision != b.Revision {
		return a.Revision > b.Revision
	}
	return !a.Gap && b.Gap
}

// Search is where the kline that opens at open stands in rows, which are by rising open time, or where it would stand.
func Search(rows []Kline, open Time) (at int, found bool) {
	return sort.Find(len(rows), func(i int) int { return cmp.Compare(open, rows[i].OpenTime) })
}

// Merge joins two parts of one base kline: open from the part with the smaller first id, close from the part with the
// larger last id, high and low as maximum and minimum, volumes and count added, Gap where either has it. A part
// without trades changes nothing. Revision and State are a's.
func Merge(a, b Kline) Kline {
	gap := a.Gap || b.Gap
	switch {
	case b.TradeCount == 0:
		a.Gap, a.LastTradeID = gap, max(a.LastTradeID, b.LastTradeID)
		return a
	case a.TradeCount == 0:
		b.OpenTime, b.Revision, b.State, b.Gap = a.OpenTime, a.Revision, a.State, gap
		b.LastTradeID = max(a.LastTradeID, b.LastTradeID)
		return b
	}
	first, last := &a, &a
	if b.FirstID < a.FirstID {
		first = &b
	}
	if b.LastID > a.LastID {
		last = &b
	}
	return join(a, b, first, last)
}

// Fold joins klines of different open times into one that begins with the earlier: open from the earliest that has
// trades, close from the latest that has trades, high and low as maximum and minimum, volumes and count added, Gap
// where either has it. Of klines without trades the earliest's carried price stays. The result is settled where both
// are, and absent where either is: what is absent is not empty. Revision is a's. Neighbours may be folded in any
// grouping, either way round; what lies between two klines must have been folded into one of them before.
func Fold(a, b Kline) Kline {
	if a.State == StateAbsent || b.State == StateAbsent {
		return Kline{OpenTime: min(a.OpenTime, b.OpenTime), FirstID: -1, LastID: -1, LastTradeID: -1, Revision: a.Revision}
	}
	first, last := &a, &b
	if b.OpenTime < a.OpenTime {
		first, last = &b, &a
	}
	var k Kline
	switch {
	case last.TradeCount == 0:
		k = *first
	case first.TradeCount == 0:
		k = *last
	default:
		k = join(a, b, first, last)
	}
	k.OpenTime, k.Revision, k.State, k.Gap = first.OpenTime, a.Revision, min(a.State, b.State), a.Gap || b.Gap
	k.LastTradeID = max(a.LastTradeID, b.LastTradeID)
	return k
}

// FoldAll folds klines, oldest first and one following the other, into those of the longer interval iv.
func FoldAll(iv Interval, parts []Kline) []Kline {
	var folded []Kline
	for _, k := range parts {
		open := iv.Open(k.OpenTime)
		if n := len(folded); n > 0 && folded[n-1].OpenTime == open {
			folded[n-1] = Fold(folded[n-1], k)
			continue
		}
		k.OpenTime = open
		folded = append(folded, k)
	}
	return folded
}

// join adds what adds and takes open and ids from first and last; both have trades.
func join(a, b Kline, first, last *Kline) Kline {
	return Kline{
		OpenTime:            min(a.OpenTime, b.OpenTime),
		Open:                first.Open,
		High:                max(a.High, b.High),
		Low:                 min(a.Low, b.Low),
		Close:               last.Close,
		Volume:              a.Volume.Add(b.Volume),
		QuoteVolume:         a.QuoteVolume.Add(b.QuoteVolume),
		TakerBuyVolume:      a.TakerBuyVolume.Add(b.TakerBuyVolume),
		TakerBuyQuoteVolume: a.TakerBuyQuoteVolume.Add(b.TakerBuyQuoteVolume),
		TradeCount:          a.TradeCount + b.TradeCount,
		FirstID:             first.FirstID,
		LastID:              last.LastID,
		LastTradeID:         max(a.LastTradeID, b.LastTradeID),
		Revision:            a.Revision,
		State:               a.State,
		Gap:                 a.Gap || b.Gap,
	}
}

// Add merges one trade into k, in place: Merge with a kline of that trade alone.
func (k *Kline) Add(t *Trade) {
	if t.Qty == 0 {
		k.LastTradeID = max(k.LastTradeID, t.ID)
		return
	}
	volume, quote := t.Qty.Sum(), fixed.Mul(t.Price, t.Qty)
	if k.TradeCount == 0 {
		k.Open, k.High, k.Low, k.Close = t.Price, t.Price, t.Price, t.Price
		k.FirstID, k.LastID = t.FirstID, t.LastID
	} else {
		k.High, k.Low = max(k.High, t.Price), min(k.Low, t.Price)
		if t.LastID > k.LastID {
			k.Close, k.LastID = t.Price, t.LastID
		}
		if t.FirstID < k.FirstID {
			k.Open, k.FirstID = t.Price, t.FirstID
		}
	}
	k.LastTradeID = max(k.LastTradeID, t.ID)
	k.Volume, k.QuoteVolume = k.Volume.Add(volume), k.QuoteVolume.Add(quote)
	if t.TakerBuy {
		k.TakerBuyVolume, k.TakerBuyQuoteVolume = k.TakerBuyVolume.Add(volume), k.TakerBuyQuoteVolume.Add(quote)
	}
	k.TradeCount += t.LastID - t.FirstID + 1
}

// Plausible reports whether a kline of the exchange keeps its own rules: low ≤ open, close ≤ high, taker part ≤ whole,
// trades where there is volume and none where there is not.
func (k *Kline) Plausible() bool {
	return k.Low <= min(k.Open, k.Close) && max(k.Open, k.Close) <= k.High &&
		k.TakerBuyVolume.Cmp(k.Volume) <= 0 && k.TakerBuyQuoteVolume.Cmp(k.QuoteVolume) <= 0 &&
		k.TradeCount >= 0 && (k.TradeCount == 0) == k.Volume.IsZero()
}

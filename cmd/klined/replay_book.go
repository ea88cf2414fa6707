package main

import (
	"fmt"
	"slices"
	"strings"

	"klined/market"
)

// bookKey tells books apart: a symbol's aggTrades and its trades never mix.
type bookKey struct {
	symbol string
	source market.Source
}

// book sums the trades of one symbol and source. A kline is a sum: the order in which the trades come does not matter.
type book struct {
	bookKey
	base        market.Interval
	klines      map[market.Time]*market.Kline // of base, by open time
	last        *market.Kline                 // the one that took the last trade; it ends before next
	next        market.Time
	seen        idSet
	trades      int64
	duplicates  int64
	empty       int64 // trades that take their id and add nothing
	priceDigits int
	qtyDigits   int
}

func newBook(key bookKey, base market.Interval) *book {
	return &book{bookKey: key, base: base, klines: make(map[market.Time]*market.Kline)}
}

// take adds a trade, unless its id has been taken.
func (b *book) take(t *market.Trade) {
	if !b.seen.add(t.ID) {
		b.duplicates++
		return
	}
	b.trades++
	if t.Qty == 0 {
		b.empty++
	}
	if b.last == nil || t.Time < b.last.OpenTime || t.Time >= b.next {
		b.turn(t.Time)
	}
	b.last.Add(t)
}

// turn makes the kline that contains t the last one.
func (b *book) turn(t market.Time) {
	open := b.base.Open(t)
	k := b.klines[open]
	if k == nil {
		empty := market.EmptyKline(open, 0)
		k = &empty
		b.klines[open] = k
	}
	b.last, b.next = k, b.base.Next(open)
}

// written takes note of how many decimals a trade was written with.
func (b *book) written(price, qty int) {
	b.priceDigits, b.qtyDigits = max(b.priceDigits, price), max(b.qtyDigits, qty)
}

// fold gives the klines of iv that have trades, by open time; iv is a multiple of the base.
func (b *book) fold(iv market.Interval) []market.Kline {
	opens := make([]market.Time, 0, len(b.klines))
	for open, k := range b.klines {
		if k.TradeCount > 0 {
			opens = append(opens, open)
		}
	}
	slices.Sort(opens)
	var folded []market.Kline
	for _, open := range opens {
		k := *b.klines[open]
		k.OpenTime = iv.Open(open)
		if n := len(folded); n > 0 && folded[n-1].OpenTime == k.OpenTime {
			k.OpenTime = open
			folded[n-1] = market.Fold(folded[n-1], k)
		} else {
			folded = append(folded, k)
		}
	}
	return folded
}

// fills is how many of the exchange's trades the book's records stand for.
func (b *book) fills() int64 {
	var n int64
	for _, k := range b.klines {
		n += k.TradeCount
	}
	return n
}

// before reports whether the book counts, and not the other one of its symbol. Trades are the exact ones, but they may be of a
// part of the time only. These count where each kline that the aggTrades have has trades, and they are nearly all that the aggTrades
// stand for: 99 in 100, for aggTrades stand for burnt ids, too.
func (b *book) before(other *book) bool {
	if b.source == market.SourceAggTrade {
		return !other.before(b)
	}
	for open, k := range other.klines {
		if own := b.klines[open]; k.TradeCount > 0 && (own == nil || own.TradeCount == 0) {
			return false
		}
	}
	return 100*b.fills() >= 99*other.fills()
}

// reportBooks says what was dropped of all of them, and of each what is missing.
func reportBooks(books []*book, say func(format string, args ...any)) {
	var duplicates int64
	for _, b := range books {
		duplicates += b.duplicates
	}
	switch {
	case duplicates > 0 && len(books) == 1:
		say("%s: %s dropped", books[0].symbol, counted(duplicates, "duplicate"))
	case duplicates > 0:
		say("%s dropped, of %d symbols", counted(duplicates, "duplicate"), len(books))
	}
	for _, b := range books {
		b.report(say)
	}
}

// report says what adds nothing and what is missing. Trades that are none of the market (insurance fund, deleveraging, …) are read as of
// quantity 0. Ids of trades may be burnt: given by the exchange to none.
func (b *book) report(say func(format string, args ...any)) {
	why := "of quantity 0"
	if b.source == market.SourceTrade {
		why += " or none of the market"
	}
	if b.empty > 0 {
		say("%s: %s left out: %s", b.symbol, counted(b.empty, b.source.String()), why)
	}
	runs := b.seen.missing()
	if len(runs) == 0 {
		return
	}
	const shown = 10
	var missing int64
	var list []string
	for i, r := range runs {
		missing += r.to - r.from + 1
		switch {
		case i >= shown:
		case r.from == r.to:
			list = append(list, fmt.Sprint(r.from))
		default:
			list = append(list, fmt.Sprintf("%d-%d", r.from, r.to))
		}
	}
	if len(runs) > shown {
		list = append(list, fmt.Sprintf("and %d more runs", len(runs)-shown))
	}
	orBurnt := ""
	if b.source == market.SourceTrade {
		orBurnt = " or burnt"
	}
	say("%s: %s missing%s: %s", b.symbol, counted(missing, "id"), orBurnt, strings.Join(list, ", "))
}

// counted is "1 id" or "2 ids".
func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// baseOf is the longest interval that all of intervals are folds of: their greatest common divisor. Days divide
// months, weeks and 3 days, and all of these are whole days.
func baseOf(intervals []market.Interval) market.Interval {
	base := intervals[0]
	for _, iv := range intervals[1:] {
		for iv != 0 {
			base, iv = iv, base%iv
		}
	}
	return base
}

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"klined/market"
)

// interval is the length of a kline in the exchange's calendar: a fixed number of milliseconds counted from an
// anchor, or a calendar month.
type interval struct {
	name   string
	length market.Time // 0 for a month
	anchor market.Time
}

// The anchors of what does not count from 1970-01-01.
const (
	mondayAnchor   = 345600000     // 1970-01-05, a Monday
	threeDayAnchor = 1704067200000 // 2024-01-01
)

// oneMinute is what everything longer is summed from.
var oneMinute = interval{name: "1m", length: market.Minute}

// exchangeIntervals are those that the exchange serves, shortest first.
var exchangeIntervals = [...]string{"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"}

// parseInterval reads one of the exchange's intervals, or a shorter one of ours: Ns and Nm where N divides 60, Nh
// where N divides 24.
func parseInterval(name string) (interval, error) {
	switch name {
	case "1d":
		return interval{name: name, length: market.Day}, nil
	case "3d":
		return interval{name, 3 * market.Day, threeDayAnchor}, nil
	case "1w":
		return interval{name, 7 * market.Day, mondayAnchor}, nil
	case "1M":
		return interval{name: name}, nil
	case "":
		return interval{}, fmt.Errorf("interval %q: want one as 15m", name)
	}
	n, err := strconv.Atoi(name[:len(name)-1])
	if err != nil || n < 1 || strconv.Itoa(n) != name[:len(name)-1] {
		return interval{}, fmt.Errorf("interval %q: want one as 15m", name)
	}
	unit, of := market.Time(0), 0
	switch name[len(name)-1] {
	case 's':
		unit, of = market.Second, 60
	case 'm':
		unit, of = market.Minute, 60
	case 'h':
		unit, of = market.Hour, 24
	}
	if of == 0 || n >= of || of%n != 0 {
		return interval{}, fmt.Errorf("interval %q: there is none", name)
	}
	return interval{name: name, length: market.Time(n) * unit}, nil
}

// exchangeInterval reads an interval that REST serves.
func exchangeInterval(name string) (interval, bool) {
	for _, n := range exchangeIntervals {
		if n == name {
			iv, err := parseInterval(name)
			return iv, err == nil
		}
	}
	return interval{}, false
}

// open is the open time of the kline that holds t.
func (iv interval) open(t market.Time) market.Time {
	if iv.length == 0 {
		y, m, _ := t.Std().Date()
		return market.TimeOf(time.Date(y, m, 1, 0, 0, 0, 0, time.UTC))
	}
	into := (t - iv.anchor) % iv.length
	if into < 0 {
		into += iv.length
	}
	return t - into
}

// next is the open time of the kline after the one that holds t.
func (iv interval) next(t market.Time) market.Time {
	if iv.length == 0 {
		y, m, _ := t.Std().Date()
		return market.TimeOf(time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC))
	}
	return iv.open(t) + iv.length
}

// back is the open time n klines before the one that holds t.
func (iv interval) back(t market.Time, n int) market.Time {
	if iv.length == 0 {
		y, m, _ := t.Std().Date()
		return market.TimeOf(time.Date(y, m-time.Month(n), 1, 0, 0, 0, 0, time.UTC))
	}
	return iv.open(t) - market.Time(n)*iv.length
}

// ceil is the first open time at or after t.
func (iv interval) ceil(t market.Time) market.Time {
	if open := iv.open(t); open < t {
		return iv.next(t)
	}
	return t
}

// number counts the klines of an interval from its anchor, months from the year 0.
func (iv interval) number(open market.Time) uint64 {
	if iv.length == 0 {
		y, m, _ := open.Std().Date()
		return uint64(y)*12 + uint64(m)
	}
	return uint64((open - iv.anchor) / iv.length)
}

// shorter reports whether iv is shorter than another.
func (iv interval) shorter(than interval) bool {
	return iv.length != 0 && (than.length == 0 || iv.length < than.length)
}

// rank orders the exchange's intervals by length.
func (iv interval) rank() int { return slices.Index(exchangeIntervals[:], iv.name) }

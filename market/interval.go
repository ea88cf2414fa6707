package market

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Interval is the length of a kline, in milliseconds; OneMonth stands for a calendar month. Longer Intervals compare
// greater. Only values that ParseInterval returns, or the constants, are Intervals.
type Interval int64

// The Intervals that the house is built on.
const (
	OneMinute = Interval(Minute)
	OneHour   = Interval(Hour)
	OneDay    = Interval(Day)
	ThreeDays = Interval(3 * Day)
	OneWeek   = Interval(7 * Day)
	OneMonth  = Interval(31 * Day) // the longest month; its klines open on the 1st
)

// Weeks open on Mondays; 3-day klines are counted from 2024-01-01T00:00:00Z.
const (
	firstMonday    = 4 * Day // 1970-01-05
	threeDayAnchor = 19723 * Day
)

// ExchangeIntervals are the fifteen that the exchange serves, shortest first
// (USDⓈ-M Futures, "Kline/Candlestick chart intervals").
func ExchangeIntervals() []Interval {
	const m, h = OneMinute, OneHour
	return []Interval{m, 3 * m, 5 * m, 15 * m, 30 * m, h, 2 * h, 4 * h, 6 * h, 8 * h, 12 * h, OneDay, ThreeDays, OneWeek, OneMonth}
}

// OnExchange reports whether the exchange serves iv.
func (iv Interval) OnExchange() bool {
	for _, e := range ExchangeIntervals() {
		if e == iv {
			return true
		}
	}
	return false
}

// ParseInterval reads a canonical name: Ns and Nm where N divides 60, Nh where N divides 24, 1d, 3d, 1w, 1M.
// The error of another spelling of the same length names the canonical one.
func ParseInterval(name string) (Interval, error) {
	switch name {
	case "1d":
		return OneDay, nil
	case "3d":
		return ThreeDays, nil
	case "1w":
		return OneWeek, nil
	case "1M":
		return OneMonth, nil
	}
	refuse := func(why string) (Interval, error) {
		return 0, fmt.Errorf("interval %q: %s", name, why)
	}
	if len(name) < 2 || strings.TrimLeft(name[:len(name)-1], "0123456789") != "" {
		return refuse("want a number and one of s, m, h, d, w, M, as in 15m")
	}
	n, err := strconv.ParseInt(name[:len(name)-1], 10, 32)
	if err != nil || n == 0 || name[0] == '0' {
		return refuse("the number must be 1 or more, without leading zeros")
	}
	var unit, within Time
	switch name[len(name)-1] {
	case 's':
		unit, within = Second, Minute
	case 'm':
		unit, within = Minute, Hour
	case 'h':
		unit, within = Hour, Day
	case 'd', 'w', 'M':
		return refuse("of days, weeks and months there are 1d, 3d, 1w and 1M")
	default:
		return refuse("want a number and one of s, m, h, d, w, M, as in 15m")
	}
	switch iv := Interval(Time(n) * unit); {
	case !iv.exists():
		return refuse(fmt.Sprintf("%d must divide %d", n, within/unit))
	case Time(iv) >= within:
		return refuse("write " + iv.String())
	default:
		return iv, nil
	}
}

// exists reports whether there is an Interval of that many milliseconds, months aside.
func (iv Interval) exists() bool {
	t := Time(iv)
	switch {
	case t < Minute:
		return t%Second == 0 && Minute%t == 0
	case t < Hour:
		return t%Minute == 0 && Hour%t == 0
	case t < Day:
		return t%Hour == 0 && Day%t == 0
	}
	return iv == OneDay || iv == ThreeDays || iv == OneWeek
}

// String is the canonical name: "1s", "15m", "1M".
func (iv Interval) String() string {
	switch {
	case iv == OneMonth:
		return "1M"
	case iv == OneWeek:
		return "1w"
	case Time(iv)%Day == 0:
		return strconv.FormatInt(int64(Time(iv)/Day), 10) + "d"
	case Time(iv)%Hour == 0:
		return strconv.FormatInt(int64(Time(iv)/Hour), 10) + "h"
	case Time(iv)%Minute == 0:
		return strconv.FormatInt(int64(Time(iv)/Minute), 10) + "m"
	}
	return strconv.FormatInt(int64(Time(iv)/Second), 10) + "s"
}

// Ordinal numbers the klines of iv along time without holes: the kline that contains t has Ordinal(t).
func (iv Interval) Ordinal(t Time) int64 {
	switch iv {
	case OneMonth:
		y, m, _ := t.Std().Date()
		return int64(y)*12 + int64(m) - 1
	case OneWeek:
		return floorDiv(t-firstMonday, Time(iv))
	case ThreeDays:
		return floorDiv(t-threeDayAnchor, Time(iv))
	}
	return floorDiv(t, Time(iv))
}

// OpenAt is the open time of the kline with that ordinal.
func (iv Interval) OpenAt(ordinal int64) Time {
	switch iv {
	case OneMonth:
		y, m := floorDiv(ordinal, 12), ordinal-12*floorDiv(ordinal, 12)
		return TimeOf(time.Date(int(y), time.Month(m+1), 1, 0, 0, 0, 0, time.UTC))
	case OneWeek:
		return Time(ordinal)*Time(iv) + firstMonday
	case ThreeDays:
		return Time(ordinal)*Time(iv) + threeDayAnchor
	}
	return Time(ordinal) * Time(iv)
}

// Open is the open time of the kline that contains t.
func (iv Interval) Open(t Time) Time { return iv.OpenAt(iv.Ordinal(t)) }

// Ceil is the first open time at or after t.
func (iv Interval) Ceil(t Time) Time {
	if open := iv.Open(t); open == t {
		return t
	}
	return iv.OpenAt(iv.Ordinal(t) + 1)
}

// Next is the open time after the kline that contains t: where that kline ends.
func (iv Interval) Next(t Time) Time { return iv.OpenAt(iv.Ordinal(t) + 1) }

// Count is the number of klines of iv that open within s.
func (iv Interval) Count(s Span) int64 {
	if s.Empty() {
		return 0
	}
	return iv.Ordinal(iv.Ceil(s.To)) - iv.Ordinal(iv.Ceil(s.From))
}

func floorDiv[T ~int64](a, b T) int64 {
	q := int64(a) / int64(b)
	if int64(a)%int64(b) < 0 {
		q--
	}
	return q
}

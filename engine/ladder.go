package engine

import (
	"fmt"
	"slices"

	"klined/market"
)

// rung is one interval's place in the ladder: what it is folded from, what is folded from it, and where its klines
// stand in a symbol's memory. Rungs never change after New.
type rung struct {
	interval market.Interval
	below    int   // the rung it is folded from; −1 for the base
	above    []int // the rungs folded from it
	offset   int   // of its first entry in symbol.entries
	size     int   // entries, a ring by ordinal
	shown    bool  // configured: its klines leave the engine
}

// How far back the engine keeps what it folds: so that a late trade or a replaced kline re-folds all that lies above.
const (
	keepBase    = 6 * market.Minute // sub-minute klines: the last five minutes and the running one
	keepMinutes = 2 * market.Hour   // the current and the previous hour
	keepHours   = 2 * market.Day    // the current and the previous day
	keepDays    = 62 * market.Day   // the current and the previous month
)

// ladder lays out the rungs of the configured intervals, shortest first. 1m, 1h and 1d always stand on it, for what is
// longer is folded from them; so does the base.
func ladder(intervals []market.Interval) ([]rung, error) {
	if len(intervals) == 0 {
		return nil, fmt.Errorf("no intervals")
	}
	base := baseOf(intervals)
	all := append(slices.Clone(intervals), base, market.OneMinute, market.OneHour, market.OneDay)
	slices.Sort(all)
	all = slices.Compact(all)
	rungs := make([]rung, len(all))
	offset := 0
	for i, iv := range all {
		r := rung{interval: iv, below: slices.Index(all, belowOf(iv, base)), offset: offset,
			size: sizeOf(iv), shown: slices.Contains(intervals, iv)}
		if r.below >= 0 {
			rungs[r.below].above = append(rungs[r.below].above, i)
		}
		rungs[i] = r
		offset += r.size
	}
	return rungs, nil
}

// baseOf is the interval that takes trades: the greatest common divisor of the sub-minute intervals, else 1m.
func baseOf(intervals []market.Interval) market.Interval {
	base := market.OneMinute
	for _, iv := range intervals {
		if iv < market.OneMinute {
			for a := iv; a != 0; {
				base, a = a, base%a
			}
		}
	}
	return base
}

// belowOf is the interval that iv is folded from; 0 for the base.
func belowOf(iv, base market.Interval) market.Interval {
	switch {
	case iv == base:
		return 0
	case iv <= market.OneMinute:
		return base
	case iv <= market.OneHour:
		return market.OneMinute
	case iv <= market.OneDay:
		return market.OneHour
	}
	return market.OneDay
}

// sizeOf is how many klines of iv are kept.
func sizeOf(iv market.Interval) int {
	keep := keepDays
	switch {
	case iv < market.OneMinute:
		keep = keepBase
	case iv <= market.OneHour:
		keep = keepMinutes
	case iv <= market.OneDay:
		keep = keepHours
	}
	if iv == market.OneHour {
		keep = keepHours
	}
	if iv == market.OneDay {
		keep = keepDays
	}
	return int((keep + market.Time(iv) - 1) / market.Time(iv))
}

package binance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"klined/market"
)

// archiveKline reads one row of the archive's files of klines into k, in the order of the columns:
//
//	open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore
//
// The error names the column. Ids are not in it.
func archiveKline(line []byte, iv market.Interval, k *market.Kline) error {
	var cells [12][]byte
	if splitCells(line, cells[:]) != len(cells) {
		return fmt.Errorf("%w, want %d: %.120q", errColumns, len(cells), line)
	}
	var row row
	open, closeTime := row.edges(cells[0], cells[6])
	*k = market.Kline{
		OpenTime: open, Open: row.value("open", cells[1]), High: row.value("high", cells[2]), Low: row.value("low", cells[3]),
		Close: row.value("close", cells[4]), Volume: row.sum("volume", cells[5]), QuoteVolume: row.sum("quote_volume", cells[7]),
		TradeCount: row.number("count", cells[8]), TakerBuyVolume: row.sum("taker_buy_volume", cells[9]),
		TakerBuyQuoteVolume: row.sum("taker_buy_quote_volume", cells[10]),
		FirstID:             -1, LastID: -1, LastTradeID: -1, State: market.StateSettled,
	}
	if row.err == nil && !onGrid(iv, open, closeTime) {
		return fmt.Errorf("%w: from %s to %s is not a kline of %s", ErrTime, cells[0], cells[6], iv)
	}
	return row.err
}

// edges reads a kline's first and last instant, both in milliseconds or both in microseconds.
func (r *row) edges(open, closeTime []byte) (first, last market.Time) {
	from, to := r.number("open_time", open), r.number("close_time", closeTime)
	if from >= microseconds && from%1000 == 0 && to%1000 == 999 {
		from, to = from/1000, to/1000
	}
	return market.Time(from), market.Time(to)
}

// archiveFaults counts the rows of a file that are left out.
type archiveFaults struct {
	unreadable    int
	misplaced     int // off the grid, or not of the file's span
	duplicate     int
	contradictory int
	first         string // what was noted first
}

func (f *archiveFaults) note(format string, args ...any) {
	if f.first == "" {
		f.first = fmt.Sprintf(format, args...)
	}
}

// archiveKlines reads a file, with a header or without: its klines that open within span, by open time.
func archiveKlines(file []byte, iv market.Interval, span market.Span) ([]market.Kline, archiveFaults) {
	var klines []market.Kline
	var faults archiveFaults
	number := 0
	for line := range bytes.Lines(file) {
		number++
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 || number == 1 && line[0]-'0' > 9 {
			continue
		}
		var k market.Kline
		err := archiveKline(line, iv, &k)
		if err == nil && (k.OpenTime < span.From || k.OpenTime >= span.To) {
			err = fmt.Errorf("%w: %s is not of this file", ErrTime, k.OpenTime)
		}
		switch {
		case err == nil:
			klines = append(klines, k)
			continue
		case errors.Is(err, ErrTime):
			faults.misplaced++
		default:
			faults.unreadable++
		}
		faults.note("line %d: %v", number, err)
	}
	return oneEach(klines, &faults), faults
}

// oneEach puts klines in order, in place, and leaves one of those of an open time where they are equal, none where they
// are not.
func oneEach(klines []market.Kline, faults *archiveFaults) []market.Kline {
	slices.SortStableFunc(klines, func(a, b market.Kline) int { return cmp.Compare(a.OpenTime, b.OpenTime) })
	kept := klines[:0]
	for len(klines) > 0 {
		k, n, equal := klines[0], 1, true
		for ; n < len(klines) && klines[n].OpenTime == k.OpenTime; n++ {
			equal = equal && klines[n] == k
		}
		klines = klines[n:]
		switch {
		case !equal:
			faults.contradictory += n
			faults.note("different rows of %s", k.OpenTime)
			continue
		case n > 1:
			faults.duplicate += n - 1
			faults.note("equal rows of %s", k.OpenTime)
		}
		kept = append(kept, k)
	}
	return kept
}

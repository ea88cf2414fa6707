package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"klined/market"
	"klined/store"
)

const exportHelp = `Writes stored klines to files or to stdout. A server may be running on the same store meanwhile: what it has on disk is
exported, which is what closed up to half a second ago.

csv is the exchange's archive format. Its rows name neither symbol nor interval, so that several series need a folder,
where each becomes a file like BTCUSDT-1m.csv (1M is written 1mo, as in the archive). jsonl and parquet name them, and
take several series into one file, one after the other. --out that ends in / or is a folder writes one file per series in
any format. A file under its name is whole, or it is not there.

Times are RFC 3339 (2026-09-01T12:00:00Z), dates (2026-09-01, from midnight UTC) or Unix milliseconds. Klines are taken that
open at or after --from and before --to.

Parquet's columns: symbol, interval, state (closed: ours; settled: the exchange's own): strings; open_time, close_time:
TIMESTAMP, milliseconds, UTC; open, high, low, close: DECIMAL(18,8); volume, taker_buy_volume: DECIMAL(38,8); quote_volume,
taker_buy_quote_volume: DECIMAL(38,16); count, first_id, last_id: INT64, ids NULL where unknown; gap: BOOLEAN, trades are known to
be missing; revision: INT32. What does not fit its column ends the export; nothing is rounded.

What is not complete in the store is reported on stderr: how many klines of a series are missing or may lack trades, and
the first of them.`

// exportOptions are the flags of export.
type exportOptions struct {
	dir       string
	symbols   []string // nil: all
	intervals []market.Interval
	from, to  market.Time // math.MinInt64, math.MaxInt64: as far as there are klines
	format    string
	out       string // "": stdout

	texts struct{ symbols, intervals, from, to string }
}

// newExportCommand is the command klined export.
func newExportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export",
		Short: "stored klines → CSV, JSON lines or Parquet",
		Long:  exportHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(); err != nil {
				return &usageError{err}
			}
			return export(cmd.Context(), &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.dir, "dir", "klined-data", "the store is in `DIR`")
	flags.StringVar(&o.texts.symbols, "symbols", "all", "export all symbols, or those of `LIST`: BTCUSDT,ETHUSDT")
	flags.StringVar(&o.texts.intervals, "intervals", "1m", "export the intervals of `LIST`")
	flags.StringVar(&o.texts.from, "from", "", "begin at `TIME` (the first kline)")
	flags.StringVar(&o.texts.to, "to", "", "end before `TIME` (after the last kline)")
	flags.StringVar(&o.format, "format", "csv", "`csv|jsonl|parquet`")
	flags.StringVar(&o.out, "out", "", "write `FILE`, or one file per series into a folder, DIR/ (stdout)")
	return cmd
}

// parse reads what the flags hold as text.
func (o *exportOptions) parse() (err error) {
	if o.symbols, err = parseSymbols(o.texts.symbols); err != nil {
		return err
	}
	if o.intervals, err = parseIntervals(o.texts.intervals); err != nil {
		return fmt.Errorf("--intervals: %w", err)
	}
	if o.from, err = parseInstant("from", o.texts.from, math.MinInt64); err != nil {
		return err
	}
	if o.to, err = parseInstant("to", o.texts.to, math.MaxInt64); err != nil {
		return err
	}
	if o.from >= o.to {
		return fmt.Errorf("--from %s is not before --to %s", o.texts.from, o.texts.to)
	}
	if !slices.Contains([]string{"csv", "jsonl", "parquet"}, o.format) {
		return fmt.Errorf("--format %q: want csv, jsonl or parquet", o.format)
	}
	return nil
}

// parseInstant reads a flag that is RFC 3339, a date or Unix milliseconds.
func parseInstant(flag, text string, absent market.Time) (market.Time, error) {
	if text == "" {
		return absent, nil
	}
	const lastMilli = 253402300799999 // of the year 9999
	if ms, err := strconv.ParseUint(text, 10, 63); err == nil && ms <= lastMilli {
		return market.Time(ms), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return market.TimeOf(t), nil
		}
	}
	return 0, fmt.Errorf("--%s %q: want 2026-09-01T12:00:00Z, 2026-09-01 or Unix milliseconds", flag, text)
}

// stored is a series to export, and what was found of it.
type stored struct {
	symbol   market.Symbol
	interval market.Interval
	span     market.Span // as asked; where nothing was asked, as far as its interval is stored
	held     market.Span // as far as its interval is stored

	rows        int64
	first, last market.Time   // of the rows
	missing     []market.Span // not known to be complete, in rising order
}

// export writes what o asks for.
func export(ctx context.Context, o *exportOptions, stdout, stderr io.Writer) error {
	r, err := store.OpenReader(o.dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	series, err := o.series(ctx, r)
	if err == nil {
		err = o.write(ctx, r, series, stdout)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("export stopped: %w", ctx.Err())
	}
	if err != nil {
		return err
	}
	o.report(series, stderr)
	return nil
}

// series is what to export, in the store's order of symbols; each must be there.
func (o *exportOptions) series(ctx context.Context, r *store.Reader) ([]*stored, error) {
	symbols := r.Symbols()
	if o.symbols != nil {
		var names []string
		for _, sym := range symbols {
			names = append(names, sym.Name)
		}
		for _, name := range o.symbols {
			if len(names) == 0 {
				return nil, fmt.Errorf("store %s has no symbol %q: it is empty", o.dir, name)
			}
			if !slices.Contains(names, name) {
				return nil, fmt.Errorf("store %s has no symbol %q%s", o.dir, name, nearest(name, names))
			}
		}
		symbols = slices.DeleteFunc(symbols, func(sym market.Symbol) bool { return !slices.Contains(o.symbols, sym.Name) })
	}
	held := make(map[market.Interval]market.Span)
	for _, iv := range o.intervals {
		if !slices.Contains(r.Intervals(), iv) {
			return nil, fmt.Errorf("store %s has no interval %s, but %s", o.dir, iv, intervalList(r.Intervals()))
		}
		var err error
		if held[iv], err = r.Held(ctx, iv); err != nil {
			return nil, err
		}
	}
	var all []*stored
	for _, sym := range symbols {
		for _, iv := range o.intervals {
			span := market.Span{From: o.from, To: o.to}
			if o.texts.from == "" {
				span.From = held[iv].From
			}
			if o.texts.to == "" {
				span.To = held[iv].To
			}
			all = append(all, &stored{symbol: sym, interval: iv, span: span, held: held[iv]})
		}
	}
	return all, nil
}

// partKlines is how many klines are in memory at once.
const partKlines = 20_000

// parts cuts a series' span: before what is stored, that in pieces of partKlines, and after it.
func (s *stored) parts(each func(market.Span) error) error {
	iv := s.interval
	for at := s.span.From; at < s.span.To; {
		end := s.span.To
		switch {
		case at < s.held.From:
			end = min(end, s.held.From)
		case at < s.held.To:
			end = min(end, iv.OpenAt(iv.Ordinal(iv.Ceil(at))+partKlines))
		}
		if err := each(market.Span{From: at, To: end}); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// copyTo writes the series' klines.
func (s *stored) copyTo(ctx context.Context, w klineWriter, r *store.Reader) error {
	if err := w.begin(s.symbol, s.interval); err != nil {
		return err
	}
	return s.parts(func(part market.Span) error {
		rows, missing, err := r.Read(ctx, market.Series{Symbol: s.symbol.ID, Interval: s.interval}, part)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			if s.rows == 0 {
				s.first = rows[0].OpenTime
			}
			s.rows, s.last = s.rows+int64(len(rows)), rows[len(rows)-1].OpenTime
		}
		for _, span := range missing {
			if n := len(s.missing); n > 0 && s.missing[n-1].To == span.From {
				s.missing[n-1].To = span.To
				continue
			}
			s.missing = append(s.missing, span)
		}
		return w.write(rows)
	})
}

// reportedSeries is how many series are reported in a line of their own.
const reportedSeries = 20

// report says of each series what is not complete.
func (o *exportOptions) report(series []*stored, stderr io.Writer) {
	if len(series) == 0 {
		fmt.Fprintf(stderr, "store %s is empty: no symbol has been in it\n", o.dir)
	}
	var lines []string
	for _, s := range series {
		if line := s.lacks(o.texts.from != "", o.texts.to != ""); line != "" {
			lines = append(lines, fmt.Sprintf("%s %s: %s\n", s.symbol.Name, s.interval, line))
		}
	}
	more := len(lines) - reportedSeries
	if more > 1 {
		lines = append(lines[:reportedSeries], fmt.Sprintf("… and %d series more\n", more))
	}
	fmt.Fprint(stderr, strings.Join(lines, ""))
}

// lacks says what of the series is not complete, "" where nothing is: of the span that was asked for, from its first kline
// where no beginning was asked for, to its last where no end was.
func (s *stored) lacks(from, to bool) string {
	span := s.span
	if !from {
		span.From = s.first
	}
	if !to {
		span.To = s.interval.Next(s.last)
	}
	var klines int64
	var first market.Span
	for _, part := range s.missing {
		if part = (market.Span{From: max(part.From, span.From), To: min(part.To, span.To)}); part.Empty() {
			continue
		}
		if klines == 0 {
			first = part
		}
		klines += s.interval.Count(part)
	}
	switch {
	case s.rows == 0 && !(from && to):
		return "no klines are stored"
	case klines == 0:
		return ""
	case klines == 1:
		return fmt.Sprintf("1 kline is missing or may lack trades: that of %s", first.From)
	}
	return fmt.Sprintf("%d klines are missing or may lack trades, first those from %s to %s", klines, first.From, first.To)
}

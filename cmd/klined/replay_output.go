package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"klined/fixed"
	"klined/market"
)

// klineHeader names the columns of the archive's kline CSV.
const klineHeader = "open_time,open,high,low,close,volume,close_time,quote_volume,count," +
	"taker_buy_volume,taker_buy_quote_volume,ignore\n"

// klineWriter writes klines into one file, series after series.
type klineWriter interface {
	begin(symbol market.Symbol, iv market.Interval) error // what is written from now on is of this series
	write(klines []market.Kline) error
	end() error // the file is whole, and still open
}

// klineRows writes lines of text, with the symbol's digits. A CSV takes one series, for its rows name none.
type klineRows struct {
	out      *bufio.Writer
	format   string // "csv", "jsonl"
	symbol   market.Symbol
	interval market.Interval
	row      []byte
}

func newKlineRows(out io.Writer, format string) *klineRows {
	return &klineRows{out: bufio.NewWriterSize(out, 64<<10), format: format}
}

// begin writes a header where the format has one.
func (w *klineRows) begin(symbol market.Symbol, iv market.Interval) (err error) {
	w.symbol, w.interval = symbol, iv
	if w.format == "csv" {
		_, err = w.out.WriteString(klineHeader)
	}
	return err
}

func (w *klineRows) write(klines []market.Kline) error {
	for i := range klines {
		if w.format == "csv" {
			w.row = w.appendCSV(w.row[:0], &klines[i])
		} else {
			w.row = w.appendJSON(w.row[:0], &klines[i])
		}
		if _, err := w.out.Write(w.row); err != nil {
			return err
		}
	}
	return nil
}

func (w *klineRows) end() error { return w.out.Flush() }

// appendCSV writes a row of the archive's kline CSV; the last column is always 0.
func (w *klineRows) appendCSV(dst []byte, k *market.Kline) []byte {
	comma := func() { dst = append(dst, ',') }
	price := func(v fixed.Value) { comma(); dst = v.Append(dst, w.symbol.PriceDigits) }
	sum := func(s fixed.Sum, digits int) { comma(); dst = s.Append(dst, digits) }
	number := func(n int64) { comma(); dst = strconv.AppendInt(dst, n, 10) }

	dst = strconv.AppendInt(dst, int64(k.OpenTime), 10)
	price(k.Open)
	price(k.High)
	price(k.Low)
	price(k.Close)
	sum(k.Volume, w.symbol.QtyDigits)
	number(int64(w.interval.Next(k.OpenTime) - 1))
	sum(k.QuoteVolume, w.symbol.QuoteDigits())
	number(k.TradeCount)
	sum(k.TakerBuyVolume, w.symbol.QtyDigits)
	sum(k.TakerBuyQuoteVolume, w.symbol.QuoteDigits())
	return append(dst, ",0\n"...)
}

// appendJSON writes a kline as one line of JSON: the CSV's columns by name, behind symbol and interval. Amounts are
// strings, as the exchange writes them.
func (w *klineRows) appendJSON(dst []byte, k *market.Kline) []byte {
	name := func(key string) { dst = append(append(append(dst, `,"`...), key...), `":`...) }
	number := func(key string, n int64) { name(key); dst = strconv.AppendInt(dst, n, 10) }
	price := func(key string, v fixed.Value) {
		name(key)
		dst = append(v.Append(append(dst, '"'), w.symbol.PriceDigits), '"')
	}
	sum := func(key string, s fixed.Sum, digits int) {
		name(key)
		dst = append(s.Append(append(dst, '"'), digits), '"')
	}

	dst = append(dst, `{"symbol":`...)
	dst = appendJSONString(dst, w.symbol.Name)
	name("interval")
	dst = appendJSONString(dst, w.interval.String())
	number("open_time", int64(k.OpenTime))
	price("open", k.Open)
	price("high", k.High)
	price("low", k.Low)
	price("close", k.Close)
	sum("volume", k.Volume, w.symbol.QtyDigits)
	number("close_time", int64(w.interval.Next(k.OpenTime)-1))
	sum("quote_volume", k.QuoteVolume, w.symbol.QuoteDigits())
	number("count", k.TradeCount)
	sum("taker_buy_volume", k.TakerBuyVolume, w.symbol.QtyDigits)
	sum("taker_buy_quote_volume", k.TakerBuyQuoteVolume, w.symbol.QuoteDigits())
	return append(dst, "}\n"...)
}

// appendJSONString writes text as a JSON string.
func appendJSONString(dst []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // a string has no error
	return append(dst, quoted...)
}

// writeReplay writes every series of books: one to stdout, or each into its own file.
func writeReplay(o replayOptions, books []*book, stdout io.Writer) error {
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return err
		}
	}
	for _, b := range books {
		symbol := market.Symbol{Name: b.symbol, PriceDigits: b.priceDigits, QtyDigits: b.qtyDigits}
		for _, iv := range o.intervals {
			write := func(out io.Writer) error {
				w := newKlineRows(out, o.format)
				if err := w.begin(symbol, iv); err != nil {
					return err
				}
				if err := w.write(b.fold(iv)); err != nil {
					return err
				}
				return w.end()
			}
			var err error
			if o.out == "" {
				err = write(stdout)
			} else {
				err = writeFile(o.out, seriesFile(symbol, iv, o.format), write)
			}
			if err != nil {
				return fmt.Errorf("cannot write the klines of %s %s: %w", b.symbol, iv, err)
			}
		}
	}
	return nil
}

// writeFile makes a file in dir of what write writes; under its name it is whole or not there.
func writeFile(dir, name string, write func(io.Writer) error) error {
	if strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("%q cannot be a file name", name)
	}
	f, err := os.CreateTemp(dir, ".klined-*")
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // its path is none that the user has named
		}
		return fmt.Errorf("cannot write into %s: %w", dir, err)
	}
	err = write(f)
	if e := f.Chmod(0o644); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// seriesFile is the name of a series' file. The archive writes 1M as 1mo; some disks take 1M and 1m for one name.
func seriesFile(symbol market.Symbol, iv market.Interval, format string) string {
	interval := iv.String()
	if iv == market.OneMonth {
		interval = "1mo"
	}
	return symbol.Name + "-" + interval + "." + format
}

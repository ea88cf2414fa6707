package main

import (
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/parquet-go/parquet-go"

	"klined/fixed"
	"klined/market"
)

// parquetKline is a row of the Parquet file. Decimals are integers of their scale; those of 16 bytes are big-endian.
type parquetKline struct {
	Symbol              string   `parquet:"symbol,dict,zstd"`
	Interval            string   `parquet:"interval,dict,zstd"`
	OpenTime            int64    `parquet:"open_time,timestamp(millisecond:utc),delta,zstd"`
	Open                int64    `parquet:"open,decimal(8:18),delta,zstd"`
	High                int64    `parquet:"high,decimal(8:18),delta,zstd"`
	Low                 int64    `parquet:"low,decimal(8:18),delta,zstd"`
	Close               int64    `parquet:"close,decimal(8:18),delta,zstd"`
	Volume              [16]byte `parquet:"volume,decimal(8:38),zstd"`
	CloseTime           int64    `parquet:"close_time,timestamp(millisecond:utc),delta,zstd"`
	QuoteVolume         [16]byte `parquet:"quote_volume,decimal(16:38),zstd"`
	Count               int64    `parquet:"count,delta,zstd"`
	TakerBuyVolume      [16]byte `parquet:"taker_buy_volume,decimal(8:38),zstd"`
	TakerBuyQuoteVolume [16]byte `parquet:"taker_buy_quote_volume,decimal(16:38),zstd"`
	FirstID             *int64   `parquet:"first_id,optional,zstd"`
	LastID              *int64   `parquet:"last_id,optional,zstd"`
	State               string   `parquet:"state,dict,zstd"`
	Gap                 bool     `parquet:"gap,zstd"`
	Revision            int32    `parquet:"revision,delta,zstd"`
}

// rowsPerGroup is how many rows a row group has at most: what the writer holds, and what a reader takes or leaves.
const rowsPerGroup = 128 << 10

// parquetRows writes klines as Parquet.
type parquetRows struct {
	out      *parquet.GenericWriter[parquetKline]
	symbol   market.Symbol
	interval market.Interval
	rows     []parquetKline // of one write
}

func newParquetRows(out io.Writer) *parquetRows {
	return &parquetRows{out: parquet.NewGenericWriter[parquetKline](out, parquet.MaxRowsPerRowGroup(rowsPerGroup))}
}

func (w *parquetRows) begin(symbol market.Symbol, iv market.Interval) error {
	w.symbol, w.interval = symbol, iv
	return nil
}

func (w *parquetRows) write(klines []market.Kline) error {
	w.rows = slices.Grow(w.rows[:0], len(klines))[:len(klines)]
	for i := range klines {
		if err := w.fill(&w.rows[i], &klines[i]); err != nil {
			return fmt.Errorf("the kline of %s: %w", klines[i].OpenTime, err)
		}
	}
	_, err := w.out.Write(w.rows)
	return err
}

func (w *parquetRows) end() error { return w.out.Close() }

// fill makes row of k, whose ids it refers to.
func (w *parquetRows) fill(row *parquetKline, k *market.Kline) error {
	*row = parquetKline{
		Symbol: w.symbol.Name, Interval: w.interval.String(),
		OpenTime: int64(k.OpenTime), CloseTime: int64(w.interval.Next(k.OpenTime) - 1),
		Open: int64(k.Open), High: int64(k.High), Low: int64(k.Low), Close: int64(k.Close),
		Count: k.TradeCount, State: k.State.String(), Gap: k.Gap, Revision: k.Revision,
	}
	if most := max(k.Open, k.High, k.Low, k.Close); most > mostPrice {
		return fmt.Errorf("price %s does not fit DECIMAL(18,8)", most)
	}
	if k.FirstID >= 0 {
		row.FirstID = &k.FirstID
	}
	if k.LastID >= 0 {
		row.LastID = &k.LastID
	}
	for _, volume := range [...]struct {
		to    *[16]byte
		sum   fixed.Sum
		scale int
	}{
		{&row.Volume, k.Volume, 8}, {&row.TakerBuyVolume, k.TakerBuyVolume, 8},
		{&row.QuoteVolume, k.QuoteVolume, 16}, {&row.TakerBuyQuoteVolume, k.TakerBuyQuoteVolume, 16},
	} {
		var fits bool
		if *volume.to, fits = decimal38(volume.sum, volume.scale); !fits {
			return fmt.Errorf("volume %s does not fit DECIMAL(38,%d)", volume.sum, volume.scale)
		}
	}
	return nil
}

// mostPrice is the largest DECIMAL(18,8).
const mostPrice fixed.Value = 1e18 - 1

// decimal38 is s as DECIMAL(38,scale), of scale 8 or 16; false where s has more decimals or is larger.
func decimal38(s fixed.Sum, scale int) (d [16]byte, fits bool) {
	hi, lo := s.Hi, s.Lo
	if scale == 8 {
		var rest uint64
		hi, rest = bits.Div64(0, s.Hi, 1e8)
		if lo, rest = bits.Div64(rest, s.Lo, 1e8); rest != 0 {
			return d, false
		}
	}
	for i := range 8 {
		d[i], d[8+i] = byte(hi>>(56-8*i)), byte(lo>>(56-8*i))
	}
	digits38 := fixed.Sum{Hi: 0x4b3b4ca85a86c47a, Lo: 0x098a224000000000} // 10³⁸
	return d, fixed.Sum{Hi: hi, Lo: lo}.Cmp(digits38) < 0
}

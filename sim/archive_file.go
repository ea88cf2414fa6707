package sim

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math"
	"slices"

	"klined/market"
)

// archiveHeader is the first line of a file of klines.
const archiveHeader = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"

// build makes a file of a symbol's klines, the same bytes each time; nil where no kline opens in its span.
func (f *archiveFile) build(v *view) []byte {
	rows := v.klines(f.iv, window{max(f.span.From, 1), f.span.To - 1, math.MaxInt})
	if len(rows) == 0 {
		return nil
	}
	var csv []byte
	if f.how != howHeaderless {
		csv = append(csv, archiveHeader...)
	}
	perMS := int64(1)
	switch f.how {
	case howHoles:
		rows = withHoles(rows)
	case howOrder:
		rows = outOfOrder(rows)
	case howMicros:
		perMS = 1000
	}
	for i := range rows {
		csv = append(f.s.appendColumns(csv, f.iv, &rows[i], "", perMS), '\n')
	}
	packed := pack(f.name+".csv", f.appears, csv)
	if f.how == howBroken {
		packed = packed[:len(packed)/2]
	}
	return packed
}

// pack is a zip of one file. Whoever asks for it waits for that: what is a seventh smaller takes twice as long.
func pack(name string, at market.Time, text []byte) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at.Std()})
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("sim: %s: %v", name, err)) // a buffer takes everything
	}
	return out.Bytes()
}

// withHoles leaves out the fourth and the eighth tenth of the rows; of one or two rows, nothing.
func withHoles(rows []row) (left []row) {
	for i := range rows {
		if tenth := i * 10 / len(rows); tenth != 3 && tenth != 7 {
			left = append(left, rows[i])
		}
	}
	return left
}

// outOfOrder turns the middle half of the rows round, and ends with the first one again.
func outOfOrder(rows []row) []row {
	slices.Reverse(rows[len(rows)/4 : len(rows)*3/4])
	return append(rows, rows[0])
}

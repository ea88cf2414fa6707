package binance

import (
	"encoding/json"
	"strings"
	"testing"

	"klined/market"
)

func benchmarkDecode(b *testing.B, source market.Source, frame string) {
	d := NewDecoder(registry(), source, nil, nil)
	text, batch := []byte(frame), market.Batch{Trades: make([]market.Trade, 0, 8)}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		if _, err := d.Frame(text, &batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeAggTrade(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmarkDecode(b, market.SourceAggTrade, aggFrame) })
	b.Run("wrapped", func(b *testing.B) { benchmarkDecode(b, market.SourceAggTrade, aggWrapped) })
	b.Run("tolerant", func(b *testing.B) { benchmarkDecode(b, market.SourceAggTrade, " "+aggFrame) })
}

func BenchmarkDecodeTrade(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmarkDecode(b, market.SourceTrade, tradeFrame) })
	b.Run("tolerant", func(b *testing.B) { benchmarkDecode(b, market.SourceTrade, " "+tradeFrame) })
}

func BenchmarkDecodeKline(b *testing.B) {
	b.Run("open", func(b *testing.B) { benchmarkDecode(b, market.SourceAggTrade, klineOpen) })
	b.Run("closed", func(b *testing.B) { benchmarkDecode(b, market.SourceAggTrade, klineClosed) })
}

// BenchmarkEncodingJSON is the baseline: the same frame into a struct, numbers left as text.
func BenchmarkEncodingJSON(b *testing.B) {
	text := []byte(aggFrame)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var t struct {
			A       int64  `json:"a"`
			Symbol  string `json:"s"`
			Price   string `json:"p"`
			Qty     string `json:"q"`
			FirstID int64  `json:"f"`
			LastID  int64  `json:"l"`
			Time    int64  `json:"T"`
			Maker   bool   `json:"m"`
		}
		if err := json.Unmarshal(text, &t); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeTickers: one of the frames that come every second.
func BenchmarkDecodeTickers(b *testing.B) {
	const rows = 500
	text := []byte(`[` + strings.Repeat(tickerFrame+`,`, rows-1) + tickerFrame + `]`)
	d, batch := NewDecoder(registry(), market.SourceAggTrade, nil, nil), market.Batch{Tickers: make([]market.Ticker, 0, rows)}
	d.Tickers = true
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		if _, err := d.Frame(text, &batch); err != nil || len(batch.Tickers) != rows {
			b.Fatal(err, len(batch.Tickers))
		}
	}
}

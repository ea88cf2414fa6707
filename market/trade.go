package market

import (
	"errors"
	"time"

	"klined/fixed"
)

// Trade is one aggTrade record, or one trade record with --source trade (then ID = FirstID = LastID).
// A Trade of quantity 0 takes its ID and adds nothing to any kline.
type Trade struct {
	ID       int64       // the id that sequences the symbol's trades: rising by 1
	FirstID  int64       // first fill id
	LastID   int64       // last fill id
	Price    fixed.Value // in the quote asset
	Qty      fixed.Value // in the base asset
	Time     Time        // of its first fill
	SymbolID SymbolID
	TakerBuy bool // the aggressor bought
}

// maxNotional bounds price × quantity of one Trade: 10¹⁵ of the quote asset, so that 34 million trades at the bound fit
// into one kline.
var maxNotional = fixed.Mul(1e7*fixed.One, 1e8*fixed.One)

// Bounds of ids: one may be added to the greatest, and the fills of 9 milliard trades at the bound can be counted.
const (
	maxID    = 1e18
	maxFills = 1e9 // of one trade
)

// Why a record is not a Trade. They are returned as they are: the check stands on the hot path.
var (
	ErrIDs      = errors.New("ids out of order or out of range")
	ErrPrice    = errors.New("price 0 with a quantity")
	ErrNotional = errors.New("price × quantity beyond the bound of 10¹⁵")
	ErrTime     = errors.New("time out of range")
)

// maxTime is the year 9999's end: what a Time may be at most.
const maxTime Time = 253402300799999

// Check refuses a record that cannot be summed: each kline it would enter stays exact.
func (t *Trade) Check() error {
	switch {
	case t.ID < 0 || t.FirstID < 0 || t.LastID < t.FirstID || t.ID > maxID || t.LastID > maxID || t.LastID-t.FirstID >= maxFills:
		return ErrIDs
	case t.Qty != 0 && t.Price == 0:
		return ErrPrice
	case t.Time < 0 || t.Time > maxTime:
		return ErrTime
	case fixed.Mul(t.Price, t.Qty).Cmp(maxNotional) > 0:
		return ErrNotional
	}
	return nil
}

// Source says which of the exchange's records klines are built from.
type Source uint8

// The sources. The zero value is the default.
const (
	SourceAggTrade Source = iota // the documented stream; near the official klines
	SourceTrade                  // the undocumented stream of single trades; equal to the official klines
)

// String is the source's name on the command line.
func (s Source) String() string {
	if s == SourceTrade {
		return "trade"
	}
	return "aggTrade"
}

// Price is what a trade cost.
type Price struct {
	Value fixed.Value // in the quote asset
	Time  Time        // of the trade; 0: none is known
}

// Ticker is a row of the venue's own summary of its symbols: a witness that a symbol trades. Such a row comes about once a
// second for each symbol that has traded.
type Ticker struct {
	SymbolID SymbolID
	Time     Time        // when the venue sent it
	Close    fixed.Value // the last price
	Volume   fixed.Sum   // of the last 24 hours; it falls, too, as old trades leave
}

// Batch is what one read of a connection brought, in the order of the wire. Its reader owns it and fills it again at
// the next read: whoever wants to keep a part of it copies. Payloads, Rows and Summaries are the venue's own bytes, taken out of
// whatever they were wrapped in.
type Batch struct {
	Trades    []Trade
	Payloads  [][]byte  // of Trades, one each; none where they are not from a connection
	Official  []Update  // the venue's own closed klines (x:true), State Settled
	Tickers   []Ticker  // of a connection that carries them
	Rows      [][]byte  // of Tickers, one each
	Summaries [][]byte  // of frames of many tickers, whole: rows of symbols that are not known here among them
	Received  time.Time // when the read returned
	Ready     bool      // the venue has acknowledged every stream of the connection
	Pong      bool      // the venue has answered a ping: all that it had sent before has come
}

// Reset empties b and keeps its memory.
func (b *Batch) Reset() {
	b.Trades, b.Official, b.Tickers = b.Trades[:0], b.Official[:0], b.Tickers[:0]
	b.Payloads, b.Rows, b.Summaries = b.Payloads[:0], b.Rows[:0], b.Summaries[:0]
	b.Received, b.Ready, b.Pong = time.Time{}, false, false
}

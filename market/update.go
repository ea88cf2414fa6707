package market

import "time"

// Series is the klines of one symbol and one interval.
type Series struct {
	Symbol   SymbolID
	Interval Interval
}

// Update is a kline with the series it belongs to.
type Update struct {
	Series
	Kline
}

// CloseTime is the last millisecond of the kline.
func (u *Update) CloseTime() Time { return u.Interval.Next(u.OpenTime) - 1 }

// Relayed is the venue's own bytes of a trade that was passed on in order: of each symbol by rising id, each once.
type Relayed struct {
	Symbol  SymbolID
	Payload []byte // nil: there was no room for some, and those who take them have lost the thread
}

// Changes is what one drain of a lane brings: the klines that changed, oldest version first. It is valid until the
// function that it is handed to returns; whoever wants to keep a part of it copies.
type Changes struct {
	Updates  []Update
	Differ   []Difference // in what those of ours differed that gave way to the exchange's own
	Relayed  []Relayed    // trades of the symbols whose trades somebody wants as they came
	Lane     int
	UpTo     Time      // every kline of the lane's whole symbols that ends at or before it has been handed on
	Received time.Time // when the oldest frame behind these changes was received; zero where none was
}

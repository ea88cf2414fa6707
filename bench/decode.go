package bench

import (
	"context"
	"encoding/json"
	"runtime"
	"time"

	"klined/binance"
	"klined/market"
)

// hotFrames are as many as one read of a busy connection brings: they lie in the processor's second cache.
const hotFrames = 400

var decodeRow = subject{
	name: "decode", unit: "ns/trade", what: "a frame of aggTrade in memory to a trade with its symbol's number",
	baseline: "encoding/json into a struct, numbers left as text",
	open: func(_ context.Context, o Options) (*pair, error) {
		f := newFrames(namesOf(0, 1), hotFrames)
		d := binance.NewDecoder(registry(), market.SourceAggTrade, nil, nil)
		batch := market.Batch{Trades: make([]market.Trade, 0, hotFrames)}
		return &pair{
			value: func(context.Context) (sample, error) {
				return timed(o.scaled(2000, 1)*hotFrames, func(n int) error {
					if n%hotFrames == 0 {
						batch.Reset()
					}
					_, err := d.Frame(f.payload(n%hotFrames), &batch)
					return err
				})
			},
			baseline: func(context.Context) (sample, error) {
				return timed(o.scaled(200, 1)*hotFrames, func(n int) error {
					var t jsonTrade
					return json.Unmarshal(f.payload(n%hotFrames), &t)
				})
			},
		}, nil
	},
}

// namesOf are the names of every step-th symbol from the first on.
func namesOf(first, step int) (names []string) {
	for i := first; i < marketSize; i += step {
		names = append(names, symbolName(i))
	}
	return names
}

// jsonTrade is what encoding/json makes of an aggTrade.
type jsonTrade struct {
	ID      int64  `json:"a"`
	Symbol  string `json:"s"`
	Price   string `json:"p"`
	Qty     string `json:"q"`
	FirstID int64  `json:"f"`
	LastID  int64  `json:"l"`
	Time    int64  `json:"T"`
	Maker   bool   `json:"m"`
}

// timed does something n times: ns and allocations of each.
func timed(n int, do func(i int) error) (sample, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range n {
		if err := do(i); err != nil {
			return sample{}, err
		}
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return sample{value: float64(took.Nanoseconds()) / float64(n), allocs: float64(after.Mallocs-before.Mallocs) / float64(n)}, nil
}

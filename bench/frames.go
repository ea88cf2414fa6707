package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"klined/market"
)

// marketSize is how many symbols the rows' market has.
const marketSize = 800

// minute is the first whole one of the rows' streams: their clock stands 3 s before it, their trades lie in it.
const minute market.Time = 1795463160000

// symbolName is the name of the rows' symbol number i.
func symbolName(i int) string { return fmt.Sprintf("SYM%dUSDT", i) }

// registry is the rows' symbols.
func registry() *market.Symbols {
	symbols := make([]market.Symbol, marketSize)
	for i := range symbols {
		symbols[i] = market.Symbol{Name: symbolName(i), PriceDigits: 2, QtyDigits: 3}
	}
	s := new(market.Symbols)
	s.Put(symbols...)
	return s
}

// frames are aggTrade frames as one connection brings them, each behind its WebSocket header: symbols by Zipf's law, the
// ids of each rising by one.
type frames struct {
	wire  []byte
	at    []int   // where each frame's payload begins in wire
	ends  []int   // and ends
	ids   []int   // where its id stands
	of    []int32 // whose it is, as a place in names
	count []int64 // frames of each
}

// idDigits is how many digits the ids have.
const idDigits = 10

// newFrames makes n frames of the named symbols.
func newFrames(names []string, n int) *frames {
	f := &frames{count: make([]int64, len(names))}
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 4, uint64(len(names)-1))
	for range n {
		of := zipf.Uint64()
		f.count[of]++
		head := fmt.Sprintf(`{"e":"aggTrade","E":%d,"a":`, minute+1150)
		payload := fmt.Sprintf(`%s%0*d,"s":"%s","p":"%d.%02d","q":"0.%03d","nq":"0.022","f":%d,"l":%d,"T":%d,"m":%t,"st":1}`,
			head, idDigits, 3_000_000_000+f.count[of], names[of], 80000+random.IntN(3000), random.IntN(100), 1+random.IntN(999),
			8_000_000_000+2*f.count[of], 8_000_000_001+2*f.count[of], minute+1000, random.IntN(2) == 0)
		f.wire = binary.BigEndian.AppendUint16(append(f.wire, 0x81, 126), uint16(len(payload)))
		f.at, f.ids, f.of = append(f.at, len(f.wire)), append(f.ids, len(f.wire)+len(head)), append(f.of, int32(of))
		f.wire = append(f.wire, payload...)
		f.ends = append(f.ends, len(f.wire))
	}
	return f
}

// payload is the i-th frame without its header.
func (f *frames) payload(i int) []byte { return f.wire[f.at[i]:f.ends[i]] }

// size is how many bytes a frame has on the wire, in the mean.
func (f *frames) size() float64 { return float64(len(f.wire)) / float64(len(f.at)) }

// again moves all ids on, so that the same frames are the next trades.
func (f *frames) again() {
	for i, at := range f.ids {
		id := f.wire[at : at+idDigits]
		for carry, d := f.count[f.of[i]], idDigits-1; carry > 0 && d >= 0; d-- {
			carry += int64(id[d] - '0')
			id[d] = '0' + byte(carry%10)
			carry /= 10
		}
	}
}

package sim

import (
	"net/url"
	"sort"
	"strconv"

	"klined/market"
)

// lookBack is how far aggTrades go back at most; this exchange remembers less.
const lookBack = 2 * market.Day

// aggTrades answers aggTrade records that have been published:
//
//	[{"a":3450415493,"p":"76906.00","q":"0.004","nq":"0.004","f":8079747315,"l":8079747315,"T":1789478330891,"m":false}]
func (e *Exchange) aggTrades(q url.Values) ([]byte, *apiError) {
	s, bad := e.symbolOf(q, "symbol")
	if bad != nil {
		return nil, bad
	}
	w, bad := windowOf(q, 500, 1000)
	if bad != nil {
		return nil, bad
	}
	fromID, byID, bad := number(q, "fromId")
	if bad != nil {
		return nil, bad
	}
	if e.player != nil {
		return nil, notTaped()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.catchUp()
	if w.start != 0 && (w.start < now-lookBack || w.start < s.from) || byID && fromID < s.mem.agg && s.mem.agg > 1 {
		return nil, refuse(-4166, "Search window is restricted to recent 2 days only.")
	}
	first, end := s.mem.agg, s.mem.sent+1
	switch {
	case byID:
		first = max(first, fromID)
	case w.start != 0:
		first = s.mem.from(w.start)
	}
	if w.end != 0 {
		end = min(end, s.mem.from(w.end+1))
	}
	if !byID && w.start == 0 {
		first = max(first, end-int64(w.limit))
	}
	dst := []byte{'['}
	for id := first; id < end && id < first+int64(w.limit); id++ {
		if id > first {
			dst = append(dst, ',')
		}
		a := s.mem.trade(id)
		dst = s.appendAggREST(dst, &a)
	}
	return append(dst, ']'), nil
}

func (s *symbol) appendAggREST(dst []byte, a *aggTrade) []byte {
	all, normal := a.qty()
	dst = append(appendInt(dst, `{"a":`, a.id), `,"p":"`...)
	dst = append(s.appendPrice(dst, a.fills[0].price), `","q":"`...)
	dst = append(s.appendQty(dst, all), `","nq":"`...)
	dst = append(s.appendQty(dst, normal), '"')
	dst = appendInt(dst, `,"f":`, a.firstID())
	dst = appendInt(dst, `,"l":`, a.lastID())
	dst = appendInt(dst, `,"T":`, int64(a.time()))
	return append(appendBool(dst, `,"m":`, !a.fills[0].takerBuy()), '}')
}

// trades answers the latest fills:
//
//	[{"id":7947579848,"price":"63440.80","qty":"0.001","quoteQty":"63.44","time":1785702045391,"isBuyerMaker":true,"isRPITrade":false}]
func (e *Exchange) trades(q url.Values) ([]byte, *apiError) {
	s, bad := e.symbolOf(q, "symbol")
	if bad != nil {
		return nil, bad
	}
	limit, bad := limitOf(q, 500, 1000)
	if bad != nil {
		return nil, bad
	}
	if e.player != nil {
		return nil, notTaped()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	fills := s.mem.fills[max(0, len(s.mem.fills)-limit):]
	dst := []byte{'['}
	for i := range fills {
		f := &fills[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendInt(dst, `{"id":`, f.id), `,"price":"`...)
		dst = append(s.appendPrice(dst, f.price), `","qty":"`...)
		dst = append(s.appendQty(dst, f.qty), `","quoteQty":"`...)
		dst = append(s.appendCents(dst, f.price*f.qty), '"')
		dst = appendInt(dst, `,"time":`, int64(f.time()))
		dst = appendBool(dst, `,"isBuyerMaker":`, !f.takerBuy())
		dst = append(appendBool(dst, `,"isRPITrade":`, f.rpi()), '}')
	}
	return append(dst, ']'), nil
}

// appendCents writes an amount of the quote asset with two decimals, cut.
func (s *symbol) appendCents(dst []byte, amount int64) []byte {
	n := amount * s.tick * s.lot
	digits := s.priceDigits + s.qtyDigits
	for ; digits > 2; digits-- {
		n /= 10
	}
	for ; digits < 2; digits++ {
		n *= 10
	}
	return appendDigits(dst, uint64(n), 2)
}

// deviations are what sets klines built from aggTrades apart from the official ones: of the aggTrades that began
// within a window, those with fills beyond the boundary of an interval, and the ids burnt within them.
type deviations struct {
	Straddles []straddle `json:"straddles"`
	Burnt     []burntID  `json:"burnt"`
}

// straddle is an aggTrade whose later fills belong to a later kline than its first.
type straddle struct {
	A      int64        `json:"a"`
	F      int64        `json:"f"`
	L      int64        `json:"l"`
	T      market.Time  `json:"T"`
	Beyond []beyondFill `json:"beyond"`
}

// beyondFill is a fill of an aggTrade in a later kline.
type beyondFill struct {
	ID    int64       `json:"t"`
	Time  market.Time `json:"T"`
	Price string      `json:"p"`
	Qty   string      `json:"q"`
	Maker bool        `json:"m"` // the buyer was the maker
}

// burntID is an id that no fill has, within the ids of an aggTrade.
type burntID struct {
	ID int64       `json:"t"`
	A  int64       `json:"a"`
	F  int64       `json:"f"`
	L  int64       `json:"l"`
	T  market.Time `json:"T"`
}

// deviations lists them for the aggTrades of a symbol with start ≤ T ≤ end; the caller holds the exchange's mutex.
func (s *symbol) deviations(iv interval, start, end market.Time) deviations {
	d := deviations{[]straddle{}, []burntID{}}
	last := s.mem.agg + int64(sort.Search(len(s.mem.start), func(i int) bool {
		return s.mem.fills[s.mem.start[i]-s.mem.base].time() > end
	}))
	for id := s.mem.from(start); id < last; id++ {
		a := s.mem.trade(id)
		next := iv.next(a.time())
		var beyond []beyondFill
		for i := range a.fills {
			f := &a.fills[i]
			if i > 0 {
				for burnt := a.fills[i-1].id + 1; burnt < f.id; burnt++ {
					d.Burnt = append(d.Burnt, burntID{burnt, id, a.firstID(), a.lastID(), a.time()})
				}
			}
			if f.time() >= next {
				beyond = append(beyond, s.beyond(f))
			}
		}
		if beyond != nil {
			d.Straddles = append(d.Straddles, straddle{id, a.firstID(), a.lastID(), a.time(), beyond})
		}
	}
	return d
}

func (s *symbol) beyond(f *fill) beyondFill {
	return beyondFill{f.id, f.time(), string(s.appendPrice(nil, f.price)), string(s.appendQty(nil, f.qty)), !f.takerBuy()}
}

// tapeRing keeps the latest payloads of trade streams.
type tapeRing struct {
	frames [][]byte
	next   int
}

// tapeFrames is how many payloads are kept.
const tapeFrames = 20_000

func (t *tapeRing) add(payload []byte) {
	if len(t.frames) < tapeFrames {
		t.frames = append(t.frames, append([]byte(nil), payload...))
		return
	}
	t.frames[t.next] = append(t.frames[t.next][:0], payload...)
	t.next = (t.next + 1) % tapeFrames
}

// lines are the latest n payloads, oldest first, one on each line.
func (t *tapeRing) lines(n int) []byte {
	var out []byte
	total := len(t.frames)
	for i := max(0, total-n); i < total; i++ {
		out = append(append(out, t.frames[(t.next+i)%total]...), '\n')
	}
	return out
}

// limitText reads a positive number, or gives what is usual.
func limitText(text string, usual int) (int, error) {
	if text == "" {
		return usual, nil
	}
	return strconv.Atoi(text)
}

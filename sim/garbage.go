package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"klined/market"
)

// Well-formed lies, in turn.
const (
	lieTimeAhead = iota // the next id, with times that are an hour ahead
	lieIDAhead          // an id far ahead, now
	lieStartOver        // ids from 1 on, now
	lieKinds
)

// farAhead is how far a lie's id is ahead of the newest.
const farAhead = 1_000_000

// litter sends a connection what a fault of kind garbage asks for, and reports whether that was anything: lies are told
// only in streams of trades that the connection hears and that the fault touches. The caller holds e.mu.
func (e *Exchange) litter(f *Fault, c *conn) bool {
	var trades []*stream
	if f.Lies == nil || *f.Lies {
		trades = e.tradeStreams(f, c)
	}
	all := f.Lies != nil && *f.Lies
	if all && len(trades) == 0 {
		return false
	}
	for i := range f.N {
		var frame []byte
		switch {
		case all:
			frame = e.lie(c, trades, i)
		case len(trades) == 0:
			frame = c.malformed(i, e.live.reached)
		case i%2 == 0:
			frame = c.malformed(i/2, e.live.reached)
		default:
			frame = e.lie(c, trades, i/2)
		}
		c.data(frame)
	}
	return true
}

// tradeStreams are the streams of trades that a connection hears and a fault touches, in the order of subscription.
func (e *Exchange) tradeStreams(f *Fault, c *conn) (trades []*stream) {
	for _, name := range c.names {
		st := e.streams.live[name]
		if st != nil && st.taped && slices.Contains(st.subs, c) && f.touches(name, st.of) {
			trades = append(trades, st)
		}
	}
	return trades
}

// lie is the i-th lie that a connection is told, as a frame: of each stream one of every kind, then of the next stream.
// No record is like it, whatever comes: a lie's price is three times the middle of the symbol's path, which never
// leads there.
func (e *Exchange) lie(c *conn, trades []*stream, i int) []byte {
	kind, turn := i%lieKinds, i/lieKinds
	st := trades[turn%len(trades)]
	s, sent := st.of, e.live.reached
	if kind == lieTimeAhead {
		sent += market.Hour
	}
	id := func(newest int64) int64 {
		switch kind {
		case lieTimeAhead:
			return newest + 1
		case lieIDAhead:
			return newest + farAhead
		}
		return int64(1 + turn/len(trades))
	}
	f := fill{id: id(s.last.id), price: 3*s.mid + int64(i%97), qty: s.meanQty + int64(i%89), at: int64(sent-1) << flagBits}
	var payload []byte
	if st == s.streams.agg {
		f.at = int64(sent-publishAfter-publishSpread/2) << flagBits
		payload = s.appendAggTrade(nil, &aggTrade{id(s.mem.sent), []fill{f}}, sent)
	} else {
		payload = s.appendTrade(nil, &f, sent)
	}
	if c.combined {
		return appendFrame(nil, ws.OpText, st.prefix, payload, []byte{'}'})
	}
	return appendFrame(nil, ws.OpText, nil, payload, nil)
}

// malformed is the i-th malformed frame of a connection. None of them is a record, whichever way it is read.
func (c *conn) malformed(i int, now market.Time) []byte {
	name := "btcusdt@aggTrade"
	if len(c.names) > 0 {
		name = c.names[i%len(c.names)]
	}
	body := func(symbol, price, qty, ids string) string {
		return fmt.Sprintf(`{"e":"aggTrade","E":%d,"a":%s,"s":%s,"p":%s,"q":%s,"nq":%s,"f":%s,"l":%s,"T":%d,"m":false,"st":1}`,
			now, ids, symbol, price, qty, qty, ids, ids, now-150)
	}
	good := body(`"BTCUSDT"`, `"83091.70"`, `"0.022"`, `3477868433`)
	kinds := []string{
		`this is not JSON`,
		good[:len(good)/2],
		body(`"BTCUSDT"`, `83091.70`, `true`, `"one"`),
		body("\"BTC\xff\xfeUSDT\"", `"83091.70"`, `"0.022"`, `3477868433`),
		body(`"BTCUSDT"`, `"99999999999999999999999999.9"`, `"0.022"`, `99999999999999999999999999`),
		body(`"BTCUSDT"`, `"-83091.70"`, `"1e5"`, `-1`),
		`{}`, `[]`, `null`, ``,
		good + good[:20],
		`{"e":"kline","E":` + strings.Repeat("9", 400) + `}`,
		strings.Repeat("[", 2000),
	}
	frame := kinds[i%len(kinds)]
	if c.combined && i%2 == 0 {
		frame = `{"stream":"` + name + `","data":` + frame + `}`
	}
	return appendFrame(nil, ws.OpText, nil, []byte(frame), nil)
}

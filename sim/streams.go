package sim

import (
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"klined/market"
)

// stream is what one name carries. It exists while somebody subscribes to it.
type stream struct {
	name   string
	of     *symbol // whose it is; nil where it is all symbols'
	prefix []byte  // what stands before the payload in a wrapped frame
	subs   []*conn
	taped  bool   // it carries trades, and GET /sim/tape shows it
	stop   func() // lets go of whatever feeds it
}

// symbolStreams are the streams of a symbol that somebody subscribes to, other than its klines'; else nil.
type symbolStreams struct {
	agg, trade, mini *stream
	quotes           quoteStreams
}

// registry finds streams by name.
type registry struct {
	symbols map[string]*symbol // by the name in lower case
	pairs   map[string]*symbol // by pair_contract in lower case
	live    map[string]*stream
	allMini *stream
	quotes  quoteStreams // of all symbols
	timed   int          // streams of quotes
	buf     []byte       // scratch of publish
	frame   []byte
}

func newRegistry(symbols []*symbol) registry {
	r := registry{symbols: make(map[string]*symbol), pairs: make(map[string]*symbol), live: make(map[string]*stream)}
	for _, s := range symbols {
		r.know(s)
	}
	return r
}

// know lets a symbol's streams be found.
func (r *registry) know(s *symbol) {
	r.symbols[s.lower] = s
	if pair := strings.ToLower(s.pair + "_" + s.contract); r.pairs[pair] == nil {
		r.pairs[pair] = s
	}
}

// allMiniName is the stream of all symbols' miniTickers.
const allMiniName = "!miniTicker@arr"

// Paths of the WebSocket server; one without a path is public.
const (
	pathMarket  = "/market"
	pathPublic  = "/public"
	pathPrivate = "/private"
)

// subscribe lets a connection hear a stream, where path, case and name are right; elsewhere there is silence. The
// caller holds e.mu.
func (e *Exchange) subscribe(c *conn, name string) {
	if st := e.streams.live[name]; st != nil {
		if c.path == pathOf(name) {
			st.subs = append(st.subs, c)
		}
		return
	}
	if c.path != pathOf(name) {
		return
	}
	st := &stream{name: name, of: e.streams.subject(name), prefix: []byte(`{"stream":"` + name + `","data":`), subs: []*conn{c}}
	if e.feed(st) {
		e.streams.live[name] = st
	}
}

// pathOf is the path on which a stream's name is delivered.
func pathOf(name string) string {
	_, kind, _ := strings.Cut(name, "@")
	if kind == "trade" || kind == bookKind || name == "!"+bookKind {
		return pathPublic
	}
	return pathMarket
}

// feed connects a stream with what it is named after, if there is such a thing.
func (e *Exchange) feed(st *stream) bool {
	if e.player != nil { // whatever the tape has
		_, kind, _ := strings.Cut(st.name, "@")
		st.taped, st.stop = kind == "aggTrade" || kind == "trade", func() {}
		return true
	}
	if st.name == allMiniName {
		e.streams.allMini, st.stop = st, func() { e.streams.allMini = nil }
		return true
	}
	if slot := e.streams.quotes.slotOfAll(st.name); slot != nil {
		e.fillSlot(slot, st)
		return true
	}
	if st.of == nil {
		return false
	}
	_, kind, _ := strings.Cut(st.name, "@")
	if name, ok := strings.CutPrefix(kind, continuousPrefix); ok {
		iv, ok := exchangeInterval(name)
		return ok && e.feedLane(st, st.of, func(l *klineLane) { l.continuous = st }, iv)
	}
	if name, ok := strings.CutPrefix(kind, "kline_"); ok {
		iv, ok := exchangeInterval(name)
		return ok && e.feedLane(st, st.of, func(l *klineLane) { l.kline = st }, iv)
	}
	if slot := st.of.streams.quotes.slot(kind); slot != nil {
		e.fillSlot(slot, st)
		return true
	}
	return st.of.feed(st, kind)
}

// fillSlot notes a stream of quotes.
func (e *Exchange) fillSlot(slot **stream, st *stream) {
	*slot = st
	e.streams.timed++
	st.stop = func() {
		*slot = nil
		e.streams.timed--
	}
}

const continuousPrefix = "continuousKline_"

// subject is the symbol that a stream's name speaks of, nil where there is none.
func (r *registry) subject(name string) *symbol {
	subject, kind, _ := strings.Cut(name, "@")
	if strings.HasPrefix(kind, continuousPrefix) {
		return r.pairs[subject]
	}
	return r.symbols[subject]
}

func (e *Exchange) feedLane(st *stream, s *symbol, attach func(*klineLane), iv interval) bool {
	attach(s.lane(iv, e.advance(e.Now())))
	st.stop = func() { s.dropLane(st) }
	return true
}

// feed connects a stream of the symbol that is not one of klines.
func (s *symbol) feed(st *stream, kind string) bool {
	var slot **stream
	switch kind {
	case "aggTrade":
		slot, st.taped = &s.streams.agg, true
	case "trade":
		slot, st.taped = &s.streams.trade, true
	case "miniTicker":
		slot = &s.streams.mini
	default:
		return false
	}
	*slot, st.stop = st, func() { *slot = nil }
	return true
}

// unsubscribe ends what subscribe began.
func (e *Exchange) unsubscribe(c *conn, name string) {
	st := e.streams.live[name]
	if st == nil {
		return
	}
	if i := slices.Index(st.subs, c); i >= 0 {
		st.subs = slices.Delete(st.subs, i, i+1)
	}
	if len(st.subs) == 0 {
		st.stop()
		delete(e.streams.live, name)
	}
}

// publish sends a payload to all who hear a stream: encoded once, and wrapped once where somebody wants it so.
func (e *Exchange) publish(st *stream, payload func(dst []byte) []byte) {
	r := &e.streams
	r.buf = payload(r.buf[:0])
	r.frame = appendFrame(r.frame[:0], ws.OpText, nil, r.buf, nil)
	bare := len(r.frame)
	for _, c := range st.subs {
		frame := r.frame[:bare]
		if c.combined {
			if len(r.frame) == bare {
				r.frame = appendFrame(r.frame, ws.OpText, st.prefix, r.buf, []byte{'}'})
			}
			frame = r.frame[bare:]
		}
		if len(e.faults)+len(e.holding) == 0 {
			c.data(frame)
		} else {
			e.send(c, st, frame)
		}
	}
	if st.taped {
		e.tape.add(r.buf)
	}
}

// appendFrame writes an unmasked frame whose payload is made of three parts.
func appendFrame(dst []byte, op ws.OpCode, before, payload, after []byte) []byte {
	n := len(before) + len(payload) + len(after)
	dst = append(dst, 0x80|byte(op))
	switch {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = append(dst, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	dst = append(dst, before...)
	dst = append(dst, payload...)
	return append(dst, after...)
}

// everySecond is when what is sent once a second is due.
type everySecond struct{ next market.Time }

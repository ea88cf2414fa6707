package feed

import (
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// carrier is one connection that brings a lane's trades, from its dial to its end. The lane's mutex guards it.
type carrier struct {
	link    *link
	name    string
	conn    Conn
	carries bool          // acknowledged, and trades have come
	carried chan struct{} // closed when it carries
	ready   time.Time     // when all its streams were acknowledged; zero until then
	since   time.Time     // when it carried
	last    brought       // what it brought last
	lag     lag
	pong    time.Time // when it last answered a ping: all that the venue had sent before has been read
	runs    []run     // by slot
	asks    []asking  // symbols whose streams are not acknowledged, though the others' may be
	silent  string    // why it was found silent; empty while it is not
	warned  bool      // that it is mute
}

// brought says of a read when it returned, the time of its youngest trade, and how old that was.
type brought struct {
	at     time.Time
	newest market.Time
	lag    time.Duration
}

// run is what a connection has brought of one symbol.
type run struct {
	first  int64 // its first id that had not passed; 0 before it
	newest int64 // the highest id, as far as it is believed
	missed uint8 // looks in a row at which it lacked what had passed before the look before
}

// newCarrier adds a connection to the lane that was dialled for the given symbols.
func (l *lane) newCarrier(k *link, conn Conn, dialled []market.SymbolID) *carrier {
	c := &carrier{link: k, name: k.name, conn: conn, carried: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.runs = make([]run, len(l.symbols))
	for slot := range c.runs {
		c.runs[slot].newest = l.symbols[slot].next - 1 // what has passed is not its to bring
	}
	among := setOf(dialled)
	for slot := range l.symbols { // by slot: of a symbol that is just being added laneOf knows nothing
		s := &l.symbols[slot]
		if _, is := among[s.id]; !is && s.state != Ended {
			c.asks = append(c.asks, asking{slot: engine.Slot(slot)})
		}
	}
	l.conns = append(l.conns, c)
	return c
}

// remove takes a connection that has ended out of the lane.
func (l *lane) remove(c *carrier) {
	c.carries = false
	if i := slices.Index(l.conns, c); i >= 0 {
		l.conns = slices.Delete(l.conns, i, i+1)
	}
	if !slices.ContainsFunc(l.conns, func(other *carrier) bool { return other.name == c.name }) {
		l.f.metrics.ConnectionLag.DeleteLabelValues(c.name)
	}
}

// carry notes that c carries from now on. What has passed before it did is not its to bring.
func (c *carrier) carry(l *lane) {
	c.carries, c.since = true, time.Now()
	for slot := range c.runs {
		c.runs[slot].newest = max(c.runs[slot].newest, l.symbols[slot].next-1)
	}
	close(c.carried)
}

// bring notes a trade that c has brought.
func (c *carrier) bring(slot engine.Slot, s *symbol, id int64) {
	r := &c.runs[slot]
	if id <= r.newest || s.next != 0 && id > s.next+holdTrades {
		return
	}
	if r.newest = id; r.first == 0 {
		r.first = id
	}
}

// began reports whether c has brought every id of a symbol since one below the given.
func (c *carrier) began(slot engine.Slot, id int64) bool {
	first := c.runs[slot].first
	return first != 0 && first < id
}

// carriers is the number of connections that carry the lane's symbols.
func (l *lane) carriers() int {
	n := 0
	for _, c := range l.conns {
		if c.carries {
			n++
		}
	}
	return n
}

// asksFor reports whether c has not been shown to carry the symbol.
func (c *carrier) asksFor(slot engine.Slot) bool {
	return slices.ContainsFunc(c.asks, func(a asking) bool { return a.slot == slot })
}

// brings reports whether c carries the symbol.
func (c *carrier) brings(slot engine.Slot) bool { return c.carries && !c.asksFor(slot) }

// carriersOf is the number of connections that bring the symbol's trades: a connection may do so before all of its
// streams are acknowledged.
func (l *lane) carriersOf(slot engine.Slot) int {
	n := 0
	for _, c := range l.conns {
		if c.brings(slot) || c.runs[slot].first != 0 {
			n++
		}
	}
	return n
}

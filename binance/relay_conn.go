package binance

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"klined/health"
	"klined/market"
)

// How long a relay's connection lives, and how long it waits before it is dialled again: twice as long after each failure, up to a
// bound, and by chance up to half as much again. One that lived longer than steady starts over.
const (
	relayLives  = 23 * time.Hour // the exchange ends one after 24; by chance up to an hour less
	relayFirst  = 250 * time.Millisecond
	relayWaits  = 30 * time.Second
	relaySteady = time.Minute
)

// When a connection is looked after. The exchange answers a ping within a second.
const (
	relayLooks  = 10 * time.Second
	relayQuiet  = 30 * time.Second // without a byte, after which it is pinged
	relaySilent = time.Minute      // without a byte, after which it is lost
	relayIdle   = 2 * time.Minute  // without a stream, after which it is not needed: whoever comes meanwhile costs no dial
)

// Why a connection ended, in one word, where we ended it.
const (
	endedRotated = "rotated"
	endedSilent  = "silent"
	endedIdle    = "idle"
)

// relayConn is a connection of a Relay, and those that replace it.
type relayConn struct {
	r     *Relay
	path  string
	label string

	// Guarded by the relay's mutex.
	names  map[string]*relayed
	idle   time.Time // since when there are none
	stream *Stream   // nil where it is not up
	kept   bool      // a goroutine keeps it
	state  string    // that operators see; empty where nobody keeps it
	since  time.Time // of the state
	ails   string    // why it is not up; empty where it is, and before it was tried
	frames uint64    // of those before stream

	lastFrame atomic.Int64 // Unix ns
}

func newRelayConn(r *Relay, path string, n int) *relayConn {
	return &relayConn{r: r, path: path, label: label(path, n), names: make(map[string]*relayed)}
}

// add takes a stream in; the caller holds the relay's mutex.
func (c *relayConn) add(s *relayed) {
	c.names[s.name] = s
	if c.stream != nil {
		_ = c.stream.subs.begin([]string{s.name}, false) // it carries names, and that is within the limit
	}
}

// remove takes a stream out; the caller holds the relay's mutex.
func (c *relayConn) remove(name string) {
	delete(c.names, name)
	c.idle = time.Now()
	if c.stream != nil {
		c.stream.subs.end([]string{name})
	}
}

// keep dials, reads and dials again as long as there are streams to carry.
func (c *relayConn) keep(ctx context.Context) {
	wait := relayFirst
	for c.needed(ctx) {
		c.enter("waiting")
		c.r.turn(ctx)
		began := time.Now()
		reason, err := c.live(ctx)
		if !c.needed(ctx) {
			return
		}
		if reason == endedIdle {
			continue // somebody came just then
		}
		if time.Since(began) > relaySteady {
			wait = relayFirst
		}
		again := wait + rand.N(wait/2)
		c.fail(err)
		c.r.o.Metrics.Reconnects.WithLabelValues(reason).Inc()
		c.r.log.Warn("connection ended", "conn", c.label, "reason", reason, "error", err, "again_in", again.Round(time.Millisecond))
		pause(ctx, again)
		wait = min(2*wait, relayWaits)
	}
}

// needed reports whether there are streams to carry; where there are none, nobody keeps the connection any more.
func (c *relayConn) needed(ctx context.Context) bool {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if len(c.names) == 0 || ctx.Err() != nil {
		c.stand("")
		c.kept = false
	}
	return c.kept
}

// live is the life of one connection; reason is why it ended in one word.
func (c *relayConn) live(ctx context.Context) (reason string, err error) {
	c.enter("connecting")
	s, err := c.r.o.Venue.dialRelay(ctx, c.label, c.path, c.take)
	if err != nil {
		return "dial", err
	}
	c.enter("up")
	defer s.Close("done")
	if err := c.begin(s); err != nil {
		return "error", err
	}
	defer c.end()
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { reason = c.watch(ctx, s, over) })
	err = c.read(s)
	close(over)
	watching.Wait()
	if reason == "" {
		reason = health.ReconnectReason(err)
	}
	return reason, err
}

// read reads until the connection is over.
func (c *relayConn) read(s *Stream) error {
	var b market.Batch
	frames := uint64(0)
	for {
		if err := s.Read(&b); err != nil {
			return err
		}
		if n := s.Frames(); n != frames {
			frames = n
			c.lastFrame.Store(time.Now().UnixNano())
		}
	}
}

// watch ends a connection that is old, silent or idle, and all when ctx ends; over says that it has ended. It returns why it did so,
// empty where it did not.
func (c *relayConn) watch(ctx context.Context, s *Stream, over <-chan struct{}) (reason string) {
	defer func() {
		if reason != "" {
			s.Close(reason)
		}
	}()
	old, look := time.NewTimer(relayLives-rand.N(time.Hour)), time.NewTicker(relayLooks)
	defer old.Stop()
	defer look.Stop()
	for {
		select {
		case <-over:
			return ""
		case <-ctx.Done():
			return "shutting down"
		case <-old.C:
			return endedRotated
		case <-look.C:
		}
		switch quiet := time.Since(time.Unix(0, s.heard.Load())); {
		case c.useless():
			return endedIdle
		case quiet > relaySilent:
			return endedSilent
		case quiet > relayQuiet:
			s.Ping()
		}
	}
}

// useless reports whether the connection has been without streams for a while.
func (c *relayConn) useless() bool {
	c.r.mu.RLock()
	defer c.r.mu.RUnlock()
	return len(c.names) == 0 && time.Since(c.idle) > relayIdle
}

// take hands on an event of a stream that this connection carries. One that has moved to another still comes here for a moment.
func (c *relayConn) take(name, payload []byte) {
	c.r.mu.RLock()
	ours := c.names[string(name)] != nil
	c.r.mu.RUnlock()
	if ours {
		c.r.o.Sink(name, payload)
	}
}

// end notes that no stream is up, and what the exchange refused: one stream alone is not asked for again, of several nobody knows
// which it was, so that each is asked for alone.
func (c *relayConn) end() {
	c.r.mu.Lock()
	refused := c.stream.subs.rejected()
	c.frames += c.stream.Frames()
	c.stream = nil
	for _, name := range refused {
		s := c.names[name]
		switch {
		case s == nil:
		case len(refused) > 1:
			s.alone = true
		default:
			c.r.drop(s)
			c.r.shunned[name] = time.Now().Add(relayShuns)
			c.r.arrange(s.side)
		}
	}
	c.r.mu.Unlock()
	if len(refused) == 1 {
		c.r.log.Warn("the exchange refused a stream", "stream", refused[0], "not_again_for", relayShuns)
	}
}

// begin lets a stream that is up carry what there is.
func (c *relayConn) begin(s *Stream) error {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.stream, c.ails = s, ""
	var names, alone []string
	for name, s := range c.names {
		if s.alone {
			alone = append(alone, name)
		} else {
			names = append(names, name)
		}
	}
	c.r.signal()
	return errors.Join(s.subs.begin(names, false), s.subs.begin(alone, true))
}

// fail notes why the connection is not up.
func (c *relayConn) fail(err error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.stand("waiting")
	c.ails = err.Error()
	c.r.signal()
}

// enter changes the state that operators see.
func (c *relayConn) enter(state string) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.stand(state)
}

// stand is enter for who holds the relay's mutex; empty: nobody keeps the connection.
func (c *relayConn) stand(state string) {
	if state == "" {
		c.ails = ""
	}
	connections := c.r.o.Metrics.Connections
	if c.state != "" {
		connections.WithLabelValues(c.state).Dec()
	}
	if c.state, c.since = state, time.Now(); state != "" {
		connections.WithLabelValues(state).Inc()
	}
}

// eventOf takes a wrapped event, or a list of them, apart; false where the frame is none, or no JSON, or no UTF-8, at which clients
// would end their connections:
//
//	{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker",…}}
func eventOf(frame []byte) (name, payload []byte, ok bool) {
	if !utf8.Valid(frame) {
		return nil, nil, false
	}
	if payload, ok = unwrap(frame); ok && len(payload) < len(frame) {
		if s := (scanner{text: payload}); isEvent(payload) && s.value() && s.end() {
			return frame[len(wrapHead) : len(wrapHead)+closingQuote(frame[len(wrapHead):])], payload, true
		}
	}
	var event struct {
		Stream *string         `json:"stream"`
		Data   json.RawMessage `json:"data"`
	}
	if json.Unmarshal(frame, &event) != nil || event.Stream == nil || !isEvent(event.Data) {
		return nil, nil, false
	}
	return []byte(*event.Stream), event.Data, true
}

// isEvent reports whether JSON without blanks before it is an object or a list.
func isEvent(json []byte) bool { return len(json) > 0 && (json[0] == '{' || json[0] == '[') }

package binance

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

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

// relayConn is a connection of a Relay, and those that replace it.
type relayConn struct {
	r     *Relay
	path  string
	label string

	// Guarded by the relay's mutex.
	names  map[string]struct{}
	stream *Stream   // nil where it is not up
	kept   bool      // a goroutine keeps it
	state  string    // that operators see; empty where nobody keeps it
	since  time.Time // of the state
	frames uint64    // of those before stream

	lastFrame atomic.Int64 // Unix ns
}

func newRelayConn(r *Relay, path string, n int) *relayConn {
	return &relayConn{r: r, path: path, label: label(path, n), names: make(map[string]struct{})}
}

// add takes a stream in; the caller holds the relay's mutex.
func (c *relayConn) add(name string) {
	c.names[name] = struct{}{}
	if c.stream != nil {
		_ = c.stream.subs.begin([]string{name}) // it carries names, and that is within the limit
	}
}

// remove takes a stream out, and ends the connection with the last; the caller holds the relay's mutex.
func (c *relayConn) remove(name string) {
	delete(c.names, name)
	switch {
	case c.stream == nil:
	case len(c.names) > 0:
		c.stream.subs.end([]string{name})
	default:
		go c.stream.Close("nobody takes its streams") // it may take a second
	}
}

// keep dials, reads and dials again as long as there are streams to carry.
func (c *relayConn) keep(ctx context.Context) {
	wait := relayFirst
	for c.needed(ctx) {
		began := time.Now()
		reason, err := c.live(ctx)
		if !c.needed(ctx) {
			return
		}
		if time.Since(began) > relaySteady {
			wait = relayFirst
		}
		again := wait + rand.N(wait/2)
		c.enter("waiting")
		c.r.o.Metrics.Reconnects.WithLabelValues(reason).Inc()
		c.r.log.Warn("connection ended", "conn", c.label, "reason", reason, "error", err, "again_in", again.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
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
	s, err := c.r.o.Venue.dialRelay(ctx, c.label, c.path, c.r.o.Sink)
	if err != nil {
		return "dial", err
	}
	c.enter("up")
	defer s.Close("done")
	defer context.AfterFunc(ctx, func() { s.Close("shutting down") })()
	age := time.AfterFunc(relayLives-rand.N(time.Hour), func() { s.Close("rotated") })
	defer age.Stop()
	if err := c.begin(s); err != nil {
		return "error", err
	}
	defer c.end()
	var b market.Batch
	for {
		if err := s.Read(&b); err != nil {
			return endOf(err), err
		}
		c.lastFrame.Store(time.Now().UnixNano())
	}
}

// end notes that no stream is up.
func (c *relayConn) end() {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.frames += c.stream.Frames()
	c.stream = nil
}

// begin lets a stream that is up carry what there is.
func (c *relayConn) begin(s *Stream) error {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.stream = s
	names := make([]string, 0, len(c.names))
	for name := range c.names {
		names = append(names, name)
	}
	return s.subs.begin(names)
}

// enter changes the state that operators see.
func (c *relayConn) enter(state string) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.stand(state)
}

// stand is enter for who holds the relay's mutex; empty: nobody keeps the connection.
func (c *relayConn) stand(state string) {
	connections := c.r.o.Metrics.Connections
	if c.state != "" {
		connections.WithLabelValues(c.state).Dec()
	}
	if c.state, c.since = state, time.Now(); state != "" {
		connections.WithLabelValues(state).Inc()
	}
}

// endOf is why a connection ended, in one word.
func endOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, ErrClosed):
		return "rotated"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return "error"
}

// eventOf takes a wrapped event apart; false where the frame is none, or no JSON:
//
//	{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker",…}}
func eventOf(frame []byte) (name, payload []byte, ok bool) {
	if payload, ok = unwrap(frame); ok && len(payload) < len(frame) {
		if s := (scanner{text: payload}); s.value() && s.end() {
			return frame[len(wrapHead) : len(wrapHead)+closingQuote(frame[len(wrapHead):])], payload, true
		}
	}
	var event struct {
		Stream *string         `json:"stream"`
		Data   json.RawMessage `json:"data"`
	}
	if json.Unmarshal(frame, &event) != nil || event.Stream == nil || event.Data == nil {
		return nil, nil, false
	}
	return []byte(*event.Stream), event.Data, true
}

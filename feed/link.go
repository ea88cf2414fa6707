package feed

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"klined/health"
	"klined/market"
)

// Waiting before the next dial: twice as long after each failure, up to a bound, and by chance up to half as much again,
// so that many do not come back at once. A connection that lived longer than steady starts over.
const (
	firstWait = 250 * time.Millisecond
	longest   = 30 * time.Second
	steady    = time.Minute
)

// link keeps one connection alive: dials, reads, hands over, and dials again.
type link struct {
	f       *Feed
	name    string
	dial    Dial
	symbols []market.SymbolID
	lane    *lane // nil for klines

	// Of the lane; its mutex guards them.
	carries bool    // acknowledged, and trades have come
	began   []int64 // by slot: the first id that this connection brought, 0 before it
	last    brought // what it brought last

	// For operators.
	component *health.Component
	frames    atomic.Uint64 // received so far, over all connections of this link
	lastFrame atomic.Int64  // Unix ns of the last
	mu        sync.Mutex
	state     string    // "connecting", "up", "waiting"
	since     time.Time // of the state
}

// brought says of a read when it returned, the time of its last trade, and how old that was.
type brought struct {
	at     time.Time
	newest market.Time
	lag    time.Duration
}

// The states of a link.
const (
	linkConnecting = "connecting"
	linkUp         = "up"
	linkWaiting    = "waiting"
)

func (f *Feed) newLink(o Options, name string, dial Dial, symbols []market.SymbolID) *link {
	k := &link{f: f, name: name, dial: dial, symbols: symbols, component: o.Watchdog.Component("feed "+name, false)}
	f.links = append(f.links, k)
	k.enter(linkWaiting)
	return k
}

// enter changes the state that operators see.
func (k *link) enter(state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state != "" {
		k.f.metrics.Connections.WithLabelValues(k.state).Dec()
	}
	k.state, k.since = state, time.Now()
	k.f.metrics.Connections.WithLabelValues(state).Inc()
}

// run keeps the connection until ctx ends.
func (k *link) run(ctx context.Context) {
	wait := firstWait
	for ctx.Err() == nil {
		began := time.Now()
		reason, err := k.live(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > steady {
			wait = firstWait
		}
		k.enter(linkWaiting)
		k.f.metrics.Reconnects.WithLabelValues(reason).Inc()
		pause := wait + rand.N(wait/2)
		k.component.Fail(err.Error())
		k.f.log.Warn("connection ended", "conn", k.name, "reason", reason, "error", err, "again_in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		wait = min(2*wait, longest)
	}
}

// live is one connection's life. It returns why it ended: in one word for the metric, and in full.
func (k *link) live(ctx context.Context) (reason string, err error) {
	k.enter(linkConnecting)
	conn, err := k.dial(ctx, k.name, k.symbols)
	if err != nil {
		return "dial", err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close("shutting down") })
	defer stop()
	defer conn.Close("done")
	k.enter(linkUp)
	up := time.Now().UnixNano()
	err = k.read(conn)
	if k.lane != nil && ctx.Err() == nil {
		k.lane.lost(k, time.Unix(0, max(up, k.lastFrame.Load())))
	}
	return reasonOf(err), err
}

// read hands over what comes until the connection is over.
func (k *link) read(conn Conn) error {
	var b market.Batch
	before := k.frames.Load()
	for {
		if err := conn.Read(&b); err != nil {
			return err
		}
		k.frames.Store(before + conn.Frames())
		k.lastFrame.Store(time.Now().UnixNano())
		k.component.Beat()
		if k.lane == nil {
			k.f.witness(b.Official)
		} else if len(b.Trades) > 0 {
			k.lane.take(k, &b)
		}
	}
}

// witness hands each lane the venue's own klines of its symbols.
func (f *Feed) witness(updates []market.Update) {
	for i := range updates {
		if l, _ := f.laneOf(updates[i].Symbol); l != nil {
			l.witness(updates[i : i+1])
		}
	}
}

// reasonOf is why a connection ended, in one word.
func reasonOf(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return "error"
}

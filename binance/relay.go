package binance

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"klined/health"
)

// Bounds of a Relay.
const (
	relayConns  = 8               // connections of one path: 8,192 streams each
	relayLinger = 5 * time.Second // how long a stream is carried that nobody takes any more
)

// RelayOptions say what a Relay works with; Venue and Sink must be set.
type RelayOptions struct {
	Venue   *Venue
	Sink    func(name, payload []byte) // takes an event of a stream: its name and its JSON, valid during the call. Each connection calls it
	Metrics *health.Metrics
	Log     *slog.Logger
}

// Relay carries streams of the exchange as they are: each once, however many take it, from Subscribe until some seconds after
// Unsubscribe. When a connection is lost, or ends because of its age, what the exchange sends until its successor has subscribed is
// not carried: there is no overlap, so that no event comes twice. Its methods may be used from any goroutine.
type Relay struct {
	o    RelayOptions
	log  *slog.Logger
	wake chan struct{} // holds one while Run has something to look at

	mu      sync.Mutex
	streams map[string]*relayed
	conns   []*relayConn // relayConns of each path
	quiet   limiter
}

// relayed is one stream that is carried.
type relayed struct {
	conn *relayConn
	left time.Time // since when nobody takes it; zero where somebody does
}

// NewRelay makes a Relay. Nothing is dialled before Run and the first Subscribe.
func NewRelay(o RelayOptions) *Relay {
	if o.Metrics == nil {
		o.Metrics = health.NewMetrics()
	}
	r := &Relay{o: o, log: logOrNone(o.Log, "binance"), wake: make(chan struct{}, 1), streams: make(map[string]*relayed),
		quiet: limiter{every: 10 * time.Second}}
	for _, path := range []string{marketPath, publicPath} {
		for n := range relayConns {
			r.conns = append(r.conns, newRelayConn(r, path, n))
		}
	}
	return r
}

// Takes reports whether name may be a stream of the exchange's markets: one that it does not serve is acknowledged there, and
// silent. Streams of users are none: their names are secrets, and never sent on.
func (r *Relay) Takes(name string) bool { return isMarketStream(name) }

// Subscribe begins to carry a stream, in the background. Where no connection has room for it, that is logged and the stream stays
// silent.
func (r *Relay) Subscribe(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[name]; s != nil {
		s.left = time.Time{}
		return
	}
	path := pathOf(name)
	for _, c := range r.conns {
		if c.path == path && len(c.names) < MaxStreams {
			r.streams[name] = &relayed{conn: c}
			c.add(name)
			r.signal()
			return
		}
	}
	if silent, ok := r.quiet.allow(time.Now()); ok {
		r.log.Warn("cannot relay a stream: every connection is full", "stream", name, "path", path, "unlogged", silent)
	}
}

// Unsubscribe says that nobody takes a stream any more.
func (r *Relay) Unsubscribe(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[name]; s != nil {
		s.left = time.Now()
		r.signal()
	}
}

func (r *Relay) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run keeps the connections until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	var keepers sync.WaitGroup
	defer keepers.Wait()
	timer := time.NewTimer(relayLinger)
	defer timer.Stop()
	for {
		for _, c := range r.unkept() {
			keepers.Go(func() { c.keep(ctx) })
		}
		timer.Reset(r.endLeft(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// unkept lists the connections that have streams and nobody who keeps them; the caller does so from now on.
func (r *Relay) unkept() (conns []*relayConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if len(c.names) > 0 && !c.kept {
			c.kept = true
			conns = append(conns, c)
		}
	}
	return conns
}

// endLeft ends the streams that nobody has taken for a while, and says when it is to be called again.
func (r *Relay) endLeft(now time.Time) (next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = time.Hour
	for name, s := range r.streams {
		if s.left.IsZero() {
			continue
		}
		if wait := s.left.Add(relayLinger).Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		delete(r.streams, name)
		s.conn.remove(name)
	}
	return next
}

// RelayConn is one connection of a Relay as operators see it.
type RelayConn struct {
	ID        string
	State     string // connecting, up, waiting
	Streams   int
	UpSince   time.Time // zero where it is not up
	LastFrame time.Time // zero before the first
	Frames    uint64    // over all connections of that ID
}

// Connections are those that carry streams, or are about to.
func (r *Relay) Connections() (all []RelayConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if c.state == "" {
			continue
		}
		seen := RelayConn{ID: c.label, State: c.state, Streams: len(c.names), Frames: c.frames}
		if c.stream != nil {
			seen.UpSince = c.since
			seen.Frames += c.stream.Frames()
		}
		if at := c.lastFrame.Load(); at != 0 {
			seen.LastFrame = time.Unix(0, at)
		}
		all = append(all, seen)
	}
	return all
}

// label is how a connection is called for operators.
func label(path string, n int) string {
	kind := "market"
	if path == publicPath {
		kind = "public"
	}
	return fmt.Sprintf("relay-%s-%d", kind, n)
}

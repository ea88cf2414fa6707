package binance

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"klined/health"
)

// Bounds of a Relay.
const (
	relayConns  = 8                       // connections of one path: 8,192 streams each
	relayQueue  = relayConns * MaxStreams // streams of one path that wait for room
	relayLinger = 5 * time.Second         // how long a stream is carried that nobody takes any more, where nobody else wants the room
	relayShuns  = time.Hour               // how long a stream that the exchange refused is not asked for again
)

// How often a Relay dials, over all its connections: some at once, then one now and then, 108 in 5 minutes at most. Of what dials
// allows the rest is left to the connections that bring trades.
const (
	relayDials = 3 * time.Second
	relayBurst = 8
)

// RelayOptions say what a Relay works with; Venue and Sink must be set.
type RelayOptions struct {
	Venue    *Venue
	Sink     func(name, payload []byte) // takes an event of a stream: its name and its JSON, valid during the call. Each connection calls it
	Metrics  *health.Metrics
	Watchdog *health.Watchdog // nil: nobody is told how the connections are
	Log      *slog.Logger
}

// Relay carries streams of the exchange as they are: each once, however many take it, from Subscribe until some seconds after
// Unsubscribe. When a connection is lost, or ends because of its age, what the exchange sends until its successor has subscribed is
// not carried: there is no overlap, so that no event comes twice. Its methods may be used from any goroutine.
type Relay struct {
	o         RelayOptions
	log       *slog.Logger
	component *health.Component
	wake      chan struct{} // holds one while Run has something to look at

	mu      sync.RWMutex
	streams map[string]*relayed
	sides   map[string]*relaySide // by path
	shunned map[string]time.Time  // names that the exchange refused, until when; dialling bounds them
	dialled time.Time             // the time that relayDials gives to the last dial
	full    int                   // streams that found no room, not logged yet
	example string                // one of them
	told    time.Time             // when that was logged last
}

// relaySide is what a Relay carries of one of the exchange's paths. Where a stream waits, none lingers.
type relaySide struct {
	conns   []*relayConn
	waiting list.List // of *relayed that have no room, the first first
	left    list.List // of *relayed that nobody takes any more, the first first
}

// relayed is one stream that is carried, or waits.
type relayed struct {
	name  string
	side  *relaySide
	conn  *relayConn    // nil where it waits
	place *list.Element // in waiting or left; nil where it is in neither
	left  time.Time     // since when nobody takes it; zero where somebody does
	alone bool          // the exchange refused it together with others
}

// NewRelay makes a Relay. Nothing is dialled before Run and the first Subscribe.
func NewRelay(o RelayOptions) *Relay {
	if o.Metrics == nil {
		o.Metrics = health.NewMetrics()
	}
	r := &Relay{o: o, log: logOrNone(o.Log, "serve"), wake: make(chan struct{}, 1), streams: make(map[string]*relayed),
		sides: make(map[string]*relaySide), shunned: make(map[string]time.Time)}
	if o.Watchdog == nil {
		o.Watchdog = health.NewWatchdog(r.log)
	}
	r.component = o.Watchdog.Component("relay", health.Outside)
	for _, path := range []string{marketPath, publicPath} {
		side := &relaySide{}
		for n := range relayConns {
			side.conns = append(side.conns, newRelayConn(r, path, n))
		}
		r.sides[path] = side
	}
	return r
}

// Takes reports whether name may be a stream of the exchange's markets: one that it does not serve is acknowledged there, and
// silent. Streams of users are none: their names are secrets, and never sent on.
func (r *Relay) Takes(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return isMarketStream(name) && r.shunned[name].IsZero()
}

// Subscribe begins to carry a stream, in the background. Where no connection has room for it, it waits until one has; where too
// many wait, it stays silent until it is subscribed to anew. Both are logged.
func (r *Relay) Subscribe(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.streams[name]; s != nil {
		if !s.left.IsZero() {
			s.side.left.Remove(s.place)
			s.left, s.place = time.Time{}, nil
		}
		return
	}
	s := &relayed{name: name, side: r.sides[pathOf(name)]}
	if s.side.waiting.Len() < relayQueue {
		r.streams[name] = s
		s.place = s.side.waiting.PushBack(s)
		r.arrange(s.side)
	}
	if s.conn == nil {
		r.full, r.example = r.full+1, name
	}
	r.signal()
}

// Unsubscribe says that nobody takes a stream any more.
func (r *Relay) Unsubscribe(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.streams[name]
	switch {
	case s == nil || !s.left.IsZero():
	case s.conn == nil:
		s.side.waiting.Remove(s.place)
		delete(r.streams, name)
	default:
		s.left, s.place = time.Now(), s.side.left.PushBack(s)
		r.arrange(s.side)
		r.signal()
	}
}

// arrange gives room to those that wait, where there is some, or somebody has left; the caller holds the mutex.
func (r *Relay) arrange(side *relaySide) {
	for first := side.waiting.Front(); first != nil; first = side.waiting.Front() {
		c := side.room()
		if c == nil {
			longest := side.left.Front()
			if longest == nil {
				return
			}
			r.drop(longest.Value.(*relayed))
			continue
		}
		s := side.waiting.Remove(first).(*relayed)
		s.conn, s.place = c, nil
		c.add(s)
	}
}

// room is the first connection that may carry another stream, nil where there is none.
func (side *relaySide) room() *relayConn {
	for _, c := range side.conns {
		if len(c.names) < MaxStreams {
			return c
		}
	}
	return nil
}

// drop ends a stream that is carried; the caller holds the mutex.
func (r *Relay) drop(s *relayed) {
	if s.place != nil {
		s.side.left.Remove(s.place)
	}
	delete(r.streams, s.name)
	s.conn.remove(s.name)
}

// signal lets Run look; the caller need not hold the mutex.
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
		r.report(time.Now())
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
	for c := range r.conns {
		if len(c.names) > 0 && !c.kept {
			c.kept = true
			conns = append(conns, c)
		}
	}
	return conns
}

// conns are the connections of both paths.
func (r *Relay) conns(yield func(*relayConn) bool) {
	for _, path := range []string{marketPath, publicPath} {
		for _, c := range r.sides[path].conns {
			if !yield(c) {
				return
			}
		}
	}
}

// endLeft ends the streams that nobody has taken for a while, and says when it is to be called again: twice at least before the
// watchdog would call a Relay silent.
func (r *Relay) endLeft(now time.Time) (next time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next = health.Silence / 2
	for _, side := range r.sides {
		for longest := side.left.Front(); longest != nil; longest = side.left.Front() {
			s := longest.Value.(*relayed)
			if wait := s.left.Add(relayLinger).Sub(now); wait > 0 {
				next = min(next, wait)
				break
			}
			r.drop(s)
		}
	}
	for name, until := range r.shunned {
		if now.After(until) {
			delete(r.shunned, name)
		}
	}
	return next
}

// report tells operators, now and then, of streams without room, and the watchdog how the connections are.
func (r *Relay) report(now time.Time) {
	r.mu.Lock()
	full, example := r.full, r.example
	if full > 0 && now.Sub(r.told) >= 10*time.Second {
		r.full, r.told = 0, now
	} else {
		full = 0
	}
	ails := ""
	for c := range r.conns {
		if ails == "" && c.ails != "" {
			ails = c.label + ": " + c.ails
		}
	}
	r.mu.Unlock()
	if full > 0 { // not under the mutex, for which clients wait
		r.log.Warn("cannot relay streams: every connection is full", "stream", example, "streams", full)
	}
	if ails != "" {
		r.component.Fail(ails)
	} else {
		r.component.Beat()
	}
}

// turn waits until another connection may be dialled, or ctx ends.
func (r *Relay) turn(ctx context.Context) {
	r.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-(relayBurst - 1) * relayDials); r.dialled.Before(earliest) {
		r.dialled = earliest
	} else {
		r.dialled = r.dialled.Add(relayDials)
	}
	wait := r.dialled.Sub(now)
	r.mu.Unlock()
	if wait > 0 {
		pause(ctx, wait)
	}
}

// pause waits for some time, or for ctx to end.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
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

// Connections are those that carry streams, or did a moment ago, or are about to.
func (r *Relay) Connections() (all []RelayConn) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c := range r.conns {
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

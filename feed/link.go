package feed

import (
	"context"
	"math/rand/v2"
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

const (
	rotateAfter  = 23 * time.Hour   // the venue ends a connection after 24
	rotateWait   = 10 * time.Minute // how long a connection stays beside its successor at most, until that delivers
	replaceAgain = time.Minute      // after it did not work
)

// link keeps one connection alive: dials, reads, hands over, dials again, and replaces it before the venue ends it.
type link struct {
	f      *Feed
	name   string
	dial   Dial
	lane   *lane         // nil for klines and the witness
	rotate time.Duration // how long a connection lives before it is replaced
	late   chan *carrier // holds one that is to be replaced because it is late
	filled chan struct{} // says that it has symbols again; holds one
	all    bool          // it carries what is of all symbols: the venue's summary

	hurried time.Time // when late was last used; the lane's mutex guards it

	// For operators.
	component *health.Component
	frames    atomic.Uint64 // received so far, over all connections of this link
	lastFrame atomic.Int64  // Unix ns of the last

	mu       sync.Mutex        // guards what follows; taken before the lane's
	symbols  []market.SymbolID // what its connections carry; never written, but replaced
	sessions []*session        // its connections that are up: one, or two while one is replaced
	state    string            // "connecting", "up", "waiting"
	since    time.Time         // of the state
}

// session is one connection's life.
type session struct {
	conn    Conn
	carrier *carrier      // nil where it carries no lane
	carried chan struct{} // closed when it delivers
	up      time.Time
	ended   chan error // gets why it ended, once the lane knows

	// Its reader's own.
	heard     market.Time // when its last frame came
	delivered bool        // carried is closed; of a connection without a lane
}

// The states of a link.
const (
	linkConnecting = "connecting"
	linkUp         = "up"
	linkWaiting    = "waiting"
)

// Reasons why a connection ends that are ours. For the others see health.ReconnectReason.
const (
	endedDial = "dial" // it could not be had
	rotated   = "rotated"
	silent    = "silent"
	overtaken = "late"
)

func (f *Feed) newLink(name string, dial Dial, l *lane, symbols []market.SymbolID) *link {
	k := &link{f: f, name: name, dial: dial, lane: l, symbols: symbols, late: make(chan *carrier, 1), filled: make(chan struct{}, 1),
		all: len(symbols) == 0, component: f.layout.watchdog.Component("feed "+name, health.Outside)}
	k.enter(linkWaiting)
	f.linking.Lock()
	defer f.linking.Unlock()
	// They are not replaced all at once.
	k.rotate = f.layout.rotate - f.layout.rotate/10*time.Duration(len(f.links)%10)/10
	f.links = append(f.links, k)
	select {
	case f.more <- struct{}{}:
	default:
	}
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

// idle reports whether the link has nothing to carry: all its symbols have ended.
func (k *link) idle() bool { return !k.all && len(k.carries()) == 0 }

// wanted waits until the link has something to carry; false where ctx ends before.
func (k *link) wanted(ctx context.Context) bool {
	for k.idle() && ctx.Err() == nil {
		k.component.Beat()
		select {
		case <-ctx.Done():
		case <-k.filled:
		case <-time.After(health.Silence / 2):
		}
	}
	return ctx.Err() == nil
}

// run keeps the connection, as long as it has something to carry, until ctx ends.
func (k *link) run(ctx context.Context) {
	wait := firstWait
	for k.wanted(ctx) {
		began := time.Now()
		reason, err := k.live(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > steady {
			wait = firstWait
		}
		k.enter(linkWaiting)
		if k.idle() {
			k.f.log.Info("connection ended: all that it carried has ended", "conn", k.name)
			continue
		}
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

// live is the life of one connection and of those that replace it. It returns why the last one ended: in one word for
// the metric, and in full.
func (k *link) live(ctx context.Context) (reason string, err error) {
	k.enter(linkConnecting)
	s, err := k.open(ctx)
	if err != nil {
		return endedDial, err
	}
	k.enter(linkUp)
	age := time.NewTimer(k.rotate)
	defer age.Stop()
	for {
		select {
		case err := <-s.ended:
			return k.reason(s, err), err
		case c := <-k.late:
			if c != s.carrier {
				continue // it has been replaced meanwhile
			}
			if next := k.replace(ctx, s, overtaken); next != s {
				s = next
				age.Reset(k.rotate)
			}
		case <-age.C:
			next := k.replace(ctx, s, rotated)
			age.Reset(k.rotate)
			if next == s {
				age.Reset(replaceAgain)
			}
			s = next
		}
	}
}

// open dials and begins to read.
func (k *link) open(ctx context.Context) (*session, error) {
	symbols := k.carries()
	conn, err := k.dial(ctx, k.name, symbols)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, up: time.Now(), heard: k.f.clock.Now(), ended: make(chan error, 1), carried: make(chan struct{})}
	k.join(s, symbols)
	go func() {
		stop := context.AfterFunc(ctx, func() { conn.Close("shutting down") })
		err := k.read(ctx, s)
		stop()
		conn.Close("done")
		k.leave(s)
		k.f.summaries.end(s)
		if k.lane != nil && ctx.Err() == nil {
			k.lane.lost(s.carrier, s.heard)
		}
		s.ended <- err
	}()
	return s, nil
}

// replace opens a successor and ends the old connection once that delivers: there is no time without one. why is the
// metric's word for it. It returns the connection that lives on.
func (k *link) replace(ctx context.Context, old *session, why string) *session {
	next, err := k.open(ctx)
	if err == nil {
		patience := time.NewTimer(rotateWait)
		defer patience.Stop()
		select {
		case <-next.carried:
		case <-patience.C:
			next.conn.Close("brings nothing")
			err = <-next.ended
		case err := <-old.ended: // it did not live to see it
			k.f.metrics.Reconnects.WithLabelValues(k.reason(old, err)).Inc()
			return next
		case err = <-next.ended:
		}
	}
	if err != nil {
		k.f.log.Warn("cannot replace a connection yet", "conn", k.name, "error", err, "again_in", replaceAgain)
		return old
	}
	old.conn.Close(why)
	end := <-old.ended
	k.f.metrics.Reconnects.WithLabelValues(why).Inc()
	k.f.log.Info("connection replaced", "conn", k.name, "reason", why, "after", time.Since(old.up).Round(time.Second), "end", end)
	return next
}

// read hands over what comes until the connection is over.
func (k *link) read(ctx context.Context, s *session) error {
	var b market.Batch
	frames := uint64(0)
	for {
		if err := s.conn.Read(&b); err != nil {
			return err
		}
		now := s.conn.Frames()
		k.frames.Add(now - frames)
		frames = now
		k.lastFrame.Store(time.Now().UnixNano())
		s.heard = k.f.clock.Now()
		k.component.Beat()
		k.hand(ctx, s, &b)
	}
}

// hand gives a read to whom it is for.
func (k *link) hand(ctx context.Context, s *session, b *market.Batch) {
	if k.lane == nil {
		delivers := !s.delivered && b.Ready && len(b.Official)+len(b.Tickers) > 0
		k.f.frames(b.Official)
		k.f.witness(b.Tickers, s.up)
		k.f.summarise(s, b, delivers)
		if delivers {
			s.delivered = true
			close(s.carried)
		}
		return
	}
	k.f.believeTimes(ctx, b)
	if b.Pong {
		defer k.lane.answered(s.carrier, b.Received)
	}
	switch {
	case len(b.Trades) > 0:
		k.lane.take(s.carrier, b)
	case b.Ready:
		k.lane.acknowledged(s.carrier, b.Received)
	}
}

// reason is why a connection ended, in one word.
func (k *link) reason(s *session, err error) string {
	if s.carrier != nil && k.lane.foundSilent(s.carrier) != "" {
		return silent
	}
	return health.ReconnectReason(err)
}

// frames hands each lane the venue's own klines of its symbols.
func (f *Feed) frames(updates []market.Update) {
	for i := range updates {
		if l, _ := f.laneOf(updates[i].Symbol); l != nil {
			l.frames(updates[i : i+1])
		}
	}
}

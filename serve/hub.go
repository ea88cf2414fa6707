package serve

import (
	"bufio"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"klined/health"
	"klined/market"
)

// maxQueued bounds what waits for all clients together, in bytes of memory.
const maxQueued = 256 << 20

// Bounds of what all clients hold together.
const (
	maxClients       = 12_000
	maxSubscriptions = 768 << 10 // beyond the first ownStreams of each client
)

// hub hands changed klines, and facts, to the clients that subscribe to them. Locks are taken in the order subscribing,
// a topic's mu, clientsMu, client.mu; mu, dirtyMu and the ready queue's are held for map and slice operations alone. What a
// topic's watch calls is called under subscribing: it takes the mutex of a lane, or the relay's, and neither calls back.
type hub struct {
	server  *Server
	clock   interface{ Now() market.Time }
	metrics *health.Metrics
	every   time.Duration
	pushes  *health.Component // the tick
	writes  *health.Component // the flushers

	mu     sync.RWMutex
	klines map[market.Series]*klineTopic // only grows: at most symbols × intervals
	facts  map[string]*facts             // that somebody subscribes to, by name
	fed    map[relayedFrom]*facts        // those of them that the feed relays

	subscribing sync.Mutex                 // so that topics hear on and off in their order
	later       map[*subscription]struct{} // those that are klined's own once their symbol is carried; guarded by subscribing

	clientsMu sync.Mutex
	clients   map[*client]struct{}
	closed    bool
	running   sync.WaitGroup // the clients' goroutines

	queued  atomic.Int64 // bytes of memory that wait for all clients: a frame is counted once, however many it waits for
	bound   int64        // what queued may reach
	reading atomic.Int64 // bytes that have come of messages that are not whole yet, without each one's first readAtOnce
	told    atomic.Int64 // Unix ns when it was logged last that a client takes too much
	rounds  sync.Pool    // of *round

	from          crowd        // clients, by their address where it is bounded
	admitted      atomic.Int64 // clients, those whose connection is being upgraded too
	maxClients    int64
	subscriptions atomic.Int64 // of all clients, without each one's first ownStreams
	maxStreams    int64        // what subscriptions may reach
	buffers       sync.Pool    // of *[]byte: what frames are joined in

	ready    *ready
	flushers sync.WaitGroup

	dirtyMu sync.Mutex
	dirty   []*klineTopic // those with an open kline that waits for the tick

	stop    chan struct{}
	stopped chan struct{} // closed when the tick's goroutine has ended
}

func newHub(s *Server) *hub {
	h := &hub{
		server:  s,
		clock:   s.opt.Clock,
		metrics: s.opt.Metrics,
		every:   s.opt.PushEvery,
		pushes:  s.opt.Watchdog.Component("push", health.Own),
		writes:  s.opt.Watchdog.Component("writers", health.Own).Within(health.Silence, "no client has been written to, though some wait,"),
		bound:   maxQueued,

		maxClients: maxClients,
		maxStreams: maxSubscriptions,

		klines:  make(map[market.Series]*klineTopic),
		facts:   make(map[string]*facts),
		fed:     make(map[relayedFrom]*facts),
		clients: make(map[*client]struct{}),
		later:   make(map[*subscription]struct{}),
		ready:   newReady(),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go h.tick()
	for range runtime.GOMAXPROCS(0) {
		h.flushers.Add(1)
		go h.flush()
	}
	return h
}

// publish gives each changed kline to its topic.
func (h *hub) publish(changes *market.Changes) {
	r := h.round()
	defer r.end()
	for i := range changes.Relayed {
		h.relay(r, &changes.Relayed[i])
	}
	for i := range changes.Updates {
		u := &changes.Updates[i]
		if u.State == market.StateAbsent {
			continue
		}
		h.mu.RLock()
		t := h.klines[u.Series]
		h.mu.RUnlock()
		switch {
		case u.State == market.StateOpen:
			if t != nil {
				t.changed(r, u, changes.Received)
			}
		case t != nil:
			t.ended(r, u, changes.Received)
		default:
			h.klinesOf(u.Series).ended(r, u, changes.Received)
		}
	}
}

// klinesOf is the topic of a series, made where there was none.
func (h *hub) klinesOf(series market.Series) *klineTopic {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.klines[series]
	if t == nil {
		t = newKlineTopic(h, series)
		h.klines[series] = t
	}
	return t
}

// subscribe finds what s stands for, and adds it there.
func (h *hub) subscribe(s *subscription) {
	h.subscribing.Lock()
	defer h.subscribing.Unlock()
	s.topic, s.form, s.name = h.resolve(s.client, s.name)
	if s.topic != nil && s.topic.add(s) {
		s.topic.watch(true)
	}
	if h.awaits(s) {
		h.later[s] = struct{}{}
	}
}

// unsubscribe takes s off.
func (h *hub) unsubscribe(s *subscription) {
	h.subscribing.Lock()
	defer h.subscribing.Unlock()
	delete(h.later, s)
	if s.topic != nil && s.topic.remove(s) {
		s.topic.watch(false)
	}
}

// tick pushes, each push interval, the open klines that wait for it: many series share a write.
func (h *hub) tick() {
	defer close(h.stopped)
	ticker := time.NewTicker(h.every)
	defer ticker.Stop()
	var due []*klineTopic
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
			h.pushes.Beat()
			if h.ready.empty() {
				h.writes.Beat()
			}
		}
		h.dirtyMu.Lock()
		due, h.dirty = h.dirty, due[:0]
		h.dirtyMu.Unlock()
		r := h.round()
		r.next = tickedFirst
		for _, t := range due {
			t.pushWaiting(r)
		}
		r.end()
	}
}

// markDirty puts t before the next tick. Its caller holds t.mu and has seen that it is not there yet.
func (h *hub) markDirty(t *klineTopic) {
	h.dirtyMu.Lock()
	h.dirty = append(h.dirty, t)
	h.dirtyMu.Unlock()
}

// admit reports whether there is room for one more client. Where there is, it has it until it is forgotten.
func (h *hub) admit() bool {
	if h.admitted.Add(1) <= h.maxClients {
		return true
	}
	h.admitted.Add(-1)
	h.metrics.WSRefused.Inc()
	return false
}

// start takes over the upgraded connection of a client that has been admitted.
func (h *hub) start(conn net.Conn, in *bufio.Reader, want wanted) {
	h.clientsMu.Lock()
	defer h.clientsMu.Unlock()
	if h.closed {
		_ = conn.Close()
		h.admitted.Add(-1)
		h.left(want.who)
		return
	}
	c := newClient(h, conn, in, want)
	h.clients[c] = struct{}{}
	h.metrics.WSClients.Inc()
	h.running.Add(1)
	go c.read(want.names)
}

// forget takes c out of the hub; its topics have been left before.
func (h *hub) forget(c *client) {
	h.clientsMu.Lock()
	delete(h.clients, c)
	h.clientsMu.Unlock()
	h.admitted.Add(-1)
	h.left(c.who)
	h.metrics.WSClients.Dec()
}

// left takes one away from those counted for an address.
func (h *hub) left(who string) {
	if who != "" {
		h.from.leave(who)
	}
}

// shed closes the clients with the most waiting for them until all are within the bound again.
func (h *hub) shed() {
	for h.queued.Load() > h.bound {
		var fullest *client
		most := 0
		h.clientsMu.Lock()
		for c := range h.clients {
			if n := c.waiting(); n > most {
				fullest, most = c, n
			}
		}
		h.clientsMu.Unlock()
		if fullest == nil {
			return
		}
		fullest.slow()
	}
}

// stopping reports whether close has been called.
func (h *hub) stopping() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

// cut closes the connections of the clients that are left.
func (h *hub) cut() {
	h.clientsMu.Lock()
	defer h.clientsMu.Unlock()
	for c := range h.clients {
		_ = c.conn.Close()
	}
}

// closesWithin is how long clients may take to hear that the server is stopping; those that do not read are cut then.
const closesWithin = 2 * time.Second

// close ends every client with 1001, and the tick.
func (h *hub) close() {
	h.clientsMu.Lock()
	if h.closed {
		h.clientsMu.Unlock()
		h.running.Wait()
		return
	}
	h.closed = true
	for c := range h.clients {
		c.shut(ws.StatusGoingAway, "server is stopping")
	}
	h.clientsMu.Unlock()
	close(h.stop)
	<-h.stopped
	late := time.AfterFunc(closesWithin, h.cut)
	h.running.Wait()
	late.Stop()
	h.ready.close()
	h.flushers.Wait()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, t := range h.klines {
		t.close()
	}
}

package serve

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"klined/health"
	"klined/market"
)

// maxQueued bounds the frames that wait for all clients together, in bytes.
const maxQueued = 256 << 20

// hub hands changed klines to the clients that subscribe to them. Locks are taken in the order subscribing, topic.mu,
// clientsMu, client.mu; mu and dirtyMu are held for map and slice operations alone.
type hub struct {
	server  *Server
	clock   interface{ Now() market.Time }
	metrics *health.Metrics
	every   time.Duration

	mu     sync.RWMutex
	topics map[market.Series]*topic // only grows: at most symbols × intervals

	subscribing sync.Mutex // so that Watch hears on and off in their order

	clientsMu sync.Mutex
	clients   map[*client]struct{}
	closed    bool
	running   sync.WaitGroup // the clients' goroutines

	queued  atomic.Int64 // bytes that wait for all clients; moved under client.mu
	bound   int64        // what queued may reach
	buffers sync.Pool    // of *[]byte: what writers join frames in

	dirtyMu sync.Mutex
	dirty   []*topic // those with an open kline that waits for the tick

	stop    chan struct{}
	stopped chan struct{} // closed when the tick's goroutine has ended
}

func newHub(s *Server) *hub {
	h := &hub{
		server:  s,
		clock:   s.opt.Clock,
		metrics: s.opt.Metrics,
		every:   s.opt.PushEvery,
		bound:   maxQueued,
		topics:  make(map[market.Series]*topic),
		clients: make(map[*client]struct{}),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	go h.tick()
	return h
}

// publish gives each changed kline to its topic.
func (h *hub) publish(changes *market.Changes) {
	for i := range changes.Updates {
		u := &changes.Updates[i]
		if u.State == market.StateAbsent {
			continue
		}
		h.mu.RLock()
		t := h.topics[u.Series]
		h.mu.RUnlock()
		switch {
		case u.State == market.StateOpen:
			if t != nil {
				t.changed(u, changes.Received)
			}
		case t != nil:
			t.ended(u, changes.Received)
		default:
			h.topic(u.Series).ended(u, changes.Received)
		}
	}
}

// topic is the topic of a series, made where there was none.
func (h *hub) topic(series market.Series) *topic {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[series]
	if t == nil {
		t = newTopic(h, series)
		h.topics[series] = t
	}
	return t
}

// subscribe adds c to the series' topic.
func (h *hub) subscribe(c *client, series market.Series) *topic {
	t := h.topic(series)
	h.subscribing.Lock()
	defer h.subscribing.Unlock()
	if t.add(c) == 1 {
		h.server.opt.Live.Watch(series, true)
	}
	return t
}

// unsubscribe takes c off t.
func (h *hub) unsubscribe(c *client, t *topic) {
	h.subscribing.Lock()
	defer h.subscribing.Unlock()
	if t.remove(c) == 0 {
		h.server.opt.Live.Watch(t.series, false)
	}
}

// tick pushes, each push interval, the open klines that wait for it: many series share a write.
func (h *hub) tick() {
	defer close(h.stopped)
	ticker := time.NewTicker(h.every)
	defer ticker.Stop()
	var due []*topic
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		}
		h.dirtyMu.Lock()
		due, h.dirty = h.dirty, due[:0]
		h.dirtyMu.Unlock()
		for _, t := range due {
			t.pushWaiting()
		}
	}
}

// markDirty puts t before the next tick. Its caller holds t.mu and has seen that it is not there yet.
func (h *hub) markDirty(t *topic) {
	h.dirtyMu.Lock()
	h.dirty = append(h.dirty, t)
	h.dirtyMu.Unlock()
}

// start takes over an upgraded connection.
func (h *hub) start(conn net.Conn, in *bufio.Reader, want wanted) {
	c := newClient(h, conn, in, want)
	h.clientsMu.Lock()
	if h.closed {
		h.clientsMu.Unlock()
		_ = conn.Close()
		return
	}
	h.clients[c] = struct{}{}
	h.running.Add(2)
	h.clientsMu.Unlock()
	h.metrics.WSClients.Inc()
	go c.write()
	go c.read(want.names)
}

// forget takes c out of the hub; its topics have been left before.
func (h *hub) forget(c *client) {
	h.clientsMu.Lock()
	delete(h.clients, c)
	h.clientsMu.Unlock()
	h.metrics.WSClients.Dec()
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
	h.running.Wait()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, t := range h.topics {
		t.close()
	}
}

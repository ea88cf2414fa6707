package serve

import (
	"slices"
	"sync"
	"syscall"
)

// How many bytes, counted for each client, a round queues before clients are written to, unless one of them has enough for a write
// before. Each time it is four times as much. Who is handed over while more is to come takes a write more (bench/DESIGN.md): that is
// saved at a tick, which is not in a hurry; the first byte of closes leaves soon.
const (
	handedFirst = 1 << 20
	tickedFirst = 32 << 20
)

// round is what one drain, one tick or one fact brings. It is queued, and those whom it has touched are written to, once where
// it is small.
type round struct {
	hub     *hub
	touched []*client // since hand
	bytes   int       // queued since hand, for all clients
	next    int       // how many they may be: handedFirst, or tickedFirst
}

// round begins one.
func (h *hub) round() *round {
	r, _ := h.rounds.Get().(*round)
	if r == nil {
		r = &round{hub: h}
	}
	r.next = handedFirst
	return r
}

// put queues f for c; s is the subscription that it comes by, nil for a frame of c's own.
func (r *round) put(c *client, s *subscription, f *frame) {
	touched, full := c.enqueue(s, f)
	if touched {
		r.touched = append(r.touched, c)
	}
	switch r.bytes += len(f.data); {
	case r.bytes >= r.next:
		r.next *= 4
		r.hand()
	case full:
		r.hand()
	}
}

// hand leaves whom r touched to the flushers, and closes the fullest clients where too much waits.
func (r *round) hand() {
	r.hub.ready.put(r.touched)
	clear(r.touched)
	r.touched, r.bytes = r.touched[:0], 0
	if r.hub.queued.Load() > r.hub.bound {
		r.hub.shed()
	}
}

func (r *round) end() {
	r.hand()
	r.hub.rounds.Put(r)
}

// ready is the clients that something waits for, in the order they came. Each is on it once at most.
type ready struct {
	mu      sync.Mutex
	some    *sync.Cond
	clients []*client // those from head on
	head    int
	closed  bool
}

func newReady() *ready {
	q := new(ready)
	q.some = sync.NewCond(&q.mu)
	return q
}

// flushedAtOnce is how many clients a flusher takes at a time.
const flushedAtOnce = 16

func (q *ready) put(clients []*client) {
	if len(clients) == 0 {
		return
	}
	q.mu.Lock()
	if q.head > len(q.clients)/2 {
		q.clients, q.head = slices.Delete(q.clients, 0, q.head), 0
	}
	q.clients = append(q.clients, clients...)
	q.mu.Unlock()
	if len(clients) > flushedAtOnce {
		q.some.Broadcast()
	} else {
		q.some.Signal()
	}
}

// take waits for clients and moves some of them into dst; none when the queue has been closed.
func (q *ready) take(dst []*client) []*client {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.clients) && !q.closed {
		q.some.Wait()
	}
	n := min(len(q.clients)-q.head, flushedAtOnce)
	dst = append(dst, q.clients[q.head:q.head+n]...)
	q.head += n
	return dst
}

// empty reports whether nobody waits.
func (q *ready) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head == len(q.clients)
}

// close lets the flushers end when the queue is empty.
func (q *ready) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.some.Broadcast()
}

// flusher writes what waits for clients, as far as their sockets take it at once. It waits for none of them.
type flusher struct {
	hub   *hub
	batch []*frame
	data  []byte // what batch is joined in

	write func(fd uintptr) bool // one write of data
	n     int                   // what it took
}

func (h *hub) flush() {
	defer h.flushers.Done()
	w := &flusher{hub: h}
	w.write = func(fd uintptr) bool {
		w.n, _ = syscall.Write(int(fd), w.data) // an error comes again when the rest is written
		return true
	}
	var clients []*client
	for {
		clients = h.ready.take(clients[:0])
		if len(clients) == 0 {
			return
		}
		for _, c := range clients {
			w.serve(c)
		}
		h.writes.Beat()
		clear(clients)
	}
}

// serve writes what waits for c. What the socket does not take at once, and the end of a connection, is for a goroutine of
// the client's own.
func (w *flusher) serve(c *client) {
	for {
		var ending bool
		w.batch, ending = c.take(w.batch[:0])
		if ending {
			c.hand(slices.Clone(w.batch), 0)
			return
		}
		if len(w.batch) == 0 {
			return
		}
		w.data = appendFrames(w.data[:0], w.batch)
		w.n = 0
		if c.raw != nil {
			_ = c.raw.Write(w.write)
		}
		if w.n < len(w.data) {
			c.hand(slices.Clone(w.batch), max(w.n, 0))
			return
		}
		c.wrote(w.batch)
	}
}

// appendFrames appends the bytes of frames to dst.
func appendFrames(dst []byte, frames []*frame) []byte {
	for _, f := range frames {
		dst = append(dst, f.data...)
	}
	return dst
}

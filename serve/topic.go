package serve

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// holdFor is how long after its boundary a close with Gap waits to be healed or official.
const holdFor = time.Minute

// topic is one series on its way to those who subscribe to it.
type topic struct {
	hub    *hub
	series market.Series
	stream string // its stream name
	quoted string // its symbol's name as a JSON string

	mu     sync.Mutex // guards the rest
	subs   []*client
	pushed time.Time // when a kline went out last

	next    market.Update // the open kline that waits for the tick
	waiting bool          // next is to be pushed
	dirty   bool          // the topic is on the hub's list

	// The closes that have gone out or are held: bit i of final stands for the kline with ordinal newest − i. What is
	// older than the 64 is not pushed any more.
	newest int64
	final  uint64

	held  []market.Update // closes with Gap, at most 64
	timer *time.Timer     // fires when the first of held is due
}

func newTopic(h *hub, series market.Series) *topic {
	sym := h.server.opt.Symbols.Get(series.Symbol)
	quoted, _ := json.Marshal(sym.Name) // a string always marshals
	return &topic{hub: h, series: series, stream: streamName(&sym, series.Interval), quoted: string(quoted)}
}

// add subscribes c and returns how many subscribe now.
func (t *topic) add(c *client) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subs = append(t.subs, c)
	return len(t.subs)
}

// remove takes c off and returns how many subscribe now.
func (t *topic) remove(c *client) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.subs, c); i >= 0 {
		t.subs = slices.Delete(t.subs, i, i+1)
	}
	if len(t.subs) == 0 {
		t.waiting = false
	}
	return len(t.subs)
}

// changed takes in a new version of the open kline: out at once where the series was quiet, else with the next tick.
func (t *topic) changed(u *market.Update, received time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.subs) == 0 || t.final != 0 && t.series.Interval.Ordinal(u.OpenTime) <= t.newest {
		return
	}
	if !t.waiting && time.Since(t.pushed) >= t.hub.every {
		t.push(u, false, &mark{received: received})
		return
	}
	t.next, t.waiting = *u, true
	if !t.dirty {
		t.dirty = true
		t.hub.markDirty(t)
	}
}

// pushWaiting is the tick: the newest state goes out.
func (t *topic) pushWaiting() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = false
	if t.waiting {
		t.push(&t.next, false, nil)
	}
}

// ended takes in a version of a closed kline. It goes out once: at its first version, unless that has Gap; then at the
// first without, or when holdFor is over.
func (t *topic) ended(u *market.Update, received time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	whole := !u.Gap || u.State == market.StateSettled
	if i := slices.IndexFunc(t.held, func(h market.Update) bool { return h.OpenTime == u.OpenTime }); i >= 0 {
		switch {
		case whole:
			t.held = slices.Delete(t.held, i, i+1)
			t.push(u, true, &mark{received: received, boundary: u.CloseTime() + 1})
		case market.Better(&u.Kline, &t.held[i].Kline):
			t.held[i] = *u
		}
		return
	}
	if !t.finalise(t.series.Interval.Ordinal(u.OpenTime)) {
		return
	}
	if !whole && t.hub.clock.Now() < due(u) {
		t.hold(u)
		return
	}
	t.push(u, true, &mark{received: received, boundary: u.CloseTime() + 1})
}

// finalise notes that the kline with that ordinal closes, and reports whether this is the first close of it.
func (t *topic) finalise(ordinal int64) bool {
	if t.final == 0 {
		t.newest, t.final = ordinal, 1
		return true
	}
	if ahead := ordinal - t.newest; ahead > 0 {
		t.newest, t.final = ordinal, t.final<<uint64(ahead)|1 // shifts of 64 and more give 0
		return true
	}
	behind := uint64(t.newest - ordinal)
	if behind >= 64 || t.final>>behind&1 != 0 {
		return false
	}
	t.final |= 1 << behind
	return true
}

// due is when a close with Gap goes out as it is.
func due(u *market.Update) market.Time { return (u.CloseTime() + 1).Add(holdFor) }

// hold keeps a close with Gap back; the oldest one goes out where there are too many.
func (t *topic) hold(u *market.Update) {
	if len(t.held) == 64 {
		t.release(t.held[0].CloseTime() + 1)
	}
	t.held = append(t.held, *u)
	t.schedule()
}

// schedule sets the timer to the first of held that is due.
func (t *topic) schedule() {
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if len(t.held) == 0 || t.hub.stopping() {
		return
	}
	first := due(&t.held[0])
	for i := range t.held {
		first = min(first, due(&t.held[i]))
	}
	t.timer = time.AfterFunc(max(first.Sub(t.hub.clock.Now()), time.Millisecond), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.release(t.hub.clock.Now().Add(-holdFor))
		t.schedule()
	})
}

// release pushes, as they are, the held closes whose boundary is at or before upTo.
func (t *topic) release(upTo market.Time) {
	t.held = slices.DeleteFunc(t.held, func(u market.Update) bool {
		boundary := u.CloseTime() + 1
		if boundary > upTo {
			return false
		}
		t.push(&u, true, &mark{boundary: boundary})
		return true
	})
}

// close ends the timer.
func (t *topic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = nil
	t.schedule()
}

// push encodes a kline once per form that somebody takes and queues it for every subscriber. A close takes the place
// of the open kline that waits.
func (t *topic) push(u *market.Update, final bool, m *mark) {
	if t.waiting && (!final || t.next.OpenTime <= u.OpenTime) {
		t.waiting = false
	}
	if len(t.subs) == 0 {
		return
	}
	t.pushed = time.Now()
	var forms [2]*frame
	for _, c := range t.subs {
		form := 0
		if c.combined.Load() {
			form = 1
		}
		if forms[form] == nil {
			forms[form] = t.encode(u, final, form == 1, m)
		}
		c.enqueue(forms[form])
	}
	if t.hub.queued.Load() > t.hub.bound {
		t.hub.shed()
	}
}

// frame is one encoded WebSocket frame. It is shared by the queues of many clients: read only.
type frame struct {
	data  []byte
	topic *topic      // nil for answers and pings
	open  market.Time // the kline's open time
	final bool
	mark  *mark // nil where nothing is measured
}

// mark measures one push: whoever first writes a frame of it to a client.
type mark struct {
	received time.Time   // of the oldest frame behind it; zero where none was
	boundary market.Time // 0 for open klines
	done     atomic.Bool
}

// maxHeader is the longest frame header that a server writes.
const maxHeader = 10

// encode makes the frame of a kline.
func (t *topic) encode(u *market.Update, final, wrapped bool, m *mark) *frame {
	sym := t.hub.server.opt.Symbols.Get(t.series.Symbol)
	buf := make([]byte, maxHeader, 512)
	if wrapped {
		buf = append(buf, `{"stream":"`...)
		buf = append(append(buf, t.stream...), `","data":`...)
	}
	buf = appendEvent(buf, u, t.hub.clock.Now(), &sym, t.quoted, final)
	if wrapped {
		buf = append(buf, '}')
	}
	return &frame{data: seal(buf, ws.OpText), topic: t, open: u.OpenTime, final: final, mark: m}
}

// seal writes the header of a frame before its payload, which begins at maxHeader in buf.
func seal(buf []byte, op ws.OpCode) []byte {
	n := len(buf) - maxHeader
	var header [maxHeader]byte
	h := append(header[:0], 0x80|byte(op)) // FIN
	switch {
	case n < 126:
		h = append(h, byte(n))
	case n < 1<<16:
		h = append(h, 126, byte(n>>8), byte(n))
	default:
		h = append(h, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	at := maxHeader - len(h)
	copy(buf[at:], h)
	return buf[at:]
}

// control makes a frame of its own: an answer, a ping, a pong.
func control(op ws.OpCode, payload []byte) *frame {
	buf := make([]byte, maxHeader, maxHeader+len(payload))
	return &frame{data: seal(append(buf, payload...), op)}
}

package serve

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// Bounds of the closes with Gap that wait to be healed or official.
const (
	holdFor = time.Minute // after the boundary
	maxHeld = 64          // of one series: the minute's worth of its seconds
)

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

	versions versions        // of closed klines: what has gone out, to whoever was there, or is held
	held     []market.Update // closes with Gap that wait, by open time; at most maxHeld
	timer    *time.Timer     // fires when the first of held is due
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
	if len(t.subs) == 0 || t.versions.reached(t.series.Interval.Ordinal(u.OpenTime)) {
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

// ended takes in a version of a closed kline. Everybody gets the first, unless it has Gap: then the first without, or the
// best there is when holdFor is over. From then on those who asked for revisions get every better version, but for one
// that only settles the same values; it makes no difference who was there when the first went out.
//
// Of a kline that versions has forgotten nobody gets a first close. What was revised still goes to those who asked, as
// it comes: better each time, for so Publish is called, though perhaps only settled.
func (t *topic) ended(u *market.Update, received time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	this := rankOf(&u.Kline)
	best, known := t.versions.take(t.series.Interval.Ordinal(u.OpenTime), this)
	i, held := t.find(u.OpenTime)
	switch {
	case held:
		if market.Better(&u.Kline, &t.held[i].Kline) {
			t.improve(i, u, received)
		}
	case !known:
		if u.Revision > 0 {
			t.deliver(u, true, toAsked, nil)
		}
	case best == unseen:
		if whole(u) || t.hub.clock.Now() >= due(u) {
			t.push(u, true, &mark{received: received, boundary: u.CloseTime() + 1})
		} else {
			t.hold(i, u)
		}
	case this.revises(best):
		t.deliver(u, true, toAsked, nil)
	}
}

// whole reports whether a closed kline goes out at once.
func whole(u *market.Update) bool { return !u.Gap || u.State == market.StateSettled }

// due is when a close with Gap goes out as it is.
func due(u *market.Update) market.Time { return (u.CloseTime() + 1).Add(holdFor) }

// find is where the close that opens at open is in held, or would be.
func (t *topic) find(open market.Time) (i int, held bool) {
	return slices.BinarySearchFunc(t.held, open, func(u market.Update, open market.Time) int {
		return cmp.Compare(u.OpenTime, open)
	})
}

// improve puts a better version in the place of the held close i; a whole one goes out.
func (t *topic) improve(i int, u *market.Update, received time.Time) {
	if !whole(u) {
		t.held[i] = *u
		return
	}
	t.held = slices.Delete(t.held, i, i+1)
	t.push(u, true, &mark{received: received, boundary: u.CloseTime() + 1})
}

// hold keeps a close with Gap back, at its place i in held; the oldest goes out where there are too many.
func (t *topic) hold(i int, u *market.Update) {
	t.held = slices.Insert(t.held, i, *u)
	if len(t.held) > maxHeld {
		t.release(due(&t.held[0]))
	}
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
	wait := due(&t.held[0]).Sub(t.hub.clock.Now())
	t.timer = time.AfterFunc(max(wait, time.Millisecond), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.release(t.hub.clock.Now())
		t.schedule()
	})
}

// release pushes, as they are, the held closes that are due at now.
func (t *topic) release(now market.Time) {
	n := 0
	for ; n < len(t.held) && due(&t.held[n]) <= now; n++ {
		t.push(&t.held[n], true, &mark{boundary: t.held[n].CloseTime() + 1})
	}
	t.held = slices.Delete(t.held, 0, n)
}

// close ends the timer. What is held then goes out to nobody: the clients are gone, and who asks REST when they are back
// gets the best version there is.
func (t *topic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = nil
	t.schedule()
}

// push hands a kline to every subscriber. A close takes the place of the open kline that waits.
func (t *topic) push(u *market.Update, final bool, m *mark) {
	if t.waiting && (!final || t.next.OpenTime <= u.OpenTime) {
		t.waiting = false
	}
	if len(t.subs) == 0 {
		return
	}
	t.pushed = time.Now()
	t.deliver(u, final, toAll, m)
}

// audience is who gets a version.
type audience uint8

const (
	toAll   audience = iota // every subscriber
	toAsked                 // those who asked for revisions
)

// deliver encodes a kline once per form that somebody takes and queues it.
func (t *topic) deliver(u *market.Update, final bool, to audience, m *mark) {
	var forms [2]*frame
	for _, c := range t.subs {
		if to == toAsked && !c.revisions {
			continue
		}
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

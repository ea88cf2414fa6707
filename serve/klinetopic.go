package serve

import (
	"encoding/json"
	"time"

	"klined/market"
)

// klineTopic is the klines of one series on their way to those who subscribe to them.
type klineTopic struct {
	hub    *hub
	series market.Series
	quoted string        // its symbol's name as a JSON string
	names  [forms]string // of its streams, as they are asked for; guarded by the hub's subscribing

	subscribers             // its mu guards the rest
	pushed      time.Time   // when a kline went out last, to all or to those who do not wait until it is settled
	shown       market.Time // open time of the open kline that went out last

	next    market.Update // the open kline that waits for the tick
	waiting bool          // next is to be pushed
	dirty   bool          // the topic is on the hub's list

	versions versions // of closed klines: what has gone out, to whoever was there, or is held
	finals   []finals // for those who take a kline as final when it is closed, and for those who wait until it is settled
	timer    *time.Timer
}

// form is how klines are written for a subscription.
type form uint8

const (
	plain      form = iota // the event kline
	continuous             // the event continuous_kline
	forms
)

func newKlineTopic(h *hub, series market.Series) *klineTopic {
	sym := h.server.opt.Symbols.Get(series.Symbol)
	quoted, _ := json.Marshal(sym.Name) // a string always marshals
	t := &klineTopic{hub: h, series: series, quoted: string(quoted), finals: make([]finals, 1, 2)}
	if series.Interval >= market.OneMinute { // the exchange knows none of the shorter ones
		t.finals = append(t.finals, finals{settled: true})
	}
	return t
}

func (t *klineTopic) add(s *subscription) (first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.settled = s.client.settled && len(t.finals) > 1
	first = t.join(s)
	if s.settled && t.settled == 1 {
		t.forgetOverdue()
		t.schedule()
	}
	return first
}

func (t *klineTopic) remove(s *subscription) (last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leave(s)
}

// watch implements topic.
func (t *klineTopic) watch(on bool) { t.hub.server.opt.Live.Watch(t.series, on) }

// changed takes in a new version of the open kline: out at once where the series was quiet, else with the next tick.
func (t *klineTopic) changed(r *round, u *market.Update, received time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) == 0 || t.versions.reached(t.series.Interval.Ordinal(u.OpenTime)) {
		return
	}
	if !t.waiting && time.Since(t.pushed) >= t.hub.every && !t.early(u) {
		t.push(r, u, &mark{received: received})
		return
	}
	t.next, t.waiting = *u, true
	if !t.dirty {
		t.dirty = true
		t.hub.markDirty(t)
	}
}

// pushWaiting is the tick: the newest state goes out, unless it is early.
func (t *klineTopic) pushWaiting(r *round) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = t.waiting && t.early(&t.next)
	switch {
	case t.dirty:
		t.hub.markDirty(t)
	case t.waiting:
		t.push(r, &t.next, nil)
	}
}

// closeWithin is how long after its open time a kline waits for the close of the one before it. It is longer than a symbol's
// first minute takes, which is the exchange's.
const closeWithin = 3 * time.Second

// early reports whether an open kline is not to go out yet: the close of the one before has not come, and may still. There
// are clients that keep klines in the order in which they first hear of them.
func (t *klineTopic) early(u *market.Update) bool {
	return !t.versions.reached(t.series.Interval.Ordinal(u.OpenTime)-1) && t.hub.clock.Now() < u.OpenTime.Add(closeWithin)
}

// push hands an open kline to every subscriber.
func (t *klineTopic) push(r *round, u *market.Update, m *mark) {
	t.waiting = false
	if len(t.list) > 0 {
		t.shown = u.OpenTime
		t.deliver(r, u, everybody, running, m)
	}
}

// ended takes in a version of a closed kline.
//
// Of a kline that versions has forgotten nobody gets a first close. What was revised still goes to those who asked, as
// it comes: better each time, for so Publish is called, though perhaps only settled.
func (t *klineTopic) ended(r *round, u *market.Update, received time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	this := rankOf(&u.Kline)
	best, known := t.versions.take(t.series.Interval.Ordinal(u.OpenTime), this)
	if t.waiting && t.next.OpenTime <= u.OpenTime {
		t.waiting = false // a close takes the place of the open kline that waits for the tick
	}
	for i := range t.finals {
		f := &t.finals[i]
		at, held := f.find(u.OpenTime)
		switch {
		case held:
			if market.Better(&u.Kline, &f.held[at].Kline) {
				t.improve(r, f, at, u, received)
			}
		case !known:
			if u.Revision > 0 {
				t.deliver(r, u, f.revised(), closing, nil)
			}
		case best == unseen:
			if f.final(u) || t.hub.clock.Now() >= f.due(u) {
				t.finish(r, f, u, received)
			} else {
				t.hold(r, f, at, u)
			}
		case this.revises(best):
			t.deliver(r, u, f.revised(), closing, nil)
		}
	}
}

// finish sends the first close of a kline to those of f.
func (t *klineTopic) finish(r *round, f *finals, u *market.Update, received time.Time) {
	var m *mark
	if !f.settled {
		m = &mark{received: received, boundary: u.CloseTime() + 1}
	}
	t.deliver(r, u, f.first(), closing, m)
}

// audience is who gets a version.
type audience struct {
	all      bool // every subscriber; else:
	settled  bool // those who wait until a kline is settled, or the others
	revision bool // of these, those who asked for revisions
}

var everybody = audience{all: true}

func (a audience) has(s *subscription) bool {
	return a.all || s.settled == a.settled && (!a.revision || s.client.revisions)
}

// deliver queues a version for its audience, as a close or as one that a newer one replaces. It is encoded once for each way of
// writing it that somebody takes.
func (t *klineTopic) deliver(r *round, u *market.Update, to audience, kind kind, m *mark) {
	if len(t.list) > 0 && !to.settled && !to.revision {
		t.pushed = time.Now()
	}
	var made [forms][2]*frame // bare, wrapped
	for _, s := range t.list {
		if !to.has(s) {
			continue
		}
		wrapped := s.client.combined.Load()
		made := &made[s.form][index(wrapped)]
		if *made == nil {
			*made = t.encode(u, s.name, s.form, wrapped, kind, m)
		}
		r.put(s.client, s, *made)
	}
}

// encode makes the frame of a kline, as the stream of that name has it.
func (t *klineTopic) encode(u *market.Update, stream string, form form, wrapped bool, kind kind, m *mark) *frame {
	opt := &t.hub.server.opt
	sym := opt.Symbols.Get(t.series.Symbol)
	buf := envelope(stream, wrapped, 500)
	if form == continuous {
		buf = appendContinuous(buf, u, t.hub.clock.Now(), &sym, t.quoted, opt.Contract(sym.ID), kind == closing)
	} else {
		buf = appendEvent(buf, u, t.hub.clock.Now(), &sym, t.quoted, kind == closing)
	}
	return &frame{data: sealed(buf, wrapped), kind: kind, open: u.OpenTime, mark: m}
}

// close ends the timer. What is held then goes out to nobody: the clients are gone, and who asks REST when they are
// back gets the best version there is.
func (t *klineTopic) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.finals {
		t.finals[i].held = nil
	}
	t.schedule()
}

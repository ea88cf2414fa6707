package feed

import (
	"context"
	"slices"
	"time"

	"klined/engine"
	"klined/market"
)

// drainer copies what changed out of the lane and hands it on, outside the lane's mutex. It ends with a last drain.
func (l *lane) drainer(ctx context.Context) {
	c := &market.Changes{Lane: l.n}
	var wholes []whole
	idle := time.NewTicker(idleBeat)
	defer idle.Stop()
	for {
		l.drains.Beat()
		select {
		case <-ctx.Done():
			l.drainOnce(c, &wholes)
			return
		case <-l.wake:
			l.drainOnce(c, &wholes)
		case <-idle.C:
		}
	}
}

// drainOnce hands on what has changed since the last time. c and wholes are the drainer's own, used again each time.
func (l *lane) drainOnce(c *market.Changes, wholes *[]whole) {
	l.handing.Lock()
	defer l.handing.Unlock()
	upTo := c.UpTo
	closes, revised := l.collect(c, wholes)
	if revised > manyRevised {
		c.Updates = newestOnly(c.Updates)
	}
	if len(c.Updates) > 0 || len(c.Differ) > 0 || len(c.Relayed) > 0 || c.UpTo != upTo {
		l.f.drain(c)
	}
	for _, w := range *wholes {
		if l.f.onWhole != nil {
			l.f.onWhole(w.id, l.n, w.since)
		}
	}
	if closes {
		l.letGo()
	}
}

// collect fills c with the closed and revised klines and with the running ones that somebody watches.
// revised is how many of them are not first versions, about.
func (l *lane) collect(c *market.Changes, wholes *[]whole) (closes bool, revised uint64) {
	defer l.unlock(l.lock())
	c.Updates = l.engine.Drain(c.Updates)
	c.Differ, l.differ = l.differ, c.Differ[:0]
	c.Relayed = l.relays.take(c.Relayed)
	now := l.engine.Counts().Revised
	revised, l.drained = now-l.drained, now
	closes = len(c.Updates) > 0 || c.UpTo != l.upTo
	l.engine.Touched(func(slot engine.Slot) {
		s := &l.symbols[slot]
		for i := 0; s.watch>>i != 0; i++ {
			if s.watch>>i&1 == 0 {
				continue
			}
			if k, ok := l.engine.Running(slot, l.f.intervals[i]); ok {
				c.Updates = append(c.Updates, market.Update{Series: market.Series{Symbol: s.id, Interval: l.f.intervals[i]}, Kline: k})
			}
		}
	})
	c.UpTo, c.Received = l.upTo, l.received
	l.received = time.Time{}
	*wholes = append((*wholes)[:0], l.wholes...)
	l.wholes = l.wholes[:0]
	return closes, revised
}

// manyRevised is how many revisions one drain hands on as they are. A run of late trades brings a version of each kline with
// every trade: then only the newest leave.
const manyRevised = 32

// newestOnly keeps the last version of each kline, in their order.
func newestOnly(updates []market.Update) []market.Update {
	type key struct {
		market.Series
		open market.Time
	}
	seen := make(map[key]struct{}, len(updates))
	n := len(updates)
	for i := len(updates) - 1; i >= 0; i-- {
		k := key{updates[i].Series, updates[i].OpenTime}
		if _, later := seen[k]; !later {
			seen[k] = struct{}{}
			n--
			updates[n] = updates[i]
		}
	}
	return slices.Delete(updates, 0, n)
}

// tick closes what has ended at or before t on the exchange's clock; now is the local time, for the holes.
func (l *lane) tick(t market.Time, now time.Time) {
	defer l.unlock(l.lock())
	l.poll(now)
	if len(l.relays.waiting) > 0 {
		l.signal()
	}
	l.caughtUp()
	ended := l.engine.Base().Open(t)
	if done := max(l.upTo, l.from); ended > done+stride {
		ended = l.engine.Base().Ceil(done + stride)
	}
	if l.from == 0 || ended <= l.upTo || l.unproved(now) || l.overtakes(ended, now) {
		return
	}
	late := false
	for slot := range l.symbols {
		if l.waits(engine.Slot(slot), ended, now) {
			late = true
		} else {
			l.engine.TickOne(engine.Slot(slot), ended)
		}
	}
	l.count(l.cause)
	if !late {
		l.upTo, l.working = ended, time.Time{}
	}
	l.signal()
}

// stride is how much one tick closes at most: after a standstill the drainer takes what each brought before the next.
const stride = 10 * market.Minute

// The clock never overtakes the readers: what they are still working off may belong to what it would close.
const (
	idle     = 100 * time.Millisecond // a connection that has brought nothing for so long has nothing left
	fresh    = time.Second            // one that was up to date so long ago still is
	patience = 2 * time.Second        // the clock waits no longer
)

// behind reports whether the lane is still working off trades of before t that are older than the grace allows: a
// connection brings such, and none is up to date.
func (l *lane) behind(t market.Time, now time.Time) (behind bool) {
	for _, c := range l.conns {
		switch late := c.last.lag > l.f.graceNow() && c.last.newest < t; {
		case !c.carries:
		case !late && now.Sub(c.last.at) < fresh:
			return false
		case late && now.Sub(c.last.at) < idle:
			behind = true
		}
	}
	return behind
}

// overtakes reports whether the clock would overtake the readers. After patience it does, and what closes carries the
// mark until they have caught up.
func (l *lane) overtakes(ended market.Time, now time.Time) bool {
	if l.lagging != 0 || !l.behind(ended, now) {
		return false
	}
	if l.working.IsZero() {
		l.working = now
	}
	if now.Sub(l.working) < patience {
		return true
	}
	l.lagSince = time.Now() // under the mutex, as is when a connection began
	for _, c := range l.conns {
		if c.carries {
			l.lagging = max(l.lagging, c.last.newest)
			c.conn.Ping() // it does not wait
		}
	}
	l.markAll()
	return false
}

// overtaken reports whether a connection is one of those that the clock overtook. One that has begun since proves nothing of
// what had been sent before.
func (l *lane) overtaken(c *carrier) bool { return c.carries && !c.since.After(l.lagSince) }

// caughtUp ends the mark of what closed ahead of the readers, once one of those that were overtaken is up to date: it
// has brought something fresh, or has answered what it was asked then.
func (l *lane) caughtUp() {
	if l.lagging == 0 {
		return
	}
	for _, c := range l.conns {
		if l.overtaken(c) && (!c.pong.Before(l.lagSince) || c.last.at.After(l.lagSince) && c.last.lag <= l.f.graceNow()) {
			l.lagging = 0
			l.markAll()
			l.signal()
			return
		}
	}
}

// markAll marks every symbol anew.
func (l *lane) markAll() {
	for slot := range l.symbols {
		l.mark(engine.Slot(slot), &l.symbols[slot])
	}
}

// waits reports whether a symbol's close must wait for a hole that the other connection may still fill. An older hole is
// a gap, and the held trades of what has ended are let through before it closes, up to the next hole that is young.
func (l *lane) waits(slot engine.Slot, ended market.Time, now time.Time) bool {
	s := &l.symbols[slot]
	boundary, begun := l.engine.Boundary(slot)
	for begun && boundary <= ended && len(s.held) > 0 {
		if !l.isLate(slot, s, now) {
			return true
		}
		l.declare(slot, s)
		if len(s.held) == 0 || s.held[0].Time >= ended || !l.believes(s) {
			return false
		}
		l.through(slot, s, s.held[0].Time+1)
	}
	return false
}

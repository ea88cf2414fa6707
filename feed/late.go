package feed

import (
	"context"
	"log/slog"
	"time"
)

// When a connection is late: overloaded, or on a slow way. One whose twin keeps up is replaced, like one that is old;
// where all are late, another would not be better.
const (
	lateBound = 2 * time.Second
	lateFor   = 10 * time.Second
	lateAgain = 5 * time.Minute // between two replacements of the same
	lateKept  = 60              // looks of which the greatest lag is remembered: a minute
)

// lag is how old trades are when a connection brings them. The lane's mutex guards it.
type lag struct {
	now   time.Duration           // over the last seconds
	most  [lateKept]time.Duration // the greatest of each look, a ring
	looks int
	sum   time.Duration // of the reads since the last look
	reads int
	since time.Time // since when now is beyond the bound; zero while it is not
	told  bool
}

// add takes in a read whose youngest trade was so old.
func (g *lag) add(old time.Duration) {
	old = max(old, 0) // the clock may be off by more than the way takes
	g.sum += old
	g.reads++
	g.most[g.looks%lateKept] = max(g.most[g.looks%lateKept], old)
}

// look takes in the reads since it was last called. A connection that has brought nothing is as late as it was.
func (g *lag) look(now time.Time) {
	if g.reads > 0 {
		mean := g.sum / time.Duration(g.reads)
		if g.looks == 0 {
			g.now = mean
		}
		g.now += (mean - g.now) / 4
	}
	g.sum, g.reads = 0, 0
	g.looks++
	g.most[g.looks%lateKept] = 0
	switch {
	case g.now <= lateBound:
		g.since = time.Time{}
	case g.since.IsZero():
		g.since = now
	}
}

// greatest is the greatest of about the last minute.
func (g *lag) greatest() (most time.Duration) {
	for _, m := range g.most {
		most = max(most, m)
	}
	return most
}

// behindTwins finds the connections that are late, and has those replaced whose twins keep up. It is called once a look, under the
// lane's mutex.
func (l *lane) behindTwins(now time.Time) {
	for _, c := range l.conns {
		c.lag.look(now)
		if !c.last.at.IsZero() {
			l.f.metrics.ConnectionLag.WithLabelValues(c.name).Set(c.lag.now.Seconds())
		}
	}
	for _, c := range l.conns {
		g := &c.lag
		say := func(level slog.Level, msg string, args ...any) {
			args = append([]any{"conn", c.name, "lag", g.now.Round(time.Millisecond)}, args...)
			go l.f.log.Log(context.Background(), level, msg, args...)
		}
		switch {
		case !c.carries || c.silent != "":
		case g.since.IsZero():
			if g.told {
				say(slog.LevelInfo, "connection keeps up again")
			}
			g.told = false
		case now.Sub(g.since) < lateFor:
		case l.hasBetter(c) && l.spare() && now.Sub(c.link.hurried) > lateAgain:
			say(slog.LevelWarn, "connection is late, though another of its lane keeps up: it is replaced")
			g.told, c.link.hurried = true, now
			select {
			case c.link.late <- c:
			default: // it is being replaced
			}
		case !g.told:
			say(slog.LevelWarn, "connection is late", "better", l.hasBetter(c))
			g.told = true
		}
	}
}

// hasBetter reports whether another connection of the lane keeps up.
func (l *lane) hasBetter(than *carrier) bool {
	for _, c := range l.conns {
		if c != than && c.carries && c.lag.now <= min(lateBound, than.lag.now/2) {
			return true
		}
	}
	return false
}

// lagOf is how late the youngest connection of the link is, now and at most within a minute; false where none has
// brought a trade.
func (l *lane) lagOf(k *link) (now, most time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		if c.link == k && !c.last.at.IsZero() {
			now, most, ok = c.lag.now, c.lag.greatest(), true
		}
	}
	return now, most, ok
}

package feed

import (
	"sync"
	"time"

	"klined/market"
)

// The grace that is learnt: how old 99.9 % of the trades are at most when they first come, within bounds.
const (
	lagBuckets  = 2000 // of 1 ms; what is older was held up, and says nothing of the way here
	graceSample = 2000 // trades that are enough, once they have been gathered for graceEvery
	graceEvery  = 10 * time.Second
	graceLeast  = 100 // trades that are enough, once they have been gathered for graceSlow
	graceSlow   = 10 * time.Minute
	graceMargin = 20 * time.Millisecond // for what the ticks take
)

// graceOf is where the grace begins, and between what it may move.
func graceOf(source market.Source) (begin, least, most time.Duration) {
	if source == market.SourceTrade {
		return 100 * time.Millisecond, 50 * time.Millisecond, time.Second
	}
	return 500 * time.Millisecond, 200 * time.Millisecond, time.Second // aggTrades are batched over 100 ms
}

// lags counts trades by their age when they came, in ms.
type lags struct {
	n      uint32
	beyond uint32 // older than that, not in n
	by     [lagBuckets]uint32
}

func (g *lags) add(lag market.Time) {
	if lag = max(lag, 0); lag < lagBuckets {
		g.by[lag]++
		g.n++
	} else {
		g.beyond++
	}
}

// move adds other to g and empties it.
func (g *lags) move(other *lags) {
	for i, n := range other.by {
		g.by[i] += n
	}
	g.n += other.n
	g.beyond += other.beyond
	*other = lags{}
}

// most is the age that all but one in a thousand have at most.
func (g *lags) most() time.Duration {
	beyond := g.n / 1000
	i := lagBuckets - 1
	for n := uint32(0); i > 0; i-- {
		if n += g.by[i]; n > beyond {
			break
		}
	}
	return time.Duration(i) * time.Millisecond
}

// graceWindows is how many stretches of graceEvery or more the grace is learnt from: what is rare must have had its chance.
const graceWindows = 30

// learner learns the grace. It is the watch's own.
type learner struct {
	now     lags
	windows [graceWindows]lags // a ring
	n       int                // windows so far
	since   time.Time
}

// gather takes in how old trades were that came since it was last called, once a look.
func (f *Feed) gather(now time.Time) {
	var came lags
	for _, l := range f.lanes {
		l.mu.Lock()
		came.move(&l.lags)
		l.mu.Unlock()
	}
	f.ages.add(came)
	if f.learner != nil {
		f.learner.now.move(&came)
		f.learn(now)
	}
}

// learn sets the grace by how old trades are when they come, once enough have.
func (f *Feed) learn(now time.Time) {
	g := f.learner
	age := now.Sub(g.since)
	if (age < graceEvery || g.now.n < graceSample) && (age < graceSlow || g.now.n < graceLeast) {
		return
	}
	g.windows[g.n%graceWindows] = g.now
	g.now, g.since = lags{}, now
	g.n++
	var all lags
	for i := range g.windows {
		window := g.windows[i]
		all.move(&window)
	}
	_, least, most := graceOf(f.source)
	f.setGrace(min(max(all.most()+graceMargin, least), most))
}

func (f *Feed) setGrace(grace time.Duration) {
	f.grace.Store(int64(grace))
	f.metrics.GraceSeconds.Set(grace.Seconds())
}

// graceNow is how long after its boundary the clock closes a kline.
func (f *Feed) graceNow() time.Duration { return time.Duration(f.grace.Load()) }

// ages is how old trades were when they first came, over about the last minute.
type ages struct {
	mu      sync.Mutex
	windows [6]lags // a ring, each of agesLooks looks
	looks   int
}

const agesLooks = 10

// add takes in what one look brings.
func (a *ages) add(came lags) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := &a.windows[a.looks/agesLooks%len(a.windows)]
	if a.looks%agesLooks == 0 {
		*w = lags{}
	}
	w.move(&came)
	a.looks++
}

// Ages are the median and the 99th percentile of how old trades were when they first came, over about the last minute:
// 2 s stands for more. false where none has come.
func (f *Feed) Ages() (p50, p99 time.Duration, ok bool) {
	f.ages.mu.Lock()
	var all lags
	for i := range f.ages.windows {
		w := f.ages.windows[i]
		all.move(&w)
	}
	f.ages.mu.Unlock()
	return all.quantile(50), all.quantile(99), all.n+all.beyond > 0
}

// quantile is the age that so many of a hundred have at most.
func (g *lags) quantile(percent uint64) time.Duration {
	n, below := uint64(g.n+g.beyond), uint64(0)
	for i, more := range g.by {
		if below += uint64(more); below*100 >= n*percent {
			return time.Duration(i) * time.Millisecond
		}
	}
	return lagBuckets * time.Millisecond
}

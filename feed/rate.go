package feed

import "time"

// load is what a lane has to do.
type load struct {
	rate    float64 // trades a second
	streams int     // that a connection of it carries: those of symbols that have just ended, too
}

// loads is what each lane has to do, and what a symbol brings in the mean: where many are added at once, not all of them go the
// same way.
func (f *Feed) loads() (loads []load, mean float64) {
	for _, l := range f.lanes {
		work := l.work()
		loads, mean = append(loads, work), mean+work.rate
	}
	return loads, mean / float64(max(1, f.living.Load()))
}

// quietest is the lane with the least rate, then with the fewest streams, of those that have room.
func quietest(loads []load, most int) (least int) {
	for i, l := range loads {
		best := loads[least]
		if l.streams < most && (best.streams >= most || l.rate < best.rate || l.rate == best.rate && l.streams < best.streams) {
			least = i
		}
	}
	return least
}

// work is the lane's load.
func (l *lane) work() load {
	streams := len(l.links[0].carries())
	l.mu.Lock()
	defer l.mu.Unlock()
	return load{l.rate.perSecond, streams}
}

// rate is how many trades a second come, over about the last minutes. The lane's mutex guards it.
type rate struct {
	perSecond float64
	trades    int // since it was measured
	measured  time.Time
}

// rateOver is the time that a rate looks back over.
const rateOver = 5 * time.Minute

// measure takes in what has come since it was last called.
func (r *rate) measure(now time.Time) {
	if past := now.Sub(r.measured).Seconds(); r.measured.IsZero() || past <= 0 {
		r.perSecond = 0
	} else {
		r.perSecond += (float64(r.trades)/past - r.perSecond) * min(1, past/rateOver.Seconds())
	}
	r.trades, r.measured = 0, now
}

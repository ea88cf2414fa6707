package sim

import (
	"time"

	"klined/market"
)

// stride is how much happens at most before connections may send what has come of it.
const stride = market.Second

// Now is the exchange's clock: what it says by REST, counts limits and bans by, and pings with. A fault of kind clock_skew
// steps it. The market's own time follows it, but never goes back, so that truth, wire and REST stay one:
//
//   - After a step forward, all that would have happened in the time between happens at once: the trades go out in a
//     burst, each with its own T and E, then the klines that have closed. A connection that cannot take so much is
//     closed, as ever.
//   - After a step back, the market pauses until the clock has caught up: REST shows it as it stood, nothing is sent, and
//     the next trade is later than the last one. No kline opens again.
func (e *Exchange) Now() market.Time { return e.clockAt(time.Now()) }

// clockAt is what the clock shows at a moment, unless it is stepped before then.
func (e *Exchange) clockAt(t time.Time) market.Time {
	return e.opt.Start.Add(time.Duration(float64(t.Sub(e.began))*e.opt.Speed)) + market.Time(e.skew.Load())
}

// advance lets everything happen that is due by now, and says how far the market has come: to now, or already further.
// What happens depends on now alone, not on how often or when it is called: a fill's time is the generator's. The caller
// holds e.mu.
func (e *Exchange) advance(now market.Time) market.Time {
	m := &e.live
	if e.player != nil { // the market stands still at the end of its tape
		now = min(now, e.player.to)
	}
	for m.reached < now {
		m.reached = min(m.reached+stride, now)
		e.happenBy(m.reached)
		if m.reached < now {
			e.wakeAll()
		}
	}
	return m.reached
}

package feed

import (
	"testing"
	"testing/synctest"
	"time"

	"klined/health"
	"klined/market"
)

// TestBurntIDs: ids that a connection just opened may have missed are counted missing; once the other one shows that they were never
// given, they are counted so.
func TestBurntIDs(t *testing.T) {
	for _, wait := range []time.Duration{500 * time.Millisecond, 4 * time.Second} { // while what follows is held back, and after it was let through
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, func(o *Options) { o.Source, o.Healer = market.SourceTrade, Healer{} })
			r.begin()
			bring := func(conn string, id int64) {
				r.trades(conn, trade(0, id, "100", "1", bubbleTime(70*time.Second+time.Duration(id)*10*time.Millisecond)))
			}
			counted := func(when string, missing, burnt float64) {
				if m := r.f.metrics; health.Count(m.GapTrades) != missing || health.Count(m.BurntIDs) != burnt {
					t.Errorf("%s %s: %v missing, %v burnt, want %v and %v", wait, when, health.Count(m.GapTrades), health.Count(m.BurntIDs), missing, burnt)
				}
			}
			r.at(71 * time.Second)
			bring("trades-0.0", 2)
			bring("trades-0.1", 2)
			r.v.cut("trades-0.0")
			r.at(73 * time.Second)
			r.v.restore("trades-0.0")
			for r.v.conn("trades-0.0") == nil {
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
			}
			bring("trades-0.0", 5)
			time.Sleep(wait)
			counted("before it shows", 2, 0)
			bring("trades-0.1", 5)
			counted("in the end", 2, 2)
		})
	}
}

package feed

import (
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

// TestLast: what a symbol costs, and when it last traded, of one that is carried and one that is not. The scenarios last_* say when
// that is known for sure.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, nil)
		check := func(when string, id market.SymbolID, price string, at time.Duration, sure bool) {
			t.Helper()
			want := market.Time(0)
			if at > 0 {
				want = bubbleTime(at)
			}
			last, known := r.f.Last(id)
			if last.Value != fixed.MustParse(price) || last.Time != want || known != sure || r.f.Traded(id) != want {
				t.Errorf("%s: %d costs %v, %v, traded at %s; want %s since %s, %v", when, id, last, known, r.f.Traded(id), price, want, sure)
			}
		}
		check("before anything", 0, "0", 0, false)
		check("not carried", 9, "0", 0, false)
		r.at(5 * time.Second)
		r.trades("trades-0.0", trade(0, 1, "100", "1", bubbleTime(4*time.Second)))
		r.at(62 * time.Second)
		check("before what it was when its minute ended is known", 0, "100", 4*time.Second, false)
		r.official(officialMinute(0, bubbleTime(0), "100", 1, 1, 1), officialMinute(1, bubbleTime(0), "7", 1, 1, 1))
		check("carried on", 0, "100", 4*time.Second, true)
		check("carried on, and nothing has come", 1, "0", 0, false)
		r.trades("trades-0.0", trade(0, 2, "8.5", "1", bubbleTime(61*time.Second)))
		check("traded", 0, "8.5", 61*time.Second, true)
		r.at(5 * time.Minute)
		check("quiet", 0, "8.5", 61*time.Second, true)
	})
}

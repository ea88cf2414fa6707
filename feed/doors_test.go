package feed

import (
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

// TestLast: a symbol's last price is known from its first kline on, and where nothing trades it is carried.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, nil)
		check := func(when string, id market.SymbolID, price string, at time.Duration) {
			t.Helper()
			k, last, ok := r.f.Last(id)
			want := market.Time(0)
			if at > 0 {
				want = bubbleTime(at)
			}
			if price == "" && ok || price != "" && (!ok || k.Close != fixed.MustParse(price)) || last != want {
				t.Errorf("%s: %d costs %s since %s, %v; want %s since %s", when, id, k.Close, last, ok, price, want)
			}
		}
		check("before anything", 0, "", 0)
		check("not carried", 9, "", 0)
		r.at(5 * time.Second)
		r.trades("trades-0.0", trade(0, 1, "100", "1", bubbleTime(4*time.Second)))
		r.at(62 * time.Second)
		check("no price is known of the minute", 0, "", 4*time.Second)
		r.official(officialMinute(0, bubbleTime(0), "100", 1, 1, 1))
		r.official(officialMinute(1, bubbleTime(0), "7", 1, 1, 1))
		check("carried", 0, "100", 4*time.Second)
		check("carried, and nothing has come", 1, "7", 0)
		r.trades("trades-0.0", trade(1, 1, "8.5", "1", bubbleTime(61*time.Second)))
		check("traded", 1, "8.5", 61*time.Second)
		r.at(5 * time.Minute)
		check("carried on", 1, "8.5", 61*time.Second)
	})
}

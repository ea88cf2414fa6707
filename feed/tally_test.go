package feed

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTally: an hour and a day look back over the last one, in steps of five minutes; the start over all.
func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ta tally
		check := func(when, within string, compared, equal uint64, high float64) {
			t.Helper()
			got := ta.within()[within]
			if got.Compared != compared || got.Equal != equal || got.Shares["high"] != high {
				t.Errorf("%s, %s: %+v", when, within, got)
			}
		}
		check("at first", "hour", 0, 0, 0)
		ta.add(0)
		ta.add(1 << 1) // high
		time.Sleep(30 * time.Minute)
		ta.add(1<<1 | 1<<8)
		ta.add(0)
		for _, within := range []string{"hour", "day", "start"} {
			check("half an hour later", within, 4, 2, 0.5)
		}
		time.Sleep(40 * time.Minute)
		check("70 minutes later", "hour", 2, 1, 0.5)
		check("70 minutes later", "day", 4, 2, 0.5)
		time.Sleep(23 * time.Hour)
		check("a day later", "hour", 0, 0, 0)
		check("a day later", "day", 2, 1, 0.5)
		ta.add(0)
		check("a day later", "hour", 1, 1, 1)
		check("a day later", "start", 5, 3, 0.6)
		time.Sleep(25 * time.Hour)
		ta.add(1 << 1) // the step of two days ago is begun anew
		check("two days later", "day", 1, 0, 0)
		check("two days later", "start", 6, 3, 0.5)
	})
}

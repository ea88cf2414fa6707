package feed

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

// TestTailAfterStandstill: where nothing ran while a close was waited for, who waits does so once more.
func TestTailAfterStandstill(t *testing.T) {
	for _, c := range []struct {
		name   string
		stood  market.Time // 2 s after the question
		closes time.Duration
		want   string
	}{
		{"it comes when the process goes on", 24 * market.Second, 3 * time.Second, "after 3s: closed, open"},
		{"it does not come", 24 * market.Second, 0, "after 4.5s: open"},
		{"nothing stood still", 0, 3 * time.Second, "after 2.5s: open"},
		{"not for long", market.Second / 10, 3 * time.Second, "after 2.5s: open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := new(jumpingClock)
				r := newRig(t, 1, func(o *Options) { o.Clock = clock })
				r.begin()
				r.at(180100 * time.Millisecond)
				r.stop() // only this test closes
				began, l := time.Now(), r.f.lanes[0]
				time.AfterFunc(2*time.Second, func() { clock.ahead.Store(int64(c.stood)) })
				if c.closes > 0 {
					time.AfterFunc(c.closes, func() {
						l.tick(bubbleTime(180*time.Second), time.Now())
						l.letGo()
					})
				}
				rows, err := r.f.Tail(t.Context(), nil, market.Series{Interval: market.OneMinute}, bubbleTime(2*time.Minute))
				var states []string
				for _, k := range rows {
					states = append(states, k.State.String())
				}
				if got := fmt.Sprintf("after %s: %s", time.Since(began), strings.Join(states, ", ")); err != nil || got != c.want {
					t.Errorf("%s, %v, want %s", got, err, c.want)
				}
				late := 1.0
				if strings.Contains(c.want, "closed") {
					late = 0
				}
				if got := testutil.ToFloat64(r.o.Metrics.CloseWaits.WithLabelValues("late")); got != late {
					t.Errorf("klined_close_waits_total counts %v late, want %v", got, late)
				}
				time.Sleep(time.Second)
			})
		})
	}
}

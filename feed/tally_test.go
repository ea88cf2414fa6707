package feed

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// TestSettleShares: the shares as metrics, of closes and of what was read again apart; what was not compared has none.
func TestSettleShares(t *testing.T) {
	f := &Feed{}
	shares := prometheus.NewRegistry()
	shares.MustRegister(settleShares{f})
	f.settling.checked.add(1 << 3) // close
	f.settling.checked.add(0)
	families, err := shares.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%d metrics, %v", len(families), err)
	}
	got := make(map[string]float64)
	for _, m := range families[0].Metric {
		of := make(map[string]string)
		for _, l := range m.Label {
			of[l.GetName()] = l.GetValue()
		}
		got[fmt.Sprint(of["when"], " ", of["within"], " ", of["field"])] = m.GetGauge().GetValue()
	}
	for series, want := range map[string]float64{"checked hour all": 0.5, "checked day close": 0.5, "checked start volume": 1} {
		if share, there := got[series]; !there || share != want {
			t.Errorf("%s: %v, %t, want %v", series, share, there, want)
		}
	}
	if len(got) != 3*10 {
		t.Errorf("%d series, want those of three times and ten fields: %v", len(got), got)
	}
}

package feed

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestListedBeforeItTrades: a symbol that is announced is whole from its first trade: its first minute is exact, not marked, and
// waits for nothing official.
func TestListedBeforeItTrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, nil)
		r.begin()
		r.at(90 * time.Second)
		if err := r.f.Add([]market.SymbolID{3}, true); err != nil {
			t.Fatal(err)
		}
		for _, c := range []string{"trades-0.0", "trades-0.1", "klines-0"} {
			if got := r.v.conn(c).carries(); !slices.Equal(got, []market.SymbolID{0, 3}) {
				t.Errorf("%s carries %v", c, got)
			}
		}
		r.at(90*time.Second + 100*time.Millisecond)
		for _, c := range []string{"trades-0.0", "trades-0.1"} {
			r.trades(c, trade(0, 2, "100", "1", bubbleTime(90*time.Second)))
		}
		if s := r.f.Standing(3); s != Whole {
			t.Errorf("announced: %s", s)
		}
		r.at(3*time.Minute + 10*time.Second)
		r.take()
		for _, c := range []string{"trades-0.0", "trades-0.1"} {
			r.trades(c, trade(3, 1, "7", "2", bubbleTime(3*time.Minute+10*time.Second)))
		}
		r.at(3*time.Minute + 30*time.Second)
		r.trades("trades-0.0", trade(3, 2, "8", "1", bubbleTime(3*time.Minute+29*time.Second)))
		r.at(5*time.Minute + 2*time.Second)
		if got, want := r.of(3), "1m 3:00 7 8 7 8  v3 n2 1-2  closed; 1m 4:00 8 8 8 8  v0 n0  closed"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

// of lists what was handed on of a symbol since the last look, other symbols' left out.
func (r *rig) of(id market.SymbolID) string {
	var all []market.Update
	for _, u := range r.updates() {
		if u.Symbol == id {
			all = append(all, u)
		}
	}
	return updatesText(all)
}

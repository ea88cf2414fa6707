package feed

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

// pauses are the times between the dials of a connection.
func (v *venue) pauses(name string) (p []time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := 1; i < len(v.dials[name]); i++ {
		p = append(p, v.dials[name][i].Sub(v.dials[name][i-1]))
	}
	return p
}

// within reports whether a pause is want, or by chance up to half as much again.
func within(pause, want time.Duration) bool { return pause >= want && pause < want+want/2 }

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, nil)
		const a = "trades-0.0"
		r.v.cut(a) // it had lived for no time
		r.at(5 * time.Minute)
		pauses := r.v.pauses(a)
		want := 250 * time.Millisecond
		for i, p := range pauses {
			if !within(p, want) {
				t.Errorf("pause %d is %s, want %s and up to half as much more", i, p, want)
			}
			want = min(2*want, 30*time.Second)
		}
		if n := len(pauses); n < 10 || n > 16 {
			t.Errorf("%d dials in 5 minutes", n)
		}
		chance := slices.Clone(pauses[7:])
		slices.Sort(chance)
		if len(slices.Compact(chance)) < 2 {
			t.Error("no jitter")
		}

		r.v.restore(a)
		r.at(6 * time.Minute)
		lives := len(r.v.pauses(a))
		r.v.conn(a).end(io.EOF) // after less than a minute: the waiting goes on where it was
		r.at(7 * time.Minute)
		if p := r.v.pauses(a)[lives]; p < 30*time.Second {
			t.Errorf("dialled again after %s", p)
		}

		r.at(9 * time.Minute)
		before := time.Now()
		r.v.conn(a).end(io.EOF) // after more than a minute: from the start
		r.at(10 * time.Minute)
		r.v.mu.Lock()
		again := slices.MaxFunc(r.v.dials[a], time.Time.Compare)
		r.v.mu.Unlock()
		if p := again.Sub(before); !within(p, 250*time.Millisecond) {
			t.Errorf("dialled again after %s", p)
		}
	})
}

func TestConnectionsAsOperatorsSeeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3, func(o *Options) { o.Lanes, o.KlinesPerConn = 2, 2 })
		status := func(name string) ConnStatus {
			s := r.f.Status().Connections
			return s[slices.IndexFunc(s, func(c ConnStatus) bool { return c.ID == name })]
		}
		var names []string
		for _, c := range r.f.Status().Connections {
			lane := "-"
			if c.Lane != nil {
				lane = fmt.Sprint(*c.Lane)
			}
			names = append(names, fmt.Sprintf("%s lane %s, %d streams, %s", c.ID, lane, c.Streams, c.State))
		}
		if want := []string{"trades-0.0 lane 0, 2 streams, up", "trades-0.1 lane 0, 2 streams, up", "trades-1.0 lane 1, 1 streams, up",
			"trades-1.1 lane 1, 1 streams, up", "klines-0 lane -, 2 streams, up", "klines-1 lane -, 1 streams, up"}; !slices.Equal(names, want) {
			t.Errorf("%q", names)
		}
		r.at(time.Minute)
		if s := status("trades-0.0"); !s.LastFrame.IsZero() || s.Frames != 0 || !s.UpSince.Equal(bubbleBegin) {
			t.Errorf("%+v", s)
		}
		r.trades("trades-0.0", trade(0, 1, "1", "1", 0))
		r.at(90 * time.Second)
		r.v.conn("trades-0.0").end(io.EOF)
		r.at(92 * time.Second)
		r.trades("trades-0.0", trade(0, 2, "1", "1", 0))
		if s := status("trades-0.0"); s.Frames != 2 || !s.LastFrame.Equal(time.Now()) || time.Since(s.UpSince.Time) > 2*time.Second {
			t.Errorf("%+v", s)
		}

		// A failing one says why, to operators and to the watchdog; it waits between the dials.
		r.v.cut("trades-0.1")
		r.at(100 * time.Second)
		if s := status("trades-0.1"); s.State != linkWaiting || !s.UpSince.IsZero() {
			t.Errorf("%+v", s)
		}
		ok, parts := r.o.Watchdog.State()
		for _, p := range parts {
			if want := p.Name != "feed trades-0.1"; p.OK != want || !want && p.Reason != errRefused.Error() {
				if p.Reason != "silent for 1m40s" {
					t.Errorf("%t %+v", ok, p)
				}
			}
		}
		for state, want := range map[string]float64{linkUp: 5, linkWaiting: 1, linkConnecting: 0} {
			if n := testutil.ToFloat64(r.o.Metrics.Connections.WithLabelValues(state)); n != want {
				t.Errorf("%v connections %s", n, state)
			}
		}
		if n := testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues("eof")); n != 2 {
			t.Errorf("%v reconnects", n)
		}
		if n := testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues("dial")); n < 3 {
			t.Errorf("%v failed dials", n)
		}
	})
}

// TestNotOurs: a trade of a symbol that the connection does not carry is credited to nobody.
func TestNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(o *Options) { o.Lanes = 2 })
		r.begin()
		r.at(70 * time.Second)
		for _, id := range []market.SymbolID{1, 2, 1000} { // of the other lane, unknown to the feed, beyond its table
			r.trades("trades-0.0", trade(id, 2, "7", "1", bubbleTime(69*time.Second)))
		}
		r.official(officialMinute(1000, bubbleTime(0), "7", 1, 1, 1))
		r.at(121 * time.Second)
		for _, u := range r.updates() {
			if u.TradeCount != 0 {
				t.Errorf("%+v", u)
			}
		}
		if n := testutil.ToFloat64(r.o.Metrics.UnknownSymbols); n != 3 {
			t.Errorf("%v counted", n)
		}
	})
}

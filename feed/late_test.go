package feed

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/fixed"
	"klined/market"
)

// TestLate: a connection that brings what is long past is seen, and replaced where its twin keeps up, with overlap.
func TestLate(t *testing.T) {
	const a, b = "trades-0.0", "trades-0.1"
	for _, c := range []struct {
		name     string
		lagA     time.Duration
		lagB     time.Duration
		replaced float64
		log      string // holds it, once
	}{
		{"both keep up", 100 * time.Millisecond, 300 * time.Millisecond, 0, ""},
		{"one is late", 4 * time.Second, 100 * time.Millisecond, 1, `level=WARN msg="connection is late, though another of its lane keeps up: it is replaced" target=feed conn=trades-0.0`},
		{"a little", 1900 * time.Millisecond, 100 * time.Millisecond, 0, ""},
		{"both are late", 4 * time.Second, 5 * time.Second, 0, `level=WARN msg="connection is late" target=feed conn=trades-0.0 lag=3.9`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				r := newRig(t, 1, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
				r.begin()
				trades := func(name string, lag time.Duration, id int64) {
					if r.v.conn(name) != nil {
						r.trades(name, trade(0, id, "100", "1", bubbleClock{}.Now().Add(-lag)))
					}
				}
				overlap := false
				bring := func(from, to int) {
					for n := from; n < to; n++ {
						r.at(70*time.Second + time.Duration(n)*500*time.Millisecond)
						if old := r.v.olds[a]; len(old) > 0 && !old[0].over() {
							overlap = true
							c.lagA = 100 * time.Millisecond // the successor's
						}
						trades(b, c.lagB, int64(n)+2)
						trades(a, c.lagA, int64(n)+2)
					}
				}
				about := func(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
				lagA := c.lagA
				bring(0, 20)
				status := r.f.Status().Connections
				s := status[slices.IndexFunc(status, func(s ConnStatus) bool { return s.ID == a })]
				if lag := time.Duration(*s.Lag * 1e6); about(lag) < lagA*9/10 || lag > lagA || time.Duration(*s.LagMost*1e6) != lagA {
					t.Errorf("lag %s, at most %v ms", lag, *s.LagMost)
				}
				bring(20, 60)
				if seconds := testutil.ToFloat64(r.o.Metrics.ConnectionLag.WithLabelValues(b)); about(time.Duration(seconds*1e9)) != c.lagB {
					t.Errorf("%v s in the metric", seconds)
				}
				r.v.cut(b)
				r.at(110 * time.Second)
				if n := testutil.CollectAndCount(r.o.Metrics.ConnectionLag); n != 1 {
					t.Errorf("%d connections in the metric, of which one has ended", n)
				}
				if old := r.v.olds[a]; overlap != (c.replaced > 0) || overlap && !old[0].over() {
					t.Errorf("overlap %t, %d old connections", overlap, len(old))
				}
				if n := testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues(overtaken)); n != c.replaced {
					t.Errorf("%v replaced", n)
				}
				if got := log.String(); c.log != "" && strings.Count(got, c.log) != 1 || c.log == "" && strings.Contains(got, "late") {
					t.Errorf("the log says %s", got)
				}
			})
		})
	}
}

// TestReadyWhereLanesFallSilent: connections that are up and bring nothing are no feed, where their market trades.
func TestReadyWhereLanesFallSilent(t *testing.T) {
	for _, c := range []struct {
		name    string
		every   time.Duration // between the lane's trades
		tickers bool          // the venue's summary comes
		trading bool          // and shows that it goes on
		within  time.Duration // 0: it stays ready, for a minute
	}{
		{"without the summary", 50 * time.Millisecond, false, false, 10 * time.Second},
		{"it shows that trades go on", 50 * time.Millisecond, true, true, 10 * time.Second},
		{"it shows that nothing trades", 50 * time.Millisecond, true, false, 0},
		{"a quiet market", 10 * time.Second, false, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, func(o *Options) {
					o.Rotate = 24 * time.Hour
					if c.tickers {
						o.DialTickers = o.DialTrades
					}
				})
				r.begin()
				id, volume := int64(2), fixed.One
				show := func() {
					if r.v.conn("tickers") != nil {
						r.bring("tickers", market.Batch{Ready: true, Tickers: []market.Ticker{{Time: bubbleClock{}.Now(), Close: fixed.MustParse("100"), Volume: volume.Sum()}}})
					}
				}
				for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); id++ {
					time.Sleep(c.every)
					for _, name := range []string{"trades-0.0", "trades-0.1"} {
						r.trades(name, trade(0, id, "100", "1", bubbleClock{}.Now()))
					}
					if id%20 == 0 {
						volume += fixed.One
						show()
					}
				}
				if ready := r.f.Ready(); !ready.OK {
					t.Fatalf("while it trades: %+v", ready)
				}
				stopped, took := time.Now(), time.Duration(0)
				for took == 0 && time.Since(stopped) < time.Minute {
					time.Sleep(time.Second)
					if c.trading {
						volume += fixed.One
					}
					show()
					if ready := r.f.Ready(); len(ready.Silent) > 0 {
						took = time.Since(stopped)
						if ready.OK || len(ready.Reasons) == 0 || !strings.HasPrefix(ready.Reasons[0], "lane 0: no trade for ") {
							t.Errorf("%+v", ready)
						}
					}
				}
				if took > c.within || took == 0 && c.within != 0 {
					t.Errorf("found silent after %s, want within %s", took, c.within)
				}
			})
		})
	}
}

// TestAges: the summary's figures hold what came within the last minute, and what was too old to count by the ms.
func TestAges(t *testing.T) {
	var f Feed
	ages := func() (s []time.Duration) {
		p50, p99, ok := f.Ages()
		if !ok {
			return nil
		}
		return []time.Duration{p50, p99}
	}
	if got := ages(); got != nil {
		t.Errorf("%v before anything came", got)
	}
	var came lags
	for lag := range market.Time(100) {
		came.add(lag)
	}
	f.ages.add(came)
	if got := ages(); !slices.Equal(got, []time.Duration{49 * time.Millisecond, 98 * time.Millisecond}) {
		t.Errorf("%v", got)
	}
	came = lags{}
	for range 2 {
		came.add(5 * market.Second)
	}
	f.ages.add(came)
	if got := ages(); !slices.Equal(got, []time.Duration{50 * time.Millisecond, 2 * time.Second}) {
		t.Errorf("%v", got)
	}
	for range 60 {
		f.ages.add(lags{})
	}
	if got := ages(); got != nil {
		t.Errorf("%v after a minute without any", got)
	}
}

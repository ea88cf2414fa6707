package feed

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

// silentRig is a feed of two symbols that are whole, with a witness, at 1:05.
func silentRig(t *testing.T) *rig {
	r := newRig(t, 2, func(o *Options) { o.DialTickers = o.DialKlines })
	r.begin()
	r.at(65 * time.Second)
	return r
}

// ticks brings a row of the venue's summary of a symbol; volume is that of the last 24 hours.
func (r *rig) ticks(id market.SymbolID, price string, volume int64) {
	r.t.Helper()
	v := fixed.Sum{}
	for range volume {
		v = v.Add(fixed.One.Sum())
	}
	r.bring("tickers", market.Batch{Ready: true, Tickers: []market.Ticker{{SymbolID: id, Time: bubbleClock{}.Now(), Close: fixed.MustParse(price), Volume: v}}})
}

// brings brings the next trade of a symbol over the given connections, where they still live.
func (r *rig) brings(conns string, id market.SymbolID, n int64) {
	for _, c := range conns {
		if r.v.conn(connName(string(c))) != nil {
			r.trades(connName(string(c)), trade(id, n, "100", "1", bubbleClock{}.Now()-100))
		}
	}
}

func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name   string
		second func(r *rig, n int64) // what comes in each second from 1:05 on, 30 times; n from 2
		ended  int                   // connections
		within time.Duration         // of the first
		why    string
	}{
		{"both bring it", func(r *rig, n int64) { r.brings("AB", 0, n) }, 0, 0, ""},
		{"a quiet symbol", func(r *rig, n int64) { r.ticks(0, "100", 5); r.ticks(1, "1", 5) }, 0, 0, ""},
		{"one brings nothing of one symbol", func(r *rig, n int64) { r.brings("A", 0, n); r.brings("AB", 1, n) }, 3, 8 * time.Second, "another connection brings it"},
		{"one brings nothing at all", func(r *rig, n int64) { r.brings("B", 0, n) }, 1, 8 * time.Second, "another connection brings it"},
		{"one lacks a trade now and then", func(r *rig, n int64) {
			if n%4 != 0 {
				r.brings("A", 0, n)
			}
			r.brings("B", 0, n)
		}, 0, 0, ""},
		{"one lacks a trade of a quiet symbol", func(r *rig, n int64) {
			if n == 2 {
				r.brings("A", 0, 2)
			}
		}, 0, 0, ""},
		{"nobody brings it, its volume rises", func(r *rig, n int64) { r.ticks(0, "100", n); r.brings("AB", 1, n) }, 2, 10 * time.Second, "summary"},
		{"nobody brings it, its price changes", func(r *rig, n int64) {
			price := "100"
			if n > 5 {
				price = "101"
			}
			r.ticks(0, price, 5)
			r.brings("AB", 1, n)
		}, 2, 14 * time.Second, "summary"},
		{"its volume falls as old trades leave", func(r *rig, n int64) { r.ticks(0, "100", 40-n); r.brings("AB", 1, n) }, 0, 0, ""},
		{"the summary comes after the trade", func(r *rig, n int64) { r.brings("AB", 0, n); r.ticks(0, "100", n) }, 0, 0, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := silentRig(t)
			began := time.Now()
			first := time.Duration(0)
			ended := func() int { return int(testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues(silent))) }
			for n := range int64(30) {
				c.second(r, n+2)
				r.at(66*time.Second + time.Duration(n)*time.Second)
				if first == 0 && ended() > 0 {
					first = time.Since(began)
				}
			}
			if n := ended(); n != c.ended || c.ended > 0 && first > c.within {
				t.Errorf("%s: %d connections ended, the first after %s; want %d, %s", c.name, n, first, c.ended, c.within)
			}
		})
	}
}

// TestSilenceWithoutWitness: where the venue's summary does not come, a symbol counts as silent after 100 times its mean
// gap, and no sooner than after 10 s. Where nothing came of the others either, whoever was the last, what has closed of them
// since is marked.
func TestSilenceWithoutWitness(t *testing.T) {
	for _, otherLast := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 3, nil)
			r.begin()
			for n := range int64(300) {
				r.at(65*time.Second + time.Duration(n)*100*time.Millisecond)
				r.brings("AB", 0, n+2)
			}
			last := time.Now()
			if otherLast {
				time.Sleep(5 * time.Millisecond)
				r.brings("AB", 1, 2)
			}
			for time.Since(last) < time.Minute && testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues(silent)) == 0 {
				time.Sleep(time.Second)
			}
			// 300 trades in 90 s: 100 times 0.3 s.
			if after := time.Since(last); after < 29*time.Second || after > 34*time.Second {
				t.Errorf("ended after %s", after)
			}
			synctest.Wait()
			var quiet []string
			for _, u := range r.updates() {
				if u.Symbol == 2 {
					quiet = append(quiet, clockText(u.OpenTime)+" "+klineText(&u.Kline))
				}
			}
			if want := []string{"1:00.000 100 100 100 100  v0 n0  closed", "1:00.000 100 100 100 100  v0 n0  closed+gap r1"}; !slices.Equal(quiet, want) {
				t.Errorf("the quiet symbol: %q, want %q", quiet, want)
			}
		})
	}
}

// TestLateRow: a row of the summary that comes seconds late shows a trade that came in time: nobody is to blame.
func TestLateRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := silentRig(t)
		row := func(at market.Time, volume fixed.Value) {
			r.bring("tickers", market.Batch{Ready: true, Tickers: []market.Ticker{{SymbolID: 0, Time: at, Close: 100 * fixed.One, Volume: volume.Sum()}}})
		}
		r.at(70 * time.Second)
		row(bubbleClock{}.Now(), 5*fixed.One)
		r.at(71 * time.Second)
		r.brings("AB", 0, 2)
		shown := bubbleClock{}.Now() + 500
		r.at(75 * time.Second)
		row(shown, 6*fixed.One)
		for s := range 14 {
			r.at(time.Duration(76+s) * time.Second)
			r.brings("AB", 1, int64(2+s))
		}
		l, slot := r.f.laneOf(0)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.symbols[slot].blind.from != 0 || l.unseenEnds != 0 {
			t.Errorf("blind %+v, %d connections ended", l.symbols[slot].blind, l.unseenEnds)
		}
	})
}

// TestMute: a connection that acknowledges its streams and brings nothing is ended where others show that there are
// trades; where nobody knows, it is said.
func TestMute(t *testing.T) {
	for _, c := range []struct {
		name  string
		other bool
		ended float64
		says  string
	}{
		{"the other brings trades", true, 1, ""},
		{"nobody knows", false, 0, "acknowledged 1 streams and sent nothing"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, nil)
			r.bring("trades-0.0", market.Batch{Ready: true})
			for n := range 40 {
				if c.other {
					r.trades("trades-0.1", trade(0, int64(n+1), "1", "1", bubbleClock{}.Now()))
				}
				r.at(time.Duration(n+1) * time.Second)
				if n == 12 {
					if got := testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues(silent)); got != c.ended {
						t.Errorf("%s: %v ended", c.name, got)
					}
				}
			}
			_, parts := r.o.Watchdog.State()
			i := slices.IndexFunc(parts, func(p health.ComponentState) bool { return p.Name == "feed trades-0.0" })
			if reason := parts[i].Reason; c.says != "" && !strings.Contains(reason, c.says) {
				t.Errorf("%s: %q", c.name, reason)
			}
		})
	}
}

// TestRotation: before the venue ends a connection another takes its place, and delivers before the old one is closed.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, func(o *Options) { o.Rotate = time.Hour })
		r.begin()
		old := r.v.conn("trades-0.0")
		id := int64(2)
		both := func() { // the youngest connection of each link, and the old one while it lives
			for _, c := range append(r.v.olds["trades-0.0"], r.v.conn("trades-0.0"), r.v.conn("trades-0.1")) {
				if c != nil && !c.over() {
					c.batches <- market.Batch{Ready: true, Trades: []market.Trade{trade(0, id, "100", "1", bubbleClock{}.Now()-50)}}
				}
			}
			id++
			synctest.Wait()
		}
		for n := 0; n < 57; n++ {
			r.at(time.Duration(n+2) * time.Minute)
			both()
		}
		r.at(60*time.Minute + 30*time.Second)
		if next := r.v.conn("trades-0.0"); next == nil || next == old || old.over() {
			t.Fatal("no successor, or the old one did not wait for it")
		}
		both()
		if !old.over() {
			t.Error("the old one lives on though its successor delivers")
		}
		r.at(61*time.Minute + time.Second)
		if n := testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues(rotated)); n < 1 || testutil.ToFloat64(r.o.Metrics.Gaps) != 0 {
			t.Errorf("%v rotated, %v gaps", n, testutil.ToFloat64(r.o.Metrics.Gaps))
		}
		for _, u := range r.updates() {
			if u.Gap {
				t.Errorf("marked: %s %s", clockText(u.OpenTime), klineText(&u.Kline))
			}
		}
	})
}

// TestStandstill: after a standstill a connection that lives says so, and one that is dead does not: what closes then
// carries the mark.
func TestStandstill(t *testing.T) {
	for _, c := range []struct {
		name  string
		dead  bool
		close time.Duration
		want  string
	}{
		{"alive", false, 123150 * time.Millisecond, "100 100 100 100  v1 n1 2-2  closed"},
		{"dead", true, 125050 * time.Millisecond, "100 100 100 100  v1 n1 2-2  closed+gap"},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := &stallingClock{}
			r := newRig(t, 1, func(o *Options) { o.Clock = clock })
			r.begin()
			r.at(118 * time.Second)
			r.brings("AB", 0, 2)
			r.v.conn("trades-0.0").dead.Store(c.dead)
			r.v.conn("trades-0.1").dead.Store(c.dead)
			clock.stall.Store(int64(5 * time.Second))
			r.at(130 * time.Second)
			d := r.take()
			if len(d) == 0 || len(d[0].Updates) != 1 || klineText(&d[0].Updates[0].Kline) != c.want ||
				d[0].at.Sub(bubbleBegin.Add(c.close)).Abs() > 50*time.Millisecond {
				t.Errorf("%s: %s, %s", c.name, d[0].at.Sub(bubbleBegin), klineText(&d[0].Updates[0].Kline))
			}
		})
	}
}

// jumpingClock is the bubble's clock and what is added to it.
type jumpingClock struct {
	bubbleClock
	ahead atomic.Int64 // ms
}

func (c *jumpingClock) Now() market.Time { return c.bubbleClock.Now() + market.Time(c.ahead.Load()) }

// TestClockJumps: a machine that was suspended, and a clock that was wrong: whatever the clock says, each minute closes
// once, in order, and with the mark where nothing shows that the connections still live.
func TestClockJumps(t *testing.T) {
	for _, c := range []struct {
		name string
		by   time.Duration
		dead bool
		want string
	}{
		{"suspended for two minutes, alive", 2 * time.Minute, false, "1:00 closed, 2:00 closed, 3:00 closed"},
		{"suspended for two minutes, dead", 2 * time.Minute, true, "1:00 closed+gap, 2:00 closed+gap, 3:00 closed+gap"},
		{"set back by two minutes", -2 * time.Minute, false, "1:00 closed"},
		{"set back by half a second", -500 * time.Millisecond, false, "1:00 closed, 2:00 closed, 3:00 closed"},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := &jumpingClock{}
			r := newRig(t, 1, func(o *Options) { o.Clock = clock })
			r.begin()
			r.at(118 * time.Second)
			r.brings("AB", 0, 2)
			r.v.conn("trades-0.0").dead.Store(c.dead)
			r.v.conn("trades-0.1").dead.Store(c.dead)
			clock.ahead.Store(c.by.Milliseconds())
			r.at(170 * time.Second)
			if c.by < 0 {
				r.at(250 * time.Second)
			}
			var got []string
			for _, u := range r.updates() {
				if u.Revision == 0 {
					text := strings.TrimSuffix(clockText(u.OpenTime), ".000") + " " + u.State.String()
					if u.Gap {
						text += "+gap"
					}
					got = append(got, text)
				}
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("%s: %s\nwant %s", c.name, text, c.want)
			}
		})
	}
}

// TestGraceIsLearnt: the grace follows how old trades are when they come, within its bounds, and not what was held up.
func TestGraceIsLearnt(t *testing.T) {
	for _, c := range []struct {
		name string
		lag  func(n int) market.Time
		want time.Duration
	}{
		{"quick", func(int) market.Time { return 110 }, 200 * time.Millisecond},
		{"as on the wire", func(n int) market.Time { return 200 + market.Time(n%100) }, 319 * time.Millisecond},
		{"one in a hundred late", func(n int) market.Time { return 200 + 400*market.Time(n%100/99) }, 620 * time.Millisecond},
		{"one in ten thousand late", func(n int) market.Time { return 250 + 700*market.Time(n%10000/9999) }, 270 * time.Millisecond},
		{"far away", func(int) market.Time { return 1500 }, time.Second},
		{"held up", func(n int) market.Time { return 250 + 5000*market.Time(n%10/9) }, 270 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, nil)
			r.begin()
			if g := r.f.graceNow(); g != 500*time.Millisecond {
				t.Errorf("%s: begins with %s", c.name, g)
			}
			id := int64(2)
			for n := range 50 {
				r.at(65*time.Second + time.Duration(n)*500*time.Millisecond)
				var b market.Batch
				b.Ready = true
				for range 400 {
					b.Trades = append(b.Trades, trade(0, id, "100", "1", bubbleClock{}.Now()-c.lag(int(id))))
					id++
				}
				r.bring("trades-0.0", b)
			}
			if g := r.f.graceNow(); g != c.want || testutil.ToFloat64(r.o.Metrics.GraceSeconds) != c.want.Seconds() {
				t.Errorf("%s: %s, want %s", c.name, g, c.want)
			}
		})
	}
}

// TestNeverBrought: a symbol that trades, by the venue's summary, and that no connection ever brings: connections are ended
// for it less and less, one at a time, and what it closes carries the mark.
func TestNeverBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := silentRig(t)
		l := r.f.lanes[0]
		for n := range int64(600) {
			r.ticks(0, "100", n+2)
			r.ticks(1, "100", n+2)
			r.brings("AB", 1, n+2)
			l.mu.Lock()
			carriers := l.carriers()
			l.mu.Unlock()
			if carriers == 0 {
				t.Fatalf("no connection after %d s", n)
			}
			r.at(66*time.Second + time.Duration(n)*time.Second)
		}
		if ended := testutil.ToFloat64(r.o.Metrics.Reconnects.WithLabelValues(silent)); ended < 3 || ended > 8 {
			t.Errorf("%v connections ended in ten minutes", ended)
		}
		for _, u := range r.updates() {
			if u.Symbol == 0 && u.OpenTime >= bubbleTime(2*time.Minute) && !u.Gap {
				t.Errorf("%s %s does not carry the mark", clockText(u.OpenTime), klineText(&u.Kline))
			}
			if u.Symbol == 1 && u.Gap {
				t.Errorf("%s %s of the other carries it", clockText(u.OpenTime), klineText(&u.Kline))
			}
		}
	})
}

// TestFirstTradeWitnessed: the first trade of a symbol that was silent when its stream began is believed when the venue's
// summary has its price.
func TestFirstTradeWitnessed(t *testing.T) {
	for price, want := range map[string]string{"51": "51 51 51 51  v1 n1 9-9  closed", "50": "51 51 51 51  v1 n1 9-9  closed+gap"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 2, func(o *Options) { o.DialTickers = o.DialKlines })
			r.at(5 * time.Second)
			r.brings("AB", 0, 1)
			r.at(62 * time.Second)
			r.official(officialMinute(0, bubbleTime(0), "100", 1, 1, 1), officialMinute(1, bubbleTime(0), "50", 1, 8, 8))
			r.at(90 * time.Second)
			r.trades("trades-0.0", trade(1, 9, "51", "1", bubbleTime(89900*time.Millisecond)))
			r.ticks(1, price, 5)
			r.take()
			r.at(121 * time.Second)
			for _, u := range r.updates() {
				if got := klineText(&u.Kline); u.Symbol == 1 && got != want {
					t.Errorf("the summary says %s: %s, want %s", price, got, want)
				}
			}
		})
	}
}

package feed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

// lateRig is a feed of one symbol whose stream begins at 58:05, so that 59:00 is its first boundary; it has seen trade
// 7 before that, and 8 in minute 59. It stands at 1:00:10.
func lateRig(t *testing.T, intervals ...market.Interval) *rig {
	r := newRig(t, 1, func(o *Options) { o.Intervals = intervals })
	r.at(58*time.Minute + 5*time.Second)
	for _, c := range []string{"trades-0.0", "trades-0.1"} {
		r.trades(c, trade(0, 7, "107", "1", bubbleTime(58*time.Minute+5*time.Second)))
	}
	r.at(59*time.Minute + 2*time.Second)
	r.official(officialMinute(0, bubbleTime(58*time.Minute), "107", 1, 7, 7))
	r.trades("trades-0.0", trade(0, 8, "108", "1", bubbleTime(59*time.Minute+2*time.Second)))
	r.at(time.Hour + 10*time.Second)
	return r
}

// flat is n official klines without trades from the one at open on.
func flat(iv market.Interval, open market.Time, n int, price string) (rows []market.Kline) {
	for range n {
		k := market.EmptyKline(open, fixed.MustParse(price))
		k.State = market.StateSettled
		rows = append(rows, k)
		open = iv.Next(open)
	}
	return rows
}

// handedOn lists updates by interval, open time and kline.
func (r *rig) handedOn(longerThan market.Interval) string {
	return updatesText(slices.DeleteFunc(r.updates(), func(u market.Update) bool { return u.Interval <= longerThan }))
}

func updatesText(updates []market.Update) string {
	var s []string
	for _, u := range updates {
		s = append(s, fmt.Sprintf("%s %s %s", u.Interval, strings.TrimSuffix(clockText(u.OpenTime), ".000"), klineText(&u.Kline)))
	}
	return strings.Join(s, "; ")
}

// TestLongerClosesFollow: what closed after the first boundary and could not be shown goes out when the absent part
// arrives, once, whether that part is an official hour or minutes.
func TestLongerClosesFollow(t *testing.T) {
	if raced {
		t.Skip("its markets are an hour long: make test runs it without the race detector")
	}
	hours := []market.Interval{market.OneMinute, 5 * market.OneMinute, market.OneHour, 2 * market.OneHour}
	for _, c := range []struct {
		name string
		load func(*Feed)
		want string
	}{
		{"minutes", func(f *Feed) { f.Load(0, market.OneMinute, flat(market.OneMinute, bubbleTime(0), 58, "100")) },
			"5m 55:00 107 108 107 108  v2 n2 7-8  closed; 1h 0:00 107 108 107 108  v2 n2 7-8  closed"},
		{"the hour", func(f *Feed) { f.Load(0, market.OneHour, flat(market.OneHour, bubbleTime(0), 1, "109")) },
			"1h 0:00 109 109 109 109  v0 n0  settled"},
		{"both", func(f *Feed) {
			f.Load(0, market.OneHour, flat(market.OneHour, bubbleTime(0), 1, "109"))
			f.Load(0, market.OneMinute, flat(market.OneMinute, bubbleTime(0), 58, "100"))
		}, "1h 0:00 109 109 109 109  v0 n0  settled; 5m 55:00 107 108 107 108  v2 n2 7-8  closed"},
		{"twice", func(f *Feed) {
			f.Load(0, market.OneMinute, flat(market.OneMinute, bubbleTime(0), 58, "100"))
			f.Load(0, market.OneMinute, flat(market.OneMinute, bubbleTime(0), 58, "100"))
			f.Load(0, market.OneHour, flat(market.OneHour, bubbleTime(0), 1, "109"))
		}, "5m 55:00 107 108 107 108  v2 n2 7-8  closed; 1h 0:00 107 108 107 108  v2 n2 7-8  closed"},
		{"an hour that is not over", func(f *Feed) { f.Load(0, market.OneHour, flat(market.OneHour, bubbleTime(time.Hour), 1, "109")) }, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := lateRig(t, hours...)
			if s := r.handedOn(market.OneMinute); s != "" || !r.f.Waiting(0) {
				t.Errorf("%s: %s", c.name, s)
			}
			c.load(r.f)
			synctest.Wait()
			if s := r.handedOn(market.OneMinute); s != c.want {
				t.Errorf("%s: %s\nwant %s", c.name, s, c.want)
			}
			if c.want != "" && c.name != "the hour" && (r.f.Waiting(0) || len(r.wholes) != 1) {
				t.Errorf("%s: %s", c.name, r.f.Standing(0))
			}
		})
	}
}

// TestLoadKeepsWhatIsOurs: from the starting minute on only official minutes are taken, and only where ours is absent.
func TestLoadKeepsWhatIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, nil)
		r.at(5 * time.Second)
		r.trades("trades-0.0", trade(0, 1, "100", "1", bubbleTime(5*time.Second)))
		r.at(2*time.Minute + time.Second)
		rows := append([]market.Kline{officialMinute(0, bubbleTime(0), "50", 2, 0, 1).Kline}, flat(market.OneMinute, bubbleTime(time.Minute), 1, "51")...)
		closed := slices.Clone(rows)
		closed[0].State = market.StateClosed
		r.f.Load(0, market.OneMinute, closed[:1])
		synctest.Wait()
		if s := r.handedOn(0); s != "" || !r.f.Waiting(0) {
			t.Errorf("a minute that is not official: %s", s)
		}
		r.f.Load(0, market.OneMinute, rows[:1])
		synctest.Wait()
		if s, want := r.handedOn(0), "1m 0:00 50 50 50 50  v2 n2 0-1  settled; 1m 1:00 50 50 50 50  v0 n0  closed"; s != want || r.f.Waiting(0) {
			t.Errorf("%s, want %s", s, want)
		}
		r.f.Load(0, market.OneMinute, rows[1:])
		synctest.Wait()
		if s := r.handedOn(0); s != "" {
			t.Errorf("ours was not absent: %s", s)
		}
	})
}

// TestYoung: a symbol whose first kline lies within its starting hour, told before and after some of its minutes closed.
func TestYoung(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, func(o *Options) { o.Intervals = []market.Interval{market.OneMinute, market.OneHour, market.OneDay} })
			r.at(20*time.Minute + 5*time.Second)
			r.trades("trades-0.0", trade(0, 7, "107", "1", bubbleTime(20*time.Minute+5*time.Second)))
			first := func() {
				r.f.First(0, bubbleTime(18*time.Minute))
				r.f.Load(0, market.OneMinute, flat(market.OneMinute, bubbleTime(18*time.Minute), 2, "100"))
			}
			if !late {
				first()
			}
			r.at(21*time.Minute + 2*time.Second)
			r.official(officialMinute(0, bubbleTime(20*time.Minute), "107", 1, 7, 7))
			r.trades("trades-0.0", trade(0, 8, "108", "1", bubbleTime(21*time.Minute+time.Second)))
			r.at(24*time.Minute + time.Second)
			if late {
				first()
			}
			r.at(25 * time.Minute)
			rows, err := r.f.Tail(t.Context(), nil, market.Series{Interval: market.OneDay}, 0)
			if err != nil || len(rows) != 1 || r.f.Standing(0) != Whole {
				t.Errorf("late %t: %v, %v, %s", late, rows, err, r.f.Standing(0))
			}
		})
	}
}

// TestFresh: a symbol without any kline at the exchange begins with its first trade, whether that came before this was
// known or after.
func TestFresh(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh time.Duration
	}{{"before", 10 * time.Second}, {"after", 95 * time.Second}, {"much later", 200 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 2, func(o *Options) { o.Intervals = []market.Interval{market.OneMinute, market.OneHour} })
			r.at(5 * time.Second)
			r.trades("trades-0.0", trade(1, 1, "100", "1", bubbleTime(5*time.Second)))
			fresh := func() {
				r.f.Fresh(0)
				r.f.Load(0, market.OneMinute, nil)
			}
			for _, step := range []time.Duration{10 * time.Second, 90 * time.Second, 95 * time.Second, 130 * time.Second, 200 * time.Second} {
				r.at(step)
				if step == c.fresh {
					fresh()
				}
				switch step {
				case 90 * time.Second:
					r.trades("trades-0.0", trade(0, 1, "100", "1", bubbleTime(step)))
				case 130 * time.Second:
					r.trades("trades-0.0", trade(0, 2, "101", "1", bubbleTime(step)))
				}
			}
			fresh() // once more: it has traded by now
			r.trades("trades-0.0", trade(0, 3, "102", "1", bubbleTime(200*time.Second)))
			r.at(250 * time.Second)
			rows, err := r.f.Tail(t.Context(), nil, market.Series{Interval: market.OneHour}, 0)
			if err != nil || len(rows) != 1 || rows[0].TradeCount != 3 || r.f.Standing(0) != Whole {
				t.Errorf("%s: %v, %v, %s", c.name, rows, err, r.f.Standing(0))
			}
		})
	}
}

package feed

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

// TestTimesAhead: a time that has not come is a lie if it is one symbol's; if several symbols have such, the clock is
// measured first, and then believed.
func TestTimesAhead(t *testing.T) {
	for _, c := range []struct {
		name    string
		symbols []market.SymbolID // whose trades are a minute ahead, one a second
		behind  time.Duration     // by how much the clock is really behind
		doubts  int32             // how often it was measured
		dropped float64
	}{
		{"one symbol, again and again", []market.SymbolID{0, 0, 0}, 0, 0, 3},
		{"two symbols, and the clock is right", []market.SymbolID{0, 1, 0, 1}, 0, 1, 4},
		{"two symbols, and the clock is behind", []market.SymbolID{0, 1, 2, 1}, time.Minute, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			clock := &jumpingClock{}
			var doubts atomic.Int32
			r := newRig(t, 3, func(o *Options) {
				o.Clock = clock
				o.Doubt = func(context.Context) {
					doubts.Add(1)
					clock.ahead.Store(c.behind.Milliseconds())
				}
			})
			r.begin()
			next := []int64{2, 2, 2}
			for i, id := range c.symbols {
				r.at(time.Duration(70+i) * time.Second)
				r.trades("trades-0.0", trade(id, next[id], "100", "1", bubbleClock{}.Now()+market.Minute))
				next[id]++
			}
			if got := testutil.ToFloat64(r.o.Metrics.Disbelieved.WithLabelValues(lieTime)); doubts.Load() != c.doubts || got != c.dropped {
				t.Errorf("%s: measured %d times, %v dropped; want %d, %v", c.name, doubts.Load(), got, c.doubts, c.dropped)
			}
		})
	}
}

// TestStepBackOnTheWay: the exchange's clock steps back, and the trades that it had sent before are now ahead of it. They
// follow what the lane has had, and are believed; a lie does not.
func TestStepBackOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &jumpingClock{}
		r := newRig(t, 2, func(o *Options) { o.Clock = clock })
		r.begin()
		r.at(70 * time.Second)
		r.trades("trades-0.0", trade(0, 2, "100", "1", bubbleClock{}.Now()-100))
		clock.ahead.Store(-20_000)
		now := bubbleClock{}.Now()
		b := market.Batch{Received: time.Now(), Trades: []market.Trade{
			trade(0, 3, "100", "1", now-50), trade(1, 2, "100", "1", now), trade(0, 4, "100", "1", now+market.Hour)}}
		r.f.believeTimes(t.Context(), &b)
		if len(b.Trades) != 2 || b.Trades[0].ID != 3 || b.Trades[1].ID != 2 {
			t.Errorf("kept %v", b.Trades)
		}
	})
}

// TestTimesDoNotClimb: trades that are each a little further ahead lead nobody on; nor does one that nobody carries.
func TestTimesDoNotClimb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, nil)
		r.begin()
		r.at(70 * time.Second)
		for n := range int64(30) {
			r.trades("trades-0.0", trade(0, n+2, "100", "1", bubbleClock{}.Now()+market.Time(n+1)*4900))
		}
		r.trades("trades-0.1", trade(77, 5, "100", "1", bubbleClock{}.Now()+market.Day))
		r.trades("trades-0.0", trade(1, 2, "100", "1", bubbleClock{}.Now()+market.Hour))
		if n := testutil.ToFloat64(r.o.Metrics.Disbelieved.WithLabelValues(lieTime)); n != 31 {
			t.Errorf("%v dropped, want all but the first", n)
		}
		r.at(80 * time.Second)
		if u := r.updates(); len(u) != 0 {
			t.Errorf("closed ahead of time: %s %s", clockText(u[0].OpenTime), klineText(&u[0].Kline))
		}
	})
}

// TestReadersWaitTogether: readers that come with such trades while the clock is being measured wait for it too.
func TestReadersWaitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &jumpingClock{}
		r := newRig(t, 2, func(o *Options) {
			o.Clock = clock
			o.Doubt = func(context.Context) {
				time.Sleep(300 * time.Millisecond)
				clock.ahead.Store(time.Minute.Milliseconds())
			}
		})
		var readers sync.WaitGroup
		kept := make([]int, 4)
		for i := range kept {
			readers.Go(func() {
				time.Sleep(time.Duration(i+1) * time.Millisecond)
				at := bubbleClock{}.Now() + market.Minute
				b := market.Batch{Received: time.Now(), Trades: []market.Trade{trade(0, 10, "100", "1", at), trade(1, 10, "100", "1", at)}}
				r.f.believeTimes(t.Context(), &b)
				kept[i] = len(b.Trades)
			})
		}
		readers.Wait()
		if !slices.Equal(kept, []int{2, 2, 2, 2}) {
			t.Errorf("trades kept of two, reader by reader: %v", kept)
		}
	})
}

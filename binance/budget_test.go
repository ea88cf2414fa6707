package binance

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/health"
	"klined/market"
)

// bubbleBegins is when the clock of a synctest bubble begins: at the full minute.
var bubbleBegins = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newTestBudget(perMinute int) *Budget {
	return NewBudget(BudgetOptions{PerMinute: perMinute, Clock: localTime{}, Metrics: health.NewMetrics()})
}

// since is the fake time since the bubble's begin.
func since() time.Duration { return time.Since(bubbleBegins) }

// mustAcquire takes weight for a request that is not over yet.
func mustAcquire(t *testing.T, b *Budget, class market.Class, weight int) {
	t.Helper()
	if err := b.acquire(t.Context(), class, weight); err != nil {
		t.Fatalf("%s, weight %d: %v", class, weight, err)
	}
}

// mustSpend takes weight for a request that is over at once.
func mustSpend(t *testing.T, b *Budget, class market.Class, weight int) {
	t.Helper()
	mustAcquire(t, b, class, weight)
	b.end(weight)
}

func TestBudgetWaitsForTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		time.Sleep(20 * time.Second)
		for range 9 {
			mustSpend(t, b, market.ClassStart, 10)
		}
		if since() != 20*time.Second || b.Used() != 90 {
			t.Errorf("90 of 100 took until %s, used %d", since(), b.Used())
		}
		mustSpend(t, b, market.ClassHeal, 10) // the tenth that is kept free
		if since() != 20*time.Second {
			t.Errorf("heal waited until %s", since())
		}
		mustSpend(t, b, market.ClassSettle, 10)
		if since() != time.Minute || b.Used() != 10 {
			t.Errorf("the next went at %s, used %d", since(), b.Used())
		}
		time.Sleep(time.Minute)
		if b.Used() != 0 {
			t.Errorf("a minute later %d are used", b.Used())
		}
	})
}

func TestBudgetServesByClassThenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(20)
		mustSpend(t, b, market.ClassHeal, 20)
		var mu sync.Mutex
		var order []string
		var done sync.WaitGroup
		ask := func(name string, class market.Class, weight int) {
			done.Go(func() {
				if err := b.acquire(t.Context(), class, weight); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				b.end(weight)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name+" "+since().String())
			})
			synctest.Wait()
		}
		ask("backfill", market.ClassBackfill, 2)
		ask("settle 1", market.ClassSettle, 16)
		ask("settle 2", market.ClassSettle, 8)
		ask("start", market.ClassStart, 10)
		ask("heal", market.ClassHeal, 10)
		done.Wait()
		want := []string{"heal 1m0s", "start 2m0s", "settle 1 3m0s", "settle 2 4m0s", "backfill 4m0s"}
		// The order within one instant is the scheduler's; what counts is the minute.
		if len(order) == 5 && order[3] < order[4] {
			order[3], order[4] = order[4], order[3]
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBudgetClientsDoNotWaitLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		mustSpend(t, b, market.ClassClients, 90)
		time.Sleep(10 * time.Second)
		var refusal *market.BudgetError
		if err := b.acquire(t.Context(), market.ClassClients, 1); !errors.As(err, &refusal) || refusal.RetryAfter != 50*time.Second || since() != 10*time.Second {
			t.Errorf("50 s before the minute ends: %v at %s", err, since())
		}
		time.Sleep(46 * time.Second)
		mustSpend(t, b, market.ClassClients, 1)
		if since() != time.Minute {
			t.Errorf("4 s before the minute ends: waited until %s", since())
		}
		// The minute ends within its patience, but others go before it.
		time.Sleep(56 * time.Second)
		mustSpend(t, b, market.ClassClients, 89)
		var done sync.WaitGroup
		done.Go(func() { mustSpend(t, b, market.ClassSettle, 90) })
		synctest.Wait()
		if err := b.acquire(t.Context(), market.ClassClients, 1); !errors.As(err, &refusal) || since() != time.Minute+61*time.Second {
			t.Errorf("behind others: %v at %s", err, since())
		}
		done.Wait()
	})
}

// TestBudgetLeavesClientsAShare: a backfill that never ends takes what it may of each minute at once; a client that asks
// after it, in the same minute, is answered without waiting.
func TestBudgetLeavesClientsAShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(0)
		ctx, stop := context.WithCancel(t.Context())
		var backfill sync.WaitGroup
		backfill.Go(func() {
			for b.acquire(ctx, market.ClassBackfill, 10) == nil {
				b.end(10)
			}
		})
		for minute := range 3 {
			synctest.Wait()
			if used := b.Used(); used != 780 {
				t.Errorf("minute %d: backfill has used %d of 1200, want 780", minute, used)
			}
			asked := since()
			mustSpend(t, b, market.ClassClients, 300)
			if since() != asked {
				t.Errorf("minute %d: the client waited until %s", minute, since())
			}
			time.Sleep(time.Minute)
		}
		stop()
		backfill.Wait()
	})
}

func TestBudgetGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(20)
		mustSpend(t, b, market.ClassHeal, 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var done sync.WaitGroup
		done.Go(func() {
			err := b.acquire(ctx, market.ClassStart, 15)
			if !errors.Is(err, context.DeadlineExceeded) || since() != time.Second {
				t.Errorf("%v at %s", err, since())
			}
			if want := "the request weight of this minute is used up; again in 59s: context deadline exceeded"; Explain("http://exchange", err).Error() != want {
				t.Errorf("%v, want %s", Explain("http://exchange", err), want)
			}
		})
		synctest.Wait()
		mustSpend(t, b, market.ClassBackfill, 5) // fits as soon as the one before it has gone
		if since() != time.Second {
			t.Errorf("the one behind it went at %s", since())
		}
		done.Wait()
		if err := b.acquire(ctx, market.ClassHeal, 1); !errors.Is(err, context.DeadlineExceeded) || b.Used() != 9 {
			t.Errorf("with an ended context: %v, used %d", err, b.Used())
		}
		if err := b.acquire(t.Context(), market.ClassStart, 19); err == nil {
			t.Error("weight 19 was granted of a budget of 18")
		}
	})
}

func TestBudgetBelievesTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		mustAcquire(t, b, market.ClassStart, 10)
		asked := time.Now()
		b.said(85, 10, asked)
		b.said(40, 10, asked) // an answer that was overtaken
		if b.Used() != 85 || testutil.ToFloat64(b.metrics.RESTUsedWeight) != 40 {
			t.Errorf("used %d", b.Used())
		}
		b.said(0, 10, asked) // one that says nothing
		b.end(10)
		if b.Used() != 85 || testutil.ToFloat64(b.metrics.RESTUsedWeight) != 40 {
			t.Errorf("used %d", b.Used())
		}
		mustAcquire(t, b, market.ClassStart, 10)
		if since() != time.Minute {
			t.Errorf("went at %s", since())
		}
		b.said(99, 10, asked) // it speaks of the minute before
		if b.Used() != 10 {
			t.Errorf("used %d in the new minute", b.Used())
		}
	})
}

// TestBudgetCountsWhatIsInFlight: others have used 500; five of our requests are under way, and each answer knows only
// of those that came before it.
func TestBudgetCountsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(1000)
		for range 5 {
			mustAcquire(t, b, market.ClassHeal, 20)
		}
		asked := time.Now()
		for i := range 5 {
			b.said(520+20*i, 20, asked)
			b.end(20)
			if b.Used() != 600 {
				t.Errorf("after answer %d: used %d, want 600", i, b.Used())
			}
		}
		time.Sleep(59 * time.Second)
		mustAcquire(t, b, market.ClassHeal, 20)
		time.Sleep(2 * time.Second)
		if b.Used() != 20 {
			t.Errorf("used %d: what is in flight may be counted in the new minute", b.Used())
		}
	})
}

func TestBudgetBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		var done sync.WaitGroup
		if !b.block(150*time.Second, "banned") || b.block(10*time.Second, "shorter") || b.block(150*time.Second, "again") {
			t.Error("only the first is news")
		}
		done.Go(func() {
			mustSpend(t, b, market.ClassHeal, 1)
			if since() != 150*time.Second {
				t.Errorf("heal went at %s", since())
			}
		})
		var refusal *market.BudgetError
		if err := b.acquire(t.Context(), market.ClassClients, 1); !errors.As(err, &refusal) || refusal.RetryAfter != 150*time.Second || refusal.Reason != "banned" {
			t.Errorf("clients: %v", err)
		}
		if err := b.take(1); !errors.As(err, &refusal) {
			t.Errorf("take: %v", err)
		}
		done.Wait()
		if err := b.take(1); err != nil || b.Used() != 2 {
			t.Errorf("afterwards: %v, used %d", err, b.Used())
		}
	})
}

// TestBudgetTriesOneAfterRefusal: when what the exchange told us to wait is over, one request goes alone until it has
// been answered; the first in the order of classes.
func TestBudgetTriesOneAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(1000)
		var mu sync.Mutex
		var order []market.Class
		var done sync.WaitGroup
		defer done.Wait()
		b.block(10*time.Second, "too many")
		before := time.Now()
		for _, class := range []market.Class{market.ClassBackfill, market.ClassSettle, market.ClassStart, market.ClassHeal} {
			done.Go(func() {
				mustAcquire(t, b, class, 10)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, class)
			})
		}
		gone := func(when string, want ...market.Class) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(want, order); diff != "" {
				t.Errorf("%s: gone (−want +got)\n%s", when, diff)
			}
		}
		time.Sleep(9 * time.Second)
		gone("while blocked")
		time.Sleep(time.Second)
		gone("when it ends", market.ClassHeal)
		b.said(0, 10, before)
		gone("an answer to what was asked before", market.ClassHeal)
		if err, refusal := b.take(1), (*market.BudgetError)(nil); !errors.As(err, &refusal) || refusal.Reason != "too many" || refusal.RetryAfter != time.Second {
			t.Errorf("take beside it: %v", err)
		}
		b.end(10)
		gone("it ends without an answer", market.ClassHeal, market.ClassStart)
		time.Sleep(time.Second)
		asked := time.Now()
		time.Sleep(time.Second)
		b.block(10*time.Second, "still too many")
		b.said(0, 10, asked)
		b.end(10)
		gone("the next is refused", market.ClassHeal, market.ClassStart)
		time.Sleep(10 * time.Second)
		gone("when that ends", market.ClassHeal, market.ClassStart, market.ClassSettle)
		b.said(0, 10, time.Now())
		b.end(10)
		gone("it is answered", market.ClassHeal, market.ClassStart, market.ClassSettle, market.ClassBackfill)
	})
}

func TestBudgetRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		f := func(when string, want ...int) {
			t.Helper()
			var got []int
			for class := range market.Class(classes) {
				got = append(got, b.Room(class))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: (−want +got)\n%s", when, diff)
			}
		}
		var done sync.WaitGroup
		f("nothing used", 100, 90, 90, 90, 65)
		mustSpend(t, b, market.ClassClients, 85)
		f("85 used", 15, 5, 5, 5, 0)
		done.Go(func() { mustSpend(t, b, market.ClassSettle, 10) })
		synctest.Wait()
		f("settle waits", 15, 5, 0, 0, 0)
		mustSpend(t, b, market.ClassHeal, 15)
		f("all used", 0, 0, 0, 0, 0)
		time.Sleep(time.Minute)
		f("the next minute; settle has gone", 90, 80, 80, 80, 55)
		b.block(time.Second, "too many")
		f("blocked", 0, 0, 0, 0, 0)
		time.Sleep(time.Second)
		mustAcquire(t, b, market.ClassHeal, 10)
		f("one is tried", 0, 0, 0, 0, 0)
		b.said(0, 10, time.Now())
		b.end(10)
		f("and answered", 80, 70, 70, 70, 45)
		mustSpend(t, b, market.ClassHeal, 75)
		f("only heal's share is left", 5, 0, 0, 0, 0)
		time.Sleep(time.Minute)
		f("nobody has asked since", 100, 90, 90, 90, 65)
		done.Wait()
	})
}

// steppedClock is the bubble's time, put right by some amount; where it stands it does not run.
type steppedClock struct {
	by    atomic.Int64 // ms
	stuck atomic.Int64
}

func (c *steppedClock) Now() market.Time {
	if at := c.stuck.Load(); at != 0 {
		return market.Time(at)
	}
	return localTime{}.Now() + market.Time(c.by.Load())
}

// TestBudgetWhenTheClockSteps: the minute's weight is used up and a request waits when the clock is put right. It goes
// with the next minute that the clock, as it is then, comes to: an hour's jump ends no minute.
func TestBudgetWhenTheClockSteps(t *testing.T) {
	f := func(name string, step func(*steppedClock), want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			c := new(steppedClock)
			b := NewBudget(BudgetOptions{PerMinute: 100, Clock: c})
			time.Sleep(20 * time.Second)
			mustSpend(t, b, market.ClassStart, 90)
			var done sync.WaitGroup
			done.Go(func() {
				mustSpend(t, b, market.ClassStart, 10)
				if since() != want {
					t.Errorf("%s: went at %s, want %s", name, since(), want)
				}
			})
			time.Sleep(5500 * time.Millisecond)
			step(c)
			done.Wait()
			if b.Used() != 10 {
				t.Errorf("%s: used %d in the new minute", name, b.Used())
			}
		})
	}
	by := func(d time.Duration) func(*steppedClock) {
		return func(c *steppedClock) { c.by.Store(d.Milliseconds()) }
	}
	f("not at all", by(0), 60*time.Second)
	f("on by an hour", by(time.Hour), 60*time.Second)
	f("back by an hour", by(-time.Hour), 60*time.Second)
	f("on by years", by(100000*time.Hour), 60*time.Second)
	f("on, within the minute", by(10*time.Second), 50*time.Second)
	f("on, into the next minute", by(35*time.Second), 85*time.Second)
	f("back, within the minute", by(-20*time.Second), 80*time.Second)
	f("back, into the minute before", by(-30*time.Second), 30*time.Second)
	f("it stands still", func(c *steppedClock) { c.stuck.Store(int64(c.Now())) }, 20*time.Second+longestMinute)
}

// TestBudgetWhenTheClockIsAdjusted: at the minute's begin the clock goes back by milliseconds. The minute does not begin
// again, neither now nor when it is reached for the second time.
func TestBudgetWhenTheClockIsAdjusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(steppedClock)
		b := NewBudget(BudgetOptions{PerMinute: 100, Clock: c})
		mustSpend(t, b, market.ClassStart, 90)
		mustSpend(t, b, market.ClassStart, 90)
		c.by.Store(-5)
		for range 2 {
			if b.Used() != 90 || since() != time.Minute && since() != time.Minute+10*time.Millisecond {
				t.Errorf("used %d at %s", b.Used(), since())
			}
			time.Sleep(10 * time.Millisecond)
		}
		mustSpend(t, b, market.ClassStart, 90)
		if since() != 2*time.Minute+5*time.Millisecond {
			t.Errorf("the next minute's went at %s", since())
		}
	})
}

// TestBudgetBlockedWhenTheClockSteps: how long the exchange told us to wait is not changed by what the clock says.
func TestBudgetBlockedWhenTheClockSteps(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c := new(steppedClock)
			b := NewBudget(BudgetOptions{PerMinute: 100, Clock: c})
			b.block(100*time.Second, "banned")
			var done sync.WaitGroup
			done.Go(func() {
				mustSpend(t, b, market.ClassStart, 90)
				if since() != 100*time.Second {
					t.Errorf("stepped by %s: went at %s", step, since())
				}
			})
			time.Sleep(30 * time.Second)
			c.by.Store(step.Milliseconds())
			done.Wait()
		})
	}
}

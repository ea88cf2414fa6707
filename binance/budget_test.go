package binance

import (
	"context"
	"errors"
	"sync"
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

func mustAcquire(t *testing.T, b *Budget, class market.Class, weight int) {
	t.Helper()
	if err := b.Acquire(t.Context(), class, weight); err != nil {
		t.Fatalf("%s, weight %d: %v", class, weight, err)
	}
}

func TestBudgetWaitsForTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		time.Sleep(20 * time.Second)
		for range 9 {
			mustAcquire(t, b, market.ClassStart, 10)
		}
		if since() != 20*time.Second || b.Used() != 90 {
			t.Errorf("90 of 100 took until %s, used %d", since(), b.Used())
		}
		mustAcquire(t, b, market.ClassHeal, 10) // the tenth that is kept free
		if since() != 20*time.Second {
			t.Errorf("heal waited until %s", since())
		}
		mustAcquire(t, b, market.ClassSettle, 10)
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
		mustAcquire(t, b, market.ClassHeal, 20)
		var mu sync.Mutex
		var order []string
		var done sync.WaitGroup
		ask := func(name string, class market.Class, weight int) {
			done.Go(func() {
				if err := b.Acquire(t.Context(), class, weight); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name+" "+since().String())
			})
			synctest.Wait()
		}
		ask("backfill", market.ClassBackfill, 2)
		ask("settle 1", market.ClassSettle, 16)
		ask("settle 2", market.ClassSettle, 16)
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
		mustAcquire(t, b, market.ClassClients, 90)
		time.Sleep(10 * time.Second)
		var refusal *market.BudgetError
		if err := b.Acquire(t.Context(), market.ClassClients, 1); !errors.As(err, &refusal) || refusal.RetryAfter != 50*time.Second || since() != 10*time.Second {
			t.Errorf("50 s before the minute ends: %v at %s", err, since())
		}
		time.Sleep(46 * time.Second)
		mustAcquire(t, b, market.ClassClients, 1)
		if since() != time.Minute {
			t.Errorf("4 s before the minute ends: waited until %s", since())
		}
		// The minute ends within its patience, but others go before it.
		time.Sleep(56 * time.Second)
		mustAcquire(t, b, market.ClassClients, 89)
		var done sync.WaitGroup
		done.Go(func() { mustAcquire(t, b, market.ClassSettle, 90) })
		synctest.Wait()
		if err := b.Acquire(t.Context(), market.ClassClients, 1); !errors.As(err, &refusal) || since() != time.Minute+61*time.Second {
			t.Errorf("behind others: %v at %s", err, since())
		}
		done.Wait()
	})
}

func TestBudgetGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(20)
		mustAcquire(t, b, market.ClassHeal, 12)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var done sync.WaitGroup
		done.Go(func() {
			if err := b.Acquire(ctx, market.ClassStart, 10); !errors.Is(err, context.DeadlineExceeded) || since() != time.Second {
				t.Errorf("%v at %s", err, since())
			}
		})
		synctest.Wait()
		mustAcquire(t, b, market.ClassBackfill, 5) // fits as soon as the one before it has gone
		if since() != time.Second {
			t.Errorf("the one behind it went at %s", since())
		}
		done.Wait()
		if err := b.Acquire(ctx, market.ClassHeal, 1); !errors.Is(err, context.DeadlineExceeded) || b.Used() != 17 {
			t.Errorf("with an ended context: %v, used %d", err, b.Used())
		}
		if err := b.Acquire(t.Context(), market.ClassStart, 19); err == nil {
			t.Error("weight 19 was granted of a budget of 18")
		}
	})
}

func TestBudgetBelievesTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		asked := localTime{}.Now()
		mustAcquire(t, b, market.ClassStart, 10)
		b.said(85, asked)
		b.said(40, asked) // an answer that was overtaken
		if b.Used() != 85 || testutil.ToFloat64(b.metrics.RESTUsedWeight) != 40 {
			t.Errorf("used %d", b.Used())
		}
		mustAcquire(t, b, market.ClassStart, 10)
		if since() != time.Minute {
			t.Errorf("went at %s", since())
		}
		b.said(99, asked) // it speaks of the minute before
		if b.Used() != 10 {
			t.Errorf("used %d in the new minute", b.Used())
		}
	})
}

func TestBudgetBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudget(100)
		var done sync.WaitGroup
		b.block(localTime{}.Now()+150*market.Second, "banned")
		b.block(localTime{}.Now()+10*market.Second, "shorter")
		done.Go(func() {
			mustAcquire(t, b, market.ClassHeal, 1)
			if since() != 150*time.Second {
				t.Errorf("heal went at %s", since())
			}
		})
		var refusal *market.BudgetError
		if err := b.Acquire(t.Context(), market.ClassClients, 1); !errors.As(err, &refusal) || refusal.RetryAfter != 150*time.Second || refusal.Reason != "banned" {
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

package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestTurns: a greedy client has a hundred questions waiting; two others ask for two each a little later, one of them the same,
// and do not wait for the greedy one's.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		r.venue.hold = func(context.Context, asked) error { time.Sleep(time.Second); return nil }
		begun := time.Now()
		var mu sync.Mutex
		var all sync.WaitGroup
		last := map[string]time.Duration{}
		ask := func(who string, symbol market.SymbolID) {
			all.Go(func() {
				if rows, err := r.Fetch(t.Context(), who, market.Series{Symbol: symbol, Interval: market.OneMinute}, span(market.OneMinute, 5)); err != nil || len(rows) != 5 {
					t.Errorf("%s: %d rows, %v", who, len(rows), err)
				}
				mu.Lock()
				defer mu.Unlock()
				last[who] = time.Since(begun)
			})
			synctest.Wait()
		}
		for i := range 100 {
			ask("greedy", market.SymbolID(1000+i))
		}
		for _, who := range []string{"a", "b"} {
			ask(who, 1)
			ask(who, 2)
		}
		all.Wait()
		if asked := len(r.venue.take()); asked != 102 {
			t.Errorf("%d questions", asked)
		}
		if last["a"] != 2*time.Second || last["b"] != 2*time.Second || last["greedy"] != 13*time.Second {
			t.Error(last)
		}
		if len(r.flights) != 0 || r.turns.flying != 0 || len(r.turns.clients) != 0 {
			t.Errorf("%d series, %d under way, %v wait", len(r.flights), r.turns.flying, r.turns.clients)
		}
	})
}

// TestTurnsBound: so many questions of one client wait, and no more; those who give up make room.
func TestTurnsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		r.venue.hold = func(ctx context.Context, _ asked) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		ask := func(ctx context.Context, who string, symbol int) (err error) {
			_, err = r.Fetch(ctx, who, market.Series{Symbol: market.SymbolID(symbol), Interval: market.OneMinute}, span(market.OneMinute, 5))
			return err
		}
		for i := range flightsAtOnce + waitingMost {
			all.Go(func() { _ = ask(ctx, "a", i) })
			synctest.Wait()
		}
		if err := ask(t.Context(), "a", 9999); err == nil || !strings.Contains(err.Error(), "too many requests of this client") {
			t.Error(err)
		}
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if err := ask(short, "b", 9999); err == nil || strings.Contains(err.Error(), "too many") {
			t.Errorf("another client: %v", err)
		}
		cancel()
		all.Wait()
		synctest.Wait()
		if len(r.flights) != 0 || r.turns.flying != 0 || len(r.turns.waiting) != 0 {
			t.Errorf("%d series, %d under way, %d wait", len(r.flights), r.turns.flying, len(r.turns.waiting))
		}
	})
}

// TestTurnsGivenUp: a question counts while its asker waits for its turn, and no longer, whoever else waits for the same.
func TestTurnsGivenUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		others string // who wait for the same questions meanwhile
		asked  int    // that many different ones
	}{
		{"nobody else waits", "", 2 * waitingMost},
		{"another client waits for the same", "b", waitingMost - 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at(time.Minute)
				r := newRig()
				r.venue.hold = func(ctx context.Context, _ asked) error { <-ctx.Done(); return ctx.Err() }
				ask := func(ctx context.Context, who string, symbol int) error {
					_, err := r.Fetch(ctx, who, market.Series{Symbol: market.SymbolID(symbol), Interval: market.OneMinute}, span(market.OneMinute, 5))
					return err
				}
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				for i := range flightsAtOnce {
					all.Go(func() { _ = ask(ctx, "crowd", 10_000+i) })
				}
				synctest.Wait()
				if c.others != "" {
					for i := range c.asked {
						all.Go(func() { _ = ask(ctx, c.others, i) })
					}
				}
				synctest.Wait()
				for i := range 2 * waitingMost {
					short, stop := context.WithTimeout(t.Context(), time.Second)
					if err := ask(short, "a", i%c.asked); !errors.Is(err, context.DeadlineExceeded) {
						t.Fatalf("question %d: %v", i, err)
					}
					stop()
				}
				if n := len(r.turns.waiting["a"]); n != 0 || slices.Contains(r.turns.clients, "a") {
					t.Errorf("%d wait of who has gone", n)
				}
				cancel()
				all.Wait()
				synctest.Wait()
				if len(r.flights) != 0 || r.turns.flying != 0 || len(r.turns.waiting) != 0 || len(r.turns.clients) != 0 {
					t.Errorf("%d series, %d under way, %d of %v wait", len(r.flights), r.turns.flying, len(r.turns.waiting), r.turns.clients)
				}
			})
		})
	}
}

// TestTurnsBegunByOthers: what another client's turn has begun waits no more, and makes room.
func TestTurnsBegunByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		r.venue.hold = func(ctx context.Context, _ asked) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		ask := func(ctx context.Context, who string, symbol int) {
			all.Go(func() {
				_, err := r.Fetch(ctx, who, market.Series{Symbol: market.SymbolID(symbol), Interval: market.OneMinute}, span(market.OneMinute, 5))
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s, symbol %d: %v", who, symbol, err)
				}
			})
			synctest.Wait()
		}
		first, goes := context.WithCancel(t.Context())
		ask(first, "crowd", 9999)
		for i := range flightsAtOnce - 1 {
			ask(ctx, "crowd", 10_000+i)
		}
		ask(ctx, "b", 0)
		for range waitingMost {
			ask(ctx, "a", 0)
		}
		goes() // and b's question begins
		synctest.Wait()
		ask(ctx, "a", 1)
		if n := len(r.turns.waiting["a"]); n != 1 {
			t.Errorf("%d wait", n)
		}
		cancel()
		all.Wait()
	})
}

// TestFetchPart: who asks for a part of what is being fetched waits for it, and gets that part.
func TestFetchPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		r.venue.hold = func(context.Context, asked) error { time.Sleep(time.Second); return nil }
		series, all := market.Series{Interval: market.OneMinute}, span(market.OneMinute, 10)
		var asking sync.WaitGroup
		for _, s := range []market.Span{all, {From: all.From + market.Minute, To: all.To}, {From: all.From, To: all.To - 3*market.Minute}} {
			asking.Go(func() {
				if rows, err := r.Fetch(t.Context(), "a", series, s); err != nil || int64(len(rows)) != market.OneMinute.Count(s) || rows[0].OpenTime != s.From {
					t.Errorf("%s: %d rows, %v", fmt.Sprint(s), len(rows), err)
				}
			})
			synctest.Wait()
		}
		asking.Wait()
		if asked := r.venue.take(); len(asked) != 1 {
			t.Error(asked)
		}
	})
}

// TestUpstream: who asks for the same within some seconds gets the same answer; a failure is nobody else's.
func TestUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		series, running := market.Series{Interval: market.OneMinute}, market.Span{From: bubbleBegin, To: bubbleBegin + 2*market.Minute}
		ask := func(want int, failed bool) {
			t.Helper()
			rows, err := r.Upstream(t.Context(), "a", series, running, 2)
			if n := len(r.venue.take()); n != want || (err != nil) != failed || !failed && len(rows) != 2 {
				t.Errorf("%d questions, %d rows, %v", n, len(rows), err)
			}
		}
		r.venue.fail = failing(1, errDown)
		ask(1, true)
		ask(1, false)
		time.Sleep(58 * time.Second)
		ask(1, false)
		time.Sleep(3 * time.Second)
		ask(1, false) // what was running is over
		ask(0, false)
		time.Sleep(freshFor)
		ask(0, false)
		time.Sleep(time.Millisecond)
		ask(1, false)
	})
}

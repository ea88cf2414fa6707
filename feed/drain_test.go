package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

var upToDay = []market.Interval{1000, market.OneMinute, 5 * market.OneMinute, market.OneHour}

// TestDrains: every changed kline leaves exactly in order, and UpTo never says more than has been handed on.
func TestDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const symbols = 7
		random := rand.New(rand.NewPCG(1, 2))
		r := newRig(t, symbols, func(o *Options) { o.Intervals, o.Lanes = upToDay, 2 })
		r.begin()
		began := bubbleClock{}.Now()
		next := make([]int64, symbols)
		for range 3000 {
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			id := market.SymbolID(random.IntN(symbols))
			tr := trade(id, next[id]+2, "100", "1", bubbleClock{}.Now()-market.Time(random.IntN(700)))
			if random.IntN(10) == 0 { // passed over, and late
				next[id]++
				tr.ID++
			}
			next[id]++
			for c := range 2 {
				r.trades(fmt.Sprintf("trades-%d.%d", id%2, c), tr)
			}
		}
		time.Sleep(time.Minute)
		r.stop()
		checkDrains(t, r.take(), began, symbols)
	})
}

func checkDrains(t *testing.T, drains []drained, began market.Time, symbols int) {
	last := map[market.Series]market.Kline{} // the youngest version of the youngest kline
	upTo := map[int]market.Time{}
	for _, d := range drains {
		for _, u := range d.Updates {
			old, ok := last[u.Series]
			switch {
			case int(u.Symbol)%2 != d.Lane:
				t.Fatalf("symbol %d in lane %d", u.Symbol, d.Lane)
			case u.State == market.StateOpen:
				t.Fatal("nobody watches")
			case ok && u.OpenTime > u.Interval.Next(old.OpenTime):
				t.Fatalf("%v: %s follows %s", u.Series, u.OpenTime, old.OpenTime)
			case ok && u.OpenTime == u.Interval.Next(old.OpenTime) && u.Revision != 0:
				t.Fatalf("%v: %s comes with revision %d", u.Series, u.OpenTime, u.Revision)
			case ok && u.OpenTime == old.OpenTime && u.Revision != old.Revision+1:
				t.Fatalf("%v: %s goes from revision %d to %d", u.Series, u.OpenTime, old.Revision, u.Revision)
			}
			if !ok || u.OpenTime >= old.OpenTime {
				last[u.Series] = u.Kline
			}
		}
		if d.UpTo < upTo[d.Lane] {
			t.Fatalf("UpTo goes from %s to %s", upTo[d.Lane], d.UpTo)
		}
		upTo[d.Lane] = d.UpTo
		for id := d.Lane; id < symbols; id += 2 {
			for _, iv := range upToDay {
				open := iv.Open(iv.Open(d.UpTo) - 1) // of the last one that ends at or before UpTo
				if k, ok := last[market.Series{Symbol: market.SymbolID(id), Interval: iv}]; open >= began && (!ok || k.OpenTime < open) {
					t.Fatalf("up to %s, but %d %s %s has not come", d.UpTo, id, iv, open)
				}
			}
		}
	}
	if len(last) != symbols*len(upToDay)-symbols { // no hour has ended
		t.Errorf("%d series", len(last))
	}
}

func TestWholeIsToldAfterTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, nil)
		r.at(5 * time.Second)
		r.trades("trades-0.1", trade(0, 1, "100", "1", bubbleTime(4*time.Second)), trade(1, 1, "100", "1", bubbleTime(4*time.Second)))
		r.at(61 * time.Second)
		if _, ok := r.f.Begun(0); !ok || !r.f.Waiting(0) || len(r.wholes) != 0 {
			t.Fatal("whole without its starting minute")
		}
		r.official(officialMinute(0, bubbleTime(0), "100", 1, 1, 1))
		drains := r.take()
		i := slices.IndexFunc(drains, func(d drained) bool { return len(d.Updates) > 0 })
		if want := []wholeCall{{0, 0, bubbleTime(time.Minute) - 1, i + 1}}; i < 0 || !slices.Equal(r.wholes, want) {
			t.Errorf("%+v after %d drains", r.wholes, i+1)
		}
		if r.f.Waiting(0) || !r.f.Waiting(1) {
			t.Error(r.f.Status().Symbols)
		}
	})
}

func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(o *Options) { o.Intervals = upToDay })
		tail := func(id market.SymbolID, iv market.Interval, from time.Duration) string {
			began := time.Now()
			rows, err := r.f.Tail(t.Context(), nil, market.Series{Symbol: id, Interval: iv}, bubbleTime(from))
			if err != nil {
				t.Fatal(err)
			}
			var s []string
			for i := range rows {
				s = append(s, strings.TrimSuffix(clockText(rows[i].OpenTime), ".000")+" "+klineText(&rows[i]))
			}
			return fmt.Sprintf("after %s: %s", time.Since(began), strings.Join(s, ", "))
		}
		check := func(got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
		}
		check(tail(0, market.OneMinute, 0), "after 0s: ") // nothing has begun
		r.begin()
		check(tail(99, market.OneMinute, 0), "after 0s: ")
		check(tail(0, 7*market.OneMinute, 0), "after 0s: ") // not built
		r.at(90 * time.Second)
		r.trades("trades-0.0", trade(0, 2, "101", "1", bubbleTime(89*time.Second)))
		check(tail(0, market.OneMinute, 0), "after 0s: 0:00 100 100 100 100  v1 n1 1-1  settled, 1:00 101 101 101 101  v1 n1 2-2  open")
		check(tail(0, market.OneMinute, time.Minute), "after 0s: 1:00 101 101 101 101  v1 n1 2-2  open")
		r.at(120 * time.Second) // the boundary: what ended there is waited for, and the running one shown
		check(tail(0, market.OneMinute, time.Minute),
			"after 500ms: 1:00 101 101 101 101  v1 n1 2-2  closed, 2:00 101 101 101 101  v0 n0  open")
		check(tail(0, market.OneHour, 0), "after 0s: 0:00 100 101 100 101  v2 n2 1-2  open")
		check(tail(0, 1000, 118500*time.Millisecond),
			"after 0s: 1:59 101 101 101 101  v0 n0  closed, 2:00 101 101 101 101  v0 n0  open")

		// A trade proves it, at once; a young hole lets it wait.
		r.at(180100 * time.Millisecond)
		go func() {
			time.Sleep(50 * time.Millisecond)
			r.trades("trades-0.0", trade(0, 3, "102", "1", bubbleTime(180*time.Second)))
		}()
		check(tail(0, market.OneMinute, 2*time.Minute), "after 50ms: 2:00 101 101 101 101  v0 n0  closed, 3:00 102 102 102 102  v1 n1 3-3  open")
		r.at(240450 * time.Millisecond)
		r.trades("trades-0.0", trade(0, 5, "105", "1", bubbleTime(240200*time.Millisecond)))
		check(tail(0, market.OneMinute, 3*time.Minute), "after 210ms: 3:00 102 102 102 102  v1 n1 3-3  closed+gap, 4:00 102 102 102 102  v0 n0  open+gap")

		r.at(300 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := r.f.Tail(ctx, nil, market.Series{Interval: market.OneMinute}, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		r.stop() // nothing closes any more: the wait is bounded
		began := time.Now()
		if rows, err := r.f.Tail(t.Context(), nil, market.Series{Interval: market.OneMinute}, 0); err != nil || len(rows) == 0 || time.Since(began) != 2500*time.Millisecond {
			t.Error(len(rows), err, time.Since(began))
		}
	})
}

// TestTailLetsGoOne: a close lets those go on who wait for it, not those who wait for another symbol of the lane.
func TestTailLetsGoOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(o *Options) { o.Intervals = upToDay; o.Lanes = 1 })
		r.begin()
		r.at(180100 * time.Millisecond)
		began := time.Now()
		var mu sync.Mutex
		var after []string
		var asking sync.WaitGroup
		for id := range market.SymbolID(2) {
			for range 100 {
				asking.Go(func() {
					rows, err := r.f.Tail(t.Context(), nil, market.Series{Symbol: id, Interval: market.OneMinute}, bubbleTime(2*time.Minute))
					mu.Lock()
					defer mu.Unlock()
					after = append(after, fmt.Sprint(id, time.Since(began), len(rows), err))
				})
			}
		}
		synctest.Wait()
		l, _ := r.f.laneOf(0)
		r.trades("trades-0.0", trade(0, 2, "102", "1", bubbleTime(180*time.Second)))
		synctest.Wait()
		l.mu.Lock()
		waiting := len(l.tails)
		l.mu.Unlock()
		mu.Lock()
		went := len(after)
		mu.Unlock()
		if waiting != 100 || went != 100 {
			t.Errorf("%d wait and %d do not, after one of two symbols closed", waiting, went)
		}
		asking.Wait()
		slices.Sort(after)
		if got := slices.Compact(after); !slices.Equal(got, []string{"0 0s 2 <nil>", "1 400ms 2 <nil>"}) {
			t.Errorf("%q", got)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, func(o *Options) { o.Intervals = upToDay })
		r.begin()
		hour, minute := market.Series{Symbol: 1, Interval: market.OneHour}, market.Series{Symbol: 1, Interval: market.OneMinute}
		r.f.Watch(hour, true)
		r.f.Watch(minute, true)
		r.f.Watch(market.Series{Symbol: 1, Interval: market.OneDay}, true) // not built
		r.f.Watch(market.Series{Symbol: 77, Interval: market.OneHour}, true)
		r.at(70500 * time.Millisecond)
		r.take()
		both := func(id int64) string {
			for _, symbol := range []market.SymbolID{0, 1} {
				r.trades("trades-0.0", trade(symbol, id, "100", "1", bubbleClock{}.Now()-50))
			}
			var s []string
			for _, d := range r.take() {
				for _, u := range d.Updates {
					if u.State == market.StateOpen {
						s = append(s, fmt.Sprintf("%d %s n%d", u.Symbol, u.Interval, u.TradeCount))
					}
				}
				if len(d.Updates) > 0 && !d.Received.Equal(d.at) {
					t.Errorf("received %s", d.Received)
				}
			}
			return strings.Join(s, ", ")
		}
		if got, want := both(2), "1 1m n1, 1 1h n2"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		r.f.Watch(minute, false)
		if got, want := both(3), "1 1h n3"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		r.f.Watch(hour, false)
		if got := both(4); got != "" {
			t.Error(got)
		}
	})
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 200, func(o *Options) { o.Lanes = 2 })
		check := func(when string, want bool, whole, behind int) {
			t.Helper()
			ready := r.f.Ready()
			ok, symbols := ready.OK, ready.Symbols
			if ok != want || symbols[Whole] != whole || symbols[Behind] != behind || symbols[Waiting] != 200-whole-behind {
				t.Errorf("%s: %t, %v", when, ok, symbols)
			}
		}
		check("at first", false, 0, 0)
		r.begin()
		check("all whole", true, 200, 0)
		for n := range 3 {
			r.at(70*time.Second + time.Duration(n)*3*time.Second)
			r.trades("trades-0.0", trade(market.SymbolID(2*n), 5, "100", "1", bubbleClock{}.Now()))
			time.Sleep(2100 * time.Millisecond)
			check(fmt.Sprintf("%d behind", n+1), n < 2, 199-n, n+1)
		}
		for n := range 3 {
			r.trades("trades-0.1", trade(market.SymbolID(2*n), 2, "1", "1", bubbleTime(69*time.Second)),
				trade(market.SymbolID(2*n), 3, "1", "1", bubbleTime(69*time.Second)), trade(market.SymbolID(2*n), 4, "1", "1", bubbleTime(69*time.Second)))
		}
		check("healed", true, 200, 0)
		r.v.cut("trades-1.0")
		time.Sleep(time.Second)
		check("one connection left", true, 200, 0)
		r.v.cut("trades-1.1")
		time.Sleep(time.Second)
		check("a lane without a connection", false, 200, 0)
	})
}

// TestStop: what the readers have applied is handed on, nothing is marked for want of connections, and nothing runs on.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5, func(o *Options) { o.Lanes = 2 })
		r.begin()
		r.at(120600 * time.Millisecond)
		closed := r.updates()
		conns := []*conn{r.v.conn("trades-0.0"), r.v.conn("trades-0.1"), r.v.conn("trades-1.0"), r.v.conn("trades-1.1"), r.v.conn("klines-0")}
		for n := range 3 { // 1:00 of symbols 0, 2, 4 is revised: these must not be lost
			c := conns[n%2]
			c.batches <- market.Batch{Ready: true, Trades: []market.Trade{trade(market.SymbolID(2*n), 2, "7", "1", bubbleTime(119*time.Second))}}
		}
		r.stop()
		left := r.updates()
		if len(closed) != 5 || len(left) != 3 {
			t.Errorf("%d closed, %d revised", len(closed), len(left))
		}
		for _, u := range append(closed, left...) {
			if u.Gap {
				t.Errorf("marked: %d %s", u.Symbol, klineText(&u.Kline))
			}
		}
		for i, c := range conns {
			if !c.over() || c.closes.Load() == 0 {
				t.Errorf("connection %d was not closed", i)
			}
		}
	})
}

// TestBounds: beyond 4,096 held trades of a symbol, or the lane's share of 256 k, a symbol's are let through.
func TestBounds(t *testing.T) {
	held := func(r *rig, id market.SymbolID) int {
		l, slot := r.f.laneOf(id)
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.symbols[slot].held)
	}
	bring := func(r *rig, id market.SymbolID, first, n int64) {
		var trades []market.Trade
		for i := range n {
			trades = append(trades, trade(id, first+i, "100", "1", bubbleClock{}.Now()))
		}
		r.trades(fmt.Sprintf("trades-%d.0", id%market.SymbolID(len(r.f.lanes))), trades...)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 2, nil)
		r.begin()
		bring(r, 0, 10, holdTrades)
		bring(r, 1, 10, 1)
		if n := held(r, 0); n != holdTrades || r.f.Standing(0) != Whole {
			t.Fatalf("%d held, %s", n, r.f.Standing(0))
		}
		bring(r, 0, 10+holdTrades+3, 1)
		// The last stands alone: it is not believed yet.
		if held(r, 0) != 1 || r.f.Standing(0) != Behind || held(r, 1) != 1 || r.f.Standing(1) != Whole {
			t.Errorf("%d held, %s; %d, %s", held(r, 0), r.f.Standing(0), held(r, 1), r.f.Standing(1))
		}
		if gaps := r.f.Gaps(); len(gaps) != 1 || gaps[0].First != 2 || gaps[0].Last != 9 {
			t.Errorf("%+v", gaps)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 72, func(o *Options) { o.Lanes = 4 })
		r.begin()
		const share = holdAll / 4
		all := 0
		for id := market.SymbolID(0); all+4000 <= share; id += 4 {
			bring(r, id, 10, 4000)
			all += 4000
		}
		bring(r, 64, 10, int64(share-all))
		bring(r, 1, 10, 1)
		if n := r.f.lanes[0].heldAll; n != share {
			t.Fatalf("%d held", n)
		}
		bring(r, 68, 10, 1) // alone and dropped: should it have been true, what closes is marked
		if s := r.f.lanes[0].reason(17, &r.f.lanes[0].symbols[17]); held(r, 68) != 0 || !strings.Contains(s, "its next trade") {
			t.Errorf("%d held, %q", held(r, 68), s)
		}
		bring(r, 68, 2, 1)
		if s := r.f.lanes[0].reason(17, &r.f.lanes[0].symbols[17]); !strings.Contains(s, "its next trade") {
			t.Errorf("though 10 was dropped, 2 ends it: %q", s)
		}
		bring(r, 60, 5000, 1)
		if n := r.f.lanes[0].heldAll; n != share-4000+1 || held(r, 60) != 1 || held(r, 1) != 1 || r.f.Standing(56) != Whole {
			t.Errorf("%d held", n)
		}
	})
}

func TestNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			change func(*Options)
			want   string
		}{
			{func(o *Options) { o.Symbols = nil }, "no symbols to carry"},
			{func(o *Options) { o.Intervals = make([]market.Interval, 65) }, "65 intervals; at most 64"},
			{func(o *Options) { o.Intervals = nil }, "no intervals"},
		} {
			o := newRig(t, 1, nil).o
			c.change(&o)
			if _, err := New(o); err == nil || err.Error() != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		}
		r := newRig(t, 3, func(o *Options) { o.Symbols = []market.SymbolID{4, 7, 9}; o.Lanes = 9 })
		if len(r.f.lanes) != 3 || !r.carries(7) || r.carries(5) || r.carries(-1) || r.carries(10) || r.f.Standing(5) != "" {
			t.Error(len(r.f.lanes), *r.f.places.Load())
		}
		if grace := r.f.graceNow(); grace != 500*time.Millisecond {
			t.Error(grace)
		}
		if _, ok := r.f.Begun(5); ok {
			t.Error("begun")
		}
	})
}

func TestBusyFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, func(o *Options) { o.Lanes = 2 })
		for id, n := range []int64{1, 5, 0, 3} {
			for i := range n {
				r.trades(fmt.Sprintf("trades-%d.0", id%2), trade(market.SymbolID(id), i+1, "1", "1", 0))
			}
		}
		ids := []market.SymbolID{0, 1, 2, 3}
		r.f.BusyFirst(ids)
		if want := []market.SymbolID{1, 3, 0, 2}; !slices.Equal(ids, want) {
			t.Error(ids)
		}
	})
}

// TestManyRevisions: a run of late trades leaves as one version of each kline, the newest.
func TestManyRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1, func(o *Options) { o.Intervals = []market.Interval{market.OneMinute, 5 * market.OneMinute} })
		r.begin()
		r.at(119 * time.Second)
		r.trades("trades-0.0", trade(0, 2, "100", "1", bubbleTime(118*time.Second)))
		r.at(121 * time.Second)
		r.take()
		var late []market.Trade
		for id := range int64(100) {
			late = append(late, trade(0, 3+id, "100", "1", bubbleTime(118500*time.Millisecond)))
		}
		r.trades("trades-0.0", late...)
		if u := r.updates(); len(u) != 1 || u[0].TradeCount != 101 || u[0].Revision != 100 {
			t.Errorf("%d versions, %+v", len(u), u)
		}
	})
}

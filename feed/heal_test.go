package feed

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// wantOf is a want of symbol id for n ids.
func wantOf(id market.SymbolID, n int64) want { return want{id: id, spans: []idSpan{{1, n}}} }

// idsOf lists the symbols of wants.
func idsOf(wants []want) string {
	var s []string
	for _, w := range wants {
		s = append(s, fmt.Sprint(w.id))
	}
	return strings.Join(s, " ")
}

func TestWeight(t *testing.T) {
	for _, c := range []struct {
		spans []idSpan
		want  int
	}{
		{nil, 0}, {[]idSpan{{7, 7}}, 20}, {[]idSpan{{1, 1000}}, 20}, {[]idSpan{{1, 1001}}, 40}, {[]idSpan{{1, 1}, {5000, 7000}}, 80},
	} {
		if got := (&want{spans: c.spans}).weight(); got != c.want {
			t.Errorf("%v weigh %d, want %d", c.spans, got, c.want)
		}
	}
}

// TestAffordable: all are healed by trades where there is room for all; else those that cost least, and room for the
// official klines of the others is kept.
func TestAffordable(t *testing.T) {
	dear, cheap, cheap2, middle := wantOf(0, 5000), wantOf(1, 1), wantOf(2, 1), wantOf(3, 2000) // 100, 20, 20, 40
	hundred := make([]want, 100)
	for i := range hundred {
		hundred[i] = wantOf(market.SymbolID(i), 1)
	}
	for _, c := range []struct {
		name  string
		room  int
		wants []want
		want  string
	}{
		{"nothing is wanted", 1000, nil, ""},
		{"enough for all, cheap ones first", 180, []want{dear, cheap, cheap2, middle}, "1 2 3 0"},
		{"one short: the dear one waits for its minutes", 179, []want{dear, cheap, cheap2, middle}, "1 2 3"},
		{"enough for two, and four kept", 84, []want{dear, cheap, cheap2, middle}, "1 2 3"},
		{"not quite for the third", 80, []want{dear, cheap, cheap2, middle}, "1 2"},
		{"one of two", 22, []want{cheap, cheap2}, "1"},
		{"no room for a single one", 19, []want{cheap}, ""},
		{"room for one, and one wanted", 20, []want{cheap}, "1"},
		{"room for one, and two wanted: their minutes come first", 20, []want{cheap, cheap2}, ""},
		{"none at all", 0, []want{dear, cheap}, ""},
		{"a hundred symbols: five by trades, the others need 95", 200, hundred, "0 1 2 3 4"},
	} {
		h := newHealer(nil, Healer{Room: func() int { return c.room }})
		if got := idsOf(h.affordable(slices.Clone(c.wants))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := idsOf(newHealer(nil, Healer{}).affordable([]want{dear, cheap})); got != "1 0" {
		t.Errorf("without a budget: %q", got)
	}
}

// TestChoose: four symbols are asked for at once; one that failed, or was asked for in vain, waits 1, 2, 4 … 60 s.
func TestChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealer(nil, Healer{})
		wants := func(ids ...market.SymbolID) (all []want) {
			for _, id := range ids {
				all = append(all, wantOf(id, 1))
			}
			return all
		}
		check := func(what string, got []want, want string) {
			t.Helper()
			if s := idsOf(got); s != want {
				t.Errorf("%s: %q, want %q", what, s, want)
			}
		}
		check("at first", h.choose(wants(1, 2, 3, 4, 5, 6)), "1 2 3 4")
		check("while they are asked for", h.choose(wants(1, 2, 3, 4, 5, 6)), "")
		h.release(2, nil, 1)
		check("one was healed, and misses more", h.choose(wants(1, 2, 3, 4, 5, 6)), "2")
		h.release(2, nil, 0)
		h.release(1, errRefused, 0)
		check("one failed, one in vain", h.choose(wants(1, 2, 3, 4, 5, 6)), "5 6")
		for _, id := range []market.SymbolID{3, 4, 5, 6} {
			h.release(id, nil, 5)
		}
		h.choose(nil) // the others miss nothing any more
		if len(h.tries) != 0 {
			t.Errorf("%d symbols are remembered that miss nothing", len(h.tries))
		}
		check("a new gap does not wait for an old failure", h.choose(wants(1)), "1")

		var waits []string
		for range 9 {
			h.release(1, errRefused, 0)
			began := time.Now()
			for len(h.choose(wants(1))) == 0 {
				time.Sleep(100 * time.Millisecond)
			}
			waits = append(waits, time.Since(began).String())
		}
		if got := strings.Join(waits, " "); got != "1s 2s 4s 8s 16s 32s 1m0s 1m0s 1m0s" {
			t.Errorf("waits %s", got)
		}
		refused := func(after time.Duration) error {
			return fmt.Errorf("trades: %w", &market.BudgetError{RetryAfter: after})
		}
		h.release(1, refused(time.Second), 0)
		time.Sleep(time.Minute - 1)
		check("refused for less than that", h.choose(wants(1)), "")
		time.Sleep(time.Nanosecond)
		check("after it", h.choose(wants(1)), "1")
		h.release(1, nil, 1)
		h.choose(wants(1))
		h.release(1, errRefused, 7) // after some pages
		check("a failure", h.choose(wants(1)), "")
		time.Sleep(time.Second)
		check("after a success from the beginning", h.choose(wants(1)), "1")

		h.release(1, refused(90*time.Second), 0)
		time.Sleep(90*time.Second - 1)
		check("a refusal's end", h.choose(wants(1)), "")
		time.Sleep(time.Nanosecond)
		check("after it", h.choose(wants(1)), "1")
	})
}

// TestMissingIDs: what one answer holds is asked for at once.
func TestMissingIDs(t *testing.T) {
	record := &GapRecord{}
	lacks := func(first, last int64) gap { return gap{first: first, last: last, record: record} }
	held := func(ids ...int64) (all []heldTrade) {
		for _, id := range ids {
			all = append(all, heldTrade{Trade: trade(0, id, "1", "1", 0)})
		}
		return all
	}
	for _, c := range []struct {
		name string
		sequence
		want []idSpan
	}{
		{"nothing", sequence{}, nil},
		{"a gap", sequence{gaps: []gap{lacks(3, 5)}}, []idSpan{{3, 5}}},
		{"two within one answer", sequence{gaps: []gap{lacks(3, 3), lacks(1001, 1001)}}, []idSpan{{3, 1001}}},
		{"two that are too far apart", sequence{gaps: []gap{lacks(3, 3), lacks(1002, 1002)}}, []idSpan{{3, 3}, {1002, 1002}}},
		{"three", sequence{gaps: []gap{lacks(3, 3), lacks(900, 950), lacks(1500, 1800)}}, []idSpan{{3, 950}, {1500, 1800}}},
		{"a long one and its neighbour", sequence{gaps: []gap{lacks(3, 5000), lacks(5002, 5002)}}, []idSpan{{3, 5000}, {5002, 5002}}},
		{"burnt ids are not asked for", sequence{gaps: []gap{{first: 3, last: 5}, lacks(7, 7)}}, []idSpan{{7, 7}}},
		{"seconds may heal though the minutes are official", sequence{gaps: []gap{{first: 3, last: 5, official: true}}}, []idSpan{{3, 5}}},
		{"a hole that is not declared yet", sequence{next: 3, held: held(5, 6)}, nil},
		{"a hole", sequence{next: 3, held: held(5, 6), hole: hole{declared: true}}, []idSpan{{3, 4}}},
		{"a gap and a hole", sequence{next: 30, held: held(33, 34), hole: hole{declared: true}, gaps: []gap{lacks(3, 5)}}, []idSpan{{3, 32}}},
		{"a hole that is believed, of two pages", sequence{next: 3, held: held(2003), hole: hole{declared: true}, doubt: doubt{sure: 2003}}, []idSpan{{3, 2002}}},
		{"one that may be a lie: its first page", sequence{next: 3, held: held(2003), hole: hole{declared: true}}, []idSpan{{3, 1002}}},
	} {
		l := &lane{f: &Feed{}}
		if got := l.missing(&symbol{sequence: c.sequence}); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// asker is a venue's REST that writes down what it is asked for, in seconds since 1:10.
type asker struct {
	restVenue
	mu    sync.Mutex
	lines []string
	now   int // questions under way
	most  int
	hold  func(ctx context.Context, id market.SymbolID) error // before each answer; may be nil
}

func newAsker() *asker {
	return &asker{restVenue: restVenue{trades: map[market.SymbolID][]market.Trade{}}}
}

func (a *asker) Trades(ctx context.Context, id market.SymbolID, from int64, limit int) ([]market.Trade, error) {
	a.mu.Lock()
	a.now++
	a.most = max(a.most, a.now)
	a.lines = append(a.lines, fmt.Sprintf("%.1f: %d from %d limit %d", time.Since(bubbleBegin).Seconds()-70, id, from, limit))
	a.mu.Unlock()
	defer func() { a.mu.Lock(); a.now--; a.mu.Unlock() }()
	if a.hold != nil {
		if err := a.hold(ctx, id); err != nil {
			return nil, err
		}
	}
	return a.restVenue.Trades(ctx, id, from, limit)
}

func (a *asker) check(t *testing.T, what string, want ...string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.lines, want) {
		t.Errorf("%s: %q, want %q", what, a.lines, want)
	}
	a.lines = nil
}

// give lets REST have the trades of a symbol with the ids from first to last, of 1:10; without those in between.
func (a *asker) give(id market.SymbolID, first, last int64, without ...int64) {
	for n := first; n <= last; n++ {
		if !slices.Contains(without, n) {
			a.add([]market.Trade{trade(id, n, "100", "1", bubbleTime(70*time.Second))})
		}
	}
}

// healRig is a feed of n symbols that asks a for trades; it stands at 1:10.
func healRig(t *testing.T, n int, a *asker, change func(*Options)) *rig {
	r := newRig(t, n, func(o *Options) {
		o.Healer.Trades = a.Trades
		if change != nil {
			change(o)
		}
	})
	r.begin()
	r.at(70 * time.Second)
	return r
}

// both brings trades of one symbol with these ids over both connections, at 1:10.
func (r *rig) both(id market.SymbolID, ids ...int64) {
	r.t.Helper()
	var trades []market.Trade
	for _, n := range ids {
		trades = append(trades, trade(id, n, "100", "1", bubbleTime(70*time.Second)))
	}
	r.trades("trades-0.0", trades...)
	r.trades("trades-0.1", trades...)
}

// TestPages: a long gap is asked for page by page; where the venue has no more, no further page is.
func TestPages(t *testing.T) {
	after := []int64{2502, 2503, 2504, 2505, 2506, 2507, 2508, 2509, 2510}
	for _, c := range []struct {
		name  string
		has   int64
		want  []string
		whole bool
	}{
		{"all of it", 2510, []string{"0.2: 0 from 2 limit 1000", "0.2: 0 from 1002 limit 1000", "0.2: 0 from 2002 limit 501"}, true},
		{"some of it", 1500, []string{"0.2: 0 from 2 limit 1000", "0.2: 0 from 1002 limit 1000", "0.2: 0 from 1501 limit 1000"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAsker()
			a.give(0, 2, c.has)
			r := healRig(t, 1, a, nil)
			r.both(0, after...)
			r.at(70*time.Second + 240*time.Millisecond)
			a.check(t, c.name, c.want...)
			l, slot := r.f.laneOf(0)
			l.mu.Lock()
			s := l.symbols[slot]
			l.mu.Unlock()
			if whole := len(s.held) == 0 && s.next == 2511; whole != c.whole || !c.whole && s.next != 1501 {
				t.Errorf("%s: next is %d", c.name, s.next)
			}
		})
	}
}

// TestHealersApart: a question that gets no answer keeps no other symbol from being healed; four are asked at once.
func TestHealersApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsker()
		a.hold = func(ctx context.Context, id market.SymbolID) error {
			if id == 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		r := healRig(t, 12, a, nil)
		for id := range market.SymbolID(12) {
			a.give(id, 1, 4)
			r.both(id, 2, 4)
		}
		r.at(70*time.Second + 900*time.Millisecond) // 200 ms, then three at a time: 4 × 100 ms
		for id := range market.SymbolID(12) {
			l, slot := r.f.laneOf(id)
			l.mu.Lock()
			next := l.symbols[slot].next
			l.mu.Unlock()
			if want := map[bool]int64{true: 3, false: 5}[id == 0]; next != want {
				t.Errorf("symbol %d: next is %d, want %d", id, next, want)
			}
		}
		if a.most != healers {
			t.Errorf("%d questions at once", a.most)
		}
		r.stop() // with the question that hangs
	})
}

// TestHealRefused: a spent budget is not asked again before it says; without room nothing is asked at all.
func TestHealRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		hold error
		room int
		want []string
	}{
		{"refused", &market.BudgetError{RetryAfter: 20 * time.Second}, 100, []string{"0.2: 0 from 3 limit 2", "20.2: 0 from 3 limit 2", "40.2: 0 from 3 limit 2"}},
		{"down", errRefused, 100, []string{"0.2: 0 from 3 limit 2", "1.2: 0 from 3 limit 2", "3.2: 0 from 3 limit 2",
			"7.2: 0 from 3 limit 2", "15.2: 0 from 3 limit 2", "31.2: 0 from 3 limit 2"}},
		{"it knows nothing of them: what has its successor is no lie all the same", nil, 100, []string{"0.2: 0 from 3 limit 2", "1.2: 0 from 3 limit 2",
			"3.2: 0 from 3 limit 2", "7.2: 0 from 3 limit 2", "15.2: 0 from 3 limit 2", "31.2: 0 from 3 limit 2"}},
		{"no room", nil, 19, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAsker()
			a.hold = func(context.Context, market.SymbolID) error { return c.hold }
			r := healRig(t, 1, a, func(o *Options) { o.Healer.Room = func() int { return c.room } })
			a.give(0, 1, 2)
			r.both(0, 2, 4, 5, 6)
			r.at(70*time.Second + 45*time.Second)
			a.check(t, c.name, c.want...)
		})
	}
}

// TestVoid: ids that the venue leaves out are not waited for any more, as far as they are missing here; their minutes are.
func TestVoid(t *testing.T) {
	type ids struct{ first, last int64 }
	for _, c := range []struct {
		name string
		void []ids
		next int64 // then; of a hole from 2 to 9
		gaps string
	}{
		{"before it", []ids{{0, 1}}, 2, "2-9"},
		{"long before it", []ids{{0, 0}}, 2, "2-9"},
		{"after it", []ids{{10, 30}}, 2, "2-9"},
		{"long after it", []ids{{20, 30}}, 2, "2-9"},
		{"its begin", []ids{{2, 4}}, 5, "5-9"},
		{"its begin and before", []ids{{0, 4}}, 5, "5-9"},
		{"its end: it is not known yet what lies before", []ids{{8, 9}}, 2, "2-7"},
		{"all of it", []ids{{2, 9}}, 13, ""},
		{"all of it and more", []ids{{1, 100}}, 13, ""},
		{"piece by piece", []ids{{2, 4}, {5, 8}, {9, 9}}, 13, ""},
		{"from the middle", []ids{{4, 5}}, 2, "2-3 6-9"},
		{"from the middle, and then all", []ids{{4, 5}, {2, 9}}, 13, ""},
	} {
		for _, through := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1, nil)
				r.begin()
				r.at(70 * time.Second)
				r.both(0, 10, 11, 12)
				if r.at(71 * time.Second); through {
					r.at(73 * time.Second)
				}
				l, slot := r.f.laneOf(0)
				l.mu.Lock()
				defer l.mu.Unlock()
				s := &l.symbols[slot]
				for _, v := range c.void {
					l.void(slot, s, v.first, v.last)
				}
				var gaps []string
				for _, g := range s.gaps {
					gaps = append(gaps, fmt.Sprintf("%d-%d", g.first, g.last))
				}
				switch got := strings.Join(gaps, " "); {
				case !through && s.next != c.next:
					t.Errorf("%s: next is %d, want %d", c.name, s.next, c.next)
				case through && got != c.gaps:
					t.Errorf("%s, let through: gaps %s, want %s", c.name, got, c.gaps)
				case through && s.state != Behind:
					t.Errorf("%s: the symbol is %s", c.name, s.state)
				}
				if l.paid(slot, s, bubbleTime(time.Hour)); through && s.state != Whole {
					t.Errorf("%s: its minutes are official, and it is %s", c.name, s.state)
				}
			})
		}
	}
}

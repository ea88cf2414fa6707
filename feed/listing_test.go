package feed

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

const listed = market.SymbolID(3) // of the tests below; beside it lives symbol 0

var bothConns = []string{"trades-0.0", "trades-0.1"}

// listingRig is a feed of symbol 0 that is whole, at 1:30; the venue has REST.
func listingRig(t *testing.T, change func(*Options)) (*rig, *restVenue) {
	v := &restVenue{trades: map[market.SymbolID][]market.Trade{}}
	r := newRig(t, 1, func(o *Options) {
		o.Healer = Healer{Trades: v.Trades, Latest: v.Latest}
		if change != nil {
			change(o)
		}
	})
	r.begin()
	r.at(90 * time.Second)
	return r, v
}

// add adds symbols, which must fit, and lets the connections acknowledge them a moment later.
func (r *rig) add(first bool, ids ...market.SymbolID) {
	r.t.Helper()
	r.ask(first, ids...)
	r.granted(bothConns...)
}

// ask adds symbols of which no connection has shown yet that it carries them.
func (r *rig) ask(first bool, ids ...market.SymbolID) {
	r.t.Helper()
	if err := r.f.Add(ids, first); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// granted lets connections show that all that they were asked for is acknowledged.
func (r *rig) granted(conns ...string) {
	r.t.Helper()
	time.Sleep(10 * time.Millisecond)
	for _, c := range conns {
		r.bring(c, market.Batch{Ready: true})
	}
}

// prints brings trades of one symbol, ids first to last, each 10 ms after the one before and of its id as the price.
func prints(id market.SymbolID, first, last int64, at time.Duration) (trades []market.Trade) {
	for n := first; n <= last; n++ {
		trades = append(trades, trade(id, n, fmt.Sprint(n), "1", bubbleTime(at+time.Duration(n-first)*10*time.Millisecond)))
	}
	return trades
}

// of lists what was handed on of a symbol since the last look; what was handed on of others is kept for theirs.
func (r *rig) of(id market.SymbolID) string {
	var own []market.Update
	r.mu.Lock()
	for i := range r.drained {
		r.drained[i].Updates = slices.DeleteFunc(r.drained[i].Updates, func(u market.Update) bool {
			if u.Symbol == id {
				own = append(own, u)
			}
			return u.Symbol == id
		})
	}
	r.mu.Unlock()
	return updatesText(own)
}

func (r *rig) handed(id market.SymbolID, want ...string) {
	r.t.Helper()
	if got := r.of(id); got != strings.Join(want, "; ") {
		r.t.Errorf("%s: symbol %d: %s\nwant %s", clockText(r.o.Clock.Now()), id, got, strings.Join(want, "; "))
	}
}

func (r *rig) stands(id market.SymbolID, want State) {
	r.t.Helper()
	if got := r.f.Standing(id); got != want {
		r.t.Errorf("%s: symbol %d is %s, want %s", clockText(r.o.Clock.Now()), id, got, want)
	}
}

// TestListedBeforeItTrades: a symbol that is announced is whole from its first trade: its first klines are exact, carry no mark
// and wait for nothing official. Before it there are none.
func TestListedBeforeItTrades(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, func(o *Options) { o.Intervals = append(o.Intervals, 3*market.OneMinute, market.OneDay) })
		r.take()
		if err := r.f.Add([]market.SymbolID{listed}, true); err != nil {
			t.Fatal(err)
		}
		for _, c := range append([]string{"klines-0"}, bothConns...) {
			if got := r.v.conn(c).carries(); !slices.Equal(got, []market.SymbolID{0, listed}) {
				t.Errorf("%s carries %v", c, got)
			}
		}
		r.stands(listed, Waiting) // nobody has acknowledged it
		r.granted("trades-0.0")
		r.stands(listed, Whole)
		r.at(3*time.Minute + 10*time.Second)
		r.handed(listed)
		if s := r.f.Symbols()[1]; s.LastID != -1 || s.LastClose != 0 || s.Reason != "" {
			t.Errorf("before its first trade: %+v", s)
		}
		for _, c := range bothConns {
			r.trades(c, prints(listed, 1, 1, 3*time.Minute+10*time.Second)...)
		}
		r.at(3*time.Minute + 30*time.Second)
		r.trades("trades-0.0", prints(listed, 2, 2, 3*time.Minute+29*time.Second)...)
		r.at(5*time.Minute + 2*time.Second)
		r.handed(listed, "1m 3:00 1 2 1 2  v2 n2 1-2  closed", "1m 4:00 2 2 2 2  v0 n0  closed")
		day, err := r.f.Tail(t.Context(), nil, market.Series{Symbol: listed, Interval: market.OneDay}, 0)
		if err != nil || len(day) != 1 || klineText(&day[0]) != "1 2 1 2  v2 n2 1-2  open" {
			t.Errorf("its running day: %v, %v", day, err)
		}
		if n := slices.IndexFunc(r.wholes, func(w wholeCall) bool { return w.symbol == listed }); n < 0 || r.wholes[n].from >= bubbleTime(90*time.Second) {
			t.Errorf("whole: %+v", r.wholes)
		}
	})
}

// TestListedWithoutNotice: what was missed of a symbol's opening is a gap from number 1 on, and heals by trades: its first kline
// is exact, and until then it carries the mark, or is not there.
func TestListedWithoutNotice(t *testing.T) {
	for _, c := range []struct {
		name  string
		later []market.Trade // that come; the others do not
	}{
		{"and it trades", prints(listed, 41, 42, 100*time.Second)},
		{"and it trades no more", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, v := listingRig(t, nil)
			v.add(prints(listed, 1, 40, 80*time.Second))
			r.add(true, listed)
			r.take()
			if c.later != nil {
				r.at(100*time.Second + 100*time.Millisecond)
				v.add(c.later)
				r.trades("trades-0.0", c.later...)
			}
			r.at(110 * time.Second)
			r.stands(listed, Whole)
			r.at(2*time.Minute + 2*time.Second)
			want := "1m 1:00 1 42 1 42  v42 n42 1-42  closed"
			if c.later == nil {
				want = "1m 1:00 1 40 1 40  v40 n40 1-40  closed"
			}
			r.handed(listed, want)
			if v.asked > 3 {
				t.Errorf("%s: asked %d times", c.name, v.asked)
			}
		})
	}
}

// TestListedTooLate: an opening that cannot be had by trades leaves its minutes marked until they are official; those before it
// do not exist, and when that is known the symbol is whole.
func TestListedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, func(o *Options) { o.Source, o.Healer = market.SourceTrade, Healer{} })
		r.add(true, listed)
		r.at(100 * time.Second)
		r.take()
		r.trades("trades-0.0", prints(listed, 41, 43, 99*time.Second)...)
		r.at(2*time.Minute + 2*time.Second)
		r.stands(listed, Behind)
		r.handed(listed, "1m 1:00 41 43 41 43  v3 n3 41-43  closed+gap")
		r.official(officialMinute(listed, bubbleTime(time.Minute), "40", 43, 1, 43))
		r.handed(listed, "1m 1:00 40 40 40 40  v43 n43 1-43  settled r1")
		r.stands(listed, Behind)
		r.f.Paid(listed, bubbleTime(time.Minute)) // there is nothing before
		r.stands(listed, Whole)
	})
}

// TestAddedThoughNotNew: any other symbol begins as at the start: with the next full minute, once its starting minute is official.
func TestAddedThoughNotNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, nil)
		r.add(false, listed)
		r.take()
		r.trades("trades-0.1", prints(listed, 71, 72, 90*time.Second)...)
		r.at(2*time.Minute + 10*time.Second)
		r.stands(listed, Waiting)
		r.trades("trades-0.1", prints(listed, 73, 73, 130*time.Second)...)
		r.official(officialMinute(listed, bubbleTime(time.Minute), "70", 9, 64, 72))
		r.stands(listed, Whole)
		r.at(3*time.Minute + 2*time.Second)
		r.handed(listed, "1m 1:00 70 70 70 70  v9 n9 64-72  settled", "1m 2:00 73 73 73 73  v1 n1 73-73  closed")
		if from, ok := r.f.Begun(listed); !ok || from != bubbleTime(2*time.Minute) {
			t.Errorf("began at %s", from)
		}
		if from, _ := r.f.Begun(0); from != bubbleTime(time.Minute) {
			t.Errorf("symbol 0 began at %s", from)
		}
	})
}

// TestAddedWhileConnectionsCome: a connection that is being dialled, or replaced, when a symbol is added carries it too, and so
// does its successor.
func TestAddedWhileConnectionsCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, func(o *Options) { o.Rotate = 4 * time.Minute })
		r.v.cut("trades-0.0")
		r.ask(true, listed)
		r.granted("trades-0.1")
		r.v.restore("trades-0.0")
		r.at(3 * time.Minute)
		both := []market.SymbolID{0, listed}
		if got := r.v.conn("trades-0.0").carries(); !slices.Equal(got, both) {
			t.Errorf("dialled again: %v", got)
		}
		r.trades("trades-0.0", prints(0, 2, 2, 3*time.Minute)...)
		r.trades("trades-0.1", prints(0, 2, 2, 3*time.Minute)...)
		r.trades("trades-0.1", prints(listed, 1, 1, 3*time.Minute)...)
		r.at(4*time.Minute + 2*time.Second) // a successor has been dialled
		if len(r.v.olds["trades-0.1"]) != 1 {
			t.Fatalf("%d connections replaced", len(r.v.olds["trades-0.1"]))
		}
		r.ask(true, listed+1)
		for _, c := range []*conn{r.v.conn("trades-0.1"), r.v.olds["trades-0.1"][0]} {
			if got := c.carries(); !slices.Equal(got, append(both, listed+1)) || c.over() {
				t.Errorf("while it is replaced: %v, over %t", got, c.over())
			}
		}
		r.granted("trades-0.0", "trades-0.1")
		r.at(4*time.Minute + 5*time.Second)
		r.take()
		r.trades("trades-0.1", append(prints(0, 3, 3, 4*time.Minute+5*time.Second), prints(listed+1, 1, 2, 4*time.Minute+5*time.Second)...)...)
		r.at(5*time.Minute + 2*time.Second)
		r.handed(listed+1, "1m 4:00 1 2 1 2  v2 n2 1-2  closed")
		r.stands(listed, Whole)
	})
}

// TestDialledWhileAdded: a connection that comes between the two steps of adding a symbol is asked for that one, and for no other.
func TestDialledWhileAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, nil)
		l := r.f.lanes[0]
		slot := l.admit(listed, false)
		c := l.newCarrier(l.links[0], nil, l.links[0].carries())
		r.f.put(listed, l, slot)
		if c.asksFor(0) || !c.asksFor(slot) {
			t.Errorf("asks for %v", c.asks)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(c)
	})
}

// TestUnprovenThoughNewNameIsLost: after a standstill one connection is lost and the other is dead. That this one has not been shown
// to carry a new name proves nothing of the others: what closes carries the mark.
func TestUnprovenThoughNewNameIsLost(t *testing.T) {
	for _, further := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := listingRig(t, nil)
			if further {
				r.ask(false, listed)
				r.granted("trades-0.1")
			}
			r.take()
			for _, c := range bothConns {
				r.v.conn(c).dead.Store(true)
			}
			r.f.lanes[0].stoodStill(r.o.Clock.Now()-5000, time.Now())
			r.v.cut("trades-0.1")
			r.at(2*time.Minute + 2*time.Second)
			r.handed(0, "1m 1:00 100 100 100 100  v0 n0  closed+gap")
		})
	}
}

// TestNotCarriedYet: a connection that carries its lane goes on to carry it while a new name waits to be acknowledged, and does
// not count as carrying that: when the one that does is lost, the symbol is blind, and the others are not.
func TestNotCarriedYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, nil)
		r.ask(true, listed)
		r.granted("trades-0.0")
		r.at(100 * time.Second)
		r.trades("trades-0.0", prints(listed, 1, 1, 100*time.Second)...)
		r.bring("trades-0.1", market.Batch{Trades: prints(0, 2, 2, 100*time.Second)}) // not Ready
		r.v.cut("trades-0.0")
		synctest.Wait()
		r.take()
		r.at(2*time.Minute + 2*time.Second)
		r.handed(0, "1m 1:00 2 2 2 2  v1 n1 2-2  closed")
		r.handed(listed, "1m 1:00 1 1 1 1  v1 n1 1-1  closed+gap")
		if ready := r.f.Ready(); !ready.OK {
			t.Errorf("%+v", ready)
		}
		r.granted("trades-0.1")
		r.trades("trades-0.1", prints(listed, 2, 2, 2*time.Minute+2*time.Second)...)
		r.handed(listed, "1m 1:00 1 1 1 1  v1 n1 1-1  closed r1")
	})
}

// TestChangesBesideReads: symbols are added and end while both connections bring trades, klines are read and connections go: the
// klines of a symbol that was there before are exact, and those of the new ones too.
func TestChangesBesideReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, func(o *Options) { o.KlinesPerConn = 4 })
		r.take()
		const n = 20
		var g sync.WaitGroup
		for _, name := range bothConns {
			g.Go(func() {
				c := r.v.conn(name)
				for at := 90 * time.Second; at < 119*time.Second; at += 100 * time.Millisecond {
					time.Sleep(time.Until(bubbleBegin.Add(at)))
					b := market.Batch{Ready: true, Trades: prints(0, int64(at/(100*time.Millisecond))-898, int64(at/(100*time.Millisecond))-898, at)}
					for id := market.SymbolID(1); id <= n; id++ {
						if opens := 95*time.Second + time.Duration(id)*time.Second; at >= opens && slices.Contains(c.carries(), id) {
							number := int64((at-opens)/(100*time.Millisecond)) + 1
							b.Trades = append(b.Trades, prints(id, number, number, at)...)
						}
					}
					c.batches <- b
				}
			})
		}
		for id := market.SymbolID(1); id <= n; id++ {
			time.Sleep(900 * time.Millisecond)
			if err := r.f.Add([]market.SymbolID{id}, true); err != nil {
				t.Error(err)
			}
			if id%4 == 0 {
				r.f.End(id - 1)
			}
			r.f.Status()
			r.f.Symbols()
		}
		g.Wait()
		r.at(2*time.Minute + 2*time.Second)
		r.handed(0, "1m 1:00 2 291 2 291  v290 n290 2-291  closed")
		for id := market.SymbolID(1); id <= n; id++ {
			last := int64((118900*time.Millisecond-95*time.Second-time.Duration(id)*time.Second)/(100*time.Millisecond)) + 1
			r.handed(id, fmt.Sprintf("1m 1:00 1 %d 1 %[1]d  v%[1]d n%[1]d 1-%[1]d  closed", last))
		}
	})
}

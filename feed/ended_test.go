package feed

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/health"
	"klined/market"
)

// TestEnded: of a symbol that has ended every running kline closes at its own end, and none opens after its last minute; its
// streams end, nothing is asked for it, and what counts the symbols that live leaves it out.
func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		three, five := 3*market.OneMinute, 5*market.OneMinute
		r, _ := listingRig(t, func(o *Options) {
			o.Intervals, o.Symbols = append(o.Intervals, three, five), []market.SymbolID{0, listed}
		})
		r.take()
		r.trades("trades-0.0", prints(listed, 2, 2, 90*time.Second)...)
		r.at(100 * time.Second)
		r.f.End(listed)
		r.f.End(listed) // once is enough
		r.stands(listed, Ended)
		r.trades("trades-0.0", prints(listed, 3, 3, 100*time.Second)...)
		r.at(2*time.Minute + 2*time.Second)
		r.handed(listed, "1m 1:00 2 3 2 3  v2 n2 2-3  closed")
		if got := r.v.conn("trades-0.0").carries(); len(got) != 2 {
			t.Errorf("its official minute is to come, and its streams are %v", got)
		}
		r.official(officialMinute(listed, bubbleTime(time.Minute), "4", 1, 2, 2))
		r.of(listed)
		r.trades("trades-0.0", prints(listed, 4, 4, 122*time.Second)...) // what cannot be
		for _, c := range bothConns {                                    // lost meanwhile
			r.v.cut(c)
		}
		r.at(2*time.Minute + 30*time.Second)
		for _, c := range bothConns {
			r.v.restore(c)
		}
		r.at(3*time.Minute + 10*time.Second)
		for _, c := range append([]string{"klines-0"}, bothConns...) {
			if got := r.v.conn(c).carries(); !slices.Equal(got, []market.SymbolID{0}) {
				t.Errorf("%s carries %v", c, got)
			}
		}
		for _, c := range bothConns {
			r.trades(c, prints(0, 2, 2, 190*time.Second)...)
		}
		r.handed(listed, "3m 0:00 100 100 2 3  v3 n3 1-3  closed")
		r.at(4 * time.Minute)
		r.handed(listed)
		if owed := r.f.Owed(r.o.Clock.Now()); slices.ContainsFunc(owed, func(o market.Range) bool { return o.Symbol == listed }) {
			t.Errorf("owed: %v", owed)
		}
		if ready := r.f.Ready(); !ready.OK || ready.Symbols[Ended] != 1 || ready.Symbols[Whole] != 1 {
			t.Errorf("%+v", ready)
		}
		r.at(6 * time.Minute)
		r.handed(listed, "5m 0:00 100 100 2 3  v3 n3 1-3  closed")
		r.at(11 * time.Minute)
		r.handed(listed)
		checkEnded(t, r)
	})
}

// checkEnded looks at what is left of a symbol whose last minute was that of 1:00.
func checkEnded(t *testing.T, r *rig) {
	for _, iv := range r.o.Intervals {
		tail, err := r.f.Tail(t.Context(), nil, market.Series{Symbol: listed, Interval: iv}, bubbleTime(0))
		if n := len(tail); err != nil || n > 2 || n > 0 && tail[n-1].OpenTime > bubbleTime(time.Minute) {
			t.Errorf("%s: %d rows, %v", iv, n, err)
		}
	}
	if s := r.f.Symbols()[1]; s.State != Ended || s.LastClose != bubbleTime(2*time.Minute) || s.Reason == "" {
		t.Errorf("%+v", s)
	}
	for state, want := range map[State]float64{Ended: 1, Whole: 1, Waiting: 0, Behind: 0} {
		if got := testutil.ToFloat64(r.o.Metrics.Symbols.WithLabelValues(string(state))); got != want || r.f.Status().Symbols[state] != int(want) {
			t.Errorf("klined_symbols %s: %v", state, got)
		}
	}
}

// TestEndedLacks: what a symbol lacks when it ends is still healed for some minutes, its klines before that carry the mark, and
// then nobody asks any more.
func TestEndedLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, v := listingRig(t, nil)
		r.v.cut("klines-0")
		v.fails, v.why = 100, errRefused
		r.take()
		for _, c := range bothConns {
			r.trades(c, prints(0, 5, 6, 90*time.Second)...)
		}
		r.at(100 * time.Second)
		r.f.End(0)
		r.at(2*time.Minute + 2*time.Second)
		r.handed(0, "1m 1:00 5 6 5 6  v2 n2 5-6  closed+gap")
		if owed := r.f.Owed(bubbleTime(3 * time.Minute)); len(owed) != 1 || spanText(owed[0].Span) != "00:01:00–00:02:00" {
			t.Errorf("owed: %v", owed)
		}
		r.at(13 * time.Minute)
		asked := v.asked
		v.add(prints(0, 1, 6, 90*time.Second))
		r.at(17 * time.Minute)
		if v.asked != asked || len(r.f.Owed(r.o.Clock.Now())) != 0 {
			t.Errorf("asked %d times more", v.asked-asked)
		}
		if gaps := r.f.Gaps(); len(gaps) != 1 || gaps[0].State != GapLost {
			t.Errorf("%+v", gaps)
		}
		r.handed(0)
	})
}

// TestEndedComesBack: a symbol that had ended and trades again begins anew in its place, as at the start, whether its streams have
// ended meanwhile or not; what it had stays as it was.
func TestEndedComesBack(t *testing.T) {
	for _, c := range []struct {
		first bool
		at    time.Duration
		had   []string // what was handed on before it came back
	}{
		{false, 5 * time.Minute, []string{"1m 1:00 2 2 2 2  v1 n1 2-2  closed"}},
		{true, 5 * time.Minute, []string{"1m 1:00 2 2 2 2  v1 n1 2-2  closed"}},
		{false, 110 * time.Second, nil}, // its streams are there yet
		{true, 110 * time.Second, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := listingRig(t, func(o *Options) { o.Symbols, o.Capacity = []market.SymbolID{0, listed}, 2 })
			l, slot := r.f.laneOf(listed)
			r.take()
			r.trades("trades-0.0", prints(listed, 2, 2, 90*time.Second)...)
			r.f.End(listed)
			r.at(c.at)
			r.handed(listed, c.had...)
			r.add(c.first, listed)
			if again, at := r.f.laneOf(listed); again != l || at != slot {
				t.Error("it has moved")
			}
			from := c.at.Truncate(time.Minute) + time.Minute
			r.at(from + 10*time.Second)
			if got := r.v.conn("trades-0.0").carries(); !slices.Equal(got, []market.SymbolID{0, listed}) {
				t.Errorf("its streams: %v", got)
			}
			id := int64(1)
			if !c.first {
				id = 9000
			}
			if !c.first || c.had == nil { // its last minute before that is official
				r.official(officialMinute(listed, bubbleTime(from-time.Minute), "8", 0, -1, -1))
				r.handed(listed, fmt.Sprintf("1m %.0f:00 8 8 8 8  v0 n0  settled", from.Minutes()-1))
			}
			r.trades("trades-0.0", prints(listed, id, id+1, from+10*time.Second)...)
			r.at(from + time.Minute + 2*time.Second)
			got := r.of(listed)
			if want := fmt.Sprintf("1m %.0f:00 %d %d %[2]d %[3]d  v2 n2 %[2]d-%[3]d  closed", from.Minutes(), id, id+1); !strings.HasSuffix(got, want) || strings.Contains(got, "gap") {
				t.Errorf("new %t, back at %s: %s\nwant %s", c.first, c.at, got, want)
			}
			r.stands(listed, Whole)
		})
	}
}

// TestAllEnded: where all symbols of a connection have ended it ends too, says nothing is wrong, and comes when one of them is back.
func TestAllEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, nil)
		r.f.End(0)
		r.at(30 * time.Minute)
		for _, c := range append([]string{"klines-0"}, bothConns...) {
			if r.v.conn(c) != nil {
				t.Errorf("%s has nothing to carry, and lives", c)
			}
		}
		if _, components := r.o.Watchdog.State(); slices.ContainsFunc(components, func(c health.ComponentState) bool { return strings.HasPrefix(c.Name, "feed") && !c.OK }) {
			t.Errorf("%+v", components)
		}
		r.ask(false, 0)
		r.at(30*time.Minute + 10*time.Second)
		for _, c := range bothConns {
			r.trades(c, prints(0, 900, 901, 30*time.Minute+9*time.Second)...)
		}
		r.at(31*time.Minute + 10*time.Second)
		r.official(officialMinute(0, bubbleTime(30*time.Minute), "8", 2, 900, 901))
		r.take()
		r.trades("trades-0.0", prints(0, 902, 902, 31*time.Minute+9*time.Second)...)
		r.at(32*time.Minute + 2*time.Second)
		r.handed(0, "1m 31:00 902 902 902 902  v1 n1 902-902  closed")
		r.stands(0, Whole)
	})
}

// TestEndedComesBackUnknown: what was traded between a symbol's end and its return is not known: what contains that time is not
// there, and the symbol not whole, until it is official.
func TestEndedComesBackUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, func(o *Options) {
			o.Symbols, o.Intervals = []market.SymbolID{0, listed}, append(o.Intervals, 5*market.OneMinute)
		})
		r.trades("trades-0.0", prints(listed, 2, 2, 90*time.Second)...)
		r.f.End(listed)
		r.at(3*time.Minute + 10*time.Second)
		r.add(false, listed)
		r.at(4*time.Minute + 11*time.Second)
		r.take()
		r.official(officialMinute(listed, bubbleTime(3*time.Minute), "8", 0, -1, -1))
		r.trades("trades-0.0", prints(listed, 9000, 9001, 250*time.Second)...)
		r.at(5*time.Minute + 3*time.Second)
		r.handed(listed, "1m 3:00 8 8 8 8  v0 n0  settled", "1m 4:00 9000 9001 9000 9001  v2 n2 9000-9001  closed")
		r.stands(listed, Waiting)
		missed := officialMinute(listed, bubbleTime(2*time.Minute), "8", 9, 3, 11)
		r.f.Load(listed, market.OneMinute, []market.Kline{missed.Kline})
		r.at(5*time.Minute + 4*time.Second)
		r.handed(listed, "5m 0:00 100 9001 2 9001  v13 n13 1-9001  closed")
		r.stands(listed, Whole)
	})
}

// TestCapacity: what does not fit is refused as a whole, with an error that names the bound; who ends makes room.
func TestCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4, func(o *Options) { o.Lanes, o.Capacity, o.TradesPerConn = 2, 5, 3 })
		refused := func(want string, ids ...market.SymbolID) {
			t.Helper()
			if err := r.f.Add(ids, true); err == nil || !strings.Contains(err.Error(), want) || r.carries(ids[len(ids)-1]) && ids[0] > 3 {
				t.Errorf("%v: %v", ids, err)
			}
		}
		refused("4 symbols are carried and 2 more would be too many: at most 5 on 2 lanes", 10, 11)
		refused("symbol 2 is carried already", 2)
		refused("named twice", 11, 11)
		refused("or is none", -1)
		r.ask(true, 10)
		refused("at most 5", 11)
		r.f.End(1)
		r.ask(true, 11)
		if l, _ := r.f.laneOf(11); l.n != 1 {
			t.Errorf("symbol 11 went to lane %d, which is full", l.n)
		}
		refused("at most 5", 1)
	})
	synctest.Test(t, func(t *testing.T) { // the streams of one that has just ended are in the way
		r := newRig(t, 2, func(o *Options) { o.Lanes, o.TradesPerConn = 2, 2 })
		r.ask(true, 2, 3)
		refused := func(id market.SymbolID, want string) {
			t.Helper()
			if err := r.f.Add([]market.SymbolID{id}, true); err == nil || !strings.Contains(err.Error(), want) {
				t.Error(err)
			}
		}
		r.f.End(1)
		refused(4, "symbol 4 would be one more on the connections of lane 0 than the 2 that they may carry")
		r.at(72 * time.Second)
		r.ask(true, 4)
		if got := r.v.conn("trades-1.0").carries(); !slices.Equal(got, []market.SymbolID{3, 4}) {
			t.Errorf("lane 1 carries %v", got)
		}
		r.f.End(0)
		refused(1, "symbol 1 would be one more on the connections of lane 1 than the 2")
		r.ask(false, 0) // its own are there yet
	})
	discard := slog.New(slog.DiscardHandler)
	if _, err := New(Options{Symbols: []market.SymbolID{0, 1, 2}, Intervals: []market.Interval{market.OneMinute}, Capacity: 2,
		Metrics: health.NewMetrics(), Watchdog: health.NewWatchdog(discard), Log: discard}); err == nil || !strings.Contains(err.Error(), "3 symbols on 3 lanes: at most 2") {
		t.Error(err)
	}
}

// TestQuietestLane: a new symbol goes to the lane with the least measured rate, not to that with the fewest symbols; where none
// trades, to that with the fewest.
func TestQuietestLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 5, func(o *Options) { o.Lanes, o.KlinesPerConn = 2, 6 }) // 0, 2, 4 and 1, 3
		r.begin()
		lane := func(id market.SymbolID) int { l, _ := r.f.laneOf(id); return l.n }
		next := int64(2)
		trade := func(id market.SymbolID, n int64) {
			r.trades(fmt.Sprintf("trades-%d.0", lane(id)), prints(id, next, next+n-1, r.o.Clock.Now().Sub(bubbleTime(0))-2*time.Second)...)
			next += n
		}
		for range 100 {
			time.Sleep(time.Second)
			trade(1, 50)
		}
		r.ask(true, 10)
		if lane(10) != 0 {
			t.Error("the busier lane, though it has fewer symbols")
		}
		next = 2
		for range 600 {
			time.Sleep(time.Second)
			trade(0, 100)
		}
		r.ask(true, 11)
		if lane(11) != 1 || lane(10) != 0 {
			t.Error("what was busy an hour ago")
		}
		if got := r.v.conn("klines-1"); got == nil || !slices.Equal(got.carries(), []market.SymbolID{11}) {
			t.Error("no further connection for the venue's own klines")
		}
	})
	if got := quietest([]load{{1, 3}, {0, 9}, {0, 2}, {0, 2}}, 9); got != 2 {
		t.Error(got)
	}
}

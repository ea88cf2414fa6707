package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"klined/fixed"
	"klined/market"
)

// TestEngineEqualsModel: after any trades, ticks, marks and official klines, whatever the intervals, the engine shows
// what the model shows, and what left it says the same. A failure prints the seed and the command to see it again.
func TestEngineEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step(t)
			w.check(t)
		}
	})
}

// world is an engine with two symbols, a model of each, and what has left the engine.
type world struct {
	e         *Engine
	intervals []market.Interval // all rungs
	shown     []market.Interval
	base      market.Interval
	from      market.Time
	nextID    int64
	symbols   []*witness
	counts    Counts // by what left
}

// witness is what the test knows of one symbol.
type witness struct {
	*model
	owed  []market.Update // official klines from before Begin that have not been delivered
	last  map[key]market.Kline
	young market.Time // its first kline, which has not been said; 0 where it has
}

type key struct {
	interval market.Interval
	open     market.Time
}

func mustIntervals(names ...string) (out []market.Interval) {
	for _, name := range names {
		iv, err := market.ParseInterval(name)
		if err != nil {
			panic(err)
		}
		out = append(out, iv)
	}
	return out
}

func drawIntervals(t *rapid.T) []market.Interval {
	menu := rapid.SampledFrom([][]market.Interval{
		market.ExchangeIntervals(),
		mustIntervals("2m", "3m", "10m", "30m", "1h", "3h", "1d"),
		mustIntervals("15s", "30s", "1m", "3m", "1h", "4h"),
		mustIntervals("5s", "10s", "15s", "1m", "5m", "1h", "1d", "1w"),
		mustIntervals("20s", "30s", "15m", "2h"),
	}).Draw(t, "menu")
	return rapid.SliceOfNDistinct(rapid.SampledFrom(menu), 1, len(menu), rapid.ID).Draw(t, "intervals")
}

func newWorld(t *rapid.T) *world {
	w := &world{shown: drawIntervals(t), nextID: 1000}
	var err error
	if w.e, err = New(w.shown); err != nil {
		t.Fatal(err)
	}
	w.base = w.e.Base()
	seconds := int64(60)
	for _, iv := range w.shown {
		for a, b := seconds, int64(iv)/1000; ; a, b = b, a%b {
			if b == 0 {
				seconds = a
				break
			}
		}
	}
	if int64(w.base) != seconds*1000 {
		t.Fatalf("base %s, want %d s", w.base, seconds)
	}
	w.intervals = slices.Clone(w.shown)
	w.intervals = append(w.intervals, w.base, market.OneMinute, market.OneHour, market.OneDay)
	slices.Sort(w.intervals)
	w.intervals = slices.Compact(w.intervals)
	boundary := rapid.SampledFrom([]string{"2027-03-01", "2027-02-10", "12:00", "2027-01-01"}).Draw(t, "boundary")
	at, err := parseClock(boundary)
	if err != nil {
		t.Fatal(err)
	}
	w.from = at + market.Minute*market.Time(rapid.IntRange(-130, 70).Draw(t, "from"))
	for i := range 2 {
		w.symbols = append(w.symbols, w.addSymbol(t, market.SymbolID(i)))
	}
	return w
}

// addSymbol begins a symbol: fresh, young, or with a past of which parts may be owed.
func (w *world) addSymbol(t *rapid.T, id market.SymbolID) *witness {
	s := &witness{model: newModel(w.base, w.from), last: map[key]market.Kline{}}
	slot := w.e.Add(id)
	var past []market.Update
	price := fixed.One
	switch rapid.SampledFrom([]string{"fresh", "young", "old", "old"}).Draw(t, "kind") {
	case "fresh":
		w.e.Fresh(slot)
		s.fresh = true
	case "young":
		first := w.from - market.Minute*market.Time(rapid.IntRange(0, 20).Draw(t, "age"))
		past = w.past(t, market.OneMinute, first, w.from, &price)
		if rapid.Bool().Draw(t, "said late") {
			s.young = first
		} else {
			s.first = first
			w.e.First(slot, first)
		}
	case "old":
		thisHour, thisDay := market.OneHour.Open(w.from), market.OneDay.Open(w.from)
		months := min(market.OneMonth.Open(w.from), market.OneWeek.Open(w.from), market.ThreeDays.Open(w.from))
		past = slices.Concat(w.past(t, market.OneDay, months, thisDay, &price), w.past(t, market.OneHour, thisDay, thisHour, &price),
			w.past(t, market.OneMinute, min(thisHour, w.from-market.Minute), w.from, &price))
	}
	owed := rapid.SampledFrom([]int{0, 0, 1, 3, len(past)}).Draw(t, "owed")
	random := drawRandom(t)
	random.Shuffle(len(past), func(i, j int) { past[i], past[j] = past[j], past[i] })
	owed = min(owed, len(past))
	s.owed = past[:owed]
	for _, u := range past[owed:] {
		if !w.e.Load(slot, u.Interval, &u.Kline) {
			t.Fatalf("load %s %s refused", u.Interval, u.OpenTime)
		}
		s.officials[u.Interval][u.OpenTime] = sumsOf(&u.Kline)
	}
	w.e.Begin(slot, w.from)
	return s
}

// past draws official klines of iv that open within [from, to). Empty ones carry the price, and leave theirs.
func (w *world) past(t *rapid.T, iv market.Interval, from, to market.Time, price *fixed.Value) (out []market.Update) {
	random := drawRandom(t)
	for open := from; open < to; open = iv.Next(open) {
		k := anyOfficial(random, open)
		if k.TradeCount == 0 {
			closeAt(&k, *price)
		}
		if iv.Next(open) == w.from {
			k.TradeCount = max(1, k.TradeCount)
			closeAt(&k, 5*fixed.One)
		}
		*price = k.Close
		out = append(out, market.Update{Series: market.Series{Interval: iv}, Kline: k})
	}
	return out
}

// drawRandom draws what is too long to be drawn one by one.
func drawRandom(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "random"), 0))
}

// anyOfficial is a plausible official kline, at times without trades.
func anyOfficial(random *rand.Rand, open market.Time) market.Kline {
	k := market.EmptyKline(open, fixed.Value(1+random.IntN(9))*fixed.One)
	k.State = market.StateSettled
	if k.TradeCount = random.Int64N(3); k.TradeCount == 0 {
		return k
	}
	k.High += fixed.One
	k.Volume, k.QuoteVolume = fixed.One.Sum(), k.Close.Sum()
	return k
}

// closeAt makes price the close of k, as it is of every official kline that ends there.
func closeAt(k *market.Kline, price fixed.Value) {
	k.Close = price
	if k.TradeCount == 0 {
		k.Open, k.High, k.Low = price, price, price
	}
	k.High, k.Low = max(k.High, price), min(k.Low, price)
}

// check compares everything that is in reach.
func (w *world) check(t *rapid.T) {
	w.drain(t)
	for i, s := range w.symbols {
		s.view()
		for _, iv := range w.intervals {
			open := iv.Open(max(s.reachOf(iv), s.from-1))
			if open < s.reachOf(iv) {
				open = iv.Next(open)
			}
			for ; open <= s.now; open = iv.Next(open) {
				w.checkKline(t, Slot(i), s, iv, open)
			}
			w.checkRunning(t, Slot(i), s, iv)
		}
	}
	if got := w.e.Counts(); got != w.counts {
		t.Fatalf("counts %+v, want %+v", got, w.counts)
	}
}

// drain judges what left the engine since the last step: one version per kline, each better than the one before.
func (w *world) drain(t *rapid.T) {
	seen := map[market.Series]map[market.Time]bool{}
	for _, u := range w.e.Drain(nil) {
		s := w.symbols[u.Symbol]
		at := key{u.Interval, u.OpenTime}
		if seen[u.Series] == nil {
			seen[u.Series] = map[market.Time]bool{}
		}
		if seen[u.Series][u.OpenTime] {
			t.Fatalf("%s left twice at once", klineLine(u.Interval, &u.Kline))
		}
		seen[u.Series][u.OpenTime] = true
		old, again := s.last[at]
		changed := !market.SameValues(&old, &u.Kline) || old.Gap != u.Gap
		switch {
		case !slices.Contains(w.shown, u.Interval) || u.Interval.Next(u.OpenTime) < s.from || u.State < market.StateClosed:
			t.Fatalf("%s left", klineLine(u.Interval, &u.Kline))
		case !again && u.Revision != 0 && u.Interval.Next(u.OpenTime) > s.from:
			t.Fatalf("%s is the first version", klineLine(u.Interval, &u.Kline))
		case !again && u.Revision == 0:
			w.counts.Closed++
		case !again: // it was there before Begin, and ended with it
			w.counts.Revised++
		case !market.Better(&u.Kline, &old), changed && u.Revision != old.Revision+1, !changed && u.Revision != old.Revision:
			t.Fatalf("%s\nfollows\n%s", klineLine(u.Interval, &u.Kline), klineLine(u.Interval, &old))
		case changed:
			w.counts.Revised++
		}
		s.last[at] = u.Kline
	}
}

// checkKline compares one complete kline with the model's, and with what left the engine.
func (w *world) checkKline(t *rapid.T, slot Slot, s *witness, iv market.Interval, open market.Time) {
	want, ok := s.complete(iv, open)
	got, gotOK := w.e.Kline(slot, iv, open)
	if ok != gotOK {
		t.Fatalf("%d %s %s: shown %v, want %v", slot, iv, open, gotOK, ok)
	}
	left, leftOK := s.last[key{iv, open}]
	if leftOK && (!ok || left != got) || !leftOK && ok && slices.Contains(w.shown, iv) && iv.Next(open) > s.from {
		t.Fatalf("left     %v %s\nis shown %v %s", leftOK, klineLine(iv, &left), gotOK, klineLine(iv, &got))
	}
	if ok {
		state := market.StateClosed
		if want.settled {
			state = market.StateSettled
		}
		w.equal(t, slot, iv, want, want.kline(open, state, got.Revision), got)
	}
}

// equal compares a kline with the model's; where official klines lie below it, its ids are what they may be.
func (w *world) equal(t *rapid.T, slot Slot, iv market.Interval, s *sums, want, got market.Kline) {
	if s.foreign && iv > market.OneMinute {
		got.FirstID, got.LastID, got.LastTradeID = want.FirstID, want.LastID, want.LastTradeID
	}
	if got != want {
		t.Fatalf("%d, from %s\nwant %s\ngot  %s", slot, w.from, klineLine(iv, &want), klineLine(iv, &got))
	}
}

// checkRunning compares the running kline with the model's, and the list with what it lists.
func (w *world) checkRunning(t *rapid.T, slot Slot, s *witness, iv market.Interval) {
	want, over, ok := s.running(iv)
	got, gotOK := w.e.Running(slot, iv)
	if gotOK != (ok && !over) {
		t.Fatalf("%d running %s: shown %v, want %v, over %v", slot, iv, gotOK, ok, over)
	}
	open := iv.Open(s.now)
	if gotOK {
		w.equal(t, slot, iv, &want, want.kline(open, market.StateOpen, 0), got)
	}
	rows := w.e.Klines(nil, slot, iv, s.from-5*market.Time(iv))
	if (len(rows) > 0) != ok {
		t.Fatalf("%d klines %s: %d, want %v", slot, iv, len(rows), ok)
	}
	for i := len(rows) - 1; i >= 0; i-- {
		k, isComplete := w.e.Kline(slot, iv, open)
		if i == len(rows)-1 && !over {
			k, isComplete = got, true
		}
		if !isComplete || rows[i] != k {
			t.Fatalf("%d klines %s [%d]:\n%s", slot, iv, i, cmp.Diff(k, rows[i]))
		}
		open = iv.Open(open - 1)
	}
	if _, more := w.e.Kline(slot, iv, open); ok && more && open >= s.from-5*market.Time(iv) {
		t.Fatalf("%d klines %s: %s is left out", slot, iv, fmt.Sprint(open))
	}
}

package market

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"klined/fixed"
)

// trades draws a run of trades with rising ids, of which some have quantity 0, times that mostly rise, and ids that
// are sometimes missing.
func trades(t *rapid.T, most int) []Trade {
	n := rapid.IntRange(0, most).Draw(t, "trades")
	out := make([]Trade, n)
	id, fill, at := int64(1000), int64(50_000), Time(1_700_000_040_000)
	for i := range out {
		id += 1 + rapid.Int64Range(0, 20).Draw(t, "id")/20
		fill += 1 + rapid.Int64Range(0, 3).Draw(t, "burnt")/3
		first := fill
		fill += rapid.Int64Range(0, 4).Draw(t, "fills")
		at += Time(rapid.Int64Range(-5, 400).Draw(t, "later"))
		out[i] = Trade{
			ID: id, FirstID: first, LastID: fill, Time: at,
			Price:    fixed.Value(rapid.Int64Range(1, 1e6).Draw(t, "price")) * 1e4,
			Qty:      fixed.Value(rapid.Int64Range(0, 5).Draw(t, "qty")) * 1e5,
			TakerBuy: rapid.Bool().Draw(t, "buy"),
		}
	}
	return out
}

// klineOf adds trades one by one, in order.
func klineOf(open Time, trades []Trade) Kline {
	k := EmptyKline(open, 7)
	for i := range trades {
		k.Add(&trades[i])
	}
	return k
}

// shuffled draws an order of items.
func shuffled[T any](t *rapid.T, items []T) []T {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	out := slices.Clone(items)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// grouped joins parts in a drawn grouping: any tree whose leaves are parts, its two branches in either order.
func grouped(t *rapid.T, parts []Kline, join func(a, b Kline) Kline) Kline {
	if len(parts) == 1 {
		return parts[0]
	}
	cut := rapid.IntRange(1, len(parts)-1).Draw(t, "cut")
	left, right := grouped(t, parts[:cut], join), grouped(t, parts[cut:], join)
	if rapid.Bool().Draw(t, "swap") {
		left, right = right, left
	}
	return join(left, right)
}

// TestMerge: trades cut into parts in any way, the parts joined in any order and grouping with parts that have no
// trades anywhere between, give the kline of adding them one by one.
func TestMerge(t *testing.T) {
	const open = Time(1_700_000_040_000)
	rapid.Check(t, func(t *rapid.T) {
		all := trades(t, 30)
		want := klineOf(open, all)
		parts := make([]Kline, rapid.IntRange(1, 8).Draw(t, "parts"))
		for i := range parts {
			parts[i] = EmptyKline(open, 7)
		}
		for _, tr := range shuffled(t, all) {
			parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].Add(&tr)
		}
		if len(all) > 0 {
			gap := rapid.Bool().Draw(t, "gap")
			parts[0].Gap, want.Gap = gap, gap
		}
		if d := cmp.Diff(want, grouped(t, shuffled(t, parts), Merge)); d != "" {
			t.Fatalf("(-one by one +merged):\n%s", d)
		}
	})
}

// TestAddIsMerge: Add is Merge with a kline of the trade alone.
func TestAddIsMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := trades(t, 10)
		if len(all) == 0 {
			return
		}
		k := klineOf(0, all[1:])
		merged := Merge(k, klineOf(0, all[:1]))
		k.Add(&all[0])
		if d := cmp.Diff(merged, k); d != "" {
			t.Fatalf("(-merge +add):\n%s", d)
		}
	})
}

// minutes draws the klines of neighbouring minutes, of which some have no trades, from trades cut by their time.
func minutes(t *rapid.T) []Kline {
	const first = Time(1_700_000_040_000)
	n := rapid.IntRange(1, 8).Draw(t, "minutes")
	out := make([]Kline, n)
	carried, fill := fixed.Value(7), int64(100)
	for i := range out {
		k := EmptyKline(first+Time(i)*Minute, carried)
		for range rapid.IntRange(0, 3).Draw(t, "trades") {
			k.Add(&Trade{
				ID: fill, FirstID: fill, LastID: fill + 1, TakerBuy: rapid.Bool().Draw(t, "buy"),
				Price: fixed.Value(rapid.Int64Range(1, 9).Draw(t, "price")) * fixed.One,
				Qty:   fixed.Value(rapid.Int64Range(0, 9).Draw(t, "qty")) * fixed.One,
			})
			fill += 2
		}
		k.State = State(rapid.IntRange(int(StateOpen), int(StateSettled)).Draw(t, "state"))
		k.Gap = rapid.IntRange(0, 9).Draw(t, "gap") == 0
		out[i], carried = k, k.Close
	}
	return out
}

// foldPlainly is the kline of all parts, by the words of the rule.
func foldPlainly(parts []Kline) Kline {
	k := EmptyKline(parts[0].OpenTime, parts[0].Open)
	k.State = StateSettled
	for _, p := range parts {
		k.State, k.Gap, k.LastTradeID = min(k.State, p.State), k.Gap || p.Gap, max(k.LastTradeID, p.LastTradeID)
		if p.TradeCount == 0 {
			continue
		}
		if k.TradeCount == 0 {
			k.Open, k.High, k.Low, k.FirstID = p.Open, p.High, p.Low, p.FirstID
		}
		k.High, k.Low, k.Close, k.LastID = max(k.High, p.High), min(k.Low, p.Low), p.Close, p.LastID
		k.TradeCount += p.TradeCount
		k.Volume, k.QuoteVolume = k.Volume.Add(p.Volume), k.QuoteVolume.Add(p.QuoteVolume)
		k.TakerBuyVolume = k.TakerBuyVolume.Add(p.TakerBuyVolume)
		k.TakerBuyQuoteVolume = k.TakerBuyQuoteVolume.Add(p.TakerBuyQuoteVolume)
	}
	return k
}

// TestFold: neighbouring klines joined in any grouping, either way round, give the same longer kline, whichever of
// them have no trades.
func TestFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := minutes(t)
		if d := cmp.Diff(foldPlainly(parts), grouped(t, parts, Fold)); d != "" {
			t.Fatalf("(-by the words +folded):\n%s", d)
		}
	})
}

// TestFoldOfMerges: merging within each minute and folding the minutes gives what adding every trade to the longer
// kline gives.
func TestFoldOfMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := trades(t, 40)
		byMinute := map[Time]*Kline{}
		var opens []Time
		for i := range all {
			if i > 0 {
				all[i].Time = max(all[i].Time, all[i-1].Time)
			}
			open := OneMinute.Open(all[i].Time)
			if byMinute[open] == nil {
				k := EmptyKline(open, 7)
				byMinute[open], opens = &k, append(opens, open)
			}
			byMinute[open].Add(&all[i])
		}
		if len(opens) == 0 {
			return
		}
		var parts []Kline
		for open := opens[0]; open <= opens[len(opens)-1]; open += Minute {
			if k := byMinute[open]; k != nil {
				parts = append(parts, *k)
			} else {
				parts = append(parts, EmptyKline(open, 7))
			}
		}
		if d := cmp.Diff(klineOf(opens[0], all), grouped(t, parts, Fold)); d != "" {
			t.Fatalf("(-one by one +folded):\n%s", d)
		}
	})
}

// TestFoldAbsent: where any part is absent, so is the whole, in any grouping. Absent is not empty.
func TestFoldAbsent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := minutes(t)
		gone := rapid.IntRange(0, len(parts)-1).Draw(t, "absent")
		parts[gone].State = StateAbsent
		got := grouped(t, parts, Fold)
		if len(parts) == 1 {
			return
		}
		want := Kline{OpenTime: parts[0].OpenTime, FirstID: -1, LastID: -1, LastTradeID: -1}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	})
}

// TestIdentity: a kline without trades changes nothing, under both rules, whatever price it carries.
func TestIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := klineOf(60_000, trades(t, 5))
		if k.TradeCount == 0 {
			return
		}
		empty := EmptyKline(60_000, fixed.Value(rapid.Int64Range(0, 1e12).Draw(t, "carried")))
		for name, got := range map[string]Kline{"merge": Merge(k, empty), "merge, other way": Merge(empty, k)} {
			if got != k {
				t.Fatalf("%s: %s", name, cmp.Diff(k, got))
			}
		}
		before, after := empty, empty
		before.OpenTime, after.OpenTime = 0, 120_000
		if got := Fold(k, after); got != k || Fold(after, k) != k {
			t.Fatalf("fold with the empty one after: %s", cmp.Diff(k, got))
		}
		want := k
		want.OpenTime = 0
		if got := Fold(before, k); got != want || Fold(k, before) != want {
			t.Fatalf("fold with the empty one before: %s", cmp.Diff(want, got))
		}
	})
}

// TestZeroQtyTakesItsID: such a trade moves LastTradeID and nothing else.
func TestZeroQtyTakesItsID(t *testing.T) {
	want := EmptyKline(0, 7)
	k := want
	k.Add(&Trade{ID: 5, FirstID: 5, LastID: 5, Price: 0, Qty: 0})
	if want.LastTradeID = 5; k != want {
		t.Error(cmp.Diff(want, k))
	}
	k.Add(&Trade{ID: 3, FirstID: 3, LastID: 3, Price: 0, Qty: 0})
	if k != want {
		t.Error(cmp.Diff(want, k))
	}
}

// TestKlineOfTrades: a minute by hand.
func TestKlineOfTrades(t *testing.T) {
	k := EmptyKline(60_000, fixed.MustParse("9.99"))
	for _, tr := range []Trade{
		{ID: 8, FirstID: 20, LastID: 22, Price: fixed.MustParse("10.5"), Qty: fixed.MustParse("2"), Time: 60_000, TakerBuy: true},
		{ID: 9, FirstID: 23, LastID: 23, Price: fixed.MustParse("11"), Qty: fixed.MustParse("0.5"), Time: 60_001},
		{ID: 10, FirstID: 25, LastID: 26, Price: fixed.MustParse("10"), Qty: fixed.MustParse("1"), Time: 60_002, TakerBuy: true},
		{ID: 7, FirstID: 19, LastID: 19, Price: fixed.MustParse("10.4"), Qty: fixed.MustParse("4"), Time: 60_000},
	} {
		k.Add(&tr)
	}
	want := Kline{
		OpenTime: 60_000, State: StateOpen,
		Open: fixed.MustParse("10.4"), High: fixed.MustParse("11"), Low: fixed.MustParse("10"), Close: fixed.MustParse("10"),
		Volume: sum("7.5"), QuoteVolume: sum("78.1"), TakerBuyVolume: sum("3"), TakerBuyQuoteVolume: sum("31"),
		TradeCount: 7, FirstID: 19, LastID: 26, LastTradeID: 10,
	}
	if d := cmp.Diff(want, k); d != "" {
		t.Error(d)
	}
}

func sum(text string) fixed.Sum {
	s, err := fixed.ParseSum(text)
	if err != nil {
		panic(err)
	}
	return s
}

// TestBetter: settled, then Revision, then without gap; a strict order, so that no two versions each win over the other.
func TestBetter(t *testing.T) {
	var versions []Kline
	for _, state := range []State{StateAbsent, StateOpen, StateClosed, StateSettled} {
		for revision := range int32(3) {
			for _, gap := range []bool{true, false} {
				versions = append(versions, Kline{State: state, Revision: revision, Gap: gap})
			}
		}
	}
	for i, a := range versions {
		for j, b := range versions {
			if got := Better(&a, &b); got != (i > j) {
				t.Errorf("%+v better than %+v: %v", a, b, got)
			}
		}
	}
}

func TestValues(t *testing.T) {
	k := klineOf(0, []Trade{{ID: 1, FirstID: 1, LastID: 2, Price: 5e8, Qty: 2e8, TakerBuy: true}})
	same := k
	same.OpenTime, same.FirstID, same.LastID, same.LastTradeID = 1, -1, -1, -1
	same.Revision, same.State, same.Gap = 3, StateSettled, true
	if !SameValues(&k, &same) {
		t.Error("ids, state and revision are no values")
	}
	sym := Symbol{PriceDigits: 2, QtyDigits: 3}
	for i, want := range []string{"5.00", "5.00", "5.00", "5.00", "2.000", "10.00000", "2", "2.000", "10.00000"} {
		if got := k.ValueText(i, &sym); got != want {
			t.Errorf("%s is written %s, want %s", ValueNames[i], got, want)
		}
	}
	for i, change := range []func(*Kline){
		func(k *Kline) { k.Open++ }, func(k *Kline) { k.High++ }, func(k *Kline) { k.Low++ }, func(k *Kline) { k.Close++ },
		func(k *Kline) { k.Volume.Lo++ }, func(k *Kline) { k.QuoteVolume.Lo++ }, func(k *Kline) { k.TradeCount++ },
		func(k *Kline) { k.TakerBuyVolume.Lo++ }, func(k *Kline) { k.TakerBuyQuoteVolume.Lo++ },
	} {
		other := k
		if change(&other); SameValues(&k, &other) || Differing(&k, &other) != 1<<i {
			t.Errorf("a change of %s is not seen", ValueNames[i])
		}
	}
}

func TestStateWords(t *testing.T) {
	for state, want := range map[State]string{StateAbsent: "absent", StateOpen: "open", StateClosed: "closed", StateSettled: "settled"} {
		if state.String() != want {
			t.Errorf("%d is %s", state, state)
		}
	}
}

func TestCloseTime(t *testing.T) {
	u := Update{Series: Series{Interval: OneMonth}, Kline: Kline{OpenTime: 0}}
	if got := u.CloseTime().String(); got != "1970-01-31T23:59:59.999Z" {
		t.Error(got)
	}
}

func TestNoAllocations(t *testing.T) {
	k := EmptyKline(0, 1)
	tr := Trade{ID: 1, FirstID: 1, LastID: 2, Price: 5e8, Qty: 2e8, TakerBuy: true}
	if n := testing.AllocsPerRun(1000, func() {
		k.Add(&tr)
		k = Fold(k, EmptyKline(60_000, 1))
		k = Merge(k, EmptyKline(0, 1))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkAdd carries one trade into one kline.
func BenchmarkAdd(b *testing.B) {
	k := EmptyKline(0, 1)
	tr := Trade{ID: 1, FirstID: 1, LastID: 2, Price: 8309170000000, Qty: 2200000, TakerBuy: true}
	b.ReportAllocs()
	for b.Loop() {
		tr.FirstID, tr.LastID = tr.FirstID+2, tr.LastID+2
		k.Add(&tr)
	}
}

// BenchmarkFoldHour carries the sixty minutes of an hour.
func BenchmarkFoldHour(b *testing.B) {
	minutes := make([]Kline, 60)
	for i := range minutes {
		minutes[i] = klineOf(Time(i)*Minute, []Trade{{ID: int64(i), FirstID: int64(i), LastID: int64(i), Price: 8309170000000, Qty: 2200000}})
	}
	b.ReportAllocs()
	for b.Loop() {
		hour := minutes[0]
		for i := range minutes[1:] {
			hour = Fold(hour, minutes[i+1])
		}
	}
}

package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"klined/market"
)

// market of the tests: busy enough for every case in a minute or two.
func busy() Options {
	return Options{Symbols: 40, Rate: 1000, Seed: 7, Straddle: DefaultStraddle, Burn: DefaultBurn}
}

func TestFillsDependOnSeedAndStartAlone(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	end := at + 70*market.Second
	one, two := newExchange(t, busy()), newExchange(t, busy())
	one.advanceTo(end)
	for now := at; now < end; {
		now = min(end, now+market.Time(rand.Int64N(3000)))
		two.advanceTo(now)
	}
	for i, s := range one.symbols {
		o := two.symbols[i]
		if !slices.Equal(s.mem.fills, o.mem.fills) || !slices.Equal(s.mem.start, o.mem.start) || s.mem.sent != o.mem.sent {
			t.Fatalf("%s: the fills differ", s.name)
		}
		if !slices.Equal(s.minutes, o.minutes) {
			t.Fatalf("%s: the minutes differ", s.name)
		}
	}
	other := busy()
	other.Seed++
	three := newExchange(t, other)
	three.advanceTo(end)
	if slices.Equal(one.symbols[0].mem.fills, three.symbols[0].mem.fills) {
		t.Fatal("another seed gives the same market")
	}
}

func TestRate(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	opt := busy()
	opt.Rate = 200
	e := newExchange(t, opt)
	const span = 10 * market.Minute
	e.advanceTo(at + span)
	got := float64(e.live.trades) / float64(span/market.Second)
	t.Logf("%.0f aggTrades a second for %.0f, %.2f fills each", got, opt.Rate, float64(e.live.happened)/float64(e.live.trades))
	if math.Abs(got/opt.Rate-1) > 0.15 {
		t.Errorf("rate %.0f, want about %.0f", got, opt.Rate)
	}
}

// TestAggTradesAreRuns holds the rule of aggregation: consecutive fills of one price and side within 100 ms of the
// first, and no two aggTrades that the rule would have made one.
func TestAggTradesAreRuns(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	for _, share := range []float64{0, 0.0005, 0.01} {
		opt := busy()
		opt.Rate, opt.Straddle, opt.Burn = 400, share, share
		e := newExchange(t, opt)
		e.advanceTo(at + 2*market.Minute)
		var fills, burnt, crossings, trades int64
		for _, s := range e.symbols {
			last := s.firstID - 1
			for i := range s.mem.fills {
				f := &s.mem.fills[i]
				if f.id <= last || f.qty < 1 || f.price < 1 {
					t.Fatalf("%s: fill %+v after id %d", s.name, f, last)
				}
				fills, burnt, last = fills+1, burnt+f.id-last-1, f.id
			}
			for id := s.mem.agg; id <= s.mem.sent; id++ {
				a := s.mem.trade(id)
				trades++
				checkRun(t, s, &a, share)
				if oneMinute.next(a.time()) <= a.fills[len(a.fills)-1].time() {
					crossings++
				}
			}
		}
		t.Logf("straddle %v: %d of %d cross a minute (%.6f); %d of %d ids burnt (%.6f)", share, crossings, trades,
			float64(crossings)/float64(trades), burnt, burnt+fills, float64(burnt)/float64(burnt+fills))
		if (crossings == 0) != (share == 0) || (burnt == 0) != (share == 0) {
			t.Errorf("straddle and burn %v: %d crossings, %d ids burnt", share, crossings, burnt)
		}
		if got := float64(burnt) / float64(burnt+fills); share > 0.001 && math.Abs(got/share-1) > 0.15 {
			t.Errorf("burn %v: %v of the ids", share, got)
		}
	}
}

func checkRun(t *testing.T, s *symbol, a *aggTrade, share float64) {
	t.Helper()
	first := &a.fills[0]
	for i := range a.fills {
		f := &a.fills[i]
		if f.price != first.price || f.takerBuy() != first.takerBuy() || f.first() != (i == 0) || f.time() >= a.time()+mergeSpan {
			t.Fatalf("%s: aggTrade %d: fill %+v with %+v", s.name, a.id, f, first)
		}
		if share == 0 && f.time()/market.Second != a.time()/market.Second {
			t.Fatalf("%s: aggTrade %d crosses a second", s.name, a.id)
		}
		if share == 0 && f.id != first.id+int64(i) {
			t.Fatalf("%s: aggTrade %d has a burnt id", s.name, a.id)
		}
	}
	if a.id > s.mem.agg {
		before := s.mem.trade(a.id - 1)
		b := &before.fills[0]
		if b.price == first.price && b.takerBuy() == first.takerBuy() && first.time() < b.time()+mergeSpan {
			t.Fatalf("%s: aggTrades %d and %d are one", s.name, a.id-1, a.id)
		}
	}
}

func TestPastIsPure(t *testing.T) {
	early, late := busy(), busy()
	early.Start, late.Start = at, at+20*market.Day
	one, two := newExchange(t, early), newExchange(t, late)
	for i, s := range one.symbols {
		o := two.symbols[i]
		if s.young || s.path.flat || s.contract == currentQuarter || s.contract == nextQuarter {
			continue
		}
		v, w := s.look(at), o.look(late.Start)
		for minute := at - at%market.Minute - 3*market.Day; minute < at-market.Minute; minute += 17 * market.Minute {
			same(t, fmt.Sprint(s.name, " ", minute), v.minute(minute), w.minute(minute))
		}
	}
}

// TestPastKeepsItsRules holds what an official kline never breaks.
func TestPastKeepsItsRules(t *testing.T) {
	e := newExchange(t, busy())
	for _, s := range e.symbols {
		v := s.look(at)
		carried, empty := int64(-1), 0
		for minute := max(s.begin, s.seam()-3*market.Day); minute < s.seam(); minute += market.Minute {
			r := v.minute(minute)
			if r.count == 0 {
				empty++
				if carried >= 0 && r != emptyRow(minute, carried) {
					t.Fatalf("%s: empty minute %+v after close %d", s.name, r, carried)
				}
			} else if bad := broken(&r); bad != "" {
				t.Fatalf("%s: %s: %+v", s.name, bad, r)
			}
			carried = r.c
		}
		if s.begin >= s.seam()-3*market.Day && v.minute(s.begin).count == 0 {
			t.Errorf("%s: its first minute has no trade", s.name)
		}
		if !s.path.sparse && empty > 0 {
			t.Errorf("%s: %d empty minutes", s.name, empty)
		}
	}
}

func broken(r *row) string {
	switch {
	case r.l < 1 || r.l > min(r.o, r.c) || r.h < max(r.o, r.c):
		return "prices"
	case r.quote < r.l*r.volume || r.quote > r.h*r.volume:
		return "quote volume"
	case r.buyVolume > r.volume || r.buyQuote > r.quote || r.buyQuote < r.l*r.buyVolume || r.buyQuote > r.h*r.buyVolume:
		return "taker volume"
	case r.count > r.volume:
		return "fills without a quantity"
	}
	return ""
}

// TestSeam holds that the live market goes on where the past ends.
func TestSeam(t *testing.T) {
	opt := busy()
	opt.Symbols, opt.Rate = 200, 200
	e := newExchange(t, opt)
	e.advanceTo(at + 3*market.Minute)
	for _, s := range e.symbols {
		v := s.look(at + 3*market.Minute)
		rows := v.klines(oneMinute, window{s.seam() - 60*market.Minute, 0, 1000})
		open := max(s.begin, s.seam()-60*market.Minute)
		for _, r := range rows {
			same(t, s.name+": open time", r.open, open)
			open += market.Minute
		}
		same(t, s.name+": the last is running", open, oneMinute.open(at+3*market.Minute)+market.Minute)
		if len(s.mem.fills) == 0 {
			continue
		}
		before, first := v.minute(s.seam()-market.Minute).c, s.mem.fills[0].price
		if away := math.Abs(float64(first-before)) / float64(before); !s.path.sparse && away > 0.02 {
			t.Errorf("%s: from %d to %d over the seam", s.name, before, first)
		}
	}
}

// TestIntervalsAreFolds holds that every interval is the sum of its minutes, past and live.
func TestIntervalsAreFolds(t *testing.T) {
	opt := busy()
	opt.Start = mustTime(t, "2027-03-03T12:37:30Z")
	e := newExchange(t, opt)
	now, since := opt.Start+150*market.Second, mustTime(t, "2027-02-01T00:00:00Z")
	e.advanceTo(now)
	for _, name := range []string{"BTCUSDT", "DENTUSDT", e.symbols[20].name} {
		s := e.byName[name]
		v := s.look(now)
		minutes := v.klines(oneMinute, window{since, 0, math.MaxInt32})
		same(t, name+": first minute", minutes[0].open, max(s.begin, since))
		for _, i := range exchangeIntervals {
			iv, _ := parseInterval(i)
			begin := max(iv.ceil(since), v.first(iv))
			var want []row
			for _, m := range minutes {
				switch open := iv.open(m.open); {
				case open < begin:
				case len(want) == 0 || want[len(want)-1].open != open:
					m.open = open
					want = append(want, m)
				default:
					want[len(want)-1].follow(&m)
				}
			}
			rows := v.klines(iv, window{begin, 0, math.MaxInt32})
			same(t, name+" "+i+": rows", len(rows), len(want))
			for n := range rows {
				rows[n].first, rows[n].last, want[n].first, want[n].last = 0, 0, 0, 0
				same(t, name+" "+i, rows[n], want[n])
			}
		}
	}
}

func TestNamesAndListings(t *testing.T) {
	for _, n := range []int{2, 40, 1000} {
		opt := busy()
		opt.Symbols = n
		e := newExchange(t, opt)
		names := e.Symbols()
		same(t, "symbols", len(names), n)
		same(t, "first", names[0], "BTCUSDT")
		same(t, "second", names[1], "ETHUSDT")
		seen := map[string]bool{}
		var rate float64
		for _, s := range e.symbols {
			if seen[s.name] {
				t.Fatalf("%s twice", s.name)
			}
			seen[s.name] = true
			rate += s.perMinute / 60
			if s.priceDigits+s.qtyDigits > 8 {
				t.Errorf("%s: %d and %d digits", s.name, s.priceDigits, s.qtyDigits)
			}
			if s.young && s.begin%market.Hour == 0 {
				t.Errorf("%s begins on the hour", s.name)
			}
		}
		if math.Abs(rate/opt.Rate-1) > 1e-6 {
			t.Errorf("%d symbols trade %v times a second", n, rate)
		}
		if n >= 40 && !(seen["币安人生USDT"] && seen["1000PEPEUSDT"] && seen["XAUUSDT"]) {
			t.Errorf("%d symbols: special names are missing", n)
		}
	}
}

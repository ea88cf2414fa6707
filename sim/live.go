package sim

import (
	"math/bits"
	"math/rand/v2"

	"klined/market"
)

// How aggTrades come about. A run of fills of one price and taking side, within mergeSpan of the first, is one
// aggTrade; it is published publishAfter to publishAfter + publishSpread after its first fill (measured: 101, 122,
// 150, 150, 154 ms).
const (
	mergeSpan     = 100 // ms
	publishAfter  = 100 // ms
	publishSpread = 55  // ms
	maxFills      = 40
)

// generator yields a symbol's fills. It works in microseconds; what it yields depends on nothing but the symbol's
// key, the options and the start.
type generator struct {
	rng      *rand.Rand
	path     *path
	meanGap  float64 // µs between the beginnings of aggTrades
	straddle float64 // chance that the boundary of a second is crossed
	burn     float64 // of all ids
	near     int64   // µs, the most between most fills of one aggTrade
	far      int64   // µs, the most between the others
	moods    uint64  // what the market's bursts are drawn from

	nextID  int64
	began   int64 // µs, where the current aggTrade begins
	ended   int64 // µs, the last fill of the current aggTrade
	price   int64
	buy     bool
	publish market.Time // of the current aggTrade

	plan []planned // the fills of the current aggTrade
	done int       // so many of them have happened

	hour  int64 // whose levels these are
	level [61]int64
}

// planned is a fill to come.
type planned struct {
	fill
	us int64
}

func (g *generator) start(s *symbol, opt Options) {
	if s.path.flat {
		return
	}
	g.rng, g.path = source(s.listing, opt.Start), &s.path
	g.meanGap = 60e6 / s.perMinute
	g.near, g.far = min(256, int64(g.meanGap)/32+1), min(16384, int64(g.meanGap)/8+1)
	g.straddle, g.burn = opt.Straddle*s.perMinute, opt.Burn
	g.moods = keyOf(opt.Seed, "")
	g.began, g.ended = int64(opt.Start)*1000, int64(opt.Start)*1000
	g.hour = -1
	g.next()
}

// next plans the next aggTrade.
func (g *generator) next() {
	g.plan, g.done = g.plan[:0], 0
	at := max(g.ended, g.began+int64(g.rng.ExpFloat64()*g.meanGap/g.mood(g.began)))
	n := 1 + min(bits.TrailingZeros64(g.rng.Uint64()), maxFills-1)
	boundary := at - at%1e6
	crosses := g.crosses(boundary, at)
	if crosses {
		at = max(g.ended, boundary-1000*(1+g.rng.Int64N(40)))
		n = max(n, 2)
	}
	g.quote(at)
	g.began = at
	g.burnBetween()
	before := n
	if crosses {
		before = 1 + g.rng.IntN(n-1)
	}
	g.fills(before, at-at%1e6+1e6-1)
	if crosses {
		g.ended = boundary
		g.fills(n-before, boundary+30_000)
	}
	t := market.Time(at / 1000)
	g.publish = max(g.publish, t+publishAfter+market.Time(g.rng.Int64N(publishSpread+1)))
}

// crosses decides whether the aggTrade that would begin at crosses the boundary of a second before it instead. It
// can where the one before has ended by then.
func (g *generator) crosses(boundary, at int64) bool {
	if g.straddle == 0 || g.ended >= boundary-1000 {
		return false
	}
	passed := at/1e6 - g.ended/1e6
	return g.rng.Float64() < g.straddle*float64(passed)
}

// mood is how busy the symbol is: by ten seconds, with bursts of its own and of the whole market; 1 in the mean.
func (g *generator) mood(us int64) float64 {
	if g.meanGap > 10e6 {
		return 1
	}
	window := uint64(us / 10e6)
	own, all := mix(g.path.key^window*0xe7037ed1a0b428db), mix(g.moods^window*0x8ebc6af09c88c6e3)
	mood := 0.4 + float64(own&255)/256
	if own>>8%64 == 0 {
		mood *= 6
	}
	if all%64 == 0 {
		mood *= 3
	}
	return mood
}

// quote sets price and side of the aggTrade that begins at a time: the path's price there, give or take, and not what
// would make it one with the aggTrade before.
func (g *generator) quote(us int64) {
	minute := us / 60e6
	if hour := minute / 60; hour != g.hour {
		g.hour = hour
		g.path.levels(hour, &g.level)
	}
	i, into := minute%60, us%60e6
	level := g.level[i] + (g.level[i+1]-g.level[i])*into/60e6
	reach := max(1, g.path.reach[1]>>10)
	draw := g.rng.Uint64()
	buy := draw&1 != 0
	price := level + int64(draw>>1%uint64(2*reach+1)) - reach
	if buy {
		price++
	}
	price = max(1, price)
	if price == g.price && buy == g.buy && us/1000-g.began/1000 < mergeSpan {
		buy = !buy
	}
	g.price, g.buy = price, buy
}

// fills plans n fills after the last one, none later than latest.
func (g *generator) fills(n int, latest int64) {
	us := max(g.began, g.ended)
	latest = min(latest, g.began-g.began%1000+(mergeSpan-1)*1000)
	for range n {
		draw := g.rng.Uint64()
		if len(g.plan) > 0 {
			g.burnWithin()
			us += int64(draw&0xffff) * g.near >> 16
			if draw>>16&3 == 0 {
				us += int64(draw>>18&0x3fff) * g.far >> 14
			}
		}
		us = max(g.began, min(us, latest))
		f := fill{id: g.nextID, price: g.price, qty: g.qty(), at: us / 1000 << flagBits}
		if g.buy {
			f.at |= flagBuy
		}
		if draw>>32&31 == 0 {
			f.at |= flagRPI
		}
		if len(g.plan) == 0 {
			f.at |= flagFirst
		}
		g.nextID++
		g.plan = append(g.plan, planned{f, us})
	}
	g.ended = us
}

// qty is the quantity of a fill: many small ones, few large.
func (g *generator) qty() int64 {
	mean := float64(g.path.meanQty - 1)
	q := g.rng.ExpFloat64() * mean * 0.8
	if g.rng.Uint64()&31 == 0 {
		q *= 7.4
	}
	return 1 + int64(q)
}

// burnWithin burns ids between two fills of one aggTrade, burnBetween before an aggTrade: nine of ten within.
func (g *generator) burnWithin() {
	if g.burn == 0 {
		return
	}
	// Two fills make an aggTrade in the mean, so there is one place within for each two ids.
	share := g.burn / (1 - g.burn) * fillsPerTrade * 0.9
	whole := int64(share)
	g.nextID += whole
	if g.rng.Float64() < share-float64(whole) {
		g.nextID++
	}
}

func (g *generator) burnBetween() {
	if g.burn != 0 && g.nextID > 1 && g.rng.Float64() < g.burn/(1-g.burn)*fillsPerTrade*0.1 {
		g.nextID++
	}
}

// announced reports whether a burnt id comes as a row of kind NA on the trade stream; the others are holes.
func (s *symbol) announced(id int64) bool { return mix(s.key^uint64(id))&1 == 0 }

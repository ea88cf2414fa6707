package sim

import (
	"math"

	"klined/market"
)

// The past is a pure function of seed, symbol and minute. The price at each hour is value noise over ten octaves of
// hours; within the hour it goes from one to the next by midpoint displacement, one hash a minute. A minute begins at
// the level of its start and ends at that of the next one's.

// octaves of the hourly noise; the longest wave is 512 hours.
const octaves = 10

// hourAmplitude is 100·√(60·2^k): what a random walk covers in 2^k hours, in hundredths of a minute's step.
var hourAmplitude = [octaves]int64{775, 1095, 1549, 2191, 3098, 4382, 6197, 8764, 12394, 17527}

// split says that the level of minute mid is drawn between those of lo and hi.
type split struct{ lo, mid, hi int }

// splits is the order in which an hour's levels are drawn, wide before narrow.
var splits = splitHour()

func splitHour() []split {
	order := []split{{0, 30, 60}}
	for i := 0; i < len(order); i++ {
		for _, half := range [][2]int{{order[i].lo, order[i].mid}, {order[i].mid, order[i].hi}} {
			if half[1]-half[0] > 1 {
				order = append(order, split{half[0], (half[0] + half[1]) / 2, half[1]})
			}
		}
	}
	return order
}

// path draws a symbol's prices and activity.
type path struct {
	key     uint64
	mid     int64
	wild    int64
	flat    bool      // nothing trades: the price stands at mid
	reach   [61]int64 // standard displacement in the middle of n minutes, in 1/256 tick
	rate    int64     // fills a minute, in 1/65536
	sparse  bool      // a minute may pass without a trade
	meanQty int64
	begin   int64 // its first minute has a trade
}

func newPath(l *listing) path {
	p := path{key: l.key, mid: l.mid, wild: l.wild, meanQty: l.meanQty, begin: int64(l.begin / market.Minute)}
	fills := l.perMinute * fillsPerTrade
	p.rate, p.sparse, p.flat = int64(fills*65536), fills < 9, l.perMinute == 0
	for n := range p.reach {
		p.reach[n] = int64(float64(l.wild*l.mid*128) / 1e6 * math.Sqrt(float64(n)))
	}
	return p
}

// noise is in [−32768, 32768).
func (p *path) noise(lane uint64, i int64) int64 {
	return int64(mix(p.key+lane<<56+uint64(i)*0x9e3779b97f4a7c15)&0xffff) - 0x8000
}

// hourLevel is the price at the start of an hour, in ticks.
func (p *path) hourLevel(hour int64) int64 {
	var sum int64
	for k := range octaves {
		i, into, wide := hour>>k, hour&(1<<k-1), int64(1)<<k
		a, b := p.noise(uint64(k+1), i), p.noise(uint64(k+1), i+1)
		sum += (a*(wide-into) + b*into) >> k * hourAmplitude[k]
	}
	// sum is in 1/32768 of hundredths of wild millionths; 7/10 keeps the wildest price above a third of mid.
	away := sum / 32768 * p.wild / 100 * 7 / 10
	return max(2, p.mid+p.mid*away/1_000_000)
}

// levels are the prices at the starts of an hour's minutes, and at its end.
func (p *path) levels(hour int64, out *[61]int64) {
	if p.flat {
		for i := range out {
			out[i] = p.mid
		}
		return
	}
	out[0], out[60] = p.hourLevel(hour), p.hourLevel(hour+1)
	for i := range splits {
		s := &splits[i]
		away := p.noise(0, hour*60+int64(s.mid)) * p.reach[s.hi-s.lo] >> 23
		out[s.mid] = max(2, (out[s.lo]+out[s.hi])>>1+away)
	}
}

// mood is what an hour's activity is drawn from.
func (p *path) mood(hour int64) uint64 { return mix(p.key ^ uint64(hour)*0xd6e8feb86659fd93) }

// count is how many fills a minute has, by its hour's mood. A sparse symbol trades at least once an hour, and every symbol
// in its first minute.
func (p *path) count(minute int64, mood, bits uint64) int64 {
	if p.flat {
		return 0
	}
	n := p.rate * int64(128+mood&255) >> 8 // half to one and a half, by the hour
	n = n * int64(64+bits&255*3/2) >> 8    // a quarter to one and three quarters, by the minute
	n = (n + int64(bits>>8&0xffff)) >> 16
	if n == 0 && (p.sparse && minute%60 == int64(mood>>32%60) || minute == p.begin) {
		n = 1
	}
	return n
}

// bits are what a minute is drawn from.
func (p *path) bits(minute int64) uint64 { return mix(p.key + uint64(minute)*0xa0761d6478bd642f) }

// hour draws the 60 klines of an hour.
func (p *path) hour(hour int64, out *[60]row) {
	var level [61]int64
	p.levels(hour, &level)
	carried := int64(-1)
	if p.flat {
		carried = p.mid
	}
	mood := p.mood(hour)
	for i := range out {
		minute := hour*60 + int64(i)
		bits := p.bits(minute)
		n := p.count(minute, mood, bits)
		r := &out[i]
		if n == 0 {
			if carried < 0 {
				carried = p.closeBefore(hour)
			}
			*r = emptyRow(market.Time(minute)*market.Minute, carried)
			continue
		}
		*r = row{open: market.Time(minute) * market.Minute, o: level[i], c: level[i+1], count: n, first: -1, last: -1}
		p.fill(r, bits)
		carried = r.c
	}
}

// closeBefore is the close of the last trade before an hour.
func (p *path) closeBefore(hour int64) int64 {
	var level [61]int64
	for back := hour - 1; back*60+59 >= p.begin; back-- {
		mood := p.mood(back)
		for minute := back*60 + 59; minute >= back*60; minute-- {
			if p.count(minute, mood, p.bits(minute)) > 0 {
				p.levels(back, &level)
				return level[minute-back*60+1]
			}
		}
	}
	p.levels(hour, &level)
	return level[0]
}

// fill gives a minute with trades its high, low and volumes: imagined fills at its open, high, low and close, each of
// at least one step, of which takers bought a part.
func (p *path) fill(r *row, bits uint64) {
	draw := mix(bits + 0x8bb84b93962eacc9)
	v := max(r.count, r.count*p.meanQty*int64(128+draw&255)>>8)
	if r.count == 1 {
		r.o = r.c
	}
	r.h, r.l = max(r.o, r.c), min(r.o, r.c)
	var atO, atH, atL int64
	if r.count > 1 {
		atO = 1 + (v-r.count)*int64(draw>>8&63)>>8
	}
	if r.count > 2 {
		atH = 1 + (v-r.count)*int64(draw>>14&63)>>8
		r.h += int64(bits>>24&0xff) * p.reach[1] >> 15
	}
	if r.count > 3 {
		atL = 1 + (v-r.count)*int64(draw>>20&63)>>8
		r.l = max(1, r.l-int64(bits>>32&0xff)*p.reach[1]>>15)
	}
	r.volume = v
	part := int64(64 + draw>>26&127) // takers bought a quarter to three quarters
	atC := v - atO - atH - atL
	r.quote = r.o*atO + r.h*atH + r.l*atL + r.c*atC
	atO, atH, atL, atC = atO*part>>8, atH*part>>8, atL*part>>8, atC*part>>8
	r.buyVolume = atO + atH + atL + atC
	r.buyQuote = r.o*atO + r.h*atH + r.l*atL + r.c*atC
}

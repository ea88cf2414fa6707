package sim

import (
	"math"
	"strings"
	"time"

	"klined/market"
)

// listing is what exchangeInfo says of a contract, and what makes its market.
type listing struct {
	name, pair, base string
	contract         string
	status           string // guarded by the exchange's mutex, as delivery is
	underlying       string
	priceDigits      int
	qtyDigits        int
	tick             int64       // in units of 10^−priceDigits
	lot              int64       // the step of quantities, in units of 10^−qtyDigits
	mid              int64       // the price that its path goes round, in ticks
	wild             int64       // standard step of a minute, in millionths
	meanQty          int64       // of a fill, in steps
	perMinute        float64     // aggTrades; 0 where nothing trades
	begin            market.Time // its first minute: the onboard time, or where the past begins
	young            bool        // begin is its onboard time: its ids start at 1 there
	delivery         market.Time
	key              uint64 // of all that is drawn for it
}

// perpetualDelivery is what exchangeInfo says of contracts without an end: 2100-12-25T08:00Z.
const perpetualDelivery = 4133404800000

// Bounds of the clock: the past is dense for so many days before the start.
const (
	pastDays = 100
	maxStart = 7258118400000 // 2200-01-01
)

// fillsPerTrade is the mean number of fills in an aggTrade.
const fillsPerTrade = 2

func (l *listing) perpetual() bool { return l.contract == perpetual || l.contract == tradFi }

// listings are the contracts of the exchange: opt.Symbols perpetuals, then quarterly ones and delisted ones.
func listings(opt Options) []*listing {
	all := make([]*listing, 0, opt.Symbols+7)
	taken := make(map[string]bool)
	for i := range opt.Symbols {
		m := made(i)
		for taken[m.base] {
			m.base += "X"
		}
		taken[m.base] = true
		all = append(all, newListing(opt, m, i))
	}
	all = append(all, quarterlies(opt)...)
	share(opt, all)
	all = append(all, delisted(opt)...)
	return all
}

func newListing(opt Options, m model, i int) *listing {
	l := &listing{
		name: m.base + quoteAsset, pair: m.base + quoteAsset, base: m.base, contract: perpetual, status: statusTrading,
		underlying: "COIN", priceDigits: m.priceDigits, qtyDigits: m.qtyDigits, tick: m.tick, lot: 1,
		mid: m.price / m.tick, wild: m.wild, delivery: perpetualDelivery, begin: pastBegin(opt.Start),
	}
	if m.kind == tradFi {
		l.contract, l.underlying = tradFi, "EQUITY"
		if l.base == "XAU" {
			l.underlying = "COMMODITY"
		}
	}
	l.key = keyOf(opt.Seed, l.name)
	price := float64(m.price) / math.Pow10(m.priceDigits)
	worth := 100.0 // USDT, of a fill: so that a month's quote volume at its digits stays far below 2⁶³
	if i < 3 {
		worth = 400
	}
	units := worth / price * math.Pow10(m.qtyDigits)
	if units > 2000 && i%3 == 0 {
		l.lot = 10
	}
	l.meanQty = max(1, int64(units)/l.lot)
	if young(i) {
		l.young = true
		l.begin = oneMinute.open(opt.Start) - youngAge(i, l.key)
		if l.begin%market.Hour == 0 {
			l.begin += 7 * market.Minute
		}
	}
	return l
}

// pastBegin is where the history of a symbol begins that is older than the past.
func pastBegin(start market.Time) market.Time {
	return start - start%market.Day - pastDays*market.Day
}

// quarterlies are dated contracts, which trade like the perpetuals and are none.
func quarterlies(opt Options) []*listing {
	var out []*listing
	for i, m := range models[:2] {
		day := opt.Start
		for _, contract := range []string{currentQuarter, nextQuarter} {
			end := quarterEnd(day)
			l := newListing(opt, m, i)
			l.contract, l.delivery = contract, end
			l.name = l.pair + "_" + end.Std().Format(dateInName)
			l.key = keyOf(opt.Seed, l.name)
			out = append(out, l)
			day = end
		}
	}
	return out
}

// quarterEnd is the first delivery after t: the last Friday of a quarter, 08:00Z.
func quarterEnd(t market.Time) market.Time {
	y, m, _ := t.Std().Date()
	quarter := (int(m) - 1) / 3
	for {
		d := time.Date(y, time.Month(quarter*3+4), 0, 8, 0, 0, 0, time.UTC)
		for d.Weekday() != time.Friday {
			d = d.AddDate(0, 0, -1)
		}
		if end := market.TimeOf(d); end > t {
			return end
		}
		quarter++
	}
}

// delisted are perpetuals that trade no more: they stay listed, and their klines go on flat.
func delisted(opt Options) []*listing {
	var out []*listing
	for i, base := range []string{"OMG", "FTT", "EOS"} {
		m := made(len(models) + i)
		m.base = base
		l := newListing(opt, m, 0)
		l.status = statusSettling
		l.delivery = l.begin - 30*market.Day
		out = append(out, l)
	}
	return out
}

// share divides the market's trades among its symbols by popularity: Zipf, but for the silent ones.
func share(opt Options, all []*listing) {
	const exponent = 0.95
	total := opt.Rate * 60
	var sum float64
	weights := make([]float64, len(all))
	for i, l := range all {
		switch {
		case l.perpetual() && silent(i):
			l.perMinute = min(60/float64(150+l.key%450), total/float64(len(all)))
			total -= l.perMinute
		case l.perpetual():
			weights[i] = math.Pow(float64(i+1), -exponent)
		default:
			weights[i] = math.Pow(float64(opt.Symbols+20), -1.2)
		}
		sum += weights[i]
	}
	for i, l := range all {
		if weights[i] > 0 {
			l.perMinute = total * weights[i] / sum
		}
	}
}

// lowerName is the symbol as it stands in a stream's name.
func (l *listing) lowerName() string { return strings.ToLower(l.name) }

// mix scatters the bits of x (splitmix64's finalizer).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// keyOf is the number that everything of a name is drawn from.
func keyOf(seed uint64, name string) uint64 {
	h := mix(seed + 0x9e3779b97f4a7c15)
	for i := 0; i < len(name); i++ {
		h = mix(h ^ uint64(name[i])*0x100000001b3)
	}
	return h
}

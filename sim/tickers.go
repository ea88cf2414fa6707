package sim

import (
	"fmt"
	"net/url"
	"strconv"

	"klined/market"
)

// What REST tells of one symbol, or of all of them in a list.

// weighOneOrAll is what such a question costs.
func weighOneOrAll(one, all int) func(url.Values) int {
	return func(q url.Values) int {
		if q.Get("symbol") == "" {
			return all
		}
		return one
	}
}

// oneOrAll answers as write does, for the symbol that is asked for or for all that shown says.
func (e *Exchange) oneOrAll(shown func(*symbol) bool, write func(dst []byte, s *symbol, now market.Time) []byte) func(url.Values) ([]byte, *apiError) {
	return func(q url.Values) ([]byte, *apiError) {
		if bad := sentOnce(q, "symbol"); bad != nil {
			return nil, bad
		}
		if q.Get("symbol") != "" {
			return e.ofSymbol(func(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) { return write(nil, s, now), nil })(q)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		now := e.catchUp()
		dst := []byte{'['}
		for _, s := range e.symbols {
			if s.gone || s.untraded() || !shown(s) {
				continue
			}
			if len(dst) > 1 {
				dst = append(dst, ',')
			}
			dst = write(dst, s, now)
		}
		return append(dst, ']'), nil
	}
}

// listed shows all contracts, inTrade those that trade. Which of the two an answer for all holds was measured of the 24 hours
// (789 of 924 contracts) and of the mark prices (927).
func listed(*symbol) bool    { return true }
func inTrade(s *symbol) bool { return s.status == statusTrading }

// appendLatest writes the latest price:
//
//	{"symbol":"BTCUSDT","price":"83091.70","time":1791382992338}
func appendLatest(dst []byte, s *symbol, _ market.Time) []byte {
	dst = append(append(append(dst, `{"symbol":"`...), s.name...), `","price":"`...)
	dst = s.appendPrice(dst, s.last.price)
	return append(appendInt(dst, `","time":`, int64(s.tradedAt())), '}')
}

// tradedAt is the time of the newest trade; that of a symbol which has not traded since the start is right before it.
func (s *symbol) tradedAt() market.Time { return max(s.last.time(), s.start-market.Second) }

// dayTicker is a symbol's rolling 24 hours in the exchange's digits: prices', of quote volumes and means too, and quantities'. They
// begin with the minute a day before the running one. What is divided is rounded, a half away from zero.
type dayTicker struct {
	change, share, mean, last, open, high, low, lastQty, volume, quote []byte

	from, to                market.Time // of the window's first minute, of the last trade
	firstID, lastID, trades int64
}

func (s *symbol) dayTicker(r row, now market.Time) dayTicker {
	s.nameDay(&r)
	shares, volume := int64(1), max(1, r.volume)
	for range s.qtyDigits {
		shares *= 10
	}
	from := oneMinute.open(now) - market.Day
	return dayTicker{
		change: appendSigned(nil, (r.c-r.o)*s.tick, s.priceDigits),
		share:  appendSigned(nil, divided((r.c-r.o)*100_000, max(1, r.o)), 3), // per cent
		mean:   appendDigits(nil, uint64(divided(r.quote*s.tick, volume)), s.priceDigits),
		quote:  appendDigits(nil, uint64(divided(r.quote*s.tick*s.lot, shares)), s.priceDigits),
		last:   s.appendPrice(nil, r.c), open: s.appendPrice(nil, r.o), high: s.appendPrice(nil, r.h), low: s.appendPrice(nil, r.l),
		lastQty: s.appendQty(nil, max(1, s.last.qty)), volume: s.appendQty(nil, r.volume),
		from: from, to: max(from, s.tradedAt()), firstID: r.first, lastID: r.last, trades: r.count,
	}
}

// nameDay gives 24 hours that began before the live part the ids that their fills would have, which end where the live ones begin.
func (s *symbol) nameDay(r *row) {
	if r.count == 0 || r.first >= 0 {
		return
	}
	past := r.count
	for i := range s.minutes {
		past -= s.minutes[i].count
	}
	r.first = s.firstID - past
	if r.last < 0 {
		r.last = s.firstID - 1
	}
}

// divided is a/b for b > 0, rounded.
func divided(a, b int64) int64 {
	if a < 0 {
		return -divided(-a, b)
	}
	return (a + b/2) / b
}

// appendSigned is appendDigits for what may be negative.
func appendSigned(dst []byte, n int64, digits int) []byte {
	if n < 0 {
		return appendDigits(append(dst, '-'), uint64(-n), digits)
	}
	return appendDigits(dst, uint64(n), digits)
}

// appendDay writes the ticker of 24 hours:
//
//	{"closeTime":1791382979530,"count":3540550,"firstId":8150081128,"highPrice":"86664.90","lastId":8153633360,"lastPrice":"83084.80","lastQty":"0.002",
//	 "lowPrice":"82706.20","openPrice":"86071.10","openTime":1791296520000,"priceChange":"-2986.30","priceChangePercent":"-3.470",
//	 "quoteVolume":"14378633588.65","symbol":"BTCUSDT","volume":"170391.423","weightedAvgPrice":"84385.90"}
func appendDay(dst []byte, s *symbol, now market.Time) []byte {
	d := s.dayTicker(s.lastDay(now), now)
	return fmt.Appendf(dst, `{"closeTime":%d,"count":%d,"firstId":%d,"highPrice":"%s","lastId":%d,"lastPrice":"%s","lastQty":"%s",`+
		`"lowPrice":"%s","openPrice":"%s","openTime":%d,"priceChange":"%s","priceChangePercent":"%s","quoteVolume":"%s","symbol":%q,"volume":"%s","weightedAvgPrice":"%s"}`,
		d.to, d.trades, d.firstID, d.high, d.lastID, d.last, d.lastQty, d.low, d.open, d.from, d.change, d.share, d.quote, s.name, d.volume, d.mean)
}

// appendBest writes the best bid and ask as the last fill left them, as @bookTicker has them:
//
//	{"symbol":"BTCUSDT","bidPrice":"76914.90","bidQty":"4.218","askPrice":"76915.00","askQty":"6.128","time":1789478303376,"lastUpdateId":11563384751926}
func appendBest(dst []byte, s *symbol, _ market.Time) []byte {
	b := s.best(&s.last)
	return fmt.Appendf(dst, `{"symbol":%q,"bidPrice":"%s","bidQty":"%s","askPrice":"%s","askQty":"%s","time":%d,"lastUpdateId":%d}`,
		s.name, s.appendPrice(nil, b.bid), s.appendQty(nil, b.bidQty), s.appendPrice(nil, b.bid+1), s.appendQty(nil, b.askQty), s.tradedAt(), b.update)
}

// appendPremium writes mark price and funding, as @markPrice has them in that second:
//
//	{"symbol":"BTCUSDT","markPrice":"83067.30000000","indexPrice":"83114.69956522","estimatedSettlePrice":"83195.99445417",
//	 "lastFundingRate":"0.00000078","interestRate":"0.00010000","nextFundingTime":1791388800000,"time":1791382985000}
func appendPremium(dst []byte, s *symbol, now market.Time) []byte {
	now -= now % market.Second
	mark := s.appendMarkPrice(nil, s.last.price)
	return fmt.Appendf(dst, `{"symbol":%q,"markPrice":"%[2]s","indexPrice":"%[3]s","estimatedSettlePrice":"%[2]s","lastFundingRate":"%[4]s","interestRate":"0.00010000","nextFundingTime":%[5]d,"time":%[6]d}`,
		s.name, mark, s.appendMarkPrice(nil, s.index(now)), fundingRate, now-now%fundingEvery+fundingEvery, now)
}

// markDigits are the decimals of mark and index prices.
const markDigits = 8

// appendMarkPrice writes a price in ticks as one of them.
func (s *symbol) appendMarkPrice(dst []byte, ticks int64) []byte {
	n := ticks * s.tick
	for range markDigits - s.priceDigits {
		n *= 10
	}
	return appendDigits(dst, uint64(n), markDigits)
}

// markKlines answers klines of the mark price or of the index, both of which follow the last price; they count seconds:
//
//	[1789478280000,"76993.72956522","76994.69130435","76953.00391304","76953.00391304","0",1789478339999,"0",36,"0","0","0"]
func (e *Exchange) markKlines(name string) func(url.Values) ([]byte, *apiError) {
	return func(q url.Values) ([]byte, *apiError) {
		iv, w, bad := klinesAsked(q, name, "interval")
		if bad != nil {
			return nil, bad
		}
		s, bad := e.symbolOf(q, name) // the name of a perpetual is its pair's
		if bad != nil {
			return nil, bad
		}
		v := e.look(s)
		dst := []byte{'['}
		for i, r := range v.klines(iv, w) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(append(dst, '['), int64(r.open), 10)
			for _, price := range [...]int64{r.o, r.h, r.l, r.c} {
				dst = append(s.appendMarkPrice(append(dst, `,"`...), price), '"')
			}
			next := iv.next(r.open)
			dst = fmt.Appendf(dst, `,"0",%d,"0",%d,"0","0","0"]`, next-1, (min(next, v.now)-r.open)/market.Second)
		}
		return append(dst, ']'), nil
	}
}

// fundingRate is the rate of all symbols at all times.
const fundingRate = "0.00010000"

var fundings = interval{name: "8h", length: fundingEvery}

// fundingRates answers what was paid by whom is long:
//
//	[{"symbol":"BTCUSDT","fundingTime":1789430400000,"fundingRate":"0.00003563","markPrice":"78178.30000000","rateType":"Regular"}]
func (e *Exchange) fundingRates(q url.Values) ([]byte, *apiError) {
	s, bad := e.symbolOf(q, "symbol")
	if bad != nil {
		return nil, bad
	}
	w, bad := windowOf(q, 100, 1000)
	if bad != nil {
		return nil, bad
	}
	v := e.look(s)
	if v.none {
		return []byte("[]"), nil
	}
	dst := []byte{'['}
	for i, at := range w.opens(fundings, fundings.ceil(s.opens), fundings.open(v.now)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = fmt.Appendf(dst, `{"symbol":%q,"fundingTime":%d,"fundingRate":%q,"markPrice":"%s","rateType":"Regular"}`,
			s.name, at, fundingRate, s.appendMarkPrice(nil, v.minute(at).o))
	}
	return append(dst, ']'), nil
}

// appendFunding writes how a symbol's funding is bound (GET /fapi/v1/fundingInfo, which lists all):
//
//	{"symbol":"GTCUSDT","adjustedFundingRateCap":"0.02000000","adjustedFundingRateFloor":"-0.02000000","fundingIntervalHours":8,"disclaimer":false,"updateTime":1758377721362}
func appendFunding(dst []byte, s *symbol, _ market.Time) []byte {
	return fmt.Appendf(dst, `{"symbol":%q,"adjustedFundingRateCap":"0.02000000","adjustedFundingRateFloor":"-0.02000000","fundingIntervalHours":%d,"disclaimer":false,"updateTime":%d}`,
		s.name, fundingEvery/market.Hour, s.opens)
}

package sim

import (
	"strconv"

	"klined/market"
)

// row is one official kline. Prices are in ticks, volumes in steps, quote volumes in tick × step.
type row struct {
	open                market.Time
	o, h, l, c          int64
	volume, quote       int64
	buyVolume, buyQuote int64
	count               int64 // fills
	first, last         int64 // fill ids, −1 where there is none or it is not known
}

// emptyRow is the kline without trades: its prices are the close before it.
func emptyRow(open market.Time, carried int64) row {
	return row{open: open, o: carried, h: carried, l: carried, c: carried, first: -1, last: -1}
}

// trade counts a fill.
func (r *row) trade(f *fill) {
	if r.count == 0 {
		r.o, r.h, r.l, r.first = f.price, f.price, f.price, f.id
	}
	r.h, r.l, r.c, r.last = max(r.h, f.price), min(r.l, f.price), f.price, f.id
	r.count++
	r.volume += f.qty
	r.quote += f.price * f.qty
	if f.takerBuy() {
		r.buyVolume += f.qty
		r.buyQuote += f.price * f.qty
	}
}

// follow lengthens r by the row after it.
func (r *row) follow(n *row) {
	if n.count == 0 {
		return
	}
	if r.count == 0 {
		r.o, r.h, r.l, r.first = n.o, n.h, n.l, n.first
	}
	r.h, r.l, r.c, r.last = max(r.h, n.h), min(r.l, n.l), n.c, n.last
	r.count += n.count
	r.volume += n.volume
	r.quote += n.quote
	r.buyVolume += n.buyVolume
	r.buyQuote += n.buyQuote
}

// appendREST writes r as the array of GET /fapi/v1/klines:
//
//	[1789478160000,"76936.20","76965.50","76936.10","76965.40","20.680",1789478219999,"1591436.27140",878,"15.190","1168938.63310","0"]
func (s *symbol) appendREST(dst []byte, iv interval, r *row) []byte {
	return append(s.appendColumns(append(dst, '['), iv, r, `"`, 1), ']')
}

// appendColumns writes r's twelve values with commas between them: decimals in quotes, times in units of which so many
// are a millisecond.
func (s *symbol) appendColumns(dst []byte, iv interval, r *row, quote string, perMS int64) []byte {
	decimal := func(write func([]byte, int64) []byte, value int64) {
		dst = append(write(append(append(dst, ','), quote...), value), quote...)
	}
	dst = strconv.AppendInt(dst, int64(r.open)*perMS, 10)
	for _, p := range [...]int64{r.o, r.h, r.l, r.c} {
		decimal(s.appendPrice, p)
	}
	decimal(s.appendQty, r.volume)
	dst = strconv.AppendInt(append(dst, ','), int64(iv.next(r.open))*perMS-1, 10)
	decimal(s.appendQuote, r.quote)
	dst = strconv.AppendInt(append(dst, ','), r.count, 10)
	decimal(s.appendQty, r.buyVolume)
	decimal(s.appendQuote, r.buyQuote)
	return append(append(append(append(dst, ','), quote...), '0'), quote...)
}

// appendPrice writes a price in ticks with the symbol's digits; appendQty and appendQuote do so for amounts.
func (s *symbol) appendPrice(dst []byte, ticks int64) []byte {
	return appendDigits(dst, uint64(ticks*s.tick), s.priceDigits)
}

func (s *symbol) appendQty(dst []byte, steps int64) []byte {
	return appendDigits(dst, uint64(steps*s.lot), s.qtyDigits)
}

func (s *symbol) appendQuote(dst []byte, amount int64) []byte {
	return appendDigits(dst, uint64(amount*s.tick*s.lot), s.priceDigits+s.qtyDigits)
}

// appendDigits writes n·10^−digits.
func appendDigits(dst []byte, n uint64, digits int) []byte {
	if digits == 0 {
		return strconv.AppendUint(dst, n, 10)
	}
	var buf [24]byte
	i := len(buf)
	for written := 0; written <= digits || n > 0; written++ {
		if written == digits {
			i--
			buf[i] = '.'
		}
		i--
		buf[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, buf[i:]...)
}

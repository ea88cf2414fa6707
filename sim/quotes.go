package sim

import "klined/market"

// What is told of a symbol besides its trades, klines and miniTicker: the best bid and ask, with each fill; the mark price, every
// second or every third; the ticker of 24 hours, every other second.
const (
	bookKind   = "bookTicker"
	markKind   = "markPrice"
	tickerKind = "ticker"

	oneSecond = "@1s" // behind markKind
	allOf     = "@arr"

	fundingEvery = 8 * market.Hour
)

// quoteStreams are those of one symbol that somebody subscribes to, else nil; or those of all symbols, without the ticker.
type quoteStreams struct {
	book, mark, mark1s, ticker *stream
}

// slot is where the stream of a kind is noted, nil where there is no such kind.
func (q *quoteStreams) slot(kind string) **stream {
	switch kind {
	case bookKind:
		return &q.book
	case markKind:
		return &q.mark
	case markKind + oneSecond:
		return &q.mark1s
	case tickerKind:
		return &q.ticker
	}
	return nil
}

// slotOfAll is where the stream of all symbols of that name is noted, nil where there is none.
func (q *quoteStreams) slotOfAll(name string) **stream {
	switch name {
	case "!" + bookKind:
		return &q.book
	case "!" + markKind + allOf:
		return &q.mark
	case "!" + markKind + allOf + oneSecond:
		return &q.mark1s
	}
	return nil
}

// pushBook sends the best bid and ask as a fill has left them.
func (e *Exchange) pushBook(s *symbol, f *fill) {
	for _, st := range [...]*stream{s.streams.quotes.book, e.streams.quotes.book} {
		if st != nil {
			e.publish(st, func(dst []byte) []byte { return s.appendBook(dst, f) })
		}
	}
}

// pushQuotes sends what is due in the second that begins with now.
func (e *Exchange) pushQuotes(now market.Time) {
	if e.streams.timed == 0 {
		return
	}
	second := now / market.Second
	var rows []byte
	for _, s := range e.symbols {
		if s.path.flat || s.untraded() || s.status == statusPending || s.ends != 0 && now >= s.ends {
			continue
		}
		if st := s.streams.quotes.ticker; st != nil && second%2 == 0 {
			r := s.lastDay(now)
			e.publish(st, func(dst []byte) []byte { return s.appendDayTicker(dst, &r, now) })
		}
		e.pushMark(s.streams.quotes.mark1s, s, now)
		if second%3 == 0 {
			e.pushMark(s.streams.quotes.mark, s, now)
		}
		if all := &e.streams.quotes; all.mark != nil || all.mark1s != nil {
			rows = append(s.appendMark(rows, now), ',')
		}
	}
	e.pushRows(e.streams.quotes.mark1s, rows)
	if second%3 == 0 {
		e.pushRows(e.streams.quotes.mark, rows)
	}
}

func (e *Exchange) pushMark(st *stream, s *symbol, now market.Time) {
	if st != nil {
		e.publish(st, func(dst []byte) []byte { return s.appendMark(dst, now) })
	}
}

// pushRows sends rows, each with a comma behind it, as one frame.
func (e *Exchange) pushRows(st *stream, rows []byte) {
	if len(rows) > 0 && st != nil {
		e.publish(st, func(dst []byte) []byte {
			return append(append(append(dst, '['), rows[:len(rows)-1]...), ']')
		})
	}
}

// appendBook writes the payload of <symbol>@bookTicker (Individual Symbol Book Ticker Streams):
//
//	{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BNBUSDT","b":"25.3519","B":"31.21","a":"25.3652","A":"40.66","st":1}
func (s *symbol) appendBook(dst []byte, f *fill) []byte {
	bid, draw := f.price, mix(s.key^uint64(f.id))
	if f.takerBuy() {
		bid = max(1, bid-1)
	}
	dst = appendInt(dst, `{"e":"bookTicker","u":`, f.id*1440)
	dst = appendInt(dst, `,"E":`, int64(f.time()))
	dst = appendInt(dst, `,"T":`, int64(f.time()))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","b":"`...)
	dst = append(s.appendPrice(dst, bid), `","B":"`...)
	dst = append(s.appendQty(dst, 1+int64(draw&0xffff)%(8*s.meanQty)), `","a":"`...)
	dst = append(s.appendPrice(dst, bid+1), `","A":"`...)
	return append(s.appendQty(dst, 1+int64(draw>>16&0xffff)%(8*s.meanQty)), `","st":1}`...)
}

// appendMark writes the payload of <symbol>@markPrice (Mark Price Stream); mark and index follow the last price:
//
//	{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15","i":"11784.62","P":"11784.25","r":"0.00010000","T":1562306400000,"st":1}
func (s *symbol) appendMark(dst []byte, at market.Time) []byte {
	dst = appendInt(dst, `{"e":"markPriceUpdate","E":`, int64(at))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","p":"`...)
	dst = append(s.appendPrice(dst, s.last.price), `","i":"`...)
	dst = append(s.appendPrice(dst, s.last.price+int64(mix(s.key^uint64(at))&1)), `","P":"`...)
	dst = append(s.appendPrice(dst, s.last.price), `","r":"0.00010000"`...)
	return append(appendInt(dst, `,"T":`, int64(at-at%fundingEvery+fundingEvery)), `,"st":1}`...)
}

// appendDayTicker writes the payload of <symbol>@ticker (Individual Symbol Ticker Streams):
//
//	{"e":"24hrTicker","E":123456789,"s":"BTCUSDT","p":"0.0015","P":"250.00","w":"0.0018","c":"0.0025","Q":"10","o":"0.0010","h":"0.0025","l":"0.0010",
//	 "v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151,"st":1}
func (s *symbol) appendDayTicker(dst []byte, r *row, at market.Time) []byte {
	signed := func(n int64) uint64 {
		if n < 0 {
			dst = append(dst, '-')
			n = -n
		}
		return uint64(n)
	}
	dst = appendInt(dst, `{"e":"24hrTicker","E":`, int64(at))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","p":"`...)
	change := signed(r.c - r.o)
	dst = append(s.appendPrice(dst, int64(change)), `","P":"`...)
	share := signed((r.c - r.o) * 10_000 / max(1, r.o))
	dst = append(appendDigits(dst, share, 2), `","w":"`...)
	for _, p := range [...]struct {
		price int64
		next  string
	}{{r.quote / max(1, r.volume), `","c":"`}, {r.c, `","Q":"`}} {
		dst = append(s.appendPrice(dst, p.price), p.next...)
	}
	dst = append(s.appendQty(dst, s.last.qty), `","o":"`...)
	dst = append(s.appendPrice(dst, r.o), `","h":"`...)
	dst = append(s.appendPrice(dst, r.h), `","l":"`...)
	dst = append(s.appendPrice(dst, r.l), `","v":"`...)
	dst = append(s.appendQty(dst, r.volume), `","q":"`...)
	dst = append(s.appendQuote(dst, r.quote), '"')
	for _, n := range [...]struct {
		key   string
		value int64
	}{{`,"O":`, int64(at - market.Day)}, {`,"C":`, int64(at)}, {`,"F":`, r.first}, {`,"L":`, r.last}, {`,"n":`, r.count}} {
		dst = appendInt(dst, n.key, n.value)
	}
	return append(dst, `,"st":1}`...)
}

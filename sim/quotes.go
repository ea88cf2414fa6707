package sim

import (
	"fmt"

	"klined/market"
)

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
			d := s.dayTicker(s.lastDay(now), now)
			e.publish(st, func(dst []byte) []byte { return s.appendDayTicker(dst, &d, now) })
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

// bestQuotes are a best bid and the ask a tick above it, in ticks and steps.
type bestQuotes struct{ bid, bidQty, askQty, update int64 }

// best is what a fill has left: the last price is the bid where takers sold, else the ask.
func (s *symbol) best(f *fill) bestQuotes {
	bid, draw := f.price, mix(s.key^uint64(f.id))
	if f.takerBuy() {
		bid = max(1, bid-1)
	}
	return bestQuotes{bid, 1 + int64(draw&0xffff)%(8*s.meanQty), 1 + int64(draw>>16&0xffff)%(8*s.meanQty), f.id * 1440}
}

// appendBook writes the payload of <symbol>@bookTicker (Individual Symbol Book Ticker Streams), in the order of the wire:
//
//	{"e":"bookTicker","u":11757092630476,"s":"BTCUSDT","ps":"BTCUSDT","b":"83091.60","B":"4.215","a":"83091.70","A":"3.763","T":1791382994657,"E":1791382994658,"st":1}
func (s *symbol) appendBook(dst []byte, f *fill) []byte {
	b := s.best(f)
	dst = appendInt(dst, `{"e":"bookTicker","u":`, b.update)
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","ps":"`...)
	dst = append(append(dst, s.pair...), `","b":"`...)
	dst = append(s.appendPrice(dst, b.bid), `","B":"`...)
	dst = append(s.appendQty(dst, b.bidQty), `","a":"`...)
	dst = append(s.appendPrice(dst, b.bid+1), `","A":"`...)
	dst = append(s.appendQty(dst, b.askQty), '"')
	dst = appendInt(dst, `,"T":`, int64(f.time()))
	return append(appendInt(dst, `,"E":`, int64(f.time())), `,"st":1}`...)
}

// index is the price of a symbol's index, which follows the last price as the mark does, in ticks.
func (s *symbol) index(at market.Time) int64 { return s.last.price + int64(mix(s.key^uint64(at))&1) }

// appendMark writes the payload of <symbol>@markPrice (Mark Price Stream), in the order of the wire:
//
//	{"e":"markPriceUpdate","E":1791382993000,"s":"BTCUSDT","p":"83084.30000000","ap":"83084.30000000","P":"83195.15881449","i":"83123.65891304","r":"0.00000078","T":1791388800000,"st":1}
func (s *symbol) appendMark(dst []byte, at market.Time) []byte {
	dst = appendInt(dst, `{"e":"markPriceUpdate","E":`, int64(at))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","p":"`...)
	dst = append(s.appendMarkPrice(dst, s.last.price), `","ap":"`...)
	dst = append(s.appendMarkPrice(dst, s.last.price), `","P":"`...)
	dst = append(s.appendMarkPrice(dst, s.last.price), `","i":"`...)
	dst = append(s.appendMarkPrice(dst, s.index(at)), `","r":"`+fundingRate+`"`...)
	return append(appendInt(dst, `,"T":`, int64(at-at%fundingEvery+fundingEvery)), `,"st":1}`...)
}

// appendDayTicker writes the payload of <symbol>@ticker (Individual Symbol Ticker Streams), in the order of the wire:
//
//	{"e":"24hrTicker","E":1791382993519,"s":"BTCUSDT","ps":"BTCUSDT","p":"-3058.40","P":"-3.550","w":"84385.14","c":"83091.60","Q":"0.002","o":"86150.00","h":"86664.90",
//	 "l":"82706.20","v":"170340.583","q":"14374214019.71","O":1791296580000,"C":1791382993519,"F":8150083791,"L":8153634403,"n":3538937,"st":1}
func (s *symbol) appendDayTicker(dst []byte, d *dayTicker, at market.Time) []byte {
	return fmt.Appendf(dst, `{"e":"24hrTicker","E":%d,"s":%q,"ps":%q,"p":"%s","P":"%s","w":"%s","c":"%s","Q":"%s","o":"%s","h":"%s","l":"%s","v":"%s","q":"%s","O":%d,"C":%d,"F":%d,"L":%d,"n":%d,"st":1}`,
		at, s.name, s.pair, d.change, d.share, d.mean, d.last, d.lastQty, d.open, d.high, d.low, d.volume, d.quote, d.from, d.to, d.firstID, d.lastID, d.trades)
}

package sim

import (
	"strconv"

	"klined/market"
)

// miniRows is how many rows of !miniTicker@arr one frame holds; what is more comes in further frames.
const miniRows = 500

// pushSecond sends what is due once in a second.
func (e *Exchange) pushSecond(now market.Time) {
	if now < e.seconds.next {
		return
	}
	e.seconds.next = now - now%market.Second + market.Second
	e.pushMinis(now)
	e.pushQuotes(now)
}

// pushMinis sends the miniTickers: of all symbols that traded since, every second, and of one symbol every other one.
func (e *Exchange) pushMinis(now market.Time) {
	even := now/market.Second%2 == 0
	var rows []byte
	n := 0
	for _, s := range e.symbols {
		if !s.pushes.traded || e.streams.allMini == nil && s.streams.mini == nil {
			continue
		}
		s.pushes.traded = !even && s.streams.mini != nil
		r := s.lastDay(now)
		if s.streams.mini != nil && even {
			e.publish(s.streams.mini, func(dst []byte) []byte { return s.appendMini(dst, &r, now) })
		}
		rows = append(s.appendMini(rows, &r, now), ',')
		if s.name == "BTCUSDT" || s.name == "ETHUSDT" {
			rows = append(s.appendCoinMini(rows, &r, now), ',')
		}
		if n++; n%miniRows == 0 {
			rows = e.pushAllMinis(rows)
		}
	}
	e.pushAllMinis(rows)
}

// pushAllMinis sends rows, each with a comma behind it, as one frame and gives back their memory.
func (e *Exchange) pushAllMinis(rows []byte) []byte {
	e.pushRows(e.streams.allMini, rows)
	return rows[:0]
}

// lastDay is the rolling 24 hours of a symbol, as the exchange's tickers have them: the minutes of a day, and the running one.
func (s *symbol) lastDay(now market.Time) row {
	minute := oneMinute.open(now)
	if p := &s.pushes; p.dayEnd != minute {
		v := s.look(now)
		p.day, p.dayEnd = v.sum(minute-market.Day, minute), minute
	}
	r := s.pushes.day
	if i := int((minute - s.seam()) / market.Minute); i < len(s.minutes) {
		r.follow(&s.minutes[i])
	}
	return r
}

// appendCoinMini writes the row of a COIN-M contract of the symbol's base, which the all-market stream carries too:
// volumes in contracts and in coins.
func (s *symbol) appendCoinMini(dst []byte, r *row, at market.Time) []byte {
	name := s.base + "USD"
	dst = appendInt(dst, `{"e":"24hrMiniTicker","E":`, int64(at))
	dst = append(append(append(dst, `,"s":"`...), name...), `_PERP","ps":"`...)
	dst = append(append(dst, name...), `","c":"`...)
	dst = append(s.appendPrice(dst, r.c), `","o":"`...)
	dst = append(s.appendPrice(dst, r.o), `","h":"`...)
	dst = append(s.appendPrice(dst, r.h), `","l":"`...)
	dst = append(s.appendPrice(dst, r.l), `","v":"`...)
	dst = append(strconv.AppendInt(dst, r.count, 10), `","q":"`...)
	return append(s.appendQty(dst, r.volume), `","st":2}`...)
}

package sim

import (
	"strconv"

	"klined/market"
)

// appendAggTrade writes the payload of <symbol>@aggTrade:
//
//	{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","nq":"0.022","f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}
func (s *symbol) appendAggTrade(dst []byte, a *aggTrade, at market.Time) []byte {
	all, normal := a.qty()
	dst = appendInt(dst, `{"e":"aggTrade","E":`, int64(at))
	dst = appendInt(dst, `,"a":`, a.id)
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","p":"`...)
	dst = append(s.appendPrice(dst, a.fills[0].price), `","q":"`...)
	dst = append(s.appendQty(dst, all), `","nq":"`...)
	dst = append(s.appendQty(dst, normal), '"')
	dst = appendInt(dst, `,"f":`, a.firstID())
	dst = appendInt(dst, `,"l":`, a.lastID())
	dst = appendInt(dst, `,"T":`, int64(a.time()))
	return append(appendBool(dst, `,"m":`, !a.fills[0].takerBuy()), `,"st":1}`...)
}

// appendTrade writes the payload of <symbol>@trade; a fill without a quantity is a burnt id:
//
//	{"e":"trade","E":1785701708157,"T":1785701708156,"s":"BTCUSDT","t":7947574407,"p":"63437.30","q":"0.003","X":"MARKET","m":false,"st":1}
func (s *symbol) appendTrade(dst []byte, f *fill, at market.Time) []byte {
	dst = appendInt(dst, `{"e":"trade","E":`, int64(at))
	dst = appendInt(dst, `,"T":`, int64(f.time()))
	dst = append(append(append(dst, `,"s":"`...), s.name...), '"')
	dst = append(appendInt(dst, `,"t":`, f.id), `,"p":"`...)
	switch {
	case f.qty == 0:
		dst = append(dst, `0","q":"0","X":"NA"`...)
	default:
		dst = append(s.appendPrice(dst, f.price), `","q":"`...)
		dst = append(s.appendQty(dst, f.qty), `","X":"`...)
		if f.rpi() {
			dst = append(dst, `RPI"`...)
		} else {
			dst = append(dst, `MARKET"`...)
		}
	}
	return append(appendBool(dst, `,"m":`, !f.takerBuy()), `,"st":1}`...)
}

// appendKline writes the payload of <symbol>@kline_<interval>, keys in the order of the wire:
//
//	{"e":"kline","E":1791382992723,"s":"BTCUSDT","k":{"t":1791382980000,"T":1791383039999,"s":"BTCUSDT","i":"1m","f":8153633367,"L":8153634395,"o":"83084.90","c":"83091.60","h":"83091.70","l":"83051.20","v":"13.551","n":1027,"x":false,"q":"1125714.73960","V":"6.426","Q":"533856.66860","B":"0"}}
func (s *symbol) appendKline(dst []byte, iv interval, r *row, closed bool, at market.Time) []byte {
	dst = appendInt(dst, `{"e":"kline","E":`, int64(at))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","k":{`...)
	dst = appendInt(dst, `"t":`, int64(r.open))
	dst = appendInt(dst, `,"T":`, int64(iv.next(r.open)-1))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","i":"`...)
	return s.appendKlineRest(append(dst, iv.name...), r, r.first, r.last, closed)
}

// appendContinuous writes the payload of <pair>_<contract>@continuousKline_<interval>, whose f and L are not trade ids:
//
//	{"e":"continuous_kline","E":1607443058651,"ps":"BTCUSDT","ct":"PERPETUAL","k":{"t":1607443020000,"T":1607443079999,"i":"1m","f":116467658886,"L":116468012423,"o":…}}
func (s *symbol) appendContinuous(dst []byte, iv interval, r *row, closed bool, at market.Time) []byte {
	dst = appendInt(dst, `{"e":"continuous_kline","E":`, int64(at))
	dst = append(append(append(dst, `,"ps":"`...), s.pair...), `","ct":"`...)
	dst = append(append(dst, s.contract...), `","k":{`...)
	dst = appendInt(dst, `"t":`, int64(r.open))
	dst = appendInt(dst, `,"T":`, int64(iv.next(r.open)-1))
	dst = append(append(dst, `,"i":"`...), iv.name...)
	const updates = 1440 // of the book, for each fill
	first, last := r.first, r.last
	if r.count > 0 {
		first, last = first*updates, last*updates
	}
	return s.appendKlineRest(dst, r, first, last, closed)
}

// appendKlineRest writes a kline from its interval's closing quote on.
func (s *symbol) appendKlineRest(dst []byte, r *row, first, last int64, closed bool) []byte {
	dst = appendInt(dst, `","f":`, first)
	dst = appendInt(dst, `,"L":`, last)
	dst = s.appendPrice(append(dst, `,"o":"`...), r.o)
	dst = s.appendPrice(append(dst, `","c":"`...), r.c)
	dst = s.appendPrice(append(dst, `","h":"`...), r.h)
	dst = s.appendPrice(append(dst, `","l":"`...), r.l)
	dst = s.appendQty(append(dst, `","v":"`...), r.volume)
	dst = appendInt(dst, `","n":`, r.count)
	dst = appendBool(dst, `,"x":`, closed)
	dst = s.appendQuote(append(dst, `,"q":"`...), r.quote)
	dst = s.appendQty(append(dst, `","V":"`...), r.buyVolume)
	dst = s.appendQuote(append(dst, `","Q":"`...), r.buyQuote)
	return append(dst, `","B":"0"}}`...)
}

// appendMini writes one element of !miniTicker@arr, the payload of <symbol>@miniTicker:
//
//	{"e":"24hrMiniTicker","E":123456789,"s":"BTCUSDT","ps":"BTCUSDT","c":"0.0025","o":"0.0010","h":"0.0025","l":"0.0010","v":"10000","q":"18","st":1}
func (s *symbol) appendMini(dst []byte, r *row, at market.Time) []byte {
	dst = appendInt(dst, `{"e":"24hrMiniTicker","E":`, int64(at))
	dst = append(append(append(dst, `,"s":"`...), s.name...), `","ps":"`...)
	dst = append(append(dst, s.pair...), `","c":"`...)
	dst = append(s.appendPrice(dst, r.c), `","o":"`...)
	dst = append(s.appendPrice(dst, r.o), `","h":"`...)
	dst = append(s.appendPrice(dst, r.h), `","l":"`...)
	dst = append(s.appendPrice(dst, r.l), `","v":"`...)
	dst = append(s.appendQty(dst, r.volume), `","q":"`...)
	return append(s.appendQuote(dst, r.quote), `","st":1}`...)
}

func appendInt(dst []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(dst, key...), n, 10)
}

func appendBool(dst []byte, key string, b bool) []byte {
	return strconv.AppendBool(append(dst, key...), b)
}

package serve

import (
	"strconv"

	"klined/fixed"
	"klined/market"
)

// appendRow writes a kline as REST does:
//
//	[1789478160000,"76936.20","76965.50","76936.10","76965.40","20.680",1789478219999,"1591436.27140",878,"15.190","1168938.63310","0"]
//	 open time      open       high       low        close      volume   close time     quote volume    count taker-buy volumes      ignored
func appendRow(dst []byte, k *market.Kline, interval market.Interval, sym *market.Symbol) []byte {
	price, qty, quote := sym.PriceDigits, sym.QtyDigits, sym.QuoteDigits()
	dst = append(dst, '[')
	dst = strconv.AppendInt(dst, int64(k.OpenTime), 10)
	dst = appendValue(append(dst, ','), k.Open, price)
	dst = appendValue(append(dst, ','), k.High, price)
	dst = appendValue(append(dst, ','), k.Low, price)
	dst = appendValue(append(dst, ','), k.Close, price)
	dst = appendSum(append(dst, ','), k.Volume, qty)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, int64(interval.Next(k.OpenTime)-1), 10)
	dst = appendSum(append(dst, ','), k.QuoteVolume, quote)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, k.TradeCount, 10)
	dst = appendSum(append(dst, ','), k.TakerBuyVolume, qty)
	dst = appendSum(append(dst, ','), k.TakerBuyQuoteVolume, quote)
	return append(dst, `,"0"]`...)
}

// rowsWriter appends rows as a body.
type rowsWriter func(dst []byte, rows []market.Kline, interval market.Interval, sym *market.Symbol) []byte

// appendRows writes the body of a klines answer.
func appendRows(dst []byte, rows []market.Kline, interval market.Interval, sym *market.Symbol) []byte {
	dst = append(dst, '[')
	for i := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendRow(dst, &rows[i], interval, sym)
	}
	return append(dst, ']')
}

func appendValue(dst []byte, v fixed.Value, digits int) []byte {
	return append(v.Append(append(dst, '"'), digits), '"')
}

func appendSum(dst []byte, s fixed.Sum, digits int) []byte {
	return append(s.Append(append(dst, '"'), digits), '"')
}

// appendEvent writes a kline as the exchange pushes it, in its order of keys, and ours after them: r (Revision), st.
// name is the symbol's name as a JSON string; x says whether the kline is final.
func appendEvent(dst []byte, u *market.Update, now market.Time, sym *market.Symbol, name string, x bool) []byte {
	dst = append(dst, `{"e":"kline","E":`...)
	dst = strconv.AppendInt(dst, int64(now), 10)
	dst = append(append(dst, `,"s":`...), name...)
	dst = append(dst, `,"k":{"t":`...)
	dst = strconv.AppendInt(dst, int64(u.OpenTime), 10)
	dst = append(dst, `,"T":`...)
	dst = strconv.AppendInt(dst, int64(u.CloseTime()), 10)
	dst = append(append(dst, `,"s":`...), name...)
	return appendEventKline(dst, u, sym, x)
}

// appendContinuous writes the same as the streams of continuous contracts push it. name is the pair's, which is the
// symbol's. The exchange's f and L are update ids there; ours are the trade ids, for there are no others.
func appendContinuous(dst []byte, u *market.Update, now market.Time, sym *market.Symbol, name, contract string, x bool) []byte {
	dst = append(dst, `{"e":"continuous_kline","E":`...)
	dst = strconv.AppendInt(dst, int64(now), 10)
	dst = append(append(dst, `,"ps":`...), name...)
	dst = append(append(dst, `,"ct":"`...), contract...)
	dst = append(dst, `","k":{"t":`...)
	dst = strconv.AppendInt(dst, int64(u.OpenTime), 10)
	dst = append(dst, `,"T":`...)
	dst = strconv.AppendInt(dst, int64(u.CloseTime()), 10)
	return appendEventKline(dst, u, sym, x)
}

// appendEventKline writes the rest of a pushed kline, from its interval on, and ends the event.
func appendEventKline(dst []byte, u *market.Update, sym *market.Symbol, x bool) []byte {
	price, qty, quote := sym.PriceDigits, sym.QtyDigits, sym.QuoteDigits()
	dst = append(append(dst, `,"i":"`...), u.Interval.String()...)
	dst = append(dst, `","f":`...)
	dst = strconv.AppendInt(dst, u.FirstID, 10)
	dst = append(dst, `,"L":`...)
	dst = strconv.AppendInt(dst, u.LastID, 10)
	dst = appendValue(append(dst, `,"o":`...), u.Open, price)
	dst = appendValue(append(dst, `,"c":`...), u.Close, price)
	dst = appendValue(append(dst, `,"h":`...), u.High, price)
	dst = appendValue(append(dst, `,"l":`...), u.Low, price)
	dst = appendSum(append(dst, `,"v":`...), u.Volume, qty)
	dst = append(dst, `,"n":`...)
	dst = strconv.AppendInt(dst, u.TradeCount, 10)
	dst = append(dst, `,"x":`...)
	dst = strconv.AppendBool(dst, x)
	dst = appendSum(append(dst, `,"q":`...), u.QuoteVolume, quote)
	dst = appendSum(append(dst, `,"V":`...), u.TakerBuyVolume, qty)
	dst = appendSum(append(dst, `,"Q":`...), u.TakerBuyQuoteVolume, quote)
	dst = append(dst, `,"B":"0","r":`...)
	dst = strconv.AppendInt(dst, int64(u.Revision), 10)
	dst = append(append(dst, `,"st":"`...), standing(&u.Kline)...)
	return append(dst, `"}}`...)
}

// standing is a kline's state with its mark, as k.st says it.
func standing(k *market.Kline) string {
	switch {
	case k.State == market.StateSettled:
		return "settled"
	case k.State == market.StateClosed && k.Gap:
		return "closed+gap"
	case k.State == market.StateClosed:
		return "closed"
	case k.Gap:
		return "open+gap"
	}
	return "open"
}

// appendState writes the X-Klined-State of rows: what they are made of. Rows with gap are counted by their state too.
func appendState(dst []byte, rows []market.Kline) []byte {
	var states [4]int64
	var gaps int64
	for i := range rows {
		states[rows[i].State]++
		if rows[i].Gap {
			gaps++
		}
	}
	dst = strconv.AppendInt(append(dst, "settled="...), states[market.StateSettled], 10)
	dst = strconv.AppendInt(append(dst, ",closed="...), states[market.StateClosed], 10)
	dst = strconv.AppendInt(append(dst, ",open="...), states[market.StateOpen], 10)
	return strconv.AppendInt(append(dst, ",gap="...), gaps, 10)
}

package binance

import "klined/market"

// kline decodes a kline event: with x:true one official kline, with x:false nothing.
//
//	{"e":"kline","E":1791382992723,"s":"BTCUSDT","k":{"t":1791382980000,"T":1791383039999,"s":"BTCUSDT","i":"1m",
//	 "f":8153633367,"L":8153634395,"o":"83084.90","c":"83091.60","h":"83091.70","l":"83051.20","v":"13.551","n":1027,
//	 "x":false,"q":"1125714.73960","V":"6.426","Q":"533856.66860","B":"0"}}
func (d *Decoder) kline(frame []byte, event *object, b *market.Batch) (Kind, error) {
	if event.get('k').absent() || frame[event.get('k').from] != '{' {
		return KindKline, ErrField
	}
	var k object
	s := scanner{text: frame, at: int(event.get('k').from)}
	if err := s.object(&k); err != nil {
		return KindKline, err
	}
	v := values{json: frame}
	if final := v.boolean(k.get('x')); v.err != nil || !final {
		return KindKline, v.err
	}
	var u market.Update
	if err := officialOf(frame, &k, &u); err != nil {
		return KindKline, err
	}
	name, err := text(frame, event.get('s'), d.scratch[:0])
	if err != nil {
		return KindKline, err
	}
	if inner := k.get('s'); !inner.absent() && !isText(frame, inner, string(name)) {
		return KindKline, ErrSymbol
	}
	id, known, err := d.symbol(name)
	if err == nil && known {
		u.Symbol = id
		b.Official = append(b.Official, u)
	}
	return KindKline, err
}

// officialOf reads the values of k; its symbol is left to the caller. LastTradeID is not known here.
func officialOf(frame []byte, k *object, u *market.Update) error {
	v := values{json: frame}
	u.Interval = v.interval(k.get('i'))
	u.OpenTime = market.Time(v.integer(k.get('t')))
	closeTime := market.Time(v.integer(k.get('T')))
	u.Open, u.High, u.Low, u.Close = v.value(k.get('o')), v.value(k.get('h')), v.value(k.get('l')), v.value(k.get('c'))
	u.Volume, u.QuoteVolume = v.sum(k.get('v')), v.sum(k.get('q'))
	u.TakerBuyVolume, u.TakerBuyQuoteVolume = v.sum(k.get('V')), v.sum(k.get('Q'))
	u.TradeCount = v.integer(k.get('n'))
	u.FirstID, u.LastID, u.LastTradeID = v.integer(k.get('f')), v.integer(k.get('L')), -1
	u.State = market.StateSettled
	switch {
	case v.err != nil:
		return v.err
	case !onGrid(u.Interval, u.OpenTime, closeTime):
		return ErrTime
	case u.TradeCount < 0 || u.FirstID < -1 || u.LastID < u.FirstID:
		return ErrIDs
	}
	return nil
}

// latestTime is the year 9999's end: beyond it nothing is on the grid.
const latestTime market.Time = 253402300799999

// onGrid reports whether a kline of iv opens and closes at these times.
func onGrid(iv market.Interval, open, closeTime market.Time) bool {
	return open >= 0 && open <= latestTime && iv.Open(open) == open && iv.Next(open)-1 == closeTime
}

// interval reads the name of one of the exchange's intervals.
func (v *values) interval(at span) market.Interval {
	if isText(v.json, at, "1m") {
		return market.OneMinute
	}
	if name, err := text(v.json, at, nil); err == nil {
		for _, iv := range market.ExchangeIntervals() {
			if iv.String() == string(name) {
				return iv
			}
		}
	}
	v.fail(ErrField)
	return 0
}

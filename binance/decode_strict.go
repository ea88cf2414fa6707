package binance

import (
	"bytes"

	"klined/market"
)

// The strict path reads records exactly as the wire writes them, eight bytes at a time (words.go). A step that fails leaves
// nothing, on which every step fails: one look at the end is enough.

// strictTrade reads a record of the source whose keys stand in the wire's order, from the comma behind its event's name to
// the payload's last byte. The name lies in the payload. False: not exactly so, the tolerant path decides.
//
//	{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","nq":"0.022",
//	 "f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}
//	{"e":"trade","E":1785701708157,"T":1785701708156,"s":"BTCUSDT","t":7947574407,"p":"63437.30","q":"0.003",
//	 "X":"MARKET","m":false,"st":1}
func strictTrade(text []byte, source market.Source, t *market.Trade) (name []byte, ok bool) {
	if text = passNumber(text, 'E'); source == market.SourceTrade {
		name, text = strictSingle(text, t)
	} else {
		name, text = strictAgg(text, t)
	}
	return name, strictEnd(text, t)
}

// strictAgg takes what an aggTrade has between E and m.
func strictAgg(text []byte, t *market.Trade) (name, rest []byte) {
	if begins(text, numberKey('a'), 5) {
		t.ID, text = number(text, 'a')
		name, text = quoted(text, 's')
	} else { // the documented order, which yesterday's wire had
		name, text = quoted(text, 's')
		t.ID, text = number(text, 'a')
	}
	text = strictAmounts(text, t)
	if begins(text, nqKey, 7) {
		text = passDecimal(text[7:])
	}
	t.FirstID, text = number(text, 'f')
	t.LastID, text = number(text, 'l')
	ms, text := number(text, 'T')
	t.Time = market.Time(ms)
	return name, text
}

// strictSingle takes what a trade has between E and m.
func strictSingle(text []byte, t *market.Trade) (name, rest []byte) {
	ms, text := number(text, 'T')
	t.Time = market.Time(ms)
	name, text = quoted(text, 's')
	t.ID, text = number(text, 't')
	t.FirstID, t.LastID = t.ID, t.ID
	text = strictAmounts(text, t)
	if begins(text, textKey('X'), 6) {
		var kind []byte
		if kind, text = quoted(text, 'X'); !counts(kind) {
			t.Qty = 0
		}
	}
	return name, text
}

// strictAmounts takes price and quantity.
func strictAmounts(text []byte, t *market.Trade) (rest []byte) {
	if !begins(text, textKey('p'), 6) {
		return nil
	}
	t.Price, text = decimal(text[6:])
	if !begins(text, textKey('q'), 6) {
		return nil
	}
	t.Qty, text = decimal(text[6:])
	return text
}

// makers are the first eight bytes of ,"m":false and ,"m":true.
var makers = [2]uint64{word([]byte(`,"m":false`)), word([]byte(`,"m":true,`))}

// strictEnd takes m, and st where it is there, up to the payload's last byte. m is the toss of a coin: no branch depends
// on it.
func strictEnd(text []byte, t *market.Trade) bool {
	if len(text) < 10 {
		return false
	}
	maker := text[5] >> 4 & 1 // of t, not of f
	t.TakerBuy = maker == 0
	end := 10 - int(maker)
	if word(text) != makers[maker] || text[end-1] != 'e' || text[end-2] != 's'+2*maker {
		return false
	}
	text = text[end:]
	return len(text) == 1 && text[0] == '}' ||
		len(text) == 8 && string(text[:6]) == `,"st":` && text[6]-'0' <= 9 && text[7] == '}'
}

// counts reports whether trades of this kind (X) are in the exchange's klines; the others (NA, INSURANCE_FUND, ADL)
// only take their id.
func counts(kind []byte) bool { return string(kind) == "MARKET" || string(kind) == "RPI" }

// klineTail is how many bytes before its end a kline event says x at the latest, with room to spare.
const klineTail = 160

// stillOpen reports whether a kline event plainly says x:false: a quoted key x cannot stand inside a string unless
// its quotes are escaped.
func stillOpen(payload []byte) bool {
	tail := payload[max(0, len(payload)-klineTail):]
	for {
		i := bytes.IndexByte(tail, 'x')
		if i < 0 {
			return false
		}
		if i >= 2 && tail[i-1] == '"' && tail[i-2] != '\\' && bytes.HasPrefix(tail[i+1:], []byte(`":false`)) {
			return true
		}
		tail = tail[i+1:]
	}
}

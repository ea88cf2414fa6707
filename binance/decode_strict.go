package binance

import (
	"bytes"

	"klined/fixed"
	"klined/market"
)

// strictTrade reads a record of the source whose keys stand in the wire's order, from the quote after its event name
// to the payload's last byte. The name lies in the payload. False: not exactly so, the tolerant path decides.
//
//	{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","nq":"0.022",
//	 "f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}
//	{"e":"trade","E":1785701708157,"T":1785701708156,"s":"BTCUSDT","t":7947574407,"p":"63437.30","q":"0.003",
//	 "X":"MARKET","m":false,"st":1}
func strictTrade(payload []byte, at int, source market.Source, t *market.Trade) (name []byte, ok bool) {
	c := cursor{text: payload, at: at}
	c.lit(`","E":`)
	c.integer()
	if source == market.SourceTrade {
		name = c.trade(t)
	} else {
		name = c.aggTrade(t)
	}
	c.lit(`,"m":`)
	t.TakerBuy = !c.boolean()
	if c.has(`,"st":`) {
		c.integer()
	}
	c.lit(`}`)
	return name, !c.bad && c.at == len(payload)
}

// aggTrade reads from the comma after E's value to the one before m.
func (c *cursor) aggTrade(t *market.Trade) (name []byte) {
	if c.has(`,"a":`) {
		t.ID = c.integer()
		c.lit(`,"s":"`)
		name = c.name()
	} else { // the documented order, which yesterday's wire had
		c.lit(`,"s":"`)
		name = c.name()
		c.lit(`,"a":`)
		t.ID = c.integer()
	}
	c.lit(`,"p":"`)
	t.Price = c.decimal()
	c.lit(`,"q":"`)
	t.Qty = c.decimal()
	if c.has(`,"nq":"`) {
		c.decimal()
	}
	c.lit(`,"f":`)
	t.FirstID = c.integer()
	c.lit(`,"l":`)
	t.LastID = c.integer()
	c.lit(`,"T":`)
	t.Time = market.Time(c.integer())
	return name
}

// trade reads from the comma after E's value to the one before m.
func (c *cursor) trade(t *market.Trade) (name []byte) {
	c.lit(`,"T":`)
	t.Time = market.Time(c.integer())
	c.lit(`,"s":"`)
	name = c.name()
	c.lit(`,"t":`)
	t.ID = c.integer()
	t.FirstID, t.LastID = t.ID, t.ID
	c.lit(`,"p":"`)
	t.Price = c.decimal()
	c.lit(`,"q":"`)
	t.Qty = c.decimal()
	if c.has(`,"X":"`) && !counts(c.name()) {
		t.Qty = 0
	}
	return name
}

// counts reports whether trades of this kind (X) are in the exchange's klines; the others (NA, INSURANCE_FUND, ADL)
// only take their id.
func counts(kind []byte) bool { return string(kind) == "MARKET" || string(kind) == "RPI" }

// cursor reads a text that must be exactly as expected; once it is not, bad stays set and nothing more is read.
type cursor struct {
	text []byte
	at   int
	bad  bool
}

// lit passes over s, which must stand here.
func (c *cursor) lit(s string) {
	if c.bad || len(c.text)-c.at < len(s) || string(c.text[c.at:c.at+len(s)]) != s {
		c.bad = true
		return
	}
	c.at += len(s)
}

// has passes over s where it stands here.
func (c *cursor) has(s string) bool {
	if c.bad || len(c.text)-c.at < len(s) || string(c.text[c.at:c.at+len(s)]) != s {
		return false
	}
	c.at += len(s)
	return true
}

// integer reads an integer of 1 to 18 digits without sign or leading zero.
func (c *cursor) integer() int64 {
	var n int64
	i := c.at
	for ; i < len(c.text); i++ {
		digit := c.text[i] - '0'
		if digit > 9 {
			break
		}
		n = n*10 + int64(digit)
	}
	size := i - c.at
	if c.bad || size == 0 || size > 18 || size > 1 && c.text[c.at] == '0' {
		c.bad = true
		return 0
	}
	c.at = i
	return n
}

// scales holds 10⁸ … 10⁰: what the digits of a number with 0 … 8 decimals are multiplied with.
var scales = [...]int64{1e8, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1}

// decimal reads digits with at most one point between them, up to 10 before and 8 after it, and the closing quote.
func (c *cursor) decimal() fixed.Value {
	var n int64
	i, point := c.at, -1
	for ; i < len(c.text); i++ {
		digit := c.text[i] - '0'
		if digit > 9 {
			if c.text[i] != '.' || point >= 0 {
				break
			}
			point = i
			continue
		}
		n = n*10 + int64(digit)
	}
	whole, decimals := i-c.at, 0
	if point >= 0 {
		whole, decimals = point-c.at, i-point-1
		if decimals == 0 {
			whole = 0
		}
	}
	if c.bad || whole == 0 || whole > 10 || decimals > 8 || i == len(c.text) || c.text[i] != '"' {
		c.bad = true
		return 0
	}
	c.at = i + 1
	return fixed.Value(n * scales[decimals])
}

// name reads a string without escapes, and the closing quote.
func (c *cursor) name() []byte {
	if c.bad {
		return nil
	}
	end := plain(c.text, c.at)
	if end < 0 {
		c.bad = true
		return nil
	}
	s := c.text[c.at:end]
	c.at = end + 1
	return s
}

// boolean reads true or false.
func (c *cursor) boolean() bool {
	if c.has(`true`) {
		return true
	}
	c.lit(`false`)
	return false
}

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

package binance

import (
	"bytes"

	"klined/fixed"
	"klined/market"
)

// tolerant decodes any JSON text: keys in any order, unknown ones passed over, white space and escapes anywhere.
func (d *Decoder) tolerant(frame []byte, b *market.Batch) (Kind, error) {
	s := scanner{text: frame}
	s.space()
	if s.at == len(frame) {
		return KindOther, ErrSyntax
	}
	switch frame[s.at] {
	case '[':
		return d.array(frame, s.at, b)
	case '{':
	default:
		return KindOther, ErrSyntax
	}
	var o object
	from := s.at
	if err := s.object(&o); err != nil {
		return KindOther, err
	}
	whole := span{int32(from), int32(s.at)}
	if !s.end() {
		return KindOther, ErrSyntax
	}
	switch {
	case !o.data.absent():
		return d.wrapped(frame, &o, b)
	case !o.get('e').absent():
		return d.payload(frame, whole, &o, b)
	case !o.error.absent():
		return KindRefusal, nil
	case !o.result.absent():
		return KindAck, nil
	}
	return KindOther, nil
}

// wrapped decodes what lies in data.
func (d *Decoder) wrapped(frame []byte, o *object, b *market.Batch) (Kind, error) {
	if !o.get('e').absent() {
		return KindOther, ErrField
	}
	data := o.data
	switch frame[data.from] {
	case '[':
		return d.rows(frame, int(data.from), b), nil
	case '{':
	default:
		return KindOther, nil
	}
	s := scanner{text: frame, at: int(data.from)}
	if err := s.object(o); err != nil {
		return KindOther, err
	}
	return d.payload(frame, data, o, b)
}

// payload decodes the event that stands at; its values stand at o.
func (d *Decoder) payload(frame []byte, at span, o *object, b *market.Batch) (Kind, error) {
	switch {
	case isText(frame, o.get('e'), d.event):
		return d.trade(frame, at, o, b)
	case isText(frame, o.get('e'), "kline"):
		return d.kline(frame, o, b)
	case d.Tickers && isText(frame, o.get('e'), miniTicker):
		return KindTicker, d.ticker(frame, at, o, b)
	}
	return KindOther, nil
}

// trade decodes a record of the decoder's source.
func (d *Decoder) trade(frame []byte, at span, o *object, b *market.Batch) (Kind, error) {
	var t market.Trade
	var err error
	if d.source == market.SourceTrade {
		err = tradeOf(frame, o, &t)
	} else {
		err = aggTradeOf(frame, o, &t)
	}
	if err != nil {
		return KindTrade, err
	}
	name, err := text(frame, o.get('s'), d.scratch[:0])
	if err != nil {
		return KindTrade, err
	}
	return d.take(&t, name, at.of(frame), b)
}

// aggTradeOf reads an aggTrade, of a frame or of a REST row; its symbol is left to the caller.
func aggTradeOf(json []byte, o *object, t *market.Trade) error {
	v := values{json: json}
	t.ID, t.FirstID, t.LastID = v.integer(o.get('a')), v.integer(o.get('f')), v.integer(o.get('l'))
	t.Price, t.Qty = v.value(o.get('p')), v.value(o.get('q'))
	t.Time, t.TakerBuy = market.Time(v.integer(o.get('T'))), !v.boolean(o.get('m'))
	return v.err
}

// tradeOf reads a record of @trade. One without a kind (X), as in older captures, counts.
func tradeOf(json []byte, o *object, t *market.Trade) error {
	v := values{json: json}
	t.ID = v.integer(o.get('t'))
	t.FirstID, t.LastID = t.ID, t.ID
	t.Price, t.Qty = v.value(o.get('p')), v.value(o.get('q'))
	t.Time, t.TakerBuy = market.Time(v.integer(o.get('T'))), !v.boolean(o.get('m'))
	if kind := o.get('X'); !kind.absent() {
		if json[kind.from] != '"' {
			return ErrField
		}
		if !isText(json, kind, "MARKET") && !isText(json, kind, "RPI") {
			t.Qty = 0
		}
	}
	return v.err
}

// values reads values by their kind and keeps the first error.
type values struct {
	json []byte
	err  error
}

func (v *values) fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

// integer reads an integer that fits into 64 bits.
func (v *values) integer(at span) int64 {
	if at.absent() {
		v.fail(ErrField)
		return 0
	}
	digits := at.of(v.json)
	negative := digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	var n int64
	for _, c := range digits {
		digit := c - '0'
		if digit > 9 {
			v.fail(ErrField)
			return 0
		}
		if n > (1<<63-1-int64(digit))/10 {
			v.fail(ErrNumber)
			return 0
		}
		n = n*10 + int64(digit)
	}
	if negative {
		return -n
	}
	return n
}

// boolean reads true or false.
func (v *values) boolean(at span) bool {
	switch string(at.of(v.json)) {
	case "true":
		return true
	case "false":
		return false
	}
	v.fail(ErrField)
	return false
}

// value reads a decimal in a string.
func (v *values) value(at span) fixed.Value {
	digits, ok := v.decimal(at)
	if !ok {
		return 0
	}
	n, err := fixed.Parse(digits)
	if err != nil && bytes.IndexByte(digits, '\\') >= 0 {
		n, err = fixed.Parse(unescape(nil, digits))
	}
	if err != nil {
		v.fail(ErrNumber)
	}
	return n
}

// sum reads a decimal in a string, as a sum.
func (v *values) sum(at span) fixed.Sum {
	digits, ok := v.decimal(at)
	if !ok {
		return fixed.Sum{}
	}
	n, err := fixed.ParseSum(digits)
	if err != nil && bytes.IndexByte(digits, '\\') >= 0 {
		n, err = fixed.ParseSum(unescape(nil, digits))
	}
	if err != nil {
		v.fail(ErrNumber)
	}
	return n
}

// decimal is what stands between the quotes of a string.
func (v *values) decimal(at span) ([]byte, bool) {
	if at.absent() || v.json[at.from] != '"' {
		v.fail(ErrField)
		return nil, false
	}
	return v.json[at.from+1 : at.to-1], true
}

// text is a string's content: where it stands, or, where it has escapes, unescaped into dst's memory.
func text(json []byte, at span, dst []byte) ([]byte, error) {
	if at.absent() || json[at.from] != '"' {
		return nil, ErrField
	}
	raw := json[at.from+1 : at.to-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	if len(raw) > maxName*len(`\u0061`) {
		return nil, ErrSymbol
	}
	return unescape(dst, raw), nil
}

// isText reports whether the value is the string want.
func isText(json []byte, at span, want string) bool {
	if at.absent() || json[at.from] != '"' {
		return false
	}
	raw := json[at.from+1 : at.to-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == want
	}
	return len(raw) <= maxName*len(`\u0061`) && string(unescape(nil, raw)) == want
}

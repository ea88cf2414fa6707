package binance

import "klined/market"

// miniTicker is the event of miniTicker rows.
const miniTicker = "24hrMiniTicker"

// array decodes a bare array, whose bracket stands at. It is read where tickers are wanted, and then it must be JSON to
// its end: otherwise nothing of it counts.
func (d *Decoder) array(frame []byte, at int, b *market.Batch) (Kind, error) {
	if !d.Tickers {
		return KindOther, nil
	}
	s := scanner{text: frame, at: at}
	if !s.value() || !s.end() {
		return KindOther, ErrSyntax
	}
	return d.rows(frame, at, b), nil
}

// rows decodes the rows of an array that has been scanned before; its bracket stands at. One that cannot be read is
// dropped, and the others count; those of other events are passed over.
func (d *Decoder) rows(frame []byte, at int, b *market.Batch) Kind {
	if !d.Tickers {
		return KindOther
	}
	kind := KindOther
	s := scanner{text: frame, at: at + 1}
	for s.space(); !s.next(']'); s.space() {
		if s.next(',') {
			s.space()
		}
		from := s.at
		isTicker, err := d.row(&s, b)
		if isTicker {
			kind = KindTicker
		}
		if err != nil {
			d.drop("row", frame[from:s.at], err)
		}
	}
	if kind == KindTicker {
		b.Summaries = append(b.Summaries, frame[at:s.at])
	}
	return kind
}

// row decodes the row that begins here and passes over it.
func (d *Decoder) row(s *scanner, b *market.Batch) (isTicker bool, err error) {
	from := s.at
	var o object
	if s.text[from] != '{' {
		err = ErrField
	} else {
		err = s.object(&o)
	}
	if err != nil {
		s.at = from
		s.value()
		return false, err
	}
	if !isText(s.text, o.get('e'), miniTicker) {
		return false, nil
	}
	return true, d.ticker(s.text, span{int32(from), int32(s.at)}, &o, b)
}

// Whose contract a row speaks of (st); rows without it are of before the two markets were one.
const (
	stUSDM  = 1
	stCoinM = 2
)

// ticker decodes a row of !miniTicker@arr, or the event of <symbol>@miniTicker:
//
//	[{"e":"24hrMiniTicker","E":123456789,"s":"BTCUSDT","ps":"BTCUSDT","c":"0.0025","o":"0.0010","h":"0.0025",
//	  "l":"0.0010","v":"10000","q":"18","st":1}]
//
// It stands at; its values stand at o. COIN-M's rows bring nothing. A symbol that is not registered is offered to OnUnknown where it is USD-M's, and is not
// counted: such a row loses no trade.
func (d *Decoder) ticker(frame []byte, at span, o *object, b *market.Batch) error {
	v := values{json: frame}
	contract := int64(stUSDM)
	if !o.st.absent() {
		contract = v.integer(o.st)
	}
	if v.err != nil || contract == stCoinM {
		return v.err
	}
	t := market.Ticker{Time: market.Time(v.integer(o.get('E'))), Close: v.value(o.get('c')), Volume: v.sum(o.get('v'))}
	switch {
	case v.err != nil:
		return v.err
	case t.Time < 0 || t.Time > latestTime:
		return ErrTime
	}
	name, err := text(frame, o.get('s'), d.scratch[:0])
	if err != nil {
		return err
	}
	id, known := d.symbols.Lookup(name)
	if !known && contract == stUSDM {
		id, known, err = d.offer(name)
	}
	if known {
		t.SymbolID = id
		b.Tickers, b.Rows = append(b.Tickers, t), append(b.Rows, at.of(frame))
	}
	return err
}

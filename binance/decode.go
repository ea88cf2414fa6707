// Package binance is the only place that knows Binance's way in: URLs, limits, frames, JSON keys, REST.
package binance

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"klined/health"
	"klined/market"
)

// Kind says what a frame was.
type Kind uint8

// The kinds of frames.
const (
	KindOther   Kind = iota // an event that is not ours to decode; it is not checked any further
	KindTrade               // a record of the decoder's source: one Trade, or none where its symbol is unknown
	KindKline               // a kline event: one official kline where it says x:true, else none
	KindTicker              // miniTicker rows, one or many: a Ticker of each whose symbol is known
	KindAck                 // {"result":…,"id":…}
	KindRefusal             // {"error":…}
)

// Why a frame was dropped; each is one reason of klined_decode_errors_total. They are returned as they are.
var (
	ErrSyntax = errors.New("not JSON")
	ErrField  = errors.New("a field is missing, doubled or of another type")
	ErrNumber = errors.New("a number that cannot be kept exactly")
	ErrIDs    = errors.New("ids out of order or out of range")
	ErrTime   = errors.New("a time out of range or off the interval's grid")
	ErrSymbol = errors.New("a symbol's name is empty, too long or not the same throughout")
	ErrUTF8   = errors.New("a symbol's name is not UTF-8")
)

// reasons are the labels of the errors above.
func reasons() map[error]string {
	return map[error]string{
		ErrSyntax: "syntax", ErrField: "field", ErrNumber: "number", ErrIDs: "ids",
		ErrTime: "time", ErrSymbol: "symbol", ErrUTF8: "utf8",
	}
}

// maxName bounds the bytes of a symbol's name; the exchange's longest has 17.
const maxName = 64

// Decoder turns frames into trades, official klines and tickers, in place: a batch's payloads lie in the frames, and nothing
// else of a frame is kept. It belongs to one connection (or one file) and is not safe for concurrent use.
type Decoder struct {
	// OnUnknown, where set, is told the name of a symbol that is not registered; the bytes are valid during the call.
	// A name that it registers is known at once: the frame, or the ticker's row, counts.
	OnUnknown func(name []byte)

	// Tickers says that miniTicker rows are wanted. Where it is not set, they and all other arrays are KindOther, unread.
	Tickers bool

	symbols *market.Symbols
	source  market.Source
	event   string // the event that becomes trades
	head    string // what a payload of such begins with
	dropped map[error]prometheus.Counter
	unknown prometheus.Counter
	log     *slog.Logger
	scratch [maxName]byte // an unescaped name
}

// NewDecoder makes the decoder of one connection. Records of source become trades; those of the other are KindOther.
// Without metrics nothing is counted, without log nothing is logged.
func NewDecoder(symbols *market.Symbols, source market.Source, metrics *health.Metrics, log *slog.Logger) *Decoder {
	d := &Decoder{symbols: symbols, source: source, event: "aggTrade", log: logOrNone(log, "decode")}
	if source == market.SourceTrade {
		d.event = "trade"
	}
	d.head = eventHead + d.event + `"`
	if metrics != nil {
		d.unknown = metrics.UnknownSymbols
		d.dropped = make(map[error]prometheus.Counter)
		for err, label := range reasons() {
			d.dropped[err] = metrics.DecodeErrors.WithLabelValues(label)
		}
	}
	return d
}

// Frame decodes one frame and appends what it brings to b. An error means that the frame was dropped; it has been
// counted and logged, and the next frame may be decoded. Of many tickers in one frame a bad one is dropped alone, counted
// and logged too, and is no error.
//
// A frame is either bare or wrapped:
//
//	{"e":"aggTrade",…}
//	{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade",…}}
//
// What its first bytes tell apart is not read any further. The key orders of the wire take the strict path; any
// other text takes the tolerant one, which gives the same answer.
func (d *Decoder) Frame(frame []byte, b *market.Batch) (Kind, error) {
	kind, sure, err := d.strict(frame, b)
	if !sure {
		kind, err = d.tolerant(frame, b)
	}
	if err != nil {
		d.drop("frame", frame, err)
	}
	return kind, err
}

// Heads of frames, as the wire writes them.
const (
	wrapHead  = `{"stream":"`
	wrapJoin  = `","data":`
	eventHead = `{"e":"`
)

// strict decodes a frame whose text is exactly as the wire writes it; of any other it is not sure.
func (d *Decoder) strict(frame []byte, b *market.Batch) (kind Kind, sure bool, err error) {
	if len(frame) > len(d.head) && string(frame[:len(d.head)]) == d.head {
		return d.strictTrade(frame, b)
	}
	payload, ok := unwrap(frame)
	if !ok {
		return 0, false, nil
	}
	if len(payload) > 0 && payload[0] == '[' {
		return KindOther, !d.Tickers, nil
	}
	if len(payload) > len(d.head) && string(payload[:len(d.head)]) == d.head {
		return d.strictTrade(payload, b)
	}
	if !bytes.HasPrefix(payload, []byte(eventHead)) {
		return 0, false, nil
	}
	end := plain(payload, len(eventHead))
	if end < 0 {
		return 0, false, nil
	}
	switch event := payload[len(eventHead):end]; {
	case string(event) == "kline":
		return KindKline, stillOpen(payload), nil
	case string(event) == d.event, d.Tickers && string(event) == miniTicker:
		return 0, false, nil
	}
	return KindOther, true, nil
}

// strictTrade decodes a record into its place in b, where it stays if it counts: to copy it there costs as much as an
// eighth of the decoding.
func (d *Decoder) strictTrade(payload []byte, b *market.Batch) (kind Kind, sure bool, err error) {
	n := len(b.Trades)
	if n == cap(b.Trades) {
		b.Trades = slices.Grow(b.Trades, 1)
	}
	b.Trades = b.Trades[:n+1]
	t := &b.Trades[n]
	name, ok := strictTrade(payload[len(d.head):], d.source, t)
	known := false
	if ok {
		known, err = d.check(t, name)
	}
	if known {
		b.Payloads = append(b.Payloads, payload)
	} else {
		b.Trades = b.Trades[:n]
	}
	return KindTrade, ok, err
}

// unwrap gives the payload of a frame, bare or wrapped; false where only a scan can tell.
func unwrap(frame []byte) ([]byte, bool) {
	if !bytes.HasPrefix(frame, []byte(wrapHead)) {
		return frame, true
	}
	end := len(wrapHead) + closingQuote(frame[len(wrapHead):])
	if end < len(wrapHead) || !bytes.HasPrefix(frame[end:], []byte(wrapJoin)) || frame[len(frame)-1] != '}' {
		return nil, false
	}
	from, to := end+len(wrapJoin), len(frame)-1
	if from > to {
		return nil, false
	}
	return frame[from:to], true
}

// plain is where the string that begins at from ends, at its closing quote; −1 where it has escapes or is no string.
func plain(text []byte, from int) int {
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i
		case c < ' ' || c == '\\':
			return -1
		}
	}
	return -1
}

// take checks a trade, gives it its symbol and appends it.
func (d *Decoder) take(t *market.Trade, name, payload []byte, b *market.Batch) (Kind, error) {
	known, err := d.check(t, name)
	if known {
		b.Trades, b.Payloads = append(b.Trades, *t), append(b.Payloads, payload)
	}
	return KindTrade, err
}

// check checks a trade and gives it its symbol; false where that is not known.
func (d *Decoder) check(t *market.Trade, name []byte) (known bool, err error) {
	if err := t.Check(); err != nil {
		return false, checked(err)
	}
	t.SymbolID, known, err = d.symbol(name)
	return known, err
}

// checked is the reason for what market refuses.
func checked(err error) error {
	switch err {
	case market.ErrIDs:
		return ErrIDs
	case market.ErrTime:
		return ErrTime
	}
	return ErrNumber
}

// symbol finds the name of a trade's or a kline's symbol. One that is not registered is offered to OnUnknown, and
// counted where that does not register it.
func (d *Decoder) symbol(name []byte) (market.SymbolID, bool, error) {
	if id, ok := d.symbols.Lookup(name); ok {
		return id, true, nil
	}
	id, known, err := d.offer(name)
	if !known && err == nil && d.unknown != nil {
		d.unknown.Inc()
	}
	return id, known, err
}

// offer checks a name that is not registered and tells OnUnknown.
func (d *Decoder) offer(name []byte) (market.SymbolID, bool, error) {
	switch {
	case len(name) == 0 || len(name) > maxName:
		return 0, false, ErrSymbol
	case !utf8.Valid(name):
		return 0, false, ErrUTF8
	}
	if d.OnUnknown != nil {
		d.OnUnknown(name)
		if id, ok := d.symbols.Lookup(name); ok {
			return id, true, nil
		}
	}
	return 0, false, nil
}

// shownBytes is how much of what was dropped the log shows.
const shownBytes = 120

// drop counts and logs a frame, or a row of one, that could not be decoded.
func (d *Decoder) drop(what string, text []byte, err error) {
	if c, ok := d.dropped[err]; ok {
		c.Inc()
	}
	d.log.Warn("dropped a "+what, "reason", err, what, string(text[:min(len(text), shownBytes)]), "bytes", len(text))
}

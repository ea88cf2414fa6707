package sim

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"klined/market"
)

// tapeFrame is a frame of a tape: the payload of a stream, with what is read of it.
type tapeFrame struct {
	stream  string
	payload []byte      // valid until the next frame is read
	sent    market.Time // its E; 0 where it has none
	trade   *tapeTrade  // nil where it is none
	minute  *tapeMinute // likewise
}

// tapeTrade is an aggTrade, or a trade where fills is false.
type tapeTrade struct {
	symbol      string
	fills       bool // of several, counted by first and last: an aggTrade
	id          int64
	first, last int64
	price, qty  string
	at          market.Time
	buy         bool
	counts      bool // false: it takes its id and adds nothing
}

// tapeMinute is the exchange's own kline of a minute that is over.
type tapeMinute struct {
	symbol      string
	open        market.Time
	first, last int64
	count       int64
	values      [8]string // open, high, low, close, volume, quote, bought volume, bought quote
}

// event is what frames have in common. Keys that differ by case alone are both named: encoding/json mixes up what is not.
type event struct {
	Kind   string          `json:"e"`
	Sent   market.Time     `json:"E"`
	Symbol string          `json:"s"`
	Pair   string          `json:"ps"`
	Type   string          `json:"ct"`
	Of     int             `json:"st"`
	Agg    json.RawMessage `json:"a"`
	UpperA json.RawMessage `json:"A"`
	ID     json.RawMessage `json:"t"`
	At     json.RawMessage `json:"T"`
	Price  json.RawMessage `json:"p"`
	UpperP json.RawMessage `json:"P"`
	Qty    json.RawMessage `json:"q"`
	UpperQ json.RawMessage `json:"Q"`
	First  json.RawMessage `json:"f"`
	UpperF json.RawMessage `json:"F"`
	Last   json.RawMessage `json:"l"`
	UpperL json.RawMessage `json:"L"`
	Maker  json.RawMessage `json:"m"`
	UpperM json.RawMessage `json:"M"`
	UpperS json.RawMessage `json:"S"`
	Kline  json.RawMessage `json:"k"`
	UpperK json.RawMessage `json:"K"`
	Why    string          `json:"X"`
	LowerX json.RawMessage `json:"x"`
}

// klineEvent is a kline frame's k.
type klineEvent struct {
	Open   market.Time     `json:"t"`
	Close  json.RawMessage `json:"T"`
	Iv     string          `json:"i"`
	First  int64           `json:"f"`
	Last   int64           `json:"L"`
	O      string          `json:"o"`
	C      string          `json:"c"`
	H      string          `json:"h"`
	L      string          `json:"l"`
	Volume string          `json:"v"`
	Count  int64           `json:"n"`
	Closed bool            `json:"x"`
	Quote  string          `json:"q"`
	Bought string          `json:"V"`
	BoughQ string          `json:"Q"`
}

// readFrame reads a frame as it was received, bare or wrapped; ok is false where it is none of a stream.
func readFrame(data []byte) (f tapeFrame, ok bool) {
	var wrapped struct {
		Stream string          `json:"stream"`
		Data   json.RawMessage `json:"data"`
	}
	if bytes.HasPrefix(data, []byte(`{"stream":`)) && json.Unmarshal(data, &wrapped) == nil {
		f.stream, data = wrapped.Stream, wrapped.Data
	}
	var ev event
	if bytes.HasPrefix(data, []byte("[")) {
		var rows []event
		if json.Unmarshal(data, &rows) != nil || len(rows) == 0 {
			return f, false
		}
		if ev = rows[0]; f.stream == "" && ev.Kind == "24hrMiniTicker" {
			f.stream = allMiniName
		}
	} else if json.Unmarshal(data, &ev) != nil {
		return f, false
	}
	var k klineEvent
	if ev.Kline != nil && json.Unmarshal(ev.Kline, &k) != nil {
		return f, false
	}
	if f.stream == "" {
		f.stream = ev.stream(k.Iv)
	}
	f.payload, f.sent = data, ev.Sent
	f.trade = ev.trade()
	if ev.Kind == "kline" && k.Iv == oneMinute.name && k.Closed {
		f.minute = &tapeMinute{ev.Symbol, k.Open, k.First, k.Last, k.Count, [8]string{k.O, k.H, k.L, k.C, k.Volume, k.Quote, k.Bought, k.BoughQ}}
	}
	return f, f.stream != ""
}

// stream is the name of the stream that brings such an event; "" where it cannot be told.
func (ev *event) stream(iv string) string {
	lower := strings.ToLower(ev.Symbol)
	switch ev.Kind {
	case "aggTrade", "trade", bookKind:
		return lower + "@" + ev.Kind
	case "24hrMiniTicker":
		return lower + "@miniTicker"
	case "24hrTicker":
		return lower + "@" + tickerKind
	case "kline":
		return lower + "@kline_" + iv
	case "continuous_kline":
		return strings.ToLower(ev.Pair+"_"+ev.Type) + "@" + continuousPrefix + iv
	}
	return ""
}

// trade is the trade of an event of the USDⓈ-M market, nil where it is none.
func (ev *event) trade() *tapeTrade {
	agg := ev.Kind == "aggTrade"
	if !agg && ev.Kind != "trade" || ev.Of == 2 || ev.Symbol == "" {
		return nil
	}
	t := &tapeTrade{symbol: ev.Symbol, fills: agg, price: trimQuoted(ev.Price), qty: trimQuoted(ev.Qty), buy: string(ev.Maker) == "false",
		counts: agg || ev.Why == "MARKET" || ev.Why == "RPI"}
	id, first, last := ev.ID, ev.ID, ev.ID
	if agg {
		id, first, last = ev.Agg, ev.First, ev.Last
	}
	for _, n := range [...]struct {
		to   *int64
		text json.RawMessage
	}{{(*int64)(&t.at), ev.At}, {&t.id, id}, {&t.first, first}, {&t.last, last}} {
		var err error
		if *n.to, err = strconv.ParseInt(string(n.text), 10, 64); err != nil {
			return nil
		}
	}
	if t.last < t.first || t.id < 1 || t.at < 1 {
		return nil
	}
	return t
}

func trimQuoted(text json.RawMessage) string { return string(trimQuotes(text)) }

// scaled reads a decimal in units of 10^−digits; ok is false where it is none, has more digits or is too large.
func scaled(text string, digits int) (n int64, ok bool) {
	whole, frac, _ := strings.Cut(text, ".")
	if len(frac) > digits || len(whole)+digits > 18 {
		return 0, false
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", digits-len(frac)), 10, 64)
	return n, err == nil && n >= 0
}

// decimals is how many a number is written with.
func decimals(text string) int {
	_, frac, _ := strings.Cut(text, ".")
	return len(frac)
}

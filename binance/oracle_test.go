package binance

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"klined/fixed"
	"klined/market"
)

// oracle decodes a frame the slow, obvious way: maps of encoding/json, which match names by case.
type oracle struct {
	symbols *market.Symbols
	source  market.Source
	tickers bool
}

// decode gives what the frame brings: nothing where it brings nothing or is to be refused.
func (o oracle) decode(frame []byte) (b market.Batch) {
	top, ok := fieldsOf(frame)
	if !ok {
		b.Tickers = o.rows(frame)
		return b
	}
	if data, wrapped := top["data"]; wrapped {
		if _, both := top["e"]; both {
			return b
		}
		if top, ok = fieldsOf(data); !ok {
			b.Tickers = o.rows(data)
			return b
		}
	}
	event, ok := textOf(top["e"])
	switch {
	case !ok:
	case event == o.source.String():
		if t, ok := o.trade(top); ok {
			b.Trades = append(b.Trades, t)
		}
	case event == "kline":
		if u, ok := o.kline(top); ok {
			b.Official = append(b.Official, u)
		}
	case event == "24hrMiniTicker" && o.tickers:
		if t, ok := o.ticker(top); ok {
			b.Tickers = append(b.Tickers, t)
		}
	}
	return b
}

// rows are the tickers of an array.
func (o oracle) rows(array []byte) (tickers []market.Ticker) {
	var rows []json.RawMessage
	if !o.tickers || json.Unmarshal(array, &rows) != nil {
		return nil
	}
	for _, row := range rows {
		m, ok := fieldsOf(row)
		if event, isText := textOf(m["e"]); !ok || !isText || event != "24hrMiniTicker" {
			continue
		}
		if t, ok := o.ticker(m); ok {
			tickers = append(tickers, t)
		}
	}
	return tickers
}

func (o oracle) ticker(m map[string]json.RawMessage) (t market.Ticker, ok bool) {
	var oks [6]bool
	at, isInt := intOf(m["E"])
	t.Time, oks[0] = market.Time(at), isInt
	oks[1] = at >= 0 && at <= 253402300799999
	t.Close, oks[2] = valueOf(m["c"])
	t.Volume, oks[3] = sumOf(m["v"])
	t.SymbolID, oks[4] = o.symbol(m["s"])
	oks[5] = true
	if st, has := m["st"]; has {
		contract, isInt := intOf(st)
		oks[5] = isInt && contract != 2
	}
	return t, all(oks[:]...)
}

// fieldsOf are an object's members; false where it is none, or where a member that matters comes twice.
func fieldsOf(text []byte) (map[string]json.RawMessage, bool) {
	text = bytes.TrimLeft(text, " \t\r\n")
	if !json.Valid(text) || text[0] != '{' {
		return nil, false
	}
	fields := make(map[string]json.RawMessage)
	dec := json.NewDecoder(bytes.NewReader(text))
	_, _ = dec.Token()
	for dec.More() {
		name, _ := dec.Token()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, false
		}
		key := name.(string)
		if _, twice := fields[key]; twice && (oneLetter(key) || key == "st" || key == "data" || key == "result" || key == "error") {
			return nil, false
		}
		fields[key] = value
	}
	return fields, true
}

func oneLetter(key string) bool {
	return len(key) == 1 && (key[0] >= 'a' && key[0] <= 'z' || key[0] >= 'A' && key[0] <= 'Z')
}

func textOf(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

func intOf(raw json.RawMessage) (n int64, ok bool) {
	if len(raw) == 0 || raw[0] == 'n' {
		return 0, false
	}
	return n, json.Unmarshal(raw, &n) == nil
}

func boolOf(raw json.RawMessage) (b, ok bool) {
	if len(raw) == 0 || raw[0] == 'n' {
		return false, false
	}
	return b, json.Unmarshal(raw, &b) == nil
}

func (o oracle) symbol(raw json.RawMessage) (market.SymbolID, bool) {
	name, ok := textOf(raw)
	if !ok || !utf8.Valid(raw) {
		return 0, false
	}
	sym, ok := o.symbols.ByName(name)
	return sym.ID, ok
}

// all reports whether each of them is true.
func all(oks ...bool) bool {
	for _, ok := range oks {
		if !ok {
			return false
		}
	}
	return true
}

func valueOf(raw json.RawMessage) (fixed.Value, bool) {
	s, ok := textOf(raw)
	n, err := fixed.Parse(s)
	return n, ok && err == nil
}

func sumOf(raw json.RawMessage) (fixed.Sum, bool) {
	s, ok := textOf(raw)
	n, err := fixed.ParseSum(s)
	return n, ok && err == nil
}

func (o oracle) trade(m map[string]json.RawMessage) (t market.Trade, ok bool) {
	id := "a"
	if o.source == market.SourceTrade {
		id = "t"
	}
	var oks [9]bool
	t.ID, oks[0] = intOf(m[id])
	t.FirstID, t.LastID, oks[1], oks[2] = t.ID, t.ID, true, true
	if o.source == market.SourceAggTrade {
		t.FirstID, oks[1] = intOf(m["f"])
		t.LastID, oks[2] = intOf(m["l"])
	}
	t.Price, oks[3] = valueOf(m["p"])
	t.Qty, oks[4] = valueOf(m["q"])
	var at int64
	at, oks[5] = intOf(m["T"])
	t.Time = market.Time(at)
	maker, isBool := boolOf(m["m"])
	t.TakerBuy, oks[6] = !maker, isBool
	t.SymbolID, oks[7] = o.symbol(m["s"])
	oks[8] = true
	if x, has := m["X"]; has && o.source == market.SourceTrade {
		var kind string
		if kind, oks[8] = textOf(x); kind != "MARKET" && kind != "RPI" {
			t.Qty = 0
		}
	}
	return t, all(oks[:]...) && t.Check() == nil
}

func (o oracle) kline(m map[string]json.RawMessage) (u market.Update, ok bool) {
	k, ok := fieldsOf(m["k"])
	if !ok {
		return u, false
	}
	var oks [18]bool
	var name string
	if final, isBool := boolOf(k["x"]); !isBool || !final {
		return u, false
	}
	u.Symbol, oks[0] = o.symbol(m["s"])
	name, oks[1] = textOf(m["s"])
	if inner, has := k["s"]; has {
		other, isText := textOf(inner)
		oks[1] = oks[1] && isText && other == name
	}
	interval, isText := textOf(k["i"])
	for _, iv := range market.ExchangeIntervals() {
		if isText && iv.String() == interval {
			u.Interval, oks[2] = iv, true
		}
	}
	open, isInt := intOf(k["t"])
	u.OpenTime, oks[3] = market.Time(open), isInt
	closeTime, isInt := intOf(k["T"])
	oks[4] = isInt
	u.Open, oks[5] = valueOf(k["o"])
	u.High, oks[6] = valueOf(k["h"])
	u.Low, oks[7] = valueOf(k["l"])
	u.Close, oks[8] = valueOf(k["c"])
	u.Volume, oks[9] = sumOf(k["v"])
	u.QuoteVolume, oks[10] = sumOf(k["q"])
	u.TakerBuyVolume, oks[11] = sumOf(k["V"])
	u.TakerBuyQuoteVolume, oks[12] = sumOf(k["Q"])
	u.TradeCount, oks[13] = intOf(k["n"])
	u.FirstID, oks[14] = intOf(k["f"])
	u.LastID, oks[15] = intOf(k["L"])
	u.LastTradeID, u.State = -1, market.StateSettled
	oks[16] = u.TradeCount >= 0 && u.FirstID >= -1 && u.LastID >= u.FirstID
	oks[17] = open >= 0 && open <= 253402300799999
	if !all(oks[:]...) {
		return u, false
	}
	return u, u.Interval.Open(u.OpenTime) == u.OpenTime && u.CloseTime() == market.Time(closeTime)
}

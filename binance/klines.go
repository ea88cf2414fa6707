package binance

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"klined/market"
)

// The most rows of one answer.
const (
	MaxKlines    = 1500
	MaxAggTrades = 1000
)

// What answers cost (Kline/Candlestick Data; Compressed/Aggregate Trades List). The exchange has been seen to count
// less at 100, 500 and 1,000 rows; what it says is used then corrects us.
const aggTradesWeight = 20

func klinesWeight(limit int) int {
	switch {
	case limit < 100:
		return 1
	case limit < 500:
		return 2
	case limit <= 1000:
		return 5
	}
	return 10
}

// Klines asks for the official klines of a series that open within span, oldest first; at most limit of them, the
// oldest where From is given and the newest where it is not. A From or To of 0 is not sent. Klines that are over are
// settled, the running one is open; ids are not known to REST.
func (r *REST) Klines(ctx context.Context, class market.Class, series market.Series, span market.Span, limit int) ([]market.Kline, error) {
	if limit < 1 || limit > MaxKlines {
		return nil, fmt.Errorf("%d klines in one request: want 1 to %d", limit, MaxKlines)
	}
	symbol := r.o.Symbols.Get(series.Symbol)
	query := url.Values{"symbol": {symbol.Name}, "interval": {series.Interval.String()}, "limit": {strconv.Itoa(limit)}}
	if span.From != 0 {
		query.Set("startTime", strconv.FormatInt(int64(span.From), 10))
	}
	if span.To != 0 {
		query.Set("endTime", strconv.FormatInt(int64(span.To-1), 10))
	}
	body, answered, err := r.get(ctx, class, pathKlines, klinesWeight(limit), query)
	if err != nil {
		return nil, err
	}
	// A clock that is ahead may not settle a row that still runs at the exchange.
	klines, err := parseKlines(body, series.Interval, min(answered, r.o.Clock.Now()))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", question(pathKlines, query), err)
	}
	return klines, nil
}

// parseKlines reads an answer:
//
//	[[1789478160000,"76936.20","76965.50","76936.10","76965.40","20.680",1789478219999,"1591436.27140",878,"15.190",
//	  "1168938.63310","0"]]
func parseKlines(body []byte, iv market.Interval, now market.Time) ([]market.Kline, error) {
	var klines []market.Kline
	err := eachRow(body, func(s *scanner) error {
		from := s.at
		var k market.Kline
		if err := parseKline(s, iv, now, &k); err != nil {
			return fmt.Errorf("%s: %w", shown(body[from:]), err)
		}
		if n := len(klines); n > 0 && k.OpenTime <= klines[n-1].OpenTime {
			return fmt.Errorf("%s: not later than the one before it", shown(body[from:]))
		}
		klines = append(klines, k)
		return nil
	})
	return klines, err
}

// parseKline reads the row that begins here. Ids are not in it.
func parseKline(s *scanner, iv market.Interval, now market.Time, k *market.Kline) error {
	var at [11]span // the twelfth is to be ignored
	if err := s.columns(at[:]); err != nil {
		return err
	}
	v := values{json: s.text}
	k.OpenTime = market.Time(v.integer(at[0]))
	k.Open, k.High, k.Low, k.Close = v.value(at[1]), v.value(at[2]), v.value(at[3]), v.value(at[4])
	k.Volume, k.QuoteVolume = v.sum(at[5]), v.sum(at[7])
	closeTime := market.Time(v.integer(at[6]))
	k.TradeCount = v.integer(at[8])
	k.TakerBuyVolume, k.TakerBuyQuoteVolume = v.sum(at[9]), v.sum(at[10])
	k.FirstID, k.LastID, k.LastTradeID = -1, -1, -1
	k.State = market.StateSettled
	if closeTime >= now {
		k.State = market.StateOpen
	}
	switch {
	case v.err != nil:
		return v.err
	case !onGrid(iv, k.OpenTime, closeTime):
		return fmt.Errorf("%w: not a kline of %s", ErrTime, iv)
	case k.TradeCount < 0:
		return ErrIDs
	}
	return nil
}

// AggTrades asks for a symbol's aggTrades from an id on, oldest first, at most limit of them; with fromID −1 for the
// newest. The exchange reaches 48 hours back.
func (r *REST) AggTrades(ctx context.Context, class market.Class, symbol market.SymbolID, fromID int64, limit int) ([]market.Trade, error) {
	if limit < 1 || limit > MaxAggTrades {
		return nil, fmt.Errorf("%d aggTrades in one request: want 1 to %d", limit, MaxAggTrades)
	}
	sym := r.o.Symbols.Get(symbol)
	query := url.Values{"symbol": {sym.Name}, "limit": {strconv.Itoa(limit)}}
	if fromID >= 0 {
		query.Set("fromId", strconv.FormatInt(fromID, 10))
	}
	body, _, err := r.get(ctx, class, pathAggTrades, aggTradesWeight, query)
	if err != nil {
		return nil, err
	}
	trades, err := parseAggTrades(body, symbol)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", question(pathAggTrades, query), err)
	}
	return trades, nil
}

// parseAggTrades reads an answer; its names, too, differ only by case from others:
//
//	[{"a":3450415493,"p":"76906.00","q":"0.004","nq":"0.004","f":8079747315,"l":8079747315,"T":1789478330891,"m":false}]
func parseAggTrades(body []byte, symbol market.SymbolID) ([]market.Trade, error) {
	var trades []market.Trade
	err := eachRow(body, func(s *scanner) error {
		from := s.at
		t := market.Trade{SymbolID: symbol}
		if err := parseAggTrade(s, &t); err != nil {
			return fmt.Errorf("%s: %w", shown(body[from:]), err)
		}
		trades = append(trades, t)
		return nil
	})
	return trades, err
}

// parseAggTrade reads the row that begins here.
func parseAggTrade(s *scanner, t *market.Trade) error {
	if s.at == len(s.text) || s.text[s.at] != '{' {
		return ErrSyntax
	}
	var o object
	if err := s.object(&o); err != nil {
		return err
	}
	if err := aggTradeOf(s.text, &o, t); err != nil {
		return err
	}
	return t.Check()
}

// eachRow calls row where each row of an answer begins; it must leave the scanner behind the row.
func eachRow(body []byte, row func(*scanner) error) error {
	s := scanner{text: body}
	s.space()
	if !s.next('[') {
		return fmt.Errorf("cannot read %s: %w", shown(body), ErrSyntax)
	}
	s.space()
	for n := 0; !s.next(']'); n++ {
		if n > 0 && !s.next(',') {
			return fmt.Errorf("cannot read on after row %d: %w", n-1, ErrSyntax)
		}
		s.space()
		if err := row(&s); err != nil {
			return fmt.Errorf("row %d: %w", n, err)
		}
		s.space()
	}
	if !s.end() {
		return fmt.Errorf("something stands behind the rows: %w", ErrSyntax)
	}
	return nil
}

// columns notes where the first values of the array that begins here stand; it must have as many.
func (s *scanner) columns(at []span) error {
	if !s.next('[') {
		return ErrSyntax
	}
	s.space()
	n := 0
	for ; !s.next(']'); n++ {
		if n > 0 && !s.next(',') {
			return ErrSyntax
		}
		s.space()
		from := s.at
		if !s.value() {
			return ErrSyntax
		}
		if n < len(at) {
			at[n] = span{int32(from), int32(s.at)}
		}
		s.space()
	}
	if n < len(at) {
		return fmt.Errorf("%w: %d columns, want %d", ErrField, n, len(at))
	}
	return nil
}

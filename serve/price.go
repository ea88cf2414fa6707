package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"klined/market"
)

// priceWeight is what the exchange counts for a price (Symbol Price Ticker, v1 and v2): of one symbol, or of all.
func priceWeight(r *http.Request) int {
	if r.URL.Query().Get("symbol") == "" {
		return 2
	}
	return 1
}

// price answers GET /fapi/v1/ticker/price and /fapi/v2/ticker/price, which are alike: the last price of a symbol, or of all
// that are carried:
//
//	{"symbol":"BTCUSDT","price":"83091.70","time":1791382992338}
func (s *Server) price(w http.ResponseWriter, r *http.Request) error {
	params := r.URL.Query()
	if err := once(params, "symbol"); err != nil {
		return err
	}
	name := params.Get("symbol")
	if name == "" {
		return s.prices(w, r)
	}
	sym, ok := s.symbol(upper(name))
	if !ok {
		return invalidSymbol()
	}
	last, at, known := s.opt.Last(sym.ID)
	if !known {
		var err error
		if last, err = s.running(r, &sym); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, appendPrice(nil, &sym, &last, at))
	return nil
}

// running is a symbol's running minute where its lane has none yet.
func (s *Server) running(r *http.Request, sym *market.Symbol) (k market.Kline, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	q := query{symbol: *sym, series: market.Series{Symbol: sym.ID, Interval: market.OneMinute}, start: -1, end: -1, limit: 1}
	rows, err := s.answer(ctx, new(scratch), &q, whose(r))
	if err != nil {
		return k, err
	}
	if len(rows) == 0 { // it has never traded
		return k, invalidSymbol()
	}
	return rows[0], nil
}

// enoughPrices is which share of the symbols' prices must be known here: below it, shortly after a start, the exchange
// answers for all.
const enoughPrices = 99 // per cent

// prices answers for all symbols, in the order in which they were listed.
func (s *Server) prices(w http.ResponseWriter, r *http.Request) error {
	body, carried, priced := []byte{'['}, 0, 0
	for _, sym := range s.opt.Symbols.All() {
		if !s.opt.Carries(sym.ID) {
			continue
		}
		carried++
		last, at, known := s.opt.Last(sym.ID)
		if !known {
			continue
		}
		if priced++; priced > 1 {
			body = append(body, ',')
		}
		body = appendPrice(body, &sym, &last, at)
	}
	if s.opt.Forward != nil && priced*100 < carried*enoughPrices {
		s.pass(w, r)
		return nil
	}
	writeJSON(w, http.StatusOK, append(body, ']'))
	return nil
}

// appendPrice writes the close of a symbol's running kline as its price. at is its last trade's time; 0 where it has not
// traded since klined began: it was in the running kline then, whose begin is told, or before it.
func appendPrice(dst []byte, sym *market.Symbol, running *market.Kline, at market.Time) []byte {
	if at == 0 {
		if at = running.OpenTime; running.TradeCount == 0 {
			at--
		}
	}
	name, _ := json.Marshal(sym.Name) // a string always marshals
	dst = append(append(dst, `{"symbol":`...), name...)
	dst = appendValue(append(dst, `,"price":`...), running.Close, sym.PriceDigits)
	return append(strconv.AppendInt(append(dst, `,"time":`...), int64(at), 10), '}')
}

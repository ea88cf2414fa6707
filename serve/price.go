package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"klined/market"
)

// priceWeight is what the exchange counts for a price (Symbol Price Ticker, v1 and v2): of one symbol, or of all.
func priceWeight(r *http.Request) int {
	if r.URL.Query().Get("symbol") == "" {
		return 2
	}
	return 1
}

// price answers GET /fapi/v1/ticker/price and /fapi/v2/ticker/price, which are alike: the last price of a symbol, or of all:
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

// prices answers for all symbols: with the exchange's list, in which ours stand for what is carried; without one, with ours
// alone.
func (s *Server) prices(w http.ResponseWriter, r *http.Request) error {
	body := []byte{'['}
	if s.opt.Prices == nil {
		for _, sym := range s.opt.Symbols.All() {
			body = s.appendCarried(body, &sym, nil)
		}
		writeJSON(w, http.StatusOK, append(body, ']'))
		return nil
	}
	listed, err := s.listed.get(r.Context(), s.opt.Prices)
	if err != nil {
		return fmt.Errorf("prices: %w", err)
	}
	for i := range listed {
		sym, _ := s.opt.Symbols.ByName(listed[i].symbol)
		body = s.appendCarried(body, &sym, &listed[i])
	}
	writeJSON(w, http.StatusOK, append(body, ']'))
	return nil
}

// appendCarried adds a symbol's price to a list: ours where it is carried and has one, else what the exchange has listed.
func (s *Server) appendCarried(list []byte, sym *market.Symbol, listed *listedPrice) []byte {
	if len(list) > 1 {
		list = append(list, ',')
	}
	if sym.Name != "" && s.opt.Carries(sym.ID) {
		if last, at, known := s.opt.Last(sym.ID); known {
			return appendPrice(list, sym, &last, at)
		}
	}
	if listed == nil {
		return bytes.TrimSuffix(list, []byte{','})
	}
	return append(list, listed.row...)
}

const (
	listFor    = 5 * time.Second // how long the exchange's list of prices serves before it is asked for again
	listAtMost = time.Minute     // and how long where it cannot be had
)

// listedPrice is one row of the exchange's list, as it came.
type listedPrice struct {
	symbol string
	row    []byte
}

// priceList keeps the exchange's prices of all symbols.
type priceList struct {
	mu   sync.Mutex // held while asking: one question for all who wait
	at   time.Time
	rows []listedPrice
}

// get is the list, some seconds old at most; an older one where the exchange does not answer now.
func (l *priceList) get(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]listedPrice, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rows != nil && time.Since(l.at) < listFor {
		return l.rows, nil
	}
	rows, err := askPrices(context.WithoutCancel(ctx), ask)
	if err == nil {
		l.rows, l.at = rows, time.Now()
	} else if l.rows == nil || time.Since(l.at) >= listAtMost {
		return nil, err
	}
	return l.rows, nil
}

func askPrices(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]listedPrice, error) {
	body, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(body, &rows); err != nil {
		return nil, fmt.Errorf("cannot read the exchange's prices: %w", err)
	}
	listed := make([]listedPrice, len(rows))
	for i, row := range rows {
		var named struct {
			Symbol string `json:"symbol"`
		}
		if err := json.Unmarshal(row, &named); err != nil {
			return nil, fmt.Errorf("cannot read the exchange's prices: %w", err)
		}
		listed[i] = listedPrice{named.Symbol, row}
	}
	return listed, nil
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

package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"klined/market"
)

// priceWeight is what the exchange counts for a price (Symbol Price Ticker, v1 and v2): of one symbol, or of all.
func priceWeight(params url.Values) int {
	if params.Get("symbol") == "" {
		return 2
	}
	return 1
}

// price answers GET /fapi/v1/ticker/price and /fapi/v2/ticker/price, which are alike: the last price of a symbol, or of all:
//
//	{"symbol":"BTCUSDT","price":"83091.70","time":1791382992338}
func (s *Server) price(w http.ResponseWriter, r *http.Request, params url.Values) error {
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
	last, sure := s.opt.Last(sym.ID)
	if sure {
		writeJSON(w, http.StatusOK, appendPrice(nil, &sym, last))
		return nil
	}
	listed, err := s.list(r)
	if err != nil {
		return fmt.Errorf("prices: %w", err)
	}
	for i := range listed {
		if listed[i].symbol != sym.Name {
			continue
		}
		row := listed[i].row
		if listed[i].before(last.Time) {
			row = appendPrice(nil, &sym, last)
		}
		writeJSON(w, http.StatusOK, row)
		return nil
	}
	return invalidSymbol() // it has never traded, or has ended
}

// prices answers for all symbols: with the exchange's list, in which ours stand for what is carried. What is not carried is in it
// only where something may be passed on.
func (s *Server) prices(w http.ResponseWriter, r *http.Request) error {
	listed, err := s.list(r)
	if err != nil {
		return fmt.Errorf("prices: %w", err)
	}
	body := []byte{'['}
	for i := range listed {
		sym, carried := s.symbol(listed[i].symbol)
		if !carried && s.opt.Forward == nil {
			continue
		}
		if len(body) > 1 {
			body = append(body, ',')
		}
		if last, sure := s.last(&sym, carried); sure || listed[i].before(last.Time) {
			body = appendPrice(body, &sym, last)
		} else {
			body = append(body, listed[i].row...)
		}
	}
	writeJSON(w, http.StatusOK, append(body, ']'))
	return nil
}

// last is Options.Last of a symbol that is carried.
func (s *Server) last(sym *market.Symbol, carried bool) (p market.Price, sure bool) {
	if !carried {
		return p, false
	}
	return s.opt.Last(sym.ID)
}

// list is the exchange's prices of all symbols.
func (s *Server) list(r *http.Request) ([]listedPrice, error) {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	return s.listed.get(ctx, s.opt.Prices)
}

const (
	listFor    = 5 * time.Second // how long the exchange's list of prices serves before it is asked for again
	listAtMost = time.Minute     // and how long where it cannot be had
)

// listedPrice is one row of the exchange's list, as it came.
type listedPrice struct {
	symbol string
	at     market.Time // when it was traded; 0 where the row does not say
	row    []byte
}

// before reports whether a row is of a trade before the time.
func (p *listedPrice) before(at market.Time) bool { return p.at != 0 && p.at < at }

// priceList keeps the exchange's prices of all symbols.
type priceList struct {
	mu     sync.Mutex
	at     time.Time
	rows   []listedPrice
	asking singleflight.Group // one question for all who wait
}

// get is the list, some seconds old at most; an older one where the exchange does not answer now. It waits until ctx ends; the
// question goes on.
func (l *priceList) get(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]listedPrice, error) {
	if rows := l.younger(listFor); rows != nil {
		return rows, nil
	}
	answered := l.asking.DoChan("", func() (any, error) { return nil, l.ask(context.WithoutCancel(ctx), ask) })
	var err error
	select {
	case answer := <-answered:
		err = answer.Err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if rows := l.younger(listAtMost); rows != nil {
		return rows, nil
	}
	return nil, err
}

// younger is the list where it is younger than that; nil where there is none.
func (l *priceList) younger(than time.Duration) []listedPrice {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) >= than {
		return nil
	}
	return l.rows
}

// ask brings the list.
func (l *priceList) ask(ctx context.Context, ask func(context.Context) ([]byte, error)) error {
	rows, err := askPrices(ctx, ask)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows, l.at = rows, time.Now()
	return nil
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
			Symbol string      `json:"symbol"`
			Time   market.Time `json:"time"`
		}
		if err := json.Unmarshal(row, &named); err != nil {
			return nil, fmt.Errorf("cannot read the exchange's prices: %w", err)
		}
		listed[i] = listedPrice{named.Symbol, named.Time, row}
	}
	return listed, nil
}

// appendPrice writes a symbol's price, and when it was traded.
func appendPrice(dst []byte, sym *market.Symbol, p market.Price) []byte {
	name, _ := json.Marshal(sym.Name) // a string always marshals
	dst = append(append(dst, `{"symbol":`...), name...)
	dst = appendValue(append(dst, `,"price":`...), p.Value, sym.PriceDigits)
	return append(strconv.AppendInt(append(dst, `,"time":`...), int64(p.Time), 10), '}')
}

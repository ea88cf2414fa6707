package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"klined/market"
)

// routesFurther are paths that no kline comes from: questions that anybody may ask, and a few that need a key. Tickers, best bids and
// asks and what follows the price are the market's; other answers have the exchange's shape and little behind it.
func (e *Exchange) routesFurther(mux *http.ServeMux) {
	for path, ep := range map[string]endpoint{
		"/dapi/v1/ping":                  {always(1), func(url.Values) ([]byte, *apiError) { return []byte("{}"), nil }},
		"/fapi/v1/depth":                 {weighDepth, e.ofSymbol(depth)},
		"/fapi/v1/premiumIndex":          {weighOneOrAll(1, 10), e.oneOrAll(listed, appendPremium)},
		"/fapi/v1/openInterest":          {always(1), e.ofSymbol(openInterest)},
		"/fapi/v1/ticker/24hr":           {weighOneOrAll(1, 40), e.oneOrAll(inTrade, appendDay)},
		"/fapi/v1/ticker/bookTicker":     {weighOneOrAll(2, 5), e.oneOrAll(inTrade, appendBest)},
		"/fapi/v1/markPriceKlines":       {weighKlines, e.markKlines("symbol")},
		"/fapi/v1/indexPriceKlines":      {weighKlines, e.markKlines("pair")},
		"/fapi/v1/fundingRate":           {always(0), e.fundingRates},
		"/fapi/v1/fundingInfo":           {always(0), func(url.Values) ([]byte, *apiError) { return e.oneOrAll((*symbol).perpetual, appendFunding)(nil) }},
		"/futures/data/openInterestHist": {always(0), e.ofSymbol(openInterestHist)},
	} {
		mux.Handle("GET "+path, e.public(ep))
	}
	for pattern, answer := range map[string]func(url.Values) ([]byte, *apiError){
		"GET /fapi/v2/account":      account,
		"GET /fapi/v3/account":      account,
		"POST /fapi/v1/order":       e.order("NEW"),
		"DELETE /fapi/v1/order":     e.order("CANCELED"),
		"POST /fapi/v1/listenKey":   listenKey,
		"PUT /fapi/v1/listenKey":    listenKey,
		"DELETE /fapi/v1/listenKey": func(url.Values) ([]byte, *apiError) { return []byte("{}"), nil },
	} {
		mux.Handle(pattern, e.keyed(answer))
	}
	for _, below := range []string{"/fapi/", "/dapi/", "/futures/data/"} {
		mux.HandleFunc(below, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"code":-5000,"msg":%q}`, "Path "+r.URL.Path+", Method "+r.Method+" is invalid")
		})
	}
}

// keyed serves an endpoint for who has a key; the parameters may stand in the body.
func (e *Exchange) keyed(answer func(url.Values) ([]byte, *apiError)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm() // what cannot be read was not sent
		form := r.Form
		e.public(endpoint{always(1), func(url.Values) ([]byte, *apiError) {
			if r.Header.Get("X-MBX-APIKEY") == "" {
				return keyWanted(nil)
			}
			return answer(form)
		}}).ServeHTTP(w, r)
	})
}

// signed refuses what carries no signature.
func signed(q url.Values) *apiError {
	if q.Get("signature") == "" {
		return missing("signature")
	}
	return nil
}

func account(q url.Values) ([]byte, *apiError) {
	return []byte(`{"totalWalletBalance":"1000.00000000","availableBalance":"1000.00000000","assets":[],"positions":[]}`), signed(q)
}

func listenKey(url.Values) ([]byte, *apiError) {
	return []byte(`{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"}`), nil
}

// order answers an order's placing or its end.
func (e *Exchange) order(status string) func(url.Values) ([]byte, *apiError) {
	return func(q url.Values) ([]byte, *apiError) {
		s, bad := e.symbolOf(q, "symbol")
		if bad == nil {
			bad = signed(q)
		}
		if bad != nil {
			return nil, bad
		}
		return fmt.Appendf(nil, `{"orderId":%d,"symbol":%q,"status":%q,"side":%q,"type":%q,"origQty":%q,"price":%q,"clientOrderId":%q,"updateTime":%d}`,
			s.key%1_000_000_000, s.name, status, q.Get("side"), q.Get("type"), q.Get("quantity"), q.Get("price"), q.Get("newClientOrderId"), e.Now()), nil
	}
}

// ofSymbol answers for one symbol, from its market as it stands.
func (e *Exchange) ofSymbol(answer func(s *symbol, q url.Values, now market.Time) ([]byte, *apiError)) func(url.Values) ([]byte, *apiError) {
	return func(q url.Values) ([]byte, *apiError) {
		s, bad := e.symbolOf(q, "symbol")
		if bad != nil {
			return nil, bad
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		now := e.catchUp()
		if s.untraded() {
			return nil, notTrading()
		}
		return answer(s, q, now)
	}
}

func weighDepth(q url.Values) int {
	limit, err := strconv.Atoi(q.Get("limit"))
	switch {
	case err != nil:
		return 10
	case limit <= 50:
		return 2
	case limit <= 100:
		return 5
	case limit <= 500:
		return 10
	}
	return 20
}

// depth is a book of equal steps and quantities beyond the best bid and ask.
func depth(s *symbol, q url.Values, now market.Time) ([]byte, *apiError) {
	limit := 500
	if text := q.Get("limit"); text != "" {
		limit, _ = strconv.Atoi(text)
		if !slices.Contains([]int{5, 10, 20, 50, 100, 500, 1000}, limit) {
			return nil, refuse(-4021, "%s is not valid depth limit", text)
		}
	}
	side := func(price, step, qty int64) (dst []byte) {
		for range limit {
			if price <= 0 {
				break
			}
			dst = append(append(dst, `,["`...), s.appendPrice(nil, price)...)
			dst = append(append(append(dst, `","`...), s.appendQty(nil, qty)...), `"]`...)
			price, qty = price+step, s.meanQty
		}
		return dst[min(1, len(dst)):]
	}
	b := s.best(&s.last)
	return fmt.Appendf(nil, `{"lastUpdateId":%d,"E":%d,"T":%d,"bids":[%s],"asks":[%s]}`, b.update, now, now, side(b.bid, -1, b.bidQty), side(b.bid+1, 1, b.askQty)), nil
}

func openInterest(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	return fmt.Appendf(nil, `{"symbol":%q,"openInterest":"%s","time":%d}`, s.name, s.appendQty(nil, s.meanQty*1000), now), nil
}

func openInterestHist(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	return fmt.Appendf(nil, `[{"symbol":%q,"sumOpenInterest":"%s","sumOpenInterestValue":"%s","timestamp":%d}]`,
		s.name, s.appendQty(nil, s.meanQty*1000), s.appendQuote(nil, s.meanQty*1000*s.mid), now-now%(5*market.Minute)), nil
}

package sim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"klined/market"
)

// routesFurther are paths that no kline comes from: a few questions that anybody may ask, and a few that need a key. Their
// answers have the exchange's shape and little behind it.
func (e *Exchange) routesFurther(mux *http.ServeMux) {
	for path, ep := range map[string]endpoint{
		"/dapi/v1/ping":                  {always(1), func(url.Values) ([]byte, *apiError) { return []byte("{}"), nil }},
		"/fapi/v1/depth":                 {weighDepth, e.ofSymbol(depth)},
		"/fapi/v1/premiumIndex":          {always(1), e.ofSymbol(premiumIndex)},
		"/fapi/v1/openInterest":          {always(1), e.ofSymbol(openInterest)},
		"/fapi/v1/ticker/24hr":           {always(1), e.ofSymbol(ticker24)},
		"/fapi/v1/fundingRate":           {always(0), e.ofSymbol(fundingRate)},
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

// depth is a book of equal steps around the last price.
func depth(s *symbol, q url.Values, now market.Time) ([]byte, *apiError) {
	limit := 500
	if text := q.Get("limit"); text != "" {
		limit, _ = strconv.Atoi(text)
		if !slices.Contains([]int{5, 10, 20, 50, 100, 500, 1000}, limit) {
			return nil, refuse(-4021, "%s is not valid depth limit", text)
		}
	}
	side := func(step int64) (dst []byte) {
		for i := range int64(limit) {
			price := s.last.price + step*(i+1)
			if price <= 0 {
				break
			}
			dst = append(append(dst, `,["`...), s.appendPrice(nil, price)...)
			dst = append(append(append(dst, `","`...), s.appendQty(nil, s.meanQty)...), `"]`...)
		}
		return dst[min(1, len(dst)):]
	}
	return fmt.Appendf(nil, `{"lastUpdateId":%d,"E":%d,"T":%d,"bids":[%s],"asks":[%s]}`, s.last.id, now, now, side(-1), side(1)), nil
}

func premiumIndex(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	price := s.appendPrice(nil, s.last.price)
	return fmt.Appendf(nil, `{"symbol":%q,"markPrice":"%[2]s","indexPrice":"%[2]s","estimatedSettlePrice":"%[2]s","lastFundingRate":"0.00010000","interestRate":"0.00010000","nextFundingTime":%[3]d,"time":%[4]d}`,
		s.name, price, now-now%(8*market.Hour)+8*market.Hour, now), nil
}

func openInterest(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	return fmt.Appendf(nil, `{"openInterest":"%s","symbol":%q,"time":%d}`, s.appendQty(nil, s.meanQty*1000), s.name, now), nil
}

func fundingRate(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	return fmt.Appendf(nil, `[{"symbol":%q,"fundingRate":"0.00010000","fundingTime":%d,"markPrice":"%s"}]`,
		s.name, now-now%(8*market.Hour), s.appendPrice(nil, s.mid)), nil
}

func openInterestHist(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	return fmt.Appendf(nil, `[{"symbol":%q,"sumOpenInterest":"%s","sumOpenInterestValue":"%s","timestamp":%d}]`,
		s.name, s.appendQty(nil, s.meanQty*1000), s.appendQuote(nil, s.meanQty*1000*s.mid), now-now%(5*market.Minute)), nil
}

func ticker24(s *symbol, _ url.Values, now market.Time) ([]byte, *apiError) {
	r := s.lastDay(now)
	return fmt.Appendf(nil, `{"symbol":%q,"lastPrice":"%s","openPrice":"%s","highPrice":"%s","lowPrice":"%s","volume":"%s","quoteVolume":"%s","openTime":%d,"closeTime":%d,"count":%d}`,
		s.name, s.appendPrice(nil, r.c), s.appendPrice(nil, r.o), s.appendPrice(nil, r.h), s.appendPrice(nil, r.l),
		s.appendQty(nil, r.volume), s.appendQuote(nil, r.quote), now-market.Day, now, r.count), nil
}

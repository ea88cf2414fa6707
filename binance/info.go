package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"klined/fixed"
	"klined/market"
)

// Info is the exchange's word on what is traded there.
type Info struct {
	Raw      []byte // the body as received
	Listings []Listing
}

// Listing is one contract of the exchange. Words that are not known here are kept as they came.
type Listing struct {
	Name         string
	Pair         string
	ContractType string
	Status       string
	PriceDigits  int         // decimals that prices are written with
	QtyDigits    int         // decimals that quantities are written with
	Tick         fixed.Value // prices are multiples of it; 0 where the exchange does not say
	Onboard      market.Time // its first trading
	Delivery     market.Time // its last; of perpetuals far in the future until their end is announced
}

// What a symbol may be: the exchange's have 8 decimals and 20 letters at most; sums are kept with 16 decimals.
const (
	maxDigits     = 16
	maxSymbolName = 64 // bytes
)

// Perpetual reports whether the contract has no delivery date.
func (l Listing) Perpetual() bool {
	return l.ContractType == "PERPETUAL" || l.ContractType == "TRADIFI_PERPETUAL"
}

// Pending reports whether the contract is announced, and not yet traded.
func (l Listing) Pending() bool { return l.Status == "PENDING_TRADING" }

// Live reports whether the contract is traded, or will be: one that is halted (TRADING_HALT, TRADING_CANCEL_ONLY), about to be
// settled (PRE_SETTLE, PRE_DELIVERING) or in a state that is not known here goes on. What has ended stays listed for years.
func (l Listing) Live() bool {
	switch l.Status {
	case "DELIVERING", "DELIVERED", "SETTLING", "CLOSE":
		return false
	}
	return true
}

// ExchangeInfo asks what is traded.
func (r *REST) ExchangeInfo(ctx context.Context, class market.Class) (*Info, error) {
	body, _, err := r.get(ctx, class, pathExchangeInfo, 1, nil)
	if err != nil {
		return nil, err
	}
	listings, err := ParseExchangeInfo(body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", pathExchangeInfo, err)
	}
	if !slices.ContainsFunc(listings, func(l Listing) bool { return l.ContractType != "" }) {
		return nil, fmt.Errorf("GET %s: none of its %d symbols is a futures contract (%s, …): another market, whose klines would be wrong here; want %s",
			pathExchangeInfo, len(listings), listings[0].Name, DefaultREST)
	}
	return &Info{Raw: body, Listings: listings}, nil
}

// ParseExchangeInfo reads the symbols of an exchangeInfo answer, or of one entry of it alone:
//
//	{"timezone":"UTC",…,"symbols":[{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL",
//	 "deliveryDate":4133404800000,
//	 "onboardDate":1567965300000,"status":"TRADING","pricePrecision":2,"quantityPrecision":3,…,
//	 "filters":[{"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.10"},…],…},…]}
func ParseExchangeInfo(body []byte) ([]Listing, error) {
	type entry struct {
		Symbol            string `json:"symbol"`
		Pair              string `json:"pair"`
		ContractType      string `json:"contractType"`
		Status            string `json:"status"`
		PricePrecision    int    `json:"pricePrecision"`
		QuantityPrecision int    `json:"quantityPrecision"`
		OnboardDate       int64  `json:"onboardDate"`
		DeliveryDate      int64  `json:"deliveryDate"`
		Filters           []struct {
			TickSize string `json:"tickSize"` // PRICE_FILTER alone has one
		} `json:"filters"`
	}
	var info struct {
		entry
		Symbols []entry `json:"symbols"`
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, fmt.Errorf("cannot read the exchange's symbols: %w", err)
	}
	if info.entry.Symbol != "" {
		info.Symbols = append(info.Symbols, info.entry)
	}
	if len(info.Symbols) == 0 {
		return nil, errors.New("no symbols in the exchange's answer")
	}
	listings := make([]Listing, 0, len(info.Symbols))
	for i, e := range info.Symbols {
		if e.Symbol == "" || len(e.Symbol) > maxSymbolName || min(e.PricePrecision, e.QuantityPrecision) < 0 || max(e.PricePrecision, e.QuantityPrecision) > maxDigits {
			return nil, fmt.Errorf("symbol %d of the exchange: name %.64q, digits %d and %d", i, e.Symbol, e.PricePrecision, e.QuantityPrecision)
		}
		var tick fixed.Value
		for _, f := range e.Filters {
			if size, err := fixed.Parse(f.TickSize); err == nil { // a chart's grid is not worth a start that fails
				tick = max(tick, size)
			}
		}
		listings = append(listings, Listing{
			Name: e.Symbol, Pair: e.Pair, ContractType: e.ContractType, Status: e.Status,
			PriceDigits: e.PricePrecision, QtyDigits: e.QuantityPrecision, Tick: tick,
			Onboard: market.Time(e.OnboardDate), Delivery: market.Time(e.DeliveryDate),
		})
	}
	return listings, nil
}

package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"klined/fixed"
	"klined/market"
)

// Info is the exchange's word on what is traded there.
type Info struct {
	Raw      []byte // the body as received
	Listings []Listing
	Odd      []Odd // what it lists beside them
}

// Odd is a contract of the exchange that cannot be carried as it is listed: what could be read of it, without its digits.
type Odd struct {
	Listing       // where its name is none that a symbol may have: "row 17", from 0 on
	Why     error // it cannot be carried
}

// Oddity is why a contract cannot be carried that the exchange lists; nil where it does not, or it can.
func (i *Info) Oddity(name string) error {
	at := slices.IndexFunc(i.Odd, func(o Odd) bool { return o.Name == name })
	if at < 0 {
		return nil
	}
	return i.Odd[at].Why
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

// maxSymbolName is how many bytes a symbol's name may have; the exchange's have 20 letters at most.
const maxSymbolName = 64

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
	info, err := ParseExchangeInfo(body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", pathExchangeInfo, err)
	}
	if listings := info.Listings; !slices.ContainsFunc(listings, func(l Listing) bool { return l.ContractType != "" }) {
		return nil, fmt.Errorf("GET %s: none of its %d symbols is a futures contract (%s, …): another market, whose klines would be wrong here; want %s",
			pathExchangeInfo, len(listings), listings[0].Name, DefaultREST)
	}
	return info, nil
}

// ParseExchangeInfo reads the symbols of an exchangeInfo answer, or of one entry of it alone:
//
//	{"timezone":"UTC",…,"symbols":[{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL",
//	 "deliveryDate":4133404800000,
//	 "onboardDate":1567965300000,"status":"TRADING","pricePrecision":2,"quantityPrecision":3,…,
//	 "filters":[{"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.10"},…],…},…]}
//
// A row that is odd hurts no other one. It is an error if all are.
func ParseExchangeInfo(body []byte) (*Info, error) {
	var list struct {
		Symbol  json.RawMessage   `json:"symbol"`
		Symbols []json.RawMessage `json:"symbols"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("cannot read the exchange's symbols: %w", err)
	}
	rows := list.Symbols
	if list.Symbol != nil {
		rows = append(rows, body)
	}
	if len(rows) == 0 {
		return nil, errors.New("no symbols in the exchange's answer")
	}
	info := &Info{Raw: body, Listings: make([]Listing, 0, len(rows))}
	for i, row := range rows {
		if listing, err := parseListing(row); err == nil {
			info.Listings = append(info.Listings, listing)
		} else {
			info.Odd = append(info.Odd, oddOf(i, &listing, err))
		}
	}
	if len(info.Listings) == 0 {
		return nil, fmt.Errorf("none of the exchange's %d symbols can be carried; %s: %w", len(rows), info.Odd[0].Name, info.Odd[0].Why)
	}
	return info, nil
}

// parseListing reads one row; beside an error is what could be read.
func parseListing(row []byte) (Listing, error) {
	var e struct {
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
	err := json.Unmarshal(row, &e) // goes on behind a value of another type
	listing := Listing{
		Name: e.Symbol, Pair: e.Pair, ContractType: e.ContractType, Status: e.Status,
		PriceDigits: e.PricePrecision, QtyDigits: e.QuantityPrecision,
		Onboard: market.Time(e.OnboardDate), Delivery: market.Time(e.DeliveryDate),
	}
	for _, f := range e.Filters {
		if size, err := fixed.Parse(f.TickSize); err == nil { // a chart's grid is not worth a symbol
			listing.Tick = max(listing.Tick, size)
		}
	}
	digits := []int{e.PricePrecision, e.QuantityPrecision}
	switch {
	case !isSymbolName(e.Symbol):
		err = fmt.Errorf("the name %.64q is none that a symbol may have", e.Symbol)
	case err == nil && (slices.Min(digits) < 0 || slices.Max(digits) > fixed.Digits):
		err = fmt.Errorf("its prices and quantities are written with %d and %d decimals, want 0 to %d", e.PricePrecision, e.QuantityPrecision, fixed.Digits)
	}
	return listing, err
}

// isSymbolName reports whether streams, questions and logs can name a symbol so.
func isSymbolName(name string) bool {
	return name != "" && len(name) <= maxSymbolName && !strings.ContainsFunc(name, func(c rune) bool {
		return unicode.IsSpace(c) || unicode.IsControl(c) || strings.ContainsRune(`@/"\`, c)
	})
}

func oddOf(row int, listing *Listing, why error) Odd {
	odd := Odd{*listing, why}
	if odd.PriceDigits, odd.QtyDigits = 0, 0; !isSymbolName(odd.Name) {
		odd.Name = fmt.Sprintf("row %d", row)
	}
	return odd
}

package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"klined/market"
)

// infoBody is GET /fapi/v1/exchangeInfo, cut where the server's time stands.
type infoBody struct{ before, after []byte }

// The shape of the wire, keys in its order.
type (
	infoWire struct {
		RateLimits      []rateLimit  `json:"rateLimits"`
		ExchangeFilters []string     `json:"exchangeFilters"`
		Assets          []assetWire  `json:"assets"`
		Symbols         []symbolWire `json:"symbols"`
	}
	rateLimit struct {
		Type     string `json:"rateLimitType"`
		Interval string `json:"interval"`
		Num      int    `json:"intervalNum"`
		Limit    int    `json:"limit"`
	}
	assetWire struct {
		Asset  string `json:"asset"`
		Margin bool   `json:"marginAvailable"`
		Auto   string `json:"autoAssetExchange"`
	}
	symbolWire struct {
		Symbol             string           `json:"symbol"`
		Pair               string           `json:"pair"`
		ContractType       string           `json:"contractType"`
		DeliveryDate       market.Time      `json:"deliveryDate"`
		OnboardDate        market.Time      `json:"onboardDate"`
		Status             string           `json:"status"`
		MaintMarginPercent string           `json:"maintMarginPercent"`
		RequiredMargin     string           `json:"requiredMarginPercent"`
		BaseAsset          string           `json:"baseAsset"`
		QuoteAsset         string           `json:"quoteAsset"`
		MarginAsset        string           `json:"marginAsset"`
		PricePrecision     int              `json:"pricePrecision"`
		QuantityPrecision  int              `json:"quantityPrecision"`
		BaseAssetPrecision int              `json:"baseAssetPrecision"`
		QuotePrecision     int              `json:"quotePrecision"`
		UnderlyingType     string           `json:"underlyingType"`
		UnderlyingSubType  []string         `json:"underlyingSubType"`
		TriggerProtect     string           `json:"triggerProtect"`
		LiquidationFee     string           `json:"liquidationFee"`
		MarketTakeBound    string           `json:"marketTakeBound"`
		MaxMoveOrderLimit  int              `json:"maxMoveOrderLimit"`
		Filters            []map[string]any `json:"filters"`
		OrderTypes         []string         `json:"orderTypes"`
		TimeInForce        []string         `json:"timeInForce"`
		PermissionSets     []string         `json:"permissionSets"`
	}
)

func newInfoBody(symbols []*symbol) *infoBody {
	info := infoWire{
		RateLimits: []rateLimit{
			{"REQUEST_WEIGHT", "MINUTE", 1, weightPerMinute}, {"ORDERS", "MINUTE", 1, 1200}, {"ORDERS", "SECOND", 10, 300},
		},
		ExchangeFilters: []string{},
		Assets: []assetWire{
			{"USDT", true, "-10000"}, {"BTC", true, "-0.10000000"}, {"BNB", true, "0"}, {"ETH", true, "0"}, {"USDC", true, "-10000"},
		},
	}
	for _, s := range symbols {
		if !s.gone {
			info.Symbols = append(info.Symbols, s.wire())
		}
	}
	rest, err := json.Marshal(info)
	if err != nil {
		panic(fmt.Sprintf("sim: exchangeInfo: %v", err)) // strings and numbers only
	}
	return &infoBody{
		before: []byte(`{"timezone":"UTC","serverTime":`),
		after:  append([]byte(`,"futuresType":"U_MARGINED",`), rest[1:]...),
	}
}

// at is the body at a time.
func (b *infoBody) at(now market.Time) []byte {
	return append(strconv.AppendInt(b.before[:len(b.before):len(b.before)], int64(now), 10), b.after...)
}

// wire is the symbol's entry in exchangeInfo.
func (s *symbol) wire() symbolWire {
	subTypes := []string{"Layer-1"}
	if s.contract == tradFi {
		subTypes = []string{"TradFi"}
	}
	return symbolWire{
		Symbol: s.name, Pair: s.pair, ContractType: s.contract, DeliveryDate: s.delivery, OnboardDate: s.begin, Status: s.status,
		MaintMarginPercent: "2.5000", RequiredMargin: "5.0000", BaseAsset: s.base, QuoteAsset: quoteAsset, MarginAsset: quoteAsset,
		PricePrecision: s.priceDigits, QuantityPrecision: s.qtyDigits, BaseAssetPrecision: 8, QuotePrecision: 8,
		UnderlyingType: s.underlying, UnderlyingSubType: subTypes, TriggerProtect: "0.0500", LiquidationFee: "0.012500",
		MarketTakeBound: "0.05", MaxMoveOrderLimit: 10000, Filters: s.filters(),
		OrderTypes:     strings.Split("LIMIT,MARKET,STOP,STOP_MARKET,TAKE_PROFIT,TAKE_PROFIT_MARKET,TRAILING_STOP_MARKET", ","),
		TimeInForce:    strings.Split("GTC,IOC,FOK,GTX,GTD", ","),
		PermissionSets: strings.Split("GRID,COPY,DCA,PSB", ","),
	}
}

func (s *symbol) filters() []map[string]any {
	price := func(ticks int64) string { return string(s.appendPrice(nil, ticks)) }
	qty := func(steps int64) string { return string(s.appendQty(nil, steps)) }
	return []map[string]any{
		{"filterType": "PRICE_FILTER", "minPrice": price(1), "maxPrice": price(s.mid * 50), "tickSize": price(1)},
		{"filterType": "LOT_SIZE", "minQty": qty(1), "maxQty": qty(s.meanQty * 100_000), "stepSize": qty(1)},
		{"filterType": "MARKET_LOT_SIZE", "minQty": qty(1), "maxQty": qty(s.meanQty * 10_000), "stepSize": qty(1)},
		{"filterType": "MAX_NUM_ORDERS", "limit": 200},
		{"filterType": "MIN_NOTIONAL", "notional": "5"},
		{"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"},
		{"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
	}
}

package binance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"klined/market"
)

// tradesWeight is what an answer costs (Recent Trades List).
const tradesWeight = 5

// pricesWeight is what the prices of all symbols cost (Symbol Price Ticker V2).
const pricesWeight = 2

// LatestID asks for the id of a symbol's newest trade of the source, and its time; a symbol that has never traded has 0
// for both. With SourceTrade ids that were burnt, or taken by trades that are not the market's, are left out: the newest
// id on the stream may be higher. A question weighs 20 with SourceAggTrade and 5 with SourceTrade.
func (r *REST) LatestID(ctx context.Context, class market.Class, symbol market.SymbolID) (id int64, at market.Time, err error) {
	if r.o.Source == market.SourceTrade {
		return r.latestTrade(ctx, class, symbol)
	}
	trades, err := r.AggTrades(ctx, class, symbol, -1, 1)
	if err != nil || len(trades) == 0 {
		return 0, 0, err
	}
	newest := trades[len(trades)-1]
	return newest.ID, newest.Time, nil
}

// Prices asks for the last price of everything that is listed: the answer as received (Symbol Price Ticker V2; weight 2).
func (r *REST) Prices(ctx context.Context, class market.Class) ([]byte, error) {
	body, _, err := r.get(ctx, class, pathPrices, pricesWeight, nil)
	return body, err
}

func (r *REST) latestTrade(ctx context.Context, class market.Class, symbol market.SymbolID) (int64, market.Time, error) {
	query := url.Values{"symbol": {r.o.Symbols.Get(symbol).Name}, "limit": {"1"}}
	body, _, err := r.get(ctx, class, pathTrades, tradesWeight, query)
	if err != nil {
		return 0, 0, err
	}
	id, at, err := parseLatestTrade(body)
	if err != nil {
		return 0, 0, fmt.Errorf("GET %s: %w", question(pathTrades, query), err)
	}
	return id, at, nil
}

// parseLatestTrade reads the newest, that is the last, row of an answer:
//
//	[{"id":7947579848,"price":"63440.80","qty":"0.001","quoteQty":"63.44","time":1785702045391,"isBuyerMaker":true,
//	  "isRPITrade":false}]
func parseLatestTrade(body []byte) (int64, market.Time, error) {
	var rows []struct {
		ID   *int64       `json:"id"`
		Time *market.Time `json:"time"`
	}
	if err := json.Unmarshal(body, &rows); err != nil || rows == nil {
		return 0, 0, fmt.Errorf("cannot read %s: %w", shown(body), ErrSyntax)
	}
	if len(rows) == 0 {
		return 0, 0, nil
	}
	newest := rows[len(rows)-1]
	if newest.ID == nil || newest.Time == nil {
		return 0, 0, fmt.Errorf("%s: %w", shown(body), ErrField)
	}
	t := market.Trade{ID: *newest.ID, FirstID: *newest.ID, LastID: *newest.ID, Time: *newest.Time}
	if err := t.Check(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", shown(body), err)
	}
	return t.ID, t.Time, nil
}

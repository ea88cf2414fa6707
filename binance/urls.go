package binance

import "klined/market"

// The exchange's production addresses.
const (
	DefaultREST    = "https://fapi.binance.com"
	DefaultWS      = "wss://fstream.binance.com"
	DefaultArchive = "https://data.binance.vision"
)

// Where streams are served (WebSocket Market Streams, "Important WebSocket Change Notice"). A stream that is asked for
// on another path is acknowledged and silent. On /ws frames come bare.
const (
	marketPath = "/market/ws" // aggTrade, kline, miniTicker
	publicPath = "/public/ws" // trade
)

// The streams' names after the symbol's.
const (
	aggTradeStream = "@aggTrade"
	tradeStream    = "@trade"
	klineStream    = "@kline_1m"
	tickerStream   = "@miniTicker"
)

// allTickers is the stream of every symbol's miniTicker.
const allTickers = "!miniTicker@arr"

// Paths of the REST questions.
const (
	pathTime         = "/fapi/v1/time"
	pathExchangeInfo = "/fapi/v1/exchangeInfo"
	pathKlines       = "/fapi/v1/klines"
	pathAggTrades    = "/fapi/v1/aggTrades"
	pathTrades       = "/fapi/v1/trades"
	pathPrices       = "/fapi/v2/ticker/price"
)

// tradesOf says where the trades of a source are: path and stream.
func tradesOf(source market.Source) (path, stream string) {
	if source == market.SourceTrade {
		return publicPath, tradeStream
	}
	return marketPath, aggTradeStream
}

// streamNames are the names of the streams of symbols; suffix is what stands after the symbol's.
func streamNames(symbols *market.Symbols, ids []market.SymbolID, suffix string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		symbol := symbols.Get(id)
		names[i] = streamSymbol(symbol.Name) + suffix
	}
	return names
}

// streamSymbol is a symbol's name within a stream's: ASCII letters lower, all else as it is.
func streamSymbol(name string) string {
	lower := []byte(name)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}

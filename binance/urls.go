package binance

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"klined/market"
)

// The exchange's production addresses.
const (
	DefaultREST    = "https://fapi.binance.com"
	DefaultWS      = "wss://fstream.binance.com"
	DefaultArchive = "https://data.binance.vision"
)

// Where streams are served (WebSocket Market Streams, "Important WebSocket Change Notice"). A stream that is asked for
// on another path is acknowledged and silent.
const (
	marketPath = "/market"
	publicPath = "/public" // the book, and trade

	bareMode    = "/ws"     // behind the path: events come as they are
	wrappedMode = "/stream" // events come with their stream's name
)

// pathOf is where a stream is served.
func pathOf(name string) string {
	subject, kind, _ := strings.Cut(name, "@")
	if kind == "bookTicker" || kind == "trade" || strings.HasPrefix(kind, "depth") || strings.HasPrefix(kind, "rpiDepth") || subject == "!bookTicker" {
		return publicPath
	}
	return marketPath
}

// longestStream bounds a stream's name in bytes: a symbol's may have 64.
const longestStream = 128

// isMarketStream reports whether a name looks like those of the market's streams: <symbol>@<kind>, !<kind>@arr, !<kind>, or the
// one that is neither.
func isMarketStream(name string) bool {
	if len(name) > longestStream || !utf8.ValidString(name) || strings.ContainsFunc(name, isOdd) {
		return false
	}
	subject, kind, _ := strings.Cut(name, "@")
	return subject != "" && kind != "" || len(name) > 1 && name[0] == '!' || name == "tradingSession"
}

// isOdd reports whether no name has such a character: a symbol's may have letters and digits of any language.
func isOdd(r rune) bool {
	return !unicode.In(r, unicode.Letter, unicode.Mark, unicode.Digit) && !strings.ContainsRune("@!_-.", r)
}

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

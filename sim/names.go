package sim

import "klined/market"

// Words of exchangeInfo.
const (
	perpetual      = "PERPETUAL"
	tradFi         = "TRADIFI_PERPETUAL"
	currentQuarter = "CURRENT_QUARTER"
	nextQuarter    = "NEXT_QUARTER"

	statusPending  = "PENDING_TRADING"
	statusTrading  = "TRADING"
	statusSettling = "SETTLING"

	quoteAsset = "USDT"
)

// model is what a symbol is made after: a price in units of 10^−priceDigits, its grid, and how wild it is.
type model struct {
	base        string
	price       int64 // at the middle of its path, in units of 10^−priceDigits
	priceDigits int
	tick        int64 // in units of 10^−priceDigits
	qtyDigits   int
	wild        int64 // standard step of a minute, in millionths of the price
	kind        string
}

// models are the symbols with names from life, busiest first. Those of contract kind "" are PERPETUAL.
var models = [...]model{
	{"BTC", 8309170, 2, 10, 3, 350, ""},
	{"ETH", 271341, 2, 1, 3, 500, ""},
	{"SOL", 1423500, 4, 100, 2, 650, ""},
	{"XRP", 21214, 4, 1, 1, 600, ""},
	{"1000PEPE", 90014, 7, 1, 0, 900, ""},
	{"DOGE", 148930, 6, 10, 0, 750, ""},
	{"BNB", 912340, 3, 10, 2, 450, ""},
	{"币安人生", 153180, 6, 10, 0, 1000, ""},
	{"XAU", 412055, 2, 1, 3, 150, tradFi},
	{"ADA", 43120, 5, 10, 0, 650, ""},
	{"LINK", 13447, 3, 1, 2, 650, ""},
	{"DENT", 41230, 8, 100, 0, 500, ""},
	{"SUI", 168420, 5, 10, 1, 800, ""},
	{"AVAX", 141720, 4, 10, 0, 700, ""},
	{"TSLA", 41218, 2, 1, 2, 250, tradFi},
	{"LTC", 8431, 2, 1, 3, 550, ""},
	{"HYPE", 341250, 4, 10, 2, 900, ""},
	{"TRX", 28114, 5, 1, 0, 250, ""},
	{"DOT", 2312, 3, 1, 1, 650, ""},
	{"WIF", 41253, 5, 10, 1, 1000, ""},
	{"ENA", 24310, 5, 10, 0, 1000, ""},
	{"1000SHIB", 84370, 7, 10, 0, 700, ""},
	{"BCH", 48115, 2, 1, 3, 600, ""},
	{"NEAR", 1912, 3, 1, 0, 750, ""},
	{"FIL", 1534, 3, 1, 1, 750, ""},
	{"AAVE", 17122, 2, 1, 2, 700, ""},
	{"UNI", 5830, 3, 1, 0, 750, ""},
	{"TAO", 29412, 2, 1, 3, 850, ""},
	{"APT", 28121, 4, 1, 1, 750, ""},
	{"ARB", 21130, 5, 10, 0, 800, ""},
	{"TRUMP", 6121, 3, 1, 2, 800, ""},
	{"WLD", 61230, 5, 10, 0, 900, ""},
	{"ETC", 14012, 3, 1, 2, 600, ""},
	{"INJ", 5830, 3, 1, 1, 850, ""},
	{"XMR", 37811, 2, 1, 3, 550, ""},
	{"FARTCOIN", 28340, 5, 10, 0, 1000, ""},
	{"ATOM", 2512, 3, 1, 2, 650, ""},
	{"GALA", 81200, 7, 10, 0, 800, ""},
	{"OP", 31240, 5, 10, 1, 850, ""},
	{"ZEC", 51423, 2, 1, 3, 950, ""},
}

// syllables make the names of the symbols beyond models.
var syllables = [...]string{
	"BA", "CO", "DRA", "FI", "GLO", "HE", "JU", "KRA", "LU", "MO", "NE", "ORI", "PLA", "QUO", "RE", "SKY", "TU", "VE", "XI", "ZEN",
	"AL", "BIT", "CY", "DOM", "ECH", "FLUX", "GRI", "HUB", "ION", "JET", "KIN", "LOOM",
}

// made is the model of the i-th symbol: from life, or made up, the same at every seed.
func made(i int) model {
	if i < len(models) {
		return models[i]
	}
	n := len(syllables)
	h := mix(uint64(i) * 0x9e3779b97f4a7c15)
	m := model{base: syllables[i%n] + syllables[i/n%n] + syllables[(i/n/n+i*7+3)%n], wild: 500 + int64(h>>8%500)}
	// Five significant digits; five decimals for what is dear enough, seven for cents' parts.
	m.price = 10000 + int64(h>>20%80000)
	m.priceDigits = 2 + int(h>>40%6)
	m.qtyDigits = max(0, 3-m.priceDigits/2)
	m.tick = 1
	if h>>50%3 == 0 {
		m.tick = 10
	}
	return m
}

// silent symbols trade every few minutes or less; young ones are less than a month old.
func silent(i int) bool { return i >= 10 && i%13 == 11 }
func young(i int) bool  { return i >= 10 && i%12 == 8 }

// youngAge is how long before the start a young symbol's history begins: never on an hour.
func youngAge(i int, h uint64) market.Time {
	if i == 20 {
		return 29*market.Hour + 17*market.Minute
	}
	return 3*market.Day + market.Time(h%24)*market.Day + market.Time(h>>8%1440)*market.Minute
}

package serve

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"klined/market"
)

// TradingView's charts ask a server in the UDF protocol (Charting Library, "UDF"): what there is, in JSON, and klines as
// columns. Times are Unix seconds.

const (
	udfExchange = "BINANCE"
	udfType     = "swap" // a perpetual contract
	udfSession  = "24x7"
	udfZone     = "Etc/UTC"

	udfFound = 30 // symbols that a search without a limit gives
)

// udfConfig is what the charts ask first.
type udfConfig struct {
	Search         bool       `json:"supports_search"`
	Group          bool       `json:"supports_group_request"`
	Marks          bool       `json:"supports_marks"`
	TimescaleMarks bool       `json:"supports_timescale_marks"`
	Time           bool       `json:"supports_time"`
	Resolutions    []string   `json:"supported_resolutions"`
	Exchanges      []udfEntry `json:"exchanges"`
	Types          []udfEntry `json:"symbols_types"`
}

// udfEntry is a line of a menu.
type udfEntry struct {
	Value string `json:"value"`
	Name  string `json:"name"`
	Desc  string `json:"desc,omitempty"`
}

// udfSymbol is a symbol as the charts resolve it. The multipliers are the lengths that need not be built from shorter ones.
type udfSymbol struct {
	Name                string   `json:"name"`
	FullName            string   `json:"full_name"`
	Ticker              string   `json:"ticker"`
	Description         string   `json:"description"`
	Type                string   `json:"type"`
	Exchange            string   `json:"exchange"`
	ListedExchange      string   `json:"listed_exchange"`
	Session             string   `json:"session"`
	Timezone            string   `json:"timezone"`
	MinMove             int64    `json:"minmov"` // in units of 1/pricescale
	PriceScale          int64    `json:"pricescale"`
	VolumePrecision     int      `json:"volume_precision"`
	Format              string   `json:"format"`
	DataStatus          string   `json:"data_status"`
	HasIntraday         bool     `json:"has_intraday"`
	HasSeconds          bool     `json:"has_seconds"`
	HasDaily            bool     `json:"has_daily"`
	HasWeeklyAndMonthly bool     `json:"has_weekly_and_monthly"`
	SecondsMultipliers  []string `json:"seconds_multipliers,omitempty"`
	IntradayMultipliers []string `json:"intraday_multipliers,omitempty"`
	DailyMultipliers    []string `json:"daily_multipliers,omitempty"`
	WeeklyMultipliers   []string `json:"weekly_multipliers,omitempty"`
	MonthlyMultipliers  []string `json:"monthly_multipliers,omitempty"`
	Resolutions         []string `json:"supported_resolutions"`
}

// udfHit is a symbol that a search found.
type udfHit struct {
	Symbol      string `json:"symbol"`
	FullName    string `json:"full_name"`
	Description string `json:"description"`
	Exchange    string `json:"exchange"`
	Ticker      string `json:"ticker"`
	Type        string `json:"type"`
}

// udfTable is all symbols at once: a list by row, or one value where all rows share it.
type udfTable struct {
	Symbol              []string   `json:"symbol"`
	Ticker              []string   `json:"ticker"`
	Description         []string   `json:"description"`
	PriceScale          []int64    `json:"pricescale"`
	VolumePrecision     []int      `json:"volume-precision"`
	Type                string     `json:"type"`
	ExchangeListed      string     `json:"exchange-listed"`
	ExchangeTraded      string     `json:"exchange-traded"`
	Session             string     `json:"session-regular"`
	Timezone            string     `json:"timezone"`
	MinMove             []int64    `json:"minmovement"`
	HasIntraday         bool       `json:"has-intraday"`
	HasSeconds          bool       `json:"has-seconds"`
	HasDaily            bool       `json:"has-daily"`
	HasWeeklyAndMonthly bool       `json:"has-weekly-and-monthly"`
	Seconds             [][]string `json:"seconds-multipliers"`
	Intraday            [][]string `json:"intraday-multipliers"`
	Resolutions         [][]string `json:"supported-resolutions"`
}

// udfRoutes lays out the paths below /udf.
func (s *Server) udfRoutes(mux *http.ServeMux) {
	mux.HandleFunc("/udf/config", s.udfConfig)
	mux.HandleFunc("/udf/time", s.udfTime)
	mux.HandleFunc("/udf/symbols", udfRead(s.udfSymbols))
	mux.HandleFunc("/udf/symbol_info", s.udfSymbolInfo)
	mux.HandleFunc("/udf/search", udfRead(s.udfSearch))
	mux.HandleFunc("/udf/history", udfRead(s.udfHistory))
}

// udfRead reads the parameters that answer takes, and refuses queries of which a part would be left out.
func udfRead(answer func(w http.ResponseWriter, r *http.Request, params url.Values)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		params, err := readQuery(r.URL.RawQuery)
		if err != nil {
			writeUDFError(w, err)
			return
		}
		answer(w, r, params)
	}
}

func (s *Server) udfConfig(w http.ResponseWriter, _ *http.Request) {
	writeUDF(w, udfConfig{
		Search: true, Time: true, Resolutions: s.udfResolutions(),
		Exchanges: []udfEntry{{"", "All exchanges", ""}, {udfExchange, "Binance", "Binance USDⓈ-M futures"}},
		Types:     []udfEntry{{"", "All types", ""}, {udfType, "Perpetuals", ""}},
	})
}

// udfTime is plain text.
func (s *Server) udfTime(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(strconv.AppendInt(nil, int64(s.opt.Clock.Now()/market.Second), 10))
}

func (s *Server) udfSymbols(w http.ResponseWriter, _ *http.Request, params url.Values) {
	sym, err := s.udfNamed(params)
	if err != nil {
		writeUDFError(w, err)
		return
	}
	info := udfSymbol{
		Name: sym.Name, FullName: udfExchange + ":" + sym.Name, Ticker: sym.Name, Description: udfDescription(&sym), Type: udfType,
		Exchange: udfExchange, ListedExchange: udfExchange, Session: udfSession, Timezone: udfZone,
		MinMove: s.udfMinMove(&sym), PriceScale: tenTo(sym.PriceDigits), VolumePrecision: sym.QtyDigits, Format: "price", DataStatus: "streaming",
		SecondsMultipliers:  s.udfMultipliers(market.Interval(market.Second), market.OneMinute-1),
		IntradayMultipliers: s.udfMultipliers(market.OneMinute, market.OneDay-1),
		DailyMultipliers:    s.udfMultipliers(market.OneDay, market.ThreeDays),
		WeeklyMultipliers:   s.udfMultipliers(market.OneWeek, market.OneWeek),
		MonthlyMultipliers:  s.udfMultipliers(market.OneMonth, market.OneMonth),
		Resolutions:         s.udfResolutions(),
	}
	info.HasSeconds, info.HasIntraday = info.SecondsMultipliers != nil, info.IntradayMultipliers != nil
	info.HasDaily = info.DailyMultipliers != nil
	info.HasWeeklyAndMonthly = info.WeeklyMultipliers != nil && info.MonthlyMultipliers != nil
	writeUDF(w, info)
}

// udfSymbolInfo answers those who ask for all symbols at once. There is one group, and its name is not looked at.
func (s *Server) udfSymbolInfo(w http.ResponseWriter, _ *http.Request) {
	table := udfTable{
		Symbol: []string{}, Ticker: []string{}, Description: []string{}, PriceScale: []int64{}, MinMove: []int64{}, VolumePrecision: []int{},
		Type: udfType, ExchangeListed: udfExchange, ExchangeTraded: udfExchange, Session: udfSession, Timezone: udfZone,
		HasDaily: s.serves(market.OneDay), HasWeeklyAndMonthly: s.serves(market.OneWeek) && s.serves(market.OneMonth),
		Seconds: [][]string{}, Intraday: [][]string{}, Resolutions: [][]string{},
	}
	seconds := s.udfMultipliers(market.Interval(market.Second), market.OneMinute-1)
	intraday := s.udfMultipliers(market.OneMinute, market.OneDay-1)
	resolutions := s.udfResolutions()
	table.HasSeconds, table.HasIntraday = seconds != nil, intraday != nil
	for sym := range s.carried {
		table.Symbol, table.Ticker = append(table.Symbol, sym.Name), append(table.Ticker, sym.Name)
		table.Description = append(table.Description, udfDescription(sym))
		table.PriceScale = append(table.PriceScale, tenTo(sym.PriceDigits))
		table.MinMove = append(table.MinMove, s.udfMinMove(sym))
		table.VolumePrecision = append(table.VolumePrecision, sym.QtyDigits)
		table.Seconds, table.Intraday = append(table.Seconds, seconds), append(table.Intraday, intraday)
		table.Resolutions = append(table.Resolutions, resolutions)
	}
	writeUDF(w, table)
}

// udfSearch finds symbols by any part of their name: those that begin with it first, then in the exchange's order.
func (s *Server) udfSearch(w http.ResponseWriter, _ *http.Request, params url.Values) {
	limit := int64(udfFound)
	if text := params.Get("limit"); text != "" {
		var err error
		if limit, err = parseNumber(text); err != nil || limit < 1 {
			writeUDFError(w, udfInvalid("limit", text, "a number from 1 on"))
			return
		}
	}
	hits := []udfHit{}
	if exchange := params.Get("exchange"); exchange != "" && !strings.EqualFold(exchange, udfExchange) {
		writeUDF(w, hits)
		return
	}
	if kind := params.Get("type"); kind != "" && kind != udfType {
		writeUDF(w, hits)
		return
	}
	text := strings.ToUpper(udfBare(strings.TrimSpace(params.Get("query"))))
	begin := 0 // hits that begin with text
	for sym := range s.carried {
		at := strings.Index(strings.ToUpper(sym.Name), text)
		if at < 0 {
			continue
		}
		hit := udfHit{sym.Name, udfExchange + ":" + sym.Name, udfDescription(sym), udfExchange, sym.Name, udfType}
		if at > 0 {
			hits = append(hits, hit)
			continue
		}
		hits = slices.Insert(hits, begin, hit)
		begin++
	}
	writeUDF(w, hits[:min(limit, int64(len(hits)))])
}

// udfNamed finds the symbol that a request names, with its exchange before it or without.
func (s *Server) udfNamed(params url.Values) (market.Symbol, error) {
	name := udfBare(params.Get("symbol"))
	sym, ok := s.symbol(upper(name))
	if !ok {
		return sym, &apiError{status: http.StatusNotFound, msg: "unknown_symbol " + strconv.Quote(name)}
	}
	return sym, nil
}

// udfBare is a name without the exchange before it, which charts write there, into their search too.
func udfBare(name string) string {
	if exchange, rest, ok := strings.Cut(name, ":"); ok && strings.EqualFold(exchange, udfExchange) {
		return rest
	}
	return name
}

// carried calls yield with each symbol that is served now and goes on trading.
func (s *Server) carried(yield func(*market.Symbol) bool) {
	all := s.opt.Symbols.All()
	for i := range all {
		if s.opt.Carries(all[i].ID) && !s.opt.Ended(all[i].ID) && !yield(&all[i]) {
			return
		}
	}
}

func udfDescription(sym *market.Symbol) string { return sym.Name + " perpetual" }

// udfMinMove is how many units of a price's last digit lie between two prices of a symbol: BTCUSDT is written with two digits, and
// its prices are multiples of 0.10.
func (s *Server) udfMinMove(sym *market.Symbol) int64 {
	n, _ := s.opt.Tick(sym.ID).Int64(sym.PriceDigits) // 0 where it has more digits
	return max(1, n)
}

// tenTo is 10^digits; symbols have eight digits at most.
func tenTo(digits int) int64 {
	n := int64(1)
	for range digits {
		n *= 10
	}
	return n
}

// udfResolution is an interval's name: seconds and days and longer with a letter, minutes and hours in minutes.
func udfResolution(iv market.Interval) string {
	number, unit := udfLength(iv)
	return strconv.FormatInt(number, 10) + unit
}

// udfLength is how long an interval is, in the unit that the charts count it in.
func udfLength(iv market.Interval) (number int64, unit string) {
	switch {
	case iv < market.OneMinute:
		return int64(iv / market.Interval(market.Second)), "S"
	case iv < market.OneDay:
		return int64(iv / market.OneMinute), ""
	case iv < market.OneWeek:
		return int64(iv / market.OneDay), "D"
	case iv < market.OneMonth:
		return int64(iv / market.OneWeek), "W"
	}
	return 1, "M"
}

func (s *Server) udfResolutions() []string {
	names := []string{}
	for _, iv := range s.inOrder() {
		names = append(names, udfResolution(iv))
	}
	return names
}

// udfMultipliers are the lengths of the configured intervals from one up to another; nil where there is none.
func (s *Server) udfMultipliers(from, to market.Interval) (numbers []string) {
	for _, iv := range s.inOrder() {
		if number, _ := udfLength(iv); from <= iv && iv <= to {
			numbers = append(numbers, strconv.FormatInt(number, 10))
		}
	}
	return numbers
}

// inOrder are the configured intervals, shortest first.
func (s *Server) inOrder() []market.Interval { return slices.Sorted(slices.Values(s.opt.Intervals)) }

// udfInterval finds the configured interval of a resolution. A letter without a number counts one.
func (s *Server) udfInterval(name string) (market.Interval, error) {
	if name == "D" || name == "W" || name == "M" || name == "S" {
		name = "1" + name
	}
	for _, iv := range s.opt.Intervals {
		if udfResolution(iv) == name {
			return iv, nil
		}
	}
	return 0, udfInvalid("resolution", name, "one of "+strings.Join(s.udfResolutions(), ", "))
}

func udfInvalid(param, value, want string) *apiError {
	return &apiError{status: http.StatusBadRequest, msg: param + " " + strconv.Quote(value) + ": want " + want}
}

func writeUDF(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeUDFError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, body)
}

// writeUDFError refuses in the protocol's own words: its clients look at the body alone, and take another status for an
// answer of somebody else.
func writeUDFError(w http.ResponseWriter, err error) {
	refused := refusal(err)
	if refused.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.retryAfter.Seconds()))))
	}
	writeUDF(w, map[string]string{"s": "error", "errmsg": refused.msg})
}

package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"klined/market"
)

func TestRESTErrors(t *testing.T) {
	const illegal = `{"code":-1100,"msg":"Illegal characters found in parameter 'startTime'; legal range is '^[0-9]{1,20}$'."}`
	tests := []struct {
		path   string
		status int
		body   string
		weight string
	}{
		{"ping", 200, `{}`, "1"},
		{"time", 200, ``, "1"},
		{"klines?symbol=NOTAREALSYM&interval=1m&limit=1", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "1"},
		{"klines?symbol=BTCUSDT&interval=1s&limit=1", 400, `{"code":-1120,"msg":"Invalid interval."}`, "1"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=2000", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "10"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=1501", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "10"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=0", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "1"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=ten", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "5"},
		{"klines?interval=1m", 400, `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`, "5"},
		{"klines?symbol=BTCUSDT", 400, `{"code":-1102,"msg":"Mandatory parameter 'interval' was not sent, was empty/null, or malformed."}`, "5"},
		{"klines?symbol=BTCUSDT&interval=1m&startTime=5&endTime=4", 400, `{"code":-1023,"msg":"Start time is greater than end time."}`, "5"},
		{"klines?symbol=BTCUSDT&interval=1m&startTime=1&endTime=0", 400, `{"code":-1023,"msg":"Start time is greater than end time."}`, "5"},
		{"klines?symbol=BTCUSDT&interval=1m&startTime=9223372036854775807&endTime=9223372036854775806", 400, `{"code":-1023,"msg":"Start time is greater than end time."}`, "5"},
		{"klines?symbol=BTCU%C5%BFDT&interval=1m", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "5"},
		{"continuousKlines?pair=BTCU%C5%BFDT&contractType=PERPETUAL&interval=1m", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "5"},
		{"klines?symbol=BTCUSDT&interval=1m&startTime=yesterday", 400, illegal, "5"},
		{"klines?symbol=btcusdt&interval=1m&limit=100", 200, ``, "1"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=101", 200, ``, "2"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=501", 200, ``, "5"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=1500", 200, ``, "10"},
		{"klines?symbol=BTCUSDT&interval=1m", 200, ``, "5"},
		{"continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1m&limit=2", 200, ``, "1"},
		{"continuousKlines?pair=XAUUSDT&contractType=TRADIFI_PERPETUAL&interval=1m&limit=2", 200, ``, "1"},
		{"continuousKlines?pair=BTCUSDT&contractType=FOREVER&interval=1m&limit=2", 400, `{"code":-4104,"msg":"Invalid contract type"}`, "1"},
		{"continuousKlines?pair=XAUUSDT&contractType=PERPETUAL&interval=1m&limit=2", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "1"},
		{"aggTrades?symbol=BTCUSDT&limit=1001", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "20"},
		{"aggTrades?symbol=NOTAREALSYM", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "20"},
		{"aggTrades?symbol=BTCUSDT&fromId=1", 400, `{"code":-4166,"msg":"Search window is restricted to recent 2 days only."}`, "20"},
		{"aggTrades?symbol=BTCUSDT&startTime=1700000000000", 400, `{"code":-4166,"msg":"Search window is restricted to recent 2 days only."}`, "20"},
		{"aggTrades?symbol=BTCUSDT&fromId=99999999999", 200, `[]`, "20"},
		{"trades?symbol=BTCUSDT", 200, ``, "5"},
		{"historicalTrades?symbol=BTCUSDT", 401, `{"code":-2014,"msg":"API-key format invalid."}`, "200"},
		{"ticker/price?symbol=BTCUSDT", 200, ``, "1"},
		{"ticker/price", 200, ``, "2"},
		{"exchangeInfo", 200, ``, "1"},
		{"klines?symbol=BTCUSDT&interval=1m&limit=%2B5", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "5"},
		{"klines?symbol=BTCUSDT&symbol=BTCUSDT&interval=1m", 400, `{"code":-1101,"msg":"Duplicate values for parameter 'symbol'."}`, "5"},
		{"klines?symbol=NOPE&interval=7m&limit=0", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, "1"},
		{"klines?symbol=NOPE&interval=7m", 400, `{"code":-1120,"msg":"Invalid interval."}`, "5"},
		{"continuousKlines?pair=NOPE&contractType=FOREVER&interval=7m", 400, `{"code":-4104,"msg":"Invalid contract type"}`, "5"},
		{"depth?symbol=BTCUSDT", 200, ``, "10"},
		{"depth?symbol=BTCUSDT&limit=7", 400, `{"code":-4021,"msg":"7 is not valid depth limit"}`, "2"},
		{"premiumIndex?symbol=BTCUSDT", 200, ``, "1"},
		{"openInterest?symbol=BTCUSDT", 200, ``, "1"},
		{"premiumIndex", 200, ``, "10"},
		{"ticker/24hr?symbol=BTCUSDT", 200, ``, "1"},
		{"ticker/24hr", 200, ``, "40"},
		{"ticker/24hr?symbol=NOTAREALSYM", 400, `{"code":-1121,"msg":"Invalid symbol."}`, "1"},
		{"ticker/24hr?symbol=BTCUSDT&symbol=BTCUSDT", 400, `{"code":-1101,"msg":"Duplicate values for parameter 'symbol'."}`, "1"},
		{"ticker/bookTicker?symbol=BTCUSDT", 200, ``, "2"},
		{"ticker/bookTicker", 200, ``, "5"},
		{"markPriceKlines?symbol=BTCUSDT&interval=1h&limit=9", 200, ``, "1"},
		{"markPriceKlines?pair=BTCUSDT&interval=1h", 400, `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`, "5"},
		{"indexPriceKlines?pair=BTCUSDT&interval=1h&limit=1500", 200, ``, "10"},
		{"fundingRate?symbol=BTCUSDT&limit=1001", 400, `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`, ""},
		{"fundingInfo?symbol=NOTAREALSYM", 200, ``, ""},
		{"../v2/account", 401, `{"code":-2014,"msg":"API-key format invalid."}`, "1"},
	}
	served(t, Options{Symbols: 40, Rate: 10, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		for _, test := range tests {
			untilMinute(e)
			status, head, body := v.get("/fapi/v1/" + test.path)
			same(t, test.path+": status", status, test.status)
			same(t, test.path+": weight", head.Get("X-Mbx-Used-Weight-1m"), test.weight)
			same(t, test.path+": type", head.Get("Content-Type"), "application/json")
			if date, err := http.ParseTime(head.Get("Date")); err != nil || e.Now().Std().Sub(date).Abs() > time.Second {
				t.Errorf("%s: answered on %q (%v), which is not the exchange's time", test.path, head.Get("Date"), err)
			}
			if test.body != "" {
				same(t, test.path, body, test.body)
			} else if !json.Valid([]byte(body)) {
				t.Errorf("%s: not JSON: %.200s", test.path, body)
			}
		}
	})
}

// untilMinute waits for the next minute of the clock, in which nothing has been charged.
func untilMinute(e *Exchange) {
	time.Sleep(oneMinute.next(e.Now()).Sub(e.Now()))
}

func TestWeightLimit(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		untilMinute(e)
		time.Sleep(20 * time.Second)
		for range 120 {
			if status, _, body := v.get("/fapi/v1/aggTrades?symbol=BTCUSDT"); status != 200 {
				t.Fatal(status, body)
			}
		}
		status, head, body := v.get("/fapi/v1/ping")
		same(t, "status", status, 429)
		same(t, "retry", head.Get("Retry-After"), "40")
		same(t, "weight", head.Get("X-Mbx-Used-Weight-1m"), "2401")
		same(t, "body", body, `{"code":-1003,"msg":"Too many requests; current limit is 2400 requests per minute. `+
			`Please use the websocket for live updates to avoid polling the API."}`)
		untilMinute(e)
		status, head, _ = v.get("/fapi/v1/ping")
		same(t, "next minute", fmt.Sprint(status, head.Get("X-Mbx-Used-Weight-1m")), "2001")

		for range 120 + refusalsToBan {
			v.get("/fapi/v1/aggTrades?symbol=BTCUSDT")
		}
		status, head, body = v.get("/fapi/v1/ping")
		same(t, "status", status, 418)
		same(t, "retry", head.Get("Retry-After"), "120")
		same(t, "body", body, fmt.Sprintf(`{"code":-1003,"msg":"Way too many requests; IP(10.0.0.1) banned until %d. `+
			`Please use the websocket for live updates to avoid bans."}`, e.Now()+banFor))
		status, _ = v.post("/sim/faults", `{"kind":"disconnect"}`)
		same(t, "control is outside the limits", status, 200)
		time.Sleep(119 * time.Second)
		status, _, _ = v.get("/fapi/v1/ping")
		same(t, "still banned", status, 418)
		time.Sleep(time.Second)
		status, _, _ = v.get("/fapi/v1/ping")
		same(t, "after the ban", status, 200)
	})
}

func TestKlinesWindow(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 100, Seed: 3}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		time.Sleep(3*time.Minute + 7*time.Second)
		const minute = market.Minute
		open := oneMinute.open(e.Now())
		young := e.symbols[20]
		tests := []struct {
			query       string
			first, last market.Time
			count       int
		}{
			{"symbol=BTCUSDT", open - 499*minute, open, 500},
			{"symbol=BTCUSDT&limit=3", open - 2*minute, open, 3},
			{fmt.Sprintf("symbol=BTCUSDT&limit=3&startTime=%d", open-minute), open - minute, open, 2},
			{fmt.Sprintf("symbol=BTCUSDT&limit=3&startTime=%d", open-10*minute+1), open - 9*minute, open - 7*minute, 3},
			{fmt.Sprintf("symbol=BTCUSDT&limit=3&endTime=%d", open-10*minute-1), open - 13*minute, open - 11*minute, 3},
			{fmt.Sprintf("symbol=BTCUSDT&limit=3&startTime=%d&endTime=%d", open-10*minute, open), open - 10*minute, open - 8*minute, 3},
			{fmt.Sprintf("symbol=BTCUSDT&startTime=%d&endTime=%d", open-10*minute, open-8*minute), open - 10*minute, open - 8*minute, 3},
			{fmt.Sprintf("symbol=BTCUSDT&startTime=%d", open+minute), 0, 0, 0},
			{fmt.Sprintf("symbol=%s&limit=1500&startTime=%d", young.name, young.begin-90*minute), young.begin, young.begin + 1499*minute, 1500},
			{fmt.Sprintf("symbol=%s&startTime=%d&endTime=%d", young.name, young.begin-90*minute, young.begin-minute), 0, 0, 0},
			{"symbol=OMGUSDT&limit=3", open - 2*minute, open, 3},
		}
		for _, test := range tests {
			rows := v.rows("/fapi/v1/klines?interval=1m&" + test.query)
			same(t, test.query+": rows", len(rows), test.count)
			if len(rows) == 0 {
				continue
			}
			same(t, test.query+": first", fmt.Sprint(rows[0][0]), fmt.Sprint(int64(test.first)))
			same(t, test.query+": last", fmt.Sprint(rows[len(rows)-1][0]), fmt.Sprint(int64(test.last)))
		}
		day := v.rows("/fapi/v1/klines?interval=1d&limit=1500&symbol=" + young.name)
		same(t, "a young symbol's first day begins on the grid", fmt.Sprint(day[0][0]), fmt.Sprint(int64(young.begin-young.begin%market.Day)))
		if young.begin%market.Day == 0 || len(day) > 3 {
			t.Errorf("%s is not young: %d days", young.name, len(day))
		}
	})
}

// TestPaging holds that pages make up the whole, for every interval, and that truth and REST agree.
func TestPaging(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 100, Seed: 3}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		time.Sleep(2*time.Minute + 30*time.Second)
		for _, iv := range []string{"1m", "5m", "15m", "1h", "4h", "12h", "1d", "3d", "1w", "1M"} {
			var paged []string
			from := e.Now() - 4*market.Day
			if iv == "1w" || iv == "1M" {
				from = e.Now() - 80*market.Day
			}
			for start := from; ; {
				untilMinuteAllows(e, v)
				rows := v.rows(fmt.Sprintf("/fapi/v1/klines?symbol=ethusdt&interval=%s&startTime=%d&endTime=%d&limit=99", iv, start, at))
				for _, r := range rows {
					text, _ := json.Marshal(r)
					paged = append(paged, string(text))
				}
				if len(rows) < 99 {
					break
				}
				open, _ := rows[len(rows)-1][0].(json.Number).Int64()
				start = market.Time(open) + 1
			}
			truth, err := e.Truth("ETHUSDT", iv, from, at)
			if err != nil {
				t.Fatal(err)
			}
			same(t, iv, "["+strings.Join(paged, ",")+"]", string(truth))
		}
	})
}

// untilMinuteAllows waits for the next minute where this one's weight is nearly used.
func untilMinuteAllows(e *Exchange, v *visitor) {
	if _, head, _ := v.get("/fapi/v1/ping"); len(head.Get("X-Mbx-Used-Weight-1m")) > 3 {
		untilMinute(e)
	}
}

func TestAggTradesREST(t *testing.T) {
	if raced {
		t.Skip("a market of this length is run without the race detector: make test does both")
	}
	served(t, Options{Symbols: 40, Rate: 100, Seed: 3, Burn: 0.01}, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws/btcusdt@aggTrade")
		time.Sleep(3 * time.Minute)
		var sent []map[string]string
		for _, text := range s.taken() {
			sent = append(sent, decode(t, text))
		}
		var rows []map[string]any
		_, _, body := v.get(fmt.Sprintf("/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=%s&limit=1000", sent[0]["a"]))
		read := func(body string) []map[string]any {
			d := json.NewDecoder(strings.NewReader(body))
			d.UseNumber()
			rows = nil
			if err := d.Decode(&rows); err != nil {
				t.Fatal(err, body)
			}
			return rows
		}
		for i, r := range read(body) {
			for _, key := range strings.Split("a,p,q,nq,f,l,T,m", ",") {
				same(t, fmt.Sprint(i, " ", key), fmt.Sprint(r[key]), sent[i][key])
			}
		}
		same(t, "rows", len(rows), 1000)
		mid := sent[len(sent)/2]
		_, _, body = v.get(fmt.Sprintf("/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=%s&limit=3", mid["T"]))
		same(t, "from a time", fmt.Sprint(read(body)[0]["T"]), mid["T"])
		_, _, body = v.get(fmt.Sprintf("/fapi/v1/aggTrades?symbol=BTCUSDT&endTime=%s&limit=3", mid["T"]))
		same(t, "up to a time", fmt.Sprint(read(body)[2]["T"]), mid["T"])
		_, _, body = v.get("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=3")
		same(t, "the latest", fmt.Sprint(read(body)[2]["a"]), s.latest(t, sent)["a"])
		_, _, body = v.get("/fapi/v1/trades?symbol=BTCUSDT&limit=3")
		same(t, "trades", len(read(body)), 3)
		same(t, "keys of trades", keys(t, body[1:]), "id,price,qty,quoteQty,time,isBuyerMaker,isRPITrade")
	})
}

// latest is the newest record of those sent before and those taken now.
func (s *socket) latest(t *testing.T, sent []map[string]string) map[string]string {
	last := sent[len(sent)-1]
	for _, text := range s.taken() {
		last = decode(t, text)
	}
	return last
}

func TestExchangeInfo(t *testing.T) {
	served(t, Options{Symbols: 40, Rate: 100, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		_, _, body := v.get("/fapi/v1/exchangeInfo?symbol=ETHUSDT")
		same(t, "the order of keys", strings.HasPrefix(body, fmt.Sprintf(
			`{"timezone":"UTC","serverTime":%d,"futuresType":"U_MARGINED","rateLimits":[{"rateLimitType":"REQUEST_WEIGHT",`, e.Now())), true)
		if !strings.Contains(body, `"exchangeFilters":[],"assets":[{"asset":"USDT","marginAvailable":true,"autoAssetExchange":"-10000"}`) ||
			!strings.Contains(body, `{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,`) {
			t.Errorf("exchangeInfo: %.2000s", body)
		}
		var info struct{ Symbols []symbolWire }
		if err := json.Unmarshal([]byte(body), &info); err != nil {
			t.Fatal(err)
		}
		kinds := map[string]int{}
		for _, s := range info.Symbols {
			kinds[s.ContractType+" "+s.Status]++
		}
		same(t, "kinds", fmt.Sprint(kinds), "map[CURRENT_QUARTER TRADING:2 NEXT_QUARTER TRADING:2 PERPETUAL SETTLING:3 PERPETUAL TRADING:38 TRADIFI_PERPETUAL TRADING:2]")
	})
}

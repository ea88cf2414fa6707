package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"klined/market"
)

// listed is a symbol's entry in exchangeInfo, nil where it has none.
func (v *visitor) listed(name string) *symbolWire {
	v.t.Helper()
	_, _, body := v.get("/fapi/v1/exchangeInfo")
	var info infoWire
	if err := json.Unmarshal([]byte(body), &info); err != nil {
		v.t.Fatal(err)
	}
	if i := slices.IndexFunc(info.Symbols, func(s symbolWire) bool { return s.Symbol == name }); i >= 0 {
		return &info.Symbols[i]
	}
	return nil
}

// newcomers are symbols that the exchange lists on request, one a line: what is asked for, and what comes of it.
var newcomers = []struct {
	ask, name, contract string
	notice              market.Time // before it trades
	delivery            string
}{
	{`"symbol":"NEWUSDT","seconds":90`, "NEWUSDT", perpetual, 90 * market.Second, "2100-12-25T08:00:00Z"},
	{`"symbol":"新币USDT","seconds":0.5`, "新币USDT", perpetual, 500, "2100-12-25T08:00:00Z"},
	{`"symbol":"goldusdt","contractType":"TRADIFI_PERPETUAL"`, "GOLDUSDT", tradFi, 0, "2100-12-25T08:00:00Z"},
	{`"symbol":"NEWUSDT_270326","contractType":"NEXT_QUARTER","seconds":5`, "NEWUSDT_270326", nextQuarter, 5 * market.Second, "2027-03-26T08:00:00Z"},
	{`"seconds":60`, "FARTCOINUSDT", perpetual, market.Minute, "2100-12-25T08:00:00Z"},
}

func TestNewSymbol(t *testing.T) {
	for _, n := range newcomers {
		t.Run(n.name, func(t *testing.T) {
			served(t, Options{Symbols: 35, Rate: 100, Seed: 3, Burn: 0.3}, func(t *testing.T, e *Exchange, v *visitor) {
				lower := strings.ToLower(n.name)
				s := v.dial("/market/stream")
				s.subscribe(lower+"@aggTrade", lower+"@kline_1m", allMiniName)
				asked := e.Now()
				status, answer := v.post("/sim/faults", `{"kind":"list",`+n.ask+`}`)
				same(t, "the answer", fmt.Sprint(status, answer), `200{"conns":[],"kind":"list","symbol":"`+n.name+`"}`)
				s.subscribe(lower+"@aggTrade", lower+"@kline_1m", allMiniName) // what was there before it was listed is silent
				s.send(`{"method":"UNSUBSCRIBE","params":["` + lower + `@aggTrade","` + lower + `@kline_1m"],"id":2}`)
				s.subscribe(lower+"@aggTrade", lower+"@kline_1m")
				w := v.listed(n.name)
				same(t, "contractType", w.ContractType, n.contract)
				same(t, "deliveryDate", w.DeliveryDate, mustTime(t, n.delivery))
				same(t, "onboardDate", w.OnboardDate, asked+n.notice+1)
				if n.notice > 0 {
					v.unheardOf(n.name)
					time.Sleep(time.Duration(n.notice-1) * time.Millisecond)
					for _, frame := range s.taken() {
						if strings.Contains(frame, `"s":"`+n.name) {
							t.Fatal("before it trades: ", frame)
						}
					}
				}
				time.Sleep(3 * time.Minute)
				same(t, "status", v.listed(n.name).Status, statusTrading)
				v.fromItsFirstTrade(e, n.name, s.taken())
			})
		})
	}
}

// unheardOf checks what REST says of a symbol that has not traded.
func (v *visitor) unheardOf(name string) {
	v.t.Helper()
	same(v.t, "status", v.listed(name).Status, statusPending)
	for path, want := range map[string]string{
		"/fapi/v1/klines?interval=1m&symbol=":   "200 []",
		"/fapi/v1/klines?interval=1M&symbol=":   "200 []",
		"/fapi/v1/aggTrades?fromId=0&symbol=":   "200 []",
		"/fapi/v1/trades?symbol=":               "200 []",
		"/fapi/v1/ticker/price?symbol=":         `400 {"code":-1122,"msg":"Invalid symbol status."}`,
		"/fapi/v1/ticker/24hr?symbol=":          `400 {"code":-1122,"msg":"Invalid symbol status."}`,
		"/sim/truth?interval=1m&symbol=":        "200 []",
		"/sim/truth?interval=1s&symbol=":        "200 []",
		"/fapi/v1/klines?interval=1m&symbol=NO": `400 {"code":-1121,"msg":"Invalid symbol."}`,
	} {
		status, _, body := v.get(path + name)
		same(v.t, path, fmt.Sprint(status, " ", strings.TrimSpace(body)), want)
	}
	if _, _, body := v.get("/fapi/v1/ticker/price"); strings.Contains(body, name) {
		v.t.Error("it has a price")
	}
}

// fromItsFirstTrade checks that all of a symbol's trades came, from the first on, and that its klines begin with it.
func (v *visitor) fromItsFirstTrade(e *Exchange, name string, frames []string) {
	v.t.Helper()
	s := e.find(name)
	next, minis, closed := int64(1), 0, market.Time(0)
	for _, frame := range frames {
		var f struct {
			Data struct {
				E string
				A int64
				F int64
				K struct {
					T market.Time
					X bool
				}
			}
		}
		switch {
		case strings.Contains(frame, allMiniName):
			minis += strings.Count(frame, `"s":"`+name+`"`)
			continue
		case json.Unmarshal([]byte(strings.NewReplacer(`"E":`, `"EE":`, `"T":`, `"TT":`, `"f":`, `"F":`).Replace(frame)), &f) != nil:
			v.t.Fatal(frame)
		case f.Data.E == "aggTrade":
			same(v.t, "the next id", f.Data.A, next)
			if next == 1 {
				same(v.t, "the first fill", f.Data.F, 1)
			}
			next++
		case closed == 0 && f.Data.K.T != 0:
			closed = f.Data.K.T
		}
	}
	if next < 20 || minis < 20 {
		v.t.Errorf("%d trades, %d miniTickers", next-1, minis)
	}
	first := oneMinute.open(s.mem.fills[0].time())
	same(v.t, "the first kline on its stream", closed, first)
	for _, path := range []string{"/fapi/v1/klines?limit=1500&interval=1m&symbol=", "/sim/truth?startTime=1&interval=1m&symbol="} {
		rows := v.rows(path + name)
		same(v.t, path+": the first kline", fmt.Sprint(rows[0][0]), fmt.Sprint(int64(first)))
		same(v.t, path+": its open", fmt.Sprint(rows[0][1]), string(s.appendPrice(nil, s.mem.fills[0].price)))
	}
	second := s.mem.fills[0].time() / market.Second * market.Second
	same(v.t, "the first kline of a second", fmt.Sprint(v.rows("/sim/truth?startTime=1&interval=1s&symbol=" + name)[0][0]), fmt.Sprint(int64(second)))
	var fills int64
	for _, m := range s.minutes {
		fills += m.count
	}
	same(v.t, "fills in klines", fills, int64(len(s.mem.fills)))
}

// comesBack lists ETHUSDT again, which has ended with a fill: it goes on behind that, on the streams that were open.
func (v *visitor) comesBack(e *Exchange, s *socket, lastID int64) {
	v.t.Helper()
	status, answer := v.post("/sim/faults", `{"kind":"list","symbol":"ETHUSDT","seconds":30}`)
	same(v.t, "listed again", fmt.Sprint(status, answer), `200{"conns":[],"kind":"list","symbol":"ETHUSDT"}`)
	w := v.listed("ETHUSDT")
	same(v.t, "announced", fmt.Sprint(w.Status, w.DeliveryDate, w.OnboardDate), fmt.Sprint(statusPending, market.Time(perpetualDelivery), e.Now()+30001))
	time.Sleep(29 * time.Second)
	if frames := s.taken(); len(frames) > 0 {
		v.t.Error("before it trades: ", frames[0])
	}
	time.Sleep(3 * time.Minute)
	same(v.t, "status", v.listed("ETHUSDT").Status, statusTrading)
	next, minutes := lastID+1, 0
	for _, frame := range s.taken() {
		var f struct {
			First int64 `json:"f"`
			Last  int64 `json:"l"`
		}
		if strings.Contains(frame, `"e":"aggTrade"`) {
			if err := json.Unmarshal([]byte(frame), &f); err != nil || f.First != next {
				v.t.Fatalf("fill %d was to come: %s, %v", next, frame, err)
			}
			next = f.Last + 1
		} else if strings.Contains(frame, `"x":true`) {
			minutes++
		}
	}
	if next < lastID+50 || minutes < 2 {
		v.t.Errorf("%d fills, %d minutes", next-1-lastID, minutes)
	}
	status, answer = v.post("/sim/faults", `{"kind":"list","symbol":"ETHUSDT"}`)
	same(v.t, "once more", fmt.Sprint(status, answer), `400{"error":"list: symbol \"ETHUSDT\": there is one"}`)
}

func TestDelisted(t *testing.T) {
	for _, c := range []struct {
		ask, after string
	}{{"", "settling"}, {`,"gone":true`, "gone"}} {
		t.Run(c.after, func(t *testing.T) {
			served(t, Options{Symbols: 2, Rate: 100, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
				s := v.dial("/market/ws/ethusdt@aggTrade/ethusdt@kline_1m/ethusdt@markPrice@1s")
				asked := e.Now()
				status, answer := v.post("/sim/faults", `{"kind":"delist","symbol":"ethusdt","seconds":75`+c.ask+`}`)
				same(t, "the answer", fmt.Sprint(status, answer), `200{"conns":[],"kind":"delist"}`)
				w := v.listed("ETHUSDT")
				same(t, "announced", fmt.Sprint(w.Status, w.DeliveryDate), fmt.Sprint(statusTrading, asked+75001))
				time.Sleep(78 * time.Second)
				last := e.find("ETHUSDT").last
				if last.time() >= w.DeliveryDate || last.time() < w.DeliveryDate-5*market.Second {
					t.Errorf("the last fill at %v, where it ends at %v", last.time(), w.DeliveryDate)
				}
				s.taken()
				time.Sleep(5 * time.Minute)
				if frames := s.taken(); len(frames) > 0 {
					t.Error("after its end: ", frames[0])
				}
				status, answer = v.post("/sim/faults", `{"kind":"delist","symbol":"ETHUSDT"}`)
				same(t, "again", fmt.Sprint(status, answer), `400{"error":"delist: symbol \"ETHUSDT\": it is delisted"}`)
				defer v.comesBack(e, s, last.id)
				truth := v.rows("/sim/truth?interval=1m&limit=3&symbol=ETHUSDT")
				for _, r := range truth {
					same(t, "a kline after its end", fmt.Sprintf("%v %v %v %v", r[1], r[4], r[5], r[8]), fmt.Sprintf("%[1]s %[1]s 0.000 0", e.find("ETHUSDT").appendPrice(nil, last.price)))
				}
				status, _, body := v.get("/fapi/v1/klines?interval=1m&limit=3&symbol=ETHUSDT")
				if c.ask != "" {
					same(t, "REST", fmt.Sprint(status, body), `400{"code":-1121,"msg":"Invalid symbol."}`)
					if v.listed("ETHUSDT") != nil {
						t.Error("it is listed")
					}
					return
				}
				rows, _ := json.Marshal(truth)
				same(t, "REST", fmt.Sprint(status, body), fmt.Sprintf("200%s", rows))
				same(t, "status", v.listed("ETHUSDT").Status, statusSettling)
				same(t, "what trades", fmt.Sprint(e.Symbols()), "[BTCUSDT]")
			})
		})
	}
}

// TestNewSymbolDependsOnSeedNameAndTimeAlone: and the others are as they would be without it.
func TestNewSymbolDependsOnSeedNameAndTimeAlone(t *testing.T) {
	var all [3]*Exchange
	for i := range all {
		e := newExchange(t, Options{Symbols: 10, Rate: 100, Seed: 7})
		for now := at; now < at+market.Minute; now += market.Time(100 * (i + 1) * 7) {
			e.advanceTo(now)
		}
		e.advanceTo(at + market.Minute)
		if i < 2 {
			e.mu.Lock()
			if err := e.list(&Fault{Kind: FaultList, Symbol: "NEWUSDT", Seconds: 7}); err != nil {
				t.Fatal(err)
			}
			e.mu.Unlock()
		}
		e.advanceTo(at + 3*market.Minute)
		all[i] = e
	}
	for i, s := range all[0].symbols {
		for _, e := range all[1:] {
			if i < len(e.symbols) && !slices.Equal(s.mem.fills, e.symbols[i].mem.fills) {
				t.Errorf("%s: the fills differ", s.name)
			}
		}
	}
	if n := len(all[0].find("NEWUSDT").mem.fills); n < 10 {
		t.Errorf("%d fills", n)
	}
}

package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"klined/market"
)

// taped is the frame of an aggTrade of two fills, received 150 ms after it was traded, over two connections.
func taped(symbol string, id int64, price, qty string, traded market.Time) string {
	frame := fmt.Sprintf(`{"e":"aggTrade","E":%d,"a":%d,"s":%q,"p":%q,"q":%q,"nq":%q,"f":%d,"l":%d,"T":%d,"m":%t,"st":1}`,
		traded+100, id, symbol, price, qty, qty, 2*id, 2*id+1, traded, id%2 == 0)
	return fmt.Sprintf("%d000000 a %s\n%d000000 b %s\n", traded+150, frame, traded+151, frame)
}

// writeTape writes the lines of tapes into files, one each.
func writeTape(t *testing.T, tapes ...string) (files []string) {
	t.Helper()
	for i, text := range tapes {
		files = append(files, filepath.Join(t.TempDir(), fmt.Sprint(i)))
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// tapeBegin is where the tapes of these tests begin.
const tapeBegin = market.Time(1795456790000) // 2026-11-23T17:59:50Z

// tapeOfFour is a tape of four minutes: of BTCUSDT, which lacks a trade of its second minute or its third, of ETHUSDT, whose third minute the exchange's own
// kline is there of, and of what is no trade.
func tapeOfFour() []string {
	at := func(s float64) market.Time { return tapeBegin + market.Time(s*1000) }
	kline := func(open market.Time, closed bool) string {
		return fmt.Sprintf(`%d000000 k {"stream":"ethusdt@kline_1m","data":{"e":"kline","E":%d,"s":"ETHUSDT","k":{"t":%d,"T":%d,"s":"ETHUSDT","i":"1m","f":1,"L":20,"o":"5.0","c":"7.0","h":"9.0","l":"4.0","v":"20.00","n":20,"x":%t,"q":"100.000","V":"10.00","Q":"50.000","B":"0"}}}`+"\n",
			open+61150, open+61100, open, open+59999, closed)
	}
	return []string{
		taped("BTCUSDT", 70, "100.5", "2", at(0)) + taped("ETHUSDT", 1, "5.0", "1.00", at(1)) + "not a frame\n" +
			taped("BTCUSDT", 71, "101.5", "1.5", at(12)) + // the first whole minute
			fmt.Sprintf(`%d000000 c {"result":null,"id":1}`+"\n", at(13)) +
			taped("BTCUSDT", 72, "100.0", "1.0", at(20)),
		taped("BTCUSDT", 73, "102.0", "1.0", at(75)) + // the second
			fmt.Sprintf(`%d000000 m [{"e":"24hrMiniTicker","E":%d,"s":"BTCUSDT"},{"e":"24hrMiniTicker","E":%d,"s":"X","T":"?"}]`+"\n", at(76)+150, at(76)+100, at(76)) +
			taped("BTCUSDT", 75, "103.0", "1.0", at(140)) + taped("ETHUSDT", 3, "6.0", "1.00", at(141)) + // 74 and 2 are missing
			kline(at(130), true) + kline(at(190), false) +
			taped("BTCUSDT", 76, "104.0", "1.0", at(255)),
	}
}

func TestTapeIsPlayed(t *testing.T) {
	files, told := writeTape(t, tapeOfFour()...), ""
	played, err := ReadTape(func(name string, size int64) { told += fmt.Sprintln(name, size) }, files...)
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for i, text := range tapeOfFour() {
		want += fmt.Sprintln(files[i], len(text))
	}
	if told != want {
		t.Errorf("told of\n%swant\n%s", told, want)
	}
	served(t, Options{Tape: played, Speed: 2}, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/stream")
		s.subscribe("btcusdt@aggTrade", "ethusdt@kline_1m", allMiniName, "ethusdt@depth")
		_, _, prices := v.get("/fapi/v1/ticker/price")
		time.Sleep(105 * time.Second) // 210 of the tape
		frames := s.taken()
		var kinds []string
		for _, f := range frames {
			name, _, _ := strings.Cut(strings.TrimPrefix(f, `{"stream":"`), `"`)
			kinds = append(kinds, name)
		}
		want := "btcusdt@aggTrade btcusdt@aggTrade btcusdt@aggTrade btcusdt@aggTrade !miniTicker@arr btcusdt@aggTrade ethusdt@kline_1m"
		same(t, "what came", strings.Join(kinds, " "), want)
		same(t, "a frame as it was", strings.Contains(taped("BTCUSDT", 72, "100.0", "1.0", tapeBegin+20000), strings.TrimSuffix(strings.TrimPrefix(frames[2], `{"stream":"btcusdt@aggTrade","data":`), "}")), true)
		same(t, "prices at the begin", prices, fmt.Sprintf(`[{"symbol":"BTCUSDT","price":"100.5","time":%d}]`, tapeBegin))
		same(t, "what is listed", v.listed("BTCUSDT").Status+v.listed("ETHUSDT").ContractType, statusTrading+perpetual)

		minute := func(n int) market.Time { return oneMinute.open(tapeBegin) + market.Time(n)*market.Minute }
		const klines = "/fapi/v1/klines?interval=1m&symbol="
		for path, want := range map[string]string{
			klines + "BTCUSDT&limit=3": `503 {"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`,
			klines + fmt.Sprintf("BTCUSDT&endTime=%d", minute(1)): fmt.Sprintf(`200 [[%d,"101.5","101.5","100.0","100.0","2.5",%d,"252.25",4,"1.5","152.25","0"]]`,
				minute(1), minute(2)-1),
			klines + fmt.Sprintf("ETHUSDT&startTime=%d&endTime=%d", minute(2), minute(2)): `503 {"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`,
			klines + fmt.Sprintf("ETHUSDT&startTime=%d&endTime=%d", minute(3), minute(3)): fmt.Sprintf(`200 [[%d,"5.0","9.0","4.0","7.0","20.00",%d,"100.000",20,"10.00","50.000","0"]]`,
				minute(3), minute(4)-1),
			"/fapi/v1/aggTrades?fromId=70&symbol=BTCUSDT":   `503 {"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`,
			"/sim/truth?interval=1m&limit=3&symbol=BTCUSDT": `400 {"error":"symbol \"BTCUSDT\": the tape lacks trades"}`,
			"/sim/truth?interval=1s&symbol=BTCUSDT":         `400 {"error":"interval \"1s\": of a tape there are none shorter than 1m"}`,
		} {
			status, _, body := v.get(path)
			same(t, path, fmt.Sprint(status, " ", strings.TrimSpace(body)), want)
		}
		status, body := v.post("/sim/faults", `{"kind":"list"}`)
		same(t, "a new symbol", fmt.Sprint(status, body), `400{"error":"list: its market is a tape"}`)

		time.Sleep(time.Hour)
		same(t, "the market at the end", e.look(e.find("BTCUSDT")).now, played.to)
		_, _, body = v.get("/fapi/v1/ticker/price?symbol=BTCUSDT")
		same(t, "its last price", body, fmt.Sprintf(`{"symbol":"BTCUSDT","price":"104.0","time":%d}`, tapeBegin+255000))
	})
}

// TestTapeInAnyOrder: what a tape says of its minutes does not depend on the order of its lines.
func TestTapeInAnyOrder(t *testing.T) {
	lines := strings.SplitAfter(strings.Join(tapeOfFour(), ""), "\n")
	var first *Tape
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		played, err := ReadTape(nil, writeTape(t, strings.Join(lines, ""))...)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = played
		}
		for name, s := range first.symbols {
			got := played.symbols[name]
			same(t, fmt.Sprint(name, " with seed ", seed), tapeSays(got, played.to), tapeSays(s, first.to))
		}
		r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	}
}

func tapeSays(s *tapeSymbol, until market.Time) string {
	var rows []string
	for _, r := range s.minutes {
		rows = append(rows, fmt.Sprintf("%+v", *r))
	}
	slices.Sort(rows)
	from, gaps := s.whole(until)
	return fmt.Sprintf("%d.%d from %s, without %v, %v: %s", s.priceDigits, s.qtyDigits, from, gaps, s.runs, strings.Join(rows, "\n"))
}

func TestTapeThatCannotBePlayed(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no trades", "1795456790000 c {\"result\":null,\"id\":1}\n", "no trades on the tape"},
		{"no text", "BZh9\x00", "cannot play: NAME: a bzip2 file; want text, plain or packed once (gzip, zip, zstd)"},
	} {
		name := writeTape(t, c.text)[0]
		if _, err := ReadTape(nil, name); err == nil || err.Error() != strings.ReplaceAll(c.want, "NAME", name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	damaged := append(writeTape(t, tapeOfFour()...), writeTape(t, "\x28\xb5\x2f\xfd"+strings.Repeat("\xff", 100))...)
	if _, err := ReadTape(nil, damaged...); err == nil || !strings.HasPrefix(err.Error(), "cannot play: "+damaged[len(damaged)-1]+": line 1, byte 0: ") {
		t.Errorf("damaged: %v", err)
	}
	if _, err := ReadTape(nil, "none"); err == nil || err.Error() != "open none: no such file or directory" {
		t.Error(err)
	}
}

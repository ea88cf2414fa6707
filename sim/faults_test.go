package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFaultsAreReadStrictly(t *testing.T) {
	const kinds = `disconnect, silence, drop, duplicate, reorder, garbage, rest_429, rest_418, rest_500, rest_slow, rest_wrong, archive_wrong, ` +
		`clock_skew, list, delist or clear`
	tests := []struct{ body, want string }{
		{`{"kind":"disconect"}`, `unknown kind "disconect": want ` + kinds},
		{`{}`, `unknown kind : want ` + kinds},
		{`{"kind":7}`, `unknown kind 7: want ` + kinds},
		{`{"kind":"disconnect","seconds":3}`, `disconnect has no field "seconds": want conn, path, stream, symbol`},
		{`{"kind":"silence","percent":3}`, `silence has no field "percent": want seconds, conn, path, stream, symbol`},
		{`{"kind":"drop","percent":10,"secs":3}`, `drop has no field "secs": want percent, seconds, conn, path, stream, symbol`},
		{`{"kind":"rest_slow","symbol":"BTCUSDT"}`, `rest_slow has no field "symbol": want seconds, delay, path`},
		{`{"kind":"rest_429","delay":1}`, `rest_429 has no field "delay": want seconds, path`},
		{`{"kind":"clock_skew","seconds":1}`, `clock_skew has no field "seconds": want ms`},
		{`{"kind":"clear","kinds":1}`, `clear has no field "kinds": it has none`},
		{`{"kind":"drop","seconds":3}`, `drop: percent 0: want more than 0, at most 100`},
		{`{"kind":"duplicate","percent":10}`, `duplicate: seconds 0: want more than 0 and less than a million`},
		{`{"kind":"silence"}`, `silence: seconds 0: want more than 0 and less than a million`},
		{`{"kind":"silence","seconds":1,"symbol":"NOSUCH"}`, `silence: symbol "NOSUCH": there is none`},
		{`{"kind":"reorder","percent":101,"seconds":1}`, `reorder: percent 101: want more than 0, at most 100`},
		{`{"kind":"garbage"}`, `garbage: n 0: want 1 to 100000`},
		{`{"kind":"rest_429"}`, `rest_429: seconds 0: want more than 0 and less than a million`},
		{`{"kind":"rest_418","seconds":-1}`, `rest_418: seconds -1: want more than 0 and less than a million`},
		{`{"kind":"rest_500","seconds":1e6}`, `rest_500: seconds 1e+06: want more than 0 and less than a million`},
		{`{"kind":"rest_slow","seconds":1,"delay":61}`, `rest_slow: delay 61: want more than 0, at most 60`},
		{`{"kind":"rest_wrong","how":"lacks"}`, `rest_wrong: seconds 0: want more than 0 and less than a million`},
		{`{"kind":"rest_wrong","seconds":1,"path":"klines"}`, `rest_wrong has no field "path": want seconds, symbol, how`},
		{`{"kind":"rest_wrong","seconds":1,"how":"holes"}`, `rest_wrong: how "holes": want lacks, breaks or changes`},
		{`{"kind":"archive_wrong","seconds":1,"how":"Holes"}`,
			`archive_wrong: how "Holes": want checksum, holes, order, micros, headerless, missing or broken`},
		{`{"kind":"archive_wrong","seconds":1,"symbol":"NOSUCH"}`, `archive_wrong: symbol "NOSUCH": there is none`},
		{`{"kind":"rest_500","seconds":1,"how":"lacks"}`, `rest_500 has no field "how": want seconds, path`},
		{`{"kind":"list","seconds":-1}`, `list: seconds -1: want 0 or more, and less than a million`},
		{`{"kind":"list","symbol":"BTCUSDT"}`, `list: symbol "BTCUSDT": there is one`},
		{`{"kind":"list","symbol":"NEW"}`, `list: symbol "NEW": want one like NEWUSDT`},
		{`{"kind":"list","symbol":"N-WUSDT"}`, `list: symbol "N-WUSDT": want letters and digits, of any script`},
		{`{"kind":"list","symbol":"NEWUSDT_261225"}`, `list: symbol "NEWUSDT_261225": want one like NEWUSDT`},
		{`{"kind":"list","symbol":"NEWUSDT","contractType":"NEXT_QUARTER"}`, `list: symbol "NEWUSDT": want one like NEWUSDT_261225 for a NEXT_QUARTER`},
		{`{"kind":"list","contractType":"SPOT"}`, `list: contractType "SPOT": want PERPETUAL, TRADIFI_PERPETUAL, CURRENT_QUARTER or NEXT_QUARTER`},
		{`{"kind":"delist"}`, `delist: symbol "": there is none`},
		{`{"kind":"delist","symbol":"NOSUCH"}`, `delist: symbol "NOSUCH": there is none`},
		{`{"kind":"delist","symbol":"btcuſdt"}`, `delist: symbol "BTCUſDT": there is none`},
		{`{"kind":"list","symbol":"newuſdt"}`, `list: symbol "newuſdt": want one like NEWUSDT`},
		{`{"kind":"delist","symbol":"OMGUSDT"}`, `delist: symbol "OMGUSDT": it is delisted`},
		{`{"kind":"clock_skew"}`, `clock_skew: ms 0: want -3600000 to 3600000, and not 0`},
		{`{"kind":"clock_skew","ms":-3600001}`, `clock_skew: ms -3600001: want -3600000 to 3600000, and not 0`},
	}
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		for _, test := range tests {
			status, body := v.post("/sim/faults", test.body)
			want, _ := json.Marshal(map[string]string{"error": test.want})
			same(t, test.body, fmt.Sprint(status, " ", body), "400 "+string(want))
		}
		status, body := v.post("/sim/faults", `not json`)
		same(t, "not JSON", status, 400)
		if !strings.Contains(body, "JSON object") {
			t.Error(body)
		}
		if status, body := v.post("/sim/faults", `{"kind":"garbage","n":1,"lies":"yes"}`); status != 400 || !strings.Contains(body, `garbage: lies \"yes\"`) {
			t.Error(status, body)
		}
		status, _, body = v.get("/sim/truth?interval=1m&symbol=btcuſdt")
		same(t, "a letter of another script", fmt.Sprint(status, strings.TrimSpace(body)), `400{"error":"symbol \"btcuſdt\": there is none"}`)
		_, err := e.Fault(Fault{Kind: FaultREST500, Seconds: 1, Conn: 3})
		same(t, "a field that the kind does not know", fmt.Sprint(err), `rest_500 has no field "conn": want seconds, path`)
		same(t, "faults", e.Status().Faults, 0)
	})
}

func TestDisconnect(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		gone := func(s *socket) bool {
			synctest.Wait()
			select {
			case <-s.over:
				return true
			default:
				return false
			}
		}
		one, two := v.dial("/market/ws/btcusdt@aggTrade"), v.dial("/market/ws/ethusdt@kline_1m")
		three := v.dial("/public/ws/btcusdt@trade")
		synctest.Wait()
		status, body := v.post("/sim/faults", `{"kind":"disconnect","conn":2}`)
		same(t, "answer", fmt.Sprint(status, body), `200{"conns":[2],"kind":"disconnect"}`)
		same(t, "gone", fmt.Sprint(gone(one), gone(two), gone(three)), "false true false")
		same(t, "no close frame", int(two.code), 0)
		_, body = v.post("/sim/faults", `{"kind":"disconnect","stream":"@trade"}`)
		same(t, "answer", body, `{"conns":[3],"kind":"disconnect"}`)
		_, body = v.post("/sim/faults", `{"kind":"disconnect","path":"/public"}`)
		same(t, "answer", body, `{"conns":[],"kind":"disconnect"}`)
		same(t, "gone", fmt.Sprint(gone(one), gone(three)), "false true")
		_, body = v.post("/sim/faults", `{"kind":"disconnect","conn":"all"}`)
		same(t, "answer", body, `{"conns":[1],"kind":"disconnect"}`)
		same(t, "gone", gone(one), true)
		same(t, "connections", len(e.Status().Connections), 0)
	})
}

func TestDropAndDuplicate(t *testing.T) {
	opt := Options{Symbols: 2, Rate: 200, Seed: 3}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		hurt, other := v.dial("/market/ws/btcusdt@aggTrade"), v.dial("/market/ws/btcusdt@aggTrade")
		count := func(s *socket) (frames, ids int) {
			seen := map[string]bool{}
			for _, text := range s.taken() {
				seen[decode(t, text)["a"]] = true
				frames++
			}
			return frames, len(seen)
		}
		for _, kind := range []string{"drop", "duplicate"} {
			synctest.Wait()
			count(hurt)
			count(other)
			status, body := v.post("/sim/faults", fmt.Sprintf(`{"kind":%q,"percent":20,"seconds":10,"conn":1}`, kind))
			same(t, body, status, 200)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			frames, ids := count(hurt)
			all, allIDs := count(other)
			if all != allIDs || all < 500 {
				t.Errorf("%s: the other connection got %d frames of %d ids", kind, all, allIDs)
			}
			if share := float64(frames) / float64(all); kind == "drop" && (share < 0.72 || share > 0.88 || ids != frames) {
				t.Errorf("drop: %d frames of %d", frames, all)
			} else if kind == "duplicate" && (share < 1.12 || share > 1.28 || ids != all) {
				t.Errorf("duplicate: %d frames, %d ids of %d", frames, ids, all)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			frames, _ = count(hurt)
			all, _ = count(other)
			same(t, kind+" is over", frames, all)
		}
	})
}

func TestGarbage(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		for _, path := range []string{"/market/ws/btcusdt@depth", "/market/stream?streams=btcusdt@depth"} {
			s := v.dial(path)
			synctest.Wait()
			status, body := v.post("/sim/faults", `{"kind":"garbage","n":26}`)
			same(t, body, status, 200)
			synctest.Wait()
			frames := s.taken()
			same(t, "frames", len(frames), 26)
			for _, f := range frames {
				var trade struct {
					P, Q string
					A, L int64
				}
				if i := strings.Index(f, `"data":`); i > 0 && json.Valid([]byte(f)) {
					f = f[i+7 : len(f)-1]
				}
				if json.Unmarshal([]byte(f), &trade) == nil && trade.P != "" && trade.L > 0 && len(trade.P) < 20 && trade.P[0] != '-' &&
					!strings.Contains(f, "\xff") {
					t.Errorf("garbage that is a record: %s", f)
				}
			}
			select {
			case <-s.over:
				t.Error("garbage ends the connection")
			default:
			}
			_ = s.conn.Close()
			synctest.Wait()
		}
	})
}

func TestStatusAndTape(t *testing.T) {
	served(t, Options{Symbols: 2, Rate: 100, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/stream?streams=btcusdt@aggTrade/nosuch@aggTrade")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		frames := s.taken()
		_, _, body := v.get("/sim/status")
		var st Status
		if err := json.Unmarshal([]byte(body), &st); err != nil {
			t.Fatal(err)
		}
		c := st.Connections[0]
		same(t, "connection", fmt.Sprint(c.Conn, c.Path, c.Streams, c.Sent), fmt.Sprint(1, "/market", 2, len(frames)))
		same(t, "clock", st.Now, e.Now())
		if st.Trades < 500 || st.Fills < st.Trades || st.Symbols != 2 || st.Streams != 1 {
			t.Errorf("status: %+v", st)
		}
		_, _, tape := v.get("/sim/tape?limit=5")
		lines := strings.Split(strings.TrimSpace(tape), "\n")
		same(t, "lines", len(lines), 5)
		same(t, "the last line", `{"stream":"btcusdt@aggTrade","data":`+lines[4]+"}", frames[len(frames)-1])
	})
}

// TestFaultsEnd holds that faults end by themselves, one by one, and all at once on request.
func TestFaultsEnd(t *testing.T) {
	served(t, Options{Symbols: 2, Rate: 100, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws/btcusdt@aggTrade")
		inForce := func() string {
			var st struct {
				Faults  int
				InForce json.RawMessage
			}
			_, _, body := v.get("/sim/status")
			if err := json.Unmarshal([]byte(body), &st); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(st.Faults, " ", string(st.InForce))
		}
		same(t, "at first", inForce(), `0 []`)
		for _, f := range []Fault{
			{Kind: FaultSilence, Seconds: 10}, {Kind: FaultREST500, Seconds: 4.5}, {Kind: FaultSilence, Seconds: 100}, {Kind: FaultREST418, Seconds: 200},
		} {
			if _, err := e.Fault(f); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		same(t, "after 2 s", inForce(), `4 [{"kind":"silence","secondsLeft":8},{"kind":"rest_500","secondsLeft":2.5},`+
			`{"kind":"silence","secondsLeft":98},{"kind":"rest_418","secondsLeft":198}]`)
		time.Sleep(8 * time.Second)
		same(t, "after 10 s", inForce(), `2 [{"kind":"silence","secondsLeft":90},{"kind":"rest_418","secondsLeft":190}]`)
		synctest.Wait()
		same(t, "frames", len(s.taken()), 0)
		status, _, _ := v.get("/fapi/v1/ping")
		same(t, "status", status, 418)

		status, body := v.post("/sim/faults", `{"kind":"clear"}`)
		same(t, "answer", fmt.Sprint(status, body), `200{"conns":[],"kind":"clear"}`)
		same(t, "after the end", inForce(), `0 []`)
		status, _, _ = v.get("/fapi/v1/ping")
		same(t, "status", status, 200)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(s.taken()) == 0 {
			t.Error("silence after the end of all faults")
		}
	})
}

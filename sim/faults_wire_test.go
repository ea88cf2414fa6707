package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// heard names the streams that frames came from, each as symbol and kind.
func heard(t *testing.T, frames []string) string {
	t.Helper()
	kinds := map[string]bool{}
	for _, text := range frames {
		if _, data, ok := strings.Cut(text, `"data":`); ok {
			text = data[:len(data)-1]
		}
		if text[0] != '[' {
			f := decode(t, text)
			kinds[f["s"]+" "+f["e"]] = true
			continue
		}
		kinds["all"] = true
		for _, name := range []string{"BTCUSDT", "ETHUSDT"} {
			if strings.Contains(text, `"s":"`+name+`"`) {
				kinds["all "+name] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
}

// TestWhoSuffers holds whom a fault is about: of three connections, what each hears while it lasts.
func TestWhoSuffers(t *testing.T) {
	const (
		all  = "all, all BTCUSDT, all ETHUSDT"
		one  = "BTCUSDT aggTrade"
		two  = "BTCUSDT 24hrMiniTicker, BTCUSDT aggTrade, BTCUSDT kline, ETHUSDT aggTrade, " + all
		both = "BTCUSDT trade, ETHUSDT trade"
	)
	tests := []struct {
		fault string
		conns string
		hears [3]string
	}{
		{`"kind":"silence"`, "[1 2 3]", [3]string{}},
		{`"kind":"silence","conn":"all"`, "[1 2 3]", [3]string{}},
		{`"kind":"silence","conn":1`, "[1]", [3]string{"", two, both}},
		{`"kind":"silence","path":"/public"`, "[3]", [3]string{one, two, ""}},
		{`"kind":"silence","stream":"@aggTrade"`, "[1 2]", [3]string{"", "BTCUSDT 24hrMiniTicker, BTCUSDT kline, " + all, both}},
		{`"kind":"silence","stream":"miniTicker"`, "[2]", [3]string{one, "BTCUSDT aggTrade, BTCUSDT kline, ETHUSDT aggTrade", both}},
		{`"kind":"silence","symbol":"BTCUSDT"`, "[1 2 3]", [3]string{"", "ETHUSDT aggTrade, " + all, "ETHUSDT trade"}},
		{`"kind":"silence","symbol":"btcusdt","conn":2`, "[2]", [3]string{one, "ETHUSDT aggTrade, " + all, both}},
		{`"kind":"silence","symbol":"BTCUSDT","stream":"miniTicker"`, "[2]",
			[3]string{one, "BTCUSDT aggTrade, BTCUSDT kline, ETHUSDT aggTrade", both}},
		{`"kind":"silence","symbol":"BTCUSDT_261225"`, "[]", [3]string{one, two, both}},
		{`"kind":"drop","percent":100,"symbol":"ETHUSDT"`, "[2 3]",
			[3]string{one, "BTCUSDT 24hrMiniTicker, BTCUSDT aggTrade, BTCUSDT kline, " + all, "BTCUSDT trade"}},
		{`"kind":"rest_429"`, "[]", [3]string{one, two, both}},
	}
	served(t, Options{Symbols: 2, Rate: 60, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		sockets := []*socket{
			v.dial("/market/ws/btcusdt@aggTrade"),
			v.dial("/market/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade/btcusdt@kline_1m/!miniTicker@arr/btcusdt@miniTicker"),
			v.dial("/ws/btcusdt@trade/ethusdt@trade"),
		}
		during := func(span time.Duration) (hears [3]string) {
			time.Sleep(span)
			synctest.Wait()
			for i, s := range sockets {
				hears[i] = heard(t, s.taken())
			}
			return hears
		}
		during(5 * time.Second)
		for _, test := range tests {
			status, body := v.post("/sim/faults", "{"+test.fault+`,"seconds":5}`)
			same(t, test.fault+body, status, 200)
			same(t, test.fault, body[9:strings.Index(body, "]")+1], strings.ReplaceAll(test.conns, " ", ","))
			during(0) // what was sent at that moment, but before the fault
			same(t, test.fault, during(5*time.Second-time.Millisecond), test.hears)
			same(t, test.fault+" is over", during(5*time.Second), [3]string{one, two, both})
		}
	})
}

// TestSilence holds what a silent connection still gets, who is silent of those that come later, and that what was
// not sent is lost to the wire but not to REST.
func TestSilence(t *testing.T) {
	served(t, Options{Symbols: 2, Rate: 6, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws/btcusdt@aggTrade")
		time.Sleep(5 * time.Second)
		status, body := v.post("/sim/faults", `{"kind":"silence","seconds":190,"path":"/market"}`)
		same(t, body, status, 200)
		synctest.Wait()
		before := s.taken()

		late := v.dial("/market/ws/btcusdt@aggTrade")
		time.Sleep(185 * time.Second)
		s.send(`{"method":"LIST_SUBSCRIPTIONS","id":7}`)
		_ = ws.WriteFrame(s.conn, ws.MaskFrame(ws.NewPingFrame([]byte("hello"))))
		synctest.Wait()
		same(t, "the silent connection", strings.Join(s.taken(), " "), `{"result":["btcusdt@aggTrade"],"id":7} pong hello`)
		same(t, "pings", len(s.pings), 1)
		same(t, "the late one", len(late.taken()), 0)
		same(t, "frames counted", e.Status().Connections[0].Sent, uint64(len(before)))

		time.Sleep(10 * time.Second)
		synctest.Wait()
		after := s.taken()
		same(t, "the late one, after", strings.Join(late.taken(), "\n"), strings.Join(after, "\n"))
		first, last := id(t, after[0]), id(t, before[len(before)-1])
		if first < last+100 {
			t.Fatalf("from id %d to %d: nothing was lost", last, first)
		}
		_, _, rows := v.get(fmt.Sprintf("/fapi/v1/aggTrades?symbol=BTCUSDT&limit=1000&fromId=%d", last+1))
		next := last + 1
		for row := range strings.SplitSeq(rows, "},{") {
			if !strings.Contains(row, fmt.Sprintf(`"a":%d,`, next)) {
				t.Fatalf("%s: want id %d", row, next)
			}
			next++
		}
		if next <= first {
			t.Errorf("REST has ids up to %d, the wire goes on with %d", next-1, first)
		}

		if _, err := e.Fault(Fault{Kind: FaultSilence, Seconds: 10, Conn: 1}); err != nil {
			t.Fatal(err)
		}
		other := v.dial("/market/ws/btcusdt@aggTrade")
		time.Sleep(9 * time.Second)
		synctest.Wait()
		same(t, "conn 1", len(s.taken()), 0)
		if len(other.taken()) == 0 {
			t.Error("a connection that the fault does not name is silent")
		}
	})
}

// id is that of an aggTrade's frame.
func id(t *testing.T, text string) int64 {
	t.Helper()
	if _, data, ok := strings.Cut(text, `"data":`); ok {
		text = data[:len(data)-1]
	}
	n, err := strconv.ParseInt(decode(t, text)["a"], 10, 64)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return n
}

func TestReorder(t *testing.T) {
	served(t, Options{Symbols: 2, Rate: 200, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		hurt, other := v.dial("/market/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade"), v.dial("/market/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade")
		both := func() (got, want []string) {
			synctest.Wait()
			return hurt.taken(), other.taken()
		}
		time.Sleep(time.Second)
		both()
		status, body := v.post("/sim/faults", `{"kind":"reorder","percent":20,"seconds":10,"conn":1,"symbol":"BTCUSDT"}`)
		same(t, body, status, 200)
		time.Sleep(10*time.Second + 2*holdBack)
		got, want := both()
		same(t, "frames", len(got), len(want))
		swapped, ours := 0, 0
		for i := 0; i < len(got); i++ {
			if strings.Contains(want[i], "BTCUSDT") {
				ours++
			}
			if got[i] == want[i] {
				continue
			}
			if i+1 == len(got) || got[i] != want[i+1] || got[i+1] != want[i] {
				t.Fatalf("frame %d is not swapped with the next:\n%s", i, got[i])
			}
			if !strings.Contains(want[i], "BTCUSDT") {
				t.Errorf("another symbol's frame was held back: %s", want[i])
			}
			swapped++
			i++
		}
		if share := float64(swapped) / float64(ours); share < 0.12 || share > 0.25 {
			t.Errorf("%d of %d frames swapped", swapped, ours)
		}
		time.Sleep(5 * time.Second)
		got, want = both()
		same(t, "reorder is over", strings.Join(got, "\n"), strings.Join(want, "\n"))
	})
}

// TestReorderAlone holds that a frame that no other follows is late, not lost.
func TestReorderAlone(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		hurt, other := v.dial("/market/ws/btcusdt@aggTrade"), v.dial("/market/ws/btcusdt@aggTrade")
		if _, err := e.Fault(Fault{Kind: FaultReorder, Percent: 100, Seconds: 1000, Conn: 1}); err != nil {
			t.Fatal(err)
		}
		alone := 0
		for alone < 5 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			frames := other.taken()
			if len(frames) == 0 {
				continue
			}
			time.Sleep(30 * time.Millisecond)
			synctest.Wait()
			early := hurt.taken()
			time.Sleep(30 * time.Millisecond)
			synctest.Wait()
			if len(frames) == 1 && len(other.taken()) == 0 {
				same(t, "within 30 ms", len(early), 0)
				same(t, "within 60 ms", strings.Join(hurt.taken(), "\n"), frames[0])
				alone++
			}
		}
		for len(other.taken()) == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		same(t, "held back", len(hurt.taken()), 0)
		if _, err := e.Fault(Fault{Kind: FaultClear}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		same(t, "once all faults are over", len(hurt.taken()), 1)
	})
}

func TestDuplicateOfASymbol(t *testing.T) {
	served(t, Options{Symbols: 2, Rate: 60, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws/btcusdt@aggTrade/ethusdt@aggTrade")
		if _, err := e.Fault(Fault{Kind: FaultDuplicate, Percent: 100, Seconds: 1000, Symbol: "ETHUSDT"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		times := map[string]int{}
		for _, text := range s.taken() {
			times[text]++
		}
		for text, n := range times {
			if want := 1 + strings.Count(text, `"s":"ETHUSDT"`); n != want {
				t.Fatalf("%d times, want %d: %s", n, want, text)
			}
		}
	})
}

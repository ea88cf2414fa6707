package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestKlineStreams holds that every kline is closed once, in order and at its time, and equals the truth.
func TestKlineStreams(t *testing.T) {
	if raced {
		t.Skip("a market of a quarter of an hour: make test runs it without the race detector")
	}
	opt := Options{Symbols: 40, Rate: 25, Seed: 5, Start: mustTime(t, "2027-02-28T12:52:00Z")}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		names := []string{"btcusdt", "1000pepeusdt", "dentusdt", e.byName[e.symbols[24].name].lower}
		s := v.dial("/market/ws")
		var streams []string
		for _, name := range names {
			for _, iv := range []string{"1m", "5m", "1h", "1M"} {
				streams = append(streams, name+"@kline_"+iv)
			}
		}
		s.subscribe(streams...)
		time.Sleep(14 * time.Minute)
		synctest.Wait()
		next := map[string]market.Time{}
		lastSent := map[string]market.Time{}
		closed := map[string]int{}
		for _, text := range s.taken() {
			f := decode(t, text)
			if f["k"] == "" {
				continue
			}
			k := decode(t, text[strings.Index(text, `"k":`)+4:len(text)-1])
			key := k["s"] + k["i"]
			open, end, sent := ms(k["t"]), ms(k["T"]), ms(f["E"])
			if next[key] != 0 && open != next[key] {
				t.Fatalf("%s: %v where %v is next", key, open, next[key])
			}
			next[key] = open
			if k["x"] == "true" {
				next[key] = end + 1
				closed[key]++
				checkClose(t, e, k, sent)
			} else if sent-lastSent[key] < 250 {
				t.Errorf("%s: two frames of a running kline within %d ms", key, sent-lastSent[key])
			} else {
				lastSent[key] = sent
			}
		}
		t.Log(closed)
		if closed["BTCUSDT1m"] < 13 || closed["BTCUSDT5m"] != 3 || closed["BTCUSDT1h"] != 1 || closed["DENTUSDT1m"] < 3 {
			t.Errorf("closes: %v", closed)
		}
	})
}

func ms(text string) market.Time {
	n, _ := strconv.ParseInt(text, 10, 64)
	return market.Time(n)
}

// checkClose compares an x:true frame with the truth, and its time with the wire's.
func checkClose(t *testing.T, e *Exchange, k map[string]string, sent market.Time) {
	t.Helper()
	boundary := ms(k["T"]) + 1
	s := e.byName[k["s"]]
	e.mu.Lock()
	proof := s.mem.fills[s.mem.since(boundary)].time() // the trade without which the exchange closes nothing
	e.mu.Unlock()
	if latest := max(boundary+2050, proof+50); sent < boundary+200 || sent < proof || sent > latest {
		t.Errorf("%s %s closed %d ms after its boundary, %d after the next trade", k["s"], k["i"], sent-boundary, sent-proof)
	}
	truth, err := e.Truth(k["s"], k["i"], ms(k["t"]), ms(k["t"]))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf(`[[%s,"%s","%s","%s","%s","%s",%s,"%s",%s,"%s","%s","0"]]`,
		k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"])
	same(t, "kline "+k["s"]+k["i"], got, string(truth))
	if k["n"] == "0" && (k["f"] != "-1" || k["L"] != "-1") {
		t.Errorf("an empty kline has ids %s and %s", k["f"], k["L"])
	}
	if k["n"] != "0" && e.opt.Burn == 0 {
		same(t, "ids of "+k["s"]+k["i"], ms(k["L"])-ms(k["f"])+1, ms(k["n"]))
	}
}

// TestEveryIntervalClosesAtOneBoundary starts before a Monday that is a month's first and a 3d anchor.
func TestEveryIntervalClosesAtOneBoundary(t *testing.T) {
	if raced {
		t.Skip("a market of this length is run without the race detector: make test does both")
	}
	opt := Options{Symbols: 2, Rate: 50, Seed: 5, Start: mustTime(t, "2027-02-28T23:57:30Z")}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		s := v.dial("/market/ws")
		var streams []string
		for _, iv := range exchangeIntervals {
			streams = append(streams, "btcusdt@kline_"+iv, "btcusdt_perpetual@continuousKline_"+iv)
		}
		s.subscribe(streams...)
		time.Sleep(153 * time.Second)
		synctest.Wait()
		boundary := mustTime(t, "2027-03-01T00:00:00Z")
		closed := map[string][]string{}
		for _, text := range s.taken() {
			f := decode(t, text)
			k := decode(t, text[strings.Index(text, `"k":`)+4:len(text)-1])
			if k["x"] != "true" || ms(k["T"])+1 != boundary {
				continue
			}
			closed[f["e"]] = append(closed[f["e"]], k["i"])
			if f["e"] == "kline" {
				checkClose(t, e, k, ms(f["E"]))
			}
		}
		for _, kind := range []string{"kline", "continuous_kline"} {
			if !slices.Equal(closed[kind], exchangeIntervals[:]) {
				t.Errorf("%s: closed %v", kind, closed[kind])
			}
		}
	})
}

package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestClockSteps holds that a step of the clock shows at REST at once, and that trades, klines and truth stay one over
// it: ids go on, times never go back, every kline closes once, and no row that has been shown changes or goes away.
func TestClockSteps(t *testing.T) {
	for _, steps := range [][]int64{{90_000}, {-20_000}, {45_000, -45_000}, {-3_000, 70_000, -200}} {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			served(t, Options{Symbols: 2, Rate: 8, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
				trade, agg, kline := v.dial("/ws/btcusdt@trade/ethusdt@trade"), v.dial("/market/ws/btcusdt@aggTrade/ethusdt@aggTrade"), v.dial("/market/ws/btcusdt@kline_1m")
				from := oneMinute.next(e.Now())
				untilMinute(e)
				time.Sleep(2 * time.Second)
				for _, step := range steps {
					stepClock(t, e, v, step)
					time.Sleep(20 * time.Second)
				}
				to := max(from+3*market.Minute, oneMinute.next(e.Now()))
				time.Sleep((to + 3*market.Second).Sub(e.Now()))
				synctest.Wait()
				var fills []frame
				for _, frames := range [][]string{trade.taken(), agg.taken()} {
					next, last := map[string]int64{}, map[string]market.Time{}
					for _, text := range frames {
						f := decode(t, text)
						s, id := f["s"]+f["e"], int64(ms(f["t"]+f["a"]))
						if next[s] != 0 && id != next[s] || ms(f["T"]) < last[s] {
							t.Fatalf("after id %d at %d: %s", next[s]-1, last[s], text)
						}
						next[s], last[s] = id+1, ms(f["T"])
						if f["e"] == "trade" && ms(f["T"]) >= from && ms(f["T"]) < to {
							fills = append(fills, f)
						}
					}
				}
				equal, differ := difference(t, e, rebuild(fills, oneMinute), oneMinute, from, to)
				if len(differ) > 0 || equal < 6 {
					t.Errorf("%d minutes equal, not %v", equal, differ)
				}
				checkCloses(t, e, kline.taken(), from, to)
			})
		})
	}
}

// stepClock steps the clock and holds what REST and wire say of it at once.
func stepClock(t *testing.T, e *Exchange, v *visitor, step int64) {
	t.Helper()
	before, rows := e.Now(), v.rows("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=10")
	reached := e.look(e.byName["BTCUSDT"]).now
	heard := v.dial("/market/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade/btcusdt@kline_1m/!miniTicker@arr")
	synctest.Wait()
	v.inject(fmt.Sprintf(`{"kind":"clock_skew","ms":%d}`, step))
	_, _, body := v.get("/fapi/v1/time")
	same(t, "time", body, fmt.Sprintf(`{"serverTime":%d}`, int64(before)+step))
	after := v.rows("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=10")
	first := slices.IndexFunc(rows, func(r []any) bool { return r[0] == after[0][0] })
	for i, r := range rows[first : len(rows)-1] {
		same(t, "a closed kline", fmt.Sprint(after[i]), fmt.Sprint(r))
	}
	synctest.Wait()
	burst := strings.Count(strings.Join(heard.taken(), "\n"), `"e":"aggTrade"`)
	pause := reached.Sub(e.Now())
	if pause <= 0 {
		if burst < 100 {
			t.Errorf("a step of %d ms: %d trades at once", step, burst)
		}
		return
	}
	same(t, "the klines as they stood", fmt.Sprint(after), fmt.Sprint(rows))
	time.Sleep(pause - time.Millisecond)
	synctest.Wait()
	same(t, "frames until the clock has caught up", burst+len(heard.taken()), 0)
	time.Sleep(5 * time.Second)
	synctest.Wait()
	if len(heard.taken()) == 0 {
		t.Error("the market does not go on")
	}
}

// checkCloses holds that each minute closed once, in order, and as in the truth.
func checkCloses(t *testing.T, e *Exchange, frames []string, from, to market.Time) {
	t.Helper()
	next := market.Time(0)
	for _, text := range frames {
		k := decode(t, text[strings.Index(text, `"k":`)+4:len(text)-1])
		open := ms(k["t"])
		if next != 0 && open != next {
			t.Fatalf("%d where %d is next: %s", open, next, text)
		}
		next = open
		if k["x"] != "true" {
			continue
		}
		next += market.Minute
		truth, err := e.Truth("BTCUSDT", "1m", open, open)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf(`[[%s,"%s","%s","%s","%s","%s",%s,"%s",%s,"%s","%s","0"]]`,
			k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"])
		same(t, "kline", got, string(truth))
	}
	if next < to {
		t.Errorf("klines closed up to %d, want %d", next, to)
	}
}

// TestStepsDoNotChangeTheMarket holds that the same fills happen at the same times, however the clock is stepped.
func TestStepsDoNotChangeTheMarket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stepped, plain := newExchange(t, busy()), newExchange(t, busy())
		for _, step := range []int64{30_000, -10_000, 25_000} {
			time.Sleep(time.Second)
			if _, err := stepped.Fault(Fault{Kind: FaultClockSkew, MS: step}); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "clock", stepped.Now(), plain.Now()+45_000)
		same(t, "skew", stepped.Status().Skew, 45_000)
		plain.advanceTo(stepped.Now())
		for i, s := range stepped.symbols {
			if o := plain.symbols[i]; !slices.Equal(s.mem.fills, o.mem.fills) || s.mem.sent != o.mem.sent {
				t.Fatalf("%s: the fills differ", s.name)
			}
		}
	})
}

func TestFaultsLastAsLongWhateverTheClockSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExchange(t, quiet())
		for _, f := range []Fault{{Kind: FaultSilence, Seconds: 10}, {Kind: FaultClockSkew, MS: 60_000}, {Kind: FaultClockSkew, MS: -90_000}} {
			if _, err := e.Fault(f); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "the clock in status", e.Status().Now, e.Now())
		time.Sleep(10*time.Second - time.Millisecond)
		same(t, "faults", fmt.Sprint(e.Status().InForce), "[{silence 0.001}]")
		time.Sleep(time.Millisecond)
		same(t, "faults", e.Status().Faults, 0)
	})
}

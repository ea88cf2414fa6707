package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// parted are the frames of garbage that read as records, in full, and those that do not.
func parted(t *testing.T, frames []string) (records, rest []string) {
	t.Helper()
	for _, text := range frames {
		payload := text
		if _, data, ok := strings.Cut(text, `"data":`); ok && json.Valid([]byte(text)) {
			payload = data[:len(data)-1]
		}
		var r struct {
			E, S, P, Q string
			T          int64
		}
		_ = json.Unmarshal([]byte(payload), &r)
		if (r.E == "aggTrade" || r.E == "trade") && r.P != "" && len(r.P) < 20 && r.P[0] != '-' && !strings.Contains(payload, "\xff") {
			records = append(records, text)
		} else {
			rest = append(rest, text)
		}
	}
	return records, rest
}

// truthOf are the records that a socket has been sent, by symbol and id.
func truthOf(t *testing.T, frames []string, key string) map[string]frame {
	t.Helper()
	out := map[string]frame{}
	for _, text := range frames {
		if _, data, ok := strings.Cut(text, `"data":`); ok {
			text = data[:len(data)-1]
		}
		f := decode(t, text)
		out[f["s"]+" "+f[key]] = f
	}
	return out
}

// TestLies holds what garbage says that reads as a record: in which streams, in the wire's form, and that it is never
// true, neither then nor when the ids that it took come.
func TestLies(t *testing.T) {
	opt := Options{Symbols: 2, Rate: 60, Seed: 3}
	for _, c := range []struct{ path, key, kind, keys string }{
		{"/market/stream?streams=btcusdt@kline_1m/ethusdt@aggTrade/nosuch@aggTrade/btcusdt@trade/btcusdt@aggTrade", "a", "aggTrade", "e,E,a,s,p,q,nq,f,l,T,m,st"},
		{"/market/ws/ethusdt@aggTrade/btcusdt@aggTrade", "a", "aggTrade", "e,E,a,s,p,q,nq,f,l,T,m,st"},
		{"/ws/ethusdt@trade/btcusdt@trade", "t", "trade", "e,E,T,s,t,p,q,X,m,st"},
		{"/stream?streams=ethusdt@trade/btcusdt@trade", "t", "trade", "e,E,T,s,t,p,q,X,m,st"},
	} {
		served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
			told, witness := v.dial(c.path), v.dial(c.path)
			v.dial("/ws/btcusdt@trade") // so that this stream is there, though those on /market do not hear it
			time.Sleep(10 * time.Second)
			synctest.Wait()
			before := witness.taken()
			newest, _ := parted(t, before)
			true1 := truthOf(t, newest, c.key)
			told.taken()
			status, body := v.post("/sim/faults", `{"kind":"garbage","n":12,"lies":true,"conn":1}`)
			same(t, body, status, 200)
			now := e.Now()
			synctest.Wait()
			lies, rest := parted(t, told.taken())
			same(t, "lies", fmt.Sprint(len(lies), len(rest)), "12 0")

			time.Sleep(30 * time.Second)
			synctest.Wait()
			later, _ := parted(t, witness.taken())
			true2 := truthOf(t, later, c.key)
			prices := map[string]bool{}
			for _, f := range append(slices.Collect(maps.Values(true1)), slices.Collect(maps.Values(true2))...) {
				prices[f["p"]] = true
			}
			for i, text := range lies {
				if wrapped := strings.Contains(c.path, "streams="); wrapped {
					name := []string{"ethusdt", "btcusdt"}[i/3%2] + "@" + c.kind
					inner, ok := strings.CutPrefix(text, `{"stream":"`+name+`","data":`)
					same(t, text, ok, true)
					text = inner[:len(inner)-1]
				}
				same(t, text, keys(t, text), c.keys)
				f := decode(t, text)
				same(t, text, f["s"], []string{"ETHUSDT", "BTCUSDT"}[i/3%2])
				want := []string{fmt.Sprint(latestID(true1, f["s"], c.key) + 1), fmt.Sprint(latestID(true1, f["s"], c.key) + farAhead), fmt.Sprint(1 + i/6)}
				same(t, "the id of "+text, f[c.key], want[i%3])
				about := now
				if i%3 == 0 {
					about += market.Hour
				}
				if ms(f["E"]) != about || ms(f["T"]) > about || ms(f["T"]) < about-200 {
					t.Errorf("%s: its time is to be about %d", text, about)
				}
				for _, truth := range []frame{true1[f["s"]+" "+f[c.key]], true2[f["s"]+" "+f[c.key]]} {
					if truth != nil && truth["T"] == f["T"] {
						t.Errorf("a lie that is nearly true: %s, %v", text, truth)
					}
				}
				same(t, "a true price: "+text, prices[f["p"]], false)
				if i%3 == 0 && true2[f["s"]+" "+f[c.key]] == nil {
					t.Errorf("%s: its id has never come truly", text)
				}
			}
			same(t, "the witness is told none", len(later), len(truthOf(t, later, c.key)))
		})
	}
}

// latestID is the highest id among a symbol's records.
func latestID(records map[string]frame, symbol, key string) int64 {
	var latest int64
	for _, f := range records {
		if f["s"] == symbol {
			latest = max(latest, int64(ms(f[key])))
		}
	}
	return latest
}

func TestGarbageAndLies(t *testing.T) {
	tests := []struct {
		fault           string
		conns           string
		records, others int // on the first connection
		deaf            int // on the second one, which hears no trades
	}{
		{`"n":1`, "[1,2]", 0, 1, 1},
		{`"n":20`, "[1,2]", 10, 10, 20},
		{`"n":20,"lies":false`, "[1,2]", 0, 20, 20},
		{`"n":20,"lies":true`, "[1]", 20, 0, 0},
		{`"n":20,"lies":true,"conn":2`, "[]", 0, 0, 0},
		{`"n":20,"lies":true,"symbol":"ETHUSDT"`, "[1]", 20, 0, 0},
		{`"n":20,"lies":true,"stream":"kline"`, "[]", 0, 0, 0},
		{`"n":20,"stream":"kline"`, "[2]", 0, 0, 20},
	}
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		hears, deaf := v.dial("/market/ws/btcusdt@aggTrade/ethusdt@aggTrade"), v.dial("/market/ws/btcusdt@kline_1m/btcusdt@trade")
		for _, test := range tests {
			synctest.Wait()
			hears.taken()
			deaf.taken()
			_, body := v.post("/sim/faults", `{"kind":"garbage",`+test.fault+`}`)
			same(t, test.fault, body, `{"conns":`+test.conns+`,"kind":"garbage"}`)
			synctest.Wait()
			records, others := parted(t, hears.taken())
			same(t, test.fault, fmt.Sprint(len(records), len(others)), fmt.Sprint(test.records, test.others))
			if strings.Contains(test.fault, "ETHUSDT") {
				same(t, test.fault, heard(t, records), "ETHUSDT aggTrade")
			}
			records, others = parted(t, deaf.taken())
			same(t, test.fault+" without trades", fmt.Sprint(len(records), len(others)), fmt.Sprint(0, test.deaf))
		}
	})
}

// TestNoPriceIsALie holds what tells a lie from every record: its price.
func TestNoPriceIsALie(t *testing.T) {
	e := newExchange(t, Options{Symbols: 200, Rate: 200, Seed: 5})
	e.advanceTo(at + market.Minute)
	for _, s := range e.symbols {
		for hour := int64(s.begin / market.Hour); hour < int64((at+pastDays*market.Day)/market.Hour); hour++ {
			if level := s.path.hourLevel(hour); level > 2*s.mid {
				t.Fatalf("%s: %d, with its middle at %d", s.name, level, s.mid)
			}
		}
		for i := range s.mem.fills {
			if price := s.mem.fills[i].price; price > 2*s.mid {
				t.Fatalf("%s: a fill at %d, with its middle at %d", s.name, price, s.mid)
			}
		}
	}
}

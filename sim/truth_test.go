package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/govalues/decimal"

	"klined/market"
)

// frame is what a client reads in one.
type frame = map[string]string

// naive is a kline that a client sums from what it receives, in decimals.
type naive struct {
	o, h, l, c   decimal.Decimal
	v, q, bv, bq decimal.Decimal
	n            int64
	begun        bool
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (k *naive) trade(price, qty string, fills int64, buy bool) {
	p, q := must(decimal.Parse(price)), must(decimal.Parse(qty))
	if !k.begun {
		k.o, k.h, k.l, k.begun = p, p, p, true
	}
	k.h, k.l, k.c = k.h.Max(p), k.l.Min(p), p
	amount := must(p.Mul(q))
	k.v, k.q = must(k.v.Add(q)), must(k.q.Add(amount))
	if buy {
		k.bv, k.bq = must(k.bv.Add(q)), must(k.bq.Add(amount))
	}
	k.n += fills
}

// fields are the nine values that the exchange publishes.
func (k *naive) fields() []string {
	var out []string
	for _, d := range []decimal.Decimal{k.o, k.h, k.l, k.c, k.v, k.q, k.bv, k.bq} {
		out = append(out, d.Trim(0).String())
	}
	return append(out, strconv.FormatInt(k.n, 10))
}

// truthFields are the same of a row of REST.
func truthFields(r []any) []string {
	var out []string
	for _, i := range []int{1, 2, 3, 4, 5, 7, 9, 10} {
		out = append(out, must(decimal.Parse(r[i].(string))).Trim(0).String())
	}
	return append(out, fmt.Sprint(r[8]))
}

// rebuild sums the frames of a stream into klines of an interval.
func rebuild(frames []frame, iv interval) map[string]map[market.Time]*naive {
	out := map[string]map[market.Time]*naive{}
	for _, f := range frames {
		if f["s"] == "" || f["X"] != "" && f["X"] != "MARKET" && f["X"] != "RPI" {
			continue
		}
		symbol := f["s"]
		if out[symbol] == nil {
			out[symbol] = map[market.Time]*naive{}
		}
		open := iv.open(ms(f["T"]))
		if out[symbol][open] == nil {
			out[symbol][open] = &naive{}
		}
		fills := int64(1)
		if f["e"] == "aggTrade" {
			fills = int64(ms(f["l"]) - ms(f["f"]) + 1)
		}
		out[symbol][open].trade(f["p"], f["q"], fills, f["m"] == "false")
	}
	return out
}

// record listens to all symbols' aggTrades or trades for some minutes, and gives the frames from the first boundary
// of a minute on.
func record(t *testing.T, e *Exchange, v *visitor, kind string, minutes int) (frames []frame, from, to market.Time) {
	t.Helper()
	path := map[string]string{"aggTrade": "/market/ws", "trade": "/public/ws"}[kind]
	s := v.dial(path)
	var names []string
	for _, name := range e.Symbols() {
		names = append(names, strings.ToLower(name)+"@"+kind)
	}
	s.subscribe(names...)
	from = oneMinute.next(e.Now())
	to = from + market.Time(minutes)*market.Minute
	time.Sleep((to + market.Second).Sub(e.Now()))
	synctest.Wait()
	for _, text := range s.taken() {
		f := decode(t, text)
		if at := ms(f["T"]); at >= from && at < to {
			frames = append(frames, f)
		}
	}
	return frames, from, to
}

// difference counts the klines of the truth that differ from those rebuilt.
func difference(t *testing.T, e *Exchange, built map[string]map[market.Time]*naive, iv interval, from, to market.Time) (equal int, differ []string) {
	t.Helper()
	for _, symbol := range e.Symbols() {
		body, err := e.Truth(symbol, iv.name, from, to-1)
		if err != nil {
			t.Fatal(err)
		}
		var rows [][]any
		d := json.NewDecoder(strings.NewReader(string(body)))
		d.UseNumber()
		if err := d.Decode(&rows); err != nil {
			t.Fatal(err)
		}
		if want := int((to - from) / iv.length); len(rows) != want {
			t.Fatalf("%s %s: %d rows of %d", symbol, iv.name, len(rows), want)
		}
		for _, r := range rows {
			open := ms(fmt.Sprint(r[0]))
			k := built[symbol][open]
			switch {
			case k == nil && fmt.Sprint(r[8]) == "0" && r[1] == r[4] && r[2] == r[3]:
				equal++
			case k != nil && slices.Equal(k.fields(), truthFields(r)):
				equal++
			default:
				differ = append(differ, fmt.Sprintf("%s %s %d", symbol, iv.name, open))
			}
		}
	}
	return equal, differ
}

func TestKlinesFromTradesEqualTheTruth(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 50, Seed: 11, Straddle: 0.01, Burn: 0.01}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		frames, from, to := record(t, e, v, "trade", 2)
		for _, name := range []string{"1s", "5s", "15s", "1m"} {
			iv := must(parseInterval(name))
			equal, differ := difference(t, e, rebuild(frames, iv), iv, from, to)
			if len(differ) > 0 || equal == 0 {
				t.Errorf("%s: %d equal, not %.300v", name, equal, differ)
			}
		}
	})
}

func TestKlinesFromAggTradesEqualTheTruth(t *testing.T) {
	opt := Options{Symbols: 40, Rate: 80, Seed: 11}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		frames, from, to := record(t, e, v, "aggTrade", 2)
		for _, name := range []string{"1s", "5s", "1m"} {
			iv := must(parseInterval(name))
			equal, differ := difference(t, e, rebuild(frames, iv), iv, from, to)
			if len(differ) > 0 || equal == 0 {
				t.Errorf("%s: %d equal, not %.300v", name, equal, differ)
			}
		}
	})
}

// TestDeviationsExplain holds that klines from aggTrades differ from the truth by exactly what GET /sim/deviations
// lists, and that they are equal once that is put right.
func TestDeviationsExplain(t *testing.T) {
	if raced {
		t.Skip("a market of this length is run without the race detector: make test does both")
	}
	opt := Options{Symbols: 40, Rate: 80, Seed: 11, Straddle: 0.005, Burn: DefaultBurn}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		frames, from, to := record(t, e, v, "aggTrade", 3)
		built := rebuild(frames, oneMinute)
		plain, differ := difference(t, e, built, oneMinute, from, to)
		if len(differ) == 0 {
			t.Fatal("nothing differs")
		}
		byTrade := map[string]frame{}
		for _, f := range frames {
			byTrade[f["s"]+" "+f["a"]] = f
		}
		// Each aggTrade that straddles is taken out and put in again fill by fill, each burnt id is not counted.
		explained := map[string]bool{}
		var fixed []frame
		for _, symbol := range e.Symbols() {
			d := e.askDeviations(t, v, symbol, from-market.Minute, to)
			for _, b := range d.Burnt {
				explained[fmt.Sprintf("%s 1m %d", symbol, oneMinute.open(b.T))] = true
			}
			for _, s := range d.Straddles {
				for _, open := range []market.Time{oneMinute.open(s.T), oneMinute.open(s.Beyond[0].Time)} {
					explained[fmt.Sprintf("%s 1m %d", symbol, open)] = true
				}
			}
			fixed = append(fixed, repair(byTrade, symbol, d)...)
		}
		for _, key := range differ {
			if !explained[key] {
				t.Errorf("%s differs and nothing explains it", key)
			}
		}
		fixed = slices.AppendSeq(fixed, maps.Values(byTrade))
		slices.SortFunc(fixed, func(a, b frame) int { return cmp.Compare(ms(a["f"]), ms(b["f"])) })
		equal, left := difference(t, e, rebuild(fixed, oneMinute), oneMinute, from, to)
		t.Logf("%d minutes equal as they are, %d differ; %d equal once put right", plain, len(differ), equal)
		if len(left) > 0 {
			t.Errorf("still different: %.300v", left)
		}
	})
}

func (e *Exchange) askDeviations(t *testing.T, v *visitor, symbol string, from, to market.Time) (d deviations) {
	t.Helper()
	_, _, body := v.get(fmt.Sprintf("/sim/deviations?symbol=%s&startTime=%d&endTime=%d", symbol, from, to))
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err, body)
	}
	return d
}

// repair takes what deviates out of the aggTrades and gives it as what the exchange has counted.
func repair(byTrade map[string]frame, symbol string, d deviations) (frames []frame) {
	line := func(f frame, qty string, first, count int64, at market.Time) {
		frames = append(frames, frame{"e": "aggTrade", "s": symbol, "p": f["p"], "q": qty, "m": f["m"],
			"f": fmt.Sprint(first), "l": fmt.Sprint(first + count - 1), "T": fmt.Sprint(int64(at))})
	}
	burnt := map[int64][]int64{}
	for _, b := range d.Burnt {
		burnt[b.A] = append(burnt[b.A], b.ID)
	}
	straddles := map[int64]straddle{}
	for _, s := range d.Straddles {
		straddles[s.A] = s
		if burnt[s.A] == nil {
			burnt[s.A] = []int64{}
		}
	}
	for a, ids := range burnt {
		key := fmt.Sprint(symbol, " ", a)
		f := byTrade[key]
		if f == nil { // it began before the first boundary: what lies beyond is all that counts here
			f = frame{"q": "0", "f": "0", "l": "-1", "T": "0"}
			if s, ok := straddles[a]; ok {
				f["p"], f["m"] = s.Beyond[0].Price, fmt.Sprint(s.Beyond[0].Maker)
			}
		}
		delete(byTrade, key)
		first, last := int64(ms(f["f"])), int64(ms(f["l"]))
		rest := must(decimal.Parse(f["q"]))
		count := last - first + 1 - int64(len(ids))
		for _, b := range straddles[a].Beyond {
			line(f, b.Qty, b.ID, 1, b.Time)
			if f["T"] != "0" {
				rest = must(rest.Sub(must(decimal.Parse(b.Qty))))
				count--
			}
		}
		if f["T"] != "0" {
			line(f, rest.String(), first, count, ms(f["T"]))
		}
	}
	return frames
}

// TestTruthReachesAsFarAsFills holds that fills are forgotten in whole minutes, and that minutes are not.
func TestTruthReachesAsFarAsFills(t *testing.T) {
	e := newExchange(t, Options{Symbols: 10, Rate: 500, Seed: 1, Start: at})
	for now := at; now < at+6*market.Minute; now += market.Second {
		e.advanceTo(now)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s, now := e.byName["ETHUSDT"], at+6*market.Minute
	before := s.look(now).klines(oneMinute, window{at - market.Hour, 0, 1000})
	second := must(parseInterval("1s"))
	all := s.short(second, window{1, 0, 10_000}, now)
	held := e.live.held
	for range 3 {
		e.forget()
	}
	if e.live.held >= held {
		t.Errorf("%d fills remembered of %d", e.live.held, held)
	}
	left := s.short(second, window{1, 0, 10_000}, now)
	if !slices.Equal(left, all[len(all)-len(left):]) || len(left) == len(all) {
		t.Errorf("of %d seconds, %d are left", len(all), len(left))
	}
	same(t, "begin", left[0].open, s.from)
	if !slices.Equal(before, s.look(now).klines(oneMinute, window{at - market.Hour, 0, 1000})) {
		t.Error("minutes changed")
	}
}

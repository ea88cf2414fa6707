package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/govalues/decimal"

	"klined/market"
)

// wrongness says in what way a row of REST is wrong, beside the truth; before is the truth's row before it.
func wrongness(got, truth, before []any) string {
	if slices.Equal(got, truth) {
		return "right"
	}
	value := func(r []any, i int) decimal.Decimal { return must(decimal.Parse(fmt.Sprint(r[i]))) }
	num := func(i int) decimal.Decimal { return value(got, i) }
	within := func(amount, qty decimal.Decimal) bool {
		return amount.Cmp(must(num(3).Mul(qty))) >= 0 && amount.Cmp(must(num(2).Mul(qty))) <= 0
	}
	count, volume := num(8).Cmp(value(truth, 8)), num(5).Cmp(value(truth, 5))
	empty := slices.Equal(got[1:5], slices.Repeat(before[4:5], 4))
	switch {
	case num(2).Cmp(num(3)) < 0:
		return "high below low"
	case num(9).Cmp(num(5)) > 0:
		return "taker above volume"
	case num(8).IsZero() && !num(5).IsZero():
		return "no count"
	case num(8).IsZero() && !empty, num(1).Max(num(4)).Cmp(num(2)) > 0, num(1).Min(num(4)).Cmp(num(3)) < 0,
		!within(num(7), num(5)), !within(num(10), num(9)), got[0] != truth[0], got[6] != truth[6]:
		return fmt.Sprint("not consistent: ", got)
	case count < 0 && volume < 0:
		return "lacks"
	case count > 0 && volume > 0:
		return "more"
	}
	return fmt.Sprint("wrong: ", got)
}

func TestRESTWrong(t *testing.T) {
	lacks := func(int64) string { return "lacks" }
	breaks := func(n int64) string { return []string{"high below low", "taker above volume", "no count"}[n%3] }
	more := func(int64) string { return "more" }
	tests := []struct {
		how  string
		want func(n int64) string // of the n-th minute, hour or day since 1970
	}{
		{`,"how":"lacks"`, lacks},
		{`,"how":"breaks"`, breaks},
		{`,"how":"changes"`, more},
		{``, func(n int64) string { return []func(int64) string{lacks, breaks, more}[n%3](n / 3) }},
	}
	served(t, Options{Symbols: 40, Rate: 20, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		time.Sleep(7*time.Minute + 30*time.Second)
		for _, test := range tests {
			untilMinute(e)
			time.Sleep(30 * time.Second)
			v.inject(`{"kind":"rest_wrong","seconds":20` + test.how + `}`)
			seen := map[string]int{}
			for _, symbol := range []string{"BTCUSDT", "DENTUSDT", "OMGUSDT"} { // busy, silent, delisted
				for iv, length := range map[string]market.Time{"1m": market.Minute, "1h": market.Hour, "1d": market.Day} {
					truth := v.rows("/sim/truth?limit=100&symbol=" + symbol + "&interval=" + iv)
					path := "/fapi/v1/klines?limit=99&symbol=" + symbol + "&interval=" + iv
					got, again := v.rows(path), v.rows(path)
					for i := range got {
						before, right := truth[i], truth[i+1]
						open, _ := strconv.ParseInt(fmt.Sprint(got[i][0]), 10, 64)
						want := test.want(open / int64(length))
						if fmt.Sprint(right[8]) == "0" || i == len(got)-1 {
							want = "right"
						}
						what := fmt.Sprintf("%s: %s %s %d: %v", test.how, symbol, iv, open, right)
						same(t, what, wrongness(got[i], right, before), want)
						same(t, what+" again: the same", slices.Equal(got[i], again[i]), want != "more")
						same(t, what+" again", wrongness(again[i], right, before), want)
						if fmt.Sprint(got[i][8]) == "0" && want == "lacks" {
							want = "lacks its only trade"
						}
						seen[want]++
					}
				}
			}
			t.Log(test.how, seen)
			for _, want := range []string{"right", test.want(0), test.want(1), test.want(2)} {
				if seen[want] == 0 {
					t.Errorf("%s: no row is %q: %v", test.how, want, seen)
				}
			}
			if test.how == `,"how":"lacks"` && seen["lacks its only trade"] == 0 {
				t.Error("no row lacks its only trade")
			}
		}
	})
}

// TestRESTWrongIsOfREST holds what such a fault is not about.
func TestRESTWrongIsOfREST(t *testing.T) {
	served(t, Options{Symbols: 2, Rate: 60, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		const query = "interval=1m&limit=50"
		klines := func(symbol string) string {
			return fmt.Sprint(v.rows("/fapi/v1/klines?" + query + "&symbol=" + symbol))
		}
		continuous := func() string {
			return fmt.Sprint(v.rows("/fapi/v1/continuousKlines?contractType=PERPETUAL&pair=BTCUSDT&" + query))
		}
		truth := func(symbol string) string { return fmt.Sprint(v.rows("/sim/truth?" + query + "&symbol=" + symbol)) }
		untilMinute(e)
		s := v.dial("/market/ws/btcusdt@kline_1m")
		v.inject(`{"kind":"rest_wrong","seconds":100,"symbol":"btcusdt","how":"lacks"}`)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		same(t, "its klines", klines("BTCUSDT") != truth("BTCUSDT"), true)
		same(t, "its continuous klines", continuous(), klines("BTCUSDT"))
		same(t, "another symbol's", klines("ETHUSDT"), truth("ETHUSDT"))
		closes := 0
		for _, text := range s.taken() {
			f := decode(t, text)
			if k := decode(t, text[strings.Index(text, `"k":`)+4:len(text)-1]); k["x"] == "true" {
				checkClose(t, e, k, ms(f["E"]))
				closes++
			}
		}
		same(t, "closes by frame", closes, 1)
		time.Sleep(10 * time.Second)
		same(t, "at its end", klines("BTCUSDT"), truth("BTCUSDT"))
		same(t, "continuous", continuous(), truth("BTCUSDT"))
	})
}

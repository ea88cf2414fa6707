package sim

import (
	"crypto/sha256"
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
		file := archivePath("BTCUSDT", "1h", "2026-11-22")
		before := v.file(file)
		untilMinute(e)
		s := v.dial("/market/ws/btcusdt@kline_1m")
		v.inject(`{"kind":"rest_wrong","seconds":100,"symbol":"btcusdt","how":"lacks"}`)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		same(t, "its klines", klines("BTCUSDT") != truth("BTCUSDT"), true)
		same(t, "its continuous klines", continuous(), klines("BTCUSDT"))
		same(t, "another symbol's", klines("ETHUSDT"), truth("ETHUSDT"))
		same(t, "the archive", v.file(file) == before, true)
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

func TestArchiveWrong(t *testing.T) {
	day, month := archivePath("币安人生USDT", "1h", "2026-11-22"), archivePath("BTCUSDT", "1mo", "2026-10")
	tests := []struct {
		how string
		// What becomes of a file's lines, the header first, of the day's 24 rows and the month's one; nil: it cannot be read.
		lines func(lines []string) []string
		fits  bool // the checksum does
	}{
		{howChecksum, slices.Clone[[]string], false},
		{howHoles, func(l []string) []string {
			if len(l) == 2 {
				return l
			}
			return slices.Concat(l[:1+8], l[1+10:1+17], l[1+20:])
		}, true},
		{howOrder, func(l []string) []string {
			l = append(slices.Clone(l), l[1])
			if len(l) > 3 {
				slices.Reverse(l[1+6 : 1+18])
			}
			return l
		}, true},
		{howMicros, func(l []string) []string {
			out := l[:1:1]
			for _, line := range l[1:] {
				cells := strings.Split(line, ",")
				cells[0], cells[6] = cells[0]+"000", cells[6]+"999"
				out = append(out, strings.Join(cells, ","))
			}
			return out
		}, true},
		{howHeaderless, func(l []string) []string { return l[1:] }, true},
		{howBroken, nil, true},
	}
	served(t, Options{Symbols: 10, Rate: 1, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		for _, path := range []string{day, month} {
			right, rightSum := v.file(path), v.file(path+".CHECKSUM")
			_, lines := unpack(t, right)
			for _, test := range tests {
				v.inject(fmt.Sprintf(`{"kind":"archive_wrong","seconds":10,"how":%q}`, test.how))
				body, sum := v.file(path), v.file(path+".CHECKSUM")
				what := path + " " + test.how
				name := unescaped(path[strings.LastIndex(path, "/")+1:])
				same(t, what+": checksum fits", sum == fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(body)), name), test.fits)
				same(t, what+": checksum's form", len(sum), len(rightSum))
				same(t, what+": again", v.file(path) == body && v.file(path+".CHECKSUM") == sum, true)
				if test.lines == nil {
					same(t, what, body, right[:len(right)/2])
				} else {
					_, got := unpack(t, body)
					same(t, what, strings.Join(got, "\n"), strings.Join(test.lines(lines), "\n"))
				}
				time.Sleep(10 * time.Second)
				same(t, what+" at its end", v.file(path) == right && v.file(path+".CHECKSUM") == rightSum, true)
			}
		}
	})
}

// TestArchiveMissing holds that files of one symbol alone may be missing, and that without a how each file is wrong in a
// way of its own.
func TestArchiveMissing(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		btc, eth := archivePath("BTCUSDT", "1h", "2026-11-22"), archivePath("ETHUSDT", "1h", "2026-11-22")
		v.inject(`{"kind":"archive_wrong","seconds":10,"how":"missing","symbol":"ethusdt"}`)
		same(t, "missing", v.ask(eth)[:3]+v.ask(eth + ".CHECKSUM")[:3], "404404")
		same(t, "another symbol's", v.ask(btc)+v.ask(btc+".CHECKSUM"), "200200")
		rest := v.rows("/fapi/v1/klines?limit=9&interval=1h&symbol=ETHUSDT")
		same(t, "REST", fmt.Sprint(rest), fmt.Sprint(v.rows("/sim/truth?limit=9&interval=1h&symbol=ETHUSDT")))
		time.Sleep(10 * time.Second)
		same(t, "at its end", v.ask(eth), "200")

		var paths, right, wrong []string
		for day := range 30 {
			paths = append(paths, archivePath("BTCUSDT", "1h", fmt.Sprintf("2026-10-%02d", day+1)))
			right = append(right, v.file(paths[day]))
		}
		v.inject(`{"kind":"archive_wrong","seconds":10}`)
		for i, path := range paths {
			_, _, sum := v.get(path + ".CHECKSUM")
			status, _, body := v.get(path)
			switch fits := strings.HasPrefix(sum, fmt.Sprintf("%x", sha256.Sum256([]byte(body)))); {
			case status == 404:
				wrong = append(wrong, howMissing)
			case !fits && body == right[i]:
				wrong = append(wrong, howChecksum)
			case fits && body == right[i][:len(right[i])/2]:
				wrong = append(wrong, howBroken)
			case fits && body != right[i]:
				wrong = append(wrong, "rows")
			default:
				t.Errorf("%s is right", path)
			}
		}
		slices.Sort(wrong)
		same(t, "ways", strings.Join(slices.Compact(wrong), " "), "broken checksum missing rows")
	})
}

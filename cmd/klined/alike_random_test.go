package main

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"

	"klined/market"
)

// randomly makes n questions for klines of any carried or other contract, interval, length and time: most of them are answered,
// and many of their times lie on a boundary, or a millisecond beside it.
func randomly(random *rand.Rand, n int, now market.Time) (all []string) {
	for range n {
		all = append(all, randomQuestion(random, now))
	}
	return all
}

func randomQuestion(random *rand.Rand, now market.Time) string {
	ivs := market.ExchangeIntervals()
	iv := ivs[random.IntN(len(ivs))]
	symbol := oneOf(random, "BTCUSDT", "ETHUSDT", "SOLUSDT", "DENTUSDT", "1000PEPEUSDT", "XAUUSDT", "币安人生USDT", "OMGUSDT", "BTCUSDT_270326", "NOPE")
	contract := oneOf(random, "PERPETUAL", "PERPETUAL", "TRADIFI_PERPETUAL", "NEXT_QUARTER", "CURRENT_QUARTER")
	path, params := "/fapi/v1/klines?", []string{"symbol=" + anyCase(random, symbol)}
	if random.IntN(3) == 0 {
		path, params = "/fapi/v1/continuousKlines?", []string{"pair=" + anyCase(random, symbol), "contractType=" + contract}
	}
	params = append(params, "interval="+iv.String())
	if random.IntN(4) > 0 {
		params = append(params, "limit="+oneOf(random, strconv.Itoa(1+random.IntN(30)), strconv.Itoa(random.IntN(1502)), "1500", "100", ""))
	}
	for _, name := range []string{"startTime", "endTime"} {
		if random.IntN(2) == 0 {
			params = append(params, name+"="+randomTime(random, iv, now))
		}
	}
	if random.IntN(20) == 0 {
		params = append(params, oneOf(random, params[0], "nonce=1", "&", "=", "recvWindow=5000"))
	}
	random.Shuffle(len(params), func(i, j int) { params[i], params[j] = params[j], params[i] })
	return path + strings.Join(params, "&")
}

// randomTime is a time around now, or any that there are klines of, or one before all.
func randomTime(random *rand.Rand, iv market.Interval, now market.Time) string {
	at := now
	switch random.IntN(6) {
	case 0:
		at -= market.Time(random.Int64N(int64(105 * market.Day)))
	case 1:
		at += market.Time(random.Int64N(3)) * market.Time(iv)
	case 2:
		return oneOf(random, "", "0", "1", "9223372036854775807", "-1", "1.5", "now")
	default:
		at -= market.Time(random.Int64N(40)) * market.Time(iv)
	}
	open := iv.Open(at)
	at = []market.Time{at, open, open - 1, open + 1, iv.Next(open) - 1}[random.IntN(5)]
	return fmt.Sprint(int64(max(0, at)))
}

func oneOf(random *rand.Rand, of ...string) string { return of[random.IntN(len(of))] }

// anyCase is a name with some of its letters in lower case, as it stands in an address.
func anyCase(random *rand.Rand, name string) string {
	if random.IntN(2) == 0 {
		return url.QueryEscape(name)
	}
	return url.QueryEscape(strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' && random.IntN(2) == 0 {
			return c + 'a' - 'A'
		}
		return c
	}, name))
}

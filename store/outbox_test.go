package store

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"klined/market"
)

// TestPutRun: a page put at once is as its klines put one by one, wherever it falls, and whatever their order.
func TestPutRun(t *testing.T) {
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	page := func(minutes ...int) (run []held) {
		for i, m := range minutes {
			k := testKline(series, at("10:00:00")+market.Time(m)*market.Minute)
			k.Revision = int32(i % 3)
			run = append(run, held{Kline: k})
		}
		return run
	}
	cases := [][][]held{
		{page(), page(5, 6, 7), page()},
		{page(5, 6, 7), page(2, 3, 4), page(8, 9), page(0)},
		{page(1, 9), page(3, 4, 5), page(2, 6), page(7, 8)},
		{page(1, 5, 9), page(4, 5, 6), page(3, 7), page(9, 10)},
		{page(7, 6, 5), page(3, 2), page(1, 1, 1), page(4, 8, 4)},
	}
	seed := seed(t)
	t.Logf("KLINED_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 6))
	for range 200 {
		var pages [][]held
		for range 1 + random.IntN(6) {
			minutes := random.Perm(30)[:random.IntN(8)]
			if random.IntN(2) == 0 {
				from := random.IntN(30)
				minutes = []int{from, from + 1, from + 2}
			}
			pages = append(pages, page(minutes...))
		}
		cases = append(cases, pages)
	}
	for _, pages := range cases {
		one, all := newOutbox(), newOutbox()
		for _, run := range pages {
			all.putRun(series, run)
			for i := range run {
				one.put(series, &run[i])
			}
		}
		if !reflect.DeepEqual(one, all) {
			t.Errorf("%v\n one by one %v\n at once     %v", pages, one, all)
		}
	}
}

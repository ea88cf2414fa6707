// The Go client github.com/adshao/go-binance/v2, in a module of its own: see ../both.mjs, whose output this has too.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/adshao/go-binance/v2/common"
	"github.com/adshao/go-binance/v2/futures"
)

const minute = 60_000 // ms

// notes is what was found at one address: see Notes in ../both.mjs.
type notes struct {
	mu    sync.Mutex
	Same  map[string]any      `json:"same"`
	Rows  map[string][][]any  `json:"rows"`
	Live  map[string]*heard   `json:"live"`
	Facts map[string][][2]any `json:"facts"`
}

// heard is the klines of one stream.
type heard struct {
	Running int     `json:"running"`
	Closed  []any   `json:"closed"`
	since   int64   // when the kline opened that came first
	opens   []int64 // when the closed ones did
}

func main() {
	exchange, klined := os.Args[1], os.Args[2]
	now, err := futures.NewClient("", "").SetApiEndpoint("http://" + exchange).NewServerTimeService().Do(context.Background())
	must(err)
	began := time.Now()
	found := map[string]*notes{"exchange": listen(exchange), "klined": listen(klined)}
	var asked sync.WaitGroup
	for name, host := range map[string]string{"exchange": exchange, "klined": klined} {
		asked.Go(func() { found[name].ask(host, now, began) })
	}
	asked.Wait()
	a, b := found["exchange"], found["klined"]
	for end, all := time.Now().Add(3*time.Minute), false; !all && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		a.mu.Lock()
		b.mu.Lock()
		all = have(a, b)
		a.mu.Unlock()
		b.mu.Unlock()
	}
	time.Sleep(3 * time.Second) // in which a kline might close once more
	a.mu.Lock()
	b.mu.Lock() // for good: the process ends
	first := firstOf(a, b)
	for h := range streams(a, b) {
		h.Closed = h.closed(first)
	}
	must(json.NewEncoder(os.Stdout).Encode(found))
}

// streams are those of klines.
func streams(of ...*notes) iter.Seq[*heard] {
	return func(yield func(*heard) bool) {
		for _, n := range of {
			for _, h := range n.Live {
				if !yield(h) {
					return
				}
			}
		}
	}
}

// firstOf is when the first kline opened that all of the streams brought: see ../both.mjs.
func firstOf(of ...*notes) (first int64) {
	for h := range streams(of...) {
		first = max(first, h.since)
	}
	return first
}

// closed are the closed klines that opened then.
func (h *heard) closed(open int64) []any {
	of := []any{}
	for i, k := range h.Closed {
		if h.opens[i] == open {
			of = append(of, k)
		}
	}
	return of
}

// have says whether all streams have brought what is compared: that kline's close, an event that both were given.
func have(a, b *notes) bool {
	first := firstOf(a, b)
	for h := range streams(a, b) {
		if h.Running == 0 || len(h.closed(first)) == 0 {
			return false
		}
	}
	for name, facts := range a.Facts {
		if !slices.ContainsFunc(facts, func(of [2]any) bool {
			return slices.ContainsFunc(b.Facts[name], func(got [2]any) bool { return got[0] == of[0] })
		}) {
			return false
		}
	}
	return true
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// listen begins to take the streams. Their address is a variable of the package's: one address after the other.
func listen(host string) *notes {
	n := &notes{Same: make(map[string]any), Rows: make(map[string][][]any), Live: make(map[string]*heard),
		Facts: map[string][][2]any{"aggTrade": {}, "miniTicker": {}, "miniTickers": {}}}
	futures.BaseWsMainUrl = "ws://" + host + "/market/ws"
	futures.BaseCombinedMainURL = "ws://" + host + "/market/stream?streams="
	take := func(name string) futures.WsKlineHandler {
		h := &heard{Closed: []any{}}
		n.Live[name] = h
		return func(e *futures.WsKlineEvent) { n.hear(h, e.Kline.StartTime, e.Kline.IsFinal, e.Kline) }
	}
	failed := func(err error) { fmt.Fprintln(os.Stderr, host, err) }
	one, many, multi := take("kline 1m"), take("kline 1m, combined"), take("kline 1m, of several intervals")
	_, _, err := futures.WsKlineServe("BTCUSDT", "1m", one, failed)
	must(err)
	_, _, err = futures.WsCombinedKlineServe(map[string]string{"ETHUSDT": "1m", "XRPUSDT": "1m"}, func(e *futures.WsKlineEvent) {
		if e.Symbol == "XRPUSDT" {
			many(e)
		}
	}, failed)
	must(err)
	_, _, err = futures.WsCombinedKlineServeMultiInterval(map[string][]string{"SOLUSDT": {"1m", "1M"}}, func(e *futures.WsKlineEvent) {
		if e.Kline.Interval == "1m" {
			multi(e)
		}
	}, failed)
	must(err)
	h := &heard{Closed: []any{}}
	n.Live["continuousKline 1m"] = h
	_, _, err = futures.WsContinuousKlineServe(&futures.WsContinuousKlineSubscribeArgs{Pair: "SOLUSDT", ContractType: "PERPETUAL", Interval: "1m"},
		func(e *futures.WsContinuousKlineEvent) { n.hear(h, e.Kline.StartTime, e.Kline.IsFinal, e.Kline) }, failed)
	must(err)
	_, _, err = futures.WsAggTradeServe("BTCUSDT", func(e *futures.WsAggTradeEvent) { n.fact("aggTrade", e.AggregateTradeID, e) }, failed)
	must(err)
	_, _, err = futures.WsAllMiniMarketTickerServe(func(all futures.WsAllMiniMarketTickerEvent) { n.fact("miniTickers", all[0].Time, all) }, failed)
	must(err)
	_, _, err = futures.WsMiniMarketTickerServe("BTCUSDT", func(e *futures.WsMiniMarketTickerEvent) { n.fact("miniTicker", e.Time, e) }, failed)
	must(err)
	return n
}

// fact notes an event that is passed on.
func (n *notes) fact(name string, id int64, event any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Facts[name] = append(n.Facts[name], [2]any{id, event})
}

func (n *notes) hear(h *heard, open int64, final bool, kline any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.since == 0 {
		h.since = open
	}
	if final {
		h.Closed, h.opens = append(h.Closed, kline), append(h.opens, open)
	} else {
		h.Running++
	}
}

// ask asks REST for all that is compared. The exchange's clock showed now when it began.
func (n *notes) ask(host string, now int64, began time.Time) {
	ctx := context.Background()
	client := futures.NewClient("", "").SetApiEndpoint("http://" + host)
	info, err := client.NewExchangeInfoService().Do(ctx)
	must(err)
	info.ServerTime = 0
	n.Same["exchangeInfo"] = info
	n.Same["ping"] = client.NewPingService().Do(ctx) == nil
	at, err := client.NewServerTimeService().Do(ctx)
	off := at - now - time.Since(began).Milliseconds()
	n.Same["time"] = err == nil && -30_000 < off && off < 30_000
	btc := func() *futures.KlinesService { return client.NewKlinesService().Symbol("BTCUSDT").Interval("1m") }
	open := now - now%minute
	for name, s := range map[string]*futures.KlinesService{
		"nothing":                   btc(),
		"limit 1":                   btc().Limit(1),
		"limit 1500":                btc().Limit(1500),
		"startTime":                 btc().StartTime(open - 700*minute),
		"startTime within a minute": btc().StartTime(open - 7*minute - 1).Limit(3),
		"the beginning":             btc().StartTime(1).Limit(5),
		"endTime":                   btc().EndTime(open - 10*minute).Limit(20),
		"endTime alone":             btc().EndTime(open - 10*minute),
		"before the beginning":      btc().StartTime(1).EndTime(1000).Limit(5),
		"one moment":                btc().StartTime(open - 10*minute).EndTime(open - 10*minute).Limit(5),
		"both":                      btc().StartTime(open - 30*minute).EndTime(open - 10*minute),
		"both, more than the limit": btc().StartTime(open - 90*minute).EndTime(open - 10*minute).Limit(7),
		"the future":                btc().StartTime(open + 10*minute),
		"1h":                        client.NewKlinesService().Symbol("solusdt").Interval("1h").Limit(99),
		"1M":                        client.NewKlinesService().Symbol("solusdt").Interval("1M").Limit(99),
	} {
		klines, err := s.Do(ctx)
		must(err)
		n.Rows[name] = rows(klines)
	}
	n.askOthers(ctx, client)
	for name, s := range map[string]*futures.KlinesService{
		"no symbol":               client.NewKlinesService().Interval("1m"),
		"no such symbol":          client.NewKlinesService().Symbol("NOPEUSDT").Interval("1m"),
		"no interval":             client.NewKlinesService().Symbol("BTCUSDT"),
		"no such interval":        btc().Interval("7m"),
		"limit 1501":              btc().Limit(1501),
		"limit 0":                 btc().Limit(0),
		"limit -1":                btc().Limit(-1),
		"startTime after endTime": btc().StartTime(now).EndTime(now - minute),
	} {
		_, err := s.Do(ctx)
		var refused *common.APIError
		n.Same[name] = []any{errors.As(err, &refused), fmt.Sprint(err)}
	}
}

// askOthers asks for what is not klines of a symbol.
func (n *notes) askOthers(ctx context.Context, client *futures.Client) {
	for _, contract := range []string{"PERPETUAL", "CURRENT_QUARTER"} {
		klines, err := client.NewContinuousKlinesService().Pair("BTCUSDT").ContractType(contract).Interval("1h").Limit(9).Do(ctx)
		must(err)
		n.Rows["contract, "+contract] = rows(klines)
	}
	_, err := client.NewContinuousKlinesService().Pair("BTCUSDT").ContractType("FOREVER").Interval("1h").Do(ctx)
	n.Same["no such contract type"] = fmt.Sprint(err)
	_, err = client.NewListPricesService().Symbol("NOPEUSDT").Do(ctx)
	n.Same["price of no such symbol"] = fmt.Sprint(err)
	prices, err := client.NewListPricesService().Do(ctx)
	must(err)
	symbols := make([]string, len(prices))
	for i, p := range prices {
		symbols[i] = p.Symbol
	}
	n.Same["prices"] = symbols
}

// rows is klines as lists of values in their order.
func rows[T any](klines []*T) [][]any {
	out := [][]any{}
	for _, k := range klines {
		v := reflect.ValueOf(*k)
		row := make([]any, v.NumField())
		for i := range row {
			row[i] = v.Field(i).Interface()
		}
		out = append(out, row)
	}
	return out
}

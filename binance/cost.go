package binance

import (
	"net/url"
	"path"
	"strconv"
	"sync"
	"time"

	"klined/health"
	"klined/market"
)

// The paths that are passed on begin so.
const (
	coinPrefix = "/dapi/"
	dataPrefix = "/futures/data/"
)

// cost is what the exchange counts for a request.
type cost struct {
	weight    int
	allowance allowance
	name      string // of the endpoint, for counters; otherName where it is not known here
}

const otherName = "other"

// unknownWeight is charged for an endpoint that is not known here. What the exchange says is used then corrects us, but
// only upwards.
const unknownWeight = 20

// weightOf is the weight of a public endpoint by its name, below /fapi and /dapi alike (USDⓈ-M and COIN-M Futures, Market
// Data Endpoints; where the two differ, the larger).
var weightOf = map[string]func(url.Values) int{
	"ping":               always(1),
	"time":               always(1),
	"exchangeInfo":       always(1),
	"depth":              weighDepth,
	"rpiDepth":           always(20),
	"trades":             always(5),
	"historicalTrades":   always(200),
	"aggTrades":          always(aggTradesWeight),
	"klines":             weighKlines,
	"continuousKlines":   weighKlines,
	"indexPriceKlines":   weighKlines,
	"markPriceKlines":    weighKlines,
	"premiumIndexKlines": weighKlines,
	"premiumIndex":       oneOrAll(1, 10),
	"fundingRate":        always(0),
	"fundingInfo":        always(0),
	"24hr":               oneOrAll(1, 40),
	"price":              oneOrAll(1, 2),
	"bookTicker":         oneOrAll(2, 5),
	"openInterest":       always(1),
	"indexInfo":          always(1),
	"assetIndex":         oneOrAll(1, 10),
	"constituents":       always(2),
	"insuranceBalance":   always(1),
	"tradingSchedule":    always(5),
	"symbolAdlRisk":      always(1),
}

// costOf is what a request for a path costs.
func costOf(at string, query url.Values) cost {
	if len(at) > len(dataPrefix) && at[:len(dataPrefix)] == dataPrefix {
		return cost{0, allowanceData, "futures/data"}
	}
	name := path.Base(at)
	weight, known := weightOf[name]
	switch {
	case !known:
		return cost{unknownWeight, allowanceNone, otherName}
	case name == "fundingRate" || name == "fundingInfo":
		return cost{weight(query), allowanceFunding, name}
	}
	return cost{weight(query), allowanceNone, name}
}

func always(weight int) func(url.Values) int { return func(url.Values) int { return weight } }

// oneOrAll is the weight of a question for one symbol, or for all.
func oneOrAll(one, all int) func(url.Values) int {
	return func(query url.Values) int {
		if query.Get("symbol") == "" {
			return all
		}
		return one
	}
}

func weighKlines(query url.Values) int {
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil {
		limit = 1000 // counted where none is sent
	}
	return klinesWeight(limit)
}

func weighDepth(query url.Values) int {
	limit, err := strconv.Atoi(query.Get("limit"))
	switch {
	case err != nil:
		return 10 // of 500 levels
	case limit <= 50:
		return 2
	case limit <= 100:
		return 5
	case limit <= 500:
		return 10
	}
	return 20
}

// allowance is what the exchange limits beside the weight.
type allowance uint8

const (
	allowanceNone    allowance = iota
	allowanceFunding           // fundingRate and fundingInfo together
	allowanceData              // all below /futures/data
)

// allowanceEvery is the time for which allowances are given.
const allowanceEvery = 5 * time.Minute

// allowancesOf is how many requests the exchange takes from one address in that time.
var allowancesOf = [...]int{allowanceFunding: 500, allowanceData: 1000}

// allowances remembers when the last requests of each kind were made: in no five minutes are there more than ours to make.
type allowances struct {
	mu   sync.Mutex
	asks [len(allowancesOf)]ring
}

// ring is the times of the last requests; next is the oldest.
type ring struct {
	at   []time.Time
	next int
}

// newAllowances gives of what the exchange allows the same share as of its weight.
func newAllowances(share float64) *allowances {
	a := &allowances{}
	for of, n := range allowancesOf {
		a.asks[of].at = make([]time.Time, max(1, int(share*float64(n))))
	}
	return a
}

// take takes one request, or says when there will be one.
func (a *allowances) take(of allowance) error {
	if of == allowanceNone {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &a.asks[of]
	if wait := allowanceEvery - time.Since(r.at[r.next]); wait > 0 {
		return usedUp(wait)
	}
	r.at[r.next] = time.Now()
	r.next = (r.next + 1) % len(r.at)
	return nil
}

func usedUp(wait time.Duration) *market.BudgetError {
	return &market.BudgetError{RetryAfter: wait, Reason: "the requests of these five minutes are used up"}
}

// exhaust takes in that the exchange takes no more for so long, five minutes where it is 0, and says so.
func (a *allowances) exhaust(of allowance, wait time.Duration) *market.BudgetError {
	if wait == 0 || wait > allowanceEvery {
		wait = allowanceEvery
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	until := time.Now().Add(wait - allowanceEvery) // as if all had been asked then
	for i, at := range a.asks[of].at {
		if at.Before(until) {
			a.asks[of].at[i] = until
		}
	}
	return usedUp(wait)
}

// countForwarded counts a request that was passed on by how it ended.
func countForwarded(metrics *health.Metrics, name, status string) {
	if metrics != nil {
		metrics.RESTRequests.WithLabelValues(name, status).Inc()
	}
}

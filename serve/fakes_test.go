package serve

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stdClock is the machine's clock: fake where the test runs in a bubble.
type stdClock struct{}

func (stdClock) Now() market.Time { return market.TimeOf(time.Now()) }

// jump is the machine's clock until that time, and an hour ahead from then on.
type jump market.Time

func (at jump) Now() market.Time {
	now := stdClock{}.Now()
	if now >= market.Time(at) {
		now += market.Hour
	}
	return now
}

// fixedClock stands still.
type fixedClock market.Time

func (c fixedClock) Now() market.Time { return market.Time(c) }

// fakeLive holds one lane's klines by series.
type fakeLive struct {
	mu      sync.Mutex
	rows    map[market.Series][]market.Kline
	err     error
	watched map[market.Series]bool
	begun   market.Time
	idle    bool // its stream has not begun
}

func (l *fakeLive) Begun(market.SymbolID) (market.Time, bool) { return l.begun, !l.idle }

func (l *fakeLive) Tail(_ context.Context, dst []market.Kline, series market.Series, from market.Time) ([]market.Kline, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.rows[series] {
		if k.OpenTime >= from {
			dst = append(dst, k)
		}
	}
	return dst, l.err
}

func (l *fakeLive) Watch(series market.Series, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watched == nil {
		l.watched = make(map[market.Series]bool)
	}
	l.watched[series] = on
}

func (l *fakeLive) watches(series market.Series) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watched[series]
}

// fakeStore holds rows, and knows as complete what lies within known.
type fakeStore struct {
	rows  map[market.Series][]market.Kline
	known map[market.Series][]market.Span
	reads int
}

func (s *fakeStore) Klines(_ context.Context, rows []market.Kline, series market.Series, span market.Span) (_ []market.Kline, missing []market.Span, err error) {
	s.reads++
	for _, k := range s.rows[series] {
		if k.OpenTime >= span.From && k.OpenTime < span.To {
			rows = append(rows, k)
		}
	}
	iv := series.Interval
	for open := iv.Ceil(span.From); open < span.To; open = iv.Next(open) {
		complete := false
		for _, k := range s.known[series] {
			complete = complete || k.From <= open && iv.Next(open) <= k.To
		}
		if !complete {
			missing = append(missing, market.Span{From: open, To: iv.Next(open)})
		}
	}
	return rows, missing, nil
}

func (s *fakeStore) Since(_ context.Context, iv market.Interval) (market.Time, error) {
	since := market.Time(math.MaxInt64)
	for series, rows := range s.rows {
		if series.Interval == iv && len(rows) > 0 {
			since = min(since, rows[0].OpenTime)
		}
	}
	return since, nil
}

// world is a Server between fakes.
type world struct {
	*Server
	live    *fakeLive
	store   *fakeStore
	fetched []market.Span
	asked   []market.Span // of Upstream
	facts   map[string]func(on bool)
	ailing  any // what /healthz shows in detail; nil: all is well

	kept     market.Time    // klines before it are not kept
	unkept   []market.Kline // what a fetch gives
	fetch    func(series market.Series, span market.Span) error
	upstream func(series market.Series, span market.Span, limit int) ([]market.Kline, error)
}

var errDown = errors.New("the exchange is down")

// Symbols of the fakes.
const (
	btc   market.SymbolID = iota // 2 and 3 digits
	moon                         // a non-ASCII name, 6 and 0 digits
	ended                        // remembered, not carried
)

func newWorld(t testing.TB, clock interface{ Now() market.Time }, with ...func(*Options)) *world {
	t.Helper()
	symbols := new(market.Symbols)
	symbols.Put(
		market.Symbol{Name: "BTCUSDT", PriceDigits: 2, QtyDigits: 3},
		market.Symbol{Name: "币安人生USDT", PriceDigits: 6, QtyDigits: 0},
		market.Symbol{Name: "OMGUSDT", PriceDigits: 4, QtyDigits: 1},
	)
	w := &world{
		live:  &fakeLive{rows: make(map[market.Series][]market.Kline)},
		store: &fakeStore{rows: make(map[market.Series][]market.Kline), known: make(map[market.Series][]market.Span)},
	}
	opt := Options{
		Symbols: symbols,
		Carries: func(id market.SymbolID) bool { return id != ended },
		Contract: func(id market.SymbolID) string {
			if id == moon {
				return contractTradFi
			}
			return contractPerpetual
		},
		Facts:     func(stream string) func(bool) { return w.facts[stream] },
		Intervals: append(market.ExchangeIntervals(), interval("1s"), interval("2m")),
		Clock:     clock,
		Live:      w.live,
		Store:     w.store,
		Kept:      func(market.Interval) market.Time { return w.kept },
		Fetch: func(_ context.Context, _ string, series market.Series, span market.Span) ([]market.Kline, error) {
			w.fetched = append(w.fetched, span)
			if w.fetch == nil {
				return nil, errDown
			}
			return w.unkept, w.fetch(series, span)
		},
		Upstream: func(_ context.Context, _ string, series market.Series, span market.Span, limit int) ([]market.Kline, error) {
			w.asked = append(w.asked, span)
			if w.upstream == nil {
				return nil, errDown
			}
			return w.upstream(series, span, limit)
		},
		Health:       func() (bool, any) { return w.ailing == nil, w.ailing },
		ExchangeInfo: func(context.Context) ([]byte, error) { return []byte(`{"timezone":"UTC"}`), nil },
		Prices:       func(context.Context) ([]byte, error) { return []byte(`[]`), nil },
		Metrics:      health.NewMetrics(),
		Version:      "test",
	}
	for _, set := range with {
		set(&opt)
	}
	w.Server = New(opt)
	t.Cleanup(w.Close)
	return w
}

// until waits for what other goroutines do in real time; waiting in vain fails the test. In a bubble synctest.Wait knows better.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain until ", what)
		}
	}
}

// get asks the handler and returns its answer.
func (w *world) get(url string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, url, nil))
	return rec
}

func interval(name string) market.Interval {
	iv, err := market.ParseInterval(name)
	if err != nil {
		panic(err)
	}
	return iv
}

// at is a time of 2027-01-04, a Monday.
func at(clock string) market.Time {
	t, err := time.Parse(time.RFC3339, "2027-01-04T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return market.TimeOf(t)
}

// kline is a kline with one trade of quantity 1 at price.
func kline(open market.Time, price string, state market.State) market.Kline {
	p := fixed.MustParse(price)
	k := market.EmptyKline(open, p)
	k.Add(&market.Trade{ID: 7, FirstID: 70, LastID: 71, Price: p, Qty: fixed.One, Time: open, TakerBuy: true})
	k.State = state
	return k
}

// run is klines of an interval from one open time up to another, priced 1, 2, 3 …
func run(iv market.Interval, from, to market.Time, state market.State) (out []market.Kline) {
	for open := from; open < to; open = iv.Next(open) {
		out = append(out, kline(open, string('1'+rune(iv.Ordinal(open)%9))+".00", state))
	}
	return out
}

func minutes(id market.SymbolID) market.Series {
	return market.Series{Symbol: id, Interval: market.OneMinute}
}

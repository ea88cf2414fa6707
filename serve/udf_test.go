package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"klined/fixed"
	"klined/market"
)

func (w *world) udf(t *testing.T, path string, into any) {
	t.Helper()
	rec := w.get("/udf/" + path)
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/json" || rec.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%s: %d %s", path, rec.Code, rec.Header())
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, rec.Body)
	}
}

func TestUDFConfig(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:00")))
	var config udfConfig
	w.udf(t, "config", &config)
	if want := strings.Fields("1S 1 2 3 5 15 30 60 120 240 360 480 720 1D 3D 1W 1M"); !config.Search || config.Group || !config.Time || !slices.Equal(config.Resolutions, want) {
		t.Errorf("%+v", config)
	}
	for _, name := range config.Resolutions {
		if iv, err := w.udfInterval(name); err != nil || udfResolution(iv) != name {
			t.Errorf("%s: %s, %v", name, iv, err)
		}
	}
	if rec := w.get("/udf/time"); rec.Body.String() != fmt.Sprint(int64(at("12:00:00")/1000)) {
		t.Errorf("time: %s", rec.Body)
	}
}

func TestUDFSymbols(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:00")))
	w.opt.Tick = func(id market.SymbolID) fixed.Value {
		if id == btc {
			return fixed.MustParse("0.1")
		}
		return 0
	}
	want := udfSymbol{Name: "币安人生USDT", FullName: "BINANCE:币安人生USDT", Ticker: "币安人生USDT", Description: "币安人生USDT perpetual", Type: "swap",
		Exchange: "BINANCE", ListedExchange: "BINANCE", Session: "24x7", Timezone: "Etc/UTC", MinMove: 1, PriceScale: 1_000_000, Format: "price",
		DataStatus: "streaming", HasIntraday: true, HasSeconds: true, HasDaily: true, HasWeeklyAndMonthly: true,
		SecondsMultipliers:  []string{"1"},
		IntradayMultipliers: strings.Fields("1 2 3 5 15 30 60 120 240 360 480 720"),
		DailyMultipliers:    []string{"1", "3"}, WeeklyMultipliers: []string{"1"}, MonthlyMultipliers: []string{"1"},
		Resolutions: strings.Fields("1S 1 2 3 5 15 30 60 120 240 360 480 720 1D 3D 1W 1M")}
	for _, name := range []string{"币安人生USDT", "币安人生usdt", "BINANCE:币安人生USDT", "binance:币安人生USDT"} {
		var got udfSymbol
		w.udf(t, "symbols?symbol="+url.QueryEscape(name), &got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"", "OMGUSDT", "NYSE:BTCUSDT", "BTCUSDT:"} { // OMGUSDT is not carried any more
		var got map[string]string
		w.udf(t, "symbols?symbol="+url.QueryEscape(name), &got)
		if got["s"] != "error" || !strings.HasPrefix(got["errmsg"], "unknown_symbol") {
			t.Errorf("%s: %s", name, got)
		}
	}
	var table udfTable
	w.udf(t, "symbol_info?group=NYSE", &table)
	if !slices.Equal(table.Symbol, []string{"BTCUSDT", "币安人生USDT"}) || !slices.Equal(table.PriceScale, []int64{100, 1_000_000}) || !slices.Equal(table.MinMove, []int64{10, 1}) ||
		!slices.Equal(table.VolumePrecision, []int{3, 0}) || len(table.Intraday) != 2 || len(table.Resolutions[1]) != 17 || !table.HasSeconds {
		t.Errorf("%+v", table)
	}
}

func TestUDFSearch(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:00")))
	for i := range 100 {
		w.opt.Symbols.Put(market.Symbol{Name: fmt.Sprintf("%dBTC%dUSDT", i, i)})
	}
	for _, c := range []struct {
		query string
		first string
		n     int
	}{
		{"query=", "BTCUSDT", 30},
		{"query=btc&limit=200", "BTCUSDT", 101},
		{"query=7BTC&limit=2", "7BTC7USDT", 2},
		{"query=" + url.QueryEscape("安人"), "币安人生USDT", 1},
		{"query=btcusdt&type=swap&exchange=BINANCE", "BTCUSDT", 1},
		{"query=BINANCE:btcusdt", "BTCUSDT", 1},
		{"query=binance:&type=&exchange=", "BTCUSDT", 30},
		{"query=NYSE:BTCUSDT", "", 0},
		{"query=btcusdt&type=stock", "", 0},
		{"query=btcusdt&exchange=NYSE", "", 0},
		{"query=OMG", "", 0},
	} {
		var got []udfHit
		w.udf(t, "search?"+c.query, &got)
		if len(got) != c.n || c.n > 0 && (got[0].Symbol != c.first || got[0].Ticker != c.first) {
			t.Errorf("%s: %d, %v", c.query, len(got), got[:min(1, len(got))])
		}
	}
	var refused map[string]string
	if w.udf(t, "search?query=&limit=none", &refused); refused["s"] != "error" {
		t.Error(refused)
	}
}

// history is a history answer.
type history struct {
	S, Errmsg        string
	T                []int64
	O, H, L, C, V    []json.Number
	NextTime         int64
	first, last, all string // open times, "12:00", and how many
}

func (w *world) history(t *testing.T, query string, args ...any) (h history) {
	t.Helper()
	w.udf(t, "history?"+fmt.Sprintf(query, args...), &h)
	for _, column := range [][]json.Number{h.O, h.H, h.L, h.C, h.V} {
		if len(column) != len(h.T) {
			t.Fatalf("%s: %d times, %d values", query, len(h.T), len(column))
		}
	}
	clock := func(s int64) string { return (market.Time(s) * market.Second).Std().Format("15:04:05") }
	if len(h.T) > 0 {
		h.first, h.last = clock(h.T[0]), clock(h.T[len(h.T)-1])
		h.all = fmt.Sprint(h.first, "–", h.last, " ", len(h.T))
		if !slices.IsSorted(h.T) {
			t.Errorf("%s: not in order", query)
		}
	} else {
		h.all = h.S
	}
	if h.NextTime > 0 {
		h.all += " " + clock(h.NextTime)
	}
	return h
}

// quarter is a world whose minutes begin at 11:00, where the exchange's own do; it is 12:05:30.
func quarter(t *testing.T) *world {
	w := newWorld(t, fixedClock(at("12:05:30")))
	w.store.rows[minutes(btc)] = run(market.OneMinute, at("11:00:00"), at("12:05:00"), market.StateSettled)
	w.store.known[minutes(btc)] = []market.Span{{From: 0, To: at("12:05:00")}}
	running := kline(at("12:05:00"), "12345678.10", market.StateOpen)
	running.Volume = fixed.MustParse("0.120").Sum()
	w.live.rows[minutes(btc)] = []market.Kline{running}
	return w
}

func TestUDFHistory(t *testing.T) {
	sec := func(clock string) int64 { return int64(at(clock) / 1000) }
	w := quarter(t)
	for _, c := range []struct {
		name  string
		query string
		want  string
	}{
		{"from to", fmt.Sprintf("from=%d&to=%d", sec("11:10:00"), sec("11:13:00")), "11:10:00–11:12:00 3"},
		{"from within a kline", fmt.Sprintf("from=%d&to=%d", sec("11:09:01"), sec("11:12:01")), "11:10:00–11:12:00 3"},
		{"countback wins over from", fmt.Sprintf("from=%d&to=%d&countback=5", sec("11:10:00"), sec("11:13:00")), "11:08:00–11:12:00 5"},
		{"the running one is there", fmt.Sprintf("to=%d&countback=2", sec("12:05:30")), "12:04:00–12:05:00 2"},
		{"to in the future", fmt.Sprintf("to=%d&countback=2", sec("13:00:00")), "12:04:00–12:05:00 2"},
		{"no to is now", "countback=2", "12:04:00–12:05:00 2"},
		{"countback beyond the first", fmt.Sprintf("to=%d&countback=500", sec("11:03:00")), "11:00:00–11:02:00 3"},
		{"countback beyond any bound", "countback=99999999", "11:00:00–12:05:00 66"},
		{"before the first", fmt.Sprintf("from=%d&to=%d", sec("09:00:00"), sec("11:00:00")), "no_data"},
		{"before the first, with countback", fmt.Sprintf("to=%d&countback=300", sec("11:00:00")), "no_data"},
		{"between two klines", fmt.Sprintf("from=%d&to=%d", sec("11:10:10"), sec("11:10:50")), "no_data 11:10:00"},
		{"the future", fmt.Sprintf("from=%d&to=%d", sec("13:00:00"), sec("14:00:00")), "no_data 12:05:00"},
		{"nothing", fmt.Sprintf("from=%d&to=%d", sec("11:10:00"), sec("11:10:00")), "no_data 11:09:00"},
		{"before 1970", "from=-9999999&to=-5000", "no_data"},
		{"the epoch", "to=0&countback=10", "no_data"},
	} {
		if got := w.history(t, "symbol=BTCUSDT&resolution=1&%s", c.query); got.all != c.want {
			t.Errorf("%s: %s %s, want %s", c.name, got.all, got.Errmsg, c.want)
		}
	}
	last := w.history(t, "symbol=BINANCE:BTCUSDT&resolution=1&countback=1")
	if last.O[0] != "12345678.10" || last.H[0] != "12345678.10" || last.V[0] != "0.120" {
		t.Errorf("digits: %v", last)
	}
}

func TestUDFHistoryRefusals(t *testing.T) {
	w := quarter(t)
	for query, want := range map[string]string{
		"symbol=NOSUCH&resolution=1&countback=2":     `unknown_symbol "NOSUCH"`,
		"symbol=BTCUSDT&resolution=7&countback=2":    `resolution "7": want one of 1S, 1, 2`,
		"symbol=BTCUSDT&countback=2":                 `resolution ""`,
		"symbol=BTCUSDT&resolution=1&countback=-1":   `countback "-1"`,
		"symbol=BTCUSDT&resolution=1&to=100":         `from ""`,
		"symbol=BTCUSDT&resolution=1&from=1.5&to=3":  `from "1.5": want a time in Unix seconds`,
		"symbol=BTCUSDT&resolution=1&from=0&to=soon": `to "soon"`,
		"symbol=BTCUSDT&resolution=1&from=0&to=%zz":  `Illegal characters found in 'to=%zz'`,
		"symbol=币安人生USDT&resolution=1&countback=2":   "Internal error", // neither store nor exchange have any
	} {
		if got := w.history(t, "%s", query); got.S != "error" || !strings.Contains(got.Errmsg, want) {
			t.Errorf("%s: %s %s", query, got.S, got.Errmsg)
		}
	}
	delete(w.store.known, minutes(btc))
	w.fetch = func(market.Series, market.Span) error {
		return fmt.Errorf("history: %w", &market.BudgetError{RetryAfter: 1500e6})
	}
	rec := w.get("/udf/history?symbol=BTCUSDT&resolution=1&countback=100")
	if rec.Code != 200 || rec.Header().Get("Retry-After") != "2" || !strings.HasPrefix(rec.Body.String(), `{"errmsg":"Too many requests;`) {
		t.Errorf("without a budget: %d %s %s", rec.Code, rec.Header(), rec.Body)
	}
}

// TestUDFPages: what is more than one request of klines holds comes whole, too, or not at all.
func TestUDFPages(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:30")))
	begin := at("12:00:00") - 4000*market.Minute
	w.store.rows[minutes(btc)] = run(market.OneMinute, begin, at("12:00:00"), market.StateSettled)
	w.store.known[minutes(btc)] = []market.Span{{From: 0, To: at("12:00:00")}}
	w.live.rows[minutes(btc)] = []market.Kline{kline(at("12:00:00"), "5", market.StateOpen)}
	for query, want := range map[string]int{
		"countback=1500": 1500, "countback=1501": 1501, "countback=3500": 3500, "countback=4001": 4001, "countback=9000": 4001,
		fmt.Sprintf("from=%d&to=%d", int64(begin/1000), int64(at("13:00:00")/1000)): 4001,
		fmt.Sprintf("from=0&to=%d", int64(at("13:00:00")/1000)):                     4001,
	} {
		got := w.history(t, "symbol=BTCUSDT&resolution=1&%s", query)
		if len(got.T) != want || got.last != "12:00:00" {
			t.Errorf("%s: %s %s, want %d", query, got.all, got.Errmsg, want)
		}
		for i := 1; i < len(got.T); i++ {
			if got.T[i] != got.T[i-1]+60 {
				t.Fatalf("%s: after %d comes %d", query, got.T[i-1], got.T[i])
			}
		}
	}
	w.store.rows[minutes(btc)] = w.store.rows[minutes(btc)][2000:]
	w.store.known[minutes(btc)][0].From = at("12:00:00") - 2000*market.Minute
	if got := w.history(t, "symbol=BTCUSDT&resolution=1&countback=3500"); got.S != "error" {
		t.Errorf("a page is missing: %s", got.all)
	}
}

// TestUDFNewest: of more than one answer holds it is the newest that come.
func TestUDFNewest(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:30")))
	w.store.rows[minutes(btc)] = run(market.OneMinute, at("12:00:00")-(udfMost+100)*market.Minute, at("12:00:00"), market.StateSettled)
	w.store.known[minutes(btc)] = []market.Span{{From: 0, To: at("12:00:00")}}
	w.live.rows[minutes(btc)] = []market.Kline{kline(at("12:00:00"), "5", market.StateOpen)}
	for _, from := range []market.Time{0, at("12:00:00") - (udfMost+50)*market.Minute} {
		got := w.history(t, "symbol=BTCUSDT&resolution=1&from=%d&to=%d", int64(from/1000), int64(at("12:00:30")/1000))
		if len(got.T) != udfMost || got.last != "12:00:00" || got.T[udfMost-1]-got.T[0] != 60*(udfMost-1) {
			t.Errorf("from %d: %s %s", from, got.all, got.Errmsg)
		}
	}
}

// TestUDFHoles: below a minute there are holes, of times without klined; what lies before them is named and found.
func TestUDFHoles(t *testing.T) {
	sec := func(clock string) int64 { return int64(at(clock) / 1000) }
	w := newWorld(t, fixedClock(at("12:00:10")))
	iv := interval("1s")
	series := market.Series{Symbol: btc, Interval: iv}
	w.store.rows[series] = append(run(iv, at("08:00:00"), at("08:01:00"), market.StateClosed), run(iv, at("12:00:00"), at("12:00:10"), market.StateClosed)...)
	for _, c := range []struct {
		query string
		want  string
	}{
		{fmt.Sprintf("to=%d&countback=5", sec("12:00:10")), "12:00:05–12:00:09 5"},
		{fmt.Sprintf("to=%d&countback=15", sec("12:00:10")), "08:00:55–12:00:09 15"},
		{fmt.Sprintf("to=%d&countback=500", sec("12:00:10")), "08:00:00–12:00:09 70"},
		{fmt.Sprintf("from=%d&to=%d", sec("10:00:00"), sec("11:00:00")), "no_data 08:00:59"},
		{fmt.Sprintf("from=0&to=%d", sec("12:00:10")), "08:00:00–12:00:09 70"},
		{fmt.Sprintf("from=%d&to=%d", sec("07:00:00"), sec("08:00:00")), "no_data"},
	} {
		w.store.reads = 0
		if got := w.history(t, "symbol=BTCUSDT&resolution=1S&%s", c.query); got.all != c.want {
			t.Errorf("%s: %s %s, want %s", c.query, got.all, got.Errmsg, c.want)
		}
		if w.store.reads > 12 {
			t.Errorf("%s: the store is read %d times", c.query, w.store.reads)
		}
	}
	w.kept = at("08:00:30")
	if got := w.history(t, "symbol=BTCUSDT&resolution=1S&countback=500"); got.all != "08:00:30–12:00:09 40" {
		t.Errorf("what is not kept: %s", got.all)
	}
}

// slowStore answers what is no longer than any klines request; the rest waits until free is closed.
type slowStore struct {
	waiting atomic.Int32
	free    chan struct{}
}

func (s *slowStore) Klines(ctx context.Context, _ []market.Kline, series market.Series, span market.Span) ([]market.Kline, []market.Span, error) {
	if series.Interval.Count(span) <= maxLimit {
		return nil, nil, nil
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	select {
	case <-s.free:
		return nil, nil, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (s *slowStore) Since(context.Context, market.Interval) (market.Time, error) {
	return math.MaxInt64, nil
}

// TestUDFWide: however many ask for many seconds, only so many read at once, and who asks for few does not wait for them; who
// has no turn in time is told so.
func TestUDFWide(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, _ *pipes) {
		store := &slowStore{free: make(chan struct{})}
		w.opt.Store = store
		answers := make(chan string, 10)
		ask := func() {
			for range cap(answers) {
				go func() { answers <- w.get("/udf/history?symbol=BTCUSDT&resolution=1S&countback=15000").Body.String() }()
			}
			synctest.Wait()
			if n := store.waiting.Load(); n != udfWide {
				t.Errorf("%d wide reads at once", n)
			}
			if rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1s&limit=1500"); rec.Body.String() != "[]" {
				t.Errorf("a narrow one: %s", rec.Body)
			}
		}
		for what, end := range map[string]func(){
			`"error"`:   func() { time.Sleep(udfWithin) },
			`"no_data"`: func() { close(store.free) },
		} {
			store.free = make(chan struct{})
			ask()
			end()
			for range cap(answers) {
				if got := <-answers; !strings.Contains(got, what) {
					t.Errorf("%s, want %s", got, what)
				}
			}
		}
	})
}

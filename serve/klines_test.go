package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"klined/market"
)

// TestKlinesSources lets store, lane and exchange each hold a part.
func TestKlinesSources(t *testing.T) {
	m := func(minute int) market.Time { return at("12:00:00") + market.Time(minute)*market.Minute }
	now := m(9) + 30*market.Second
	stored := func(w *world, from, to int) {
		w.store.rows[minutes(btc)] = append(w.store.rows[minutes(btc)], run(market.OneMinute, m(from), m(to), market.StateSettled)...)
		w.store.known[minutes(btc)] = append(w.store.known[minutes(btc)], market.Span{From: m(from), To: m(to)})
	}
	live := func(w *world, from int) {
		w.live.rows[minutes(btc)] = append(run(market.OneMinute, m(from), m(9), market.StateClosed), kline(m(9), "5", market.StateOpen))
	}
	fill := func(w *world) {
		w.fetch = func(series market.Series, span market.Span) error {
			w.store.rows[series] = run(market.OneMinute, m(0), m(9), market.StateSettled)
			w.store.known[series] = []market.Span{{From: m(0), To: m(9)}}
			return nil
		}
	}
	for _, c := range []struct {
		name    string
		lay     func(*world)
		status  int
		state   string
		fetched []market.Span
		asked   []market.Span
	}{
		{"the better version wins where lane and store overlap", func(w *world) { stored(w, 0, 8); live(w, 6) },
			200, "settled=8,closed=1,open=1,gap=0", nil, nil},
		{"the store alone, the running kline from the lane", func(w *world) { stored(w, 0, 9); live(w, 9) },
			200, "settled=9,closed=0,open=1,gap=0", nil, nil},
		{"the seam is missing", func(w *world) { stored(w, 0, 4); live(w, 6); fill(w) },
			200, "settled=9,closed=0,open=1,gap=0", []market.Span{{From: m(4), To: m(6)}}, nil},
		{"two parts are missing: one fetch", func(w *world) { stored(w, 1, 4); live(w, 6); fill(w) },
			200, "settled=9,closed=0,open=1,gap=0", []market.Span{{From: m(0), To: m(6)}}, nil},
		{"the exchange may not be asked", func(w *world) {
			live(w, 6)
			w.fetch = func(market.Series, market.Span) error {
				return fmt.Errorf("history: %w", &market.BudgetError{RetryAfter: 1500 * time.Millisecond, Reason: "no weight left"})
			}
		}, 429, "", []market.Span{{From: m(0), To: m(6)}}, nil},
		{"the exchange is down", func(w *world) { live(w, 6) }, 503, "", []market.Span{{From: m(0), To: m(6)}}, nil},
		{"still missing after a fetch", func(w *world) {
			live(w, 6)
			w.fetch = func(market.Series, market.Span) error { return nil }
		}, 503, "", []market.Span{{From: m(0), To: m(6)}}, nil},
		{"the symbol waits: the exchange's running kline", func(w *world) {
			stored(w, 0, 9)
			w.upstream = func(market.Series, market.Span, int) ([]market.Kline, error) {
				return []market.Kline{kline(m(9), "5", market.StateOpen)}, nil
			}
		}, 200, "settled=9,closed=0,open=1,gap=0", nil, []market.Span{{From: m(9), To: m(10)}}},
		{"the symbol waits, and its last minute is not believed yet", func(w *world) {
			stored(w, 0, 8)
			w.fetch = func(market.Series, market.Span) error { return nil }
			w.upstream = func(market.Series, market.Span, int) ([]market.Kline, error) {
				return []market.Kline{kline(m(8), "5", market.StateSettled), kline(m(9), "5", market.StateOpen)}, nil
			}
		}, 200, "settled=9,closed=0,open=1,gap=0", []market.Span{{From: m(8), To: m(9)}}, []market.Span{{From: m(8), To: m(10)}}},
		{"the symbol waits and the exchange is down", func(w *world) { stored(w, 0, 9) }, 503, "", nil, []market.Span{{From: m(9), To: m(10)}}},
		{"a close came too late: the exchange's own", func(w *world) {
			stored(w, 0, 8)
			w.live.rows[minutes(btc)] = []market.Kline{kline(m(7), "4", market.StateClosed), kline(m(8), "4", market.StateOpen)}
			w.upstream = func(market.Series, market.Span, int) ([]market.Kline, error) {
				return []market.Kline{kline(m(8), "5", market.StateSettled), kline(m(9), "5", market.StateOpen)}, nil
			}
		}, 200, "settled=9,closed=0,open=1,gap=0", nil, []market.Span{{From: m(8), To: m(10)}}},
		{"the lane fails", func(w *world) { stored(w, 0, 9); w.live.err = errors.New("stopped") }, 503, "", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, fixedClock(now))
			c.lay(w)
			rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=10")
			if rec.Code != c.status {
				t.Fatalf("%d %s, want %d", rec.Code, rec.Body, c.status)
			}
			if got := rec.Header().Get("X-Klined-State"); got != c.state {
				t.Errorf("state %s, want %s", got, c.state)
			}
			if c.status == 200 && extent(t, rec) != "12:00–12:09 10" {
				t.Errorf("got %s", extent(t, rec))
			}
			if diff := cmp.Diff(c.fetched, w.fetched); diff != "" {
				t.Errorf("fetched (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.asked, w.asked); diff != "" {
				t.Errorf("asked upstream (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotKept: what is too old to be kept is served as the exchange gives it; what it does not give does not exist.
func TestNotKept(t *testing.T) {
	m := func(minute int) market.Time { return at("12:00:00") + market.Time(minute)*market.Minute }
	for _, c := range []struct {
		name       string
		kept       int
		begins, to int // of what the fetch gives
		status     int
		extent     string
	}{
		{"the exchange has all of it", 4, 0, 4, 200, "12:00–12:09 10"},
		{"the exchange's begin later", 4, 2, 4, 200, "12:02–12:09 8"},
		{"the exchange's begin where ours do", 4, 4, 4, 200, "12:04–12:09 6"},
		{"what is kept must come", 3, 0, 3, 503, ""},
	} {
		w := newWorld(t, fixedClock(m(9)+30*market.Second))
		w.kept, w.unkept = m(c.kept), run(market.OneMinute, m(c.begins), m(c.to), market.StateSettled)
		w.store.rows[minutes(btc)] = run(market.OneMinute, m(4), m(9), market.StateSettled)
		w.store.known[minutes(btc)] = []market.Span{{From: m(4), To: m(9)}}
		w.live.rows[minutes(btc)] = []market.Kline{kline(m(9), "5", market.StateOpen)}
		w.fetch = func(market.Series, market.Span) error { return nil }
		rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=10")
		if rec.Code != c.status || c.status == 200 && extent(t, rec) != c.extent {
			t.Errorf("%s: %d %s", c.name, rec.Code, rec.Body)
		}
		if want := []market.Span{{From: m(0), To: m(4)}}; !slices.Equal(w.fetched, want) {
			t.Errorf("%s: fetched %v, want %v", c.name, w.fetched, want)
		}
	}
}

// TestLackingTrades: what has lacked trades for longer than its lane heals is asked for; where the exchange does not give
// it, it is served as it is.
func TestLackingTrades(t *testing.T) {
	lay := func(w *world) {
		rows := run(market.OneMinute, at("12:00:00"), at("12:30:00"), market.StateClosed)
		for _, i := range []int{5, 7, 25} { // that of 12:25 is the lane's to heal still
			rows[i].Gap = true
		}
		w.store.rows[minutes(btc)], w.store.known[minutes(btc)] = rows, []market.Span{{From: at("12:00:00"), To: at("12:30:00")}}
		w.live.rows[minutes(btc)] = []market.Kline{kline(at("12:30:00"), "5", market.StateOpen)}
	}
	given := func(w *world) error {
		for i := 5; i <= 7; i++ {
			w.store.rows[minutes(btc)][i] = kline(at("12:00:00")+market.Time(i)*market.Minute, "9", market.StateSettled)
		}
		return nil
	}
	for _, c := range []struct {
		name    string
		lay     func(*fakeLive)
		fetch   func(*world) error
		state   string
		fetched string // until then, from 12:05 on
	}{
		{"it is given", nil, given, "settled=3,closed=27,open=1,gap=1", "12:08:00"},
		{"it is not", nil, func(*world) error { return errors.New("down") }, "settled=0,closed=30,open=1,gap=3", "12:08:00"},
		{"the stream began with the minute after it", func(l *fakeLive) { l.begun = at("12:26:00") }, given, "settled=3,closed=27,open=1,gap=1", "12:08:00"},
		{"the stream began later: it is an earlier process's", func(l *fakeLive) { l.begun = at("12:27:00") }, given, "settled=3,closed=27,open=1,gap=1", "12:26:00"},
		{"the stream has not begun", func(l *fakeLive) { l.idle = true }, given, "settled=3,closed=27,open=1,gap=1", "12:26:00"},
	} {
		w := newWorld(t, fixedClock(at("12:30:30")))
		lay(w)
		if c.lay != nil {
			c.lay(w.live)
		}
		w.fetch = func(market.Series, market.Span) error { return c.fetch(w) }
		rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=31")
		if got := rec.Header().Get("X-Klined-State"); rec.Code != 200 || got != c.state {
			t.Errorf("%s: %d, %s, want %s", c.name, rec.Code, got, c.state)
		}
		if want := []market.Span{{From: at("12:05:00"), To: at(c.fetched)}}; !slices.Equal(w.fetched, want) {
			t.Errorf("%s: fetched %v, want %v", c.name, w.fetched, want)
		}
	}
}

// TestLaneAheadOfClock: a trade closed the minute a moment before our clock says so.
func TestLaneAheadOfClock(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:08:59")+995))
	w.live.rows[minutes(btc)] = append(run(market.OneMinute, at("12:00:00"), at("12:09:00"), market.StateClosed), kline(at("12:09:00"), "5", market.StateOpen))
	w.store.known[minutes(btc)] = []market.Span{{From: 0, To: at("12:09:00")}}
	for query, want := range map[string]string{
		"": "12:08–12:09 2",
		"&endTime=" + fmt.Sprint(int64(at("12:08:30"))): "12:07–12:08 2",
	} {
		if got := extent(t, w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2"+query)); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:09:30")))
	w.fetch = func(market.Series, market.Span) error {
		return &market.BudgetError{RetryAfter: 1500 * time.Millisecond, Reason: "no weight left"}
	}
	rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=10")
	if got := rec.Header().Get("Retry-After"); rec.Code != 429 || got != "2" || !strings.HasPrefix(rec.Body.String(), `{"code":-1003,"msg":"Too many requests;`) {
		t.Errorf("%d, Retry-After %q, %s", rec.Code, got, rec.Body)
	}
	w.fetch = nil
	rec = w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=10")
	if want := `{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`; rec.Code != 503 || rec.Body.String() != want {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestListingIsRemembered(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:09:30")))
	series, listed := minutes(btc), at("12:00:00")
	w.store.rows[series] = run(market.OneMinute, listed, at("12:09:00"), market.StateSettled)
	w.store.known[series] = []market.Span{{From: 0, To: at("12:09:00")}}
	w.upstream = func(market.Series, market.Span, int) ([]market.Kline, error) {
		return []market.Kline{kline(listed, "1", market.StateSettled)}, nil
	}
	for range 2 {
		if got := extent(t, w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=0&limit=5")); got != "12:00–12:04 5" {
			t.Errorf("got %s", got)
		}
	}
	if len(w.asked) != 1 {
		t.Errorf("asked upstream %d times, want once", len(w.asked))
	}
}

// TestOwnIntervals: what the exchange does not have is folded from its minutes, or is only what is held here.
func TestOwnIntervals(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:03:30")))
	two := market.Series{Symbol: btc, Interval: interval("2m")}
	w.store.known[two] = []market.Span{{From: at("12:00:00"), To: at("12:02:00")}}
	w.store.rows[two] = []market.Kline{kline(at("12:00:00"), "1", market.StateClosed)}
	w.upstream = func(series market.Series, span market.Span, _ int) ([]market.Kline, error) {
		if series != minutes(btc) {
			t.Errorf("asked for %v", series)
		}
		return []market.Kline{kline(at("12:02:00"), "2", market.StateSettled), kline(at("12:03:00"), "3", market.StateOpen)}, nil
	}
	rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=2m&limit=2")
	want := `[1799064120000,"2.00","3.00","2.00","3.00","2.000",1799064239999,"5.00000",4,"2.000","5.00000","0"]]`
	if !strings.HasSuffix(rec.Body.String(), want) {
		t.Errorf("%d %s, want …%s", rec.Code, rec.Body, want)
	}

	second := market.Series{Symbol: btc, Interval: interval("1s")}
	w.live.rows[second] = []market.Kline{kline(at("12:03:29"), "1", market.StateClosed), kline(at("12:03:30"), "1", market.StateOpen)}
	rec = w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1s&limit=5")
	if got := rec.Header().Get("X-Klined-State"); got != "settled=0,closed=1,open=1,gap=0" || len(w.fetched) != 0 {
		t.Errorf("%d %s %s, fetched %v", rec.Code, got, rec.Body, w.fetched)
	}
}

// TestOwnIntervalsCountKlines: below a minute startTime and limit count what there is, beyond the times without klined too.
func TestOwnIntervalsCountKlines(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:02")))
	iv := interval("1s")
	series := market.Series{Symbol: btc, Interval: iv}
	w.store.rows[series] = append(run(iv, at("08:00:00"), at("08:00:05"), market.StateClosed), run(iv, at("12:00:00"), at("12:00:02"), market.StateClosed)...)
	w.live.rows[series] = []market.Kline{kline(at("12:00:02"), "1", market.StateOpen)}
	for query, want := range map[string]string{
		"limit=3":                            "12:00:00 12:00:01 12:00:02",
		"limit=5":                            "08:00:03 08:00:04 12:00:00 12:00:01 12:00:02",
		"limit=3&endTime=10h":                "08:00:02 08:00:03 08:00:04",
		"limit=3&startTime=0":                "08:00:00 08:00:01 08:00:02",
		"limit=3&startTime=8h4s":             "08:00:04 12:00:00 12:00:01",
		"limit=9&startTime=10h":              "12:00:00 12:00:01 12:00:02",
		"limit=9&startTime=8h3s&endTime=12h": "08:00:03 08:00:04 12:00:00",
		"limit=9&startTime=9h&endTime=10h":   "",
		"limit=9&endTime=7h":                 "",
		"limit=9&startTime=13h":              "",
	} {
		for _, name := range []string{"7h", "8h3s", "8h4s", "9h", "10h", "12h", "13h"} {
			after, _ := time.ParseDuration(name)
			query = strings.ReplaceAll(query, "Time="+name, fmt.Sprint("Time=", int64(at("00:00:00").Add(after))))
		}
		w.store.reads = 0
		rec := w.get("/fapi/v1/klines?symbol=BTCUSDT&interval=1s&" + query)
		var rows [][]any
		if err := json.Unmarshal(rec.Body.Bytes(), &rows); err != nil {
			t.Fatal(err, rec.Body)
		}
		var opens []string
		for _, row := range rows {
			opens = append(opens, market.Time(row[0].(float64)).Std().Format(time.TimeOnly))
		}
		if got := strings.Join(opens, " "); got != want || w.store.reads > 9 {
			t.Errorf("%s: %s, want %s; the store is read %d times", query, got, want, w.store.reads)
		}
	}
}

// passing is a clock and a lane: with the first read of it a boundary passes.
type passing struct {
	*fakeLive
	now  market.Time
	pass func()
}

func (p *passing) Now() market.Time { return p.now }

func (p *passing) Tail(ctx context.Context, dst []market.Kline, series market.Series, from market.Time) ([]market.Kline, error) {
	dst, err := p.fakeLive.Tail(ctx, dst, series, from)
	p.pass()
	return dst, err
}

// TestOverWhileAnswered: the kline that ran when an answer was begun is its last, whatever has followed it since.
func TestOverWhileAnswered(t *testing.T) {
	iv := interval("1s")
	series := market.Series{Symbol: btc, Interval: iv}
	w := newWorld(t, fixedClock(0))
	w.store.rows[series] = run(iv, at("11:59:58"), at("12:00:00"), market.StateClosed)
	w.live.rows[series] = []market.Kline{kline(at("12:00:00"), "1", market.StateOpen)}
	p := &passing{fakeLive: w.live, now: at("12:00:00") + 999}
	p.pass = func() {
		p.now = at("12:00:01")
		w.live.rows[series] = []market.Kline{kline(at("12:00:00"), "2", market.StateClosed), kline(at("12:00:01"), "3", market.StateOpen)}
	}
	w.opt.Clock, w.opt.Live = p, p
	rec := w.get(fmt.Sprintf("/fapi/v1/klines?symbol=BTCUSDT&interval=1s&startTime=%d&limit=9", int64(at("11:59:58"))))
	if got := rec.Header().Get("X-Klined-State"); got != "settled=0,closed=2,open=1,gap=0" {
		t.Errorf("%s: %s", got, rec.Body)
	}
}

// TestHoleIsNoListing: a series that misses klines in its midst, as after a downtime below a minute, or where the exchange
// itself has none, still shows what lies before.
func TestHoleIsNoListing(t *testing.T) {
	for _, iv := range []market.Interval{interval("1s"), market.OneMinute} {
		w := newWorld(t, fixedClock(at("13:00:00")))
		series := market.Series{Symbol: btc, Interval: iv}
		early, late := at("12:00:00"), at("12:40:00")
		w.store.rows[series] = append(run(iv, early, early+5*market.Time(iv), market.StateSettled), run(iv, late, late+5*market.Time(iv), market.StateSettled)...)
		w.store.known[series] = []market.Span{{From: 0, To: at("13:00:00")}}
		w.upstream = func(market.Series, market.Span, int) ([]market.Kline, error) {
			return []market.Kline{kline(early, "1", market.StateSettled)}, nil
		}
		before := w.get(fmt.Sprintf("/fapi/v1/klines?symbol=BTCUSDT&interval=%s&startTime=%d&limit=2", iv, early)).Body.String()
		w.get(fmt.Sprintf("/fapi/v1/klines?symbol=BTCUSDT&interval=%s&startTime=%d&limit=30", iv, early+10*market.Time(iv)))
		after := w.get(fmt.Sprintf("/fapi/v1/klines?symbol=BTCUSDT&interval=%s&startTime=%d&limit=2", iv, early)).Body.String()
		if before != after || !strings.Contains(before, fmt.Sprint(int64(early))) {
			t.Errorf("%s: before %s, after a request across the hole %s", iv, before, after)
		}
	}
}

// TestJoinTo: it gives what join gives, wherever the second run lies.
func TestJoinTo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (rows []market.Kline) {
			from := rapid.IntRange(0, 6).Draw(t, name)
			for i := range rapid.IntRange(0, 8).Draw(t, name+" rows") {
				if rapid.IntRange(0, 5).Draw(t, name+" has it") > 0 {
					k := kline(market.Time(from+i)*market.Minute, "1.00", rapid.SampledFrom([]market.State{market.StateClosed, market.StateSettled}).Draw(t, "state"))
					k.Revision, k.TradeCount = rapid.Int32Range(0, 1).Draw(t, "revision"), rapid.Int64Range(1, 9).Draw(t, "count")
					rows = append(rows, k)
				}
			}
			return rows
		}
		a, b := draw("a"), draw("b")
		want := join(nil, a, b)
		if got := joinTo(a, b); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

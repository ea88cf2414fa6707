package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"klined/fixed"
	"klined/market"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubbleBegin is when a synctest bubble begins: a Saturday, the first of a month.
const bubbleBegin = market.Time(946684800000) // 2000-01-01T00:00Z

type bubbleClock struct{}

func (bubbleClock) Now() market.Time { return market.TimeOf(time.Now()) }

// asked is one question to the venue.
type asked struct {
	class market.Class
	market.Series
	market.Span
	limit int
}

func (a asked) String() string {
	return fmt.Sprintf("%d %s from %s limit %d, %s", a.Symbol, a.Interval, a.From.Std().Format("01-02T15:04"), a.limit, a.class)
}

// venue is an exchange in memory: its klines are flat and dense from each symbol's listing on.
type venue struct {
	mu     sync.Mutex
	asked  []asked
	listed map[market.SymbolID]market.Time    // from the beginning where not named
	fail   func(asked) error                  // nil: nothing fails
	spoil  func(asked, []market.Kline)        // nil: all rows are right
	hold   func(context.Context, asked) error // called before the answer; nil: at once
}

func (v *venue) Klines(ctx context.Context, class market.Class, series market.Series, span market.Span, limit int) ([]market.Kline, error) {
	a := asked{class, series, span, limit}
	v.mu.Lock()
	v.asked = append(v.asked, a)
	v.mu.Unlock()
	if v.hold != nil {
		if err := v.hold(ctx, a); err != nil {
			return nil, err
		}
	}
	if v.fail != nil {
		if err := v.fail(a); err != nil {
			return nil, err
		}
	}
	now := bubbleClock{}.Now()
	var rows []market.Kline
	for open := series.Interval.Ceil(span.From); open < span.To && open <= now && len(rows) < limit; open = series.Interval.Next(open) {
		if series.Interval.Next(open) > v.listed[series.Symbol] {
			rows = append(rows, row(series.Interval, open, now))
		}
	}
	if v.spoil != nil {
		v.spoil(a, rows)
	}
	return rows, nil
}

// row is an official kline of one trade: its price says when it opened.
func row(iv market.Interval, open, now market.Time) market.Kline {
	k := market.EmptyKline(open, fixed.Value(open/1000))
	k.Volume, k.TradeCount, k.State = fixed.One.Sum(), 1, market.StateSettled
	if iv.Next(open) > now {
		k.State = market.StateOpen
	}
	return k
}

// take gives the questions since the last call.
func (v *venue) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var s []string
	for _, a := range v.asked {
		s = append(s, a.String())
	}
	v.asked = nil
	return s
}

// store keeps rows and the spans that are known, in memory.
type store struct {
	mu    sync.Mutex
	rows  map[market.Series][]market.Kline
	known map[market.Series][]market.Span
	fail  error
	reads int
}

func newStore() *store {
	return &store{rows: map[market.Series][]market.Kline{}, known: map[market.Series][]market.Span{}}
}

func (s *store) Read(_ context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.fail != nil {
		return nil, nil, s.fail
	}
	for _, k := range s.rows[series] {
		if k.OpenTime >= span.From && k.OpenTime < span.To {
			rows = append(rows, k)
		}
	}
	for open := span.From; open < span.To; open = series.Interval.Next(open) {
		if !slices.ContainsFunc(s.known[series], func(k market.Span) bool { return open >= k.From && open < k.To }) {
			missing = append(missing, market.Span{From: open, To: series.Interval.Next(open)})
		}
	}
	return rows, missing, nil
}

func (s *store) Fetched(series market.Series, span market.Span, rows []market.Kline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[series] = append(s.known[series], span)
	s.rows[series] = append(s.rows[series], rows...)
	slices.SortFunc(s.rows[series], func(a, b market.Kline) int { return int(a.OpenTime - b.OpenTime) })
}

// lanes records what they are told. Symbols are whole once told so.
type lanes struct {
	mu    sync.Mutex
	from  market.Time // 0: not begun
	busy  []market.SymbolID
	whole map[market.SymbolID]bool
	told  []string
	rows  map[market.Series][]market.Kline
	load  func(id market.SymbolID, iv market.Interval, rows []market.Kline) // beside recording; may be nil
}

func (l *lanes) First(id market.SymbolID, open market.Time) {
	l.tell("%d first %s", id, open.Std().Format("01-02T15:04"))
}

func (l *lanes) Fresh(id market.SymbolID) { l.tell("%d fresh", id) }

func (l *lanes) Load(id market.SymbolID, iv market.Interval, rows []market.Kline) {
	l.tell("%d %s %d", id, iv, len(rows))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows[market.Series{Symbol: id, Interval: iv}] = rows
	if l.load != nil {
		l.load(id, iv, rows)
	}
}

func (l *lanes) tell(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, fmt.Sprintf(format, args...))
}

func (l *lanes) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return told
}

func (l *lanes) Begun(market.SymbolID) (market.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.from, l.from != 0
}

func (l *lanes) begin(from market.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = from
}

func (l *lanes) Waiting(id market.SymbolID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.whole[id]
}

func (l *lanes) BusyFirst(ids []market.SymbolID) {
	rank := func(id market.SymbolID) int {
		if i := slices.Index(l.busy, id); i >= 0 {
			return i
		}
		return len(l.busy)
	}
	slices.SortStableFunc(ids, func(a, b market.SymbolID) int { return rank(a) - rank(b) })
}

// rig is a History between a venue, a store and lanes in memory.
type rig struct {
	*History
	venue *venue
	store *store
	lanes *lanes
	log   *bytes.Buffer // guarded by its handler
}

func newRig(intervals ...market.Interval) *rig {
	r := &rig{venue: &venue{listed: map[market.SymbolID]market.Time{}}, store: newStore(), log: &bytes.Buffer{},
		lanes: &lanes{whole: map[market.SymbolID]bool{}, rows: map[market.Series][]market.Kline{}}}
	r.History = New(Options{Venue: r.venue, Store: r.store, Lanes: r.lanes, Clock: bubbleClock{}, Intervals: intervals,
		Log: slog.New(slog.NewTextHandler(r.log, nil))})
	return r
}

// start runs Start in the background; the function it returns waits for its end.
func (r *rig) start(ctx context.Context, ids ...market.SymbolID) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- r.Start(ctx, ids) }()
	return func() error { return <-done }
}

var errDown = errors.New("the exchange is down")

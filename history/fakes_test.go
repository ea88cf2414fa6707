package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"klined/fixed"
	"klined/market"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubbleBegin is when a synctest bubble begins: a Saturday, the first of a month.
const bubbleBegin = market.Time(946684800000) // 2000-01-01T00:00Z

// bubbleClock is the bubble's time, as far off as is set.
type bubbleClock struct{ off atomic.Int64 }

func (c *bubbleClock) Now() market.Time {
	return market.TimeOf(time.Now()).Add(time.Duration(c.off.Load()))
}

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
	clock  *bubbleClock // which says what is over
	diary  *diary
	mu     sync.Mutex
	asked  []asked
	listed map[market.SymbolID]market.Time            // from the beginning where not named
	fail   func(asked) error                          // nil: nothing fails
	spoil  func(asked, []market.Kline) []market.Kline // nil: all rows are right
	hold   func(context.Context, asked) error         // called before the answer; nil: at once
}

func (v *venue) Klines(ctx context.Context, class market.Class, series market.Series, span market.Span, limit int) ([]market.Kline, error) {
	a := asked{class, series, span, limit}
	v.mu.Lock()
	v.asked = append(v.asked, a)
	hold, fail, spoil := v.hold, v.fail, v.spoil
	v.mu.Unlock()
	v.diary.tell("%d asks %s %s–%s", a.Symbol, a.Interval, hourOf(a.From), hourOf(a.To))
	if hold != nil {
		if err := hold(ctx, a); err != nil {
			return nil, err
		}
	}
	if fail != nil {
		if err := fail(a); err != nil {
			return nil, err
		}
	}
	now := v.clock.Now()
	if span.To == 0 {
		span.To = now + 1
	}
	if span.From == 0 { // the newest
		span.From = series.Interval.OpenAt(series.Interval.Ordinal(span.To-1) - int64(limit) + 1)
	}
	var rows []market.Kline
	for open := series.Interval.Ceil(span.From); open < span.To && open <= now && len(rows) < limit; open = series.Interval.Next(open) {
		if series.Interval.Next(open) > v.listed[series.Symbol] {
			rows = append(rows, row(series.Interval, open, now))
		}
	}
	if spoil != nil {
		rows = spoil(a, rows)
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

// set changes how the venue answers while it is asked.
func (v *venue) set(change func(*venue)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
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
	known map[market.Series][]market.Span // as told
	all   map[market.Series][]market.Span // likewise, in order of time
	fail  error
	reads int

	failParts market.Interval // reading it fails

	settled map[market.SymbolID]market.Time
	holes   []market.Range
	kept    market.Time
}

func newStore() *store {
	return &store{rows: map[market.Series][]market.Kline{}, known: map[market.Series][]market.Span{}, all: map[market.Series][]market.Span{}, settled: map[market.SymbolID]market.Time{}}
}

func (s *store) Read(_ context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if series.Interval == s.failParts {
		return nil, nil, errDown
	}
	if s.fail != nil {
		return nil, nil, s.fail
	}
	for _, k := range s.rows[series] {
		if k.OpenTime >= span.From && k.OpenTime < span.To {
			rows = append(rows, k)
		}
	}
	return rows, s.missing(series, span), nil
}

// set changes how the store answers while it is read.
func (s *store) set(change func(*store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// missing is the parts of span that are not known; mu is held.
func (s *store) missing(series market.Series, span market.Span) (missing []market.Span) {
	from := series.Interval.Ceil(span.From)
	to := series.Interval.Ceil(span.To)
	for _, k := range s.all[series] {
		if k.From > from && from < to {
			missing = append(missing, market.Span{From: from, To: min(k.From, to)})
		}
		from = max(from, k.To)
	}
	if from < to {
		missing = append(missing, market.Span{From: from, To: to})
	}
	return missing
}

func (s *store) Fetched(series market.Series, span market.Span, rows []market.Kline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[series] = append(s.known[series], span)
	s.all[series] = append(s.all[series], span)
	slices.SortFunc(s.all[series], func(a, b market.Span) int { return int(a.From - b.From) })
	for i := range rows {
		if old, there := findOpen(s.rows[series], rows[i].OpenTime); there && market.Better(&rows[i], old) {
			*old = rows[i]
		} else if !there {
			at, _ := slices.BinarySearchFunc(s.rows[series], rows[i].OpenTime, func(k market.Kline, open market.Time) int { return int(k.OpenTime - open) })
			s.rows[series] = slices.Insert(s.rows[series], at, rows[i])
		}
	}
}

func (s *store) Missing(series market.Series, span market.Span) []market.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing(series, span)
}

func (s *store) Holes() []market.Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holes
}

func (s *store) Room(context.Context) error { return s.fail }

func (s *store) Kept(market.Interval) market.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept
}

func (s *store) SettledUpTo(id market.SymbolID) market.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled[id]
}

func (s *store) SettleUpTo(id market.SymbolID, upTo market.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled[id] = upTo
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

// debts are lanes that lack trades of minutes, until they believe their official klines, or are told that they are paid.
type debts struct {
	diary   *diary
	mu      sync.Mutex
	minutes map[market.SymbolID][]market.Time               // that lack trades, by open time
	reach   market.Time                                     // minutes before it are not kept any more
	hours   market.Time                                     // likewise
	believe func(k *market.Kline, confirmed bool) (ok bool) // nil: all
	look    func(n int)                                     // called with each look; may be nil
	looks   int
}

// owe lets minutes of a symbol lack trades.
func (d *debts) owe(id market.SymbolID, opens ...market.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minutes[id] = append(d.minutes[id], opens...)
	slices.Sort(d.minutes[id])
}

// set changes what the lanes believe while rows are offered.
func (d *debts) set(change func(*debts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// healed lets a symbol lack nothing any more.
func (d *debts) healed(id market.SymbolID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.minutes, id)
}

func (d *debts) Owed(by market.Time) (owed []market.Range) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.looks++; d.look != nil {
		d.look(d.looks)
	}
	for _, id := range slices.Sorted(maps.Keys(d.minutes)) {
		over := slices.DeleteFunc(slices.Clone(d.minutes[id]), func(open market.Time) bool { return open+market.Minute > by })
		if n := len(over); n > 0 {
			span := market.Span{From: over[0], To: min(over[n-1]+market.Minute, over[0]+99*market.Minute)}
			owed = append(owed, market.Range{Series: market.Series{Symbol: id, Interval: market.OneMinute}, Span: span})
		}
	}
	return owed
}

func (d *debts) Official(id market.SymbolID, iv market.Interval, k *market.Kline, said market.Said) market.Belief {
	confirmed := said > market.SaidOnce
	d.mu.Lock()
	defer d.mu.Unlock()
	belief := market.Believed
	switch {
	case iv == market.OneMinute && k.OpenTime < d.reach, iv == market.OneHour && k.OpenTime < d.hours:
		belief = market.OutOfReach
	case iv == market.OneMinute && slices.Contains(d.minutes[id], k.OpenTime) && d.believe != nil && !d.believe(k, confirmed):
		belief = market.Doubted
	case iv == market.OneMinute:
		d.minutes[id] = slices.DeleteFunc(d.minutes[id], func(open market.Time) bool { return open == k.OpenTime })
	}
	text := [...]string{"doubted", "believed", "out of reach"}[belief]
	if confirmed {
		text += ", confirmed"
	}
	d.diary.tell("%d %s %s %s", id, iv, hourOf(k.OpenTime), text)
	return belief
}

func (d *debts) Paid(id market.SymbolID, upTo market.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minutes[id] = slices.DeleteFunc(d.minutes[id], func(open market.Time) bool { return open < upTo })
	d.diary.tell("%d paid up to %s", id, hourOf(upTo))
}

// Follows: what is folded from what is kept follows it; days are kept.
func (d *debts) Follows(series market.Series, open market.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch iv := series.Interval; {
	case iv <= market.OneHour:
		return open >= d.reach
	case iv <= market.OneDay:
		return open >= d.hours
	}
	return true
}

func (d *debts) Compared(c market.Difference) {
	text := "replaced"
	if market.SameValues(&c.Ours, &c.Official) {
		text = "equal"
	}
	d.diary.tell("%d %s %s %s", c.Symbol, c.Interval, hourOf(c.Ours.OpenTime), text)
}

// diary is what happened, each with the seconds since it began.
type diary struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

// begin forgets what was.
func (d *diary) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began, d.lines = time.Now(), nil
}

func (d *diary) tell(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf("%gs  ", time.Since(d.began).Seconds())+fmt.Sprintf(format, args...))
}

// take gives what happened since the last call.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// hourOf is a time of the bubble's first day as hh:mm; empty for 0.
func hourOf(t market.Time) string {
	if t == 0 {
		return ""
	}
	return t.Std().Format("15:04")
}

// rig is a History between a venue, a store and lanes in memory.
type rig struct {
	*History
	venue  *venue
	store  *store
	lanes  *lanes
	debts  *debts
	diary  *diary
	clock  *bubbleClock
	step   atomic.Int64  // what the clock is off by once it has been doubted
	doubts atomic.Int64  // how often it was
	log    *bytes.Buffer // guarded by its handler
}

func newRig(intervals ...market.Interval) *rig {
	r := &rig{store: newStore(), diary: &diary{}, clock: &bubbleClock{}, log: &bytes.Buffer{},
		lanes: &lanes{whole: map[market.SymbolID]bool{}, rows: map[market.Series][]market.Kline{}}}
	r.venue = &venue{listed: map[market.SymbolID]market.Time{}, clock: r.clock, diary: r.diary}
	r.debts = &debts{minutes: map[market.SymbolID][]market.Time{}, diary: r.diary}
	r.History = New(Options{Venue: r.venue, Store: r.store, Lanes: r.lanes, Debts: r.debts, Clock: r.clock, Intervals: intervals,
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Doubt: func(context.Context) {
			r.doubts.Add(1)
			r.clock.off.Store(r.step.Load())
		}})
	return r
}

// start carries symbols and runs Start in the background; the function it returns waits until they need nothing any more, or
// ctx ends, and then for its end.
func (r *rig) start(ctx context.Context, ids ...market.SymbolID) (wait func() error) {
	r.Carry(ids...)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- r.Start(running) }()
	return func() error {
		for ctx.Err() == nil && !r.started() {
			time.Sleep(10 * time.Millisecond)
		}
		stop()
		if err := <-done; ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}

// started reports whether no symbol needs anything to begin from.
func (r *rig) started() bool {
	r.starts.mu.Lock()
	defer r.starts.mu.Unlock()
	return r.starts.idle()
}

var errDown = errors.New("the exchange is down")

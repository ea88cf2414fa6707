// Package history fetches the venue's own klines: to start and backfill ours, to settle and audit ours.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"klined/health"
	"klined/market"
)

// settleAfter is how long after its close an official row may still change on the venue's side: younger rows are not
// believed.
const settleAfter = 10 * time.Second

// Venue asks the exchange for its klines: the row of every interval that opens within the span, at most limit, oldest
// first. A zero end of the span is left open. Closed rows are settled, the running one open.
type Venue interface {
	Klines(ctx context.Context, class market.Class, series market.Series, span market.Span, limit int) ([]market.Kline, error)
}

// Store keeps what is fetched.
type Store interface {
	Read(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error)
	Fetched(series market.Series, span market.Span, rows []market.Kline)
	Missing(series market.Series, span market.Span) []market.Span
	Holes() []market.Range
	Room(ctx context.Context) error // waits until there is room for more
	Kept(iv market.Interval) market.Time
	SettledUpTo(id market.SymbolID) market.Time
	SettleUpTo(id market.SymbolID, upTo market.Time)
}

// Lanes take what symbols begin from.
type Lanes interface {
	First(id market.SymbolID, open market.Time)
	Fresh(id market.SymbolID)
	Load(id market.SymbolID, iv market.Interval, rows []market.Kline)
	Begun(id market.SymbolID) (from market.Time, ok bool)
	Waiting(id market.SymbolID) bool
	BusyFirst([]market.SymbolID)
}

// Debtors are the lanes, as far as official klines are concerned that take the place of ours.
type Debtors interface {
	Owed(by market.Time) []market.Range
	Official(id market.SymbolID, iv market.Interval, k *market.Kline, said market.Said) market.Belief
	Paid(id market.SymbolID, upTo market.Time)
	Follows(series market.Series, open market.Time) bool
	Compared(d market.Difference)
}

// Options are the parts that a History works between; all of them up to Log must be set. Backfill does without Lanes and Debts,
// Audit without a Store, too.
type Options struct {
	Venue Venue
	Store Store
	Lanes Lanes
	Debts Debtors
	Clock interface{ Now() market.Time }
	Log   *slog.Logger

	ReadAgain time.Duration                // after which backfill and audit read a second time what differs (30 s)
	Archive   Archive                      // nil: REST alone
	Metrics   *health.Metrics              // (its own)
	Watchdog  *health.Watchdog             // is told how what runs until its context ends is (nobody)
	Name      func(market.SymbolID) string // for logs and errors; nil: the number
	Intervals []market.Interval            // built and kept; where empty, all that are asked for
	Doubt     func(ctx context.Context)    // has the clock measured anew, and returns when that is done; nil: it is always right
}

// History fetches official klines. Its methods may be called from any goroutine.
type History struct {
	venue     Venue
	store     Store
	lanes     Lanes
	debts     Debtors
	clock     interface{ Now() market.Time }
	log       *slog.Logger
	name      func(market.SymbolID) string
	readAfter time.Duration
	archive   Archive
	metrics   *health.Metrics
	dog       *health.Watchdog
	intervals []market.Interval
	doubt     func(context.Context)

	folding sync.Mutex // held while klines are folded on the store

	starts queue

	mu      sync.Mutex                      // guards what follows
	carried []market.SymbolID               // replaced whole where one is dropped
	dropped map[market.SymbolID]market.Time // when
	flights map[market.Series][]*flight     // under way, waiting for their turn, or fresh
	turns   turns
	landed  time.Time                  // when flights were last looked through
	ails    map[market.SymbolID]string // why a symbol's last question while it started failed
	filling *Progress                  // of the running backfill; nil between two
	filled  Filled                     // but for what is under way
}

// New makes a History.
func New(o Options) *History {
	if o.ReadAgain == 0 {
		o.ReadAgain = confirmed
	}
	if o.Name == nil {
		o.Name = func(id market.SymbolID) string { return fmt.Sprintf("symbol %d", id) }
	}
	if o.Doubt == nil {
		o.Doubt = func(context.Context) {}
	}
	if o.Metrics == nil {
		o.Metrics = health.NewMetrics()
	}
	if o.Watchdog == nil {
		o.Watchdog = health.NewWatchdog(o.Log)
	}
	h := &History{archive: o.Archive, metrics: o.Metrics, dog: o.Watchdog, venue: o.Venue, store: o.Store, lanes: o.Lanes, debts: o.Debts, clock: o.Clock, log: o.Log.With("target", "history"), name: o.Name, readAfter: o.ReadAgain,
		intervals: o.Intervals, doubt: o.Doubt, dropped: make(map[market.SymbolID]market.Time), flights: make(map[market.Series][]*flight), ails: make(map[market.SymbolID]string), filled: Filled{State: FilledWaiting}}
	h.starts = queue{h: h, more: make(chan struct{})}
	return h
}

// Ails is why the last question for what a symbol begins from failed; empty where it did not.
func (h *History) Ails(id market.SymbolID) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ails[id]
}

// ailing notes how the last question for what a symbol begins from went.
func (h *History) ailing(id market.SymbolID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.ails, id)
	} else {
		h.ails[id] = err.Error()
	}
}

// maxRows is how many klines the exchange gives for one question.
const maxRows = 1500

// errRules is why a row of the exchange's is not believed.
var errRules = errors.New("breaks its own rules")

// fetch asks for the span page by page, oldest first, keeps each page and returns what is believed of them. Where rows
// are not believed there is an error beside the others.
func (h *History) fetch(ctx context.Context, class market.Class, series market.Series, span market.Span) ([]market.Kline, error) {
	var all []market.Kline
	var doubted error
	err := h.pages(ctx, class, market.Range{Series: series, Span: span}, func(page market.Span, rows []market.Kline, asked market.Interval) error {
		kept, err := h.keep(series, page, rows, asked)
		if doubted == nil {
			doubted = err
		}
		all = append(all, kept...)
		return nil
	})
	if err == nil {
		err = doubted
	}
	return all, err
}

// pages asks for the klines of a range page by page, oldest first, in the interval that the exchange is asked for.
func (h *History) pages(ctx context.Context, class market.Class, r market.Range, take func(page market.Span, rows []market.Kline, asked market.Interval) error) error {
	iv, err := askable(r.Interval)
	if err != nil {
		return err
	}
	// Whole klines of the series only: a part of one would pass for it.
	span := market.Span{From: r.Interval.Open(r.From), To: r.Interval.Ceil(r.To)}
	for open := span.From; open < span.To; {
		page := market.Span{From: open, To: min(span.To, r.Interval.Open(iv.OpenAt(iv.Ordinal(open)+maxRows)))}
		h.sure(ctx, page.To)
		rows, err := h.venue.Klines(ctx, class, market.Series{Symbol: r.Symbol, Interval: iv}, page, int(iv.Count(page)))
		if err != nil {
			return fmt.Errorf("cannot fetch %s klines: %w", iv, err)
		}
		if err := take(page, rows, iv); err != nil {
			return err
		}
		open = page.To
	}
	return nil
}

// official gives the exchange's own klines of a range page by page: those that are over and believed, folded where the
// exchange does not serve the interval.
func (h *History) official(ctx context.Context, class market.Class, r market.Range, take func(page market.Span, rows []market.Kline) error) error {
	return h.pages(ctx, class, r, func(page market.Span, rows []market.Kline, _ market.Interval) error {
		page.To = h.over(r.Interval, page.To, rows)
		rows, _, _ = believed(r.Interval, page, rows)
		return take(page, rows)
	})
}

// young is how long ago klines ended whose state a clock that was stepped meanwhile would get wrong.
const young = 2 * time.Minute

// sure has the clock measured anew before klines up to a time are asked for that is not long ago: a row that is still
// running at the exchange must not pass for one that is over.
func (h *History) sure(ctx context.Context, upTo market.Time) {
	if upTo > h.clock.Now().Add(-young) {
		h.doubt(ctx)
	}
}

// askable is the interval to ask the exchange for in order to have iv.
func askable(iv market.Interval) (market.Interval, error) {
	var best market.Interval
	for _, e := range market.ExchangeIntervals() {
		if e == iv || e <= market.OneDay && iv < market.OneDay && iv%e == 0 {
			best = e
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("the exchange has no klines that %s could be folded from", iv)
	}
	return best, nil
}

// keep stores those official rows of the page that are over and believed, folded where asked is shorter than the
// series' interval, and notes how far the page is complete now. A kline of which a row is not believed stays absent; the
// error names the first such row.
func (h *History) keep(series market.Series, page market.Span, rows []market.Kline, asked market.Interval) ([]market.Kline, error) {
	page.To = h.over(series.Interval, page.To, rows)
	rows, absent, doubted := believed(series.Interval, page, rows)
	h.put(series, page, rows, absent)
	if doubted != 0 {
		return rows, fmt.Errorf("the exchange's %s kline of %s %w", asked, doubted, errRules)
	}
	return rows, nil
}

// over is up to where the klines of iv before to are over and may be believed: not behind a row that still runs at the
// exchange, whatever our clock says.
func (h *History) over(iv market.Interval, to market.Time, rows []market.Kline) market.Time {
	to = min(to, iv.Open(h.clock.Now().Add(-settleAfter)))
	for i := range rows {
		if rows[i].State == market.StateOpen {
			to = min(to, iv.Open(rows[i].OpenTime))
		}
	}
	return to
}

// believed is the rows of a page that are over and keep their own rules, folded into iv; the open times, rising, of klines
// of which a row does not, and the open time of the first such row.
func believed(iv market.Interval, page market.Span, rows []market.Kline) (good []market.Kline, absent []market.Time, doubted market.Time) {
	rows = slices.DeleteFunc(rows, func(k market.Kline) bool {
		if k.OpenTime < page.From || k.OpenTime >= page.To {
			return true
		}
		if k.State == market.StateSettled && k.Plausible() {
			return false
		}
		if doubted == 0 {
			doubted = k.OpenTime
		}
		absent = append(absent, iv.Open(k.OpenTime))
		return true
	})
	good = slices.DeleteFunc(market.FoldAll(iv, rows), func(k market.Kline) bool { return slices.Contains(absent, k.OpenTime) })
	return good, absent, doubted
}

// put keeps the klines of series over the span, all that there are but for those that open at the absent times, which rise.
func (h *History) put(series market.Series, span market.Span, rows []market.Kline, absent []market.Time) {
	from := span.From
	for _, open := range append(absent, span.To) {
		n := 0
		for n < len(rows) && rows[n].OpenTime < open {
			n++
		}
		if from < open {
			h.store.Fetched(series, market.Span{From: from, To: open}, rows[:n])
		}
		rows, from = rows[n:], series.Interval.Next(open)
	}
}

package history

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"klined/health"
	"klined/market"
)

// What a symbol begins from: enough official klines that the running month, week, 3 days, day and hour fold. One
// question each, of weight 1.
var beginnings = []struct {
	interval market.Interval
	count    int
}{{market.OneDay, 62}, {market.OneHour, 48}, {market.OneMinute, 99}}

// startsWithin is how long it may take to serve a symbol that begins: it waits for its weight.
const startsWithin = 3 * time.Minute

// askers is how many questions are under way at once while symbols start.
const askers = 16

// Waiting before a symbol that could not be served, or is still waiting, is served again: twice as long each time.
const (
	afterFailure = time.Second
	afterWaiting = 10 * time.Second
	longest      = 5 * time.Minute
)

// Start gives every symbol that is carried what it begins from, those that come later too, until ctx ends: from the store
// first, the rest from the exchange, busy symbols first. Once the stream's starting minute is official, those that are still
// waiting are served again: with what came in between, and with the starting minute itself where no frame has brought it.
func (h *History) Start(ctx context.Context) error {
	h.starts.alive = h.dog.Component("start", health.Outside).Within(startsWithin, "has served no symbol")
	var g errgroup.Group
	for range askers {
		g.Go(func() error { return h.starts.work(ctx) })
	}
	return g.Wait()
}

// start is a symbol that still needs something.
type start struct {
	id     market.SymbolID
	served bool          // it needs no more, unless it is waiting once its starting minute is official
	due    time.Time     // it is not served before
	pause  time.Duration // between the last time and that
}

// later puts the start off, for longer each time.
func (s *start) later(first, atLeast time.Duration) {
	s.pause = max(min(max(2*s.pause, first), longest), atLeast)
	s.due = time.Now().Add(s.pause)
}

// queue is the symbols that still need something.
type queue struct {
	h     *History
	alive *health.Component

	mu     sync.Mutex
	starts []start       // busy symbols first
	sorted time.Time     // when they were last put in order
	taken  int           // starts that are being served now
	began  time.Time     // when the first came into the empty queue
	served int           // symbols that need nothing any more, since
	more   chan struct{} // closed when one comes into the empty queue
}

// add puts symbols into the queue.
func (q *queue) add(ids []market.SymbolID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.idle() && len(ids) > 0 {
		q.began, q.served = time.Now(), 0
		close(q.more)
		q.more = make(chan struct{})
	}
	for _, id := range ids {
		q.starts = append(q.starts, start{id: id})
	}
}

// idle reports whether no symbol needs anything. mu is held.
func (q *queue) idle() bool { return len(q.starts) == 0 && q.taken == 0 }

// work serves one symbol after the other until ctx ends.
func (q *queue) work(ctx context.Context) error {
	for {
		s, ok, more := q.next()
		var err error
		switch {
		case ok:
			err = q.serve(ctx, s)
		case more != nil:
			select {
			case <-ctx.Done():
			case <-more:
			case <-time.After(startsWithin / 3): // to say that all is well
			}
			err = ctx.Err()
		default:
			err = pause(ctx, 100*time.Millisecond)
		}
		if err != nil {
			return err
		}
	}
}

// next takes the symbol to serve now, if there is one; where the queue is empty, more is closed when that is over.
func (q *queue) next() (s start, ok bool, more <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sort()
	q.alive.Beat()
	now := time.Now()
	for i := 0; i < len(q.starts); i++ {
		s := q.starts[i]
		if s.due.After(now) {
			continue
		}
		carried := q.h.droppedAt(s.id) == 0
		if carried && s.served && !q.over(s.id) {
			q.starts[i].due = now.Add(250 * time.Millisecond)
			continue
		}
		q.starts = slices.Delete(q.starts, i, i+1)
		if carried && (!s.served || q.h.lanes.Waiting(s.id)) {
			q.taken++
			return s, true, nil
		}
		i--
		q.served++
		if q.idle() {
			q.h.log.Info("start done", "symbols", q.served, "took", now.Sub(q.began).Round(time.Millisecond))
		}
	}
	if q.idle() {
		return start{}, false, q.more
	}
	return start{}, false, nil
}

// over reports whether the symbol's starting minute is official.
func (q *queue) over(id market.SymbolID) bool {
	from, begun := q.h.lanes.Begun(id)
	return begun && q.h.clock.Now() >= from.Add(settleAfter)
}

// sort puts busy symbols first, at most once a second.
func (q *queue) sort() {
	if time.Since(q.sorted) < time.Second {
		return
	}
	q.sorted = time.Now()
	ids := make([]market.SymbolID, len(q.starts))
	for i := range q.starts {
		ids[i] = q.starts[i].id
	}
	q.h.lanes.BusyFirst(ids)
	rank := make(map[market.SymbolID]int, len(ids))
	for i, id := range ids {
		rank[id] = i
	}
	slices.SortFunc(q.starts, func(a, b start) int { return cmp.Compare(rank[a.id], rank[b.id]) })
}

// serve brings one symbol what it needs, and puts it back unless it is whole. A failure is logged and tried again later.
func (q *queue) serve(ctx context.Context, s start) error {
	err := q.h.begin(ctx, s.id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	defer q.putBack(&s)
	q.h.ailing(s.id, err)
	if err == nil {
		if s.served {
			s.later(afterWaiting, 0)
		}
		s.served = true
		return nil
	}
	wait := time.Duration(0)
	if budget := (*market.BudgetError)(nil); errors.As(err, &budget) {
		wait = budget.RetryAfter
	}
	s.later(afterFailure, wait)
	q.h.log.Warn("cannot fetch what a symbol begins from", "symbol", q.h.name(s.id), "error", err)
	return pause(ctx, max(afterFailure, wait)) // what ails one symbol is likely to ail the next
}

func (q *queue) putBack(s *start) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken--
	q.starts = append(q.starts, *s)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// begin gives the lane what a symbol begins from. A symbol of which the exchange has no klines at all is fresh.
func (h *History) begin(ctx context.Context, id market.SymbolID) error {
	traded := false
	for _, b := range beginnings {
		if !h.needed(b.interval) {
			continue
		}
		series := market.Series{Symbol: id, Interval: b.interval}
		span := h.beginning(series, b.count)
		rows, err := h.known(ctx, series, span)
		if err == nil && len(rows) > 0 && rows[0].OpenTime > span.From {
			h.lanes.First(id, rows[0].OpenTime)
		}
		traded = traded || len(rows) > 0
		if err == nil && !traded && b.interval == market.OneMinute {
			h.lanes.Fresh(id)
		}
		h.lanes.Load(id, b.interval, rows)
		if err != nil {
			return err
		}
	}
	return nil
}

// needed reports whether an interval that is built folds from iv.
func (h *History) needed(iv market.Interval) bool {
	return len(h.intervals) == 0 || iv == market.OneMinute ||
		slices.ContainsFunc(h.intervals, func(built market.Interval) bool { return built > iv })
}

// builds reports whether iv is built and kept.
func (h *History) builds(iv market.Interval) bool {
	return len(h.intervals) == 0 || slices.Contains(h.intervals, iv)
}

// beginning is where the last count klines of series lie that are over and believed. Minutes from the stream's first
// boundary on are the lane's own.
func (h *History) beginning(series market.Series, count int) market.Span {
	iv := series.Interval
	until := iv.Open(h.clock.Now().Add(-settleAfter))
	if from, begun := h.lanes.Begun(series.Symbol); begun && iv == market.OneMinute {
		until = min(until, from)
	}
	return market.Span{From: iv.OpenAt(iv.Ordinal(until) - int64(count)), To: until}
}

// known is the klines of series over the span: those that the store has, and the rest from the exchange. On an error
// they are those that could be had.
func (h *History) known(ctx context.Context, series market.Series, span market.Span) ([]market.Kline, error) {
	rows, missing, err := h.stored(ctx, series, span)
	if err != nil || len(missing) == 0 {
		return rows, err
	}
	fetched, err := h.fetch(ctx, market.ClassStart, series, market.Span{From: missing[0].From, To: missing[len(missing)-1].To})
	rows = append(rows, fetched...)
	slices.SortStableFunc(rows, func(a, b market.Kline) int {
		if a.OpenTime == b.OpenTime && market.Better(&a, &b) {
			return -1
		}
		return cmp.Compare(a.OpenTime, b.OpenTime)
	})
	return rows, err
}

// stored is what the store has of the span; nothing where it does not keep the interval, or cannot be read.
func (h *History) stored(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	rows, missing, err = h.inStore(ctx, series, span)
	if err == nil || ctx.Err() != nil {
		return rows, missing, err
	}
	h.log.Warn("cannot read the store: the exchange is asked instead", "error", err)
	return nil, []market.Span{span}, nil
}

// inStore is what the store has of the span; nothing where it does not keep the interval.
func (h *History) inStore(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	if !h.builds(series.Interval) {
		return nil, []market.Span{span}, nil
	}
	return h.store.Read(ctx, series, span)
}

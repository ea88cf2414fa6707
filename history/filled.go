package history

import (
	"context"
	"maps"
	"slices"
	"time"

	"klined/health"
	"klined/market"
)

// How the past is kept filled.
const (
	refillEvery = time.Minute
	refillLast  = 24 * time.Hour // what cannot be had is tried again: after a minute, and twice as long each time up to this
	tellEvery   = 30 * time.Second
	fillsWithin = 10 * time.Minute   // something has come or failed: it yields its weight to all others
	leftAlone   = 10 * market.Minute // younger holes are the lanes', which heal them
)

// stubborn is a series of which something could not be had.
type stubborn struct {
	again time.Time
	pause time.Duration
}

// KeepFilled brings, of each interval that the exchange serves, the last n klines of the symbols that are carried into the
// store, as far as they are kept, and what fills its holes; and again every minute, until ctx ends. Symbols that wait to become
// whole are left to Start.
func (h *History) KeepFilled(ctx context.Context, n int64) error {
	late := make(map[market.Series]stubborn)
	alive := h.dog.Component("backfill", health.Outside).Within(fillsWithin, "has brought nothing")
	for {
		alive.Beat()
		h.fillOnce(ctx, h.carries(), n, late, alive)
		if err := pause(ctx, refillEvery); err != nil {
			return err
		}
	}
}

// fillOnce fills what is due.
func (h *History) fillOnce(ctx context.Context, ids []market.SymbolID, n int64, late map[market.Series]stubborn, alive *health.Component) {
	began, p, later := time.Now(), new(Progress), int64(0)
	ranges := slices.DeleteFunc(h.wanted(ids, n), func(r market.Range) bool {
		lacks := h.lacks(r)
		waits := lacks > 0 && began.Before(late[r.Series].again)
		if waits {
			later += lacks
		}
		return waits || lacks == 0
	})
	if !slices.ContainsFunc(ids, func(id market.SymbolID) bool { return !h.lanes.Waiting(id) }) {
		return
	}
	if len(ranges) == 0 {
		h.ended(p, later, nil)
		return
	}
	h.begun(p, later)
	stop := h.tell(p, alive)
	err := h.Backfill(ctx, ranges, p)
	stop()
	if ctx.Err() != nil {
		return
	}
	h.ended(p, later, err)
	if done := p.Done.Load(); done > 0 {
		h.log.Info("the past is filled", "klines", done, "of", p.Total.Load(), "failed", p.Failed.Load(), "came_otherwise", p.Others.Load(),
			"took", time.Since(began).Round(time.Millisecond))
	}
	if err != nil {
		h.log.Warn("the past is not filled", "error", err)
	}
	h.retry(ids, ranges, late, began)
}

// retry notes which series are to be tried again, and when.
func (h *History) retry(ids []market.SymbolID, ranges []market.Range, late map[market.Series]stubborn, began time.Time) {
	maps.DeleteFunc(late, func(series market.Series, _ stubborn) bool { return !slices.Contains(ids, series.Symbol) })
	for _, r := range ranges {
		s := late[r.Series]
		if len(h.store.Missing(r.Series, r.Span)) == 0 {
			delete(late, r.Series)
			continue
		}
		if !s.again.After(began) { // once, though there may be several ranges of it
			s.pause = min(max(2*s.pause, refillEvery), refillLast)
			s.again = time.Now().Add(s.pause)
			late[r.Series] = s
		}
	}
}

// What a Filled says.
const (
	FilledWaiting = "waiting" // for the symbols to become whole
	FilledRunning = "running"
	FilledDone    = "done"   // all that is wanted is there
	FilledFailed  = "failed" // but for what could not be had
)

// Filled is how the past stands, in klines, since KeepFilled began. Unless it is running, Done and Failed make the Total.
type Filled struct {
	State  string `json:"state"`
	Total  int64  `json:"total"`  // were missing: it rises where more come to
	Done   int64  `json:"done"`   // of them, there now, whoever brought them
	Failed int64  `json:"failed"` // of them, could not be had when last asked for; they are asked for again
	Error  string `json:"error"`  // why the last try failed; empty where it did not
}

// Filled is how the past stands.
func (h *History) Filled() Filled {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.filled
	if p := h.filling; p != nil {
		f.Total, f.Done, f.Failed = f.Done+f.Failed+p.Total.Load(), f.Done+p.Done.Load(), f.Failed+p.Failed.Load()
	}
	return f
}

// begun notes that a backfill runs, and how many klines are not asked for yet as they could not be had before.
func (h *History) begun(p *Progress, later int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.filling, h.filled.State, h.filled.Failed = p, FilledRunning, later
}

// ended notes how a backfill went.
func (h *History) ended(p *Progress, later int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &h.filled
	h.filling, f.State = nil, FilledDone
	f.Done, f.Failed = f.Done+p.Done.Load(), later+p.Failed.Load()
	f.Total = f.Done + f.Failed
	switch {
	case err != nil:
		f.State, f.Error = FilledFailed, err.Error()
	case f.Failed > 0:
		f.State = FilledFailed // as the last try has said
	default:
		f.Error = ""
	}
}

// tell logs how far a backfill is, and beats while it goes on, until stop is called.
func (h *History) tell(p *Progress, alive *health.Component) (stop func()) {
	tick, over := time.NewTicker(tellEvery), make(chan struct{})
	go func() {
		before := int64(0)
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				if moved := p.moved(); moved != before {
					alive.Beat()
					before = moved
				}
				h.log.Info("filling the past", "klines", p.Done.Load(), "of", p.Total.Load(), "archive", p.Archive.Load(),
					"rest", p.REST.Load(), "folded", p.Folded.Load())
			}
		}
	}()
	return func() { tick.Stop(); close(over) }
}

// wanted is what is to be filled now: the last n klines that are over, of each series, and the holes of those that are kept.
func (h *History) wanted(ids []market.SymbolID, n int64) (ranges []market.Range) {
	until, spans := h.clock.Now().Add(-young), make(map[market.Interval]market.Span)
	for _, iv := range h.intervals {
		if !iv.OnExchange() {
			continue
		}
		span := market.Span{To: iv.Open(until)}
		span.From = max(iv.OpenAt(iv.Ordinal(span.To)-n), iv.Ceil(h.store.Kept(iv)), 0)
		if !span.Empty() {
			spans[iv] = span
		}
		for _, id := range ids {
			if n == 0 || h.lanes.Waiting(id) {
				continue
			}
			ranges = append(ranges, market.Range{Series: market.Series{Symbol: id, Interval: iv}, Span: span})
		}
	}
	for _, r := range h.store.Holes() {
		if !slices.Contains(ids, r.Symbol) || !slices.Contains(h.intervals, r.Interval) || h.lanes.Waiting(r.Symbol) {
			continue
		}
		r.From = max(r.From, h.store.Kept(r.Interval))
		r.To = min(r.To, r.Interval.Open(h.clock.Now()-leftAlone))
		within := spans[r.Interval] // is wanted already
		for _, s := range []market.Span{{From: r.From, To: min(r.To, within.From)}, {From: max(r.From, within.To), To: r.To}} {
			if !s.Empty() {
				ranges = append(ranges, market.Range{Series: r.Series, Span: s})
			}
		}
	}
	return ranges
}

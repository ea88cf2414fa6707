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
	began, p := time.Now(), new(Progress)
	ranges := slices.DeleteFunc(h.wanted(ids, n), func(r market.Range) bool {
		return began.Before(late[r.Series].again) || len(h.store.Missing(r.Series, r.Span)) == 0
	})
	if len(ranges) == 0 {
		return
	}
	h.mu.Lock()
	h.filling = p
	h.mu.Unlock()
	stop := h.tell(p, alive)
	err := h.Backfill(ctx, ranges, p)
	stop()
	if ctx.Err() != nil {
		return
	}
	if done := p.Done.Load(); done > 0 {
		total, failed := p.Total.Load(), p.Failed.Load()
		h.log.Info("the past is filled", "klines", done, "of", total, "failed", failed, "came_otherwise", max(0, total-done-failed),
			"took", time.Since(began).Round(time.Millisecond))
	}
	if err != nil {
		h.log.Warn("the past is not filled", "error", err)
	}
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

// Filling is how far the past is filled; nil before KeepFilled.
func (h *History) Filling() *Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.filling
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
	until := h.clock.Now().Add(-young)
	for _, iv := range h.intervals {
		if !iv.OnExchange() {
			continue
		}
		span := market.Span{To: iv.Open(until)}
		span.From = max(iv.OpenAt(iv.Ordinal(span.To)-n), iv.Ceil(h.store.Kept(iv)), 0)
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
		if r.To = min(r.To, r.Interval.Open(h.clock.Now()-leftAlone)); !r.Empty() {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

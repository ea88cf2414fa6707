package history

import (
	"context"
	"slices"
	"time"

	"klined/market"
)

// How the past is kept filled.
const (
	refillEvery = 10 * time.Minute
	refillAgain = time.Minute // after a failure
	tellEvery   = 30 * time.Second
	leftAlone   = 10 * market.Minute // younger holes are the lanes', which heal them
)

// KeepFilled brings, of each interval that the exchange serves, the last n klines of the symbols into the store, as far as
// they are kept, and what fills its holes; and again every ten minutes, until ctx ends. What the exchange refuses or the disk
// does not take is tried again.
func (h *History) KeepFilled(ctx context.Context, ids []market.SymbolID, n int64) error {
	for {
		p := new(Progress)
		h.mu.Lock()
		h.filling = p
		h.mu.Unlock()
		began := time.Now()
		stop := h.tell(p)
		err := h.Backfill(ctx, h.wanted(ids, n), p)
		stop()
		wait := refillEvery
		switch done := p.Done.Load(); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			h.log.Warn("the past is not filled", "error", err, "again_in", refillAgain)
			wait = refillAgain
		case done > 0:
			h.log.Info("the past is filled", "klines", done, "took", time.Since(began).Round(time.Millisecond))
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// Filling is how far the past is filled; nil before KeepFilled.
func (h *History) Filling() *Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.filling
}

// tell logs how far a backfill is until stop is called.
func (h *History) tell(p *Progress) (stop func()) {
	tick, over := time.NewTicker(tellEvery), make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			case <-tick.C:
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
			ranges = append(ranges, market.Range{Series: market.Series{Symbol: id, Interval: iv}, Span: span})
		}
	}
	for _, r := range h.store.Holes() {
		if !slices.Contains(ids, r.Symbol) || !slices.Contains(h.intervals, r.Interval) {
			continue
		}
		r.From = max(r.From, h.store.Kept(r.Interval))
		if r.To = min(r.To, h.clock.Now()-leftAlone); !r.Empty() {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

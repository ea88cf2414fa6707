package history

import (
	"context"

	"klined/market"
)

// question is what a client waits for.
type question struct {
	series market.Series
	span   market.Span
}

// flight is one fetch that some clients wait for. History.mu guards askers.
type flight struct {
	askers int
	cancel context.CancelFunc // ends the fetch
	done   chan struct{}      // closed when rows and err are there
	rows   []market.Kline     // never changed
	err    error
}

// Fetch brings the official klines of series over the span into the store, for a client that waits, and returns them, for
// the store may not keep them: one fetch for all who ask for the same at once; it ends when the last of them has gone.
// Intervals that the exchange does not serve are folded from the longest one that divides them. A *market.BudgetError says
// that the exchange may not be asked now; beside an error are those that could be had. The rows are to read, not to change.
func (h *History) Fetch(ctx context.Context, series market.Series, span market.Span) ([]market.Kline, error) {
	q := question{series, span}
	f := h.board(ctx, q)
	defer h.leave(q, f)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.done:
		return f.rows, f.err
	}
}

// board joins the fetch of q, or begins it.
func (h *History) board(ctx context.Context, q question) *flight {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.flights[q]
	if f == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{cancel: cancel, done: make(chan struct{})}
		h.flights[q] = f
		go func() {
			f.rows, f.err = h.fetch(ctx, market.ClassClients, q.series, q.span)
			h.forget(q, f)
			close(f.done)
		}()
	}
	f.askers++
	return f
}

// leave takes one asker away; without any the fetch has no reason to go on.
func (h *History) leave(q question, f *flight) {
	h.mu.Lock()
	f.askers--
	last := f.askers == 0
	h.mu.Unlock()
	if last {
		f.cancel()
		h.forget(q, f)
	}
}

// forget lets the next asker of q begin anew.
func (h *History) forget(q question, f *flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.flights[q] == f {
		delete(h.flights, q)
	}
}

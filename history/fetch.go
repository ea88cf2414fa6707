package history

import (
	"context"
	"slices"
	"time"

	"klined/market"
)

// Client tells those apart who wait for the exchange: by address and, behind one address, by connection.
type Client = string

// freshFor is how long an answer of Upstream is given to others who ask for the same.
const freshFor = 5 * time.Second

// flight is one question to the exchange that some clients wait for. History.mu guards it, but rows and err: these are
// there once done is closed, and never change.
type flight struct {
	series market.Series
	span   market.Span
	limit  int // of Upstream; 0: of Fetch
	ask    func(context.Context) ([]market.Kline, error)

	askers  int
	started bool
	ended   time.Time
	ctx     context.Context
	cancel  context.CancelFunc // ends it
	done    chan struct{}
	rows    []market.Kline
	err     error
}

// Fetch brings the official klines of series over the span into the store, for a client that waits, and returns them, for
// the store may not keep them: one fetch for all who ask for the same at once, or for a part of it; it ends when the last of
// them has gone. Clients are served in turn. Intervals that the exchange does not serve are folded from the longest one that
// divides them. A *market.BudgetError says that the exchange may not be asked now; beside an error are those that could
// be had. The rows are to read, not to change.
func (h *History) Fetch(ctx context.Context, who Client, series market.Series, span market.Span) ([]market.Kline, error) {
	rows, err := h.fly(ctx, who, &flight{series: series, span: span, ask: func(ctx context.Context) ([]market.Kline, error) {
		return h.fetch(ctx, market.ClassClients, series, span)
	}})
	from, _ := market.Search(rows, span.From)
	to, _ := market.Search(rows, span.To)
	return rows[from:to], err
}

// Upstream gives the exchange's klines as they stand, the running one too: at most limit, the oldest first where From is
// set; a zero From or To is not sent. Clients are served in turn; who asks for the same within some seconds gets the same.
func (h *History) Upstream(ctx context.Context, who Client, series market.Series, span market.Span, limit int) ([]market.Kline, error) {
	return h.fly(ctx, who, &flight{series: series, span: span, limit: limit, ask: func(ctx context.Context) ([]market.Kline, error) {
		return h.venue.Klines(ctx, market.ClassClients, series, span, limit)
	}})
}

// fly waits for the answer to what f asks, in the flight of others where one brings it.
func (h *History) fly(ctx context.Context, who Client, f *flight) ([]market.Kline, error) {
	f, err := h.board(ctx, who, f)
	if err != nil {
		return nil, err
	}
	defer h.leave(who, f)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.done:
		return f.rows, f.err
	}
}

// board joins the flight that brings what f asks, or lets f begin when it is the client's turn.
func (h *History) board(ctx context.Context, who Client, f *flight) (*flight, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.land()
	if other := h.bringing(f); other != nil {
		f = other
	} else {
		f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		f.done = make(chan struct{})
		h.flights[f.series] = append(h.flights[f.series], f)
	}
	if !f.started {
		if err := h.turns.wait(who, f); err != nil {
			if f.askers == 0 {
				h.forget(f)
			}
			return nil, err
		}
	}
	f.askers++
	h.depart()
	return f, nil
}

// bringing is the flight that brings what f asks: one of Fetch all of its span, one of Upstream the same. mu is held.
func (h *History) bringing(f *flight) *flight {
	for _, other := range h.flights[f.series] {
		switch {
		case other.limit != f.limit, other.stale(h.clock.Now()):
		case f.limit > 0 && other.span == f.span, f.limit == 0 && other.span.From <= f.span.From && f.span.To <= other.span.To:
			return other
		}
	}
	return nil
}

// stale reports whether what a flight has brought is nobody else's any more: some seconds old, or its last kline was running
// and is over now. mu is held.
func (f *flight) stale(now market.Time) bool {
	if f.ended.IsZero() {
		return false
	}
	if time.Since(f.ended) > freshFor {
		return true
	}
	n := len(f.rows)
	return n > 0 && f.rows[n-1].State == market.StateOpen && f.series.Interval.Next(f.rows[n-1].OpenTime) <= now
}

// depart lets flights begin whose turn it is. mu is held.
func (h *History) depart() {
	for f := h.turns.next(); f != nil; f = h.turns.next() {
		f.started = true
		go func() {
			f.rows, f.err = f.ask(f.ctx)
			h.mu.Lock()
			defer h.mu.Unlock()
			h.turns.flying--
			f.ended = time.Now()
			if f.limit == 0 || f.err != nil {
				h.forget(f)
			}
			close(f.done)
			h.depart()
		}()
	}
}

// leave takes one asker away; without any a flight that is under way has no reason to go on.
func (h *History) leave(who Client, f *flight) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turns.leave(who, f)
	if f.askers--; f.askers == 0 && f.ended.IsZero() {
		f.cancel()
		h.forget(f)
	}
}

// land forgets what is stale, some seconds after the last time. mu is held.
func (h *History) land() {
	if time.Since(h.landed) < freshFor {
		return
	}
	h.landed = time.Now()
	now := h.clock.Now()
	for _, flights := range h.flights {
		for _, f := range slices.Clone(flights) {
			if f.stale(now) {
				h.forget(f)
			}
		}
	}
}

// forget lets the next asker begin anew. mu is held.
func (h *History) forget(f *flight) {
	rest := slices.DeleteFunc(h.flights[f.series], func(other *flight) bool { return other == f })
	if h.flights[f.series] = rest; len(rest) == 0 {
		delete(h.flights, f.series)
	}
}

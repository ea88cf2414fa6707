package history

import (
	"context"
	"errors"
	"sync"
	"time"

	"klined/health"
	"klined/market"
)

// longestOwed is how long minutes that lack trades may wait to be asked for again.
const longestOwed = 2 * time.Minute

// Heal fetches the official klines of the minutes that lack trades, as the lanes say, until ctx ends. The lanes take a
// row where it says what is known otherwise; any other has to be read twice.
func (h *History) Heal(ctx context.Context) error {
	a := asking{h: h, class: market.ClassHeal, longest: longestOwed, errand: &owing{h: h, holes: make(map[market.SymbolID]hole)}, alive: h.dog.Component("heal", health.Own)}
	return a.run(ctx)
}

// owing is the errand of minutes that lack trades.
type owing struct {
	h *History

	mu    sync.Mutex
	holes map[market.SymbolID]hole // which the exchange has in its klines
}

// hole is where the exchange's klines have one, and since when it is seen.
type hole struct {
	from  market.Time
	since time.Time
}

func (o *owing) duties(_ context.Context, by market.Time) (duties []duty) {
	for _, r := range o.h.debts.Owed(by) {
		duties = append(duties, duty{Range: r})
	}
	return duties
}

// nothing pays what a symbol owes of a time in which it had not begun to trade.
func (o *owing) nothing(ctx context.Context, d duty) error {
	return o.pay(d, func(forGood bool) error { return o.h.payNothing(ctx, d.Range, forGood) })
}

// theirs pays in the store; there is nothing of ours to hold them against.
func (o *owing) theirs(ctx context.Context, d duty, rows []reading) ([]market.Kline, error) {
	klines := make([]market.Kline, len(rows))
	for i := range rows {
		klines[i] = rows[i].Kline
	}
	return nil, o.pay(d, func(forGood bool) error { return o.h.payStored(ctx, d.Range, klines, forGood) })
}

// pay pays with what the exchange has. A hole that it has had for an hour, longer than its faults last, it will not fill any more:
// the symbol need not stay behind for it.
func (o *owing) pay(d duty, pay func(forGood bool) error) error {
	err := pay(false)
	if errors.Is(err, errHoles) && o.lasts(d) {
		err = pay(true)
	}
	if err == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.holes, d.Symbol)
	}
	return err
}

// lasts reports whether what is owed has been a hole of the exchange's for an hour, and begins to count where it has not.
func (o *owing) lasts(d duty) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seen, known := o.holes[d.Symbol]; known && seen.from == d.From {
		return time.Since(seen.since) >= lasting
	}
	o.holes[d.Symbol] = hole{d.From, time.Now()}
	return false
}

func (o *owing) took(duty, market.Time, []market.Time) {} // the lanes know

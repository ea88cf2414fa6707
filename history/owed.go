package history

import (
	"context"
	"time"

	"klined/health"
	"klined/market"
)

// longestOwed is how long minutes that lack trades may wait to be asked for again.
const longestOwed = 2 * time.Minute

// Heal fetches the official klines of the minutes that lack trades, as the lanes say, until ctx ends. The lanes take a
// row where it says what is known otherwise; any other has to be read twice.
func (h *History) Heal(ctx context.Context) error {
	a := asking{h: h, class: market.ClassHeal, longest: longestOwed, errand: owing{h}, alive: h.dog.Component("heal", health.Own)}
	return a.run(ctx)
}

// owing is the errand of minutes that lack trades.
type owing struct{ h *History }

func (o owing) duties(_ context.Context, by market.Time) (duties []duty) {
	for _, r := range o.h.debts.Owed(by) {
		duties = append(duties, duty{Range: r})
	}
	return duties
}

// nothing pays what a symbol owes of a time in which it had not begun to trade.
func (o owing) nothing(ctx context.Context, d duty) error { return o.h.payNothing(ctx, d.Range) }

// theirs pays in the store; there is nothing of ours to hold them against.
func (o owing) theirs(ctx context.Context, d duty, rows []reading) ([]market.Kline, error) {
	klines := make([]market.Kline, len(rows))
	for i := range rows {
		klines[i] = rows[i].Kline
	}
	return nil, o.h.payStored(ctx, d.Range, klines)
}

func (o owing) took(duty, market.Time, []market.Time) {} // the lanes know

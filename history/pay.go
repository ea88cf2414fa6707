package history

import (
	"context"
	"errors"
	"slices"

	"klined/market"
)

// errHoles says that rows cannot pay for all that is owed.
var errHoles = errors.New("the exchange's klines have holes, run still or break their own rules")

// begins is nil where the exchange has no klines of the symbol before the time: what has none there lacks nothing.
func (h *History) begins(ctx context.Context, id market.SymbolID, at market.Time) error {
	before, err := h.venue.Klines(ctx, market.ClassHeal, market.Series{Symbol: id, Interval: market.OneMinute}, market.Span{To: at}, 1)
	if err == nil && len(before) > 0 {
		return errHoles
	}
	return err
}

// payNothing pays what a symbol owes of a time of which the exchange has nothing, where it had not begun to trade then; with
// forGood the exchange has left those minutes out: ours, if there are any, stay as they are.
func (h *History) payNothing(ctx context.Context, d market.Range, forGood bool) error {
	if d.To > h.clock.Now().Add(-young) {
		return nil // its first kline may not be there yet
	}
	if !forGood {
		if err := h.begins(ctx, d.Symbol, d.To); err != nil {
			return err
		}
	}
	h.store.Fetched(d.Series, d.Span, nil)
	h.debts.Paid(d.Symbol, d.To)
	return nil
}

// payStored makes the stored klines of minutes right that the lanes do not keep any more: the rows themselves, and what
// was folded from them. With forGood the exchange has left out those that are not among them: they do not exist.
func (h *History) payStored(ctx context.Context, d market.Range, rows []market.Kline, forGood bool) error {
	begin, end := rows[0].OpenTime, rows[len(rows)-1].OpenTime+market.Minute
	whole := int64(len(rows)) == market.OneMinute.Count(market.Span{From: begin, To: end})
	if !whole && !forGood || slices.ContainsFunc(rows, func(k market.Kline) bool {
		return k.State != market.StateSettled || !k.Plausible()
	}) {
		return errHoles
	}
	if begin > d.From && !forGood {
		if err := h.begins(ctx, d.Symbol, begin); err != nil {
			return err
		}
	}
	span := market.Span{From: d.From, To: end}
	h.store.Fetched(d.Series, span, rows)
	if err := h.refold(ctx, market.ClassHeal, market.OneMinute, d.Symbol, span); err != nil {
		return err
	}
	h.debts.Paid(d.Symbol, end)
	return nil
}

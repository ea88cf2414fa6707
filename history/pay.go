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

// payNothing pays what a symbol owes of a time in which it had not begun to trade.
func (h *History) payNothing(ctx context.Context, r market.Range) error {
	if r.To > h.clock.Now().Add(-young) {
		return nil // its first kline may not be there yet
	}
	if err := h.begins(ctx, r.Symbol, r.To); err != nil {
		return err
	}
	h.store.Fetched(market.Series{Symbol: r.Symbol, Interval: market.OneMinute}, r.Span, nil)
	h.debts.Paid(r.Symbol, r.To)
	return nil
}

// payStored makes the stored klines of minutes right that the lanes do not keep any more: the rows themselves, and what
// was folded from them.
func (h *History) payStored(ctx context.Context, r market.Range, rows []market.Kline) error {
	begin, end := rows[0].OpenTime, rows[len(rows)-1].OpenTime+market.Minute
	if int64(len(rows)) != market.OneMinute.Count(market.Span{From: begin, To: end}) || slices.ContainsFunc(rows, func(k market.Kline) bool {
		return k.State != market.StateSettled || !k.Plausible()
	}) {
		return errHoles
	}
	if begin > r.From {
		if err := h.begins(ctx, r.Symbol, begin); err != nil {
			return err
		}
	}
	span := market.Span{From: r.From, To: end}
	h.store.Fetched(market.Series{Symbol: r.Symbol, Interval: market.OneMinute}, span, rows)
	return h.payLonger(ctx, r.Symbol, span)
}

// payLonger makes right what is longer than the minutes of the span and was folded from them, as far as it is over: up
// to half an hour in the store. The hours go to the lanes, which fold what is longer.
func (h *History) payLonger(ctx context.Context, id market.SymbolID, span market.Span) error {
	until := h.clock.Now().Add(-settleAfter)
	around := func(iv market.Interval) (market.Series, market.Span) {
		return market.Series{Symbol: id, Interval: iv}, market.Span{From: iv.Open(span.From), To: min(iv.Ceil(span.To), iv.Open(until))}
	}
	for _, iv := range h.intervals {
		if iv <= market.OneMinute || iv >= market.OneHour {
			continue
		}
		series, part := around(iv)
		if _, err := h.fetch(ctx, market.ClassHeal, series, part); err != nil {
			return err
		}
	}
	series, part := around(market.OneHour)
	hours, err := h.fetch(ctx, market.ClassHeal, series, part)
	if err != nil {
		return err
	}
	for i := range hours {
		h.debts.Official(id, market.OneHour, &hours[i], true)
	}
	h.debts.Paid(id, span.To)
	return nil
}

package store

import (
	"context"
	"errors"
	"slices"

	"klined/market"
)

// Klines is Read for a client: what it reads of the last 1,500 klines of a series the window keeps, and answers from then on
// while there is room. The klines are appended to dst. Whoever asks for what is being read waits for it.
func (s *Store) Klines(ctx context.Context, dst []market.Kline, series market.Series, span market.Span) ([]market.Kline, []market.Span, error) {
	for waited := false; ; waited = true {
		s.mu.Lock()
		s.window.touch(series)
		parts, rows, missing, here := s.inWindow(series, span)
		if here {
			s.mu.Unlock()
			return appendParts(dst, parts, rows), missing, nil
		}
		held := s.window.get(series)
		if waited || !s.windowable(series.Interval, span) {
			s.mu.Unlock()
			stored, missing, err := s.Read(ctx, series, span)
			return append(dst, stored...), missing, err
		}
		if held == nil || held.fill == nil {
			held, f := s.beginFill(series, span.From)
			s.mu.Unlock()
			return s.fill(ctx, dst, held, f, span)
		}
		done := held.fill.done
		s.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return dst, nil, ctx.Err()
		}
	}
}

// inWindow is the answer to a read, if the window has it. mu is held.
func (s *Store) inWindow(series market.Series, span market.Span) (parts []part, rows int, missing []market.Span, here bool) {
	held := s.window.get(series)
	if held == nil || span.From < held.from {
		return nil, 0, nil, false
	}
	gone := s.complete.retention.gone(series.Interval, span)
	parts, rows = held.within(market.Span{From: max(span.From, gone.To), To: span.To})
	return parts, rows, s.complete.missing(series, span), true
}

func appendParts(dst []market.Kline, parts []part, rows int) []market.Kline {
	dst = slices.Grow(dst, rows)
	for _, p := range parts {
		dst = append(dst, p...)
	}
	return dst
}

// windowable reports whether span lies within the last klines of an interval, by what the lanes have handed on. mu is held.
func (s *Store) windowable(iv market.Interval, span market.Span) bool {
	if _, kept := s.upserts[iv]; !kept || s.window.most == 0 || s.complete.retention.now == 0 || span.Empty() {
		return false
	}
	return iv.Ordinal(s.complete.retention.now)-iv.Ordinal(span.From) <= int64(s.window.rows)
}

// beginFill begins to read what the window lacks of the series from an open time on. mu is held.
func (s *Store) beginFill(series market.Series, from market.Time) (*windowed, *fill) {
	held, f := s.window.begin(series, from)
	span := market.Span{From: f.from, To: f.to}
	if s.inFlight != nil {
		f.newer = s.inFlight.within(nil, series, span)
	}
	f.newer = overlay(f.newer, s.pending.within(nil, series, span))
	return held, f
}

// errFarRows is a table with klines so far in the future that all from the present on are not read.
var errFarRows = errors.New("klines far in the future")

// fill reads what the window lacks, and answers what was asked.
func (s *Store) fill(ctx context.Context, dst []market.Kline, held *windowed, f *fill, span market.Span) ([]market.Kline, []market.Span, error) {
	rows, err := s.disk.since(ctx, held.series, market.Span{From: f.from, To: f.to})
	parts := cutUp(rows)
	s.mu.Lock()
	if err == nil {
		s.window.finish(held, f, parts)
	} else {
		s.window.fail(held, f)
	}
	s.mu.Unlock()
	stored, missing, err := s.Read(ctx, held.series, span) // of the window, where that has kept it
	return append(dst, stored...), missing, err
}

// since reads the rows of series that open within span, whose end may lie beyond all rows.
func (d *disk) since(ctx context.Context, series market.Series, span market.Span) ([]market.Kline, error) {
	if span.To == forever {
		held, err := d.held(ctx, nil, series.Interval)
		if err != nil {
			return nil, err
		}
		if span.To = held.To; series.Interval.Count(span) > 2*windowRows {
			return nil, errFarRows
		}
	}
	return d.read(ctx, nil, series, span)
}

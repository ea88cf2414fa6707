package store

import (
	"cmp"
	"context"
	"slices"

	"klined/market"
)

// roomFrom is how many klines may wait for the disk while whoever brings the past goes on: two fifths of what the outbox may hold.
// The rest is for what is on its way then, a month of minutes from each who brings it, and for the present.
const roomFrom = maxOutboxRows * 2 / 5

// Missing is the parts of span, in whole klines, that are not known to be complete.
func (s *Store) Missing(series market.Series, span market.Span) []market.Span {
	if _, kept := s.upserts[series.Interval]; !kept {
		return []market.Span{span}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.complete.missing(series, span)
}

// Room returns when the outbox has room for more of the past: Put and Fetched do not wait. Its error says why what waits
// cannot be written.
func (s *Store) Room(ctx context.Context) error {
	for {
		s.mu.Lock()
		waiting := s.waiting()
		s.mu.Unlock()
		if waiting < roomFrom {
			return nil
		}
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
}

// Holes are what was lost on its way to the disk, lacks trades or differed in an audit, by series and time: of a minute and
// longer, for of these the exchange has klines.
func (s *Store) Holes() []market.Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	var holes []market.Range
	for series, spans := range s.complete.holes.of {
		for _, span := range spans {
			if series.Interval >= market.OneMinute {
				holes = append(holes, market.Range{Series: series, Span: span})
			}
		}
	}
	slices.SortFunc(holes, func(a, b market.Range) int {
		return cmp.Or(cmp.Compare(a.Interval, b.Interval), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.From, b.From))
	})
	return holes
}

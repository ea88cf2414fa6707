package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"klined/market"
)

// roomFrom is how many klines may wait for the disk while whoever brings the past goes on: two commits' worth, one under way and one
// behind it. So the present never waits behind more of the past than that, and what each who brings it has in hand by then.
const roomFrom = 2 * manyRows

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
	for first := true; ; first = false {
		s.mu.Lock()
		waiting, err, next := s.waiting(), s.stats.writeErr, s.committing
		s.mu.Unlock()
		switch {
		case waiting < roomFrom:
			return nil
		case err != nil && !first:
			return err
		}
		select {
		case <-next:
		case <-s.ended:
			return fmt.Errorf("store %s: closed", s.opts.Dir)
		case <-ctx.Done():
			return ctx.Err()
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

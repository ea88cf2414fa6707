package store

import (
	"slices"
	"sort"

	"klined/market"
)

// spans is a set of instants: disjoint spans in rising order, neighbours that touch joined into one.
type spans []market.Span

// reach is the range of spans that overlap or touch s.
func (ss spans) reach(s market.Span) (from, to int) {
	from = sort.Search(len(ss), func(i int) bool { return ss[i].To >= s.From })
	to = from + sort.Search(len(ss)-from, func(i int) bool { return ss[from+i].From > s.To })
	return from, to
}

// add is ss with s; it may reuse the memory of ss.
func (ss spans) add(s market.Span) spans {
	if s.Empty() {
		return ss
	}
	from, to := ss.reach(s)
	if from < to {
		s.From = min(s.From, ss[from].From)
		s.To = max(s.To, ss[to-1].To)
	}
	return slices.Replace(ss, from, to, s)
}

// remove is ss without s; it may reuse the memory of ss.
func (ss spans) remove(s market.Span) spans {
	if s.Empty() {
		return ss
	}
	from, to := ss.reach(s)
	var rest []market.Span
	for _, old := range ss[from:to] {
		for _, part := range []market.Span{{From: old.From, To: min(old.To, s.From)}, {From: max(old.From, s.To), To: old.To}} {
			if !part.Empty() {
				rest = append(rest, part)
			}
		}
	}
	return slices.Replace(ss, from, to, rest...)
}

// within is a copy of what ss and s share.
func (ss spans) within(s market.Span) spans {
	if s.Empty() {
		return nil
	}
	from, to := ss.reach(s)
	var shared spans
	for _, old := range ss[from:to] {
		shared = shared.add(market.Span{From: max(old.From, s.From), To: min(old.To, s.To)})
	}
	return shared
}

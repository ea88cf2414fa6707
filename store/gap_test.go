package store

import (
	"testing"

	"klined/market"
)

// version is the kline of series at 10:00, in that standing.
func version(series market.Series, state market.State, revision int32, gap bool) market.Kline {
	k := testKline(series, at("10:00:00"))
	k.State, k.Revision, k.Gap = state, revision, gap
	return k
}

// fourIntervals are those of these tests.
var fourIntervals = []market.Interval{interval("30s"), interval("1m"), interval("5m"), interval("1h")}

// lives is a store with a live session of symbol 1 from 09:00 to 11:00, in which all klines but those at 10:00 were put.
func lives(t *testing.T) *Store {
	s := openTest(t, t.TempDir(), fourIntervals...)
	s.BeginLive(1, 1, at("09:00:00"))
	for _, iv := range fourIntervals {
		series := market.Series{Symbol: 1, Interval: iv}
		for open := at("09:00:00"); open < at("11:00:00"); open = iv.Next(open) {
			if open != at("10:00:00") {
				put(s, update(series, testKline(series, open)))
			}
		}
	}
	upTo(s, 1, at("11:00:00")+doubted)
	return s
}

// TestLacking: a kline of a minute or longer that lacks trades is kept, and missing, until a version without the mark is
// there; Close and crashes change nothing of that. Below a minute there is nothing to wait for.
func TestLacking(t *testing.T) {
	if raced {
		t.Skip("forty stores, one after the other: make test runs it without the race detector")
	}
	const closed, settled = market.StateClosed, market.StateSettled
	type step struct {
		name string
		do   func(*Store, market.Series)
		lack bool
	}
	puts := func(state market.State, revision int32, gap bool) func(*Store, market.Series) {
		return func(s *Store, series market.Series) { put(s, update(series, version(series, state, revision, gap))) }
	}
	fetched := func(s *Store, series market.Series) {
		s.Fetched(series, market.Span{From: at("10:00:00"), To: series.Interval.Next(at("10:00:00"))},
			[]market.Kline{version(series, settled, 0, false)})
	}
	marked := step{"closed with the mark", puts(closed, 0, true), true}
	for _, steps := range [][]step{
		{marked, {"a part of it healed", puts(closed, 1, true), true}, {"healed", puts(closed, 2, false), false}},
		{marked, {"settled", puts(settled, 1, false), false}},
		{marked, {"fetched", fetched, false}},
		{{"closed", puts(closed, 0, false), false}, {"marked later", puts(closed, 1, true), true}, {"whole after all", puts(closed, 2, false), false}},
		{marked, {"running, of whatever clock", puts(market.StateOpen, 1, false), true}},
	} {
		s := lives(t)
		lacked := false
		for i, step := range steps {
			for _, iv := range fourIntervals {
				step.do(s, market.Series{Symbol: 1, Interval: iv})
			}
			checkLacking(t, s, step.name, step.lack)
			if i > 0 {
				checkLacking(t, openTest(t, crash(t, s), fourIntervals...), step.name+", crashed before the commit", lacked)
			}
			flush(t, s)
			checkLacking(t, openTest(t, crash(t, s), fourIntervals...), step.name+", crashed", step.lack)
			lacked = step.lack
		}
		dir := s.opts.Dir
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkLacking(t, openTest(t, dir, fourIntervals...), "opened again", lacked)
	}
}

// checkLacking looks whether the klines of a minute and longer at 10:00 are missing, and nothing else is; all can be read.
func checkLacking(t *testing.T, s *Store, what string, lack bool) {
	t.Helper()
	span := market.Span{From: at("09:00:00"), To: at("11:00:00")}
	for _, iv := range fourIntervals {
		var want []market.Span
		if lack && iv >= market.OneMinute {
			want = []market.Span{{From: at("10:00:00"), To: iv.Next(at("10:00:00"))}}
		}
		rows, missing := read(t, s, market.Series{Symbol: 1, Interval: iv}, span)
		if int64(len(rows)) != iv.Count(span) {
			t.Errorf("%s, %s: %d rows", what, iv, len(rows))
		}
		same(t, what+", "+iv.String(), missing, want)
	}
}

// TestLackingBesideOthers: what lacks trades is missing where it lies, of each series by itself, and counted.
func TestLackingBesideOthers(t *testing.T) {
	minutes := market.Series{Symbol: 1, Interval: market.OneMinute}
	s := lives(t)
	for _, clock := range []string{"10:00:00", "10:01:00", "10:05:00"} {
		k := testKline(minutes, at(clock))
		k.Gap, k.Revision = true, 1
		put(s, update(minutes, k))
	}
	span := market.Span{From: at("09:00:00"), To: at("11:00:00")}
	_, missing := read(t, s, minutes, span)
	same(t, "missing", missing, []market.Span{{From: at("10:00:00"), To: at("10:02:00")}, {From: at("10:05:00"), To: at("10:06:00")}})
	if n := s.Status().Holes; n != 2 {
		t.Errorf("%d holes", n)
	}
	_, missing = read(t, s, market.Series{Symbol: 2, Interval: market.OneMinute}, span)
	same(t, "of a neighbour", missing, []market.Span{span})

	healed := testKline(minutes, at("10:01:00"))
	healed.Revision = 2
	put(s, update(minutes, healed))
	_, missing = read(t, s, minutes, span)
	same(t, "one healed", missing, []market.Span{{From: at("10:00:00"), To: at("10:01:00")}, {From: at("10:05:00"), To: at("10:06:00")}})
}

// TestLackingEndsNoHole: what was lost on its way here stays missing when a version with the mark comes, below a minute too.
func TestLackingEndsNoHole(t *testing.T) {
	for _, name := range []string{"30s", "1m"} {
		series := market.Series{Symbol: 1, Interval: interval(name)}
		s := lives(t)
		lost := version(series, market.StateClosed, 0, false)
		lost.Open++ // more digits than are kept
		hole := market.Span{From: at("10:00:00"), To: series.Interval.Next(at("10:00:00"))}
		for _, step := range []struct {
			what string
			k    market.Kline
			want []market.Span
		}{
			{"lost", lost, []market.Span{hole}},
			{"with the mark", version(series, market.StateClosed, 1, true), []market.Span{hole}},
			{"whole", version(series, market.StateClosed, 2, false), nil},
		} {
			put(s, update(series, step.k))
			_, missing := read(t, s, series, hole)
			same(t, name+", "+step.what, missing, step.want)
		}
	}
}

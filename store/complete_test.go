package store

import (
	"testing"

	"klined/market"
)

// TestMissing: what of a span is missing under one live session.
func TestMissing(t *testing.T) {
	cases := []struct {
		interval         string
		from, upTo       market.Time
		span             market.Span
		missFrom, missTo market.Time // 0, 0: the second is missing from what is known to the span's end
	}{
		{"1m", at("10:00:00"), at("10:05:00"), market.Span{From: at("10:00:00"), To: at("10:05:00")}, 0, 0},
		{"1m", at("10:00:00"), at("10:05:59"), market.Span{From: at("10:00:00"), To: at("10:07:00")}, at("10:05:00"), at("10:07:00")},
		{"1m", at("10:00:23"), at("10:05:00"), market.Span{From: at("09:58:30"), To: at("10:05:00")}, at("09:59:00"), at("10:00:00")},
		{"5m", at("10:03:00"), at("10:09:59"), market.Span{From: at("10:00:00"), To: at("10:10:00")}, at("10:05:00"), at("10:10:00")},
		{"1h", at("10:03:00"), at("11:00:00"), market.Span{From: at("09:00:00"), To: at("11:00:00")}, at("09:00:00"), at("10:00:00")},
		{"1d", at("10:03:00"), day(2024, 1, 2), market.Span{From: day(2024, 1, 1), To: day(2024, 1, 3)}, day(2024, 1, 2), day(2024, 1, 3)},
		{"3d", at("10:03:00"), day(2024, 1, 4), market.Span{From: day(2023, 12, 29), To: day(2024, 1, 4)}, day(2023, 12, 29), day(2024, 1, 1)},
		{"1w", at("10:03:00"), day(2024, 1, 9), market.Span{From: day(2024, 1, 1), To: day(2024, 1, 14)}, day(2024, 1, 8), day(2024, 1, 15)},
		{"1M", day(2024, 1, 20), day(2024, 3, 1), market.Span{From: day(2024, 1, 1), To: day(2024, 3, 2)}, day(2024, 3, 1), day(2024, 4, 1)},
		{"1M", day(2024, 1, 20), day(2024, 2, 1), market.Span{From: day(2023, 12, 1), To: day(2024, 2, 1)}, day(2023, 12, 1), day(2024, 1, 1)},
		{"1s", at("10:00:00"), at("10:00:03"), market.Span{From: at("10:00:00"), To: at("10:00:05")}, at("10:00:03"), at("10:00:05")},
		{"1s", at("10:00:23"), at("10:01:05"), market.Span{From: at("10:00:30"), To: at("10:01:05")}, at("10:00:30"), at("10:01:00")},
		{"15s", at("10:00:00"), at("10:00:29"), market.Span{From: at("10:00:00"), To: at("10:00:30")}, at("10:00:15"), at("10:00:30")},
		{"1m", at("10:00:00"), 0, market.Span{From: at("10:00:00"), To: at("10:02:00")}, at("10:00:00"), at("10:02:00")},
		{"1m", at("10:00:00"), at("10:05:00"), market.Span{From: at("10:01:10"), To: at("10:01:50")}, 0, 0},
	}
	for _, c := range cases {
		series := market.Series{Symbol: 7, Interval: interval(c.interval)}
		known := newCompleteness()
		known.begin(7, session{lane: 2, from: c.from}, nil)
		known.advance(2, c.upTo, market.OneMinute)
		var want []market.Span
		if c.missTo != 0 {
			want = []market.Span{{From: c.missFrom, To: c.missTo}}
		}
		same(t, c.interval+" from "+c.from.String(), []market.Span(known.missing(series, c.span)), want)
	}
}

// TestBeginAgain: a session that is open already goes on where nothing was missed, else it becomes history.
func TestBeginAgain(t *testing.T) {
	series := market.Series{Symbol: 0, Interval: market.OneMinute}
	span := market.Span{From: at("10:00:00"), To: at("10:10:00")}
	cases := []struct {
		name string
		from market.Time
		lane int
		want []market.Span
	}{
		{"within", at("10:02:00"), 0, nil},
		{"after a pause", at("10:08:00"), 0, []market.Span{{From: at("10:05:00"), To: at("10:08:00")}}},
		{"on another lane", at("10:07:00"), 1, []market.Span{{From: at("10:05:00"), To: at("10:07:00")}}},
	}
	for _, c := range cases {
		known := newCompleteness()
		known.begin(0, session{lane: 0, from: at("10:00:00")}, []market.Interval{market.OneMinute})
		known.advance(0, at("10:05:00"), market.OneMinute)
		known.begin(0, session{lane: c.lane, from: c.from}, []market.Interval{market.OneMinute})
		known.advance(c.lane, at("10:10:00"), market.OneMinute)
		same(t, c.name, []market.Span(known.missing(series, span)), c.want)
	}
}

func TestAdvanceNeverGoesBack(t *testing.T) {
	c := newCompleteness()
	steps := []struct {
		upTo  market.Time
		ended bool
	}{
		{at("10:00:00"), true}, {at("10:00:59"), false}, {at("10:01:00"), true}, {at("10:00:00"), false},
		{at("10:01:30"), false}, {at("10:04:30"), true},
	}
	for _, step := range steps {
		if got := c.advance(0, step.upTo, market.OneMinute); got != step.ended {
			t.Errorf("to %s: a kline ended: %v, want %v", step.upTo, got, step.ended)
		}
	}
	if c.lanes[0] != at("10:04:30") {
		t.Errorf("watermark %s", c.lanes[0])
	}
}

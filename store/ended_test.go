package store

import (
	"testing"

	"klined/market"
)

// TestEndLive: of a symbol that has ended the store knows what its lane had brought by then, whatever the lane hands on of others
// afterwards, after a restart too. It may begin anew.
func TestEndLive(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, market.OneMinute)
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	span := market.Span{From: at("10:00:00"), To: at("10:10:00")}
	missing := func(want ...market.Span) {
		t.Helper()
		_, got := read(t, s, series, span)
		same(t, "missing", got, want)
	}
	s.BeginLive(1, 1, at("10:00:00"))
	s.BeginLive(2, 1, at("10:00:00"))
	feedMinutes(s, 1, 0, 5)
	upTo(s, 1, at("10:05:00"))
	missing(market.Span{From: at("10:05:00"), To: span.To})
	s.EndLive(1)
	s.EndLive(1) // there is nothing to end
	s.EndLive(0)
	upTo(s, 1, at("10:10:00"))
	missing(market.Span{From: at("10:05:00"), To: span.To})
	if _, others := read(t, s, market.Series{Symbol: 2, Interval: market.OneMinute}, span); len(others) > 0 {
		t.Errorf("missing of another symbol: %v", others)
	}
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, market.OneMinute)
	missing(market.Span{From: at("10:05:00"), To: span.To})
	s.BeginLive(1, 0, at("10:07:00"))
	upTo(s, 0, at("10:10:00"))
	missing(market.Span{From: at("10:05:00"), To: at("10:07:00")})
}

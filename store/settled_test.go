package store

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klined/fixed"
	"klined/market"
)

var minutesOf0 = market.Series{Symbol: 0, Interval: market.OneMinute}

// closed closes a store.
func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// differing is a closed minute of ours, and the exchange's own with another volume.
func differing(symbol market.SymbolID, open market.Time) market.Difference {
	series := market.Series{Symbol: symbol, Interval: market.OneMinute}
	d := market.Difference{Series: series, Ours: testKline(series, open), Official: testKline(series, open)}
	d.Official.Volume = d.Official.Volume.Add((7 * fixed.One / 1000).Sum())
	for _, k := range []*market.Kline{&d.Ours, &d.Official} { // ids, revisions and marks are not kept
		k.FirstID, k.LastID, k.LastTradeID = -1, -1, -1
	}
	d.Official.State = market.StateSettled
	return d
}

// TestDifferences: what differed from the exchange's own is there after a restart, newest first, for a week. One that cannot be
// kept exactly, and one of a symbol that nobody knows, are left out.
func TestDifferences(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	odd := differing(1, at("00:02:00"))
	odd.Ours.Open++ // more decimals than the symbol has
	s.Put(&market.Changes{Differ: []market.Difference{differing(0, at("00:01:00")), odd}})
	s.Put(&market.Changes{Differ: []market.Difference{differing(1, at("00:01:00")), differing(2, at("00:03:00")), differing(7, at("00:03:00"))}})
	flush(t, s)
	check := func(when string, s *Store, limit int, want ...market.Difference) {
		t.Helper()
		got, err := s.Differences(t.Context(), limit)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", when, err, diff)
		}
	}
	all := []market.Difference{differing(2, at("00:03:00")), differing(0, at("00:01:00")), differing(1, at("00:01:00"))}
	check("at once", s, 10, all...)
	check("the newest", s, 2, all[:2]...)
	closed(t, s)
	s = openTest(t, dir)
	check("after a restart", s, 10, all...)
	young := differing(0, at("00:02:00")+keepDiffer)
	s.Put(&market.Changes{Differ: []market.Difference{young}})
	flush(t, s)
	check("a week later", s, 10, young, all[0])
}

// TestDifferencesWait: while the disk takes nothing the newest differences wait, up to a bound.
func TestDifferencesWait(t *testing.T) {
	s := openTest(t, t.TempDir())
	for i := range maxDiffer + 5 {
		s.Put(&market.Changes{Differ: []market.Difference{differing(0, market.Time(i)*market.Minute)}})
	}
	if n := len(s.differ); n != maxDiffer || s.differ[0].Ours.OpenTime != 5*market.Minute {
		t.Errorf("%d wait, the first of %s", n, s.differ[0].Ours.OpenTime)
	}
}

// TestSettledUpTo: how far a symbol's minutes were held against the exchange's own is known after a restart.
func TestSettledUpTo(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	if got := s.SettledUpTo(1); got != 0 {
		t.Errorf("at first %s", got)
	}
	s.SettleUpTo(1, at("00:05:00"))
	s.SettleUpTo(2, at("00:06:00"))
	flush(t, s)
	s.SettleUpTo(1, at("00:07:00"))
	closed(t, s)
	s = openTest(t, dir)
	if got := fmt.Sprint(s.SettledUpTo(0), s.SettledUpTo(1), s.SettledUpTo(2)); got != fmt.Sprint(market.Time(0), at("00:07:00"), at("00:06:00")) {
		t.Errorf("after a restart %s", got)
	}
}

// TestOlderSchema: a store of an earlier schema is brought to this one.
func TestOlderSchema(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	put(s, update(minutesOf0, testKline(minutesOf0, at("00:01:00"))))
	closed(t, s)
	execOn(t, dir, "DROP TABLE settled; DROP TABLE difference; DROP TABLE kept; DROP TABLE repair; PRAGMA user_version = 1")
	s = openTest(t, dir)
	s.SettleUpTo(0, at("00:05:00"))
	s.Put(&market.Changes{Differ: []market.Difference{differing(0, at("00:01:00"))}})
	flush(t, s)
	rows, _, err := s.Read(t.Context(), minutesOf0, market.Span{From: at("00:00:00"), To: at("00:05:00")})
	if differ, e := s.Differences(t.Context(), 10); err != nil || e != nil || len(rows) != 1 || len(differ) != 1 {
		t.Errorf("%d rows, %d differences, %v, %v", len(rows), len(differ), err, e)
	}
}

package store

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestRepair: what another process has found wrong is a hole from then on, in the store that is open and in the next one; its
// klines carry the mark until the exchange's own come, which win though what was wrong was settled.
func TestRepair(t *testing.T) {
	for _, open := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir)
			span := market.Span{From: at("00:00:00"), To: at("00:04:00")}
			var rows []market.Kline
			for open := span.From; open < span.To; open += market.Minute {
				k := testKline(minutesOf0, open)
				k.State = market.StateSettled
				rows = append(rows, k)
			}
			s.Fetched(minutesOf0, span, rows)
			flush(t, s)
			if !open {
				closed(t, s)
			}
			wrong := market.Span{From: at("00:01:00"), To: at("00:03:00")}
			if err := Repair(dir, []market.Range{{Series: minutesOf0, Span: wrong}}, nil); err != nil {
				t.Fatal(err)
			}
			if open {
				time.Sleep(2 * repairsEvery)
				synctest.Wait()
			} else {
				s = openTest(t, dir)
			}
			got, missing := read(t, s, minutesOf0, span)
			same(t, "missing", missing, []market.Span{wrong})
			same(t, "holes", s.Holes(), []market.Range{{Series: minutesOf0, Span: wrong}})
			for i, k := range got {
				if marked := i == 1 || i == 2; k.Gap != marked || (k.State == market.StateSettled) == marked {
					t.Errorf("%s: %s, marked %v", k.OpenTime, k.State, k.Gap)
				}
			}
			right := slices.Clone(rows[1:3])
			right[0].Volume = right[0].Volume.Add(right[0].Volume)
			s.Fetched(minutesOf0, wrong, right)
			flush(t, s)
			got, missing = read(t, s, minutesOf0, span)
			same(t, "missing at the end", missing, nil)
			same(t, "rows at the end", got, []market.Kline{rows[0], right[0], right[1], rows[3]})
			closed(t, s)
			s = openTest(t, dir)
			same(t, "holes at the end", s.Holes(), nil)
			closed(t, s)
		})
	}
	if err := Repair(t.TempDir(), nil, nil); err == nil {
		t.Error("an empty directory has no store")
	}
}

// TestRepairExtra: klines that the exchange does not have go, and are not asked for any more once it says so again.
func TestRepairExtra(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	extra := market.Span{From: at("00:01:00"), To: at("00:02:00")}
	k := testKline(minutesOf0, extra.From)
	k.State = market.StateSettled
	s.Fetched(minutesOf0, extra, []market.Kline{k})
	flush(t, s)
	if err := Repair(dir, nil, []market.Range{{Series: minutesOf0, Span: extra}}); err != nil {
		t.Fatal(err)
	}
	s.repairs()
	rows, missing := read(t, s, minutesOf0, extra)
	same(t, "rows", rows, nil)
	same(t, "missing", missing, []market.Span{extra})
	s.Fetched(minutesOf0, extra, nil)
	flush(t, s)
	rows, missing = read(t, s, minutesOf0, extra)
	same(t, "rows at the end", rows, nil)
	same(t, "missing at the end", missing, nil)
}

// TestRepairAlone: what is taken in of one series writes nothing of others: a hole that is filled in memory stays on disk until
// its row is there.
func TestRepairAlone(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir)
	span := market.Span{From: at("00:01:00"), To: at("00:02:00")}
	s.Fetched(minutesOf0, market.Span{From: at("00:00:00"), To: at("01:00:00")}, nil)
	marked := testKline(minutesOf0, span.From)
	marked.Gap = true
	put(s, update(minutesOf0, marked))
	flush(t, s)
	k := testKline(minutesOf0, span.From)
	k.State = market.StateSettled
	s.Fetched(minutesOf0, span, []market.Kline{k})
	other := minutesOf0
	other.Symbol = 1
	if err := Repair(dir, []market.Range{{Series: other, Span: span}}, nil); err != nil {
		t.Fatal(err)
	}
	s.repairs()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	_, missing, err := r.Read(t.Context(), minutesOf0, span)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "missing, as a kill would leave it", missing, []market.Span{span})
}

// TestRefillWins: a settled kline was corrected, and the correction dropped by a full outbox. What is fetched instead takes the
// old one's place, though it is no younger by its revision.
func TestRefillWins(t *testing.T) {
	s := openTest(t, t.TempDir())
	span := market.Span{From: at("00:01:00"), To: at("00:02:00")}
	old := testKline(minutesOf0, span.From)
	old.State = market.StateSettled
	s.Fetched(minutesOf0, span, []market.Kline{old})
	flush(t, s)
	right := old
	right.Volume, right.Revision = right.Volume.Add(right.Volume), 1
	s.maxRows = 1
	put(s, update(minutesOf0, right), update(minutesOf0, testKline(minutesOf0, at("00:02:00"))))
	s.maxRows = 100
	_, missing := read(t, s, minutesOf0, span)
	same(t, "missing", missing, []market.Span{span})
	flush(t, s)
	right.Revision = 0
	s.Fetched(minutesOf0, span, []market.Kline{right})
	flush(t, s)
	rows, missing := read(t, s, minutesOf0, span)
	same(t, "rows at the end", rows, []market.Kline{right})
	same(t, "missing at the end", missing, nil)
}

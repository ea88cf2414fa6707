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
			if err := Repair(dir, []market.Range{{Series: minutesOf0, Span: wrong}}); err != nil {
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
	if err := Repair(t.TempDir(), nil); err == nil {
		t.Error("an empty directory has no store")
	}
}

package history

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

// TestAudit: what the store has of two symbols, held against the exchange's. What it does not call complete is not compared, and
// a symbol that the exchange refuses is named and keeps nothing from the others. One that it does not list any more is no failure,
// is counted apart, and is asked for once.
func TestAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m = market.OneMinute
		at(6 * time.Hour)
		r := newRig(m, 15*m)
		r.venue.listed[0] = minute("03:00")
		r.has(m, fixed.One, minutes("03:00", "03:10")...)
		r.has(m, 2*fixed.One, minute("03:10"))                                                                    // differs
		r.has(m, fixed.One, minute("02:59"))                                                                      // extra
		r.store.Fetched(market.Series{Interval: m}, market.Span{From: minute("03:11"), To: minute("03:13")}, nil) // absent
		r.has(15*m, fixed.One, minute("03:00"))
		r.store.Fetched(market.Series{Symbol: 1, Interval: m}, market.Span{From: minute("02:45"), To: minute("03:15")}, nil)
		r.store.Fetched(market.Series{Symbol: 2, Interval: m}, market.Span{From: minute("02:55"), To: minute("03:05")}, nil)
		r.venue.fail = func(a asked) error {
			switch a.Symbol {
			case 1:
				return errDown
			case 2:
				return fmt.Errorf("GET: %w", market.ErrNotListed)
			}
			return nil
		}
		span := market.Span{From: minute("02:45"), To: minute("03:15")}
		audits, unlisted, err := r.Audit(t.Context(), r.store, []market.Range{
			{Series: market.Series{Symbol: 1, Interval: m}, Span: span},
			{Series: market.Series{Symbol: 2, Interval: m}, Span: market.Span{From: minute("00:00"), To: minute("04:00")}},
			{Series: market.Series{Interval: m}, Span: span}, {Series: market.Series{Interval: 15 * m}, Span: span}}, new(Progress))
		if want := "1 series were not audited to the end: symbol 1 1m: cannot fetch 1m klines: " + errDown.Error(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if len(unlisted) != 1 || unlisted[0] != 2 {
			t.Error("not listed any more:", unlisted)
		}
		var got []string
		for _, a := range audits {
			got = append(got, fmt.Sprintf("%s compared %d, equal %d, absent %d, extra %d, incomplete %d, unlisted %d, volume %d", a.Interval, a.Compared, a.Equal, a.Absent, a.Extra, a.Incomplete, a.Unlisted, a.Differ[4]))
			for _, d := range a.First {
				got = append(got, hourOf(d.Ours.OpenTime)+" "+d.Ours.State.String()+" "+d.Official.State.String())
			}
			got = append(got, fmt.Sprint("wrong ", a.Wrong(), " in ", len(a.Ranges[0]), " and ", len(a.Extras[0]), " spans"))
		}
		check(t, "audits", got,
			"1m compared 11, equal 10, absent 2, extra 1, incomplete 246, unlisted 10, volume 1",
			"02:59 closed absent", "03:10 closed settled", "03:11 absent settled", "03:12 absent settled", "wrong 4 in 1 and 1 spans",
			"15m compared 1, equal 1, absent 0, extra 0, incomplete 1, unlisted 0, volume 0", "wrong 0 in 0 and 0 spans")
	})
}

// TestAuditDoubts: what the exchange says only once, or against its own rules, is no difference.
func TestAuditDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m = market.OneMinute
		at(6 * time.Hour)
		r := newRig(m)
		r.has(m, fixed.One, minutes("03:00", "03:10")...)
		n := 0
		r.venue.spoil = func(_ asked, rows []market.Kline) []market.Kline {
			for i := range rows {
				switch hourOf(rows[i].OpenTime) {
				case "03:02":
					rows[i].High = 0
				case "03:04":
					rows[i].TradeCount += int64(n)
				case "03:06":
					rows[i].TradeCount++
				}
			}
			n++
			return rows
		}
		n = 7
		audits, _, err := r.Audit(t.Context(), r.store, []market.Range{{Series: market.Series{Interval: m}, Span: market.Span{From: minute("03:00"), To: minute("03:10")}}}, new(Progress))
		if a := audits[0]; err != nil || a.Equal != 7 || a.Compared != 8 || a.Doubted != 2 || len(a.First) != 1 || hourOf(a.First[0].Ours.OpenTime) != "03:06" {
			t.Errorf("%v: %+v", err, a)
		}
	})
}

// TestAuditUnsettled: ours that differ are no difference while the exchange's own may still take their place: two hours, where they
// are not settled.
func TestAuditUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m = market.OneMinute
		at(6 * time.Hour)
		r := newRig(m)
		r.has(m, fixed.One, minute("03:57"), minute("05:57"))   // equal
		r.has(m, 2*fixed.One, minute("03:59"), minute("04:00")) // the first ended two hours ago
		r.has(m, 2*fixed.One, minute("05:55"), minute("05:56"))
		rows := r.store.rows[market.Series{Interval: m}]
		rows[len(rows)-2].State = market.StateSettled // 05:56
		began := time.Now()
		audits, _, err := r.Audit(t.Context(), r.store, []market.Range{{Series: market.Series{Interval: m}, Span: market.Span{From: minute("03:50"), To: minute("05:58")}}}, new(Progress))
		a := audits[0]
		var wrong []string
		for _, d := range a.First {
			wrong = append(wrong, hourOf(d.Ours.OpenTime))
		}
		if err != nil || a.Equal != 2 || a.Unsettled != 2 || a.Compared != 4 || fmt.Sprint(wrong) != "[03:59 05:56]" {
			t.Errorf("%v: %+v, wrong %v", err, a, wrong)
		}
		span := market.Span{From: minute("05:55"), To: minute("05:56")}
		audits, _, err = r.Audit(t.Context(), r.store, []market.Range{{Series: market.Series{Interval: m}, Span: span}}, new(Progress))
		if a := audits[0]; err != nil || a.Unsettled != 1 || a.Wrong() != 0 {
			t.Errorf("%v: %+v", err, a)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("took %s: what is not settled yet is not read again", took)
		}
	})
}

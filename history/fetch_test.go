package history

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// span is n klines of iv that end at the bubble's begin.
func span(iv market.Interval, n int64) market.Span {
	return market.Span{From: iv.OpenAt(iv.Ordinal(bubbleBegin) - n), To: bubbleBegin}
}

func (s *store) has(series market.Series) string {
	missing := int64(0)
	for _, m := range s.Missing(series, market.Span{From: bubbleBegin - market.Day, To: bubbleBegin + market.Hour}) {
		missing += series.Interval.Count(m)
	}
	return fmt.Sprintf("%d rows, %d missing of the day", len(s.rows[series]), missing)
}

func TestFetchPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		minutes := market.Series{Symbol: 3, Interval: market.OneMinute}
		given, err := r.Fetch(t.Context(), "a", minutes, span(market.OneMinute, 3100))
		if err != nil || len(given) != 3100 {
			t.Fatal(err, len(given))
		}
		check(t, "pages", r.venue.take(), "3 1m from 12-29T20:20 limit 1500, clients", "3 1m from 12-30T21:20 limit 1500, clients",
			"3 1m from 12-31T22:20 limit 100, clients")
		if n := len(r.store.rows[minutes]); n != 3100 {
			t.Errorf("%d rows", n)
		}
		months := market.Series{Symbol: 3, Interval: market.OneMonth}
		if _, err := r.Fetch(t.Context(), "a", months, span(market.OneMonth, 20)); err != nil || len(r.store.rows[months]) != 20 {
			t.Error(err, len(r.store.rows[months]))
		}
		if _, err := r.Fetch(t.Context(), "a", minutes, market.Span{From: 7, To: 7}); err != nil {
			t.Error(err)
		}
	})
}

// TestFetchTooYoung: rows that closed less than 10 s ago, or run, are neither kept nor counted as known.
func TestFetchTooYoung(t *testing.T) {
	series := market.Series{Interval: market.OneMinute}
	for _, c := range []struct {
		now  time.Duration
		want string
	}{
		{9999 * time.Millisecond, "4 rows, 1496 missing of the day"},
		{10 * time.Second, "5 rows, 1495 missing of the day"},
		{70 * time.Second, "6 rows, 1494 missing of the day"},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(c.now)
			r := newRig()
			if _, err := r.Fetch(t.Context(), "a", series, market.Span{From: bubbleBegin - 5*market.Minute, To: bubbleBegin + 2*market.Minute}); err != nil {
				t.Fatal(err)
			}
			if got := r.store.has(series); got != c.want {
				t.Errorf("%s: %s, want %s", c.now, got, c.want)
			}
		})
	}
}

// TestFetchDoubtsTheClock: it is measured anew before klines are asked for that ended less than two minutes ago, page by
// page, and what is over by the clock that was put right is kept.
func TestFetchDoubtsTheClock(t *testing.T) {
	const m = market.OneMinute
	for _, c := range []struct {
		name   string
		iv     market.Interval
		until  market.Time // of 20 klines, after the bubble's begin; it is 0:10 then
		n      int64
		doubts int64
		has    int // rows, where the clock was 5 minutes ahead
	}{
		{"two minutes ago", m, 8 * market.Minute, 20, 0, 20},
		{"less", m, 9 * market.Minute, 20, 1, 15},
		{"up to now", m, 10 * market.Minute, 20, 1, 14},
		{"two pages, the first long ago", m, 10 * market.Minute, 1600, 1, 1594},
		{"5m, two and more minutes ago", 5 * m, 5 * market.Minute, 20, 0, 20},
		{"5m, up to now", 5 * m, 10 * market.Minute, 20, 1, 18},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(10 * time.Minute)
			r := newRig()
			r.step.Store(int64(-5 * time.Minute))
			series := market.Series{Interval: c.iv}
			to := bubbleBegin + c.until
			if _, err := r.Fetch(t.Context(), "a", series, market.Span{From: c.iv.OpenAt(c.iv.Ordinal(to) - c.n), To: to}); err != nil {
				t.Fatal(err)
			}
			if n := r.doubts.Load(); n != c.doubts || len(r.store.rows[series]) != c.has {
				t.Errorf("%s: doubted %d times; %d rows", c.name, n, len(r.store.rows[series]))
			}
		})
	}
}

// TestFetchOwnIntervals: what the exchange does not serve is folded from the longest interval that divides it.
func TestFetchOwnIntervals(t *testing.T) {
	const m, h = market.OneMinute, market.OneHour
	for _, c := range []struct {
		iv, from market.Interval
		n        int64
	}{{2 * m, m, 751}, {4 * m, m, 400}, {6 * m, 3 * m, 7}, {10 * m, 5 * m, 7}, {12 * m, 3 * m, 400}, {20 * m, 5 * m, 7}, {3 * h, h, 7}, {15 * m, 15 * m, 7}} {
		synctest.Test(t, func(t *testing.T) {
			at(time.Minute)
			r := newRig()
			series := market.Series{Interval: c.iv}
			if _, err := r.Fetch(t.Context(), "a", series, span(c.iv, c.n)); err != nil {
				t.Fatal(err)
			}
			if q := r.venue.take(); !strings.HasPrefix(q[0], "0 "+c.from.String()+" ") {
				t.Errorf("%s: %q", c.iv, q)
			}
			rows := r.store.rows[series]
			if len(rows) != int(c.n) {
				t.Errorf("%s: %d rows", c.iv, len(rows))
			}
			for i, k := range rows {
				if k.OpenTime != span(c.iv, c.n).From+market.Time(i)*market.Time(c.iv) || k.TradeCount != int64(c.iv/c.from) || k.State != market.StateSettled {
					t.Fatalf("%s: %+v", c.iv, k)
				}
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		_, err := r.Fetch(t.Context(), "a", market.Series{Interval: 5000}, span(m, 1))
		if err == nil || err.Error() != "the exchange has no klines that 5s could be folded from" || len(r.venue.take()) != 0 {
			t.Error(err)
		}

		// A span that begins or ends within a kline is asked for whole: a part of a kline would pass for it.
		series := market.Series{Interval: 2 * m}
		if _, err := r.Fetch(t.Context(), "a", series, market.Span{From: bubbleBegin - 3*market.Minute, To: bubbleBegin - market.Minute}); err != nil {
			t.Fatal(err)
		}
		for _, k := range r.store.rows[series] {
			if k.TradeCount != 2 {
				t.Errorf("%+v", k)
			}
		}
	})
}

// TestFetchDoubted: a row that breaks its own rules is an error, and stays missing, with what would be folded from it.
func TestFetchDoubted(t *testing.T) {
	for _, c := range []struct {
		iv   market.Interval
		want string
	}{
		{market.OneMinute, "18 rows, 1482 missing of the day"},
		{5 * market.OneMinute, "18 rows, 282 missing of the day"},
		{10 * market.OneMinute, "19 rows, 131 missing of the day"},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(time.Minute)
			r := newRig()
			r.venue.spoil = func(_ asked, rows []market.Kline) []market.Kline {
				for i := range rows {
					switch rows[i].OpenTime {
					case bubbleBegin - 17*market.Minute, bubbleBegin - 25*market.Minute, bubbleBegin - 30*market.Minute:
						rows[i].TakerBuyVolume = rows[i].Volume.Add(rows[i].Volume)
					case bubbleBegin - market.Minute:
						rows[i].TradeCount = 0
					}
				}
				return rows
			}
			series := market.Series{Interval: c.iv}
			n := int64(20)
			_, err := r.Fetch(t.Context(), "a", series, span(c.iv, n))
			if err == nil || !strings.Contains(err.Error(), "kline of 1999-12-31T23:") || !strings.HasSuffix(err.Error(), "breaks its own rules") {
				t.Error(err)
			}
			if got := r.store.has(series); got != c.want {
				t.Errorf("%s: %s, want %s", c.iv, got, c.want)
			}
		})
	}
}

// TestFetchTogether: all who ask for the same at once share one fetch; one who goes leaves the others what they want,
// and with the last one it ends.
func TestFetchTogether(t *testing.T) {
	series, minutes := market.Series{Interval: market.OneMinute}, span(market.OneMinute, 5)
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		ended := 0
		r.venue.hold = func(ctx context.Context, _ asked) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				ended++
				return ctx.Err()
			}
		}
		results := make(chan error, 10)
		ask := func(ctx context.Context, s market.Series) {
			go func() { _, err := r.Fetch(ctx, "a", s, minutes); results <- err }()
		}
		ctx, cancel := context.WithCancel(t.Context())
		ask(ctx, series) // who begins it goes first
		synctest.Wait()
		for range 3 {
			ask(t.Context(), series)
		}
		ask(t.Context(), market.Series{Symbol: 1, Interval: market.OneMinute}) // something else
		time.Sleep(time.Second)
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		for range 4 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if n := len(r.venue.take()); n != 2 {
			t.Errorf("%d questions", n)
		}

		ctx, cancel = context.WithCancel(t.Context())
		ask(ctx, series)
		ask(ctx, series)
		time.Sleep(time.Second)
		cancel()
		<-results
		<-results
		synctest.Wait()
		if ended != 1 || len(r.flights) != 0 {
			t.Errorf("%d fetches ended, %d go on", ended, len(r.flights))
		}
		ask(t.Context(), series) // anew
		if err := <-results; err != nil {
			t.Error(err)
		}
	})
}

func TestFetchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(time.Minute)
		r := newRig()
		r.venue.fail = func(a asked) error {
			if a.From > bubbleBegin-2000*market.Minute {
				return &market.BudgetError{RetryAfter: time.Second, Reason: "busy"}
			}
			return nil
		}
		series := market.Series{Interval: market.OneMinute}
		_, err := r.Fetch(t.Context(), "a", series, span(market.OneMinute, 3000))
		var budget *market.BudgetError
		if !errors.As(err, &budget) || !strings.HasPrefix(err.Error(), "cannot fetch 1m klines: busy") {
			t.Error(err)
		}
		if n := len(r.store.rows[series]); n != 1500 { // the first page stays
			t.Errorf("%d rows", n)
		}
	})
}

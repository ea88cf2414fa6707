package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/market"
)

// files is an archive in memory: of the venue's klines, months up to January 2000 and days up to the day before yesterday.
type files struct {
	clock *bubbleClock
	mu    sync.Mutex
	asked []string
	fail  func(file string) error                            // nil: nothing fails
	spoil func(file string, k []market.Kline) []market.Kline // nil: all rows are right
}

func (f *files) Klines(_ context.Context, series market.Series, span market.Span) ([]market.Kline, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := fmt.Sprintf("%d %s %s", series.Symbol, series.Interval, span.From.Std().Format("01-02"))
	if span.To-span.From > market.Day {
		name = fmt.Sprintf("%d %s %s", series.Symbol, series.Interval, span.From.Std().Format("Jan"))
	}
	f.asked = append(f.asked, name)
	if f.fail != nil {
		if err := f.fail(name); err != nil {
			return nil, false, err
		}
	}
	now := f.clock.Now()
	if span.To > market.OneDay.Open(now)-market.Day {
		return nil, false, nil
	}
	var rows []market.Kline
	for open := series.Interval.Ceil(span.From); open < span.To; open = series.Interval.Next(open) {
		rows = append(rows, row(series.Interval, open, now))
	}
	if f.spoil != nil {
		rows = f.spoil(name, rows)
	}
	return rows, true, nil
}

func (f *files) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	slices.Sort(asked) // some are under way at once
	return asked
}

// archived gives r an archive.
func (r *rig) archived() *files {
	f := &files{clock: r.clock}
	r.archive = f
	return f
}

// of is klines of symbol 0 from a time of the bubble's calendar, "01-31T10:00", on.
func of(iv market.Interval, from, to string) market.Range {
	parse := func(text string) market.Time {
		if text == "" {
			return 0
		}
		t, err := time.Parse("2006-01-02T15:04", "2000-"+text)
		if err != nil {
			panic(err)
		}
		return market.TimeOf(t)
	}
	return market.Range{Series: market.Series{Interval: iv}, Span: market.Span{From: parse(from), To: parse(to)}}
}

// TestBackfill: it is the fifth of February at 06:00. What the archive has in months comes in months, then days, then REST;
// what is known is not asked for again.
func TestBackfill(t *testing.T) {
	const m, h, d = market.OneMinute, market.OneHour, market.OneDay
	first := "0 1m from 01-01T00:00 limit 1, backfill"
	for _, c := range []struct {
		name    string
		ranges  []market.Range
		prepare func(*rig, *files)
		files   []string // asked of the archive
		rest    []string // asked of REST
		counts  string   // done, of the archive, of REST, folded, empty
	}{
		{"a month of minutes", []market.Range{of(m, "01-01T00:00", "02-01T00:00")}, nil,
			[]string{"0 1m Jan"}, []string{first}, "44640 44640 0 0 0"},
		{"days, and today by REST", []market.Range{of(m, "02-01T00:00", "02-05T05:00")}, nil,
			[]string{"0 1m 02-01", "0 1m 02-02", "0 1m 02-03", "0 1m 02-04"},
			[]string{first, "0 1m from 02-04T00:00 limit 1500, backfill", "0 1m from 02-05T01:00 limit 240, backfill"}, "6060 4320 1740 0 0"},
		{"across months", []market.Range{of(m, "01-30T00:00", "02-02T00:00")}, nil,
			[]string{"0 1m 02-01", "0 1m Jan"}, []string{first}, "4320 4320 0 0 0"},
		{"too few for a file", []market.Range{of(m, "01-01T00:00", "01-01T08:00"), of(h, "01-01T00:00", "01-21T00:00")}, nil,
			nil, []string{first, "0 1m from 01-01T00:00 limit 480, backfill", "0 1h from 01-01T08:00 limit 472, backfill", "0 1h from 01-01T00:00 limit 8, backfill"}, "960 0 952 8 0"},
		{"a file with holes", []market.Range{of(m, "01-01T00:00", "02-01T00:00")}, func(_ *rig, f *files) {
			f.spoil = func(_ string, k []market.Kline) []market.Kline {
				k[5].High = 0                       // breaks its own rules
				return slices.Delete(k, 1000, 1010) // is missing
			}
		}, []string{"0 1m Jan"}, []string{first, "0 1m from 01-01T00:05 limit 1, backfill", "0 1m from 01-01T16:40 limit 10, backfill"}, "44640 44629 11 0 0"},
		{"a file that is broken", []market.Range{of(m, "01-30T00:00", "01-31T00:00")}, func(_ *rig, f *files) {
			f.fail = func(string) error { return errDown }
		}, []string{"0 1m 01-30", "0 1m Jan"},
			[]string{first, "0 1m from 01-30T00:00 limit 1440, backfill"}, "1440 0 1440 0 0"},
		{"a listing", []market.Range{of(m, "01-01T00:00", "02-01T00:00"), of(h, "01-01T00:00", "02-01T00:00")}, func(r *rig, _ *files) {
			r.venue.listed[0] = bubbleBegin + 30*market.Day + 10*market.Minute
		}, []string{"0 1m Jan"}, []string{first, "0 1h from 01-31T00:00 limit 24, backfill"}, "45384 1430 0 24 43930"},
		{"longer ones are folded, and their days checked", []market.Range{of(d, "01-01T00:00", "02-01T00:00"), of(h, "01-01T00:00", "02-01T00:00"), of(m, "01-01T00:00", "02-01T00:00")}, nil,
			[]string{"0 1m Jan"}, []string{first, "0 1d from 01-01T00:00 limit 31, backfill"}, "45415 44640 0 775 0"},
		{"without an archive", []market.Range{of(m, "02-01T00:00", "02-03T00:00")}, func(r *rig, _ *files) { r.archive = nil }, nil,
			[]string{first, "0 1m from 02-01T00:00 limit 1500, backfill", "0 1m from 02-02T01:00 limit 1380, backfill"}, "2880 0 2880 0 0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(35*24*time.Hour + 6*time.Hour)
			r := newRig(m, h, d)
			f := r.archived()
			// A day whose klines are folded from minutes of one trade each is as the exchange has it.
			r.venue.spoil = func(a asked, rows []market.Kline) []market.Kline {
				for i := range rows {
					rows[i] = summed(a.Interval, rows[i])
				}
				return rows
			}
			if c.prepare != nil {
				c.prepare(r, f)
			}
			var p Progress
			if err := r.Backfill(t.Context(), c.ranges, &p); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			rest := r.venue.take()
			check(t, c.name+": files", f.take(), c.files...)
			check(t, c.name+": REST", rest, c.rest...)
			counts := fmt.Sprint(p.Done.Load(), p.Archive.Load(), p.REST.Load(), p.Folded.Load(), p.Empty.Load())
			check(t, c.name+": done", []string{counts}, c.counts)
			if p.Total.Load() != p.Done.Load() || p.Differ.Load() != 0 {
				t.Errorf("%s: %d of %d, %d differ", c.name, p.Done.Load(), p.Total.Load(), p.Differ.Load())
			}
			if err := r.Backfill(t.Context(), c.ranges, &p); err != nil || len(f.take())+len(r.venue.take()) != 0 {
				t.Errorf("%s, again: asked for something, %v", c.name, err)
			}
		})
	}
}

// summed is the kline that minutes of one trade each make.
func summed(iv market.Interval, k market.Kline) market.Kline {
	if iv > market.OneMinute {
		n := int64(iv.Next(k.OpenTime)-k.OpenTime) / int64(market.Minute)
		k.High = fixed.Value((iv.Next(k.OpenTime) - market.Minute) / 1000)
		k.Close, k.TradeCount, k.Volume = k.High, n, (fixed.Value(n) * fixed.One).Sum()
	}
	return k
}

// TestInMonths: the youngest month of all comes first; what is too few for a file is not cut.
func TestInMonths(t *testing.T) {
	ranges := []market.Range{of(market.OneMinute, "01-30T00:00", "03-02T00:00"), of(market.OneHour*2, "01-01T00:00", "03-01T00:00"), of(market.OneMinute, "02-03T00:00", "02-04T00:00")}
	var got []string
	for _, r := range inMonths(ranges) {
		got = append(got, fmt.Sprintf("%s %s–%s", r.Interval, r.From.Std().Format("01-02"), r.To.Std().Format("01-02")))
	}
	check(t, "in months", got, "1m 03-01–03-02", "1m 02-01–03-01", "1m 02-03–02-04", "1m 01-30–02-01", "2h 01-01–03-01")
}

// TestBackfillCutShort: what a backfill has brought before it ended is not asked for again.
func TestBackfillCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(35*24*time.Hour + 6*time.Hour)
		r := newRig(market.OneMinute)
		f := r.archived()
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		f.spoil = func(_ string, rows []market.Kline) []market.Kline {
			if n++; n == 3 {
				cancel()
			}
			return rows
		}
		ranges := []market.Range{of(market.OneMinute, "01-29T00:00", "02-04T00:00")}
		if err := r.Backfill(ctx, ranges, new(Progress)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		before := f.take()
		f.spoil = nil
		if err := r.Backfill(t.Context(), ranges, new(Progress)); err != nil {
			t.Error(err)
		}
		for _, file := range f.take() {
			if slices.Contains(before, file) {
				t.Errorf("%s is asked for again; before: %s", file, before)
			}
		}
		if left := r.store.Missing(ranges[0].Series, ranges[0].Span); len(left) > 0 {
			t.Errorf("still missing: %v", left)
		}
	})
}

// TestBackfillFails: what cannot be had is named, and does not keep the rest. A disk that takes nothing ends it.
func TestBackfillFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(35*24*time.Hour + 6*time.Hour)
		r := newRig(market.OneMinute)
		r.venue.fail = func(a asked) error {
			if a.Symbol == 0 && a.limit > 1 {
				return errDown
			}
			return nil
		}
		other := of(market.OneMinute, "02-01T00:00", "02-02T00:00")
		other.Symbol = 1
		ranges := []market.Range{of(market.OneMinute, "02-01T00:00", "02-02T00:00"), other}
		var p Progress
		err := r.Backfill(t.Context(), ranges, &p)
		if want := "1440 klines could not be had: symbol 0 1m from 2000-02-01T00:00:00.000Z on: cannot fetch 1m klines: " + errDown.Error(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		if p.Done.Load() != 1440 || p.Failed.Load() != 1440 {
			t.Errorf("%d done, %d failed", p.Done.Load(), p.Failed.Load())
		}
		r.store.fail = errors.New("disk full")
		if err := r.Backfill(t.Context(), ranges, &p); err == nil || err.Error() != "disk full" {
			t.Error(err)
		}
	})
}

// TestBackfillChecks: a day of the exchange's that is not the sum of its minutes stands, and so do the exchange's klines of
// that day that are shorter.
func TestBackfillChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m, h, d = market.OneMinute, market.OneHour, market.OneDay
		at(35*24*time.Hour + 6*time.Hour)
		r := newRig(m, h, d)
		r.archived()
		r.venue.spoil = func(a asked, rows []market.Kline) []market.Kline {
			for i := range rows {
				if rows[i] = summed(a.Interval, rows[i]); hourOf(rows[i].OpenTime) == "07:00" && rows[i].OpenTime.Std().Day() == 3 || a.Interval == d && rows[i].OpenTime.Std().Day() == 3 {
					rows[i].TradeCount++
				}
			}
			return rows
		}
		var p Progress
		ranges := []market.Range{of(m, "01-02T00:00", "01-05T00:00"), of(h, "01-02T00:00", "01-05T00:00"), of(d, "01-02T00:00", "01-05T00:00")}
		if err := r.Backfill(t.Context(), ranges, &p); err != nil {
			t.Fatal(err)
		}
		if p.Checked.Load() != 3 || p.Differ.Load() != 1 {
			t.Errorf("checked %d, differ %d", p.Checked.Load(), p.Differ.Load())
		}
		for iv, want := range map[market.Interval]string{m: "01-03T07:00", h: "01-03T07:00", d: "01-03T00:00"} {
			var revised []string
			for _, k := range r.store.rows[market.Series{Interval: iv}] {
				if k.Revision > 0 {
					revised = append(revised, k.OpenTime.Std().Format("01-02T15:04"))
				}
			}
			check(t, iv.String()+" revised", revised, want)
		}
	})
}

// TestKeepFilled: the last klines of each interval are brought, and what fills holes, a minute later where there are new ones.
// Nothing is asked that the store does not keep, nor of a symbol that waits; what cannot be had less and less often.
func TestKeepFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const m, h = market.OneMinute, market.OneHour
		at(10*24*time.Hour + 6*time.Hour + 30*time.Second)
		r := newRig(5000, m, h)
		r.lanes.whole[0] = true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		r.diary.begin()
		r.venue.set(func(v *venue) {
			v.fail = func(a asked) error { // a client brings an hour while the minutes are asked for
				if hour := of(h, "01-09T03:00", "01-09T04:00"); a.Interval == m {
					r.store.Fetched(hour.Series, hour.Span, []market.Kline{row(h, hour.From, r.clock.Now())})
				}
				return nil
			}
		})
		r.Carry(0, 1)
		go func() { done <- r.KeepFilled(ctx, 50) }()
		r.after(50)
		check(t, "at first", r.venue.take(), "0 1m from 01-01T00:00 limit 1, backfill", "0 1m from 01-11T05:08 limit 50, backfill",
			"0 1h from 01-09T04:00 limit 49, backfill")
		if want := "klines=100 of=100 failed=0 came_otherwise=1"; !strings.Contains(r.log.String(), want) {
			t.Errorf("not logged: %s\n%s", want, r.log)
		}
		r.store.mu.Lock()
		r.store.holes = []market.Range{of(h, "01-02T03:00", "01-02T04:00"), of(m, "01-11T05:02", "01-11T05:04"), of(m, "01-11T05:55", "01-11T05:56")}
		r.store.kept = r.clock.Now().Add(-2 * time.Hour)
		r.store.mu.Unlock()
		r.after(110)
		check(t, "a minute later", sorted(r.venue.take()), "0 1m from 01-01T00:00 limit 1, backfill", "0 1m from 01-11T05:02 limit 2, backfill",
			"0 1m from 01-11T05:58 limit 1, backfill")
		r.venue.set(func(v *venue) {
			v.fail = func(a asked) error {
				if a.Interval == h {
					return errDown
				}
				return nil
			}
		})
		r.after(6 * 60 * 60)
		hours := slices.DeleteFunc(r.venue.take(), func(a string) bool { return a[2:5] != "1h " })
		if n := len(hours); n < fillTries*5 || n > fillTries*11 {
			t.Errorf("what cannot be had was asked for %d times in six hours", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func sorted(list []string) []string {
	slices.Sort(list) // some are under way at once
	return list
}

// TestBackfillChecksAll: a minute of a file is wrong. The exchange's day says so; all that was folded from it is right in the end,
// longer than a day and of our own lengths, too. A day that the exchange gives wrong once is not believed.
func TestBackfillChecksAll(t *testing.T) {
	const m, h, d = market.OneMinute, market.OneHour, market.OneDay
	wrong := of(m, "01-05T07:00", "01-05T07:01").From
	for _, c := range []struct {
		name       string
		file, once bool // the wrong minute is in the file; the exchange's first answer of days is wrong
		differ     int64
	}{
		{"a wrong minute", true, false, 1}, {"a wrong answer", false, true, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(35*24*time.Hour + 6*time.Hour)
			ivs := []market.Interval{m, 10 * m, h, d, 3 * d, market.OneWeek}
			r := newRig(ivs...)
			f := r.archived()
			lied := false
			r.venue.spoil = func(a asked, rows []market.Kline) []market.Kline {
				for i := range rows {
					if rows[i] = summed(a.Interval, rows[i]); c.once && a.Interval == d && !lied {
						lied, rows[i].TradeCount = true, 7
					}
				}
				return rows
			}
			f.spoil = func(_ string, rows []market.Kline) []market.Kline {
				for i := range rows {
					if c.file && rows[i].OpenTime == wrong {
						rows[i].Volume = (1000 * fixed.One).Sum()
					}
				}
				return rows
			}
			var ranges []market.Range
			for _, iv := range ivs {
				ranges = append(ranges, of(iv, "01-03T00:00", "01-31T00:00"))
			}
			var p Progress
			if err := r.Backfill(t.Context(), ranges, &p); err != nil || p.Differ.Load() != c.differ {
				t.Errorf("%s: %v, %d differ", c.name, err, p.Differ.Load())
			}
			for _, iv := range ivs {
				for _, k := range r.store.rows[market.Series{Interval: iv}] {
					if want := summed(iv, row(iv, k.OpenTime, r.clock.Now())); !market.SameValues(&k, &want) {
						t.Errorf("%s: %s %s: %+v", c.name, iv, k.OpenTime, k)
					}
				}
			}
		})
	}
}

// TestToCheck: what something longer covers needs no check of its own.
func TestToCheck(t *testing.T) {
	const m, h = market.OneMinute, market.OneHour
	f := &filling{}
	for _, r := range []market.Range{of(5*m, "01-03T00:00", "01-04T00:00"), of(h, "01-04T00:00", "01-05T00:00"), of(5*m, "01-04T00:00", "01-05T00:00"),
		of(h, "01-05T00:00", "01-06T00:00")} {
		f.folded(r)
	}
	var got []string
	for _, r := range f.toCheck() {
		got = append(got, fmt.Sprintf("%s %s–%s", r.Interval, r.From.Std().Format("01-02"), r.To.Std().Format("01-02")))
	}
	check(t, "to check", got, "1h 01-04–01-06", "5m 01-03–01-04")
}

// TestBackfillBegins: where the exchange once says that a symbol has no klines, or none as old as what is stored, nothing is
// recorded as empty. A file that fails where days have it all is no failure.
func TestBackfillBegins(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(rows []market.Kline) []market.Kline
	}{
		{"none", func([]market.Kline) []market.Kline { return nil }},
		{"too young", func(rows []market.Kline) []market.Kline {
			rows[0].OpenTime = of(market.OneMinute, "02-01T00:00", "").From
			return rows
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			at(35*24*time.Hour + 6*time.Hour)
			r := newRig(market.OneMinute)
			f := r.archived()
			f.fail = func(name string) error {
				if strings.HasSuffix(name, "Jan") {
					return errDown
				}
				return nil
			}
			r.has(market.OneMinute, fixed.One, of(market.OneMinute, "01-31T23:00", "02-01T00:00").From)
			r.venue.spoil = func(a asked, rows []market.Kline) []market.Kline {
				if a.From == 1 {
					return c.first(rows)
				}
				return rows
			}
			var p Progress
			asked := of(market.OneMinute, "01-29T00:00", "02-02T00:00")
			if err := r.Backfill(t.Context(), []market.Range{asked}, &p); err != nil || p.Empty.Load() != 0 {
				t.Errorf("%s: %v, %d empty", c.name, err, p.Empty.Load())
			}
			if n := len(r.store.rows[asked.Series]); int64(n) != market.OneMinute.Count(asked.Span) {
				t.Errorf("%s: %d rows", c.name, n)
			}
		})
	}
}

// TestBackfillRunning: what the exchange says is still running ends what is known, whatever our clock says.
func TestBackfillRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(10*24*time.Hour + 6*time.Hour)
		r := newRig(market.OneMinute)
		running := of(market.OneMinute, "01-11T05:00", "").From
		r.venue.spoil = func(_ asked, rows []market.Kline) []market.Kline {
			rows = slices.DeleteFunc(rows, func(k market.Kline) bool { return k.OpenTime > running })
			if n := len(rows); n > 0 && rows[n-1].OpenTime == running {
				rows[n-1].State = market.StateOpen
			}
			return rows
		}
		asked := of(market.OneMinute, "01-11T04:00", "01-11T05:50")
		_ = r.Backfill(t.Context(), []market.Range{asked}, new(Progress))
		if missing := r.store.Missing(asked.Series, asked.Span); len(missing) != 1 || missing[0].From != running {
			t.Error(missing)
		}
	})
}

package market

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// everyInterval is all names there are.
var everyInterval = strings.Fields(`1s 2s 3s 4s 5s 6s 10s 12s 15s 20s 30s 1m 2m 3m 4m 5m 6m 10m 12m 15m 20m 30m
	1h 2h 3h 4h 6h 8h 12h 1d 3d 1w 1M`)

func TestParseInterval(t *testing.T) {
	last := Interval(0)
	for _, name := range everyInterval {
		iv, err := ParseInterval(name)
		if err != nil || iv.String() != name {
			t.Errorf("%s is %v, %v", name, iv, err)
		}
		if iv <= last {
			t.Errorf("%s is not longer than the one before", name)
		}
		last = iv
	}
	names := map[string]bool{}
	for _, name := range everyInterval {
		names[name] = true
	}
	for n := range 2000 {
		for _, unit := range []string{"s", "m", "h", "d", "w", "M"} {
			name := strconv.Itoa(n) + unit
			if _, err := ParseInterval(name); (err == nil) != names[name] {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestParseIntervalRefusals(t *testing.T) {
	const want = "want a number and one of s, m, h, d, w, M, as in 15m"
	const days = "of days, weeks and months there are 1d, 3d, 1w and 1M"
	const number = "the number must be 1 or more, without leading zeros"
	for name, why := range map[string]string{
		"60s": "write 1m", "120s": "write 2m", "3600s": "write 1h", "86400s": "write 1d", "259200s": "write 3d",
		"60m": "write 1h", "120m": "write 2h", "1440m": "write 1d", "10080m": "write 1w",
		"24h": "write 1d", "72h": "write 3d", "168h": "write 1w",

		"7s": "7 must divide 60", "45s": "45 must divide 60", "90s": "90 must divide 60", "61s": "61 must divide 60",
		"7m": "7 must divide 60", "45m": "45 must divide 60", "90m": "90 must divide 60",
		"5h": "5 must divide 24", "9h": "9 must divide 24", "48h": "48 must divide 24", "744h": "744 must divide 24",
		"2147483647h": "2147483647 must divide 24",

		"2d": days, "7d": days, "2w": days, "2M": days, "12M": days, "01d": number,
		"0m": number, "01m": number, "0s": number, "2147483648h": number, "99999999999999999999m": number,

		"": want, "m": want, "1": want, "15": want, "1D": want, "1H": want, "1S": want, "1mo": want, "15 m": want, " 15m": want,
		"15m ": want, "-1m": want, "+1m": want, "1.5m": want, "m1": want, "1y": want, "１m": want, "1ms": want, "1m\n": want,
	} {
		iv, err := ParseInterval(name)
		if err == nil || !strings.HasSuffix(err.Error(), ": "+why) || !strings.HasPrefix(err.Error(), "interval ") {
			t.Errorf("%q: %v, %v; want …%s", name, iv, err, why)
		}
	}
}

func TestExchangeIntervals(t *testing.T) {
	var names []string
	for _, iv := range ExchangeIntervals() {
		names = append(names, iv.String())
		if !iv.OnExchange() {
			t.Errorf("%s is not on the exchange", iv)
		}
	}
	if got, want := strings.Join(names, " "), "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, name := range []string{"1s", "5s", "2m", "10m", "3h"} {
		if iv, err := ParseInterval(name); err != nil || iv.OnExchange() {
			t.Errorf("%s: %v, on the exchange: %v", name, err, iv.OnExchange())
		}
	}
}

// instants draws a Time of the years 1900 to 2200, as often as not near a midnight or a minute.
func instants() *rapid.Generator[Time] {
	from := TimeOf(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC))
	to := TimeOf(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC))
	return rapid.Custom(func(t *rapid.T) Time {
		at := Time(rapid.Int64Range(int64(from), int64(to)).Draw(t, "ms"))
		switch rapid.SampledFrom([]string{"any", "day", "minute"}).Draw(t, "near") {
		case "day":
			at = OneDay.Open(at)
		case "minute":
			at = OneMinute.Open(at)
		default:
			return at
		}
		return at + Time(rapid.Int64Range(-2, 2).Draw(t, "off"))
	})
}

func intervals() *rapid.Generator[Interval] {
	return rapid.Custom(func(t *rapid.T) Interval {
		iv, err := ParseInterval(rapid.SampledFrom(everyInterval).Draw(t, "interval"))
		if err != nil {
			t.Fatal(err)
		}
		return iv
	})
}

// openByCalendar is where the kline of iv that contains at opens, by package time alone.
func openByCalendar(iv Interval, at time.Time) time.Time {
	midnight := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	switch iv {
	case OneMonth:
		return time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
	case OneWeek:
		for midnight.Weekday() != time.Monday {
			midnight = midnight.AddDate(0, 0, -1)
		}
		return midnight
	case ThreeDays:
		anchor := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		days := int(midnight.Sub(anchor) / (24 * time.Hour))
		return midnight.AddDate(0, 0, -((days%3 + 3) % 3))
	}
	length := time.Duration(iv) * time.Millisecond
	return midnight.Add(at.Sub(midnight) / length * length)
}

// nextByCalendar is where the next kline opens.
func nextByCalendar(iv Interval, open time.Time) time.Time {
	if iv == OneMonth {
		return open.AddDate(0, 1, 0)
	}
	return open.Add(time.Duration(iv) * time.Millisecond)
}

func TestCalendar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		iv, at := intervals().Draw(t, "iv"), instants().Draw(t, "at")
		open := openByCalendar(iv, at.Std())
		next := nextByCalendar(iv, open)
		if got := iv.Open(at); got.Std() != open {
			t.Fatalf("%s: %s lies in the kline of %s, want %s", iv, at, got, open)
		}
		if got := iv.Next(at); got.Std() != next {
			t.Fatalf("%s: the kline after %s opens at %s, want %s", iv, at, got, next)
		}
		want := next
		if at.Std() == open {
			want = open
		}
		if got := iv.Ceil(at); got.Std() != want {
			t.Fatalf("%s: the first open from %s on is %s, want %s", iv, at, got, want)
		}
		n := iv.Ordinal(at)
		if got := iv.OpenAt(n); got.Std() != open {
			t.Fatalf("%s: kline %d opens at %s, want %s", iv, n, got, open)
		}
		if iv.Ordinal(iv.OpenAt(n)) != n || iv.Ordinal(iv.OpenAt(n)-1) != n-1 || iv.Ordinal(iv.Next(at)) != n+1 {
			t.Fatalf("%s: ordinals around %d do not follow one another", iv, n)
		}
	})
}

func TestCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		iv, from := intervals().Draw(t, "iv"), instants().Draw(t, "from")
		span := Span{from, from + Time(rapid.Int64Range(-5, 40).Draw(t, "klines"))*Time(iv) + Time(rapid.Int64Range(-2, 2).Draw(t, "off"))}
		var want int64
		for open := iv.Ceil(span.From); open < span.To; open = iv.Next(open) {
			want++
		}
		if got := iv.Count(span); got != want {
			t.Fatalf("%s: %d klines open from %s to %s, want %d", iv, got, span.From, span.To, want)
		}
	})
}

// TestKnownOpens: opens that the exchange's own klines show.
func TestKnownOpens(t *testing.T) {
	at := TimeOf(time.Date(2027, 2, 28, 23, 59, 30, 0, time.UTC))
	for _, iv := range ExchangeIntervals() { // a Monday, a month's first and a 3d anchor at once
		if got := iv.Next(at).String(); got != "2027-03-01T00:00:00.000Z" {
			t.Errorf("%s: %s", iv, got)
		}
	}
	for _, c := range []struct{ interval, at, open string }{
		{"1w", "1970-01-01T00:00:00Z", "1969-12-29T00:00:00Z"},
		{"1w", "2024-01-07T23:59:59.999Z", "2024-01-01T00:00:00Z"},
		{"3d", "2024-01-03T23:59:59.999Z", "2024-01-01T00:00:00Z"},
		{"3d", "2023-12-31T00:00:00Z", "2023-12-29T00:00:00Z"},
		{"1M", "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z"},
		{"1M", "1969-12-31T23:59:59.999Z", "1969-12-01T00:00:00Z"},
		{"1m", "1969-12-31T23:59:59.999Z", "1969-12-31T23:59:00Z"},
	} {
		iv, err := ParseInterval(c.interval)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := iv.Open(TimeOf(at)).Std().Format(time.RFC3339); got != c.open {
			t.Errorf("%s of %s opens at %s, want %s", c.interval, c.at, got, c.open)
		}
	}
}

func TestSpan(t *testing.T) {
	for _, c := range []struct {
		a, b     Span
		overlaps bool
	}{
		{Span{0, 10}, Span{5, 15}, true},
		{Span{0, 10}, Span{10, 20}, false},
		{Span{0, 10}, Span{2, 3}, true},
		{Span{0, 10}, Span{-5, 0}, false},
	} {
		if c.a.Overlaps(c.b) != c.overlaps || c.b.Overlaps(c.a) != c.overlaps {
			t.Errorf("%v and %v", c.a, c.b)
		}
	}
	if !(Span{5, 5}).Empty() || !(Span{6, 5}).Empty() || (Span{5, 6}).Empty() {
		t.Error("Empty")
	}
}

func TestTime(t *testing.T) {
	at := TimeOf(time.Date(2027, 2, 28, 23, 57, 30, 123_999_999, time.UTC))
	if got := at.String(); got != "2027-02-28T23:57:30.123Z" {
		t.Error(got)
	}
	if got := at.Add(1500*time.Millisecond + 999*time.Microsecond); got != at+1500 || got.Sub(at) != 1500*time.Millisecond {
		t.Error(got)
	}
}

// Package market holds the words every other package speaks: Time, Interval, Symbol, Trade, Kline, merge and fold.
package market

import "time"

// Time is an instant on the exchange's clock, in milliseconds since 1970-01-01T00:00:00Z.
type Time int64

// Milliseconds of the units that Times and Intervals are made of.
const (
	Second Time = 1000
	Minute      = 60 * Second
	Hour        = 60 * Minute
	Day         = 24 * Hour
)

// TimeOf is t as a Time, cut to the millisecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Std is t as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add is t + d, cut to the millisecond.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Sub is t − u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Millisecond }

// String is t in RFC 3339 with milliseconds, UTC.
func (t Time) String() string { return t.Std().Format("2006-01-02T15:04:05.000Z") }

// Span is the half-open range of time [From, To).
type Span struct{ From, To Time }

// Empty reports whether s holds no instant.
func (s Span) Empty() bool { return s.To <= s.From }

// Overlaps reports whether s and t share an instant.
func (s Span) Overlaps(t Span) bool { return s.From < t.To && t.From < s.To }

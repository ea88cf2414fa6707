package binance

import (
	"log/slog"
	"time"
)

// limiter lets one log line through in every stretch of time and counts the others. It belongs to one goroutine.
type limiter struct {
	every time.Duration
	next  time.Time
	held  int
}

// allow reports whether a line may be logged now, and how many were not since the last one.
func (l *limiter) allow(now time.Time) (silent int, ok bool) {
	if now.Before(l.next) {
		l.held++
		return 0, false
	}
	silent, l.held, l.next = l.held, 0, now.Add(l.every)
	return silent, true
}

// logOrNone is the part's logger, or one that writes nothing.
func logOrNone(log *slog.Logger, target string) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log.With("target", target)
}

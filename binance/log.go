package binance

import "log/slog"

// logOrNone is the log of a part, or one that writes nothing.
func logOrNone(log *slog.Logger, target string) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log.With("target", target)
}

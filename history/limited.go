package history

import (
	"log/slog"
	"sync"
	"time"
)

// saidEvery is how often the same warning is logged: what ails one symbol is likely to ail the next.
const saidEvery = 30 * time.Second

// limitedLog logs the same warning once in a while, and how often it came in between.
type limitedLog struct {
	*slog.Logger

	mu   sync.Mutex
	last map[string]said // by message
}

type said struct {
	at    time.Time
	again int
}

// Warn logs a message, unless it was logged a short time ago.
func (l *limitedLog) Warn(msg string, args ...any) {
	l.mu.Lock()
	s, now := l.last[msg], time.Now()
	if now.Sub(s.at) < saidEvery {
		s.again++
		l.last[msg] = s
		l.mu.Unlock()
		return
	}
	if l.last == nil {
		l.last = make(map[string]said)
	}
	l.last[msg] = said{at: now}
	l.mu.Unlock()
	if s.again > 0 {
		args = append(args, "times_since", s.again)
	}
	l.Logger.Warn(msg, args...)
}

package health

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// What of the same message is logged.
const (
	repeatsIn   = 30 * time.Second
	repeatsFree = 10
	maxRepeats  = 1000 // messages that are told apart; those beyond are one
)

// repeated is what makes two lines the same.
type repeated struct{ target, message string }

// repeat is one message in the stretch of time that began with a line of it.
type repeat struct {
	began time.Time
	lines int
	out   slog.Handler // of the last line that was held back, which is held
	held  slog.Record
}

// repeats are the messages of the last time. A message owns at most one line that is held back.
type repeats struct {
	mu     sync.Mutex
	seen   map[repeated]*repeat
	pruned time.Time // when what is over was forgotten
}

// full reports whether there is no room for another message.
func (s *repeats) full(now time.Time) bool {
	if len(s.seen) >= maxRepeats && now.Sub(s.pruned) >= repeatsIn {
		s.pruned = now
		maps.DeleteFunc(s.seen, func(_ repeated, m *repeat) bool { return now.Sub(m.began) >= repeatsIn && m.lines <= repeatsFree })
	}
	return len(s.seen) >= maxRepeats
}

// admit reports whether a line may be logged now. One that may not is logged, or counted, when its stretch of time ends.
func (s *repeats) admit(h *logHandler, r *slog.Record) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	key := repeated{h.target, r.Message}
	m := s.seen[key]
	if m == nil && s.full(now) {
		key = repeated{h.target, ""}
		m = s.seen[key]
	}
	if m == nil || now.Sub(m.began) >= repeatsIn && m.lines <= repeatsFree {
		m = &repeat{began: now}
		s.seen[key] = m
	}
	m.lines++
	if m.lines <= repeatsFree {
		return true
	}
	if m.lines == repeatsFree+1 {
		time.AfterFunc(m.began.Add(repeatsIn).Sub(now), func() { s.end(key) })
	}
	m.out, m.held = h.out, r.Clone()
	return false
}

// end ends a message's stretch of time, and logs the last line that was held back with how many were.
func (s *repeats) end(key repeated) {
	s.mu.Lock()
	m := s.seen[key]
	delete(s.seen, key)
	s.mu.Unlock()
	if n := m.lines - repeatsFree - 1; n > 0 {
		m.held.AddAttrs(slog.Int("suppressed", n))
	}
	_ = m.out.Handle(context.Background(), m.held)
}

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

// repeated is what makes two lines the same. What they are about is the value of component or conn, for the same said of another one
// is news.
type repeated struct {
	target  string
	level   slog.Level
	message string
	about   string
}

// repeatedOf is a line's.
func repeatedOf(h *logHandler, r *slog.Record) repeated {
	key := repeated{target: h.target, level: r.Level, message: r.Message}
	names := func(a slog.Attr) bool {
		if a.Key == "component" || a.Key == "conn" {
			key.about = a.Value.String()
		}
		return key.about == ""
	}
	r.Attrs(names)
	for _, a := range h.attrs {
		if !names(a) {
			break
		}
	}
	return key
}

// repeat is one message in the stretch of time that began with a line of it.
type repeat struct {
	began time.Time
	lines int
	out   slog.Handler // of the last line that was held back, which is held
	held  slog.Record
	timer *time.Timer // ends the stretch; nil where nothing is held
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

// admit reports whether a line may be logged now: an error always, and what only who debugs asks for. One that may not is logged, or
// counted, when its stretch of time ends.
func (s *repeats) admit(h *logHandler, r *slog.Record) bool {
	if r.Level >= slog.LevelError || r.Level < slog.LevelInfo {
		return true
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	key := repeatedOf(h, r)
	m := s.seen[key]
	if m == nil && s.full(now) {
		key = repeated{target: h.target, level: r.Level}
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
		m.timer = time.AfterFunc(m.began.Add(repeatsIn).Sub(now), func() { s.end(key, m) })
	}
	m.out, m.held = h.out, r.Clone()
	return false
}

// end ends a message's stretch of time, and logs the last line that was held back with how many were.
func (s *repeats) end(key repeated, m *repeat) {
	s.mu.Lock()
	here := s.seen[key] == m
	if here {
		delete(s.seen, key)
	}
	s.mu.Unlock()
	if !here { // flush was first
		return
	}
	m.timer.Stop()
	if n := m.lines - repeatsFree - 1; n > 0 {
		m.held.AddAttrs(slog.Int("suppressed", n))
	}
	_ = m.out.Handle(context.Background(), m.held)
}

// flush ends every stretch of time in which something is held back.
func (s *repeats) flush() {
	s.mu.Lock()
	held := maps.Clone(s.seen)
	maps.DeleteFunc(held, func(_ repeated, m *repeat) bool { return m.timer == nil })
	s.mu.Unlock()
	for key, m := range held {
		s.end(key, m)
	}
}

package store

import (
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// stuckAfter is how long the writer may wait for the disk to take something before it is called stuck.
const stuckAfter = 10 * time.Second

// stuckSays is how often it says so from then on.
const stuckSays = 5 * time.Second

// The least free room of the store's file system, whichever is less. Below it the disk is nearly full.
const (
	leastFree  = 1 << 30 // bytes
	leastShare = 50      // of which one part
)

// atDisk notes that the writer has begun a transaction; the function that it returns notes its end. What takes too long is
// a state and in the log while it lasts, for nobody else waits for it: klines are served from memory.
func (s *Store) atDisk() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.atDisk = time.Now()
	overdue := time.AfterFunc(stuckAfter, s.overdue)
	s.stats.overdue = overdue
	return func() {
		overdue.Stop()
		s.goes(time.Time{})
	}
}

// moved notes that the disk has taken a part of the transaction: it is slow, not stuck.
func (s *Store) moved() {
	s.goes(time.Now())
	s.stats.overdue.Reset(stuckAfter)
	s.report()
}

// goes notes that the disk has taken something, and since when the writer waits for it to take more: zero where it does not.
func (s *Store) goes(since time.Time) {
	s.mu.Lock()
	defer s.unlock()
	if s.stats.stuck {
		s.note(slog.LevelInfo, "the disk goes again", "after", time.Since(s.stats.atDisk).Round(time.Millisecond))
	}
	s.stats.atDisk, s.stats.stuck = since, false
}

// overdue is called when the disk has taken nothing for too long.
func (s *Store) overdue() {
	s.mu.Lock()
	defer s.unlock()
	if s.stats.atDisk.IsZero() || time.Since(s.stats.atDisk) < stuckAfter {
		return
	}
	if !s.stats.stuck {
		s.note(slog.LevelError, "the disk is stuck: klines are kept in memory until it goes again", "rows", s.waiting())
	}
	s.stats.stuck = true
	s.alive.Fail(s.stats.state()) // it waits for the outside, which is no silence while it says so
	s.stats.overdue.Reset(stuckSays)
}

// report tells the watchdog how the writer is: once a turn, and it turns every repairsEvery at least, and while a commit goes on. What
// the disk refuses makes no silence.
func (s *Store) report() {
	s.mu.Lock()
	state := s.stats.state()
	s.mu.Unlock()
	if state == StateOK {
		s.alive.Beat()
	} else {
		s.alive.Fail(state)
	}
}

// state is StateOK, or what is wrong with writing.
func (st *stats) state() string {
	switch {
	case st.stuck:
		return "stuck: has taken nothing for " + time.Since(st.atDisk).Round(time.Second).String()
	case st.writeErr != nil:
		return st.writeErr.Error()
	}
	return StateOK
}

// room is how much of a directory's file system is free, and its size, in bytes.
func room(dir string) (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("cannot ask for the room of %s: %w", dir, err)
	}
	return bytesOf(st.Bavail, st.Bsize), bytesOf(st.Blocks, st.Bsize), nil
}

// bytesOf is how much blocks are. Their size is of one type on Linux and of another on macOS.
func bytesOf[T int64 | uint32](blocks uint64, size T) int64 { return int64(blocks) * int64(size) }

// roomState is StateOK, or that the disk is nearly full.
func roomState(free, size int64, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case free < min(leastFree, size/leastShare):
		return fmt.Sprintf("nearly full: %d MB of %d MB are free", free>>20, size>>20)
	}
	return StateOK
}

// waitForDisk says in the log that Close waits for a stuck disk; the function that it returns ends that.
func (s *Store) waitForDisk() (stop func() bool) {
	return time.AfterFunc(stuckAfter, func() { s.opts.Log.Error("closing waits for the disk") }).Stop
}

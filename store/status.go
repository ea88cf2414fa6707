package store

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"klined/health"
)

// stats is what Status tells, guarded by Store.mu.
type stats struct {
	rows          uint64
	refused       uint64
	lastRefused   string
	refusalLogged time.Time
	dropped, lost uint64
	lastCommit    time.Time
	commitTook    time.Duration
	writeErr      error       // of the last commit
	atDisk        time.Time   // when the writer came there, or the disk last took something from it; zero while it is not there
	overdue       *time.Timer // until that is too long ago; the writer's
	stuck         bool        // it is
}

// committed notes how a commit went. Of errors in a row the first is logged, and the end of it.
func (s *Store) committed(rows int64, began time.Time, took time.Duration, err error) {
	st := &s.stats
	switch {
	case err != nil && st.writeErr == nil:
		s.note(slog.LevelError, "cannot write, klines are kept in memory until it goes again", "error", err)
	case err == nil && st.writeErr != nil:
		s.note(slog.LevelInfo, "writing goes again", "rows", rows)
	}
	st.writeErr = err
	if err == nil {
		st.rows += uint64(rows)
		st.lastCommit, st.commitTook = began.Add(took), took
		if rows > 0 {
			s.note(slog.LevelDebug, "committed", "rows", rows, "took", took.Round(time.Microsecond))
		}
	}
}

// note leaves a line for the log.
func (s *Store) note(level slog.Level, msg string, args ...any) {
	s.notes = append(s.notes, func() { s.opts.Log.Log(context.Background(), level, msg, args...) })
}

// unlock releases Store.mu, then logs what was noted under it: the log may block.
func (s *Store) unlock() {
	notes := s.notes
	s.notes = nil
	s.mu.Unlock()
	for _, log := range notes {
		log()
	}
}

// StateOK is Status.State while the disk takes what is written, and Status.Disk while it has room.
const StateOK = "ok"

// Status is the store's standing.
type Status struct {
	State        string        `json:"state"`       // StateOK, or why the last commit failed, or that it does not end
	Disk         string        `json:"disk"`        // StateOK, or that it is nearly full
	FreeBytes    int64         `json:"free_bytes"`  // of the disk
	Rows         uint64        `json:"rows"`        // written since the start: new, or better than before
	OutboxRows   int           `json:"outbox_rows"` // wait for a commit
	LastCommit   health.Moment `json:"last_commit"`
	CommitMillis float64       `json:"commit_ms"`     // how long it took
	RefusedRows  uint64        `json:"refused_rows"`  // could not be kept exactly
	LastRefused  string        `json:"last_refused"`  // which, and why; empty where none was
	DroppedRows  uint64        `json:"dropped_rows"`  // left a full outbox unwritten
	LostRows     uint64        `json:"lost_rows"`     // those of them that the exchange does not have: below a minute
	Holes        int           `json:"holes"`         // spans of such rows, and of those that lack trades, that nothing has filled
	FileBytes    int64         `json:"file_bytes"`    // database and its log
	WindowSeries int           `json:"window_series"` // in memory, for clients
	WindowBytes  int64         `json:"window_bytes"`  // of them
}

// Status tells the store's standing.
func (s *Store) Status() Status {
	var size int64
	for _, name := range []string{databaseFile, databaseFile + "-wal"} {
		if info, err := os.Stat(filepath.Join(s.opts.Dir, name)); err == nil {
			size += info.Size()
		}
	}
	free, whole, err := s.room(s.opts.Dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{
		State: s.stats.state(), Disk: roomState(free, whole, err), FreeBytes: free, Rows: s.stats.rows, OutboxRows: s.waiting(),
		LastCommit: health.Moment{Time: s.stats.lastCommit}, CommitMillis: float64(s.stats.commitTook.Microseconds()) / 1000,
		RefusedRows: s.stats.refused, LastRefused: s.stats.lastRefused,
		DroppedRows: s.stats.dropped, LostRows: s.stats.lost, FileBytes: size,
		WindowSeries: len(s.window.of), WindowBytes: s.window.bytes,
	}
	for _, holes := range s.complete.holes.of {
		status.Holes += len(holes)
	}
	return status
}

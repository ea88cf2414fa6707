package store

// The write-ahead log is copied back into the database once it has so many pages. The database does it by itself, within a
// commit, only where the writer does not come to it.
const (
	checkpointPages = 4000 // 16 MB
	checkpointMost  = 4 * checkpointPages
)

// checkpoint copies the log back where it has grown: after a commit, when its rows are durable and nobody waits for it. One
// that fails is tried again after the next.
func (s *Store) checkpoint() {
	defer s.atDisk()()
	s.mu.Lock()
	most := s.logPages
	s.mu.Unlock()
	var busy, pages, copied int
	run := func(mode string) error {
		return s.db.QueryRow("PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &pages, &copied)
	}
	if err := run("NOOP"); err == nil && pages-copied >= most {
		_ = run("PASSIVE")
	}
}

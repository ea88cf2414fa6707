package store

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"klined/market"
)

// schemaRepair is what another process has found wrong: the klines there are to be fetched again.
const schemaRepair = `
CREATE TABLE repair (
	symbol    INTEGER NOT NULL,
	interval  TEXT    NOT NULL,
	from_time INTEGER NOT NULL,
	to_time   INTEGER NOT NULL
) STRICT;
`

// repairsEvery is how often the writer looks for what others have found wrong.
const repairsEvery = 5 * time.Second

// Repair says that the stored klines of the ranges are wrong. It may be called beside the process that has the store
// open: that one takes it in within seconds, or the next one that opens it. From then on they are holes, kept with the mark
// until the exchange's own come.
func Repair(dir string, ranges []market.Range) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("store %s: cannot note what is to be repaired: %w", dir, err)
		}
	}()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, databaseFile), "rw", "busy_timeout(10000)", "synchronous(FULL)"))
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, r := range ranges {
		if _, err := tx.Exec("INSERT INTO repair (symbol, interval, from_time, to_time) VALUES (?,?,?,?)",
			r.Symbol, r.Interval.String(), r.From, r.To); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// takeRepairs makes holes of what others have found wrong, and puts the mark on the klines there.
func takeRepairs(tx *sql.Tx, holes *spanTable) (n int, err error) {
	wrong := make(map[market.Series]spans)
	if err := loadSpans(tx, "repair", wrong); err != nil || len(wrong) == 0 {
		return 0, err
	}
	for series, ss := range wrong {
		for _, s := range ss {
			holes.add(series, s)
			n++
			_, err := tx.Exec("UPDATE "+tableOf(series.Interval)+" SET state = ?, gap = 1 WHERE symbol = ? AND open_time >= ? AND open_time < ?",
				int64(market.StateClosed), series.Symbol, s.From, s.To)
			if err != nil {
				return 0, err
			}
		}
	}
	_, err = tx.Exec("DELETE FROM repair")
	return n, err
}

// repairs takes in what others have found wrong since the last look. It is the writer's.
func (s *Store) repairs() {
	n, err := s.absorb()
	s.mu.Lock()
	defer s.unlock()
	switch {
	case err != nil:
		s.note(slog.LevelWarn, "cannot take in what is to be repaired", "error", err)
	case n > 0:
		s.note(slog.LevelInfo, "klines are to be fetched again", "spans", n)
	}
}

func (s *Store) absorb() (n int, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }()
	holes := newSpanTable()
	if n, err = takeRepairs(tx, &holes); err != nil || n == 0 {
		return 0, err
	}
	s.mu.Lock()
	for series, ss := range holes.of {
		for _, span := range ss {
			s.complete.holes.add(series, span)
		}
	}
	f := facts{holes: s.complete.holes.takeDirty()}
	s.mu.Unlock()
	if err = writeFacts(tx, &f); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		s.mu.Lock()
		s.complete.holes.putBack(f.holes)
		s.mu.Unlock()
		return 0, err
	}
	return n, nil
}

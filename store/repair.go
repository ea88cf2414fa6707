package store

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"klined/market"
)

// schemaRepair is what another process has found wrong: the klines there are to be fetched again, or deleted.
const schemaRepair = `
CREATE TABLE repair (
	symbol    INTEGER NOT NULL,
	interval  TEXT    NOT NULL,
	from_time INTEGER NOT NULL,
	to_time   INTEGER NOT NULL,
	extra     INTEGER NOT NULL
) STRICT;
`

// repairsEvery is how often the writer looks for what others have found wrong.
const repairsEvery = 5 * time.Second

// Repair says that the stored klines of the wrong ranges are wrong, and that the exchange has none of the extra ones. It may
// be called beside the process that has the store open: that one takes it in within seconds, or the next one that opens
// it. From then on they are holes: wrong ones stay with the mark until the exchange's own come, extra ones go.
func Repair(dir string, wrong, extra []market.Range) (err error) {
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
	for i, r := range append(wrong[:len(wrong):len(wrong)], extra...) {
		if _, err := tx.Exec("INSERT INTO repair (symbol, interval, from_time, to_time, extra) VALUES (?,?,?,?,?)",
			r.Symbol, r.Interval.String(), r.From, r.To, i >= len(wrong)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// takeRepairs makes holes of what others have found wrong, and puts the mark on the klines there, or deletes them.
func takeRepairs(tx *sql.Tx) (holes []market.Range, err error) {
	for _, extra := range []bool{false, true} {
		found := make(map[market.Series]spans)
		if err := loadSpans(tx, fmt.Sprintf("repair WHERE extra = %t", extra), found); err != nil {
			return nil, err
		}
		for series, ss := range found {
			for _, span := range ss {
				r := market.Range{Series: series, Span: span}
				if err := makeHole(tx, r, extra); err != nil {
					return nil, err
				}
				holes = append(holes, r)
			}
		}
	}
	if len(holes) > 0 {
		_, err = tx.Exec("DELETE FROM repair")
	}
	return holes, err
}

// makeHole writes a hole, and lets its rows yield to whatever comes, or deletes them.
func makeHole(tx *sql.Tx, r market.Range, extra bool) error {
	if extra {
		_, err := tx.Exec("DELETE FROM "+tableOf(r.Interval)+" WHERE symbol = ? AND open_time >= ? AND open_time < ?", r.Symbol, r.From, r.To)
		if err != nil {
			return err
		}
	} else if err := demote(tx, r); err != nil {
		return err
	}
	_, err := tx.Exec("INSERT INTO hole (symbol, interval, from_time, to_time) VALUES (?,?,?,?) "+
		"ON CONFLICT DO UPDATE SET to_time = max(to_time, excluded.to_time)", r.Symbol, r.Interval.String(), r.From, r.To)
	return err
}

// demote puts the mark on the rows of a range, settled or not: they yield to the exchange's own.
func demote(tx *sql.Tx, r market.Range) error {
	_, err := tx.Exec("UPDATE "+tableOf(r.Interval)+" SET state = ?, gap = 1 WHERE symbol = ? AND open_time >= ? AND open_time < ?",
		int64(market.StateClosed), r.Symbol, r.From, r.To)
	return err
}

// repairs takes in what others have found wrong since the last look. It is the writer's.
func (s *Store) repairs() {
	done := s.atDisk()
	holes, err := s.absorb()
	done()
	s.mu.Lock()
	defer s.unlock()
	for _, r := range holes {
		s.complete.holes.add(r.Series, r.Span)
		s.window.forget(r.Series)
	}
	switch {
	case err != nil:
		s.note(slog.LevelWarn, "cannot take in what is to be repaired", "error", err)
	case len(holes) > 0:
		s.note(slog.LevelInfo, "klines are to be fetched again", "spans", len(holes))
	}
}

func (s *Store) absorb() ([]market.Range, error) {
	tx, err := s.db.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	holes, err := takeRepairs(tx)
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return nil, err
	}
	return holes, nil
}

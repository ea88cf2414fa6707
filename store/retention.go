package store

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"klined/market"
)

// How what is too old is cut off: hourly by the exchange's time, in transactions so small that a commit does not wait
// long behind one.
const (
	cutEvery   = market.Hour
	rowsPerCut = 4000
	cutPause   = 50 * time.Millisecond // between two of them: others want the disk, too
	cutAgain   = 5 * time.Second       // after a failure
)

// retention is since when klines are kept. The exchange's time is the highest watermark that a lane has handed on: no
// clock that is wrong can have anything cut off.
type retention struct {
	of    map[market.Interval]time.Duration // how long; absent: for ever. Never changes
	from  map[market.Interval]market.Time   // what opens before it is not known, nor kept; never moves back
	now   market.Time                       // the exchange's time; 0 until a lane has handed on something
	cutAt market.Time                       // now, when from was moved last
}

// due reports whether it is time to cut.
func (r *retention) due() bool { return len(r.of) > 0 && r.now >= r.cutAt+cutEvery }

// advance moves from to where it should be now.
func (r *retention) advance() {
	r.cutAt = r.now
	for iv, d := range r.of {
		if from := iv.Open(r.now.Add(-d)); r.now > 0 && from > r.from[iv] {
			r.from[iv] = from
		}
	}
}

// gone is what of s, a span of klines of iv, is not kept any more.
func (r *retention) gone(iv market.Interval, s market.Span) market.Span {
	return market.Span{From: s.From, To: min(s.To, r.from[iv])}
}

// loadRetention reads since when klines are kept, and the exchange's time when the process before ended.
func loadRetention(tx *sql.Tx, of map[market.Interval]time.Duration) (retention, error) {
	r := retention{of: of, from: make(map[market.Interval]market.Time)}
	if err := loadKept(tx, r.from); err != nil {
		return r, err
	}
	return r, tx.QueryRow("SELECT coalesce(max(up_to), 0) FROM lane").Scan(&r.now)
}

func loadKept(tx *sql.Tx, into map[market.Interval]market.Time) error {
	return each(tx, "SELECT interval, from_time FROM kept", func(scan func(...any) error) error {
		var name string
		var from market.Time
		err := scan(&name, &from)
		if err != nil {
			return err
		}
		iv, err := market.ParseInterval(name)
		into[iv] = from
		return err
	})
}

// retain has c and the disk forget what r does not keep, or what it did not keep when it was written; from now on r holds.
// So klines that are to be kept for longer than before are missing until they are fetched.
func (c *completeness) retain(tx *sql.Tx, r retention) error {
	c.retention = r
	c.forget(func(s market.Span) market.Time { return s.From })
	clear(c.retention.from)
	c.retention.advance()
	c.forget(func(s market.Span) market.Time { return s.From })
	f := c.take()
	if err := writeFacts(tx, &f); err != nil {
		return err
	}
	if _, err := tx.Exec("DELETE FROM kept"); err != nil {
		return err
	}
	for iv, from := range c.retention.from {
		if err := writeKept(tx, iv, from); err != nil {
			return err
		}
	}
	return nil
}

func writeKept(tx *sql.Tx, iv market.Interval, from market.Time) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO kept (interval, from_time) VALUES (?,?)", iv.String(), from)
	return err
}

// forget drops what is known, and holes, of the series whose first span has an edge before what is kept. What is dropped
// is not known by retention either.
func (c *completeness) forget(edge func(market.Span) market.Time) {
	for _, table := range []*spanTable{&c.known, &c.holes} {
		for series, ss := range table.of {
			if from := c.retention.from[series.Interval]; edge(ss[0]) < from {
				table.remove(series, market.Span{From: ss[0].From, To: from})
			}
		}
	}
}

// keeping leaves out of what was read of span that which is not kept any more: its rows may have gone while they were read.
func (s *Store) keeping(iv market.Interval, span market.Span, rows []market.Kline, missing spans) ([]market.Kline, spans) {
	s.mu.Lock()
	gone := s.complete.retention.gone(iv, market.Span{From: iv.Ceil(span.From), To: iv.Ceil(span.To)})
	s.mu.Unlock()
	if gone.Empty() {
		return rows, missing
	}
	first, _ := market.Search(rows, gone.To)
	return rows[first:], missing.add(gone)
}

// Kept is since when klines of iv are kept: Read calls missing what is older, whoever brings it. 0: all are kept.
func (s *Store) Kept(iv market.Interval) market.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.complete.retention.from[iv]
}

// cut is the deletion of what is not kept any more, under way. It is the writer's.
type cut struct {
	left   []keptFrom
	rows   int64 // deleted so far
	began  time.Time
	failed bool // the last step
}

// keptFrom is an interval whose klines before a time are to be deleted.
type keptFrom struct {
	interval market.Interval
	from     market.Time
}

// beginCut moves what is kept in memory, first of all, and says what is to be deleted.
func (s *Store) beginCut() cut {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.complete.retention.due() {
		s.complete.retention.advance()
		s.complete.forget(func(s market.Span) market.Time { return s.To - 1 })
	}
	c := cut{began: time.Now()}
	for _, iv := range s.opts.Intervals {
		if from := s.complete.retention.from[iv]; from > 0 {
			c.left = append(c.left, keptFrom{iv, from})
		}
	}
	return c
}

// step deletes a part of what is left, and says when the next is due: nil where nothing is left.
func (s *Store) step(c *cut) <-chan time.Time {
	if len(c.left) == 0 {
		return nil
	}
	s.mu.Lock()
	most := s.cutRows
	s.mu.Unlock()
	done := s.atDisk()
	n, all, err := s.deleteSome(c.left[0], most)
	done()
	s.checkpoint()
	s.mu.Lock()
	defer s.unlock()
	if err != nil {
		if !c.failed {
			s.note(slog.LevelWarn, "cannot delete klines that are older than is kept", "interval", c.left[0].interval, "error", err)
		}
		c.failed = true
		return time.After(cutAgain)
	}
	c.rows, c.failed = c.rows+n, false
	if all {
		c.left = c.left[1:]
	}
	if len(c.left) > 0 {
		return time.After(cutPause)
	}
	if c.rows > 0 {
		s.note(slog.LevelInfo, "deleted klines that are older than is kept", "rows", c.rows, "took", time.Since(c.began).Round(time.Millisecond))
	}
	return nil
}

// deleteSome deletes at least so many of an interval's rows that are not kept, the oldest first, up to the end of an open
// time; all says that no others are left. The record of what is kept goes with them.
func (s *Store) deleteSome(k keptFrom, most int) (n int64, all bool, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = tx.Rollback() }()
	if err = writeKept(tx, k.interval, k.from); err != nil {
		return 0, false, err
	}
	table, last := tableOf(k.interval), k.from-1
	err = tx.QueryRow("SELECT open_time FROM "+table+" WHERE open_time < ? ORDER BY open_time LIMIT 1 OFFSET ?", k.from, most).Scan(&last)
	if all = errors.Is(err, sql.ErrNoRows); err != nil && !all {
		return 0, false, fmt.Errorf("%s: %w", table, err)
	}
	result, err := tx.Exec("DELETE FROM "+table+" WHERE open_time <= ?", last)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", table, err)
	}
	if n, err = result.RowsAffected(); err != nil {
		return 0, false, err
	}
	return n, all, tx.Commit()
}

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"klined/market"
)

// rowsPerStatement is how many rows one INSERT carries: enough that the call's own price vanishes.
const rowsPerStatement = 32

// upserts are the prepared statements of one kline table: of fresh rows, and of any.
type upserts struct{ fresh, any rowStatements }

// rowStatements write one row, and rowsPerStatement.
type rowStatements struct{ one, many *sql.Stmt }

func prepareUpserts(db *sql.DB, iv market.Interval, source market.Source) (u upserts, err error) {
	for _, p := range []struct {
		to    **sql.Stmt
		rows  int
		fresh bool
	}{{&u.fresh.one, 1, true}, {&u.fresh.many, rowsPerStatement, true}, {&u.any.one, 1, false}, {&u.any.many, rowsPerStatement, false}} {
		if *p.to, err = db.Prepare(upsert(iv, p.rows, source, p.fresh)); err != nil {
			return u, err
		}
	}
	return u, nil
}

// write is the writer: it commits CommitEvery after the first kline came, at once when many wait, and after an error
// again with back-off. Between commits it deletes what is not kept any more, and takes in what others have found wrong. It
// ends at stop, after a last commit.
func (s *Store) write() {
	defer close(s.ended)
	var due <-chan time.Time // nil: nothing waits
	cut := s.beginCut()      // of what the process before left
	cutting := time.After(0) // nil: nothing is to be deleted
	repairs := time.NewTicker(repairsEvery)
	defer repairs.Stop()
	failures := 0
	for stopped := false; !stopped; {
		s.report()
		var reply chan error
		select {
		case <-s.stop:
			stopped = true
		case reply = <-s.flush:
		case <-due:
		case <-cutting:
			cutting = s.step(&cut)
			continue
		case <-repairs.C:
			s.repairs()
			continue
		case <-s.wake:
			if failures > 0 || !s.many() {
				if due == nil {
					due = time.After(s.opts.CommitEvery)
				}
				continue
			}
		}
		err := s.commit()
		if err == nil {
			due, failures = nil, 0
			if cutting == nil && s.cutDue() {
				cut, cutting = s.beginCut(), time.After(0)
			}
		} else {
			failures++
			due = time.After(backoff(failures))
		}
		if reply != nil {
			reply <- err
		}
		s.checkpoint()
	}
}

// backoff is how long to wait after the n-th failure in a row: 0.2, 0.4, … 5 s.
func backoff(n int) time.Duration {
	return min(100*time.Millisecond<<min(n, 10), 5*time.Second)
}

func (s *Store) cutDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.complete.retention.due()
}

func (s *Store) many() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending.n >= manyRows
}

// Flush returns when all that was put before is on disk, or with the reason why it is not; it is then still in the
// outbox.
func (s *Store) Flush(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case s.flush <- reply:
	case <-s.ended:
		return fmt.Errorf("store %s: closed", s.opts.Dir)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit writes the whole outbox and what it changes in completeness, in one transaction. Where that fails all of it
// is back in the outbox.
func (s *Store) commit() error {
	s.mu.Lock()
	batch, f := s.pending, s.complete.take()
	f.differ, s.differ = s.differ, nil
	f.dropped, s.dropped = s.dropped, make(map[market.Series]spans)
	s.pending, s.inFlight = newOutbox(), batch
	s.mu.Unlock()

	began := time.Now()
	var written int64
	var err error
	if batch.n > 0 || !f.empty() {
		done := s.atDisk()
		written, err = s.writeBatch(batch, &f)
		done()
	}
	took := time.Since(began)

	s.mu.Lock()
	defer s.unlock()
	s.inFlight = nil
	close(s.committing)
	s.committing = make(chan struct{})
	if err != nil {
		batch.absorb(s.pending)
		s.pending = batch
		s.complete.putBack(f)
		s.differ = newestOf(append(f.differ, s.differ...))
		for series, ss := range f.dropped {
			for _, span := range ss {
				s.dropped[series] = s.dropped[series].add(span)
			}
		}
	}
	for series := range f.dropped { // what the disk had of it has the mark, or is back in the outbox
		s.window.forget(series)
	}
	s.dropOverflow()
	s.committed(written, began, took, err)
	s.opts.Metrics.StoreOutboxRows.Set(float64(s.waiting()))
	if err == nil && (batch.n > 0 || !f.empty()) {
		s.opts.Metrics.StoreRows.Add(float64(written))
		s.opts.Metrics.StoreCommit.Observe(took.Seconds())
	}
	return err
}

// writeBatch writes rows and facts in one transaction; it returns how many rows are new or better than before.
func (s *Store) writeBatch(batch *outbox, f *facts) (written int64, err error) {
	tx, err := s.db.Begin()
	if err != nil {
		return 0, fmt.Errorf("cannot begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	for series, ss := range f.dropped {
		for _, span := range ss {
			if err := demote(tx, market.Range{Series: series, Span: span}); err != nil {
				return 0, fmt.Errorf("cannot mark what was dropped: %w", err)
			}
		}
	}
	for _, iv := range s.opts.Intervals {
		n, err := s.writeRows(tx, iv, batch)
		if err != nil {
			return 0, fmt.Errorf("cannot write %s: %w", tableOf(iv), err)
		}
		written += n
	}
	if err := writeFacts(tx, f); err != nil {
		return 0, fmt.Errorf("cannot write completeness: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("cannot commit: %w", err)
	}
	return written, nil
}

// keyed is a row on its way into a table.
type keyed struct {
	symbol market.SymbolID
	*held
}

// writeRows writes the batch's rows of iv.
func (s *Store) writeRows(tx *sql.Tx, iv market.Interval, batch *outbox) (written int64, err error) {
	var fresh, others []keyed
	for series, waiting := range batch.rows {
		if series.Interval != iv {
			continue
		}
		for i := range waiting {
			if row := (keyed{series.Symbol, &waiting[i]}); row.fresh() {
				fresh = append(fresh, row)
			} else {
				others = append(others, row)
			}
		}
	}
	if written, err = s.writeInOrder(tx, s.upserts[iv].fresh, fresh, true); err != nil {
		return written, err
	}
	more, err := s.writeInOrder(tx, s.upserts[iv].any, others, false)
	return written + more, err
}

// writeInOrder writes rows of one table in the order of its key.
func (s *Store) writeInOrder(tx *sql.Tx, prepared rowStatements, rows []keyed, fresh bool) (written int64, err error) {
	slices.SortFunc(rows, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.OpenTime, b.OpenTime), cmp.Compare(a.symbol, b.symbol))
	})
	one, many := tx.Stmt(prepared.one), tx.Stmt(prepared.many)
	args := make([]any, 0, rowsPerStatement*len(columns))
	for len(rows) > 0 {
		stmt, n := one, 1
		if len(rows) >= rowsPerStatement {
			stmt, n = many, rowsPerStatement
		}
		args = args[:0]
		for _, row := range rows[:n] {
			if args, err = appendRow(args, row.symbol, row.held, fresh); err != nil {
				return written, err
			}
		}
		result, err := stmt.Exec(args...)
		if err != nil {
			return written, err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return written, err
		}
		written, rows = written+changed, rows[n:]
		s.moved()
	}
	return written, nil
}

// writeFacts brings what the disk says of completeness to f.
func writeFacts(tx *sql.Tx, f *facts) error {
	if err := writeSpans(tx, "known", f.known); err != nil {
		return err
	}
	if err := writeSpans(tx, "hole", f.holes); err != nil {
		return err
	}
	for symbol, s := range f.live {
		query, args := "DELETE FROM live WHERE symbol = ?", []any{symbol}
		if s != nil {
			query, args = "INSERT OR REPLACE INTO live (symbol, lane, from_time) VALUES (?,?,?)", []any{symbol, s.lane, s.from}
		}
		if _, err := tx.Exec(query, args...); err != nil {
			return err
		}
	}
	for lane, upTo := range f.lanes {
		if _, err := tx.Exec("INSERT OR REPLACE INTO lane (lane, up_to) VALUES (?,?)", lane, upTo); err != nil {
			return err
		}
	}
	return writeSettled(tx, f)
}

// writeSpans replaces the spans of each of the series.
func writeSpans(tx *sql.Tx, table string, of map[market.Series]spans) error {
	if len(of) == 0 {
		return nil
	}
	drop, err := tx.Prepare("DELETE FROM " + table + " WHERE symbol = ? AND interval = ?")
	if err != nil {
		return err
	}
	defer drop.Close()
	insert, err := tx.Prepare("INSERT INTO " + table + " (symbol, interval, from_time, to_time) VALUES (?,?,?,?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for series, ss := range of {
		if _, err := drop.Exec(series.Symbol, series.Interval.String()); err != nil {
			return err
		}
		for _, s := range ss {
			if _, err := insert.Exec(series.Symbol, series.Interval.String(), s.From, s.To); err != nil {
				return err
			}
		}
	}
	return nil
}

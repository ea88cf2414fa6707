package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"klined/market"
)

// readConnections is how many reads run at once; more wait.
const readConnections = 4

// rowsPerQuery is how many klines one query looks up. Each lies in a page of its own: where they are not in memory, several
// queries wait for the disk at once, and otherwise they share the processors.
const rowsPerQuery = 400

// openReaders opens the connections of Read and prepares its query for each interval: one lookup by key for each open
// time asked for. A range would pass over every symbol's rows.
func (s *Store) openReaders(path string) (err error) {
	s.readers, err = sql.Open("sqlite", dsn(path, "ro", "busy_timeout(5000)", "query_only(1)", "cache_size(-8000)"))
	if err != nil {
		return err
	}
	s.readers.SetMaxOpenConns(readConnections)
	s.readers.SetMaxIdleConns(readConnections)
	for _, iv := range s.opts.Intervals {
		s.readRows[iv], err = s.readers.Prepare("SELECT " + selected + " FROM json_each(?) AS asked " +
			"CROSS JOIN " + tableOf(iv) + " AS k ON k.open_time = asked.value AND k.symbol = ?")
		if err != nil {
			return err
		}
	}
	return nil
}

// Read gives the stored klines of series that open within span, oldest first, and the parts of span, in whole klines,
// that are not known to be complete: the store may hold rows there, or none, or old versions. What was put counts from
// then on, committed or not. Klines that have not ended yet are missing, and those that are older than is kept.
func (s *Store) Read(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	if _, kept := s.readRows[series.Interval]; !kept {
		return nil, nil, fmt.Errorf("store %s: interval %s is not kept", s.opts.Dir, series.Interval)
	}
	if span.Empty() {
		return nil, nil, nil
	}
	// Memory first: a row that is committed meanwhile is then seen twice, never not at all.
	s.mu.Lock()
	var older, newer []market.Kline
	if s.inFlight != nil {
		older = s.inFlight.within(nil, series, span)
	}
	newer = s.pending.within(nil, series, span)
	missing = s.complete.missing(series, span)
	s.mu.Unlock()

	if rows, err = s.readDisk(ctx, series, span); err != nil {
		return nil, nil, fmt.Errorf("store %s: cannot read %s: %w", s.opts.Dir, tableOf(series.Interval), err)
	}
	rows, missing = s.keeping(series.Interval, span, overlay(overlay(rows, older), newer), missing)
	return rows, missing, nil
}

// readDisk reads the rows of series that open within span.
func (s *Store) readDisk(ctx context.Context, series market.Series, span market.Span) ([]market.Kline, error) {
	iv := series.Interval
	if iv.Count(span) > rowsPerQuery {
		var err error
		if span, err = s.clip(ctx, iv, span); err != nil {
			return nil, err
		}
	}
	n, end := iv.Ordinal(iv.Ceil(span.From)), iv.Ordinal(iv.Ceil(span.To))
	if end <= n {
		return nil, nil
	}
	parts := make([][]market.Kline, (end-n+rowsPerQuery-1)/rowsPerQuery)
	queries, ctx := errgroup.WithContext(ctx)
	queries.SetLimit(readConnections)
	for i := range parts {
		from := n + int64(i)*rowsPerQuery
		queries.Go(func() (err error) {
			parts[i], err = s.lookUp(ctx, series, from, min(from+rowsPerQuery, end))
			return err
		})
	}
	err := queries.Wait()
	return slices.Concat(parts...), err
}

// clip cuts span to what the interval's table holds of any symbol.
func (s *Store) clip(ctx context.Context, iv market.Interval, span market.Span) (market.Span, error) {
	var first, last sql.NullInt64
	table := tableOf(iv)
	err := s.readers.QueryRowContext(ctx, "SELECT (SELECT min(open_time) FROM "+table+"), (SELECT max(open_time) FROM "+table+")").Scan(&first, &last)
	if err != nil || !first.Valid {
		return market.Span{}, err
	}
	return market.Span{From: max(span.From, market.Time(first.Int64)), To: min(span.To, market.Time(last.Int64)+1)}, nil
}

// lookUp reads the rows of series with the ordinals from n to before end.
func (s *Store) lookUp(ctx context.Context, series market.Series, n, end int64) ([]market.Kline, error) {
	opens := make([]byte, 0, 14*(end-n)+2)
	opens = append(opens, '[')
	for i := n; i < end; i++ {
		if i > n {
			opens = append(opens, ',')
		}
		opens = strconv.AppendInt(opens, int64(series.Interval.OpenAt(i)), 10)
	}
	opens = append(opens, ']')
	rows, err := s.readRows[series.Interval].QueryContext(ctx, string(opens), series.Symbol)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	dst := make([]market.Kline, 0, end-n)
	for r := newRowReader(); rows.Next(); {
		k, err := r.read(rows.Scan)
		if err != nil {
			return nil, err
		}
		dst = append(dst, k)
	}
	return dst, rows.Err()
}

// overlay merges newer into rows, both by rising open time; where both have a kline the better version stays.
func overlay(rows, newer []market.Kline) []market.Kline {
	for i := range newer {
		at, found := len(rows), false
		if at > 0 && rows[at-1].OpenTime >= newer[i].OpenTime {
			at, found = slices.BinarySearchFunc(rows, newer[i].OpenTime, func(k market.Kline, open market.Time) int {
				return int(min(max(k.OpenTime-open, -1), 1))
			})
		}
		switch {
		case !found:
			rows = slices.Insert(rows, at, newer[i])
		case market.Better(&newer[i], &rows[at]):
			rows[at] = newer[i]
		}
	}
	return rows
}

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

// disk reads what is committed, over connections that cannot write.
type disk struct {
	db     *sql.DB
	lookUp map[market.Interval]*sql.Stmt // of the intervals that are kept
}

func openDisk(path string) (*disk, error) {
	db, err := sql.Open("sqlite", dsn(path, "ro", "busy_timeout(5000)", "query_only(1)", "cache_size(-8000)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(readConnections)
	db.SetMaxIdleConns(readConnections)
	return &disk{db: db, lookUp: make(map[market.Interval]*sql.Stmt)}, nil
}

// prepare makes each interval's query: one lookup by key for each open time asked for. A range would pass over every
// symbol's rows.
func (d *disk) prepare(intervals []market.Interval) (err error) {
	for _, iv := range intervals {
		d.lookUp[iv], err = d.db.Prepare("SELECT " + selected + " FROM json_each(?) AS asked " +
			"CROSS JOIN " + tableOf(iv) + " AS k ON k.open_time = asked.value AND k.symbol = ?")
		if err != nil {
			return err
		}
	}
	return nil
}

// begin opens a transaction: all that is read in it stands as it stood at the first read.
func (d *disk) begin(ctx context.Context) (*sql.Tx, error) {
	return d.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
}

// Read gives the stored klines of series that open within span, oldest first, and the parts of span, in whole klines,
// that are not known to be complete: the store may hold rows there, or none, or old versions. What was put counts from
// then on, committed or not. Klines that have not ended yet are missing, and those that are older than is kept.
func (s *Store) Read(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	if _, kept := s.disk.lookUp[series.Interval]; !kept {
		return nil, nil, fmt.Errorf("store %s: interval %s is not kept", s.opts.Dir, series.Interval)
	}
	if span.Empty() {
		return nil, nil, nil
	}
	// Memory first: a row that is committed meanwhile is then seen twice, never not at all.
	s.mu.Lock()
	if parts, n, missing, here := s.inWindow(series, span); here {
		s.mu.Unlock()
		return appendParts(nil, parts, n), missing, nil
	}
	var older, newer []market.Kline
	if s.inFlight != nil {
		older = s.inFlight.within(nil, series, span)
	}
	newer = s.pending.within(nil, series, span)
	missing = s.complete.missing(series, span)
	s.mu.Unlock()

	if rows, err = s.disk.read(ctx, nil, series, span); err != nil {
		return nil, nil, fmt.Errorf("store %s: cannot read %s: %w", s.opts.Dir, tableOf(series.Interval), err)
	}
	rows, missing = s.keeping(series.Interval, span, overlay(overlay(rows, older), newer), missing)
	return rows, missing, nil
}

// read reads the rows of series that open within span: in a transaction one query after the other, without one several at
// once.
func (d *disk) read(ctx context.Context, tx *sql.Tx, series market.Series, span market.Span) ([]market.Kline, error) {
	iv := series.Interval
	if iv.Count(span) > rowsPerQuery {
		held, err := d.held(ctx, tx, iv)
		if err != nil {
			return nil, err
		}
		span = market.Span{From: max(span.From, held.From), To: min(span.To, held.To)}
	}
	n, end := iv.Ordinal(iv.Ceil(span.From)), iv.Ordinal(iv.Ceil(span.To))
	if end <= n {
		return nil, nil
	}
	parts := make([][]market.Kline, (end-n+rowsPerQuery-1)/rowsPerQuery)
	queries, ctx := errgroup.WithContext(ctx)
	queries.SetLimit(readConnections)
	if tx != nil {
		queries.SetLimit(1)
	}
	for i := range parts {
		from := n + int64(i)*rowsPerQuery
		queries.Go(func() (err error) {
			parts[i], err = d.some(ctx, tx, series, from, min(from+rowsPerQuery, end))
			return err
		})
	}
	err := queries.Wait()
	return slices.Concat(parts...), err
}

// Since is when the first kline of an interval that is stored opens, whatever its symbol, committed or not; math.MaxInt64 where
// there is none. It may have become too old to be kept.
func (s *Store) Since(ctx context.Context, iv market.Interval) (market.Time, error) {
	since := forever
	s.mu.Lock()
	for _, waiting := range []*outbox{s.inFlight, s.pending} {
		if waiting == nil {
			continue
		}
		for series, rows := range waiting.rows {
			if series.Interval == iv && len(rows) > 0 {
				since = min(since, rows[0].OpenTime)
			}
		}
	}
	s.mu.Unlock()
	held, err := s.disk.held(ctx, nil, iv)
	if err != nil {
		return 0, fmt.Errorf("store %s: cannot read %s: %w", s.opts.Dir, tableOf(iv), err)
	}
	if !held.Empty() {
		since = min(since, held.From)
	}
	return since, nil
}

// held reaches from the first row of the interval's table to the end of the last, whatever their symbols; it is empty
// where there are none.
func (d *disk) held(ctx context.Context, tx *sql.Tx, iv market.Interval) (market.Span, error) {
	var first, last sql.NullInt64
	table := tableOf(iv)
	queryRow := d.db.QueryRowContext
	if tx != nil {
		queryRow = tx.QueryRowContext
	}
	err := queryRow(ctx, "SELECT (SELECT min(open_time) FROM "+table+"), (SELECT max(open_time) FROM "+table+")").Scan(&first, &last)
	if err != nil || !first.Valid {
		return market.Span{}, err
	}
	return market.Span{From: market.Time(first.Int64), To: iv.Next(market.Time(last.Int64))}, nil
}

// some reads the rows of series with the ordinals from n to before end.
func (d *disk) some(ctx context.Context, tx *sql.Tx, series market.Series, n, end int64) ([]market.Kline, error) {
	opens := make([]byte, 0, 14*(end-n)+2)
	opens = append(opens, '[')
	for i := n; i < end; i++ {
		if i > n {
			opens = append(opens, ',')
		}
		opens = strconv.AppendInt(opens, int64(series.Interval.OpenAt(i)), 10)
	}
	opens = append(opens, ']')
	query := d.lookUp[series.Interval]
	if tx != nil {
		query = tx.StmtContext(ctx, query)
	}
	rows, err := query.QueryContext(ctx, string(opens), series.Symbol)
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
			at, found = market.Search(rows, newer[i].OpenTime)
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

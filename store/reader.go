package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"klined/market"
)

// Reader reads a store that another process may be writing to: it takes no lock and changes nothing. It sees what is
// committed; what the process ended with counts as it stands on disk. All methods may be called from any goroutine.
type Reader struct {
	dir       string
	disk      *disk
	symbols   []market.Symbol
	intervals []market.Interval
}

// OpenReader opens the store in a directory, which must hold one. Symbols and intervals that come later are not seen.
func OpenReader(dir string) (*Reader, error) {
	r := &Reader{dir: dir}
	if err := r.open(); err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	return r, nil
}

func (r *Reader) open() error {
	path := filepath.Join(r.dir, databaseFile)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("no store is there: %w", err)
	}
	var err error
	if r.disk, err = openDisk(path); err == nil {
		err = r.load()
	}
	if err == nil {
		err = r.disk.prepare(r.intervals)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// load reads the symbols and which intervals there are.
func (r *Reader) load() error {
	tx, err := r.disk.begin(context.Background())
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	version, err := versionOf(tx)
	if err != nil {
		return err
	}
	switch {
	case version == 0:
		return errors.New("it is empty")
	case version < len(schemas):
		return fmt.Errorf("schema version %d is older than this program's %d: a start of the server brings it up to date", version, len(schemas))
	}
	if r.symbols, err = loadSymbols(tx); err != nil {
		return err
	}
	r.intervals, err = loadIntervals(tx)
	return err
}

// loadIntervals is the intervals that have a kline table, shortest first.
func loadIntervals(tx *sql.Tx) (intervals []market.Interval, err error) {
	const tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'kline_*'"
	err = each(tx, tables, func(scan func(...any) error) error {
		var table string
		if err := scan(&table); err != nil {
			return err
		}
		iv := market.OneMonth
		if table != tableOf(iv) {
			var err error
			if iv, err = market.ParseInterval(strings.TrimPrefix(table, "kline_")); err != nil {
				return err
			}
		}
		intervals = append(intervals, iv)
		return nil
	})
	slices.Sort(intervals)
	return intervals, err
}

// Symbols is every symbol that was saved, by id.
func (r *Reader) Symbols() []market.Symbol { return slices.Clone(r.symbols) }

// Intervals is every interval that was ever kept, shortest first.
func (r *Reader) Intervals() []market.Interval { return slices.Clone(r.intervals) }

// Held reaches from the first kline of an interval that is stored to the end of the last, whatever their symbols; it is
// empty where there are none.
func (r *Reader) Held(ctx context.Context, iv market.Interval) (held market.Span, err error) {
	err = r.view(ctx, iv, func(tx *sql.Tx) error {
		held, err = r.disk.held(ctx, tx, iv)
		return err
	})
	return held, err
}

// Read gives the klines of series that open within span, oldest first, and the parts of span, in whole klines, that are
// not known to be complete: as Store.Read, of what is committed. Both are of one instant. All rows are in memory at once:
// who wants a long span asks for it in parts.
func (r *Reader) Read(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, missing []market.Span, err error) {
	if span.Empty() {
		return nil, nil, nil
	}
	err = r.view(ctx, series.Interval, func(tx *sql.Tx) error {
		c, err := loadSeries(tx, series)
		if err != nil {
			return err
		}
		missing = c.missing(series, span)
		rows, err = r.disk.read(ctx, tx, series, span)
		return err
	})
	return rows, missing, err
}

// view reads an interval in one transaction.
func (r *Reader) view(ctx context.Context, iv market.Interval, read func(*sql.Tx) error) error {
	if !slices.Contains(r.intervals, iv) {
		return fmt.Errorf("store %s: interval %s is not kept", r.dir, iv)
	}
	tx, err := r.disk.begin(ctx)
	if err == nil {
		err = read(tx)
		_ = tx.Rollback()
	}
	if err != nil {
		return fmt.Errorf("store %s: cannot read %s: %w", r.dir, tableOf(iv), err)
	}
	return nil
}

// loadSeries reads what is known of one series. A session speaks for the intervals of its run alone.
func loadSeries(tx *sql.Tx, series market.Series) (completeness, error) {
	c := newCompleteness()
	c.retention.from = make(map[market.Interval]market.Time)
	if err := loadKept(tx, c.retention.from); err != nil {
		return c, err
	}
	of := fmt.Sprintf(" WHERE symbol = %d AND interval = '%s'", series.Symbol, series.Interval)
	if err := loadSpans(tx, "known"+of, c.known.of); err != nil {
		return c, err
	}
	if err := loadSpans(tx, "hole"+of, c.holes.of); err != nil {
		return c, err
	}
	running := fmt.Sprintf("live WHERE symbol = %d AND '%s' IN (SELECT interval FROM run)", series.Symbol, series.Interval)
	return c, loadSessions(tx, running, c.live, c.lanes)
}

// Close ends the reader.
func (r *Reader) Close() error {
	if r.disk == nil {
		return nil
	}
	return r.disk.db.Close()
}

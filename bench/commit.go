package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the same database, as it is usually used

	"klined/market"
	"klined/store"
)

// commitRows is how many closes one boundary brings in this row.
const commitRows = 8000

var commitRow = subject{
	name: "store_commit", unit: "ms",
	what:     "8,000 closed klines of 15 intervals, from the hand-over until they are durable",
	baseline: "the same rows into the same database, one table by series and time, one statement for each row, one transaction",
	open: func(_ context.Context, _ Options) (*pair, error) {
		dir, err := os.MkdirTemp("", "klined-bench-")
		if err != nil {
			return nil, err
		}
		p, err := openCommit(dir)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		closeAll := p.close
		p.close = func() {
			closeAll()
			_ = os.RemoveAll(dir)
		}
		return p, nil
	},
}

func openCommit(dir string) (*pair, error) {
	s, err := store.Open(store.Options{Dir: filepath.Join(dir, "klined"), CommitEvery: time.Hour})
	if err != nil {
		return nil, err
	}
	if err := s.SaveSymbols(registry().All()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "plain.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err == nil {
		_, err = db.Exec(`CREATE TABLE kline (symbol TEXT, interval TEXT, open_time INTEGER, open TEXT, high TEXT, low TEXT, close TEXT,
			volume TEXT, quote TEXT, count INTEGER, taker TEXT, taker_quote TEXT, PRIMARY KEY (symbol, interval, open_time)) WITHOUT ROWID`)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	n := 0
	return &pair{
		value: func(ctx context.Context) (sample, error) {
			return commitDelay(&n, func(changes *market.Changes) error {
				s.Put(changes)
				return s.Flush(ctx)
			})
		},
		baseline: func(context.Context) (sample, error) {
			return commitDelay(&n, func(changes *market.Changes) error { return plainCommit(db, changes) })
		},
		close: func() {
			_ = db.Close()
			_ = s.Close()
		},
	}, nil
}

// closesAt are the n-th klines of each series that closes.
func closesAt(n int) *market.Changes {
	changes := &market.Changes{}
	intervals := market.ExchangeIntervals()
	rows := restKlines()
	for i := range commitRows {
		iv := intervals[i%len(intervals)]
		k := rows[i%len(rows)]
		k.OpenTime, k.State = iv.OpenAt(iv.Ordinal(restFrom)+int64(n)), market.StateClosed
		changes.Updates = append(changes.Updates, market.Update{Series: market.Series{Symbol: market.SymbolID(i / len(intervals)), Interval: iv}, Kline: k})
	}
	return changes
}

// commitDelay commits some boundaries, from number n on, ms.
func commitDelay(n *int, commit func(*market.Changes) error) (sample, error) {
	var took []sample
	for range 5 {
		changes := closesAt(*n)
		*n++
		began := time.Now()
		if err := commit(changes); err != nil {
			return sample{}, err
		}
		took = append(took, sample{value: micros(time.Since(began)) / 1000, allocs: -1})
	}
	return median(took), nil
}

// plainCommit writes the rows as it is usually written.
func plainCommit(db *sql.DB, changes *market.Changes) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	insert, err := tx.Prepare("INSERT OR REPLACE INTO kline VALUES (?,?,?,?,?,?,?,?,?,?,?,?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range changes.Updates {
		u := &changes.Updates[i]
		if _, err := insert.Exec(symbolName(int(u.Symbol)), u.Interval.String(), int64(u.OpenTime), u.Open.String(), u.High.String(), u.Low.String(),
			u.Close.String(), u.Volume.String(), u.QuoteVolume.String(), u.TradeCount, u.TakerBuyVolume.String(), u.TakerBuyQuoteVolume.String()); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return tx.Commit()
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"klined/market"
)

// maxDiffer bounds the differences that wait for the disk: the newest stay.
const maxDiffer = 20_000

// keepDiffer is how long differences are kept: long enough to look into them.
const keepDiffer = 7 * market.Day

// differed is a difference that waits for its commit, with the digits it will be written with.
type differed struct {
	market.Difference
	digits digits
}

// differs takes in what differed from the exchange's own. mu is held.
func (s *Store) differs(differ []market.Difference) {
	for _, d := range differ {
		if d.Symbol >= 0 && int(d.Symbol) < len(s.symbols) {
			s.differ = append(s.differ, differed{d, digitsOf(&s.symbols[d.Symbol])})
		}
	}
	s.differ = newestOf(s.differ)
}

func newestOf(differ []differed) []differed { return differ[max(0, len(differ)-maxDiffer):] }

// SettledUpTo is the time before which the symbol's minutes have been held against the exchange's own; 0 where none was.
func (s *Store) SettledUpTo(symbol market.SymbolID) market.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.complete.settled[symbol]
}

// SettleUpTo says that the symbol's minutes before a time have been held against the exchange's own. It is written with
// the next commit.
func (s *Store) SettleUpTo(symbol market.SymbolID, upTo market.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete.settled[symbol] = upTo
	s.complete.dirtySettled[symbol] = struct{}{}
}

func loadSettled(tx *sql.Tx, into map[market.SymbolID]market.Time) error {
	return each(tx, "SELECT symbol, up_to FROM settled", func(scan func(...any) error) error {
		var symbol market.SymbolID
		var upTo market.Time
		err := scan(&symbol, &upTo)
		into[symbol] = upTo
		return err
	})
}

// amountColumns are the columns of a difference's amounts, in the order of amounts and with the count behind them.
var amountColumns = append(columns[2:10:10], "trade_count")

// differColumns are the columns of table difference.
var differColumns = func() []string {
	names := []string{"open_time", "symbol", "price_digits", "qty_digits"}
	for _, whose := range []string{"our_", "official_"} {
		for _, c := range amountColumns {
			names = append(names, whose+c)
		}
	}
	return names
}()

// writeSettled writes how far the exchange's own were looked at, and what differed; what is too old to look into goes.
// A difference that cannot be kept exactly is left out: the kline itself was refused then, too.
func writeSettled(tx *sql.Tx, f *facts) error {
	for symbol, upTo := range f.settled {
		if _, err := tx.Exec("INSERT OR REPLACE INTO settled (symbol, up_to) VALUES (?,?)", symbol, upTo); err != nil {
			return err
		}
	}
	if len(f.differ) == 0 {
		return nil
	}
	insert, err := tx.Prepare("INSERT OR REPLACE INTO difference (" + strings.Join(differColumns, ",") + ") VALUES (?" +
		strings.Repeat(",?", len(differColumns)-1) + ")")
	if err != nil {
		return err
	}
	defer insert.Close()
	newest := market.Time(0)
	for i := range f.differ {
		d := &f.differ[i]
		newest = max(newest, d.Ours.OpenTime)
		if args, ok := d.row(); ok {
			if _, err := insert.Exec(args...); err != nil {
				return err
			}
		}
	}
	_, err = tx.Exec("DELETE FROM difference WHERE open_time < ?", int64(newest-keepDiffer))
	return err
}

// row is d as differColumns; false where an amount cannot be kept exactly.
func (d *differed) row() (args []any, ok bool) {
	args = []any{int64(d.Ours.OpenTime), int64(d.Symbol), int64(d.digits.price), int64(d.digits.qty)}
	for _, k := range []*market.Kline{&d.Ours, &d.Official} {
		n, err := amounts(k, d.digits)
		if err != nil {
			return nil, false
		}
		for _, amount := range n {
			args = append(args, amount)
		}
		args = append(args, k.TradeCount)
	}
	return args, true
}

// Differences gives the newest differences between closed minutes of ours and the exchange's own, newest first.
func (s *Store) Differences(ctx context.Context, limit int) (differ []market.Difference, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("store %s: cannot read the differences: %w", s.opts.Dir, err)
		}
	}()
	rows, err := s.disk.db.QueryContext(ctx, "SELECT "+strings.Join(differColumns, ",")+" FROM difference ORDER BY open_time DESC, symbol LIMIT ?", limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	values := make([]int64, len(differColumns))
	dest := make([]any, len(values))
	for i := range values {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		d := market.Difference{Series: market.Series{Symbol: market.SymbolID(values[1]), Interval: market.OneMinute}}
		for i, k := range []*market.Kline{&d.Ours, &d.Official} {
			*k = market.EmptyKline(market.Time(values[0]), 0)
			n := values[4+i*len(amountColumns):]
			if !setAmounts(k, n, int(values[2]), int(values[3])) {
				return nil, fmt.Errorf("the difference of symbol %d at %s holds an impossible amount", d.Symbol, k.OpenTime)
			}
			k.TradeCount = n[len(amountColumns)-1]
		}
		d.Ours.State, d.Official.State = market.StateClosed, market.StateSettled
		differ = append(differ, d)
	}
	return differ, rows.Err()
}

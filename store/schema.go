package store

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"klined/market"
)

// schemas are the steps to this program's schema, everything but the kline tables; how many were taken stands in the
// database's user_version. Intervals stand by name, times in Unix ms.
var schemas = [...]string{schemaComplete, schemaSettled, schemaKept, schemaRepair}

// schemaComplete is the symbols, and what is complete.
const schemaComplete = `
CREATE TABLE symbol (
	id           INTEGER PRIMARY KEY,
	name         TEXT NOT NULL UNIQUE,
	price_digits INTEGER NOT NULL,
	qty_digits   INTEGER NOT NULL
) STRICT;
-- klines of a series that open in [from_time, to_time) are all here; where there is none, the exchange has none
CREATE TABLE known (
	symbol    INTEGER NOT NULL,
	interval  TEXT    NOT NULL,
	from_time INTEGER NOT NULL,
	to_time   INTEGER NOT NULL,
	PRIMARY KEY (symbol, interval, from_time)
) STRICT, WITHOUT ROWID;
-- … except for these, which were lost on their way here, or lack trades
CREATE TABLE hole (
	symbol    INTEGER NOT NULL,
	interval  TEXT    NOT NULL,
	from_time INTEGER NOT NULL,
	to_time   INTEGER NOT NULL,
	PRIMARY KEY (symbol, interval, from_time)
) STRICT, WITHOUT ROWID;
-- the running process's feed: each symbol is complete from from_time to its lane's up_to, in the intervals of run
CREATE TABLE live (
	symbol    INTEGER PRIMARY KEY,
	lane      INTEGER NOT NULL,
	from_time INTEGER NOT NULL
) STRICT;
CREATE TABLE lane (
	lane  INTEGER PRIMARY KEY,
	up_to INTEGER NOT NULL
) STRICT;
CREATE TABLE run (
	interval TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
`

// schemaSettled is what was held against the exchange's own. The amounts of a difference are in the units of klineTable.
const schemaSettled = `
-- minutes of a symbol before up_to have been held against the exchange's own
CREATE TABLE settled (
	symbol INTEGER PRIMARY KEY,
	up_to  INTEGER NOT NULL
) STRICT;
-- closed minutes of ours that differed, and the exchange's own
CREATE TABLE difference (
	open_time                       INTEGER NOT NULL,
	symbol                          INTEGER NOT NULL,
	price_digits                    INTEGER NOT NULL,
	qty_digits                      INTEGER NOT NULL,
	our_open                        INTEGER NOT NULL,
	our_high                        INTEGER NOT NULL,
	our_low                         INTEGER NOT NULL,
	our_close                       INTEGER NOT NULL,
	our_volume                      INTEGER NOT NULL,
	our_taker_buy_volume            INTEGER NOT NULL,
	our_quote_volume                INTEGER NOT NULL,
	our_taker_buy_quote_volume      INTEGER NOT NULL,
	our_trade_count                 INTEGER NOT NULL,
	official_open                   INTEGER NOT NULL,
	official_high                   INTEGER NOT NULL,
	official_low                    INTEGER NOT NULL,
	official_close                  INTEGER NOT NULL,
	official_volume                 INTEGER NOT NULL,
	official_taker_buy_volume       INTEGER NOT NULL,
	official_quote_volume           INTEGER NOT NULL,
	official_taker_buy_quote_volume INTEGER NOT NULL,
	official_trade_count            INTEGER NOT NULL,
	PRIMARY KEY (open_time, symbol)
) STRICT, WITHOUT ROWID;
`

// schemaKept says since when klines of an interval are kept. What opens before is not known, whatever known, live and run
// say of it. An interval that is not there has all its klines.
const schemaKept = `
CREATE TABLE kept (
	interval  TEXT PRIMARY KEY,
	from_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

// klineTable is one interval's rows. Time leads the key: a boundary's closes of all symbols are neighbours, so a commit
// touches few pages. Prices are in units of 10^−price_digits, volumes of 10^−qty_digits, quote volumes of
// 10^−(price_digits+qty_digits). source, state: the numbers of market.Source and market.State.
const klineTable = `
CREATE TABLE IF NOT EXISTS %s (
	open_time              INTEGER NOT NULL,
	symbol                 INTEGER NOT NULL,
	open                   INTEGER NOT NULL,
	high                   INTEGER NOT NULL,
	low                    INTEGER NOT NULL,
	close                  INTEGER NOT NULL,
	volume                 INTEGER NOT NULL,
	taker_buy_volume       INTEGER NOT NULL,
	quote_volume           INTEGER NOT NULL,
	taker_buy_quote_volume INTEGER NOT NULL,
	trade_count            INTEGER NOT NULL,
	first_id               INTEGER NOT NULL,
	last_id                INTEGER NOT NULL,
	last_trade_id          INTEGER NOT NULL,
	price_digits           INTEGER NOT NULL,
	qty_digits             INTEGER NOT NULL,
	source                 INTEGER NOT NULL,
	state                  INTEGER NOT NULL,
	revision               INTEGER NOT NULL,
	gap                    INTEGER NOT NULL,
	PRIMARY KEY (open_time, symbol)
) STRICT, WITHOUT ROWID`

// tableOf is the name of iv's table. SQLite's names ignore case, so the month's is not that of the minute.
func tableOf(iv market.Interval) string {
	if iv == market.OneMonth {
		return "kline_1mo"
	}
	return "kline_" + iv.String()
}

// versionOf is the database's schema version, 0 where it is empty. One that this program does not know is an error.
func versionOf(tx *sql.Tx) (version int, err error) {
	var tables int
	if err = tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return 0, err
	}
	if err = tx.QueryRow("SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return 0, err
	}
	switch {
	case version > len(schemas):
		err = fmt.Errorf("schema version %d is newer than this program's %d", version, len(schemas))
	case version == 0 && tables > 0:
		err = fmt.Errorf("a database of another program: it has %d tables and no schema version", tables)
	}
	return version, err
}

// prepareSchema brings the database to this schema with a table for each interval, or refuses it.
func prepareSchema(tx *sql.Tx, intervals []market.Interval) error {
	version, err := versionOf(tx)
	if err != nil {
		return err
	}
	for ; version < len(schemas); version++ {
		if _, err := tx.Exec(schemas[version] + fmt.Sprintf("PRAGMA user_version = %d", version+1)); err != nil {
			return err
		}
	}
	for _, iv := range intervals {
		if _, err := tx.Exec(fmt.Sprintf(klineTable, tableOf(iv))); err != nil {
			return err
		}
	}
	return nil
}

// load reads symbols and completeness, ends the sessions of the process before at what it had committed, and notes
// which intervals this one keeps.
func load(tx *sql.Tx, intervals []market.Interval) (symbols []market.Symbol, c completeness, err error) {
	c = newCompleteness()
	if symbols, err = loadSymbols(tx); err != nil {
		return nil, c, err
	}
	if _, err = takeRepairs(tx); err != nil {
		return nil, c, err
	}
	if err = loadSpans(tx, "known", c.known.of); err != nil {
		return nil, c, err
	}
	if err = loadSpans(tx, "hole", c.holes.of); err != nil {
		return nil, c, err
	}
	if err = loadSettled(tx, c.settled); err != nil {
		return nil, c, err
	}
	if err = endSessions(tx, &c); err != nil {
		return nil, c, err
	}
	ended := c.take()
	if err = writeFacts(tx, &ended); err != nil {
		return nil, c, err
	}
	if _, err = tx.Exec("DELETE FROM lane; DELETE FROM run"); err != nil {
		return nil, c, err
	}
	c.lanes = make(map[int]market.Time)
	for _, iv := range intervals {
		if _, err = tx.Exec("INSERT INTO run (interval) VALUES (?)", iv.String()); err != nil {
			return nil, c, err
		}
	}
	return symbols, c, nil
}

func loadSymbols(tx *sql.Tx) (symbols []market.Symbol, err error) {
	err = each(tx, "SELECT id, name, price_digits, qty_digits FROM symbol ORDER BY id", func(scan func(...any) error) error {
		var s market.Symbol
		if err := scan(&s.ID, &s.Name, &s.PriceDigits, &s.QtyDigits); err != nil {
			return err
		}
		if int(s.ID) != len(symbols) {
			return fmt.Errorf("symbol %s has id %d where %d is next", s.Name, s.ID, len(symbols))
		}
		symbols = append(symbols, s)
		return nil
	})
	return symbols, err
}

// loadSpans reads the spans of a table, or of the rows that a condition behind its name leaves of it.
func loadSpans(tx *sql.Tx, table string, into map[market.Series]spans) error {
	return each(tx, "SELECT symbol, interval, from_time, to_time FROM "+table, func(scan func(...any) error) error {
		var series market.Series
		var name string
		var s market.Span
		err := scan(&series.Symbol, &name, &s.From, &s.To)
		if err != nil {
			return err
		}
		if series.Interval, err = market.ParseInterval(name); err != nil {
			return err
		}
		into[series] = into[series].add(s)
		return nil
	})
}

// loadSessions reads sessions as loadSpans reads spans, and how far every lane is.
func loadSessions(tx *sql.Tx, table string, into map[market.SymbolID]session, lanes map[int]market.Time) error {
	err := each(tx, "SELECT symbol, lane, from_time FROM "+table, func(scan func(...any) error) error {
		var symbol market.SymbolID
		var s session
		err := scan(&symbol, &s.lane, &s.from)
		into[symbol] = s
		return err
	})
	if err != nil {
		return err
	}
	return each(tx, "SELECT lane, up_to FROM lane", func(scan func(...any) error) error {
		var lane int
		var upTo market.Time
		err := scan(&lane, &upTo)
		lanes[lane] = upTo
		return err
	})
}

// doubted is how long before a process ended its klines may lack trades and not say so: connections that fall silent are
// noticed some seconds later, and a process that ended meanwhile noticed nothing.
const doubted = 2 * market.Minute

// endSessions turns the sessions of the process before into known spans. What closed just before it ended gets the mark.
func endSessions(tx *sql.Tx, c *completeness) error {
	var intervals []market.Interval
	err := each(tx, "SELECT interval FROM run", func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		if err != nil {
			return err
		}
		iv, err := market.ParseInterval(name)
		intervals = append(intervals, iv)
		return err
	})
	if err != nil {
		return err
	}
	sessions := make(map[market.SymbolID]session)
	if err = loadSessions(tx, "live", sessions, c.lanes); err != nil {
		return err
	}
	handedOn := slices.Collect(maps.Values(c.lanes))
	if len(handedOn) == 0 { // then no session vouches for anything
		for symbol, s := range sessions {
			c.end(symbol, s, nil, 0)
		}
		return nil
	}
	believed := slices.Min(handedOn) - doubted
	for symbol, s := range sessions {
		c.end(symbol, s, intervals, believed)
	}
	return markLast(tx, intervals, believed)
}

// markLast puts the mark on the klines that ended after a time and are not official: those of symbols that were not whole
// yet, too.
func markLast(tx *sql.Tx, intervals []market.Interval, after market.Time) error {
	for _, iv := range intervals {
		_, err := tx.Exec("UPDATE "+tableOf(iv)+" SET gap = 1 WHERE open_time >= ? AND state < ? AND gap = 0",
			int64(iv.Open(after)), int64(market.StateSettled))
		if err != nil {
			return err
		}
	}
	return nil
}

// each hands the rows of a query to row, one by one.
func each(tx *sql.Tx, query string, row func(scan func(...any) error) error) error {
	rows, err := tx.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
	}
	return rows.Err()
}

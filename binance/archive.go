package binance

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"klined/fixed"
	"klined/market"
)

// ArchiveTrades reads the rows of the archive's files of trades (data.binance.vision), which begin with a header or
// not, in the order of the columns:
//
//	aggTrades  agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker
//	trades     id,price,qty,quote_qty,time,is_buyer_maker
//
// Spot files carry one more column, is_best_match, and since 2025 microseconds. Headers are spelled in several ways. Numbers are
// floats of some program: 78153.0, and so of a cheap symbol 9.31E-6.
type ArchiveTrades struct {
	Source      market.Source
	PriceDigits int // most decimals that a price was written with so far
	QtyDigits   int // most decimals that a quantity was written with so far
	columns     int
}

// SniffArchive tells by a file's first line whether it is one of the archive's, and whether that line is its header;
// nil where it is none.
func SniffArchive(line []byte) (a *ArchiveTrades, header bool) {
	var cells [8][]byte
	n := splitCells(line, cells[:])
	if n < 6 || bytes.IndexByte(line, '{') >= 0 { // a frame behind a clock may have as many commas
		return nil, false
	}
	header = cells[0][0]-'0' > 9
	var source market.Source
	switch {
	case header && !isHeader(cells[:n]):
		return nil, false
	case header && isAggregate(cells[0]):
		source = market.SourceAggTrade
	case header:
		source = market.SourceTrade
	case n == 6:
		source = market.SourceTrade
	default:
		source = market.SourceAggTrade
		if _, err := flag(cells[5]); err == nil {
			source = market.SourceTrade
		}
	}
	a = &ArchiveTrades{Source: source, columns: n}
	if n < a.maker()+1 || n > a.maker()+2 {
		return nil, false
	}
	return a, header
}

// IsHeader reports whether a line is the header of a file like this one.
func (a *ArchiveTrades) IsHeader(line []byte) bool {
	other, header := SniffArchive(line)
	return header && other.Source == a.Source && other.columns == a.columns
}

// maker is the index of the column is_buyer_maker.
func (a *ArchiveTrades) maker() int {
	if a.Source == market.SourceTrade {
		return 5
	}
	return 6
}

func isAggregate(name []byte) bool { return strings.HasPrefix(bareName(name), "agg") }

// isHeader reports whether the cells name the columns of a file of trades.
func isHeader(cells [][]byte) bool {
	id := bareName(cells[0])
	return (isAggregate(cells[0]) || id == "id" || id == "tradeid") && bareName(cells[1]) == "price"
}

// bareName is a column's name without its spelling.
func bareName(name []byte) string {
	return strings.ToLower(strings.NewReplacer("_", "", " ", "", `"`, "").Replace(string(name)))
}

// splitCells cuts line at its commas; 0 where it has more cells than fit, or an empty one.
func splitCells(line []byte, cells [][]byte) int {
	n := 0
	for {
		if n == len(cells) {
			return 0
		}
		i := bytes.IndexByte(line, ',')
		if i == 0 || len(line) == 0 {
			return 0
		}
		if i < 0 {
			cells[n] = line
			return n + 1
		}
		cells[n], line = line[:i], line[i+1:]
		n++
	}
}

var (
	errColumns = errors.New("wrong number of columns")
	errFlag    = errors.New("want true or false")
)

// Row reads one row into t; its SymbolID is left as it is. The error names the column.
func (a *ArchiveTrades) Row(line []byte, t *market.Trade) error {
	var cells [8][]byte
	if splitCells(line, cells[:]) != a.columns {
		return fmt.Errorf("%w, want %d: %.120q", errColumns, a.columns, line)
	}
	var row row
	t.ID = row.number("id", cells[0])
	t.Price = row.float("price", &cells[1])
	t.Qty = row.float("quantity", &cells[2])
	t.FirstID, t.LastID = t.ID, t.ID
	at := cells[4]
	if a.Source == market.SourceAggTrade {
		t.FirstID, t.LastID = row.number("first id", cells[3]), row.number("last id", cells[4])
		at = cells[5]
	}
	t.Time = row.time(at)
	t.TakerBuy = !row.flag("is_buyer_maker", cells[a.maker()])
	if row.err == nil {
		row.err = t.Check()
	}
	if row.err != nil {
		return row.err
	}
	a.PriceDigits = max(a.PriceDigits, decimals(cells[1]))
	a.QtyDigits = max(a.QtyDigits, decimals(cells[2]))
	return nil
}

// row keeps the first error of a row's cells.
type row struct{ err error }

func (r *row) fail(column string, cell []byte, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%s %q: %w", column, cell, err)
	}
}

func (r *row) number(column string, cell []byte) int64 {
	n, err := strconv.ParseUint(string(cell), 10, 63)
	if err != nil {
		r.fail(column, cell, errors.Unwrap(err))
	}
	return int64(n)
}

func (r *row) value(column string, cell []byte) fixed.Value {
	v, err := fixed.Parse(cell)
	if err != nil {
		r.fail(column, cell, err)
	}
	return v
}

// float is value of a cell that may have an exponent: the cell is without it then.
func (r *row) float(column string, cell *[]byte) fixed.Value {
	v, err := fixed.Parse(*cell)
	if err == nil {
		return v
	}
	if plain := withoutExponent(*cell); plain != nil {
		if v, err = fixed.Parse(plain); err == nil {
			*cell = plain
			return v
		}
	}
	r.fail(column, *cell, err)
	return 0
}

func (r *row) sum(column string, cell []byte) fixed.Sum {
	s, err := fixed.ParseSum(cell)
	if err != nil {
		r.fail(column, cell, err)
	}
	return s
}

// microseconds of 1973 and later are greater than milliseconds of any year to 5138.
const microseconds = 1e14

// time reads milliseconds, or microseconds.
func (r *row) time(cell []byte) market.Time {
	n := r.number("time", cell)
	if n >= microseconds {
		n /= 1000
	}
	return market.Time(n)
}

func (r *row) flag(column string, cell []byte) bool {
	b, err := flag(cell)
	if err != nil {
		r.fail(column, cell, err)
	}
	return b
}

func flag(cell []byte) (bool, error) {
	switch string(cell) {
	case "true", "True", "TRUE", "1":
		return true, nil
	case "false", "False", "FALSE", "0":
		return false, nil
	}
	return false, errFlag
}

// decimals is how many digits stand behind the point of a number.
func decimals(number []byte) int {
	if i := bytes.IndexByte(number, '.'); i >= 0 {
		return len(number) - i - 1
	}
	return 0
}

// maxExponent is more than that of any number that can be kept.
const maxExponent = 30

// withoutExponent writes 9.31E-6 as 0.00000931 and 1.0e7 as 10000000, with no more decimals than it needs; nil for what is not of
// this form.
func withoutExponent(number []byte) []byte {
	mantissa, power, found := bytes.Cut(bytes.ToLower(number), []byte("e"))
	exponent, err := strconv.Atoi(string(power))
	whole, frac, point := bytes.Cut(mantissa, []byte("."))
	if !found || err != nil || exponent < -maxExponent || exponent > maxExponent || len(whole) == 0 || point && len(frac) == 0 {
		return nil
	}
	digits := bytes.Join([][]byte{whole, frac}, nil)
	at := len(whole) + exponent // where the point stands in them
	if at < 1 {
		digits, at = append(bytes.Repeat([]byte("0"), 1-at), digits...), 1
	}
	if more := at - len(digits); more > 0 {
		digits = append(digits, bytes.Repeat([]byte("0"), more)...)
	}
	if frac = bytes.TrimRight(digits[at:], "0"); len(frac) == 0 {
		return digits[:at]
	}
	return bytes.Join([][]byte{digits[:at], frac}, []byte("."))
}

package binance

import (
	"math/big"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"klined/fixed"
	"klined/market"
)

const (
	archiveHeader = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
	archiveRow    = "1607471940000,18314.00,18328.63,18313.13,18319.32,143.513,1607471999999,2629533.95113,730,75.578,1384821.22451,0"
)

func TestArchiveKline(t *testing.T) {
	sum := func(text string) fixed.Sum {
		s, err := fixed.ParseSum(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := market.Kline{
		OpenTime: 1607471940000, Open: fixed.MustParse("18314"), High: fixed.MustParse("18328.63"), Low: fixed.MustParse("18313.13"),
		Close: fixed.MustParse("18319.32"), Volume: sum("143.513"), QuoteVolume: sum("2629533.95113"), TakerBuyVolume: sum("75.578"),
		TakerBuyQuoteVolume: sum("1384821.22451"), TradeCount: 730, FirstID: -1, LastID: -1, LastTradeID: -1, State: market.StateSettled,
	}
	for _, c := range []struct{ name, old, by, err string }{
		{"as it is", "", "", ""},
		{"microseconds", "1607471940000,18314.00,18328.63,18313.13,18319.32,143.513,1607471999999", "1607471940000000,18314.00,18328.63,18313.13,18319.32,143.513,1607471999999999", ""},
		{"no trailing zeros", "18314.00", "18314", ""},
		{"more trailing zeros", "75.578", "75.57800000", ""},
		{"the last column says anything", ",0", ",?", ""},

		{"a column missing", ",0", "", `wrong number of columns, want 12: "` + strings.TrimSuffix(archiveRow, ",0") + `"`},
		{"a column too many", ",0", ",0,0", `wrong number of columns, want 12: "` + archiveRow + `,0"`},
		{"a column empty", "143.513", "", `wrong number of columns, want 12: "` + strings.Replace(archiveRow, "143.513", "", 1) + `"`},
		{"price", "18314.00", "1.8e4", `open "1.8e4": not a decimal number`},
		{"negative", "18313.13", "-1", `low "-1": not a decimal number`},
		{"nine decimals", "18319.32", "18319.320000000", `close "18319.320000000": more decimals than can be kept`},
		{"volume", "143.513", "NaN", `volume "NaN": not a decimal number`},
		{"volume out of range", "2629533.95113", "100000000000000001", `quote_volume "100000000000000001": number beyond the bound`},
		{"count", "730", "7.3", `count "7.3": invalid syntax`},
		{"time", "1607471940000", "2020-12-08", `open_time "2020-12-08": invalid syntax`},
		{"the first of several", "18314.00,18328.63", "x,y", `open "x": not a decimal number`},

		{"off the grid", "1607471940000", "1607471940001", ErrTime.Error() + ": from 1607471940001 to 1607471999999 is not a kline of 1m"},
		{"of another interval", "1607471999999", "1607472239999", ErrTime.Error() + ": from 1607471940000 to 1607472239999 is not a kline of 1m"},
		{"ends when the next begins", "1607471999999", "1607472000000", ErrTime.Error() + ": from 1607471940000 to 1607472000000 is not a kline of 1m"},
		{"two units", "1607471940000", "1607471940000000", ErrTime.Error() + ": from 1607471940000000 to 1607471999999 is not a kline of 1m"},
		{"a microsecond off", "1607471940000,18314.00,18328.63,18313.13,18319.32,143.513,1607471999999", "1607471940000001,1,1,1,1,1,1607471999999999",
			ErrTime.Error() + ": from 1607471940000001 to 1607471999999999 is not a kline of 1m"},
	} {
		row := strings.Replace(archiveRow, c.old, c.by, 1)
		if strings.HasPrefix(c.old, ",") {
			row = strings.TrimSuffix(archiveRow, c.old) + c.by
		}
		var k market.Kline
		err := archiveKline([]byte(row), market.OneMinute, &k)
		switch {
		case c.err == "" && (err != nil || k != want):
			t.Errorf("%s: %v\n%s", c.name, err, cmp.Diff(want, k))
		case c.err != "" && (err == nil || err.Error() != c.err):
			t.Errorf("%s\n got %v\nwant %s", c.name, err, c.err)
		}
	}
}

// TestArchiveKlinesReal reads the archive's own rows: of hours and minutes, each of which follows the one before.
func TestArchiveKlinesReal(t *testing.T) {
	for _, c := range []struct {
		file string
		iv   market.Interval
		rows int
	}{
		{"BTCUSDT-1h-2026-09-15.first-rows.csv", market.OneHour, 3},
		{"BTCUSDT-1m-2020-12-09T00.csv", market.OneMinute, 62},
		{"BTCUSDT-1m-2024-07-18T2356.csv", market.OneMinute, 10},
	} {
		file, err := os.ReadFile("../../shared/data/pairs/" + c.file)
		if err != nil {
			t.Skip("no real data: ", err)
		}
		klines, faults := archiveKlines(file, c.iv, market.Span{To: 2e12})
		if len(klines) != c.rows || faults != (archiveFaults{}) {
			t.Fatalf("%s: %d rows, want %d; %+v", c.file, len(klines), c.rows, faults)
		}
		for i, k := range klines {
			if !k.Plausible() || i > 0 && (k.OpenTime != c.iv.Next(klines[i-1].OpenTime)) {
				t.Errorf("%s: row %d is %+v", c.file, i, k)
			}
		}
	}
}

func TestArchiveKlines(t *testing.T) {
	// row opens in minute n and closes at a price.
	row := func(n int, price string) string {
		open := strconv.Itoa(n * 60_000)
		return strings.Join([]string{open, "1", "1", "1", price, "1", strconv.Itoa(n*60_000 + 59_999), "1", "1", "1", "1", "0"}, ",") + "\n"
	}
	for _, c := range []struct {
		name, file, want string // minutes and prices
		faults           archiveFaults
	}{
		{"nothing", "", "", archiveFaults{}},
		{"a header alone", archiveHeader + "\n", "", archiveFaults{}},
		{"rows", row(10, "1") + row(11, "2"), "10:1 11:2", archiveFaults{}},
		{"a header, carriage returns, empty lines, no last line end", archiveHeader + "\r\n\r\n" + strings.TrimSuffix(row(10, "1"), "\n"), "10:1", archiveFaults{}},
		{"out of order", row(12, "3") + row(10, "1") + row(11, "2"), "10:1 11:2 12:3", archiveFaults{}},
		{"the span's edges", row(9, "1") + row(10, "1") + row(19, "1") + row(20, "1"), "10:1 19:1", archiveFaults{misplaced: 2,
			first: "line 1: a time out of range or off the interval's grid: 1970-01-01T00:09:00.000Z is not of this file"}},
		{"equal rows", row(10, "1") + row(11, "2.0") + row(10, "1.00") + row(10, "1"), "10:1 11:2", archiveFaults{duplicate: 2,
			first: "equal rows of 1970-01-01T00:10:00.000Z"}},
		{"different rows", row(10, "1") + row(11, "2") + row(10, "1") + row(10, "3"), "11:2", archiveFaults{contradictory: 3,
			first: "different rows of 1970-01-01T00:10:00.000Z"}},
		{"a header in the middle", row(10, "1") + archiveHeader + "\n", "10:1", archiveFaults{unreadable: 1,
			first: `line 2: open_time "open_time": invalid syntax`}},
		{"everything", "x\n" + row(11, "1") + row(10, "1") + "x\n" + row(30, "1") + strings.Replace(row(12, "1"), "720000", "720001", 1) + row(10, "1") + row(11, "2"), "10:1",
			archiveFaults{unreadable: 1, misplaced: 2, duplicate: 1, contradictory: 2, first: `line 4: wrong number of columns, want 12: "x"`}},
	} {
		klines, faults := archiveKlines([]byte(c.file), market.OneMinute, market.Span{From: 600_000, To: 1_200_000})
		var got []string
		for _, k := range klines {
			got = append(got, strconv.Itoa(int(k.OpenTime/market.Minute))+":"+k.Close.String())
		}
		if text := strings.Join(got, " "); text != c.want || faults != c.faults {
			t.Errorf("%s\n got %s %+v\nwant %s %+v", c.name, text, faults, c.want, c.faults)
		}
	}
}

var wholeNumber, decimalNumber = regexp.MustCompile(`^[0-9]+$`), regexp.MustCompile(`^([0-9]+)(?:\.([0-9]+))?$`)

// scaled is a decimal text of at most so many decimals in units of its last one, the slow, obvious way.
func scaled(text string, decimals int) (*big.Int, bool) {
	parts := decimalNumber.FindStringSubmatch(text)
	if parts == nil || len(parts[2]) > decimals {
		return nil, false
	}
	return new(big.Int).SetString(parts[1]+parts[2]+strings.Repeat("0", decimals-len(parts[2])), 10)
}

// slowArchiveKline reads a row of minutes the slow, obvious way.
func slowArchiveKline(row string) (k market.Kline, ok bool) {
	cells := strings.Split(row, ",")
	if len(cells) != 12 || cells[11] == "" {
		return k, false
	}
	ok = true
	integer := func(i int) int64 {
		n, ok2 := new(big.Int).SetString(cells[i], 10)
		ok = ok && ok2 && wholeNumber.MatchString(cells[i]) && n.IsInt64()
		if !ok {
			return 0
		}
		return n.Int64()
	}
	value := func(i int) fixed.Value {
		n, ok2 := scaled(cells[i], 8)
		ok = ok && ok2 && n.IsInt64()
		if !ok {
			return 0
		}
		return fixed.Value(n.Int64())
	}
	sum := func(i int) fixed.Sum {
		n, ok2 := scaled(cells[i], 16)
		most, _ := scaled("100000000000000000", 16)
		ok = ok && ok2 && n.Cmp(most) <= 0
		if !ok {
			return fixed.Sum{}
		}
		return fixed.Sum{Hi: new(big.Int).Rsh(n, 64).Uint64(), Lo: new(big.Int).And(n, new(big.Int).SetUint64(1<<64-1)).Uint64()}
	}
	k = market.Kline{
		Open: value(1), High: value(2), Low: value(3), Close: value(4), Volume: sum(5), QuoteVolume: sum(7), TradeCount: integer(8),
		TakerBuyVolume: sum(9), TakerBuyQuoteVolume: sum(10), FirstID: -1, LastID: -1, LastTradeID: -1, State: market.StateSettled,
	}
	open, closeTime := integer(0), integer(6)
	unit := int64(1)
	if open >= 1e14 {
		unit = 1000
	}
	k.OpenTime = market.Time(open / unit)
	return k, ok && open%(60_000*unit) == 0 && closeTime-open == 60_000*unit-1 && k.OpenTime <= latestTime
}

// FuzzArchiveKline: a row is read as the slow, obvious way reads it, or refused where that refuses it.
func FuzzArchiveKline(f *testing.F) {
	f.Add(archiveRow)
	f.Add(strings.NewReplacer("1607471940000", "1607471940000000", "1607471999999", "1607471999999999").Replace(archiveRow))
	f.Add("0,1,1,1,1,0.000,59999,0.0,0,0,0,0")
	f.Add("60000,92233720368.54775807,1,1,1,100000000000000000,119999,0.0000000000000001,9223372036854775807,0,0,x")
	f.Add(archiveHeader)
	f.Fuzz(func(t *testing.T, row string) {
		var got market.Kline
		err := archiveKline([]byte(row), market.OneMinute, &got)
		want, ok := slowArchiveKline(row)
		if ok != (err == nil) || ok && got != want {
			t.Fatalf("%q: %v, want %v\n%s", row, err, ok, cmp.Diff(want, got))
		}
	})
}

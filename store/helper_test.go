package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"klined/fixed"
	"klined/market"
)

// seed is that of this run: KLINED_SEED, or chosen by chance.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("KLINED_SEED")
	if text == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func day(y int, m time.Month, d int) market.Time {
	return market.TimeOf(time.Date(y, m, d, 0, 0, 0, 0, time.UTC))
}

// at is an instant of 2024-01-01, "15:04:05".
func at(clock string) market.Time {
	t, err := time.Parse(time.DateTime, "2024-01-01 "+clock)
	if err != nil {
		panic(err)
	}
	return market.TimeOf(t)
}

func interval(name string) market.Interval {
	iv, err := market.ParseInterval(name)
	if err != nil {
		panic(err)
	}
	return iv
}

// testKline is a closed kline of prices with 2 and quantities with 3 decimals, the same for the same series and time.
func testKline(series market.Series, open market.Time) market.Kline {
	r := rand.New(rand.NewPCG(uint64(series.Symbol)<<48+uint64(series.Interval), uint64(open)))
	price := func() fixed.Value { return fixed.Value(4_000_000+r.Int64N(1_000_000)) * (fixed.One / 100) }
	qty := fixed.Value(1+r.Int64N(5_000_000)) * (fixed.One / 1000)
	taker := fixed.Value(1+r.Int64N(5_000)) * (fixed.One / 1000)
	id := r.Int64N(1e9) + 4e9
	return market.Kline{
		OpenTime: open, Open: price(), High: price(), Low: price(), Close: price(),
		Volume: qty.Sum(), QuoteVolume: fixed.Mul(price(), qty), TakerBuyVolume: taker.Sum(), TakerBuyQuoteVolume: fixed.Mul(price(), taker),
		TradeCount: 500, FirstID: id, LastID: id + 499, LastTradeID: id / 2, State: market.StateClosed,
	}
}

// testSymbols are n symbols of 2 and 3 digits.
func testSymbols(n int) []market.Symbol {
	symbols := make([]market.Symbol, n)
	for i := range symbols {
		symbols[i] = market.Symbol{ID: market.SymbolID(i), Name: fmt.Sprintf("币%dUSDT", i), PriceDigits: 2, QtyDigits: 3}
	}
	return symbols
}

const never = time.Duration(1 << 60)

// openTest opens a store with 3 symbols that commits only when it is told to.
func openTest(t testing.TB, dir string, intervals ...market.Interval) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, CommitEvery: never, Intervals: intervals})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SaveSymbols(testSymbols(3)); err != nil {
		t.Fatal(err)
	}
	return s
}

func update(series market.Series, k market.Kline) market.Update {
	return market.Update{Series: series, Kline: k}
}

func put(s *Store, updates ...market.Update) { s.Put(&market.Changes{Updates: updates}) }

func upTo(s *Store, lane int, t market.Time) { s.Put(&market.Changes{Lane: lane, UpTo: t}) }

func flush(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, s *Store, series market.Series, span market.Span) ([]market.Kline, []market.Span) {
	t.Helper()
	rows, missing, err := s.Read(context.Background(), series, span)
	if err != nil {
		t.Fatal(err)
	}
	return rows, missing
}

// same fails the test where got is not want; nil and empty are the same.
func same[T any](t fataler, what string, got, want []T) {
	t.Helper()
	if len(got)+len(want) > 0 {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

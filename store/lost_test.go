package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"klined/fixed"
	"klined/market"
)

// TestRefused: a kline that cannot be kept exactly is missing, and the others beside it are stored.
func TestRefused(t *testing.T) {
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	with := func(change func(*market.Kline)) market.Kline {
		k := testKline(series, at("10:01:00"))
		change(&k)
		return k
	}
	parse := func(s string) fixed.Sum {
		sum, err := fixed.ParseSum(s)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	cases := []struct {
		series market.Series
		kline  market.Kline
		want   string
	}{
		{series, with(func(k *market.Kline) { k.High = fixed.MustParse("1.125") }), "币1USDT 1m 2024-01-01T10:01:00.000Z: high 1.125 cannot be kept with 2 decimals"},
		{series, with(func(k *market.Kline) { k.Volume = parse("0.0005") }), "币1USDT 1m 2024-01-01T10:01:00.000Z: volume 0.0005 cannot be kept with 3 decimals"},
		{series, with(func(k *market.Kline) { k.QuoteVolume = parse("92233720368547.75808") }), "币1USDT 1m 2024-01-01T10:01:00.000Z: quote_volume 92233720368547.75808 cannot be kept with 5 decimals"},
		{series, with(func(k *market.Kline) { k.TakerBuyQuoteVolume = fixed.MaxSum }), "币1USDT 1m 2024-01-01T10:01:00.000Z: taker_buy_quote_volume 34028"},
		{series, with(func(k *market.Kline) { k.OpenTime += 1 }), "币1USDT 1m 2024-01-01T10:01:00.001Z: no kline opens then; the nearest opens at 2024-01-01T10:01:00.000Z"},
		{market.Series{Symbol: 9, Interval: market.OneMinute}, testKline(series, at("10:01:00")), "symbol 9 1m 2024-01-01T10:01:00.000Z: symbol 9 was not saved"},
	}
	for _, c := range cases {
		s := openTest(t, t.TempDir(), market.OneMinute)
		span := market.Span{From: at("10:00:00"), To: at("10:03:00")}
		s.Fetched(c.series, span, nil)
		put(s, update(series, testKline(series, at("10:00:00"))), update(c.series, c.kline), update(series, testKline(series, at("10:02:00"))))
		flush(t, s)
		if st := s.Status(); st.RefusedRows != 1 || !strings.HasPrefix(st.LastRefused, c.want) || st.Holes != 1 || st.Rows != 2 {
			t.Errorf("status %+v, want %s", st, c.want)
		}
		rows, _ := read(t, s, series, span)
		same(t, "rows", rows, []market.Kline{testKline(series, at("10:00:00")), testKline(series, at("10:02:00"))})
		if _, missing := read(t, s, c.series, span); len(missing) != 1 || !missing[0].Overlaps(market.Span{From: at("10:01:00"), To: at("10:02:00")}) {
			t.Errorf("%s: missing %v", c.want, missing)
		}
	}
	// The largest quote volume there is, and digits that the registry changes later.
	s := openTest(t, t.TempDir(), market.OneMinute)
	most := with(func(k *market.Kline) { k.QuoteVolume = parse("92233720368547.75807") })
	put(s, update(series, most))
	if err := s.SaveSymbols([]market.Symbol{{ID: 1, Name: "币1USDT", PriceDigits: 4, QtyDigits: 4}}); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	rows, _ := read(t, s, series, market.Span{From: at("10:01:00"), To: at("10:02:00")})
	same(t, "rows", rows, []market.Kline{most})
}

// TestHoleOfRefusedEnds: a refused kline stays missing when it is refused again, until it is kept.
func TestHoleOfRefusedEnds(t *testing.T) {
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	s := openTest(t, t.TempDir(), market.OneMinute)
	span := market.Span{From: at("10:00:00"), To: at("10:02:00")}
	good := testKline(series, at("10:00:00"))
	good.State = market.StateSettled
	bad := good
	bad.Open++
	for i, step := range []struct {
		do   func()
		want []market.Span
	}{
		{func() { s.Fetched(series, span, []market.Kline{bad}) }, []market.Span{{From: at("10:00:00"), To: at("10:01:00")}}},
		{func() { s.Fetched(series, span, []market.Kline{bad}) }, []market.Span{{From: at("10:00:00"), To: at("10:01:00")}}},
		{func() { s.Fetched(series, span, []market.Kline{good}) }, nil},
		{func() { put(s, update(series, bad)) }, []market.Span{{From: at("10:00:00"), To: at("10:01:00")}}},
		{func() { put(s, update(series, good)) }, nil},
	} {
		step.do()
		_, missing := read(t, s, series, span)
		same(t, fmt.Sprint("step ", i), missing, step.want)
	}
}

// fillDisk lets the database grow no further; the function that it returns makes room.
func fillDisk(t *testing.T, s *Store) (empty func()) {
	limit := func(pages int) {
		if _, err := s.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	return func() { limit(1 << 30) }
}

// TestFullDisk: what cannot be written waits, is read, and is written when it goes again.
func TestFullDisk(t *testing.T) {
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	dir := t.TempDir()
	s := openTest(t, dir, market.OneMinute)
	s.BeginLive(1, 1, at("10:00:00"))
	feedMinutes(s, 1, 0, 10)
	flush(t, s)
	empty := fillDisk(t, s)
	feedMinutes(s, 1, 10, 600)
	for range 2 {
		if err := s.Flush(context.Background()); err == nil || !strings.Contains(err.Error(), "full") {
			t.Fatal("the disk is full, and Flush says", err)
		}
		if st := s.Status(); !strings.Contains(st.State, "full") || st.OutboxRows != 600 || st.Rows != 10 {
			t.Errorf("status %+v", st)
		}
	}
	span := market.Span{From: at("10:00:00"), To: at("10:00:00") + 610*market.Minute}
	check := func() {
		t.Helper()
		rows, missing := read(t, s, series, span)
		if _, _, n := opensOf(t, series, rows); n != 610 || len(missing) != 0 {
			t.Fatalf("%d rows, missing %v", n, missing)
		}
	}
	check()
	empty()
	upTo(s, 1, span.To+doubted)
	flush(t, s)
	if st := s.Status(); st.State != StateOK || st.OutboxRows != 0 || st.Rows != 610 {
		t.Errorf("status %+v", st)
	}
	check()

	fillDisk(t, s)
	feedMinutes(s, 1, 610, 600)
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "600 klines not stored: ") {
		t.Error("Close with a full disk says", err)
	}
	put(s, update(series, testKline(series, at("23:00:00")))) // no panic, not taken
	if err := s.Flush(context.Background()); err == nil {
		t.Error("flushed a closed store")
	}
	s = openTest(t, dir, market.OneMinute)
	check()
	if _, missing := read(t, s, series, market.Span{From: span.To, To: span.To + market.Hour}); len(missing) != 1 {
		t.Error("what was not stored is not missing")
	}
}

// TestFullOutbox: beyond the bound the klines that ended first become holes; what is fetched again is whole.
func TestFullOutbox(t *testing.T) {
	series := market.Series{Symbol: 1, Interval: market.OneMinute}
	seconds := market.Series{Symbol: 1, Interval: interval("30s")}
	dir := t.TempDir()
	s := openTest(t, dir, market.OneMinute, interval("30s"))
	s.maxRows = 100
	s.BeginLive(1, 1, at("10:00:00"))
	put(s, update(seconds, testKline(seconds, at("10:00:00"))), update(seconds, testKline(seconds, at("10:00:30"))))
	empty := fillDisk(t, s)
	feedMinutes(s, 1, 0, 99) // 101 klines: the 10 that ended first go, 2 of 30s and 8 of 1m
	span := market.Span{From: at("10:00:00"), To: at("10:00:00") + 99*market.Minute}
	hole := []market.Span{{From: at("10:00:00"), To: at("10:08:00")}}
	check := func(name string, first string, want []market.Span) {
		t.Helper()
		rows, missing := read(t, s, series, span)
		if from, _, _ := opensOf(t, series, rows); from != first {
			t.Errorf("%s: rows from %s, want %s", name, from, first)
		}
		same(t, name, missing, want)
	}
	check("dropped", "10:08", hole)
	if st := s.Status(); st.DroppedRows != 10 || st.LostRows != 2 || st.OutboxRows != 91 || st.Holes != 2 {
		t.Errorf("status %+v", st)
	}
	if err := s.Flush(context.Background()); err == nil {
		t.Error("the disk is full")
	}
	check("dropped, and tried", "10:08", hole)
	empty()
	upTo(s, 1, span.To+doubted)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, dir, market.OneMinute, interval("30s"))
	check("opened again", "10:08", hole)

	var official []market.Kline
	for m := range market.Time(5) {
		k := testKline(series, at("10:00:00")+m*market.Minute)
		official = append(official, k)
	}
	s.Fetched(series, market.Span{From: at("10:00:00"), To: at("10:05:00")}, official)
	check("fetched", "10:00", []market.Span{{From: at("10:05:00"), To: at("10:08:00")}})
	settled := testKline(series, at("10:07:00"))
	settled.State = market.StateSettled
	put(s, update(series, settled))
	_, missing := read(t, s, series, span)
	same(t, "settled", missing, []market.Span{{From: at("10:05:00"), To: at("10:07:00")}})
	_, missing = read(t, s, seconds, market.Span{From: at("10:00:00"), To: at("10:01:00")})
	same(t, "seconds", missing, []market.Span{{From: at("10:00:00"), To: at("10:01:00")}})
}

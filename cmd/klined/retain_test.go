package main

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// TestParseRetain: what is named is kept so long, the rest as usual; what cannot be is named.
func TestParseRetain(t *testing.T) {
	ivs, err := parseIntervals("5s,1m,3m,10m,1h,12h,1d,1M")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ list, want string }{
		{"", "5s=1d,1m=30d,3m=90d,10m=90d,1h=forever,12h=forever,1d=forever,1M=forever"},
		{"1m=8w, 5s=36h,1h=3d", "5s=36h,1m=56d,3m=90d,10m=90d,1h=3d,12h=forever,1d=forever,1M=forever"},
		{"1m=forever,1M=52w", "5s=1d,1m=forever,3m=90d,10m=90d,1h=forever,12h=forever,1d=forever,1M=364d"},
		{"5s=1h,1m=1d,3m=1d,12h=3d,1d=90d", "5s=1h,1m=1d,3m=1d,10m=90d,1h=forever,12h=3d,1d=90d,1M=forever"},
		{"5s=59m", `--retain "5s=59m": want a time like 12h, 30d or 8w, or forever`},
		{"1m=23h", `--retain "1m=23h": klines of 1m must be kept for 1d at least`},
		{"3m=20h", `--retain "3m=20h": klines of 3m must be kept for 1d at least`},
		{"1h=2d", `--retain "1h=2d": klines of 1h must be kept for 3d at least`},
		{"1d=12w", `--retain "1d=12w": klines of 1d must be kept for 90d at least`},
		{"1m=0d", `--retain "1m=0d": want a time like 12h, 30d or 8w, or forever`},
		{"1m=-3d", `--retain "1m=-3d": want a time like 12h, 30d or 8w, or forever`},
		{"1m=99999w", `--retain "1m=99999w": want a time like 12h, 30d or 8w, or forever`},
		{"1m=", `--retain "1m=": want a time like 12h, 30d or 8w, or forever`},
		{"30d", `--retain "30d": want INTERVAL=TIME, as in 1m=30d`},
		{"60m=30d", `--retain "60m=30d": interval "60m": write 1h`},
		{"1s=2d", `--retain "1s=2d": 1s is not among --intervals`},
		{"1m=2d,1m=3d", `--retain "1m=3d": 1m is named twice`},
	} {
		retain, err := parseRetain(c.list, ivs)
		got := retainList(ivs, retain)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.list, got, c.want)
		}
		if again, err := parseRetain(got, ivs); !strings.HasPrefix(c.want, "--") && (err != nil || retainList(ivs, again) != got) {
			t.Errorf("%q is not read as it is printed: %v", got, err)
		}
	}
}

// TestOlderThanKept: klines that the store does not keep are served as the exchange has them, as often as they are asked for.
func TestOlderThanKept(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		start := at(t, "2027-01-05T11:57:30Z")
		o := options(t, market.SourceTrade, market.OneMinute, 10*market.OneMinute, market.OneHour)
		o.Retain = map[market.Interval]time.Duration{market.OneMinute: 24 * time.Hour, 10 * market.OneMinute: 24 * time.Hour}
		m := startMarket(t, sim.Options{Symbols: 5, Rate: 50, Seed: 7, Start: start}, o)
		defer m.end()
		m.until(start.Add(4 * time.Minute))
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, iv := range []market.Interval{market.OneMinute, 10 * market.OneMinute} {
			from := iv.Open(start) - 24*market.Hour - market.Time(300*iv)
			for range 2 {
				ours, err := m.judge.ours(symbols[0], iv, from, from+market.Time(600*iv))
				if err != nil {
					t.Fatal(err)
				}
				truth, err := m.judge.truth(symbols[0], iv, from, min(from+market.Time(600*iv), iv.Open(start)))
				if err != nil {
					t.Fatal(err)
				}
				if len(truth) < 300 || !slices.Equal(ours[:min(len(ours), len(truth))], truth) {
					t.Errorf("%s: %d klines, %d of the truth", iv, len(ours), len(truth))
				}
			}
		}
		if st := m.status(); st.Store.Rows == 0 {
			t.Errorf("%+v", st.Store)
		}
	})
}

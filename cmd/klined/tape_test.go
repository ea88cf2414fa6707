package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// serveTape lets a server run on an exchange that plays a tape: it builds the klines that replay made of it, minute by minute.
func serveTape(t *testing.T, source market.Source, files []string, replayed string) {
	synctest.Test(t, func(t *testing.T) {
		played, err := sim.ReadTape(nil, files...)
		if err != nil {
			t.Fatal(err)
		}
		m := startMarket(t, sim.Options{Tape: played}, options(t, source, market.OneMinute))
		defer m.end()
		from, to := played.Span()
		first, end := market.OneMinute.Ceil(from+20*market.Second), market.OneMinute.Open(to)
		m.until(end.Add(5 * time.Second))
		symbols, err := m.judge.symbols()
		if err != nil || len(symbols) != 4 {
			t.Fatal(symbols, err)
		}
		compared := 0
		for _, symbol := range symbols {
			rows, err := m.judge.ours(symbol, market.OneMinute, first, end)
			if err != nil {
				t.Fatal(err)
			}
			want := replayedRows(t, filepath.Join(replayed, symbol+"-1m.csv"))
			for _, r := range rows {
				if w, ok := want[r.open]; ok {
					compared++
					if got := r.values(); got != w {
						t.Errorf("%s %s: served %s, replayed %s", symbol, r.open, got, w)
					}
				}
			}
		}
		if minutes := int(end.Sub(first) / time.Minute); minutes < 2 || compared < 3*minutes {
			t.Errorf("%d klines compared, of %d minutes", compared, minutes)
		}
	})
}

// replayedRows are the values of a file of klines, by open time.
func replayedRows(t *testing.T, name string) map[market.Time]string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[market.Time]string)
	for line := range strings.Lines(strings.TrimPrefix(string(text), klineHeader)) {
		f := strings.Split(strings.TrimSpace(line), ",")
		open, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[market.Time(open)] = strings.Join(append(slices.Clone(f[1:6]), f[7:11]...), " ")
	}
	return all
}

// TestSimRefused: what cannot go together, or cannot be played, is said at once.
func TestSimRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("faults", []byte(`{"kind":"disconnect","at":3}{"kind":"disconect"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		stderr string
	}{
		{"sim --speed 2", 2, "klined: --speed: there is no --tape to play\n"},
		{"sim --tape none --rate 5", 2, "klined: --rate with --tape: it is the tape's\n"},
		{"sim --tape none", 1, "klined: open none: no such file or directory\n"},
		{"sim --tape none --speed 0", 2, "klined: --speed 0: want more than 0\n"},
		{"sim --rate 0", 2, "klined: --rate 0: want more than 0\n"},
		{"demo --rate 0", 2, "klined: --rate 0: want more than 0\n"},
		{"sim --faults none", 1, "klined: open none: no such file or directory\n"},
		{"sim --faults faults", 2, "klined: --faults faults: fault 2: unknown kind \"disconect\": want disconnect, silence, drop, " +
			"duplicate, reorder, garbage, rest_429, rest_418, rest_500, rest_slow, rest_wrong, archive_wrong, clock_skew, list, delist or clear\n"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr); status != c.status || stderr.String() != c.stderr {
			t.Errorf("klined %s: status %d, %q", c.args, status, &stderr)
		}
	}
}

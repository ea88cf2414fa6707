package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpackedRows are the lines of a gzip file, the header first, each with its line end.
func unpackedRows(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(strings.TrimSuffix(string(text), "\n")+"\n", "\n")
}

// TestReplayHoweverItComes: the same trades give the exchange's own minutes, however the archive packs and writes them.
func TestReplayHoweverItComes(t *testing.T) {
	pair := realPairs[0]
	official, err := os.ReadFile(realData(t, pair.klines))
	if err != nil {
		t.Fatal(err)
	}
	all := unpackedRows(t, realData(t, pair.trades))
	header, trades := all[0], all[1:]
	micros, backwards, anyOrder := slices.Clone(trades), slices.Clone(trades), slices.Clone(trades)
	for i, row := range trades {
		if cells := strings.Split(row, ","); len(cells) == 6 {
			cells[4] += "999"
			micros[i] = strings.Join(cells, ",")
		}
	}
	slices.Reverse(backwards)
	seed := seed(t)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(10_000, func(i, j int) { anyOrder[i], anyOrder[j] = anyOrder[j], anyOrder[i] })
	csv := func(header string, trades []string) string { return header + strings.Join(trades, "") }
	const missing = "307088663,99999.99,0,0,1607473000000,1\n"
	for _, c := range []struct{ name, file, content, stderr string }{
		{"zip, microseconds", "BTCUSDT-trades-2020-12.zip", zipped("BTCUSDT-trades-2020-12.csv", csv(header, micros)), pair.stderr},
		{"zstd, backwards, no header", "BTCUSDT-trades-2020-12-09.csv.zst", zst(csv("", backwards)), pair.stderr},
		{"in any order", "BTCUSDT-trades-2020-12-09.csv", csv(header, anyOrder), pair.stderr},
		{"the missing id with quantity 0", "BTCUSDT-trades-2020-12.csv", csv(header+missing, trades), "BTCUSDT: 1 trade left out: of quantity 0 or none of the market\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			rows, got := replayRows(t, file)
			if text := strings.Join(rows, "\n") + "\n"; len(rows) != pair.minutes || !bytes.Contains(official, []byte(text)) {
				t.Errorf("KLINED_SEED=%d: %d rows, want the exchange's own %d:\n%s", seed, len(rows), pair.minutes, text)
			}
			if got.stderr != c.stderr {
				t.Errorf("stderr %q, want %q", got.stderr, c.stderr)
			}
		})
	}
}

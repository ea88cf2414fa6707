package engine

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"klined/market"
)

var rewrite = flag.Bool("rewrite", false, "accept what the scenarios give now")

// TestScenarios plays testdata/*.txt. A file is a list of steps; a step is commands, a line "----", and what comes of
// them: the klines that were closed or revised, and the answers to the commands. Lines of '#' are for the reader. The
// commands stand in script_test.go. "go test ./engine -run TestScenarios -rewrite" accepts.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(text); got != want {
				t.Errorf("%s\n%s", file, firstDifference(want, got))
			}
		})
	}
}

// play runs the steps of a scenario and returns its text with the answers as they are.
func play(text string) (string, error) {
	var out strings.Builder
	var s script
	expected := false // within the old answers, which are dropped
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case line == "----":
			fmt.Fprintf(&out, "----\n%s", s.answers())
			expected = true
			continue
		case expected && line != "":
			continue
		}
		expected = false
		out.WriteString(line + "\n")
		if command := strings.TrimSpace(line); command != "" && command[0] != '#' {
			if err := s.run(strings.Fields(command)); err != nil {
				return "", fmt.Errorf("line %d: %q: %w", n+1, line, err)
			}
		}
	}
	if s.e != nil && s.answers() != "" {
		return "", fmt.Errorf("the last step has no ----")
	}
	return out.String(), nil
}

// firstDifference shows where two texts part, with what stands before.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	var out bytes.Buffer
	for _, line := range w[max(0, i-8):i] {
		fmt.Fprintf(&out, "      %s\n", line)
	}
	for _, line := range w[i:min(len(w), i+8)] {
		fmt.Fprintf(&out, "want  %s\n", line)
	}
	for _, line := range g[i:min(len(g), i+8)] {
		fmt.Fprintf(&out, "got   %s\n", line)
	}
	return out.String()
}

// script is a scenario that is being played.
type script struct {
	e     *Engine
	names []string // by SymbolID, which is the Slot too
	out   strings.Builder
}

// run executes one command.
func (s *script) run(args []string) error {
	commands := map[string]func([]string) error{
		"intervals": s.intervals, "symbol": s.symbol, "begin": s.begin, "load": s.load, "official": s.official,
		"trade": s.trade, "tick": s.tick, "gap": s.gap, "read": s.read, "forget": s.forget,
		"first": s.first, "fresh": s.fresh, "whole": s.whole,
	}
	f, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no such command")
	}
	if s.e == nil && args[0] != "intervals" {
		return fmt.Errorf("name the intervals first")
	}
	return f(args[1:])
}

// answers is what came of the commands since the last answers, the changed klines last.
func (s *script) answers() string {
	for _, u := range s.e.Drain(nil) {
		fmt.Fprintf(&s.out, "%s %s\n", s.names[u.Symbol], klineLine(u.Interval, &u.Kline))
	}
	defer s.out.Reset()
	return s.out.String()
}

// slot finds a symbol by its name.
func (s *script) slot(args []string) (Slot, []string, error) {
	if len(args) > 0 {
		if i := slices.Index(s.names, args[0]); i >= 0 {
			return Slot(i), args[1:], nil
		}
	}
	return 0, nil, fmt.Errorf("no such symbol")
}

// klineLine writes a kline: when; open high low close; volumes; count and ids; standing.
func klineLine(iv market.Interval, k *market.Kline) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-3s %s  %s %s %s %s", iv, clockText(k.OpenTime), k.Open, k.High, k.Low, k.Close)
	if k.TradeCount > 0 || !k.Volume.IsZero() {
		fmt.Fprintf(&b, "  volume %s quote %s", k.Volume, k.QuoteVolume)
		if !k.TakerBuyVolume.IsZero() || !k.TakerBuyQuoteVolume.IsZero() {
			fmt.Fprintf(&b, " buy %s %s", k.TakerBuyVolume, k.TakerBuyQuoteVolume)
		}
		fmt.Fprintf(&b, "  count %d", k.TradeCount)
	}
	if k.FirstID >= 0 || k.LastID >= 0 {
		fmt.Fprintf(&b, " ids %d..%d", k.FirstID, k.LastID)
	}
	if k.LastTradeID >= 0 {
		fmt.Fprintf(&b, " last %d", k.LastTradeID)
	}
	fmt.Fprintf(&b, "  %s", k.State)
	if k.Revision > 0 {
		fmt.Fprintf(&b, " revision %d", k.Revision)
	}
	if k.Gap {
		b.WriteString(" gap")
	}
	return b.String()
}

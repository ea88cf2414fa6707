package main

import (
	"io"
	"math"
	"runtime/debug"
	"strings"
	"testing"
)

// TestWindowFlag: sizes as people write them, and errors that name flag and value.
func TestWindowFlag(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64 // −1: refused
	}{
		{"256MiB", 256 << 20},
		{"64MiB", 64 << 20},
		{"1GiB", 1 << 30},
		{"1.5 GiB", 3 << 29},
		{"100MB", 100_000_000},
		{"1048576", 1 << 20},
		{"0", 0},
		{"", -1},
		{"1KiB", -1},
		{"-1MiB", -1},
		{"64XiB", -1},
		{"many", -1},
		{"16EiB", -1},
	} {
		got, err := parseSize("window", c.text, leastWindow, true)
		if c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("%q: %d, %v, want %d", c.text, got, err, c.want)
		}
		if want := `--window "` + c.text + `": want 0, or a size`; c.want < 0 && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: %d, %v", c.text, got, err)
		}
	}
	cmd := newServeCommand()
	cmd.SetArgs([]string{"--check", "--window", "12"})
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), `--window "12"`) {
		t.Errorf("--window 12: %v", err)
	}
}

// TestLimitMemory: the process is bounded by what its parts may take; who sets GOMEMLIMIT has the last word.
func TestLimitMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "4GiB")
	limitMemory(64<<20, defaultCapacity)
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("GOMEMLIMIT was set, and the limit moved from %d to %d", before, got)
	}
	t.Setenv("GOMEMLIMIT", "")
	limitMemory(256<<20, defaultCapacity)
	if got := debug.SetMemoryLimit(-1); got >= 1<<30 || got < 512<<20 || got == math.MaxInt64 {
		t.Errorf("the limit is %d", got)
	}
	usual := debug.SetMemoryLimit(-1)
	if limitMemory(256<<20, defaultCapacity+1000); debug.SetMemoryLimit(-1)-usual != 1000*aSymbol {
		t.Errorf("1000 symbols more, and the limit moved from %d to %d", usual, debug.SetMemoryLimit(-1))
	}
}

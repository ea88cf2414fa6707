package main

import (
	"bytes"
	"strings"
	"testing"

	"klined/bench"
)

// TestCommandLine: what is asked of klined itself, not of one of its commands. stdout must hold the text.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"version", exitDone, versionLine() + "\n", ""},
		{"--version", exitDone, versionLine() + "\n", ""},
		{"--verson", exitUsage, "", "klined: unknown flag --verson (did you mean \"--version\"?)\n"},
		{"serve --lanez 2", exitUsage, "", "klined: serve: unknown flag --lanez (did you mean \"--lanes\"?)\n"},
		{"servee", exitUsage, "", "klined: unknown command \"servee\" (did you mean \"serve\"?)\n"},
		{"nosuch", exitUsage, "", "klined: unknown command \"nosuch\"\n"},
		{"help config x", exitUsage, "", "klined: help: config has no command \"x\"\n"},
		{"help servee", exitUsage, "", "klined: help: unknown command \"servee\" (did you mean \"serve\"?)\n"},
		{"bench --rows decod", exitUsage, "", "klined: --rows \"decod\": no such row (did you mean \"decode\"?); there are " + strings.Join(bench.Names(), ", ") + "\n"},
		{"help sim", exitDone, "delay is how many seconds an answer takes (5, at most 60), ms is milliseconds", ""},
	} {
		var stdout, stderr bytes.Buffer
		status := run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr)
		if status != c.status || !strings.Contains(stdout.String(), c.stdout) || stderr.String() != c.stderr {
			t.Errorf("klined %s: status %d, stdout %q, stderr %q", c.args, status, &stdout, &stderr)
		}
	}
}

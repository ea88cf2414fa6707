package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestTokenFile: what a token may be; and no error tells what is in the file.
func TestTokenFile(t *testing.T) {
	const token = "0123456789abcdef"
	for _, c := range []struct {
		name, text string
		want       string // in the error; "" where there is none
	}{
		{"as openssl writes it", token + "\n", ""},
		{"from Windows", " " + token + "\r\n", ""},
		{"base64", "ab+/cd==ab+/cd==", ""},
		{"as long as it may be", strings.Repeat("a", longestToken), ""},
		{"too long", strings.Repeat("a", longestToken+1), "more than 512 characters"},
		{"far too long", strings.Repeat("a", 1<<20), "more than 512 characters"},
		{"too short", token[1:], "15 characters are too few, want 16: openssl rand -hex 32 > "},
		{"empty", "", "0 characters are too few"},
		{"two lines", token + "\n" + token, "want one line of letters"},
		{"what no header holds", token + "é", "want one line of letters"},
	} {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readToken(file)
		if c.want == "" && (err != nil || got != strings.TrimSpace(c.text)) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), token[1:])) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestTokenForItsFile: a token given where its file is wanted is told nowhere: neither in the error nor by --check.
func TestTokenForItsFile(t *testing.T) {
	for _, token := range []string{
		"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", // openssl rand -hex 32
		"/n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCg=",                     // -base64 32
		"eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo",
		strings.Repeat("0123456789abcdef", 32), // longer than a file's name may be
	} {
		for _, given := range []struct{ args, environ, want string }{
			{"serve --token " + token, "", "klined: --token: no file that can be read is called so: "},
			{"serve --check --token " + token, "", "klined: --token: no file that can be read is called so: "},
			{"serve", "KLINED_TOKEN=" + token, "klined: KLINED_TOKEN: no file that can be read is called so: "},
			{"serve --check", "KLINED_TOKEN=" + token, "klined: KLINED_TOKEN: no file that can be read is called so: "},
		} {
			var stdout, stderr bytes.Buffer
			status := run(t.Context(), strings.Fields(given.args), strings.Fields(given.environ), &stdout, &stderr)
			said := stdout.String() + stderr.String()
			if status != exitUsage || strings.Contains(said, token[:16]) || !strings.HasPrefix(stderr.String(), given.want) {
				t.Errorf("%.40s…: status %d: %s", given.args, status, said)
			}
		}
	}
}

// TestTokenAndForward: with a token, keys may go on for whoever shows it, wherever it is listened.
func TestTokenAndForward(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	var o serveOptions
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse([]string{"--forward", "all", "--listen", ":80", "--token", file}); err != nil {
		t.Fatal(err)
	}
	if err := o.parse(); err != nil || o.token != "0123456789abcdef" {
		t.Errorf("%q, %v", o.token, err)
	}
	var shown bytes.Buffer
	if printSettings(&shown, flags); strings.Contains(shown.String(), o.token) {
		t.Errorf("--check prints %s", &shown)
	}
}

// TestListeningWarns: who opens the port to others is told what that means.
func TestListeningWarns(t *testing.T) {
	for _, c := range []struct {
		listen string
		token  bool
		want   string // in the log; "" where nothing is said
	}{
		{"127.0.0.1:8080", false, ""},
		{"[::1]:8080", false, ""},
		{"localhost:8080", false, ""},
		{":8080", false, "whoever reaches any address of this machine"},
		{"0.0.0.0:8080", false, "use up what the exchange allows"},
		{"[::]:8080", true, "the token crosses the network in the clear"},
		{"192.0.2.1:8080", true, "whoever reaches 192.0.2.1"},
	} {
		var log bytes.Buffer
		warnOfListening(slog.New(slog.NewTextHandler(&log, nil)), c.listen, c.token)
		if got := log.String(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) || got != "" && !strings.Contains(got, "level=WARN") {
			t.Errorf("%s: %q, want %q", c.listen, got, c.want)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	for mode, warns := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		warnOfToken(slog.New(slog.NewTextHandler(&log, nil)), file)
		if strings.Contains(log.String(), "chmod 600") != warns {
			t.Errorf("%o: %q", mode, &log)
		}
	}
}

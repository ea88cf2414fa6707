package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

// settled is serve's flags as these arguments, variables and this file, klined.toml, set them.
func settled(t *testing.T, args string, environ []string, text string) (*pflag.FlagSet, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("klined.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, err := newRootCommand(environ).Find([]string{"serve"})
	if err == nil {
		err = cmd.ParseFlags(strings.Fields(args))
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Flags(), resolve(cmd, environ)
}

// TestSettings: flag over environment over file over default, of whatever type.
func TestSettings(t *testing.T) {
	const file = "listen = '[::1]:9'\nlanes = 7\npush-every = \"100ms\"\nsymbols = ['BTCUSDT', \"ETHUSDT\"]\nwindow = 0\nretain = \"\"\n"
	for _, c := range []struct {
		args    string
		environ []string
		want    string
	}{
		{"", nil, "127.0.0.1:8080 4 250ms all 256MiB"},
		{"--config klined.toml", nil, "[::1]:9 7 100ms BTCUSDT,ETHUSDT 0"},
		{"", []string{"KLINED_CONFIG=klined.toml"}, "[::1]:9 7 100ms BTCUSDT,ETHUSDT 0"},
		{"", []string{"KLINED_LANES=6", "KLINED_PUSH_EVERY=1s"}, "127.0.0.1:8080 6 1s all 256MiB"},
		{"--config klined.toml", []string{"KLINED_LANES=6", "KLINED_SYMBOLS=btcusdt"}, "[::1]:9 6 100ms btcusdt 0"},
		{"--config klined.toml --lanes 5", []string{"KLINED_LANES=6", "KLINED_LISTEN=:1"}, ":1 5 100ms BTCUSDT,ETHUSDT 0"},
		{"--lanes 4 --config klined.toml", nil, "[::1]:9 4 100ms BTCUSDT,ETHUSDT 0"},
		{"", []string{"KLINED_LANES=", "KLINED_CONFIG="}, "127.0.0.1:8080 4 250ms all 256MiB"},
		{"", []string{"KLINED_RATE=5", "KLINED_FORMAT=csv"}, "127.0.0.1:8080 4 250ms all 256MiB"},
		{"", []string{"KLINED_PORT=tcp://10.0.0.1:80", "KLINED_SERVICE_HOST=10.0.0.1", "KLINED_PORT_80_TCP_ADDR=10.0.0.1"}, "127.0.0.1:8080 4 250ms all 256MiB"},
		{"", []string{"LANES=9", "klined_lanes=9"}, "127.0.0.1:8080 4 250ms all 256MiB"},
	} {
		flags, err := settled(t, c.args, c.environ, file)
		if err != nil {
			t.Errorf("%s %v: %v", c.args, c.environ, err)
			continue
		}
		var got []string
		for _, name := range []string{"listen", "lanes", "push-every", "symbols", "window"} {
			got = append(got, flags.Lookup(name).Value.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %v: %s, want %s", c.args, c.environ, got, c.want)
		}
	}
}

// TestSettingsRefused: what is wrong is refused as wrong usage, by the name of the place where it stands.
func TestSettingsRefused(t *testing.T) {
	for _, c := range []struct{ command, environ, file, want string }{
		{"serve --lanes many", "", "", `serve: --lanes "many": want a whole number`},
		{"serve --listen x", "", "", `--listen "x": want HOST:PORT, like 127.0.0.1:8080`},
		{"serve", "KLINED_LISTEN=x", "", `KLINED_LISTEN "x": want HOST:PORT, like 127.0.0.1:8080`},
		{"serve", "KLINED_LANES=many", "", `KLINED_LANES "many": want a whole number`},
		{"serve", "KLINED_LANES=65", "", `KLINED_LANES 65: want 1 to 64`},
		{"serve", "KLINED_REST_WEIGHT=1", "", `KLINED_REST_WEIGHT 1: want 20 to 2400`},
		{"serve", "KLINED_LISTNE=x", "", `unknown environment variable KLINED_LISTNE (did you mean "KLINED_LISTEN"?)`},
		{"serve", "KLINED_PUSHEVERY=1s", "", `unknown environment variable KLINED_PUSHEVERY (did you mean "KLINED_PUSH_EVERY"?)`},
		{"serve", "KLINED_CHECK=true", "", `unknown environment variable KLINED_CHECK`},
		{"export", "KLINED_QWERTYUIOP=x", "", `unknown environment variable KLINED_QWERTYUIOP`},
		{"serve", "KLINED_FOO=1", "", "unknown environment variable KLINED_FOO\n"},
		{"serve", "KLINED_FORMTA=csv", "", "unknown environment variable KLINED_FORMTA\n"},
		{"export", "KLINED_FORMTA=csv", "", `unknown environment variable KLINED_FORMTA (did you mean "KLINED_FORMAT"?)`},
		{"export", "KLINED_FORMAT=xlsx", "", `KLINED_FORMAT "xlsx": want csv, jsonl or parquet`},
		{"audit", "KLINED_INTERVALS=1s", "", `KLINED_INTERVALS: interval "1s": the exchange has none below a minute`},
		{"sim", "KLINED_SYMBOLS=1", "", `KLINED_SYMBOLS 1: want 2 to 1000`},
		{"sim", "KLINED_SYMBOLS=all", "", `KLINED_SYMBOLS "all": want a whole number`},
		{"sim", "KLINED_BURN=2", "", `KLINED_BURN 2: want a share from 0 to 0.5`},
		{"sim --latency -5", "", "", `--latency -5: want milliseconds, 0 to 60000`},
		{"sim --latency NaN", "", "", `--latency NaN: want milliseconds, 0 to 60000`},
		{"bench", "KLINED_ROUNDS=0", "", `KLINED_ROUNDS 0: want 1 to 100`},
		{"serve --listen 0.0.0.0:1", "KLINED_FORWARD=all", "", `KLINED_FORWARD all with --listen 0.0.0.0:1: requests with keys`},
		{"serve --forward all", "KLINED_LISTEN=0.0.0.0:1", "", `(--listen is that of KLINED_LISTEN)`},
		{"serve --config none.toml", "", "", `cannot read the configuration: open none.toml: no such file or directory`},
		{"serve", "KLINED_CONFIG=klined.toml", "\nlisten = \"x\"", `klined.toml:2: listen "x": want HOST:PORT, like 127.0.0.1:8080`},
		{"FILE", "", "listen = \"\"", `klined.toml:1: listen "": want HOST:PORT, like 127.0.0.1:8080`},
		{"FILE", "", "# one\n\nlanes = 65", `klined.toml:3: lanes 65: want 1 to 64`},
		{"FILE", "", "lanes = \"4\"", `klined.toml:1: lanes is a text: want a whole number`},
		{"FILE", "", "lanes = 4.5", `klined.toml:1: lanes is a number: want a whole number`},
		{"FILE", "", "listen = 8080", `klined.toml:1: listen is a number: want a text in quotes`},
		{"FILE", "", "settle = true", `klined.toml:1: settle is true or false: want a text in quotes`},
		{"FILE", "", "dir = ['a']", `klined.toml:1: dir is a list: want a text in quotes`},
		{"FILE", "", "symbols = [1]", `klined.toml:1: symbols is a list: want a list of texts in quotes, like ["a", "b"], or one text: "a,b"`},
		{"FILE", "", "window = 1.5", `klined.toml:1: window is a number: want a size in quotes, like "64MiB", or a whole number`},
		{"FILE", "", "push-every = 250", `klined.toml:1: push-every is a number: want a time in quotes, like "250ms"`},
		{"FILE", "", "push-every = \"soon\"", `klined.toml:1: push-every "soon": want a duration like 250ms`},
		{"FILE", "", "grace = 2026-01-01", `klined.toml:1: grace is a date or time: want a text in quotes`},
		{"FILE", "", "lanes = 4\nlistne = 'x'", `klined.toml:2: unknown key "listne" (did you mean "listen"?)`},
		{"FILE", "", "check = true", `klined.toml:1: unknown key "check"`},
		{"FILE", "", "config = 'x'", `klined.toml:1: unknown key "config"`},
		{"FILE", "", "lanes = 4\n[store]\ndir = 'x'", `klined.toml:2: store is a table: want KEY = VALUE, with the flags' names as keys`},
		{"FILE", "", "store.dir = 'x'", `klined.toml:1: store is a table`},
		{"FILE", "", "lanes = 4\nlanes = 5", `klined.toml:2: toml: `},
		{"FILE", "", "\n\nlanes =", `klined.toml:3: toml: `},
	} {
		dir := t.TempDir()
		t.Chdir(dir)
		if err := os.WriteFile(filepath.Join(dir, "klined.toml"), []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		command := strings.Replace(c.command, "FILE", "serve --config klined.toml", 1)
		status := run(t.Context(), strings.Fields(command), strings.Fields(c.environ), &stdout, &stderr)
		if status != exitUsage || !strings.Contains(stderr.String(), c.want) || stdout.Len() > 0 {
			t.Errorf("klined %s, %s, %q: status %d, stderr %q, want %q", command, c.environ, c.file, status, &stderr, c.want)
		}
		if !strings.HasPrefix(c.want, "(") && !strings.HasPrefix(stderr.String(), "klined: "+c.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("klined %s, %s, %q: stderr %q does not begin with it, or is not a line", command, c.environ, c.file, &stderr)
		}
	}
}

// example is the configuration that comes with klined.
const example = "../../deploy/klined.toml"

// TestExample: the example is what klined help config prints, and sets every flag of serve to its default.
func TestExample(t *testing.T) {
	var help, stderr bytes.Buffer
	if status := run(t.Context(), []string{"help", "config"}, nil, &help, &stderr); status != exitDone {
		t.Fatalf("klined help config: status %d, %q", status, &stderr)
	}
	file, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, help.Bytes()) {
		t.Errorf("deploy/klined.toml is not what klined help config prints: go run ./cmd/klined help config > deploy/klined.toml")
	}
	var keys map[string]any
	if err := toml.Unmarshal(file, &keys); err != nil {
		t.Fatal(err)
	}
	flags, err := settled(t, "--config klined.toml", nil, string(file))
	if err != nil {
		t.Fatal(err)
	}
	eachSetting(flags, func(f *pflag.Flag) {
		if _, there := keys[f.Name]; !there || f.Value.String() != f.DefValue || origin(f) == "" {
			t.Errorf("%s: %q from %q, want %q", f.Name, f.Value, origin(f), f.DefValue)
		}
		if !strings.Contains(help.String(), "; "+envName(f.Name)+"\n"+f.Name+" = ") {
			t.Errorf("%s: not explained", f.Name)
		}
		delete(keys, f.Name)
	})
	if len(keys) > 0 {
		t.Errorf("not flags: %v", keys)
	}
	for name := range takes {
		if flags.Lookup(name) == nil {
			t.Errorf("--%s takes %q, and there is no such flag", name, takes[name])
		}
	}
}

// TestPrintSettings: what is printed is a file that sets the same, and says where each value stands.
func TestPrintSettings(t *testing.T) {
	flags, err := settled(t, "--config klined.toml --lanes 5", []string{"KLINED_GRACE=1s"}, "listen = ':1'\nretain = '1m=60d'\nsymbols = 'A\"B'\n")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	printSettings(&text, flags)
	for _, want := range []string{"lanes = 5 # --lanes\n", "grace = \"1s\" # KLINED_GRACE\n", "listen = \":1\" # klined.toml:1: listen\n", "\nredundancy = 2\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	again, err := settled(t, "--config klined.toml", nil, text.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, &text)
	}
	eachSetting(flags, func(f *pflag.Flag) {
		if got := again.Lookup(f.Name).Value; fmt.Sprint(got) != fmt.Sprint(f.Value) {
			t.Errorf("%s: %q, and again %q", f.Name, f.Value, got)
		}
	})
}

// TestPrintSettingsThatAreNot: a value that cannot be printed as it is stands in a comment: a file with *** for a password would be
// taken, and would fail at the proxy.
func TestPrintSettingsThatAreNot(t *testing.T) {
	flags, err := settled(t, "--dir a\x01\x7f\a\\x01\u00adé --record \xff", []string{"KLINED_PROXY=socks5://u:geheim@h:1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	printSettings(&text, flags)
	for _, want := range []string{"\n# proxy = \"socks5://u:***@h:1\" # KLINED_PROXY; not as it is\n", "\n# record = \"\ufffd\" # --record; not as it is\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	again, err := settled(t, "--config klined.toml", nil, text.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, &text)
	}
	if got, want := again.Lookup("dir").Value.String(), flags.Lookup("dir").Value.String(); got != want || again.Lookup("proxy").Value.String() != "" {
		t.Errorf("dir is %q, and again %q; the proxy is %s", want, got, again.Lookup("proxy").Value)
	}
}

// TestNearest: a hint names something else than what was wrong, and like it.
func TestNearest(t *testing.T) {
	names := []string{"BTCUSDT", "ETHUSDT", "NEWUSDT", "NEWUSDC", "symbols", "dir", "ws"}
	for wrong, want := range map[string]string{"BTCUSD": ` (did you mean "BTCUSDT"?)`, "NEWUSDT": ` (did you mean "NEWUSDC"?)`, "x": "", "NOSUCH": "", "OLDUSDT": "",
		"symbl": ` (did you mean "symbols"?)`, "dri": ` (did you mean "dir"?)`, "sw": ""} {
		if got := nearest(wrong, names); got != want {
			t.Errorf("%s: %q, want %q", wrong, got, want)
		}
	}
}

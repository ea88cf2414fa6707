package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// deployed is a file of deploy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// startsServe checks that a command line, without the program, is one of klined serve with flags that there are.
func startsServe(t *testing.T, where string, args []string) {
	t.Helper()
	cmd, rest, err := newRootCommand(nil).Find(args)
	if err != nil || cmd.Name() != "serve" {
		t.Fatalf("%s: %v does not serve: %v", where, args, err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%s: %v", where, flagError(cmd, err))
	}
}

// TestUnit: systemd takes the unit, and klined takes the command line in it.
func TestUnit(t *testing.T) {
	unit := deployed(t, "klined.service")
	settings := map[string]string{}
	for line := range strings.Lines(unit) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			settings[key] = value
		}
	}
	program, args, _ := strings.Cut(settings["ExecStart"], " ")
	if program != "/usr/local/bin/klined" {
		t.Errorf("it starts %s", program)
	}
	startsServe(t, "klined.service", strings.Fields(args))
	for key, want := range map[string]string{"Type": "notify", "Restart": "always", "StartLimitIntervalSec": "0",
		"DynamicUser": "yes", "StateDirectory": "klined", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "CapabilityBoundingSet": ""} {
		if got, there := settings[key]; !there || got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"RestartPreventExitStatus", "SuccessExitStatus"} { // 2 is a crash's status, and of what systemd's watchdog ends
		if prevents := settings[key]; prevents != "" {
			t.Errorf("%s=%s: what ends is not started again", key, prevents)
		}
	}
	if !strings.Contains(args, "--dir /var/lib/"+settings["StateDirectory"]) {
		t.Errorf("the store is not in the directory that may be written: %s", args)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here: systemd has not read the unit")
	}
	file := filepath.Join(t.TempDir(), "klined.service") // with a program that is here
	if err := os.WriteFile(file, []byte(strings.Replace(unit, program, "/bin/sh", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || strings.Contains(string(said), "klined.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, said)
	}
}

// TestUnitToken: the service, whose user owns no file, is handed the token: what is commented out for that belongs together.
func TestUnitToken(t *testing.T) {
	found := regexp.MustCompile(`(?m)^#LoadCredential=(\w+):/etc/klined/token\n#Environment=(\w+=%d/(\w+))$`).FindStringSubmatch(deployed(t, "klined.service"))
	if found == nil || found[1] != found[3] {
		t.Fatalf("the unit says %q", found)
	}
	flags := flagNames(newServeCommand().Flags())
	values, err := environment([]string{found[2]}, flags, nil)
	if err != nil || values["token"].text != "%d/token" {
		t.Errorf("%s: %v, %v", found[2], values, err)
	}
	if guide := deployed(t, "README.md"); !strings.Contains(guide, "/etc/klined/token") {
		t.Error("deploy/README.md does not say how")
	}
}

// TestDockerfile: what the image is made of exists, and what runs in it is klined serve, static, without root.
func TestDockerfile(t *testing.T) {
	lines := strings.Split(strings.ReplaceAll(deployed(t, "Dockerfile"), "\\\n", " "), "\n")
	last := map[string]string{} // instructions of the last stage
	var static bool
	for _, line := range lines {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if what == "FROM" {
			clear(last)
		}
		last[what] = rest
		static = static || what == "RUN" && strings.Contains(rest, "CGO_ENABLED=0") && strings.Contains(rest, "./cmd/klined")
		if what != "COPY" || strings.HasPrefix(rest, "--from") {
			continue
		}
		from := strings.Fields(rest)
		for _, path := range from[:len(from)-1] {
			if _, err := os.Stat(filepath.Join("..", "..", path)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if !static || last["FROM"] != "scratch" || last["USER"] != "65532:65532" || last["ENTRYPOINT"] != `["/klined"]` || last["VOLUME"] != "/data" {
		t.Errorf("not static, not without root, or no volume: %q", last)
	}
	startsServe(t, "Dockerfile", strings.FieldsFunc(last["CMD"], func(r rune) bool { return strings.ContainsRune(`[]", `, r) }))
	ours := slices.DeleteFunc(strings.Fields(last["ENV"]), func(v string) bool { return !strings.HasPrefix(v, envPrefix) })
	if values, err := environment(ours, flagNames(newServeCommand().Flags()), nil); err != nil || values["dir"].text != last["VOLUME"] || values["listen"].text == "" {
		t.Errorf("%q: %v, %v", ours, values, err)
	}
	if !strings.Contains(strings.Join(lines, "\n"), "/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt") {
		t.Error("no certificates: TLS to the exchange cannot be verified")
	}
}

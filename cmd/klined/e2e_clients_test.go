//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// clientsIn is the folder of the clients' scripts.
const clientsIn = "testdata/clients"

// TestE2EClients plays the scenarios of unmodified clients of the exchange against the exchange and against klined, and
// compares; and runs the recipes of README as they stand there. All of them wait for the end of a minute.
func TestE2EClients(t *testing.T) {
	t.Parallel()
	program := goProgram(t, filepath.Join(clientsIn, "gobinance", "main.go"))
	_, exchange := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "5", "--rate", "100", "--latency", "2", "--start", "2027-01-05T10:00:35Z")
	_, klined := launch(t, serveAddress, "serve", "--listen", "127.0.0.1:0", "--dir", filepath.Join(t.TempDir(), "store"),
		"--rest", "http://"+exchange, "--ws", "ws://"+exchange, "--archive", "http://"+exchange, "--source", "trade", "--backfill", "0", "--grace", patient,
		"--intervals", "1s,1m,3m,5m,15m,30m,1h,2h,4h,6h,8h,12h,1d,3d,1w,1M")
	_, forwarding := launch(t, serveAddress, "serve", "--listen", "127.0.0.1:0", "--dir", filepath.Join(t.TempDir(), "store"), "--rest", "http://"+exchange,
		"--ws", "ws://"+exchange, "--symbols", "BTCUSDT", "--intervals", "1m", "--backfill", "0", "--forward", "all")
	for name, server := range map[string]string{"ccxt": klined, "binance": klined, "official": klined, "signed": forwarding} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, dir := nodeFolder(t)
			compareFound(t, exec.Command(node, filepath.Join(dir, name+".mjs"), exchange, server))
		})
	}
	t.Run("go-binance", func(t *testing.T) {
		t.Parallel()
		compareFound(t, exec.Command(program, exchange, klined))
	})
	t.Run("README", func(t *testing.T) {
		t.Parallel()
		testRecipes(t, klined)
	})
}

// nodeFolder is node, and a folder with the scripts beside the packages that they import.
func nodeFolder(t *testing.T) (node, dir string) {
	t.Helper()
	node, err := exec.LookPath("node")
	modules := os.Getenv(nodeModules)
	if err != nil || modules == "" {
		t.Skipf("needs node, and %s naming a folder where npm has installed the clients: .ci/run does both", nodeModules)
	}
	dir = t.TempDir()
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	scripts, _ := filepath.Glob(filepath.Join(clientsIn, "*.mjs"))
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(script)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return node, dir
}

// goProgram builds a Go file in the module of go-binance.
func goProgram(t *testing.T, main string) string {
	t.Helper()
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "client")
	for name, from := range map[string]string{
		"go.mod": filepath.Join(clientsIn, "gobinance", "go.mod"), "go.sum": filepath.Join(clientsIn, "gobinance", "go.sum"), "main.go": main,
	} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// found is what a client's scenario found at one address: see testdata/clients/both.mjs.
type found struct {
	Same map[string]any
	Rows map[string][][]any
	Live map[string]struct {
		Running int
		Closed  []map[string]any
	}
	Facts map[string][][2]any
	Own   map[string][]float64
}

// compareFound runs a client against both and compares what it found.
func compareFound(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n")) // clients log to stdout, too
	var both struct{ Exchange, Klined found }
	decoder := json.NewDecoder(bytes.NewReader(lines[len(lines)-1]))
	decoder.UseNumber()
	if err := decoder.Decode(&both); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	x, k := both.Exchange, both.Klined
	if len(x.Same) < 9 { // a scenario that found nothing would be equal, too
		t.Errorf("%d answers of the exchange alone", len(x.Same))
	}
	if diff := gocmp.Diff(x.Same, k.Same); diff != "" {
		t.Errorf("answers (-exchange +klined):\n%s", diff)
	}
	for name, rows := range x.Rows {
		compareRows(t, name, rows, k.Rows[name])
	}
	for name, of := range x.Live {
		got := k.Live[name]
		if of.Running == 0 || got.Running == 0 || len(of.Closed) == 0 {
			t.Errorf("%s: %d updates and %d closes of the exchange, %d and %d of klined", name, of.Running, len(of.Closed), got.Running, len(got.Closed))
		}
		for _, kline := range slices.Concat(of.Closed, got.Closed) {
			delete(kline, "r") // what klined adds
			delete(kline, "st")
			if strings.HasPrefix(name, "continuous") { // the exchange numbers updates there, klined trades
				delete(kline, "f")
				delete(kline, "L")
			}
		}
		if diff := gocmp.Diff(of.Closed, got.Closed); diff != "" {
			t.Errorf("%s: closed (-exchange +klined):\n%s", name, diff)
		}
	}
	for name, facts := range x.Facts {
		compareFacts(t, name, facts, k.Facts[name])
	}
	for name, opens := range k.Own {
		for i, open := range opens {
			if i > 0 && open != opens[i-1]+1000 {
				t.Errorf("%s: closed %v: not each second once", name, opens)
				break
			}
		}
		if len(opens) < 2 {
			t.Errorf("%s: closed %v", name, opens)
		}
	}
}

// compareFacts compares events that klined passes on: each once, in the exchange's order, the same.
func compareFacts(t *testing.T, name string, of, got [][2]any) {
	t.Helper()
	exchange := make(map[any]any, len(of))
	for _, fact := range of {
		exchange[fact[0]] = fact[1]
	}
	both := 0
	for i, fact := range got {
		if i > 0 && strings.HasPrefix(name, "aggTrade") && idNumber(fact[0]) != idNumber(got[i-1][0])+1 {
			t.Errorf("%s: %v after %v", name, fact[0], got[i-1][0])
		}
		if event, ok := exchange[fact[0]]; ok {
			both++
			if diff := gocmp.Diff(event, fact[1]); diff != "" {
				t.Errorf("%s %v (-exchange +klined):\n%s", name, fact[0], diff)
				return
			}
		}
	}
	if both == 0 {
		t.Errorf("%s: %d events of the exchange and %d of klined, %d the same", name, len(of), len(got), both)
	}
}

// idNumber is an id as a number.
func idNumber(id any) int64 {
	n, _ := strconv.ParseInt(fmt.Sprint(id), 10, 64)
	return n
}

// compareRows compares klines that were asked for about the same time: a minute may have begun between, and the last of
// each may have been running.
func compareRows(t *testing.T, name string, of, got [][]any) {
	t.Helper()
	opens := func(rows [][]any) []string {
		out := make([]string, len(rows))
		for i, row := range rows {
			out[i] = fmt.Sprint(row[0])
		}
		return out
	}
	a, b := opens(of), opens(got)
	if len(a) != len(b) {
		t.Errorf("%s: %d rows of the exchange, %d of klined", name, len(a), len(b))
		return
	}
	if len(a) > 1 && !slices.Equal(a, b) && !slices.Equal(a[1:], b[:len(b)-1]) && !slices.Equal(b[1:], a[:len(a)-1]) {
		t.Errorf("%s: not the same klines: %s … %s of the exchange, %s … %s of klined", name, a[0], a[len(a)-1], b[0], b[len(b)-1])
		return
	}
	for i, open := range a[:max(0, len(a)-1)] {
		j := slices.Index(b[:len(b)-1], open)
		if j >= 0 && !reflect.DeepEqual(of[i], got[j]) {
			t.Errorf("%s: the exchange's %v, klined's %v", name, of[i], got[j])
			return
		}
	}
}

// testRecipes runs what README shows, at another address, until it has printed klines by REST and live.
func testRecipes(t *testing.T, klined string) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(readme), "127.0.0.1:8080", klined)
	for _, c := range []struct{ name, file, begins, want string }{
		{"ccxt", "recipe.mjs", "```js\nimport ccxt from 'ccxt'", `(?s)\n\]\n.*17991\d{8},`},
		{"binance", "recipe.mjs", "```js\nimport { USDMClient", `(?s)17991\d{8},.*x: (true|false)`},
		{"official", "recipe.mjs", "```js\nimport { DerivativesTradingUsdsFutures", `(?s)17991\d{8},.*x: (true|false)`},
		{"freqtrade", "freqtrade.json", "```json\n{\n  \"trading_mode\"", `(?s)'BTC/USDT:USDT'.*17991\d{8},.*\n\]\n.*17991\d{8},`},
		{"lightweight-charts", "chart.js", "```js\nconst kline = ", `the chart is right\n`},
		{"curl", "curl.sh", "```sh\ncurl 'http://127.0.0.1:8080/fapi/v1/klines", `(?s)(\[\[17991\d{8},.*){2}`},
		{"go-binance", "main.go", "```go\npackage main", `(?s)17991\d{8}.*IsFinal:(true|false)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begins := strings.ReplaceAll(c.begins, "127.0.0.1:8080", klined)
			_, block, shown := strings.Cut(text, begins)
			if !shown {
				t.Fatalf("README shows nothing that begins with %q", c.begins)
			}
			block, _, _ = strings.Cut(begins[strings.Index(begins, "\n")+1:]+block, "\n```")
			cmd := recipe(t, c.file, block+"\n", klined)
			printed(t, cmd, regexp.MustCompile(c.want))
		})
	}
}

// recipe is the command that runs what README shows, with klined's address in it.
func recipe(t *testing.T, name, text, klined string) *exec.Cmd {
	t.Helper()
	node, dir := "", t.TempDir()
	if name != "main.go" && name != "curl.sh" {
		node, dir = nodeFolder(t)
	}
	file := filepath.Join(dir, name)
	if name == "curl.sh" {
		if _, err := exec.LookPath("curl"); err != nil {
			t.Skip("needs curl")
		}
		text = regexp.MustCompile("(?m)^websocat .*").ReplaceAllString(text, "")
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	switch name {
	case "main.go":
		return exec.Command(goProgram(t, file))
	case "curl.sh":
		return exec.Command("sh", file)
	case "chart.js":
		_, chromium := browser(t)
		library, err := filepath.Abs("../../serve/web/lightweight-charts.js")
		if err != nil {
			t.Fatal(err)
		}
		return exec.Command(node, filepath.Join(dir, "chart.mjs"), file, klined, chromium, library)
	case "freqtrade.json":
		return exec.Command(node, filepath.Join(dir, "freqtrade.mjs"), file)
	}
	return exec.Command(node, file)
}

// printed runs a command until its output matches.
func printed(t *testing.T, cmd *exec.Cmd, want *regexp.Regexp) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	late := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	var out bytes.Buffer
	buf := make([]byte, 32<<10)
	for !want.Match(out.Bytes()) {
		n, err := reader.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v ended without printing %s\n%s", cmd.Args, want, out.String())
		}
	}
}

//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// screenshots names a folder into which TestE2EPage puts pictures of the page.
const screenshots = "KLINED_SCREENSHOTS"

// TestE2EPage uses the chart page in a real browser: it loads, searches among 800 symbols, in the forms of other programs too, and finds
// one that is listed meanwhile, switches by key and by address, loads earlier klines, receives live ones, shows how the server stands,
// looks as it should in both themes and on a phone, withstands a browser that keeps nothing and a server that closes and does not settle,
// shows a symbol that is in no list, draws the last price where it is, keeps so many klines and no more, and survives a restart of the
// server.
func TestE2EPage(t *testing.T) {
	t.Parallel()
	node, chromium := browser(t)
	_, xAddr := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "800", "--rate", "200", "--start", "2027-01-05T20:00:45Z")
	dir, listen := filepath.Join(t.TempDir(), "store"), "127.0.0.1:0"
	serve := func(settle string) (*process, string) {
		return launch(t, serveAddress, "serve", "--settle", settle, "--listen", listen, "--dir", dir, "--rest", "http://"+xAddr, "--ws", "ws://"+xAddr,
			"--intervals", "1s,5s,1m,1h,2h,1d", "--backfill", "0", "--rest-weight", "2400", "--redundancy", "1")
	}
	server, addr := serve("on")
	listen = addr

	folder := ""
	if name := os.Getenv(screenshots); name != "" {
		var err error
		if folder, err = filepath.Abs(name); err == nil {
			err = os.MkdirAll(folder, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(node, filepath.Join("testdata", "page.mjs"), "http://"+addr, "http://"+xAddr, chromium, folder)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Logf("%5.1f s  %s", time.Since(began).Seconds(), lines.Text())
		switch lines.Text() {
		case "stop":
			if err := server.end(syscall.SIGINT); err != nil {
				t.Errorf("stopped by SIGINT: %v\n%s", err, server.output())
			}
		case "start":
			server, _ = serve("off")
			fmt.Fprintln(in, "started")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s\nklined serve said:\n%s", err, strings.TrimSpace(stderr.String()), server.output())
	}
}

// browser finds what drives a browser, and the browser.
func browser(t *testing.T) (node, chromium string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err == nil {
		chromium, err = exec.LookPath("chromium")
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(os.Getenv(nodeModules), "playwright-core"))
	}
	if err != nil || os.Getenv(nodeModules) == "" {
		t.Skipf("needs node, chromium, and %s naming a folder where npm has installed playwright-core: .ci/run does all three", nodeModules)
	}
	return node, chromium
}

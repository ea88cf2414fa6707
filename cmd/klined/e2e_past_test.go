//go:build e2e

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// output runs klined to its end.
func output(t *testing.T, args ...string) (text string, err error) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := ours(exec.CommandContext(ctx, path, args...)).CombinedOutput()
	return string(out), err
}

// TestE2EPast kills a backfill at random moments and lets the last one end: everything is there, equal to the exchange's, and
// nothing is asked for again. Beside a server on the same store backfill refuses, audit and export work.
func TestE2EPast(t *testing.T) {
	t.Parallel()
	first := seed(t)
	t.Logf("KLINED_SEED=%d make e2e", first)
	random := rand.New(rand.NewPCG(first, 5))
	dir := filepath.Join(t.TempDir(), "store")
	_, addr := launch(t, simAddress, "sim", "--listen", "127.0.0.1:0", "--symbols", "20", "--rate", "50", "--start", "2027-03-10T12:00:00Z")
	exchange := []string{"--rest", "http://" + addr, "--dir", dir, "--rest-weight", "2400"}
	// All that begins before the end is over before the exchange's clock starts: the range is the same for each who asks.
	asked := []string{"--from", "2027-02-20", "--to", "2027-03-10"}
	backfill := append(append([]string{"backfill", "--archive", "http://" + addr}, exchange...), asked...)
	kills := 0
	for range 4 {
		p := begin(t, nil, "^$", backfill...)
		select {
		case <-p.done:
		case <-time.After(time.Duration(1500+random.IntN(4000)) * time.Millisecond):
			kills++
			_ = p.end(syscall.SIGKILL)
		}
	}
	text, err := output(t, backfill...)
	if err != nil {
		t.Fatalf("after %d kills: %v\n%s", kills, err, text)
	}
	t.Logf("after %d kills: %s", kills, text)
	if text, err = output(t, backfill...); err != nil || !strings.HasPrefix(text, "0 klines: ") {
		t.Errorf("again: %v\n%s", err, text)
	}
	audit := append(append([]string{"audit", "--symbols", "BTCUSDT,ETHUSDT"}, exchange...), asked...)
	if text, err = output(t, audit...); err != nil {
		t.Errorf("%v\n%s", err, text)
	}

	server, _ := launch(t, serveAddress, append([]string{"serve", "--listen", "127.0.0.1:0", "--ws", "ws://" + addr, "--archive", "http://" + addr}, exchange...)...)
	if text, err = output(t, backfill...); err == nil || !strings.Contains(text, fmt.Sprintf("in use by process %d", server.cmd.Process.Pid)) {
		t.Errorf("beside a server: %v\n%s", err, text)
	}
	if text, err = output(t, audit...); err != nil {
		t.Errorf("beside a server: %v\n%s", err, text)
	}
	text, err = output(t, "export", "--dir", dir, "--symbols", "BTCUSDT", "--intervals", "1h", "--from", "2027-03-01", "--to", "2027-03-02")
	if rows := strings.Count(text, "\n"); err != nil || rows != 25 {
		t.Errorf("beside a server: %v, %d lines\n%s", err, rows, text)
	}
	if err := server.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

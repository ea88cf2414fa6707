//go:build e2e

package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"klined/market"
)

// TestE2EStop stops the server just behind a boundary, when it has everything to do: klines wait for the disk, the past is
// being brought, the exchange keeps questions waiting, clients listen, and one of them does not read. No step
// of the stop hangs, which would be a failure, and what was pushed is on disk.
func TestE2EStop(t *testing.T) {
	t.Parallel()
	r := startRig(t, rigOptions{start: "2027-01-05T10:00:45Z", source: market.SourceTrade, symbols: 100, rate: 1000, intervals: "5s,1m",
		serve: []string{"--backfill", "1500"}})
	heard := r.listen("")
	r.deafClient()
	end := r.first + 20*market.Second
	r.until(end - 3*market.Second) // the question waits still when the server stops
	r.fault(`{"kind":"rest_slow","seconds":600,"delay":30}`)
	asked := make(chan error, 1)
	go func() { // what is not here: it waits for the exchange
		resp, err := http.Get(r.judge.server + "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1500&startTime=" + fmt.Sprint(int64(end-60*market.Day)))
		if err == nil {
			resp.Body.Close()
		}
		asked <- err
	}()
	r.poll("every close", 30*time.Second, func() bool { return len(heard.of(end)) >= len(r.symbols) })
	began := time.Now()
	if err := r.server.end(syscall.SIGTERM); err != nil {
		t.Errorf("stopped by SIGTERM: %v\n%s", err, r.server.output())
	}
	took := time.Since(began)
	<-asked
	heard.close()
	pushed := heard.all()
	t.Logf("stopped within %s, %d klines had been pushed as final", took.Round(time.Millisecond), len(pushed))
	if n := r.unsaved(pushed); n > 0 {
		t.Errorf("%d of %d klines that were pushed are not on disk", n, len(pushed))
	}
	v, err := r.judge.stored(serveOptions{Dir: r.o.dir, Intervals: r.o.ivs, Source: r.o.source}, r.symbols, r.first, end, false)
	must(t, "stored", v, err)
}

// deafClient is a client that takes everything and reads nothing.
func (r *rig) deafClient() {
	r.t.Helper()
	conn, _, _, err := ws.Dial(r.t.Context(), strings.Replace(r.judge.server, "http", "ws", 1)+"/ws")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	var names []string
	for _, s := range r.symbols[:min(len(r.symbols), 100)] {
		names = append(names, fmt.Sprintf("%q", strings.ToLower(s)+"@kline_1m"), fmt.Sprintf("%q", strings.ToLower(s)+"@"+r.o.source.String()))
	}
	if err := wsutil.WriteClientText(conn, []byte(`{"method":"SUBSCRIBE","id":1,"params":[`+strings.Join(names, ",")+`]}`)); err != nil {
		r.t.Fatal(err)
	}
}

// signWithin is how long the service manager of a test waits for a sign of life.
const signWithin = 3 * time.Second

// underManager is what the manager hears of a server that is started with the variables of env.
func underManager(t *testing.T) (hear func() string, env []string) {
	socket := filepath.Join(t.TempDir(), "notify")
	return listenNotify(t, socket), []string{"NOTIFY_SOCKET=" + socket, fmt.Sprintf("WATCHDOG_USEC=%d", signWithin.Microseconds())}
}

// said waits until the manager hears something; until then it hears signs of life and states alone.
func (r *rig) said(what string, hear func() string) {
	r.t.Helper()
	for got := hear(); !strings.HasPrefix(got, what); got = hear() {
		if !strings.HasPrefix(got, "STATUS=") && got != "WATCHDOG=1" {
			r.t.Fatalf("the service manager heard %q, want %q", got, what)
		}
	}
}

// deadlyStop stops the process, so that it gives no sign of life, and returns once the manager would end it.
func (r *rig) deadlyStop(hear func() string) {
	r.t.Helper()
	r.said("WATCHDOG=1", hear)
	if err := r.server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	heard := make(chan string)
	go func() {
		defer close(heard)
		for got := hear(); !strings.HasPrefix(got, "READY=1"); got = hear() {
			heard <- got
		}
	}()
	for {
		select {
		case <-heard: // from before it was stopped
		case <-time.After(signWithin):
			go func() { // until the next process is ready
				for range heard {
				}
			}()
			return
		}
	}
}

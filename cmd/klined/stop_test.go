package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
	"klined/sim"
)

// stuckLog keeps what is logged, and does not take one message: who logs it hangs until it is let go.
type stuckLog struct {
	slog.Handler
	*written
	on      string
	release chan struct{}
}

func newStuckLog(on string) *stuckLog {
	w := new(written)
	return &stuckLog{Handler: slog.NewTextHandler(w, nil), written: w, on: on, release: make(chan struct{})}
}

func (l *stuckLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == l.on {
		<-l.release
	}
	return l.Handler.Handle(ctx, r)
}

func (l *stuckLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *l
	with.Handler = l.Handler.WithAttrs(attrs)
	return &with
}

// TestHang: a part that hangs is named, and the process ends by itself with a failure, though its stop hangs, too. What it
// had applied is on disk, and the next process has no hole.
func TestHang(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		log := newStuckLog("connection is silent")
		start := at(t, "2027-01-05T09:58:30Z")
		o := options(t, market.SourceTrade)
		m := &fakeMarket{log: slog.New(log)}
		m.start(t, sim.Options{Symbols: 5, Rate: 100, Seed: 7, Start: start}, o)
		defer m.end()
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		m.until(start.Add(90 * time.Second))
		m.fault(sim.Fault{Kind: sim.FaultSilence, Conn: m.oldestConns()[0], Seconds: 600})
		hung := time.Now()
		m.until(start.Add(170 * time.Second))
		if status, body, _ := m.request(t, m.judge.server, "GET", "/healthz", "", ""); status != 503 || !strings.Contains(body, `"silent for 1m`) {
			t.Errorf("/healthz: %d %s", status, body)
		}
		err = <-m.ended
		for _, want := range []string{"silence is stuck: silent for 1m31s", "parts: not stopped within 5s"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("ended after %s with %v, want %q", time.Since(hung), err, want)
			}
		}
		for _, want := range []string{`component=silence reason="silent for 1m1s"`, `msg="the stop hangs"`, "step=parts", "feed.(*lane).look"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		close(log.release)
		end := m.x.Now()

		m.log = nil
		m.startServer()
		m.until(end.Add(3 * time.Minute))
		v, err := m.judge.compare(symbols, o.Intervals, market.OneMinute.Ceil(start+market.Second), m.x.Now()-10*market.Second, false)
		must(t, "of both processes", v, err)
	})
}

// TestStopped: the last line says whether all klines are stored.
func TestStopped(t *testing.T) {
	full := errors.New("no space left on device")
	for _, c := range []struct {
		failed, unstored error
		want             string
	}{
		{nil, nil, `level=INFO msg=stopped took=`},
		{fmt.Errorf("tape: %w", full), nil, `level=WARN msg="stopped: all klines are stored, but something else has failed" error="tape: no space left on device" took=`},
		{nil, full, `level=ERROR msg="stopped: not all klines are stored; what the exchange has of them is fetched after the next start" error="no space left on device" took=`},
		{full, full, `level=ERROR msg="stopped: not all klines`},
	} {
		w := new(written)
		s := server{log: slog.New(slog.NewTextHandler(w, nil))}
		if s.tellStopped(c.failed, c.unstored); w.String() != "" {
			t.Errorf("what had not begun says %s", w)
		}
		s.stopping = time.Now()
		if s.tellStopped(c.failed, c.unstored); !strings.Contains(w.String(), c.want) {
			t.Errorf("%s, want %s", w, c.want)
		}
	}
}

// TestStopUnread: a log that takes nothing, which is what a full pipe on stderr is, holds up neither the stop nor the process's last
// line, and what was applied is on disk.
func TestStopUnread(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		log := newStuckLog("stopping")
		start := at(t, "2027-01-05T09:58:50Z")
		o := options(t, market.SourceTrade)
		m := &fakeMarket{log: slog.New(log)}
		m.start(t, sim.Options{Symbols: 2, Rate: 20, Seed: 7, Start: start}, o)
		symbols, err := m.judge.symbols()
		if err != nil {
			t.Fatal(err)
		}
		end := start.Add(80 * time.Second)
		m.until(end)
		m.judge.client.CloseIdleConnections()
		began := time.Now()
		err = m.stopServer()
		if took := time.Since(began); err != nil || took > allWithin {
			t.Errorf("stopped within %s: %v", took, err)
		}
		close(log.release)
		v, err := m.judge.stored(o, symbols, market.OneMinute.Ceil(start+market.Second), start.Add(70*time.Second), false)
		must(t, "stored", v, err)
		if err := m.stopExchange(); err != nil {
			t.Error(err)
		}

		unread, stderr := io.Pipe()
		if status := run(t.Context(), []string{"nothing"}, nil, io.Discard, stderr); status != exitUsage {
			t.Errorf("status %d", status)
		}
		unread.Close()
	})
}

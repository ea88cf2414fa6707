package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"log/slog"
)

// TestManager: the service manager hears what it is told, and signs of life as long as nothing is stuck.
func TestManager(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	heard := listenNotify(t, socket)
	m := newManager(slog.New(slog.DiscardHandler))
	m.tell("READY=1\nSTATUS=serving")
	if got := heard(); got != "READY=1\nSTATUS=serving" {
		t.Errorf("heard %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var hangs atomic.Bool
	asked, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		m.keepAlive(ctx, func() error {
			if hangs.Load() {
				asked <- struct{}{}
				return errors.New("lane 0 is stuck")
			}
			return nil
		})
	}()
	for range 3 {
		if got := heard(); got != "WATCHDOG=1" {
			t.Errorf("heard %q", got)
		}
	}
	hangs.Store(true)
	<-asked
	<-asked
	cancel()
	go func() {
		for range asked { // one more may have begun
		}
	}()
	<-done
	close(asked)
	m.tell("STOPPING=1")
	for {
		got := heard() // signs of life that came before it hung
		if got == "STOPPING=1" {
			break
		}
		if got != "WATCHDOG=1" {
			t.Fatalf("heard %q", got)
		}
	}
}

// TestNoManager: without one nothing is told, and nobody waits.
func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	m := newManager(slog.New(slog.DiscardHandler))
	m.tell("READY=1")
	m.keepAlive(t.Context(), func() error { t.Error("who asks?"); return nil })
}

// listenNotify opens the socket of a service manager; what it returns waits for the next message.
func listenNotify(t *testing.T, path string) (next func() string) {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	heard := make(chan string, 10_000) // more than any test says
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			heard <- string(buf[:n])
		}
	}()
	return func() string {
		select {
		case got := <-heard:
			return got
		case <-time.After(time.Minute):
			t.Error("the service manager hears nothing")
			return "READY=1"
		}
	}
}

package health

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := NewWatchdog(slog.New(slog.NewTextHandler(&out, nil)))
		feed, store, outside := w.Component("feed", Vital), w.Component("store", Vital), w.Component("a connection", Outside)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()

		for _, step := range []struct {
			name   string
			do     func()
			wait   time.Duration
			ok     bool
			reason string
			warns  int
		}{
			{"both work", func() {}, 30 * time.Second, true, "", 0},
			{"one goes silent", func() { store.Beat(); outside.Beat() }, 40 * time.Second, false, "silent for 1m10s", 1},
			{"a warning is not repeated", func() { store.Beat(); outside.Beat() }, 40 * time.Second, false, "silent for 1m50s", 1},
			{"it is back", func() { feed.Beat(); store.Beat(); outside.Beat() }, 6 * time.Second, true, "", 1},
			{"the other fails", func() { feed.Beat(); store.Fail("disk full") }, 6 * time.Second, false, "disk full", 2},
			{"what is not vital may fail", func() { feed.Beat(); store.Beat(); outside.Fail("refused") }, 6 * time.Second, true, "refused", 3},
			{"and works again", func() { feed.Beat(); store.Beat(); outside.Beat() }, 6 * time.Second, true, "", 3},
		} {
			step.do()
			time.Sleep(step.wait)
			synctest.Wait()
			ok, components := w.State()
			reason := ""
			for _, c := range components {
				reason += c.Reason
			}
			if warns := strings.Count(out.String(), "does not work"); ok != step.ok || reason != step.reason || warns != step.warns {
				t.Errorf("%s: ok %t, reason %q, %d warnings; want %t, %q, %d", step.name, ok, reason, warns, step.ok, step.reason, step.warns)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestStuck: what is silent for too long ends Run where it waits for nobody, and not where it says what it waits for,
// where it may wait for the outside, or where nothing ran at all.
func TestStuck(t *testing.T) {
	for _, c := range []struct {
		name   string
		life   func(lane, writer, history *Component) // 5 minutes of it
		stuck  string
		after  time.Duration
		reason string // in the log
	}{
		{"all beat", func(lane, writer, history *Component) {
			for range 300 {
				time.Sleep(time.Second)
				lane.Beat()
				writer.Beat()
				history.Beat()
			}
		}, "", 0, ""},
		{"a lane is stuck", func(lane, writer, history *Component) {
			for range 300 {
				time.Sleep(time.Second)
				writer.Beat()
				history.Beat()
			}
		}, "lane 0 is stuck: its mutex has been held for 1m31s", 91 * time.Second, `component="lane 0" reason="its mutex has been held for 11s"`},
		{"a disk is full", func(lane, writer, history *Component) {
			writer.Fail("no space left on device")
			for range 300 {
				time.Sleep(time.Second)
				lane.Beat()
				history.Beat()
			}
		}, "", 0, `reason="no space left on device"`},
		{"who may wait for the outside does", func(lane, writer, history *Component) {
			for range 300 {
				time.Sleep(time.Second)
				lane.Beat()
				writer.Beat()
			}
		}, "", 0, `component=history reason="silent for 1m1s"`},
		{"one ended", func(lane, writer, history *Component) {
			history.Done()
			for range 300 {
				time.Sleep(time.Second)
				lane.Beat()
				writer.Beat()
			}
		}, "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				w := NewWatchdog(slog.New(slog.NewTextHandler(&out, nil)))
				lane := w.Component("lane 0", Own).Within(10*time.Second, "its mutex has been held")
				writer, history := w.Component("store", Own), w.Component("history", Vital)
				ctx, cancel := context.WithCancel(t.Context())
				done, began := make(chan error, 1), time.Now()
				var ended time.Duration
				go func() { err := w.Run(ctx); ended = time.Since(began); done <- err }()
				c.life(lane, writer, history)
				cancel()
				err := <-done
				if got := fmt.Sprint(err); c.stuck != "" && (got != c.stuck || ended != c.after) || c.stuck == "" && err != nil {
					t.Errorf("ended after %s: %v, want %q after %s", ended, err, c.stuck, c.after)
				}
				if (w.Stuck() != nil) != (c.stuck != "") {
					t.Errorf("stuck: %v", w.Stuck())
				}
				if got := out.String(); !strings.Contains(got, c.reason) || c.reason == "" && got != "" {
					t.Errorf("the log says %s", got)
				}
			})
		})
	}
}

// TestStandstill: what did not run because nothing ran is not stuck.
func TestStandstill(t *testing.T) {
	w := NewWatchdog(slog.New(slog.DiscardHandler))
	lane := w.Component("lane 0", Own)
	now := time.Now()
	w.look(now)
	lane.beat.Store(now.Add(-10 * time.Minute).UnixNano())
	if w.Stuck() == nil {
		t.Error("10 minutes of silence are not stuck")
	}
	w.look(now.Add(4 * time.Second)) // it comes late
	if err := w.Stuck(); err != nil {
		t.Error(err)
	}
}

// TestStuckLog: a log that takes nothing holds up neither the watchdog nor who asks it.
func TestStuckLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		w := NewWatchdog(slog.New(slog.NewTextHandler(writer, nil)))
		w.Component("lane 0", Own)
		if err := w.Run(t.Context()); err == nil {
			t.Error("it is not given up")
		}
		if ok, _ := w.State(); ok {
			t.Error("all is well")
		}
		reader.Close()
	})
}

func TestStacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		for range 3 {
			go func() { <-wait }()
		}
		synctest.Wait()
		if all := strings.Join(Stacks(), "\n"); !regexp.MustCompile(`(?m)^3 at .*health\.TestStacks\.`).MatchString(all) {
			t.Error(all)
		}
		close(wait)
	})
}

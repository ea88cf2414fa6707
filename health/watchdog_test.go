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
	"unsafe"
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
			for range 300 {
				writer.Fail("no space left on device")
				time.Sleep(time.Second)
				lane.Beat()
				history.Beat()
			}
		}, "", 0, `reason="no space left on device"`},
		{"one says that it fails, and hangs", func(lane, writer, history *Component) {
			writer.Fail("no space left on device")
			for range 300 {
				time.Sleep(time.Second)
				lane.Beat()
				history.Beat()
			}
		}, "store is stuck: silent for 1m31s", 91 * time.Second, `reason="no space left on device"`},
		{"who may wait for the outside does", func(lane, writer, history *Component) {
			for range 300 {
				time.Sleep(time.Second)
				lane.Beat()
				writer.Beat()
			}
		}, "", 0, `component=history reason="silent for 1m1s"`},
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
				if err := w.stuck(givenUp); (err != nil) != (c.stuck != "") {
					t.Errorf("stuck: %v", err)
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
	w.began = w.began.Add(-time.Second)
	lane.Beat()
	w.look(w.now())
	w.began = w.began.Add(-10 * time.Minute)
	if w.stuck(givenUp) == nil {
		t.Error("10 minutes of silence are not stuck")
	}
	w.look(w.now()) // it comes late
	if err := w.stuck(givenUp); err != nil {
		t.Error(err)
	}
}

// TestSuspend: while a machine is suspended, and where the wall clock is set, that clock alone goes on. No component is
// silent for it, and what hangs is found all the same.
func TestSuspend(t *testing.T) {
	for _, step := range []time.Duration{0, 10 * time.Minute, -time.Hour} {
		w := NewWatchdog(slog.New(slog.DiscardHandler))
		w.Component("lane 0", Own)
		w.look(w.now())
		wall := (*struct{ wall uint64 })(unsafe.Pointer(&w.began)) // seconds from bit 30 on (time.Time)
		wall.wall -= uint64(step/time.Second) << 30
		if got := time.Now().Round(0).Sub(w.began.Round(0)); (got-step).Abs() > time.Minute || time.Since(w.began) > time.Minute {
			t.Fatalf("the wall clock has gone on by %s, the monotonic one by %s", got, time.Since(w.began))
		}
		w.look(w.now())
		if ok, c := w.State(); !ok || w.stuck(givenUp) != nil {
			t.Errorf("a step of %s: %+v", step, c)
		}
		w.began = w.began.Add(-givenUp - time.Second)
		if w.stuck(givenUp) == nil {
			t.Errorf("a step of %s: what hangs is not seen", step)
		}
	}
}

// TestWhoIsFirst: a service manager that hears a sign of life every 15 s, and ends what gives none for 30, leaves Run the time to
// give up in order, and ends what Run cannot.
func TestWhoIsFirst(t *testing.T) {
	const allowed = 30 * time.Second // deploy/klined.service
	for _, within := range []time.Duration{Silence, 10 * time.Second} {
		for phase := range allowed / 2 / time.Second {
			for _, runs := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					w := NewWatchdog(slog.New(slog.DiscardHandler))
					sign := time.Now()
					time.Sleep(phase * time.Second)
					began := time.Now()
					w.Component("lane 0", Own).Within(within, "its mutex has been held")
					done := make(chan error, 1)
					if runs {
						go func() { done <- w.Run(t.Context()) }()
					}
					ended := false
					for last := sign; time.Since(last) < allowed && !ended; {
						time.Sleep(allowed/2 - time.Since(sign)%(allowed/2))
						synctest.Wait()
						if w.Hopeless() == nil {
							last = time.Now()
						}
						ended = len(done) > 0
					}
					if took := time.Since(began); ended != runs || took > hopeless+2*allowed {
						t.Errorf("phase %s: Run has given up: %t, after %s", phase*time.Second, ended, took)
					}
				})
			}
		}
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

package health

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := NewWatchdog(slog.New(slog.NewTextHandler(&out, nil)))
		feed, store, outside := w.Component("feed", true), w.Component("store", true), w.Component("a connection", false)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()

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
		<-done
	})
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"klined/health"
)

// How long each step of an ordered stop may take. What hangs is left behind and said, and the next step is done all the
// same: where a lane is stuck, what the others had handed on is on disk, and the process ends with a failure.
const (
	requestsWithin = time.Second      // requests under way, before they are cut
	partsWithin    = 5 * time.Second  // the feed with its last drain, and what asks the exchange
	clientsWithin  = 3 * time.Second  // serve gives each client less
	storeWithin    = 60 * time.Second // a full outbox of half a million rows takes seconds; a stuck disk takes for ever
	tapeWithin     = 10 * time.Second // a second of frames, and a file made durable
	loggedWithin   = time.Second      // a line of the log, of which each step may have one: nobody may be reading

	// allWithin is what the whole stop may take; then the process ends where it stands.
	allWithin = partsWithin + clientsWithin + tapeWithin + storeWithin + 9*loggedWithin
)

// logged does what writes to the log, or to stderr, on the way out, for some time at most: that may be what hangs.
func logged(write func()) { health.Bounded(loggedWithin, write) }

// ends does one step of the stop and returns its error, or that it has not ended in time: then the log says where every
// goroutine is.
func (s *server) ends(step string, most time.Duration, do func() error) error {
	var err error
	if health.Bounded(most, func() { err = do() }) {
		return err
	}
	logged(func() {
		s.log.Error("the stop hangs", "step", step, "after", most, "goroutines", strings.Join(health.Stacks(), "\n"))
	})
	return fmt.Errorf("%s: not stopped within %s", step, most)
}

// tellStopped says how a stop has ended: whether all klines are on disk, and what else has failed.
func (s *server) tellStopped(failed, unstored error) {
	if s.stopping.IsZero() {
		return // it had not begun to work
	}
	took := time.Since(s.stopping).Round(time.Millisecond)
	logged(func() {
		switch {
		case unstored != nil:
			s.log.Error("stopped: not all klines are stored; what the exchange has of them is fetched after the next start", "error", unstored, "took", took)
		case failed != nil:
			s.log.Warn("stopped: all klines are stored, but something else has failed", "error", failed, "took", took)
		default:
			s.log.Info("stopped", "took", took)
		}
	})
}

// stopHTTP waits for ctx to end and lets the requests under way end, for some time at most. WebSocket clients are the hub's.
func stopHTTP(ctx context.Context, server *http.Server) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestsWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}

// unlessStopped is err, or nil when it only says that ctx has ended.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

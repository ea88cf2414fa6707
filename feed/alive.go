package feed

import (
	"context"
	"fmt"
	"time"

	"klined/health"
)

// What the watchdog is told. None of these loops waits for anything outside: one that is silent is stuck.
const (
	probeEvery = time.Second      // how often each lane's mutex is tried
	heldLong   = 10 * time.Second // a mutex that is held for so long is not given back: 64 trades take 2 µs
	idleBeat   = 10 * time.Second // how often who waits for work says that it does
)

// alive is the feed's loops as the watchdog sees them; those of a lane are its own.
type alive struct {
	closes  *health.Component // the ticks
	silence *health.Component // the looks for silent connections
	healer  *health.Component
}

func newAlive(dog *health.Watchdog) alive {
	return alive{closes: dog.Component("closes", health.Own), silence: dog.Component("silence", health.Own),
		healer: dog.Component("healer", health.Own)}
}

// watched gives the lane its components.
func (l *lane) watched(dog *health.Watchdog) *lane {
	l.mutex = dog.Component(fmt.Sprintf("lane %d", l.n), health.Own).Within(heldLong, "its mutex has been held")
	l.drains = dog.Component(fmt.Sprintf("drainer %d", l.n), health.Own)
	return l
}

// probe tries the lane's mutex until ctx ends. Each lane has its own: of several, only the one that is stuck is named.
func (l *lane) probe(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.mu.Lock()
			l.mutex.Beat() // under the mutex: it is what has been had
			l.mu.Unlock()
		}
	}
}

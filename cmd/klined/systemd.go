package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"klined/health"
)

// manager is the service manager that has started the process, where there is one: what follows is its protocol,
// sd_notify(3). Without one, telling it does nothing; nor does telling nil, which commands have that are no services.
type manager struct {
	log    *slog.Logger
	within time.Duration // it ends a process of which it has heard nothing for so long; 0: it does not
	room   chan struct{} // holds one for each thing that is being told: one that does not listen is told no more
}

func newManager(log *slog.Logger) *manager {
	m := &manager{log: log.With("target", "life"), room: make(chan struct{}, 4)}
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.log.Warn("cannot read what the service manager asks for", "error", err)
	}
	m.within = within
	return m
}

// tellWithin is how long telling may take: a manager that does not listen is no reason to stand still.
const tellWithin = time.Second

// tell sends assignments, one a line: READY=1, STOPPING=1, STATUS=text.
func (m *manager) tell(assignments string) {
	if m == nil {
		return
	}
	select {
	case m.room <- struct{}{}:
	default:
		return
	}
	health.Bounded(tellWithin, func() {
		defer func() { <-m.room }()
		if _, err := daemon.SdNotify(false, assignments); err != nil {
			m.log.Debug("cannot tell the service manager", "error", err)
		}
	})
}

// keepAlive shows until ctx ends that the process lives, twice in the time that the manager allows. Where it is hopeless it does
// not: the manager ends what should have ended itself in order, and did not, and starts it again.
func (m *manager) keepAlive(ctx context.Context, hopeless func() error) {
	if m.within == 0 {
		return
	}
	tick := time.NewTicker(m.within / 2)
	defer tick.Stop()
	for {
		if err := hopeless(); err == nil {
			m.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

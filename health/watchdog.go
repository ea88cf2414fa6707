package health

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Silence is how long a component may report nothing before the watchdog warns.
const Silence = 60 * time.Second

// Watchdog knows the components of the process and warns, once, of each that falls silent or says that it fails.
type Watchdog struct {
	log *slog.Logger

	mu         sync.Mutex
	components []*Component // in the order they were added
}

// Component is one part of the process, or of what it depends on, that reports. Its methods may be called from any goroutine.
type Component struct {
	name   string
	vital  bool
	beat   atomic.Int64           // Unix ns of the last report
	reason atomic.Pointer[string] // why it fails; nil while it works
	warned bool                   // the watchdog's
}

// ComponentState is what the watchdog knows of a component.
type ComponentState struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	Reason string  `json:"reason,omitempty"`
	Silent float64 `json:"silent_seconds"` // since its last report
}

// NewWatchdog makes a watchdog that warns in log.
func NewWatchdog(log *slog.Logger) *Watchdog {
	return &Watchdog{log: log.With("target", "life")}
}

// Component adds a component; its life counts from now. One that is vital is the process's own: without it the process
// does not work. The others depend on the outside.
func (w *Watchdog) Component(name string, vital bool) *Component {
	c := &Component{name: name, vital: vital}
	c.Beat()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.components = append(w.components, c)
	return c
}

// Beat reports that the component works.
func (c *Component) Beat() {
	c.beat.Store(time.Now().UnixNano())
	if c.reason.Load() != nil {
		c.reason.Store(nil)
	}
}

// Fail reports that the component is there but does not work, and why. It holds until the next Beat.
func (c *Component) Fail(reason string) {
	c.beat.Store(time.Now().UnixNano())
	c.reason.Store(&reason)
}

// state is the component's standing now.
func (c *Component) state() ComponentState {
	silent := time.Since(time.Unix(0, c.beat.Load()))
	s := ComponentState{Name: c.name, OK: true, Silent: silent.Seconds()}
	if reason := c.reason.Load(); reason != nil {
		s.OK, s.Reason = false, *reason
	} else if silent > Silence {
		s.OK, s.Reason = false, "silent for "+silent.Round(time.Second).String()
	}
	return s
}

// State is every component's standing, in the order they were added, and whether all that are vital work.
func (w *Watchdog) State() (ok bool, components []ComponentState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ok = true
	for _, c := range w.components {
		s := c.state()
		ok = ok && (s.OK || !c.vital)
		components = append(components, s)
	}
	return ok, components
}

// Run looks after the components until ctx ends.
func (w *Watchdog) Run(ctx context.Context) {
	tick := time.NewTicker(Silence / 12)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

// look warns of components that stopped working since the last look, and says when they work again.
func (w *Watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.components {
		s := c.state()
		switch {
		case !s.OK && !c.warned:
			w.log.Warn("component does not work", "component", c.name, "reason", s.Reason)
		case s.OK && c.warned:
			w.log.Info("component works again", "component", c.name)
		}
		c.warned = !s.OK
	}
}

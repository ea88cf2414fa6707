package health

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a component's silence.
const (
	Silence   = 60 * time.Second         // how long it may report nothing, where it does not say otherwise
	givenUp   = 90 * time.Second         // how long one of kind Own may report nothing before the process is given up
	hopeless  = givenUp + 15*time.Second // how long, before Run must have failed to give the process up: see Watchdog.Hopeless
	lookEvery = time.Second
)

// Kind is what a component's failing means.
type Kind uint8

// The kinds, each with the consequences of the one before.
const (
	Outside Kind = iota // the process depends on it: the log warns
	Vital               // the process does not do its work without it, though it may wait for the outside: State is not ok
	Own                 // a loop that waits for nothing outside: silent it is stuck, and Run gives the process up
)

// Watchdog knows the components of the process and warns, once, of each that falls silent or says that it fails. Failing
// is never a reason to end the process: who can still say so is alive, and what it says is about the outside, a full disk
// for one, which the next process would find as it is. Silence of what waits for nobody is.
type Watchdog struct {
	log   *slog.Logger
	began time.Time // all times are counted from here, on the monotonic clock: it neither steps nor goes on while a machine is suspended

	mu         sync.Mutex    // held for no I/O: State must answer even where the log is stuck
	components []*Component  // in the order they were added
	looked     time.Duration // when Run last looked; 0 before it has
	woke       time.Duration // when it last came late to that: before it nobody could report
}

// Component is one part of the process, or of what it depends on, that reports. Its methods may be called from any goroutine.
type Component struct {
	dog    *Watchdog
	name   string
	kind   Kind
	within time.Duration          // see Within
	means  string                 // see Within
	beat   atomic.Int64           // when it last reported: a time.Duration since the watchdog began
	reason atomic.Pointer[string] // why it fails; nil while it works
	warned bool                   // guarded by the watchdog's mutex
}

// ComponentState is what the watchdog knows of a component.
type ComponentState struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	Vital  bool    `json:"vital"` // while it is not ok, the process does not do its work
	Reason string  `json:"reason"`
	Silent float64 `json:"silent_seconds"` // since its last report
}

// NewWatchdog makes a watchdog that warns in log.
func NewWatchdog(log *slog.Logger) *Watchdog {
	return &Watchdog{log: log.With("target", "life"), began: time.Now()}
}

// now is the time since w began.
func (w *Watchdog) now() time.Duration { return time.Since(w.began) }

// Component adds a component; its life counts from now.
func (w *Watchdog) Component(name string, kind Kind) *Component {
	c := &Component{dog: w, name: name, kind: kind, within: Silence, means: "silent"}
	c.Beat()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.components = append(w.components, c)
	return c
}

// Within says how long c may report nothing, at most Silence, and what it means when it reports nothing for longer:
// "its mutex has been held" becomes the reason "its mutex has been held for 12s". It is called before c is used.
func (c *Component) Within(silence time.Duration, means string) *Component {
	c.dog.mu.Lock()
	defer c.dog.mu.Unlock()
	c.within, c.means = silence, means
	return c
}

// Beat reports that the component works. A loop calls it once a turn.
func (c *Component) Beat() {
	c.beat.Store(int64(c.dog.now()))
	if c.reason.Load() != nil {
		c.reason.Store(nil)
	}
}

// Fail reports that the component is there but does not work, and why. It holds until the next Beat; one of kind Own repeats it,
// for silence is silence.
func (c *Component) Fail(reason string) {
	c.beat.Store(int64(c.dog.now()))
	c.reason.Store(&reason)
}

// silent is how long c has reported nothing although it could have.
func (c *Component) silent() time.Duration {
	return c.dog.now() - max(time.Duration(c.beat.Load()), c.dog.woke)
}

// state is the component's standing now; the watchdog's mutex is held.
func (c *Component) state() ComponentState {
	s := ComponentState{Name: c.name, OK: true, Vital: c.kind >= Vital, Silent: (c.dog.now() - time.Duration(c.beat.Load())).Seconds()}
	if reason := c.reason.Load(); reason != nil {
		s.OK, s.Reason = false, *reason
	} else if silent := c.silent(); silent > c.within {
		s.OK, s.Reason = false, c.means+" for "+silent.Round(time.Second).String()
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
		ok = ok && (s.OK || !s.Vital)
		components = append(components, s)
	}
	return ok, components
}

// Hopeless names the first component of kind Own that has been silent for so long that Run would have given the process up, were
// it able to; nil where none has: it is for who ends the process where it cannot end itself.
func (w *Watchdog) Hopeless() error { return w.stuck(hopeless) }

// stuck names the first component of kind Own that has been silent for longer than most; nil where none has. Others may fail:
// the process is alive.
func (w *Watchdog) stuck(most time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.components {
		if silent := c.silent(); c.kind == Own && silent > most {
			return fmt.Errorf("%s is stuck: %s for %s", c.name, c.means, silent.Round(time.Second))
		}
	}
	return nil
}

// Run looks after the components until ctx ends, or one of kind Own has been silent for givenUp: then its error names it.
func (w *Watchdog) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if lines := w.look(w.now()); len(lines) > 0 {
			Bounded(lookEvery, func() {
				for _, line := range lines {
					line()
				}
			})
		}
		if err := w.stuck(givenUp); err != nil {
			return err
		}
	}
}

// Bounded calls f and waits for its end, for some time at most, and reports whether it has come. It is for what may hang
// and must not hold up its caller: f goes on, and its goroutine is lost where it does.
func Bounded(most time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// look finds components that stopped working since the last look, and those that work again, and returns the lines for
// the log. When it comes late, nothing ran here meanwhile: a stopped process.
func (w *Watchdog) look(now time.Duration) (lines []func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.looked != 0 && now-w.looked > 3*lookEvery {
		w.woke = now
	}
	w.looked = now
	for _, c := range w.components {
		s := c.state()
		switch {
		case !s.OK && !c.warned:
			lines = append(lines, func() { w.log.Warn("component does not work", "component", s.Name, "reason", s.Reason) })
		case s.OK && c.warned:
			lines = append(lines, func() { w.log.Info("component works again", "component", s.Name) })
		}
		c.warned = !s.OK
	}
	return lines
}

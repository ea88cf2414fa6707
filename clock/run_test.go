package clock

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// running is a synchronised clock whose Run is told every 30 s to ask x, and what Run told.
type running struct {
	*Clock
	x      *exchange
	m      *machine
	stop   func() // Run, and waits until it has
	failed []error
	steps  []time.Duration
}

// run is a running clock; x answered as it does now before it began.
func run(t *testing.T, x *exchange) *running {
	t.Helper()
	r := &running{x: x, m: &machine{}}
	r.Clock = r.m.newClock()
	mustSync(t, r.Clock, newExchange(x.ahead, x.there, x.back))
	x.began = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, r.x.time, 30*time.Second, Events{
			Failed:  func(err error) { r.failed = append(r.failed, err) },
			Stepped: func(by time.Duration) { r.steps = append(r.steps, by.Round(10*ms)) },
		})
	}()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// TestRun lets something happen 10.5 s after Run begins, and looks at a minute and a half.
func TestRun(t *testing.T) {
	refuse := func(r *running) { r.x.set(func() { r.x.err = errRefused }) }
	for _, c := range []struct {
		name      string
		happens   func(*running)
		then      func(*running) // at 40.5 s
		questions string         // by second
		told      time.Duration  // how far ahead the exchange is at the end
		steps     []time.Duration
		failures  int
	}{
		{name: "nothing", questions: "30s 60s 90s", told: time.Minute},
		{name: "the exchange stepped",
			happens:   func(r *running) { r.x.set(func() { r.x.ahead += 300 * ms }) },
			questions: "30s×5 60s 90s", told: time.Minute + 300*ms, steps: []time.Duration{300 * ms}},
		{name: "suspended for an hour",
			happens:   func(r *running) { r.m.suspend(r.x, time.Hour) },
			questions: "11s×6 41s 71s", told: time.Hour + time.Minute, steps: []time.Duration{time.Hour}},
		{name: "suspended twice",
			happens:   func(r *running) { r.m.suspend(r.x, 400*ms) },
			then:      func(r *running) { r.m.suspend(r.x, 500*ms) },
			questions: "11s×5 41s×5 71s", told: time.Minute + 900*ms, steps: []time.Duration{400 * ms, 500 * ms}},
		{name: "suspended too shortly to notice",
			happens:   func(r *running) { r.m.suspend(r.x, 200*ms) },
			questions: "30s×5 60s 90s", told: time.Minute + 200*ms},
		{name: "the wall clock is set back by a day",
			happens:   func(r *running) { r.m.setWall(-24 * time.Hour) },
			questions: "11s 41s 71s", told: time.Minute},
		{name: "the process is stopped for 20 s",
			happens:   func(r *running) { r.m.stop(20 * time.Second) },
			questions: "31s 61s 91s", told: time.Minute},
		{name: "the exchange refuses for half a minute",
			happens:   refuse,
			then:      func(r *running) { r.x.set(func() { r.x.err = nil }) },
			questions: "30s×5 31s×5 33s×5 37s×5 45s 75s", told: time.Minute, failures: 4},
		{name: "the exchange refuses for good",
			happens:   refuse,
			questions: "30s×5 31s×5 33s×5 37s×5 45s×5 61s×5 91s×5", told: time.Minute, failures: 7},
		{name: "the exchange refuses twice", happens: refuse,
			then: func(r *running) {
				r.x.set(func() { r.x.err = nil })
				plan(r, 10*time.Second, refuse)
			},
			questions: "30s×5 31s×5 33s×5 37s×5 45s 75s×5 76s×5 78s×5 82s×5 90s×5", told: time.Minute, failures: 9},
		{name: "one absurd answer",
			happens: func(r *running) {
				r.x.set(func() { r.x.lies = map[int]time.Duration{0: 5e9, 1: 5e9, 2: 5e9, 3: 5e9, 4: 5e9} })
			},
			questions: "30s×10 31s 61s 91s", told: time.Minute, failures: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t, near(time.Minute))
				time.Sleep(10500 * ms)
				if c.happens != nil {
					c.happens(r)
				}
				time.Sleep(30 * time.Second)
				if c.then != nil {
					c.then(r)
				}
				time.Sleep(51400 * ms)
				r.stop()
				if got := r.x.questions(); got != c.questions {
					t.Errorf("asked %s, want %s", got, c.questions)
				}
				wantTold(t, r.Clock, c.told, 2*ms)
				if len(r.failed) != c.failures {
					t.Errorf("%d failures, want %d: %v", len(r.failed), c.failures, errors.Join(r.failed...))
				}
				if !slices.Equal(r.steps, c.steps) || r.Steps() != len(c.steps) {
					t.Errorf("stepped by %v, counted %d, want %v", r.steps, r.Steps(), c.steps)
				}
			})
		})
	}
}

// TestDoubt lets some doubt at times after Run begins. An answer takes 200 ms, and Run asks by itself at 30 s.
func TestDoubt(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name       string
		happens    func(*running) // at 10.3 s
		then       func(*running) // at 30.5 s
		at         []time.Duration
		patience   time.Duration   // of who doubts; without end where 0
		returned   []time.Duration // when who doubted went on
		questions  string          // until 35 s
		toldBefore time.Duration   // how far ahead the clock is before the last one doubts, and after
		told       time.Duration
		failures   int
	}{
		{name: "one, and all is well", at: []time.Duration{10500 * ms}, returned: []time.Duration{10700 * ms}, questions: "10s",
			toldBefore: time.Minute, told: time.Minute},
		{name: "a virtual machine was paused, with all its clocks", happens: func(r *running) { r.x.set(func() { r.x.ahead += 5 * s }) },
			at: []time.Duration{10500 * ms}, returned: []time.Duration{11700 * ms}, questions: "10s×3 11s×3",
			toldBefore: time.Minute, told: time.Minute + 5*s},
		{name: "several at once", at: []time.Duration{10500 * ms, 10500 * ms, 10600 * ms},
			returned: []time.Duration{10700 * ms, 10700 * ms, 10700 * ms}, questions: "10s", toldBefore: time.Minute, told: time.Minute},
		{name: "again within a second, and later", at: []time.Duration{10500 * ms, 11600 * ms, 11800 * ms},
			returned: []time.Duration{10700 * ms, 11600 * ms, 12 * s}, questions: "10s 11s", toldBefore: time.Minute, told: time.Minute},
		{name: "while the exchange is being asked", at: []time.Duration{30100 * ms}, returned: []time.Duration{30200 * ms}, questions: "30s",
			toldBefore: time.Minute, told: time.Minute},
		{name: "just after it was asked", at: []time.Duration{31100 * ms}, returned: []time.Duration{31100 * ms}, questions: "30s",
			toldBefore: time.Minute, told: time.Minute},
		{name: "just after it was asked, but suspended since", then: func(r *running) { r.m.suspend(r.x, time.Hour) },
			at: []time.Duration{30600 * ms}, returned: []time.Duration{31800 * ms}, questions: "30s×3 31s×4",
			toldBefore: time.Minute, told: time.Hour + time.Minute},
		{name: "Run has its own reason at the same time", happens: func(r *running) { r.m.stop(5 * s) },
			at: []time.Duration{12 * s}, returned: []time.Duration{16200 * ms}, questions: "16s", toldBefore: time.Minute, told: time.Minute},
		{name: "the exchange refuses", happens: func(r *running) { r.x.set(func() { r.x.err = errRefused }) },
			then: func(r *running) { r.x.set(func() { r.x.err = nil }) },
			at:   []time.Duration{10500 * ms}, returned: []time.Duration{11500 * ms},
			questions: "10s×3 11s×2 12s×3 13s×2 15s×3 16s×2 20s×3 21s×2 29s×3 30s×2", toldBefore: time.Minute, told: time.Minute, failures: 5},
		{name: "who doubts has no patience", at: []time.Duration{10500 * ms}, patience: 50 * ms, returned: []time.Duration{10550 * ms},
			questions: "10s", toldBefore: time.Minute, told: time.Minute},
		{name: "Run ends meanwhile", at: []time.Duration{10500 * ms, 34950 * ms}, returned: []time.Duration{10700 * ms, 35 * s},
			questions: "10s 34s", toldBefore: time.Minute, told: time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := run(t, newExchange(time.Minute, []time.Duration{100 * ms}, []time.Duration{100 * ms}))
				plan(r, 10300*ms, c.happens)
				plan(r, 30500*ms, c.then)
				returned := make([]time.Duration, len(c.at))
				for i, at := range c.at {
					go func() {
						time.Sleep(at)
						if i == len(c.at)-1 {
							wantTold(t, r.Clock, c.toldBefore, 2*ms)
						}
						ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(c.patience, time.Hour))
						defer cancel()
						r.Doubt(ctx)
						returned[i] = time.Since(r.x.began)
						if c.patience == 0 {
							wantTold(t, r.Clock, c.told, 2*ms)
						}
					}()
				}
				time.Sleep(35 * s)
				r.stop()
				synctest.Wait()
				if !slices.Equal(returned, c.returned) {
					t.Errorf("went on at %v, want %v", returned, c.returned)
				}
				if got := r.x.questions(); got != c.questions {
					t.Errorf("asked %s, want %s", got, c.questions)
				}
				if len(r.failed) != c.failures {
					t.Errorf("%d failures, want %d: %v", len(r.failed), c.failures, errors.Join(r.failed...))
				}
			})
		})
	}
}

// TestDoubtWhenRunEnds doubts at the moment at which Run ends: nobody asks any more, and nobody waits.
func TestDoubtWhenRunEnds(t *testing.T) {
	for range 20 { // Run sees either first
		synctest.Test(t, func(t *testing.T) {
			r := run(t, near(0))
			time.Sleep(900 * ms)
			r.m.stop(500 * ms) // Run's look, from 1 s on
			time.AfterFunc(300*ms, r.stop)
			time.Sleep(200 * ms)
			r.Doubt(t.Context())
			if at := time.Since(r.x.began); at != 1500*ms {
				t.Errorf("went on at %s, want 1.5s", at)
			}
		})
	}
}

// plan has something happen so long from now.
func plan(r *running, after time.Duration, what func(*running)) {
	if what != nil {
		time.AfterFunc(after, func() { what(r) })
	}
}

// TestDoubtWithoutRun returns at once: nobody would answer.
func TestDoubtWithoutRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, x, began := New(), near(0), time.Now()
		clock.Doubt(t.Context())
		for range 2 { // Run may run again
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			clock.Run(ctx, x.time, time.Minute, Events{})
			cancel()
			clock.Doubt(t.Context())
		}
		if took := time.Since(began); took != 20*time.Second || x.questions() != "" {
			t.Errorf("took %s, want 20s; asked %q, want nothing", took, x.questions())
		}
	})
}

// TestEventsMayBeLeftOut lets a clock fail and step while nobody wants to know.
func TestEventsMayBeLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock, x := New(), near(0)
		mustSync(t, clock, near(time.Minute))
		x.err = errRefused
		time.AfterFunc(45*time.Second, func() { x.set(func() { x.err = nil }) })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		clock.Run(ctx, x.time, 30*time.Second, Events{})
		wantTold(t, clock, 0, ms)
	})
}

package clock

import "time"

// glance is what this machine's two clocks show at one moment.
type glance struct {
	wall time.Time // the wall clock: may be set, and goes on while the machine is suspended
	mono time.Time // the monotonic clock: is never set, and stands still while the machine is suspended
}

// until is how far each clock went from g to later.
func (g glance) until(later glance) (wall, mono time.Duration) {
	return later.wall.Sub(g.wall), later.mono.Sub(g.mono)
}

// fresh reports whether g is so recent at now that the exchange need not be asked again.
func (g glance) fresh(now glance) bool {
	wall, mono := g.until(now)
	return mono < freshFor && !apart(wall, mono)
}

// apart reports whether one of the clocks went further than the other by more than drift explains: the machine was
// suspended, or its wall clock was set.
func apart(wall, mono time.Duration) bool { return (wall - mono).Abs() > stepBound }

// disturbed reports whether something happened to this machine between two looks at its clocks: they went apart, or the
// second look came late by a whole one, because the machine or the process was stopped.
func disturbed(wall, mono time.Duration) bool { return apart(wall, mono) || mono >= 2*lookEvery }

package history

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestCarriedLater: a symbol that comes while everything runs is given what it begins from, and is settled; one that is dropped is
// not asked for any more, but for what had not been settled by then.
func TestCarriedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at(5*time.Hour + 10*time.Second)
		r := newRig()
		r.lanes.whole[0], r.lanes.whole[1] = true, true
		r.lanes.begin(minute("05:02"))
		wait := r.start(t.Context(), 0)
		stop := r.settle(t, 0)
		r.after(60 * 60)
		r.venue.take()
		r.Carry(1)
		r.after(60*60 + 1)
		check(t, "at once", sorted(r.venue.take()), "1 1d from 10-31T00:00 limit 62, start", "1 1h from 12-30T06:00 limit 48, start",
			"1 1m from 01-01T03:23 limit 99, start")
		r.after(3 * 60 * 60)
		asked := noDays(r.venue.take())
		if n := len(slices.DeleteFunc(asked, func(a string) bool { return a[0] != '1' })); n < 2 {
			t.Errorf("the later one is settled in %d rounds: %q", n, asked)
		}

		r.Drop(0) // at 08:00:10
		r.after(5 * 60 * 60)
		asked = slices.DeleteFunc(noDays(r.venue.take()), func(a string) bool { return a[0] != '0' })
		if len(asked) != 1 {
			t.Errorf("up to its end it is settled: %q", asked)
		}
		check(t, "settled up to", []string{hourOf(r.store.SettledUpTo(0))}, "08:00")
		r.after(30 * 60 * 60)
		if asked = r.venue.take(); slices.ContainsFunc(asked, func(a string) bool { return a[0] == '0' }) {
			t.Errorf("asked for after its end: %q", asked)
		}
		stop()
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestDroppedUnknown: the exchange does not know a symbol any more that was dropped before it was settled: after a day it is left
// alone. One that waits to become whole, and is dropped, waits no longer.
func TestDroppedUnknown(t *testing.T) {
	if raced {
		t.Skip("days of looking whether there is work: make test runs it without the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		at(5*time.Hour + 10*time.Second)
		r := newRig(market.OneMinute)
		r.lanes.begin(minute("05:02"))
		wait := r.start(t.Context(), 0)
		stop := r.settle(t, 0)
		r.after(60 * 60)
		r.venue.set(func(v *venue) { v.fail = func(asked) error { return errDown } })
		r.Drop(0)
		r.after(25 * 60 * 60)
		asked := r.venue.take()
		if n := len(slices.DeleteFunc(asked, func(a string) bool { return strings.Contains(a, "start") })); n > 40 {
			t.Errorf("asked %d times in a day", n)
		}
		r.after(50 * 60 * 60)
		check(t, "after a day", r.venue.take())
		if r.Ails(market.SymbolID(0)) != "" {
			t.Error(r.Ails(0))
		}
		stop()
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

// at is the machine's monotonic clock so long after some moment.
func at(d time.Duration) time.Time { return time.Unix(1_700_000_000, 0).Add(d) }

// TestReadings holds a reading ±5 ms, made at 0 s, against a newer one.
func TestReadings(t *testing.T) {
	for _, c := range []struct {
		name        string
		after       time.Duration // of the newer one
		off, within time.Duration // of the newer one
		confirmed   bool          // nothing more need be asked
		kept        bool          // the old one stays
	}{
		{"as sharp, the same", 30 * time.Second, 0, 5 * ms, true, false},
		{"a little blurred, the same", 30 * time.Second, 0, 9 * ms, true, true},
		{"blurred, the same", 30 * time.Second, 0, 10 * ms, false, true},
		{"very blurred, off by what it allows", time.Second, 400 * ms, 400 * ms, false, true},
		{"sharp, off by what both allow and drift adds", 30 * time.Second, 13 * ms, 5 * ms, true, false},
		{"sharp, off by more", 30 * time.Second, 14 * ms, 5 * ms, false, false},
		{"behind by more", 30 * time.Second, -14 * ms, 5 * ms, false, false},
		{"blurred, off by more", time.Second, 46 * ms, 40 * ms, false, false},
		{"after 39 s the old one is sharper than ±9 ms", 39 * time.Second, 0, 9 * ms, true, true},
		{"after 41 s it is not", 41 * time.Second, 0, 9 * ms, true, false},
		{"after an hour it may be off by 365 ms", time.Hour, 300 * ms, 5 * ms, true, false},
		{"after an hour it still is sharper than ±400 ms", time.Hour, 0, 400 * ms, false, true},
	} {
		old := &reading{local: at(0), exchange: at(time.Minute), within: 5 * ms}
		newer := &reading{local: at(c.after), exchange: at(c.after + time.Minute + c.off), within: c.within}
		if got := old.confirmedBy(newer); got != c.confirmed {
			t.Errorf("%s: confirmed %t, want %t", c.name, got, c.confirmed)
		}
		if got := old.holdsBeside(newer); got != c.kept {
			t.Errorf("%s: kept %t, want %t", c.name, got, c.kept)
		}
	}
}

func TestDisturbed(t *testing.T) {
	for _, c := range []struct {
		name       string
		wall, mono time.Duration // how far each clock went between two looks
		disturbed  bool
	}{
		{"as ever", time.Second, time.Second, false},
		{"the wall clock is slewed", 1001 * ms, time.Second, false},
		{"the machine is busy", 1400 * ms, 1400 * ms, false},
		{"the wall clock is nudged", 1250 * ms, time.Second, false},
		{"the wall clock is set forward", 1251 * ms, time.Second, true},
		{"the wall clock is set back", 749 * ms, time.Second, true},
		{"the wall clock is set back by an hour", -time.Hour, time.Second, true},
		{"suspended for a night", 8 * time.Hour, time.Second, true},
		{"suspended for half a second", 1500 * ms, time.Second, true},
		{"the process was stopped for a second", 2 * time.Second, 2 * time.Second, true},
		{"the process was stopped for a day", 24 * time.Hour, 24 * time.Hour, true},
	} {
		if got := disturbed(c.wall, c.mono); got != c.disturbed {
			t.Errorf("%s: disturbed %t, want %t", c.name, got, c.disturbed)
		}
	}
}

// TestOffsetFollowsTheWallClock sets this machine's wall clock, which Now does not go by.
func TestOffsetFollowsTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, x := &machine{}, near(time.Minute)
		c := m.newClock()
		if c.Offset() != 0 {
			t.Errorf("offset %s before the first Sync", c.Offset())
		}
		mustSync(t, c, x)
		for _, set := range []time.Duration{0, time.Hour, -2 * time.Hour} {
			m.setWall(set)
			wantTold(t, c, time.Minute, ms)
			if got, want := c.Offset(), time.Minute-m.set; (got - want).Abs() > ms {
				t.Errorf("wall clock %s ahead: offset %s, want %s", m.set, got, want)
			}
		}
	})
}

package clock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// exchange answers with its own time after the given delays there and back.
type exchange struct {
	ahead       time.Duration
	there, back []time.Duration
	asked       int
	err         error
}

func (x *exchange) time(context.Context) (market.Time, error) {
	i := x.asked
	x.asked++
	time.Sleep(x.there[i%len(x.there)])
	t := market.TimeOf(time.Now().Add(x.ahead))
	time.Sleep(x.back[i%len(x.back)])
	return t, x.err
}

func TestSync(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name        string
		ahead       time.Duration
		there, back []time.Duration
		off         time.Duration // how far the clock may be off
	}{
		{"no delay", 3 * time.Second, []time.Duration{0}, []time.Duration{0}, ms},
		{"behind", -90 * time.Minute, []time.Duration{20 * ms}, []time.Duration{20 * ms}, ms},
		{"same way back", time.Hour, []time.Duration{80 * ms}, []time.Duration{80 * ms}, ms},
		{"best of several", 7 * ms, []time.Duration{300 * ms, 10 * ms, 900 * ms}, []time.Duration{20 * ms, 12 * ms, 0}, 2 * ms},
		{"lopsided", 0, []time.Duration{100 * ms}, []time.Duration{0}, 51 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &exchange{ahead: c.ahead, there: c.there, back: c.back}
				clock := New()
				if err := clock.Sync(t.Context(), x.time); err != nil {
					t.Fatal(err)
				}
				time.Sleep(12345 * ms)
				want := market.TimeOf(time.Now().Add(c.ahead))
				if off := clock.Now().Sub(want).Abs(); off > c.off {
					t.Errorf("off by %s, want at most %s", off, c.off)
				}
				if within, ok := clock.Synced(); !ok || within < 0 {
					t.Errorf("Synced() = %s, %t", within, ok)
				}
			})
		})
	}
}

func TestSyncKeepsTheSharperReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		clock := New()
		sharp := &exchange{ahead: time.Minute, there: []time.Duration{ms}, back: []time.Duration{ms}}
		blurred := &exchange{ahead: time.Minute, there: []time.Duration{400 * ms}, back: []time.Duration{0}}
		moved := &exchange{ahead: 2 * time.Minute, there: []time.Duration{400 * ms}, back: []time.Duration{400 * ms}}
		for _, step := range []struct {
			name   string
			x      *exchange
			offset time.Duration
		}{{"sharp", sharp, time.Minute}, {"blurred, no contradiction", blurred, time.Minute}, {"the exchange stepped", moved, 2 * time.Minute}} {
			if err := clock.Sync(t.Context(), step.x.time); err != nil {
				t.Fatal(err)
			}
			if off := (clock.Offset() - step.offset).Abs(); off > 2*ms {
				t.Errorf("%s: offset %s, want %s", step.name, clock.Offset(), step.offset)
			}
		}
	})
}

func TestSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		x := &exchange{there: []time.Duration{0}, back: []time.Duration{0}, err: refused}
		clock := New()
		if err := clock.Sync(t.Context(), x.time); !errors.Is(err, refused) {
			t.Errorf("Sync: %v, want %v", err, refused)
		}
		if _, ok := clock.Synced(); ok {
			t.Error("a clock that got no answer says it is synchronised")
		}
		failures := 0
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
		defer cancel()
		clock.Run(ctx, x.time, time.Minute, func(error) { failures++ })
		if failures != 10 {
			t.Errorf("%d failures reported in ten minutes, want 10", failures)
		}
	})
}

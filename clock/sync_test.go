package clock

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstSync(t *testing.T) {
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
		{"slow", 0, []time.Duration{time.Second}, []time.Duration{1900 * ms}, 451 * ms},
		{"all but one too slow", 0, []time.Duration{time.Second, time.Hour, time.Hour, time.Hour, time.Hour}, []time.Duration{time.Second}, ms},
		{"over a dead connection at first", 0, []time.Duration{time.Hour, ms, ms, ms, ms}, []time.Duration{0}, ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, clock := newExchange(c.ahead, c.there, c.back), New()
				if within, ok := clock.Synced(); ok {
					t.Errorf("Synced() = %s, %t before the first Sync", within, ok)
				}
				mustSync(t, clock, x)
				time.Sleep(12345 * ms)
				wantTold(t, clock, c.ahead, c.off)
				if within, ok := clock.Synced(); !ok || within < c.off-ms {
					t.Errorf("Synced() = %s, %t", within, ok)
				}
				if clock.Steps() != 0 {
					t.Errorf("%d steps", clock.Steps())
				}
			})
		})
	}
}

// TestNextSync synchronises with an exchange that is a minute ahead and 5 ms away each way, and a while later again.
func TestNextSync(t *testing.T) {
	const minute, away = time.Minute, 5 * ms
	for _, c := range []struct {
		name      string
		after     time.Duration
		ahead     time.Duration // the exchange, the second time
		there     []time.Duration
		questions string        // the second time
		told      time.Duration // how far ahead the clock is then
		give      time.Duration
		steps     int
	}{
		{"all the same", 30 * time.Second, minute, []time.Duration{away}, "0s", minute, ms, 0},
		{"it drifts", 30 * time.Second, minute + 3*ms, []time.Duration{away}, "0s", minute + 3*ms, ms, 0},
		{"the first answer is slow", 30 * time.Second, minute, []time.Duration{60 * ms, away}, "0s×2", minute, ms, 0},
		{"all answers are slow", 30 * time.Second, minute, []time.Duration{60 * ms}, "0s×5", minute, ms, 0},
		{"all are slow and it drifts", 3600 * time.Second, minute + 300*ms, []time.Duration{60 * ms}, "0s×5", minute + 300*ms, 28 * ms, 1},
		{"stepped a little", 30 * time.Second, minute + 40*ms, []time.Duration{away}, "0s×5", minute + 40*ms, ms, 0},
		{"stepped", 30 * time.Second, minute + 300*ms, []time.Duration{away}, "0s×5", minute + 300*ms, ms, 1},
		{"stepped back", 30 * time.Second, minute - 300*ms, []time.Duration{away}, "0s×5", minute - 300*ms, ms, 1},
		{"stepped far: asked again", 30 * time.Second, 2 * minute, []time.Duration{away}, "0s×6", 2 * minute, ms, 1},
		{"stepped far back: asked again", 30 * time.Second, -minute, []time.Duration{away}, "0s×6", -minute, ms, 1},
		{"stepped far, and the second time it is slow", 30 * time.Second, 2 * minute, append(slices.Repeat([]time.Duration{away}, 5),
			slices.Repeat([]time.Duration{300 * ms}, 5)...), "0s×9 1s", 2 * minute, ms, 1},
		{"too blurred to contradict", 30 * time.Second, minute, []time.Duration{2200 * ms}, "0s 2s 4s 6s 8s", minute, ms, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := New()
				mustSync(t, clock, newExchange(minute, []time.Duration{away}, []time.Duration{away}))
				time.Sleep(c.after)
				x := newExchange(c.ahead, c.there, []time.Duration{away})
				mustSync(t, clock, x)
				if got := x.questions(); got != c.questions {
					t.Errorf("asked %s, want %s", got, c.questions)
				}
				wantTold(t, clock, c.told, c.give)
				if clock.Steps() != c.steps {
					t.Errorf("%d steps, want %d", clock.Steps(), c.steps)
				}
			})
		})
	}
}

// TestAbsurdAnswers has the exchange, an hour ahead as before, give answers beside that.
func TestAbsurdAnswers(t *testing.T) {
	all := func(from, to int, d time.Duration) map[int]time.Duration {
		lies := map[int]time.Duration{}
		for i := from; i < to; i++ {
			lies[i] = d
		}
		return lies
	}
	for _, c := range []struct {
		name  string
		lies  map[int]time.Duration // by question, from 0
		err   string
		told  time.Duration
		steps int
	}{
		{"none", nil, "", time.Hour, 0},
		{"the first answer", all(0, 1, time.Minute), "", time.Hour, 0},
		{"five answers", all(0, 5, time.Minute), "1m0s from what is known is not confirmed: the next one is 0s", time.Hour, 0},
		{"five answers, back", all(0, 5, -time.Minute), "-1m0s from what is known is not confirmed", time.Hour, 0},
		{"five answers by a second, which is not absurd", all(0, 5, time.Second), "", time.Hour + time.Second, 1},
		{"all answers: it stepped", all(0, 99, time.Minute), "", time.Hour + time.Minute, 1},
		{"all answers, back", all(0, 99, -time.Minute), "", time.Hour - time.Minute, 1},
		{"each another", map[int]time.Duration{0: 7e9, 1: 7e9, 2: 7e9, 3: 7e9, 4: 7e9, 5: 9e9, 6: 9e9, 7: 9e9, 8: 9e9, 9: 9e9},
			"7s from what is known is not confirmed: the next one is 9s", time.Hour, 0},
		{"the second within 50 ms of the first", map[int]time.Duration{0: 7e9, 1: 7e9, 2: 7e9, 3: 7e9, 4: 7e9, 5: 7.04e9, 6: 7.04e9,
			7: 7.04e9, 8: 7.04e9, 9: 7.04e9}, "", time.Hour + 7040*ms, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := New()
				mustSync(t, clock, near(time.Hour))
				x := near(time.Hour)
				x.lies = c.lies
				time.Sleep(30 * time.Second)
				err := clock.Sync(t.Context(), x.time)
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("Sync: %v, want %q", err, c.err)
				}
				wantTold(t, clock, c.told, ms)
				if clock.Steps() != c.steps {
					t.Errorf("%d steps, want %d", clock.Steps(), c.steps)
				}
			})
		})
	}
}

// TestBlurredAnswerConfirmsNothing has a far answer followed by one so slow that it agrees with everything.
func TestBlurredAnswerConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := New()
		mustSync(t, clock, near(0))
		x := newExchange(0, []time.Duration{0, 0, 0, 0, 0, 1400 * ms}, []time.Duration{0, 0, 0, 0, 0, 1500 * ms})
		x.lies = map[int]time.Duration{0: 1.2e9, 1: 1.2e9, 2: 1.2e9, 3: 1.2e9, 4: 1.2e9}
		x.during = func(question int) {
			if question > 5 {
				x.set(func() { x.err = errRefused })
			}
		}
		if err := clock.Sync(t.Context(), x.time); err == nil {
			t.Error("an answer ±1.45 s confirmed one that is 1.2 s off")
		}
		wantTold(t, clock, 0, ms)
	})
}

// TestSuspendedWhileAsking lets the clocks go apart during some questions: what was answered until then is an hour old.
func TestSuspendedWhileAsking(t *testing.T) {
	for _, c := range []struct {
		name      string
		questions []int
		err       error
	}{
		{"the first", []int{0}, nil},
		{"the fourth", []int{3}, nil},
		{"the first and the third", []int{0, 2}, nil},
		{"the last", []int{4}, errApart},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, x := &machine{}, newExchange(0, []time.Duration{10 * ms}, []time.Duration{10 * ms})
				x.during = func(question int) {
					for _, q := range c.questions {
						if q == question {
							defer m.suspend(x, time.Hour)
						}
					}
				}
				clock := m.newClock()
				if err := clock.Sync(t.Context(), x.time); !errors.Is(err, c.err) {
					t.Fatalf("Sync: %v, want %v", err, c.err)
				}
				if c.err == nil {
					wantTold(t, clock, time.Duration(len(c.questions))*time.Hour, ms)
				}
			})
		})
	}
}

func TestSyncFails(t *testing.T) {
	for _, c := range []struct {
		name string
		x    func() *exchange
		want string
		took time.Duration
	}{
		{"refused", func() *exchange { x := near(0); x.err = errRefused; return x },
			"cannot ask the exchange for its time: connection refused", 0},
		{"no answer", func() *exchange { return newExchange(0, []time.Duration{time.Hour}, []time.Duration{0}) },
			"cannot ask the exchange for its time: context deadline exceeded", samples * patience},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, clock, began := c.x(), New(), time.Now()
				if err := clock.Sync(t.Context(), x.time); err == nil || err.Error() != c.want {
					t.Errorf("Sync: %v, want %s", err, c.want)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if _, ok := clock.Synced(); ok {
					t.Error("a clock that got no answer says it is synchronised")
				}
				wantTold(t, clock, 0, 0)
			})
		})
	}
}

package serve

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"klined/market"
)

// TestRevisions plays to two who subscribe to the same minutes: one asked for revisions, the other did not.
func TestRevisions(t *testing.T) {
	const gap = true
	put := func(w *world, minute int, price string, state market.State, revision int32, gap bool) {
		w.publish(minutes(btc), version(minute, price, state, revision, gap))
	}
	for _, c := range []struct {
		name         string
		play         func(w *world)
		plain, asked []string
	}{
		{"late trade, then replaced", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, 0, "2", market.StateClosed, 1, !gap)
			put(w, 0, "3", market.StateSettled, 2, !gap)
		}, []string{"1.00 closed x"}, []string{"1.00 closed x", "2.00 closed x", "3.00 settled x"}},
		{"settled equal", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, 0, "1", market.StateSettled, 0, !gap)
		}, []string{"1.00 closed x"}, []string{"1.00 closed x"}},
		{"settled equal, replaced after all", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, 0, "1", market.StateSettled, 0, !gap)
			put(w, 0, "2", market.StateSettled, 1, !gap)
		}, []string{"1.00 closed x"}, []string{"1.00 closed x", "2.00 settled x"}},
		{"settled equal after a revision", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, 0, "2", market.StateClosed, 1, !gap)
			put(w, 0, "2", market.StateSettled, 1, !gap)
		}, []string{"1.00 closed x"}, []string{"1.00 closed x", "2.00 closed x"}},
		{"held: nothing until all get it", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, gap)
			put(w, 0, "2", market.StateClosed, 1, gap)
		}, nil, nil},
		{"held, healed, settled equal", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, gap)
			put(w, 0, "2", market.StateClosed, 1, gap)
			put(w, 0, "3", market.StateClosed, 2, !gap)
			put(w, 0, "3", market.StateSettled, 2, !gap)
		}, []string{"3.00 closed x"}, []string{"3.00 closed x"}},
		{"held, then official", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, gap)
			put(w, 0, "2", market.StateSettled, 1, !gap)
		}, []string{"2.00 settled x"}, []string{"2.00 settled x"}},
		{"went out with gap, then healed without a change", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, gap)
			time.Sleep(3 * time.Minute)
			put(w, 0, "1", market.StateClosed, 1, !gap)
			put(w, 0, "1", market.StateSettled, 1, !gap)
		}, []string{"1.00 closed+gap x"}, []string{"1.00 closed+gap x", "1.00 closed x"}},
		{"went out with gap, then settled as it is", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, gap)
			time.Sleep(3 * time.Minute)
			put(w, 0, "1", market.StateSettled, 0, !gap)
		}, []string{"1.00 closed+gap x"}, []string{"1.00 closed+gap x", "1.00 settled x"}},
		{"marked after it went out", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, 0, "1", market.StateClosed, 1, gap)
			put(w, 0, "2", market.StateClosed, 2, !gap)
		}, []string{"1.00 closed x"}, []string{"1.00 closed x", "1.00 closed+gap x", "2.00 closed x"}},
		{"twice, and worse after better", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, 0, "2", market.StateSettled, 1, !gap)
			put(w, 0, "2", market.StateSettled, 1, !gap)
			put(w, 0, "1", market.StateSettled, 0, !gap)
			put(w, 0, "9", market.StateClosed, 2, !gap)
		}, []string{"1.00 closed x"}, []string{"1.00 closed x", "2.00 settled x"}},
		{"the youngest and the oldest that are remembered", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, remembered-1, "2", market.StateClosed, 0, !gap)
			put(w, 0, "1", market.StateSettled, 0, !gap)
			put(w, 0, "3", market.StateSettled, 1, !gap)
			put(w, remembered-1, "4", market.StateClosed, 1, !gap)
		}, []string{"1.00 closed x", "2.00 closed x"}, []string{"1.00 closed x", "2.00 closed x", "3.00 settled x", "4.00 closed x"}},
		{"older than that: what was revised", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, !gap)
			put(w, remembered, "2", market.StateClosed, 0, !gap)
			put(w, 0, "1", market.StateSettled, 0, !gap)
			put(w, 0, "3", market.StateSettled, 1, !gap)
		}, []string{"1.00 closed x", "2.00 closed x"}, []string{"1.00 closed x", "2.00 closed x", "3.00 settled x"}},
		{"held while it is forgotten", func(w *world) {
			put(w, 0, "1", market.StateClosed, 0, gap)
			put(w, remembered, "2", market.StateClosed, 0, !gap)
			put(w, 0, "3", market.StateClosed, 1, gap)
			put(w, 0, "2", market.StateClosed, 0, !gap) // worse
			put(w, 0, "4", market.StateClosed, 2, !gap)
		}, []string{"2.00 closed x", "4.00 closed x"}, []string{"2.00 closed x", "4.00 closed x"}},
		{"another series", func(w *world) {
			w.publish(minutes(moon), version(0, "1", market.StateClosed, 1, !gap))
			w.publish(minutes(moon), version(0, "2", market.StateClosed, 2, !gap))
		}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				plain, asked := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m?revisions=1")
				c.play(w)
				wantFinals(t, plain, c.plain...)
				wantFinals(t, asked, c.asked...)
			})
		})
	}
}

// TestRevisionsOfWhatNobodyGot: a close that went out to nobody is revised like any other.
func TestRevisionsOfWhatNobodyGot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.publish(minutes(btc), closed(0, "1"))
		w.publish(minutes(btc), closed(1, "2"))
		plain, asked := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m?revisions=1")
		w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, false))
		w.publish(minutes(btc), version(1, "3", market.StateSettled, 1, false))
		wantEvents(t, plain)
		wantEvents(t, asked, "3.00 settled x")
		if got := asked.texts(); got != nil {
			t.Error(got)
		}
	})
}

// TestRevisionsBesideOpenKlines: a revision goes out at once and moves nothing of the open kline's cadence.
func TestRevisionsBesideOpenKlines(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		time.Sleep(100 * time.Millisecond)
		plain, asked := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m?revisions=1")
		both := func(wantPlain, wantAsked []string) {
			t.Helper()
			wantEvents(t, plain, wantPlain...)
			wantEvents(t, asked, wantAsked...)
		}
		w.publish(minutes(btc), closed(0, "1"))
		both([]string{"1.00 closed x"}, []string{"1.00 closed x"})
		w.publish(minutes(btc), open(1, "2"))
		w.publish(minutes(btc), version(0, "3", market.StateClosed, 1, false))
		both(nil, []string{"3.00 closed x"})
		time.Sleep(150 * time.Millisecond) // the tick
		both([]string{"2.00 open"}, []string{"2.00 open"})
		time.Sleep(time.Minute + 100*time.Millisecond)
		w.publish(minutes(btc), version(0, "4", market.StateClosed, 2, false))
		w.publish(minutes(btc), open(1, "5")) // the series was quiet
		both([]string{"5.00 open"}, []string{"4.00 closed x", "5.00 open"})
	})
}

// TestRevisionsQueue: every version of a closed kline reaches a client that reads late, in order.
func TestRevisionsQueue(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m?revisions=1")
		p.hold(true)
		w.publish(minutes(btc), closed(0, "1"))
		want := []string{"1.00 closed x"}
		for revision := int32(1); revision <= 5; revision++ {
			price := fmt.Sprint(1 + revision)
			w.publish(minutes(btc), version(0, price, market.StateClosed, revision, false))
			w.publish(minutes(btc), open(1, price))
			want = append(want, price+".00 closed x")
			time.Sleep(time.Second)
		}
		p.hold(false)
		closes := slices.DeleteFunc(p.events(), func(e string) bool { return !strings.HasSuffix(e, "x") })
		if !slices.Equal(closes, want) {
			t.Errorf("got %v, want %v", closes, want)
		}
	})
}

func TestAskingForRevisions(t *testing.T) {
	const name = "btcusdt@kline_1m"
	for url, want := range map[string]bool{
		"/ws/" + name + "?revisions=1":                     true,
		"/market/ws/" + name + "?revisions=1":              true,
		"/public/ws/" + name + "?revisions=1":              true,
		"/stream?streams=" + name + "&revisions=1":         true,
		"/market/stream?revisions=1&streams=" + name:       true,
		"/public/stream/?streams=" + name + "&revisions=1": true,
		"/ws?revisions=1":                                  true,
		"/ws/?revisions=1":                                 true,
		"/stream?revisions=1":                              true,
		"/market/ws?revisions=1&colour=red":                true,
		"/public/stream?colour=red&revisions=1":            true,
		"/revisions=1/ws/" + name:                          true,
		"//revisions=1//market//ws/?revisions=0":           true,
		"/final=closed&revisions=1/stream?streams=" + name: true,
		"/revisions=0/ws/" + name + "?revisions=1":         false,
		"/ws/" + name:                                             false,
		"/ws/" + name + "?revisions=0":                            false,
		"/ws/" + name + "?revisions=":                             false,
		"/ws/" + name + "?revisions":                              false,
		"/ws/" + name + "?Revisions=1":                            false,
		"/ws/" + name + "?colour=red":                             false,
		"/stream?streams=" + name + "/revisions=1":                false,
		"/stream?streams=" + name + "&revisions=0&revisions=1":    false,
		"/ws/" + name + "/revisions=1?colour=red&streams=nothing": false,
	} {
		t.Run(url, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				p := connect(t, listen, url)
				if !strings.Contains(url, name) {
					p.ask(`{"method":"SUBSCRIBE","params":["` + name + `"],"id":1}`)
				}
				w.publish(minutes(btc), closed(0, "1"))
				w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, false))
				if got := len(p.texts()) == 2; got != want {
					t.Errorf("gets revisions: %t, want %t", got, want)
				}
			})
		})
	}
}

// TestRank: rank says of two versions what market.Better says, and revises is that or less.
func TestRank(t *testing.T) {
	var all []market.Kline
	for _, state := range []market.State{market.StateClosed, market.StateSettled} {
		for _, revision := range []int32{0, 1, 2, 1<<29 - 1} {
			for _, gap := range []bool{false, true} {
				all = append(all, version(0, "1", state, revision, gap))
			}
		}
	}
	for _, a := range all {
		if rankOf(&a) == unseen {
			t.Errorf("%v is no version", a)
		}
		for _, b := range all {
			better := market.Better(&b, &a)
			if got := rankOf(&b) > rankOf(&a); got != better {
				t.Errorf("%v over %v: %t", b, a, got)
			}
			news := better && (a.Revision != b.Revision || a.Gap != b.Gap)
			if got := rankOf(&b).revises(rankOf(&a)); got != news {
				t.Errorf("%v revises %v: %t, want %t", b, a, got, news)
			}
		}
	}
}

// TestVersions plays random versions of klines near and far to the ring and to a map that forgets nothing.
func TestVersions(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		var v versions
		best := make(map[int64]rank)
		newest := r.Int64N(1000) - 500
		for range 500 {
			at := newest + [...]int64{1 + r.Int64N(3), r.Int64N(300), -r.Int64N(200), 1 - remembered, -remembered}[r.IntN(5)]
			if before := len(best) > 0 && at <= newest; v.reached(at) != before {
				t.Fatalf("seed %d: reached %d: %t, want %t", seed, at, !before, before)
			}
			if newest = max(newest, at); len(best) == 0 {
				newest = at
			}
			this := rank(2<<stateRank + r.IntN(4))
			got, known := v.take(at, this)
			want, young := best[at], newest-at < remembered
			best[at] = max(want, this)
			if known != young || young && got != want {
				t.Fatalf("seed %d: %d: %d %t, want %d %t", seed, at, got, known, want, young)
			}
		}
	}
}

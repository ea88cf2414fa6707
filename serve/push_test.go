package serve

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"klined/fixed"
	"klined/market"
)

// bubbleStart is when fake time begins, a minute's open.
var bubbleStart = market.TimeOf(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))

// version is a version of the kline that opens minute minutes after the start.
func version(minute int, price string, state market.State, revision int32, gap bool) market.Kline {
	k := kline(bubbleStart+market.Time(minute)*market.Minute, price, state)
	k.Revision, k.Gap = revision, gap
	return k
}

func open(minute int, price string) market.Kline {
	return version(minute, price, market.StateOpen, 0, false)
}
func closed(minute int, price string) market.Kline {
	return version(minute, price, market.StateClosed, 0, false)
}

func wantEvents(t *testing.T, p *peer, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.events()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// wantFinals is wantEvents, of those alone that say x:true.
func wantFinals(t *testing.T, p *peer, want ...string) {
	t.Helper()
	finals := slices.DeleteFunc(p.events(), func(e string) bool { return !strings.HasSuffix(e, " x") })
	if diff := cmp.Diff(want, finals, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestEvent(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.before(minutes(btc), 1791382980000)
		w.before(market.Series{Symbol: moon, Interval: market.OneDay}, 1791331200000)
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		k := market.EmptyKline(1791382980000, fixed.MustParse("83084.9"))
		w.publish(minutes(btc), k)
		synctest.Wait()
		k.State, k.Gap, k.FirstID, k.LastID, k.TradeCount, k.Revision = market.StateSettled, false, 8153633367, 8153634395, 1027, 2
		k.High, k.Low = fixed.MustParse("83091.7"), fixed.MustParse("83051.2")
		k.Volume, _ = fixed.ParseSum("13.551")
		k.QuoteVolume, _ = fixed.ParseSum("1125714.7396")
		w.publish(minutes(btc), k)
		want := []string{
			`{"e":"kline","E":946684800000,"s":"BTCUSDT","k":{"t":1791382980000,"T":1791383039999,"s":"BTCUSDT","i":"1m","f":-1,"L":-1,"o":"83084.90","c":"83084.90","h":"83084.90","l":"83084.90","v":"0.000","n":0,"x":false,"q":"0.00000","V":"0.000","Q":"0.00000","B":"0","r":0,"st":"open"}}`,
			`{"e":"kline","E":946684800000,"s":"BTCUSDT","k":{"t":1791382980000,"T":1791383039999,"s":"BTCUSDT","i":"1m","f":8153633367,"L":8153634395,"o":"83084.90","c":"83084.90","h":"83091.70","l":"83051.20","v":"13.551","n":1027,"x":true,"q":"1125714.73960","V":"0.000","Q":"0.00000","B":"0","r":2,"st":"settled"}}`,
		}
		if diff := cmp.Diff(want, p.texts()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		wrapped := connect(t, listen, "/market/stream?streams=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1d")
		w.publish(market.Series{Symbol: moon, Interval: market.OneDay}, market.EmptyKline(1791331200000, fixed.MustParse("0.0123")))
		want = []string{`{"stream":"币安人生usdt@kline_1d","data":{"e":"kline","E":946684800000,"s":"币安人生USDT","k":{"t":1791331200000,"T":1791417599999,"s":"币安人生USDT","i":"1d","f":-1,"L":-1,"o":"0.012300","c":"0.012300","h":"0.012300","l":"0.012300","v":"0","n":0,"x":false,"q":"0.000000","V":"0","Q":"0.000000","B":"0","r":0,"st":"open"}}}`}
		if diff := cmp.Diff(want, wrapped.texts()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestPushCadence(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		time.Sleep(100 * time.Millisecond)
		w.publish(minutes(btc), open(0, "1"))
		wantEvents(t, p, "1.00 open") // it was quiet
		w.publish(minutes(btc), open(0, "2"))
		w.publish(minutes(btc), open(0, "3"))
		wantEvents(t, p)
		time.Sleep(149 * time.Millisecond)
		wantEvents(t, p)
		time.Sleep(time.Millisecond) // the tick at 250 ms
		wantEvents(t, p, "3.00 open")
		time.Sleep(240 * time.Millisecond)
		w.publish(minutes(btc), open(0, "4"))
		wantEvents(t, p)
		time.Sleep(10 * time.Millisecond)
		wantEvents(t, p, "4.00 open")
		time.Sleep(time.Second)
		wantEvents(t, p)
		w.publish(minutes(btc), open(0, "5"))
		wantEvents(t, p, "5.00 open")
		w.publish(minutes(btc), open(0, "6"))
		w.publish(minutes(btc), closed(0, "7")) // at once, and instead of what waits
		wantEvents(t, p, "7.00 closed x")
		w.publish(minutes(btc), open(0, "8")) // too late
		w.publish(minutes(btc), open(1, "9"))
		time.Sleep(time.Second)
		wantEvents(t, p, "9.00 open")
	})
}

func TestFinalOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(w *world, p *peer)
		want []string
	}{
		{"revised and settled later", func(w *world, _ *peer) {
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, false))
			w.publish(minutes(btc), version(0, "3", market.StateSettled, 2, false))
		}, []string{"1.00 closed x"}},
		{"settled at once", func(w *world, _ *peer) {
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, false))
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 1, false))
		}, []string{"1.00 settled x"}},
		{"a gap that heals", func(w *world, p *peer) {
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, true))
			time.Sleep(30 * time.Second)
			wantFinals(p.t, p)
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, true))
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 2, false))
			time.Sleep(2 * time.Minute)
		}, []string{"3.00 closed x"}},
		{"a gap that becomes official", func(w *world, _ *peer) {
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, true))
			w.publish(minutes(btc), version(0, "2", market.StateSettled, 1, false))
		}, []string{"2.00 settled x"}},
		{"a gap that stays", func(w *world, p *peer) {
			time.Sleep(60*time.Second + 500*time.Millisecond)
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, true))
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, true))
			time.Sleep(59*time.Second + 499*time.Millisecond)
			wantFinals(p.t, p)
			time.Sleep(time.Millisecond) // 60 s after the boundary
			wantFinals(p.t, p, "2.00 closed+gap x")
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 2, false))
			time.Sleep(time.Minute)
		}, nil},
		{"a gap that comes too late to wait", func(w *world, _ *peer) {
			time.Sleep(2 * time.Minute)
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, true))
		}, []string{"1.00 closed+gap x"}},
		{"two that wait, out of order", func(w *world, _ *peer) {
			w.publish(minutes(btc), version(1, "1", market.StateClosed, 0, true))
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 0, true))
			time.Sleep(2*time.Minute + time.Second)
			w.publish(minutes(btc), version(1, "3", market.StateClosed, 1, false))
		}, []string{"2.00 closed+gap x", "3.00 closed x"}},
		{"the starting minute comes after the next", func(w *world, _ *peer) {
			w.publish(minutes(btc), closed(5, "5"))
			w.publish(minutes(btc), version(4, "4", market.StateSettled, 0, false))
			w.publish(minutes(btc), version(4, "4", market.StateSettled, 1, false))
		}, []string{"5.00 closed x", "4.00 settled x"}},
		{"far behind", func(w *world, _ *peer) {
			w.publish(minutes(btc), closed(200, "1"))
			w.publish(minutes(btc), closed(72, "2"))
			w.publish(minutes(btc), closed(73, "3"))
		}, []string{"1.00 closed x", "3.00 closed x"}},
		{"a gap, and a worse version without", func(w *world, _ *peer) {
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, true))
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, false))
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 2, false))
		}, []string{"3.00 closed x"}},
		{"more than may wait, youngest first: the oldest goes", func(w *world, _ *peer) {
			for minute := maxHeld; minute >= 0; minute-- {
				w.publish(minutes(btc), version(minute, fmt.Sprint(minute), market.StateClosed, 0, true))
			}
			w.publish(minutes(btc), version(maxHeld, "1000", market.StateClosed, 1, false))
			w.publish(minutes(btc), version(0, "1000", market.StateClosed, 1, false)) // has gone out
		}, []string{"0.00 closed+gap x", "1000.00 closed x"}},
		{"two that are due at once, out of order", func(w *world, _ *peer) {
			w.hub.clock = jump(bubbleStart + market.Minute)
			for _, minute := range []int{1, 0} {
				w.publish(minutes(btc), version(minute, fmt.Sprint(minute), market.StateClosed, 0, true))
			}
			time.Sleep(2 * time.Minute)
		}, []string{"0.00 closed+gap x", "1.00 closed+gap x"}},
		{"another series", func(w *world, _ *peer) {
			w.publish(minutes(moon), closed(0, "1"))
			w.publish(market.Series{Symbol: btc, Interval: market.OneHour}, closed(0, "1"))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				p := connect(t, listen, "/ws/btcusdt@kline_1m")
				c.play(w, p)
				wantFinals(t, p, c.want...)
			})
		})
	}
}

// TestFinalOnceForLateSubscribers: who comes after the close does not get it with a later version.
func TestFinalOnceForLateSubscribers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		w.publish(minutes(btc), closed(0, "1"))
		w.publish(minutes(btc), version(1, "2", market.StateClosed, 0, true))
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		w.publish(minutes(btc), version(0, "3", market.StateSettled, 1, false))
		w.publish(minutes(btc), version(1, "4", market.StateClosed, 1, false))
		wantEvents(t, p, "4.00 closed x")
	})
}

// TestHeldAmongSubscribers: who is there when a held close goes out gets it, whoever was there before.
func TestHeldAmongSubscribers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		first := connect(t, listen, "/ws/btcusdt@kline_1m")
		w.publish(minutes(btc), open(0, "1"))
		w.publish(minutes(btc), version(0, "2", market.StateClosed, 0, true))
		w.publish(minutes(btc), version(1, "3", market.StateClosed, 0, true))
		wantFinals(t, first)
		_ = first.conn.Close()
		synctest.Wait()
		w.publish(minutes(btc), version(0, "4", market.StateClosed, 1, false)) // to nobody
		second := connect(t, listen, "/ws/btcusdt@kline_1m")
		w.publish(minutes(btc), version(0, "5", market.StateSettled, 2, false))
		time.Sleep(3 * time.Minute)
		wantEvents(t, second, "3.00 closed+gap x")
	})
}

// TestCloseBeforeTheNext: for a client that does not read, the close of a kline stays before the next ones' updates, even
// where an older kline's close is held and its last update still waits.
func TestCloseBeforeTheNext(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		p.hold(true) // takes one more frame
		w.publish(minutes(btc), open(0, "1"))
		time.Sleep(time.Second)
		w.publish(minutes(btc), open(0, "2"))
		time.Sleep(time.Second)
		w.publish(minutes(btc), open(0, "3"))
		w.publish(minutes(btc), version(0, "4", market.StateClosed, 0, true))
		w.publish(minutes(btc), closed(1, "5"))
		w.publish(minutes(btc), open(2, "6"))
		time.Sleep(time.Second)
		w.publish(minutes(btc), version(0, "7", market.StateClosed, 1, false))
		w.publish(minutes(btc), open(2, "8"))
		time.Sleep(time.Second)
		p.hold(false)
		got := p.events()
		if diff := cmp.Diff([]string{"5.00 closed x", "7.00 closed x", "8.00 open"}, got[max(0, len(got)-3):]); diff != "" {
			t.Errorf("last events of %v (-want +got):\n%s", got, diff)
		}
	})
}

func TestStateCoalesces(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m/币安人生usdt@kline_1m")
		p.hold(true) // takes one more frame
		for i := range 20 {
			w.publish(minutes(btc), open(0, fmt.Sprint(i)))
			w.publish(minutes(moon), open(0, fmt.Sprint(100+i)))
			time.Sleep(250 * time.Millisecond)
		}
		w.publish(minutes(btc), closed(0, "50"))
		w.publish(minutes(btc), open(1, "51"))
		time.Sleep(300 * time.Millisecond)
		p.hold(false)
		// 0 and perhaps 100 were on their way; of what came after, the newest state and the close.
		got := p.events()
		if len(got) > 0 && got[0] == "0.00 open" {
			got = got[1:]
		}
		if len(got) > 0 && got[0] == "100.000000 open" {
			got = got[1:]
		}
		want := []string{"50.00 closed x", "119.000000 open", "51.00 open"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestSlowClients(t *testing.T) {
	t.Run("does not read for 30 s", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world, listen *pipes) {
			p := connect(t, listen, "/ws/btcusdt@kline_1m")
			p.hold(true)
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), closed(1, "2"))
			time.Sleep(29 * time.Second)
			wantSlow(t, w, 0)
			time.Sleep(2 * time.Second)
			wantSlow(t, w, 1)
			p.hold(false)
			if got := p.ended(); got != "1008 slow client" {
				t.Errorf("ended with %q", got)
			}
		})
	})
	t.Run("more than 4 MiB wait", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world, listen *pipes) {
			slow, other := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m")
			slow.hold(true)
			n := 4<<20/250 + 1000
			for i := range n {
				w.publish(minutes(btc), closed(i, "1"))
				if i%1000 == 0 {
					synctest.Wait() // the other one reads on
				}
			}
			wantSlow(t, w, 1)
			slow.hold(false)
			if got := slow.ended(); got != "1008 slow client" {
				t.Errorf("ended with %q", got)
			}
			if got := len(other.texts()); got != n || other.ended() != "" {
				t.Errorf("the other client got %d of %d closes, ended with %q", got, n, other.ended())
			}
		})
	})
	t.Run("all together: the fullest first", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world, listen *pipes) {
			w.hub.bound = 110_000 // passed when less holds, too: some 380 closes; what less waits for at last fits
			less, more := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m")
			more.hold(true)
			for i := range 300 {
				w.publish(minutes(btc), closed(i, "1"))
				synctest.Wait()
			}
			less.hold(true)
			for i := 300; i < 500; i++ {
				w.publish(minutes(btc), closed(i, "1"))
			}
			wantSlow(t, w, 1)
			more.hold(false)
			less.hold(false)
			if got := more.ended(); got != "1008 slow client" {
				t.Errorf("the fuller one ended with %q", got)
			}
			if got := less.ended(); got != "" || len(less.texts()) != 500 {
				t.Errorf("the other one ended with %q", got)
			}
		})
	})
}

func wantSlow(t *testing.T, w *world, want float64) {
	t.Helper()
	synctest.Wait()
	if got := slowClients(t, w); got != want {
		t.Errorf("%v slow clients, want %v", got, want)
	}
}

// slowClients is how many have been closed for being slow.
func slowClients(t *testing.T, w *world) float64 {
	t.Helper()
	var m dto.Metric
	if err := w.opt.Metrics.WSSlowClients.(prometheus.Metric).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Counter.GetValue()
}

func TestPushMetrics(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		q := connect(t, listen, "/stream?streams=btcusdt@kline_1m")
		time.Sleep(30 * time.Second)
		w.publish(minutes(btc), open(0, "1"))
		synctest.Wait()
		w.publish(minutes(btc), open(0, "2")) // deferred
		time.Sleep(30*time.Second + 250*time.Millisecond)
		w.Publish(&market.Changes{Updates: []market.Update{{Series: minutes(btc), Kline: closed(0, "3")}}})
		wantEvents(t, p, "1.00 open", "2.00 open", "3.00 closed x")
		if len(q.texts()) != 3 {
			t.Error("the wrapped stream differs")
		}
		count := func(h prometheus.Histogram) (uint64, float64) {
			var m dto.Metric
			if err := h.Write(&m); err != nil {
				t.Fatal(err)
			}
			return m.Histogram.GetSampleCount(), m.Histogram.GetSampleSum()
		}
		if n, _ := count(w.opt.Metrics.FrameToPush); n != 1 {
			t.Errorf("frame to push: %d pushes measured, want 1", n)
		}
		if n, sum := count(w.opt.Metrics.CloseDelay); n != 1 || sum != 0.25 {
			t.Errorf("close delay: %d pushes measured, %v s, want 1 and 0.25", n, sum)
		}
	})
}

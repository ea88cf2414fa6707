package serve

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// TestFinalSettled plays minutes to one who takes them when they are closed, to one who waits until they are settled, and
// to one who does and takes revisions too.
func TestFinalSettled(t *testing.T) {
	const gap = true
	seconds := market.Series{Symbol: btc, Interval: interval("1s")}
	for _, c := range []struct {
		name                     string
		play                     func(w *world)
		plain, settled, revising []string
	}{
		{"settled with other values", func(w *world) {
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), open(1, "2"))
			w.publish(minutes(btc), version(0, "3", market.StateSettled, 1, !gap))
			w.publish(minutes(btc), version(0, "4", market.StateSettled, 2, !gap))
		}, []string{"1.00 closed x"}, []string{"3.00 settled x"}, []string{"3.00 settled x", "4.00 settled x"}},
		{"settled as it is", func(w *world) {
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, !gap))
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, !gap))
		}, []string{"1.00 closed x"}, []string{"1.00 settled x"}, []string{"1.00 settled x"}},
		{"settled at once", func(w *world) {
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, !gap))
		}, []string{"1.00 settled x"}, []string{"1.00 settled x"}, []string{"1.00 settled x"}},
		{"revised before it is settled", func(w *world) {
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, !gap))
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 2, gap))
			w.publish(minutes(btc), version(0, "4", market.StateSettled, 3, !gap))
		}, []string{"1.00 closed x"}, []string{"4.00 settled x"}, []string{"4.00 settled x"}},
		{"not settled for 10 s, settled after all", func(w *world) {
			time.Sleep(time.Minute + 300*time.Millisecond)
			w.publish(minutes(btc), closed(0, "1"))
			time.Sleep(9699 * time.Millisecond)
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, !gap))
			time.Sleep(time.Millisecond) // 10 s after the boundary
			synctest.Wait()
			w.publish(minutes(btc), version(0, "3", market.StateSettled, 2, !gap))
		}, []string{"1.00 closed x"}, []string{"2.00 closed x"}, []string{"2.00 closed x", "3.00 settled x"}},
		{"with gap for 20 s, then healed", func(w *world) {
			time.Sleep(time.Minute)
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, gap))
			time.Sleep(20 * time.Second)
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, !gap))
			w.publish(minutes(btc), version(0, "3", market.StateSettled, 2, !gap))
		}, []string{"2.00 closed x"}, []string{"2.00 closed x"}, []string{"2.00 closed x", "3.00 settled x"}},
		{"with gap for 20 s, then official", func(w *world) {
			time.Sleep(time.Minute)
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, gap))
			time.Sleep(20 * time.Second)
			w.publish(minutes(btc), version(0, "2", market.StateSettled, 1, !gap))
		}, []string{"2.00 settled x"}, []string{"2.00 settled x"}, []string{"2.00 settled x"}},
		{"healed within 10 s, not settled", func(w *world) {
			time.Sleep(time.Minute)
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, gap))
			time.Sleep(5 * time.Second)
			w.publish(minutes(btc), version(0, "2", market.StateClosed, 1, !gap))
			time.Sleep(5 * time.Second)
			synctest.Wait()
			w.publish(minutes(btc), version(0, "3", market.StateSettled, 2, !gap))
		}, []string{"2.00 closed x"}, []string{"2.00 closed x"}, []string{"2.00 closed x", "3.00 settled x"}},
		{"with gap for a minute", func(w *world) {
			time.Sleep(time.Minute)
			w.publish(minutes(btc), version(0, "1", market.StateClosed, 0, gap))
			time.Sleep(time.Minute)
			synctest.Wait()
			w.publish(minutes(btc), version(0, "2", market.StateSettled, 1, !gap))
		}, []string{"1.00 closed+gap x"}, []string{"1.00 closed+gap x"}, []string{"1.00 closed+gap x", "2.00 settled x"}},
		{"closed when it is over already", func(w *world) {
			time.Sleep(time.Minute + 10*time.Second)
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, !gap))
		}, []string{"1.00 closed x"}, []string{"1.00 closed x"}, []string{"1.00 closed x"}},
		{"settled in another order", func(w *world) {
			w.publish(minutes(btc), closed(0, "1"))
			w.publish(minutes(btc), closed(1, "2"))
			w.publish(minutes(btc), version(1, "2", market.StateSettled, 0, !gap))
			w.publish(minutes(btc), version(0, "1", market.StateSettled, 0, !gap))
		}, []string{"1.00 closed x", "2.00 closed x"}, []string{"2.00 settled x", "1.00 settled x"}, []string{"2.00 settled x", "1.00 settled x"}},
		{"more than may wait", func(w *world) {
			for minute := range maxHeld + 1 {
				w.publish(minutes(btc), version(minute, fmt.Sprint(minute), market.StateClosed, 0, gap))
			}
		}, []string{"0.00 closed+gap x"}, []string{"0.00 closed+gap x"}, []string{"0.00 closed+gap x"}},
		{"seconds have nothing official", func(w *world) {
			w.publish(seconds, version(0, "1", market.StateClosed, 0, !gap))
			w.publish(seconds, version(1, "2", market.StateClosed, 0, gap))
			w.publish(seconds, version(1, "3", market.StateClosed, 1, !gap))
			w.publish(seconds, version(1, "4", market.StateClosed, 2, !gap))
		}, []string{"1.00 closed x", "3.00 closed x"}, []string{"1.00 closed x", "3.00 closed x"}, []string{"1.00 closed x", "3.00 closed x", "4.00 closed x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				const names = "btcusdt@kline_1m/btcusdt@kline_1s"
				plain, settled := connect(t, listen, "/ws/"+names), connect(t, listen, "/ws/"+names+"?final=settled")
				revising := connect(t, listen, "/ws/"+names+"?revisions=1&final=settled")
				c.play(w)
				wantFinals(t, plain, c.plain...)
				wantFinals(t, settled, c.settled...)
				wantFinals(t, revising, c.revising...)
			})
		})
	}
}

// TestFinalSettledForLateSubscribers: who comes between a close and the settled version gets that, or what there is when
// it is due, though nobody waited for it before; who comes later gets nothing.
func TestFinalSettledForLateSubscribers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		time.Sleep(3 * time.Minute)
		for minute := range 3 {
			w.publish(minutes(btc), closed(minute, fmt.Sprint(minute)))
		}
		p := connect(t, listen, "/ws/btcusdt@kline_1m?final=settled")
		w.publish(minutes(btc), version(2, "7", market.StateSettled, 1, false))
		w.publish(minutes(btc), version(1, "8", market.StateSettled, 1, false)) // was due before p came
		wantEvents(t, p, "7.00 settled x")
		_ = p.conn.Close()
		synctest.Wait()
		time.Sleep(time.Minute)
		w.publish(minutes(btc), closed(3, "9"))
		time.Sleep(9 * time.Second)
		late := connect(t, listen, "/ws/btcusdt@kline_1m?final=settled")
		wantEvents(t, late)
		time.Sleep(time.Second)
		wantEvents(t, late, "9.00 closed x")
		time.Sleep(time.Minute)
		wantEvents(t, late)
	})
}

// TestFinalSettledForNobody: a close that was due before anybody waited for it is not the first close of who comes next; what is
// due after that is.
func TestFinalSettledForNobody(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		hours := market.Series{Symbol: btc, Interval: interval("1h")}
		time.Sleep(time.Hour)
		w.publish(hours, closed(0, "1"))
		time.Sleep(55 * time.Minute)
		p := connect(t, listen, "/ws/btcusdt@kline_1h?final=settled")
		time.Sleep(4 * time.Minute)
		wantEvents(t, p)
		time.Sleep(time.Minute)
		w.publish(hours, closed(60, "2"))
		wantEvents(t, p, "2.00 closed")
		time.Sleep(settleFor)
		wantEvents(t, p, "2.00 closed x")
	})
}

// TestClosingValues: the values of a close that is not final yet go out once, at the close, as those of a running kline. A client that
// does not look at x has them before the next kline begins.
func TestClosingValues(t *testing.T) {
	const gap = true
	for _, c := range []struct {
		name           string
		play           func(w *world)
		plain, settled []string
	}{
		{"not settled", func(w *world) {
			w.publish(minutes(btc), closed(0, "3"))
			synctest.Wait()
			w.publish(minutes(btc), open(1, "4"))
			time.Sleep(250 * time.Millisecond)
			w.publish(minutes(btc), version(0, "6", market.StateSettled, 1, !gap))
			time.Sleep(250 * time.Millisecond)
			w.publish(minutes(btc), open(1, "5"))
		}, []string{"3.00 closed x", "4.00 open", "5.00 open"}, []string{"3.00 closed", "4.00 open", "6.00 settled x", "5.00 open"}},
		{"with gap", func(w *world) {
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 0, gap))
			synctest.Wait()
			w.publish(minutes(btc), version(0, "4", market.StateClosed, 1, gap)) // better, and not final either
			time.Sleep(250 * time.Millisecond)
			w.publish(minutes(btc), open(1, "5"))
			time.Sleep(250 * time.Millisecond)
			w.publish(minutes(btc), version(0, "6", market.StateSettled, 2, !gap))
		}, []string{"3.00 closed+gap", "5.00 open", "6.00 settled x"}, []string{"3.00 closed+gap", "5.00 open", "6.00 settled x"}},
		{"settled at once", func(w *world) {
			w.publish(minutes(btc), version(0, "3", market.StateSettled, 0, !gap))
		}, []string{"3.00 settled x"}, []string{"3.00 settled x"}},
		{"a later one has gone out", func(w *world) {
			time.Sleep(time.Minute + closeWithin)
			w.publish(minutes(btc), open(1, "4"))
			time.Sleep(250 * time.Millisecond)
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 0, gap))
		}, []string{"2.00 open", "4.00 open"}, []string{"2.00 open", "4.00 open"}},
		{"a later one has closed", func(w *world) {
			w.publish(minutes(btc), version(1, "4", market.StateSettled, 0, !gap))
			w.publish(minutes(btc), version(0, "3", market.StateClosed, 0, gap))
		}, []string{"4.00 settled x"}, []string{"4.00 settled x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				time.Sleep(50 * time.Millisecond)
				plain, settled := connect(t, listen, "/ws/btcusdt@kline_1m"), connect(t, listen, "/ws/btcusdt@kline_1m?final=settled")
				w.publish(minutes(btc), open(0, "1"))
				synctest.Wait()
				w.publish(minutes(btc), open(0, "2")) // waits for the tick, which the close overtakes
				c.play(w)
				synctest.Wait()
				wantEvents(t, plain, append([]string{"1.00 open"}, c.plain...)...)
				wantEvents(t, settled, append([]string{"1.00 open"}, c.settled...)...)
			})
		})
	}
}

// TestCloseBeforeOpen: a running kline waits for the close of the one before it, for a while; what is older than that does
// not wait.
func TestCloseBeforeOpen(t *testing.T) {
	threes := market.Series{Symbol: btc, Interval: interval("3m")}
	before := version(3, "1", market.StateSettled, 0, false)
	for _, c := range []struct {
		name string
		play func(w *world, p *peer)
		want []string
	}{
		{"it comes", func(w *world, p *peer) {
			w.publish(threes, open(6, "2"))
			time.Sleep(2 * time.Second)
			wantEvents(p.t, p)
			w.publish(threes, open(6, "3"))
			w.publish(threes, before)
			wantEvents(p.t, p, "1.00 settled x")
			time.Sleep(250 * time.Millisecond)
			wantEvents(p.t, p, "3.00 open")
			time.Sleep(time.Second)
			w.publish(threes, open(6, "4"))
		}, []string{"4.00 open"}},
		{"it came", func(w *world, _ *peer) {
			w.publish(threes, before)
			time.Sleep(250 * time.Millisecond)
			w.publish(threes, open(6, "2"))
		}, []string{"1.00 settled x", "2.00 open"}},
		{"it came, and is held", func(w *world, _ *peer) {
			w.publish(threes, version(3, "1", market.StateClosed, 0, true))
			synctest.Wait()
			time.Sleep(250 * time.Millisecond)
			w.publish(threes, open(6, "2"))
		}, []string{"1.00 closed+gap", "2.00 open"}},
		{"it does not come", func(w *world, p *peer) {
			w.publish(threes, open(6, "2"))
			time.Sleep(closeWithin - time.Millisecond)
			wantEvents(p.t, p)
			time.Sleep(time.Millisecond)
			wantEvents(p.t, p, "2.00 open")
			time.Sleep(time.Second)
			w.publish(threes, open(6, "3"))
		}, []string{"3.00 open"}},
		{"nor is it waited for later", func(w *world, _ *peer) {
			time.Sleep(closeWithin)
			w.publish(threes, open(6, "2"))
		}, []string{"2.00 open"}},
		{"the running one closes first", func(w *world, p *peer) {
			w.publish(threes, open(6, "2"))
			w.publish(threes, closed(6, "3"))
			w.publish(threes, open(9, "4"))
			time.Sleep(time.Second)
		}, []string{"3.00 closed x", "4.00 open"}},
		{"another one is far ahead", func(w *world, p *peer) {
			w.publish(threes, closed(6, "3"))
			w.publish(threes, open(12, "4"))
			time.Sleep(6 * time.Minute)
			wantEvents(p.t, p, "3.00 closed x")
			time.Sleep(closeWithin - time.Millisecond)
			wantEvents(p.t, p)
			time.Sleep(time.Millisecond)
		}, []string{"4.00 open"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world, listen *pipes) {
				p := connect(t, listen, "/ws/btcusdt@kline_3m")
				time.Sleep(6 * time.Minute)
				c.play(w, p)
				wantEvents(t, p, c.want...)
			})
		})
	}
}

// TestResubscribing: who leaves a series and comes back around its close gets each close once, and after the answer nothing of what
// it has left.
func TestResubscribing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		again := func() {
			t.Helper()
			for _, method := range []string{"UNSUBSCRIBE", "SUBSCRIBE"} {
				p.write(ws.NewTextFrame([]byte(`{"method":"` + method + `","params":["btcusdt@kline_1m"],"id":1}`)))
				synctest.Wait()
			}
		}
		ack := " "                                     // of an answer there is neither price nor standing
		time.Sleep(time.Second + 100*time.Millisecond) // not with a tick
		w.publish(minutes(btc), open(0, "1"))
		w.publish(minutes(btc), open(0, "2")) // waits for the tick
		again()
		time.Sleep(time.Second)
		wantEvents(t, p, "1.00 open", ack, ack, "2.00 open")
		again()
		w.publish(minutes(btc), version(0, "3", market.StateClosed, 0, true)) // waits for its gap to heal
		again()
		w.publish(minutes(btc), version(0, "4", market.StateClosed, 1, false))
		again()
		w.publish(minutes(btc), version(0, "5", market.StateSettled, 2, false))
		w.publish(minutes(btc), closed(1, "6"))
		wantEvents(t, p, ack, ack, "3.00 closed+gap", ack, ack, "4.00 closed x", ack, ack, "6.00 closed x")
		time.Sleep(time.Second)
		p.hold(true) // takes one more frame
		for minute, price := range []string{"7", "8", "9"} {
			w.publish(minutes(btc), closed(2+minute, price))
		}
		time.Sleep(time.Second)
		w.publish(minutes(btc), open(5, "10"))
		again()
		w.publish(minutes(btc), closed(5, "11"))
		p.hold(false)
		wantEvents(t, p, "7.00 closed x", "8.00 closed x", "9.00 closed x", "10.00 open", ack, ack, "11.00 closed x")
	})
}

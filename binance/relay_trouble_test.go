package binance

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// ails is what the watchdog says of the relay, empty where it works.
func (r *relayRig) ails() string {
	_, parts := r.dog.State()
	for _, p := range parts {
		if p.Name == "relay" && !p.OK {
			return p.Reason
		}
	}
	return ""
}

// TestRelayDialsSeldom: no client makes the relay dial more often than the exchange bears, whatever it takes and leaves, and
// whether connections come up or not.
func TestRelayDialsSeldom(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused bool
	}{{"they come up", false}, {"they are lost at once", true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRelayRig(t, io.Discard)
				if c.refused {
					r.exchange.serve = func(p *peer) {
						r.mu.Lock()
						defer r.mu.Unlock()
						r.peers = append(r.peers, p)
					}
				}
				for began := time.Now(); time.Since(began) < 5*time.Minute; time.Sleep(relayIdle + relayLooks + 10*time.Second) {
					for _, do := range []func(string){r.Subscribe, r.Unsubscribe} {
						for n := range relayConns * MaxStreams {
							do(fmt.Sprintf("s%d@ticker", n))
							do(fmt.Sprintf("s%d@bookTicker", n))
						}
						time.Sleep(20 * time.Second)
					}
				}
				if n := r.dials(); n < 2*relayConns || n > 110 {
					t.Errorf("%d dials in 5 minutes", n)
				}
			})
		})
	}
}

// TestRelayFull: streams without room get it in their order, as soon as there is some; those that nobody takes any more give way at
// once.
func TestRelayFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		all := relayConns * MaxStreams
		for n := range all {
			r.Subscribe(fmt.Sprintf("s%d@ticker", n))
		}
		for _, name := range []string{"a@ticker", "b@ticker", "c@ticker", "d@ticker"} {
			r.Subscribe(name)
		}
		r.after(30 * time.Second)
		r.Unsubscribe("b@ticker") // it waits no longer
		r.Unsubscribe("s7@ticker")
		r.Unsubscribe("s9@ticker")
		sames(t, "two have left", together(r.after(time.Second)), []string{"/market/stream SUBSCRIBE a@ticker c@ticker", "/market/stream UNSUBSCRIBE s7@ticker s9@ticker"})
		r.Unsubscribe("d@ticker")
		r.Unsubscribe("s8@ticker")
		sames(t, "one has left, none waits", r.after(time.Second), nil)
		r.Subscribe("e@ticker")
		sames(t, "one comes", together(r.after(time.Second)), []string{"/market/stream SUBSCRIBE e@ticker", "/market/stream UNSUBSCRIBE s8@ticker"})
		for n := range relayQueue + 1 {
			r.Subscribe(fmt.Sprintf("w%d@ticker", n))
		}
		if n := r.sides[marketPath].waiting.Len(); n != relayQueue || len(r.streams) != all+n {
			t.Errorf("%d wait, %d are known", n, len(r.streams))
		}
		for n := range all {
			r.Unsubscribe(fmt.Sprintf("s%d@ticker", n))
		}
		r.after(time.Minute)
		if n := r.sides[marketPath].waiting.Len(); n != 3 { // a, c and e are carried
			t.Errorf("%d wait though all others have left", n)
		}
	})
}

// together is what was asked for, by path and method, however many messages it took: a connection may take what is wanted of it
// between two calls.
func together(messages []string) []string {
	asked := make(map[string][]string)
	for _, m := range messages {
		words := strings.Fields(m)
		asked[words[0]+" "+words[1]] = append(asked[words[0]+" "+words[1]], words[2:]...)
	}
	var all []string
	for what, names := range asked {
		all = append(all, what+" "+strings.Join(names, " "))
	}
	return sorted(all)
}

// TestRelayNewcomer: who takes streams and leaves them without pause does not hold up who comes.
func TestRelayNewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		r.Subscribe("btcusdt@ticker")
		r.after(time.Second)
		for n := range 600 {
			r.Subscribe(fmt.Sprintf("x%d@ticker", n))
			time.Sleep(100 * time.Millisecond)
			r.Unsubscribe(fmt.Sprintf("x%d@ticker", n))
		}
		r.after(0)
		r.Subscribe("ethusdt@ticker")
		if asked := strings.Join(r.after(3*controlEvery), "\n"); !strings.Contains(asked, "ethusdt@ticker") {
			t.Errorf("asked for first: %s", asked)
		}
	})
}

// TestRelayMoves: a stream that is left, and taken again where its connection has no room for it any more, comes once.
func TestRelayMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		for n := range MaxStreams {
			r.Subscribe(fmt.Sprintf("s%d@ticker", n))
		}
		r.Subscribe("btcusdt@ticker") // on the second
		r.Subscribe("ethusdt@ticker")
		r.after(5 * time.Second)
		r.Unsubscribe("btcusdt@ticker")
		r.Unsubscribe("s7@ticker")
		r.after(relayLinger)
		r.Subscribe("btcusdt@ticker") // on the first
		for n := range 2 {
			_ = r.peer(n).send(fmt.Sprintf(`{"stream":"btcusdt@ticker","data":{"conn":%q}}`, r.streams["btcusdt@ticker"].conn.label))
		}
		r.after(0)
		sames(t, "events", r.got, []string{`btcusdt@ticker {"conn":"relay-market-0"}`})
	})
}

// TestRelayRefusedStream: of streams that the exchange refuses together the one that it does not want is found, and left out for a
// while; the others are carried on.
func TestRelayRefusedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := newRelayRig(t, &log)
		r.refuses = "poison@ticker"
		names := []string{"a@ticker", "b@ticker", "poison@ticker", "z@ticker"}
		for _, name := range names {
			r.Subscribe(name)
		}
		r.after(10 * time.Minute)
		last := r.peer(r.dials() - 1)
		if n := r.dials(); n > 3 || len(r.names[last]) != 3 || r.names[last]["poison@ticker"] {
			t.Errorf("%d connections, the last carries %v", n, r.names[last])
		}
		if !strings.Contains(log.String(), `"the exchange refused a stream" target=serve stream=poison@ticker`) {
			t.Error(log.String())
		}
		if r.Takes("poison@ticker") || !r.Takes("a@ticker") {
			t.Error("it may be taken again at once, or others may not")
		}
		r.Unsubscribe("poison@ticker")
		r.after(relayShuns)
		if !r.Takes("poison@ticker") {
			t.Error("it may never be taken again")
		}
	})
}

// TestRelaySilent: a connection that is open and brings nothing is noticed within a minute, a quiet one that answers pings lives on;
// meanwhile the watchdog knows.
func TestRelaySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		r.Subscribe("a@ticker")
		r.after(time.Hour)
		if n := r.dials(); n != 1 || r.ails() != "" {
			t.Errorf("%d connections where it was quiet; %s", n, r.ails())
		}
		r.dead.Store(true)
		r.after(relaySilent + 2*relayLooks)
		if n := testutil.ToFloat64(r.metrics.Reconnects.WithLabelValues(endedSilent)); n != 1 || r.dials() != 2 {
			t.Errorf("%v reconnects, %d connections", n, r.dials())
		}
		r.gone.Store(true)
		r.after(2 * time.Minute)
		if ails := r.ails(); !strings.Contains(ails, "relay-market-0: ") || !strings.Contains(ails, errDial.Error()) {
			t.Errorf("the watchdog says %q", ails)
		}
		r.Unsubscribe("a@ticker")
		r.after(time.Minute)
		if ails := r.ails(); ails != "" {
			t.Errorf("nobody takes a stream, and the watchdog says %q", ails)
		}
	})
}

// TestRelayLateConnection: one that comes up after its last stream has left does not stay.
func TestRelayLateConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		dial := r.o.Venue.o.Dial
		r.o.Venue.o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(8 * time.Second)
			return dial(ctx, network, addr)
		}
		r.Subscribe("a@ticker")
		r.after(time.Second)
		r.Unsubscribe("a@ticker")
		r.after(10 * time.Second)
		if n := r.dials(); n != 1 {
			t.Fatalf("%d connections came up", n)
		}
		r.after(relayIdle + relayLooks)
		if seen := r.Connections(); len(seen) > 0 {
			t.Errorf("still there: %+v", seen)
		}
		if slices.Contains(r.after(0), "a@ticker") {
			t.Error("it was asked for")
		}
	})
}

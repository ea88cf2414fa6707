package binance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/health"
	"klined/market"
)

// relayRig is a Relay in front of an exchange that acknowledges everything, and writes down what it was asked for.
type relayRig struct {
	*Relay
	exchange *exchange
	metrics  *health.Metrics
	dog      *health.Watchdog
	stop     func()

	refuses string      // a stream that is refused; the connection ends with that
	dead    atomic.Bool // connections do nothing but stay open
	gone    atomic.Bool // none comes up

	mu    sync.Mutex
	asked []string                  // "/market/stream SUBSCRIBE a@ticker b@ticker"
	peers []*peer                   // in the order they were dialled; closed ones too
	when  map[*peer][]time.Time     // control messages came
	names map[*peer]map[string]bool // that a connection carries
	got   []string                  // "name payload"
}

func newRelayRig(t *testing.T, log io.Writer) *relayRig {
	r := &relayRig{exchange: &exchange{t: t}, metrics: health.NewMetrics(), dog: health.NewWatchdog(textLog(io.Discard)),
		when: make(map[*peer][]time.Time), names: make(map[*peer]map[string]bool)}
	r.exchange.serve = r.serve
	v := r.exchange.venue(registry(), market.SourceAggTrade)
	v.o.Metrics = r.metrics
	v.o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if r.gone.Load() {
			return nil, errDial
		}
		defer t.Cleanup(func() { r.stop() }) // before the exchange waits for its connections' end
		return r.exchange.dial(ctx, network, addr)
	}
	r.Relay = NewRelay(RelayOptions{Venue: v, Metrics: r.metrics, Watchdog: r.dog, Log: textLog(log), Sink: func(name, payload []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, string(name)+" "+string(payload))
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { r.stop() })
	return r
}

// serve acknowledges each control message and answers pings, as the exchange does.
func (r *relayRig) serve(p *peer) {
	r.mu.Lock()
	r.peers = append(r.peers, p)
	r.names[p] = make(map[string]bool)
	r.mu.Unlock()
	for {
		text, op, ok := p.frame()
		switch {
		case !ok || op == ws.OpClose:
			return
		case r.dead.Load():
		case op == ws.OpPing:
			_, _ = p.conn.Write(compiled(ws.NewPongFrame(nil)))
		case !r.control(p, text):
			return
		}
	}
}

// control answers a control message; false where it ends the connection.
func (r *relayRig) control(p *peer, text []byte) bool {
	var c control
	if err := json.Unmarshal(text, &c); err != nil {
		p.t.Errorf("control message %q: %v", text, err)
	}
	slices.Sort(c.Params)
	r.mu.Lock()
	r.asked = append(r.asked, p.path+" "+c.Method+" "+strings.Join(c.Params, " "))
	r.when[p] = append(r.when[p], time.Now())
	for _, name := range c.Params {
		if c.Method == methodSubscribe {
			r.names[p][name] = true
		} else {
			delete(r.names[p], name)
		}
	}
	r.mu.Unlock()
	if slices.Contains(c.Params, r.refuses) {
		_ = p.send(fmt.Sprintf(`{"error":{"code":2,"msg":"Invalid request"},"id":%d}`, c.ID))
		return false
	}
	return p.send(string(ack(c.ID))) == nil
}

// dials is how many connections there were.
func (r *relayRig) dials() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.peers)
}

// after lets some time pass and takes what has been asked for since the last call.
func (r *relayRig) after(d time.Duration) (asked []string) {
	time.Sleep(d)
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, r.asked = r.asked, nil
	return asked
}

func (r *relayRig) peer(n int) *peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers[n]
}

// sames fails the test where two lists differ.
func sames(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (−want +got)\n%s", what, diff)
	}
}

// TestRelay: one stream upstream however often it is taken, on the path where it is served, until some seconds after the last has
// left; a connection stays some minutes after its last stream.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, t.Output())
		sames(t, "nobody takes any", r.after(time.Minute), nil)
		r.Subscribe("btcusdt@bookTicker")
		r.Subscribe("btcusdt@markPrice@1s")
		sames(t, "first", sorted(r.after(time.Second)), []string{"/market/stream SUBSCRIBE btcusdt@markPrice@1s", "/public/stream SUBSCRIBE btcusdt@bookTicker"})
		r.Subscribe("币安人生usdt@ticker")
		sames(t, "another", r.after(time.Second), []string{"/market/stream SUBSCRIBE 币安人生usdt@ticker"})
		r.Unsubscribe("btcusdt@bookTicker")
		r.after(relayLinger - time.Second)
		r.Subscribe("btcusdt@bookTicker")
		r.Unsubscribe("btcusdt@markPrice@1s")
		r.Unsubscribe("never@ticker")
		sames(t, "left and taken again", r.after(relayLinger-time.Second), nil)
		sames(t, "left", r.after(2*time.Second), []string{"/market/stream UNSUBSCRIBE btcusdt@markPrice@1s"})
		if n := testutil.ToFloat64(r.metrics.Connections.WithLabelValues("up")); n != 2 {
			t.Errorf("%v connections are up", n)
		}
		_ = r.peer(0).send(`{"stream":"x","data":{}}`)
		time.Sleep(time.Second)
		seen := r.Connections()
		if len(seen) != 2 || seen[0].ID != "relay-market-0" || seen[1].ID != "relay-public-0" || seen[0].State != "up" || seen[0].Streams != 1 ||
			seen[0].UpSince.IsZero() || seen[0].Frames+seen[1].Frames != 5 || !seen[0].LastFrame.Before(time.Now()) {
			t.Errorf("%+v", seen)
		}
		r.Unsubscribe("btcusdt@bookTicker")
		sames(t, "the last of one has left", r.after(relayLinger+time.Second), []string{"/public/stream UNSUBSCRIBE btcusdt@bookTicker"})
		r.Subscribe("ethusdt@bookTicker")
		sames(t, "another soon", r.after(time.Second), []string{"/public/stream SUBSCRIBE ethusdt@bookTicker"})
		r.Unsubscribe("ethusdt@bookTicker")
		r.after(relayIdle - time.Second)
		if n := testutil.ToFloat64(r.metrics.Connections.WithLabelValues("up")); n != 2 || r.dials() != 2 {
			t.Errorf("%v connections are up of %d", n, r.dials())
		}
		r.after(relayLinger + relayLooks + time.Second)
		if n := testutil.ToFloat64(r.metrics.Connections.WithLabelValues("up")); n != 1 {
			t.Errorf("%v connections are up long after the last of one has left", n)
		}
		if seen := r.Connections(); len(seen) != 1 {
			t.Errorf("after the last of one has left: %+v", seen)
		}
		r.Subscribe("ethusdt@depth20")
		sames(t, "again", r.after(time.Second), []string{"/public/stream SUBSCRIBE ethusdt@depth20"})
		r.stop()
		for _, state := range []string{"up", "connecting", "waiting"} {
			if n := testutil.ToFloat64(r.metrics.Connections.WithLabelValues(state)); n != 0 {
				t.Errorf("%v connections %s at the end", n, state)
			}
		}
		if n := testutil.CollectAndCount(r.metrics.Reconnects); n != 0 {
			t.Errorf("%d reasons of reconnects, of connections that were not needed any more", n)
		}
	})
}

func sorted(texts []string) []string {
	slices.Sort(texts)
	return texts
}

// TestRelayEvents: an event's own bytes reach the sink; what is none is dropped and hurts nobody.
func TestRelayEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		r.Subscribe("btcusdt@bookTicker")
		r.after(time.Second)
		_ = r.peer(0).send(`{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":1}}`, `garbage`, `{"stream":"x","data":{"a":}}`,
			"{\"stream\":\"btcusdt@bookTicker\",\"data\":\"\xff\"}", `{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":2}}`)
		r.after(time.Second)
		sames(t, "events", r.got, []string{`btcusdt@bookTicker {"e":"bookTicker","u":1}`, `btcusdt@bookTicker {"e":"bookTicker","u":2}`})
		if n := testutil.ToFloat64(r.metrics.Frames.WithLabelValues("relay-public-0")); n != 6 {
			t.Errorf("%v frames", n)
		}
	})
}

// TestRelayReconnects: a connection that is lost is dialled again after a while, and carries all its streams; one that grows old is
// replaced.
func TestRelayReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		r.Subscribe("a@ticker")
		r.Subscribe("b@ticker")
		r.after(time.Second)
		_ = r.peer(0).conn.Close()
		r.Subscribe("c@ticker") // meanwhile
		sames(t, "after a loss", r.after(time.Second), []string{"/market/stream SUBSCRIBE a@ticker b@ticker c@ticker"})
		if n := testutil.ToFloat64(r.metrics.Reconnects.WithLabelValues("eof")); n != 1 {
			t.Errorf("%v reconnects", n)
		}
		for range 23 * 20 {
			time.Sleep(3 * time.Minute)
			r.mu.Lock()
			p := r.peers[len(r.peers)-1]
			r.mu.Unlock()
			_ = p.send(`{"stream":"a@ticker","data":{}}`)
		}
		sames(t, "grown old", r.after(time.Minute), []string{"/market/stream SUBSCRIBE a@ticker b@ticker c@ticker"})
		if n := testutil.ToFloat64(r.metrics.Reconnects.WithLabelValues("rotated")); n != 1 {
			t.Errorf("%v rotations", n)
		}
	})
}

// TestRelayRefused: the wait before the next dial grows while nothing answers.
func TestRelayRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelayRig(t, io.Discard)
		r.gone.Store(true)
		r.Subscribe("a@ticker")
		r.after(10 * time.Minute)
		if n := testutil.ToFloat64(r.metrics.Reconnects.WithLabelValues("dial")); n < 15 || n > 30 {
			t.Errorf("%v dials in 10 minutes", n)
		}
		r.Unsubscribe("a@ticker")
		r.after(time.Minute)
		before := testutil.ToFloat64(r.metrics.Reconnects.WithLabelValues("dial"))
		r.after(10 * time.Minute)
		if n := testutil.ToFloat64(r.metrics.Reconnects.WithLabelValues("dial")); n != before {
			t.Errorf("%v dials for nobody", n-before)
		}
	})
}

// TestRelayLimits: no connection carries more than the exchange allows, no message has more names, no second more messages; what is
// too much for all connections is told once in a while, and hurts nobody.
func TestRelayLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := newRelayRig(t, &log)
		for n := range relayConns*MaxStreams + 3 {
			r.Subscribe(fmt.Sprintf("s%d@ticker", n))
		}
		r.Subscribe("a@bookTicker") // another path has room
		longest, total := 0, 0
		for _, text := range r.after(10 * time.Second) {
			longest = max(longest, len(strings.Fields(text))-2)
		}
		for n, p := range r.peers {
			total += len(r.names[p])
			if names := len(r.names[p]); names != MaxStreams && (p.path == "/market/stream" || names != 1) {
				t.Errorf("connection %d carries %d streams", n, names)
			}
			for i, at := range r.when[p][1:] {
				if after := at.Sub(r.when[p][i]); after < time.Second/10 { // 10 a second are allowed
					t.Errorf("connection %d: a message %s after the one before", n, after)
				}
			}
		}
		if total != relayConns*MaxStreams+1 || len(r.peers) != relayConns+1 || longest != maxNames {
			t.Errorf("%d streams on %d connections, %d in one message", total, len(r.peers), longest)
		}
		if n := strings.Count(log.String(), "cannot relay streams"); n != 1 {
			t.Errorf("told %d times: %s", n, log.String())
		}
	})
}

func TestEventOf(t *testing.T) {
	for _, c := range []struct{ frame, name, payload string }{
		{`{"stream":"a@b","data":{"x":[1]}}`, "a@b", `{"x":[1]}`},
		{`{"stream":"!a@arr","data":[{"x":1}]}`, "!a@arr", `[{"x":1}]`},
		{`{"stream":"币@b","data":{"s":"}\"}"}}`, "币@b", `{"s":"}\"}"}`},
		{` { "data" : {"x":1} , "stream" : "a@b" } `, "a@b", `{"x":1}`},
		{`{"stream":"\u0061@b","data":{}}`, "a@b", `{}`},
		{`{"stream":"a@b","data":{},"more":1}`, "a@b", `{}`},
		{`{"stream":"a@b","data":{"x":1}}}`, "", ""},
		{`{"stream":"a@b","data":{"x":}}`, "", ""},
		{"{\"stream\":\"a@b\",\"data\":{\"x\":\"\xff\"}}", "", ""},
		{"{\"data\":{\"x\":\"\xff\"},\"stream\":\"a@b\"}", "", ""},
		{`{"stream":"a@b","data":}`, "", ""},
		{`{"stream":"a@b"`, "", ""},
		{`{"stream":"a@b"}`, "", ""},
		{`{"stream":"a@b","data": {"x":1}}`, "a@b", `{"x":1}`},
		{`{"stream":"a@b","data":null}`, "", ""}, {`{"stream":"a@b","data":"x"}`, "", ""}, {`{"stream":"a@b","data":7}`, "", ""},
		{`{"stream":"a@b","data": null}`, "", ""}, {`{"data":null,"stream":"a@b"}`, "", ""},
		{`{"stream":null,"data":{}}`, "", ""},
		{`{"result":null,"id":1}`, "", ""},
		{`{"error":{"code":2,"msg":"x"},"id":1}`, "", ""},
		{`[1]`, "", ""}, {``, "", ""}, {`{"stream":"`, "", ""}, {`{`, "", ""},
	} {
		name, payload, ok := eventOf([]byte(c.frame))
		if string(name) != c.name || string(payload) != c.payload || ok != (c.payload != "") {
			t.Errorf("%s: %q %q %v", c.frame, name, payload, ok)
		}
	}
}

// TestStreamPathsOfNames: where each stream of the exchange is served; what is none is not asked for.
func TestStreamPathsOfNames(t *testing.T) {
	for path, names := range map[string]string{
		publicPath: "btcusdt@bookTicker !bookTicker btcusdt@depth5 btcusdt@depth20@500ms btcusdt@depth btcusdt@rpiDepth@500ms btcusdt@trade 币安人生usdt@trade",
		marketPath: "btcusdt@aggTrade btcusdt@kline_1m btcusdt_perpetual@continuousKline_1s btcusdt@miniTicker !miniTicker@arr btcusdt@ticker " +
			"!ticker@arr btcusdt@markPrice btcusdt@markPrice@1s !markPrice@arr !markPrice@arr@1s btcusdt@forceOrder !forceOrder@arr " +
			"defiusdt@compositeIndex !contractInfo !assetIndex@arr tradingSession btcusdt_261225@aggTrade BTCUSDT@aggTrade กขค่usdt@ticker",
		"": "0 pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1 @trade btcusdt@ ! btcusdt tradingsession a@\"b a@\\b",
	} {
		for _, name := range strings.Fields(names) {
			if isMarketStream(name) != (path != "") || path != "" && pathOf(name) != path {
				t.Errorf("%s: %v, %s", name, isMarketStream(name), pathOf(name))
			}
		}
	}
	for _, name := range []string{"", "a@b c", "!\u2028", "a@b\u00a0c", "a@{}", "a@b?", "a@b/c", "a@\x00", "a@\xff", "a@" + strings.Repeat("x", longestStream)} {
		if isMarketStream(name) {
			t.Errorf("%q is none", name)
		}
	}
}

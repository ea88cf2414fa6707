package binance

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	stop     func()

	mu    sync.Mutex
	asked []string // "/market/stream SUBSCRIBE a@ticker b@ticker"
	peers []*peer  // in the order they were dialled; closed ones too
	got   []string // "name payload"
}

func newRelayRig(t *testing.T, log io.Writer) *relayRig {
	r := &relayRig{exchange: &exchange{t: t}, metrics: health.NewMetrics()}
	r.exchange.serve = r.serve
	v := r.exchange.venue(registry(), market.SourceAggTrade)
	v.o.Metrics = r.metrics
	r.Relay = NewRelay(RelayOptions{Venue: v, Metrics: r.metrics, Log: textLog(log), Sink: func(name, payload []byte) {
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
	t.Cleanup(r.stop)
	return r
}

// serve acknowledges each control message, as the exchange does.
func (r *relayRig) serve(p *peer) {
	r.mu.Lock()
	r.peers = append(r.peers, p)
	r.mu.Unlock()
	for {
		c, ok := p.control()
		if !ok {
			return
		}
		slices.Sort(c.Params)
		r.mu.Lock()
		r.asked = append(r.asked, p.path+" "+c.Method+" "+strings.Join(c.Params, " "))
		r.mu.Unlock()
		_ = p.send(string(ack(c.ID)))
	}
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
// left; a connection ends with its last stream.
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
		r.after(relayLinger + time.Second)
		if n := testutil.ToFloat64(r.metrics.Connections.WithLabelValues("up")); n != 1 {
			t.Errorf("%v connections are up after the last of one has left", n)
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
			`{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":2}}`)
		r.after(time.Second)
		sames(t, "events", r.got, []string{`btcusdt@bookTicker {"e":"bookTicker","u":1}`, `btcusdt@bookTicker {"e":"bookTicker","u":2}`})
		if n := testutil.ToFloat64(r.metrics.Frames.WithLabelValues("relay-public-0")); n != 5 {
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
		r.o.Venue.o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errDial }
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
		names := make(map[string]bool)
		var longest int
		for _, text := range r.after(10 * time.Second) {
			if words := strings.Fields(text)[2:]; words[0] != "a@bookTicker" {
				longest = max(longest, len(words))
				for _, name := range words {
					names[name] = true
				}
			}
		}
		if len(names) != relayConns*MaxStreams || len(r.peers) != relayConns+1 || longest != maxNames {
			t.Errorf("%d streams on %d connections, %d in one message", len(names), len(r.peers), longest)
		}
		if n := strings.Count(log.String(), "cannot relay a stream"); n != 1 {
			t.Errorf("told %d times: %s", n, log.String())
		}
		r.Unsubscribe("s7@ticker")
		r.after(relayLinger + time.Second)
		r.Subscribe("late@ticker")
		sames(t, "where one has left", r.after(time.Second), []string{"/market/stream SUBSCRIBE late@ticker"})
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
		{`{"stream":"a@b","data":}`, "", ""},
		{`{"stream":"a@b"`, "", ""},
		{`{"stream":"a@b"}`, "", ""},
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
			"defiusdt@compositeIndex !contractInfo !assetIndex@arr tradingSession btcusdt_261225@aggTrade BTCUSDT@aggTrade",
		"": "0 pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1 @trade btcusdt@ ! btcusdt tradingsession a@\"b a@\\b",
	} {
		for _, name := range strings.Fields(names) {
			if isMarketStream(name) != (path != "") || path != "" && pathOf(name) != path {
				t.Errorf("%s: %v, %s", name, isMarketStream(name), pathOf(name))
			}
		}
	}
	for _, name := range []string{"", "a@b c", "a@b/c", "a@\x00", "a@\xff", "a@" + strings.Repeat("x", longestStream)} {
		if isMarketStream(name) {
			t.Errorf("%q is none", name)
		}
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"klined/market"
	"klined/sim"
)

// listener is a client of the server's streams. It writes down the payloads of each.
type listener struct {
	conn net.Conn
	done sync.WaitGroup

	mu    sync.Mutex
	heard map[string][]string // by stream
}

// hear connects to /stream and subscribes to streams.
func (m *fakeMarket) hear(streams ...string) *listener {
	m.t.Helper()
	dialer := ws.Dialer{NetDial: m.net.Dial}
	address := strings.Replace(m.judge.server, "http", "ws", 1) + "/stream?streams=" + url.QueryEscape(strings.Join(streams, "/"))
	conn, buffered, _, err := dialer.Dial(m.t.Context(), address)
	if err != nil {
		m.t.Fatal(err)
	}
	in := struct {
		io.Reader
		io.Writer
	}{conn, conn}
	if buffered != nil { // events came with the handshake
		in.Reader = buffered
	}
	l := &listener{conn: conn, heard: make(map[string][]string)}
	l.done.Go(func() {
		for {
			text, err := wsutil.ReadServerText(in)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					m.t.Error(err)
				}
				return
			}
			var f struct {
				Stream string
				Data   json.RawMessage
			}
			if err := json.Unmarshal(text, &f); err != nil {
				m.t.Errorf("%s: %v", text, err)
			}
			l.mu.Lock()
			l.heard[f.Stream] = append(l.heard[f.Stream], string(f.Data))
			l.mu.Unlock()
		}
	})
	return l
}

// close ends the connection and gives what it brought.
func (l *listener) close() map[string][]string {
	synctest.Wait()
	_ = l.conn.Close()
	l.done.Wait()
	return l.heard
}

// tape is what the exchange has sent of a stream of trades, each payload once.
func (m *fakeMarket) tape(event, symbol string) (payloads []string) {
	m.t.Helper()
	text, err := m.judge.get(m.options.REST, "/sim/tape", url.Values{"limit": {"20000"}})
	if err != nil {
		m.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, `{"e":"`+event+`"`) && strings.Contains(line, `"s":"`+symbol+`"`) {
			payloads = append(payloads, strings.TrimSpace(line))
		}
	}
	return payloads
}

// within reports whether got is a run of want, every one of it and in its order, and how long want goes on after it.
func within(got, want []string) (after int, err error) {
	if len(got) == 0 {
		return 0, errors.New("nothing came")
	}
	from := slices.Index(want, got[0])
	if from < 0 {
		return 0, fmt.Errorf("%s was never sent", got[0])
	}
	for i, payload := range got {
		if from+i == len(want) || want[from+i] != payload {
			return 0, fmt.Errorf("number %d is %s\n%d were sent from there on", i, payload, len(want)-from)
		}
	}
	return len(want) - from - len(got), nil
}

// TestStreams: who takes the trades of a symbol gets each of the exchange's frames, once and in order, across the loss of one of
// two connections; and with --forward so are streams that klined has nothing of, one upstream for all who take them.
func TestStreams(t *testing.T) {
	for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		t.Run(source.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if raced && source == market.SourceTrade {
					t.Skip("one source is enough under the race detector: make test does both")
				}
				o := options(t, source, market.OneMinute)
				o.Forward = forwardPublic
				m := startMarket(t, sim.Options{Symbols: 4, Rate: 30, Seed: 5, Start: at(t, "2027-01-05T09:58:30Z")}, o)
				defer m.end()
				time.Sleep(5 * time.Second)
				ours, other := "aggTrade", "trade"
				if source == market.SourceTrade {
					ours, other = other, ours
				}
				names := []string{"btcusdt@aggTrade", "btcusdt@trade", "ethusdt@bookTicker", "!markPrice@arr@1s", "btcusdt@miniTicker", "!miniTicker@arr", "btcusdt@kline_1m"}
				first, second := m.hear(names...), m.hear(names...)
				time.Sleep(10 * time.Second)
				for _, conn := range m.oldestConns() {
					m.fault(sim.Fault{Kind: sim.FaultDisconnect, Conn: conn})
				}
				time.Sleep(20 * time.Second)
				if conns := m.status().Connections; len(conns) != 4*2+2+2 || conns[11].ID != "relay-public-0" || conns[11].State != "up" {
					t.Errorf("connections %+v", conns)
				}
				a, b := first.close(), second.close()
				for _, event := range []string{ours, other} {
					after, err := within(a["btcusdt@"+event], m.tape(event, "BTCUSDT"))
					if err != nil || after > 3 {
						t.Errorf("%s: %v; %d more were sent", event, err, after)
					}
				}
				for _, name := range names {
					x, y := a[name], b[name]
					if n := min(len(x), len(y)); n == 0 || !slices.Equal(x[len(x)-n:], y[len(y)-n:]) {
						t.Errorf("%s: one heard %d, the other %d, or others", name, len(x), len(y))
					}
				}
				if n := len(a["!miniTicker@arr"]); n < 28 || n > 32 || !strings.Contains(a["!miniTicker@arr"][0], `"st":2`) {
					t.Errorf("%d summaries in 30 seconds, COIN-M's rows among them?", n)
				}
				sent := len(a["ethusdt@bookTicker"]) + len(a["btcusdt@trade"])
				if source == market.SourceTrade {
					sent = len(a["ethusdt@bookTicker"])
				}
				if frames := int(m.metric(`klined_frames_total{conn="relay-public-0"}`)); frames < sent || frames > sent+10 {
					t.Errorf("%d frames from upstream for %d that each of two heard", frames, sent)
				}
				time.Sleep(3 * time.Minute)
				if n := m.metric(`klined_connections{state="up"}`); n != 4*2+1+1 {
					t.Errorf("%v connections are up though nobody listens", n)
				}
			})
		})
	}
}

// TestStreamsNotForwarded: with --forward off what klined has of the exchange is there, and nothing else.
func TestStreamsNotForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startMarket(t, sim.Options{Symbols: 2, Rate: 20, Seed: 5, Start: at(t, "2027-01-05T09:58:30Z")}, options(t, market.SourceAggTrade, market.OneMinute))
		defer m.end()
		l := m.hear("btcusdt@aggTrade", "btcusdt@trade", "ethusdt@bookTicker", "!miniTicker@arr", "ethusdt@miniTicker", "btcusdt@kline_7m")
		time.Sleep(5 * time.Second)
		heard := l.close()
		for name, want := range map[string]bool{"btcusdt@aggTrade": true, "!miniTicker@arr": true, "ethusdt@miniTicker": true,
			"btcusdt@trade": false, "ethusdt@bookTicker": false, "btcusdt@kline_7m": false} {
			if got := len(heard[name]); got > 0 != want {
				t.Errorf("%s: %d frames", name, got)
			}
		}
	})
}

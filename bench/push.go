package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/gorilla/websocket"

	"klined/feed"
	"klined/market"
	"klined/serve"
)

// pushRate is how many trades a second come while the delay of pushes is measured.
const pushRate = 5000

var pushRow = subject{
	name: "frame_to_push", unit: "µs, p50",
	what:     "5,000 trades/s over 8 connections: from a read to the push of the kline it changed, where no push interval deferred it; within buckets that double, by interpolation",
	baseline: "a client of gorilla/websocket per connection, encoding/json, map behind a lock, channel, floats; one frame per write",
	open: func(ctx context.Context, o Options) (*pair, error) {
		e, err := startExchange(ctx, o, exchangePeer{Conns: socketConns, Rate: pushRate})
		if err != nil {
			return nil, err
		}
		period := time.Duration(o.scaled(int(2*measured), int(100*time.Millisecond)))
		return &pair{
			value:    func(ctx context.Context) (sample, error) { return e.pushDelay(ctx, period) },
			baseline: func(ctx context.Context) (sample, error) { return e.idiomaticPushDelay(ctx, period) },
			close:    e.process.stop,
		}, nil
	},
}

// server is a serve.Server on a loopback port.
type server struct {
	*serve.Server
	address string
	http    *http.Server
}

// startServer serves what live and store hold.
func startServer(o serve.Options) (*server, error) {
	o.Symbols, o.Intervals, o.Clock = registry(), market.ExchangeIntervals(), standing(minute+10*market.Second)
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{Server: serve.New(o), address: l.Addr().String()}
	s.http = serve.NewHTTPServer(s.Handler(), o.Log)
	go func() { _ = s.http.Serve(l) }()
	return s, nil
}

func (s *server) stop() {
	_ = s.http.Close()
	s.Close()
}

// subscribe connects a client that takes the named streams and does nothing with what comes but hand its frames to each.
func (s *server) subscribe(ctx context.Context, streams []string, each func(frame []byte)) error {
	conn, err := dialAndSubscribe(ctx, "ws://"+s.address+"/ws", nil, streams)
	if err == nil {
		err = subscribed(conn)
	}
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		for {
			frame, err := wsutil.ReadServerText(conn)
			if err != nil {
				return
			}
			each(frame)
		}
	}()
	return nil
}

// dialAndSubscribe opens a connection on which the streams have been acknowledged.
func dialAndSubscribe(ctx context.Context, address string, secure *tls.Config, streams []string) (net.Conn, error) {
	conn, reader, _, err := ws.Dialer{Timeout: 30 * time.Second, TLSConfig: secure}.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if reader != nil {
		ws.PutReader(reader)
	}
	for part := range slices.Chunk(streams, 200) {
		text, err := json.Marshal(map[string]any{"method": "SUBSCRIBE", "params": part, "id": 1})
		if err == nil {
			err = wsutil.WriteClientText(conn, text)
		}
		if err == nil {
			_, err = wsutil.ReadServerText(conn)
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// subscribed waits until a server has done what it was asked before: an acknowledgement comes before its effect.
func subscribed(conn net.Conn) error {
	if err := wsutil.WriteClientText(conn, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":2}`)); err != nil {
		return err
	}
	for {
		text, err := wsutil.ReadServerText(conn)
		if err != nil || bytes.Contains(text, []byte(`"id":2`)) {
			return err
		}
	}
}

// streamsOf are the names of the streams of an interval.
func streamsOf(iv market.Interval) (names []string) {
	for _, name := range namesOf(0, 1) {
		names = append(names, strings.ToLower(name)+"@kline_"+iv.String())
	}
	return names
}

// watchedFeed is a feed whose symbols all have a running kline, before their history is here.
type watchedFeed struct{ *feed.Feed }

// Tail implements serve.Live.
func (watchedFeed) Tail(_ context.Context, dst []market.Kline, _ market.Series, _ market.Time) ([]market.Kline, error) {
	return dst, nil
}

// emptyStore implements serve.Store.
type emptyStore struct{}

// Klines implements serve.Store.
func (emptyStore) Klines(_ context.Context, dst []market.Kline, _ market.Series, _ market.Span) ([]market.Kline, []market.Span, error) {
	return dst, nil, nil
}

// Since implements serve.Store.
func (emptyStore) Since(context.Context, market.Interval) (market.Time, error) {
	return math.MaxInt64, nil
}

// pushDelay runs exchange, feed and server, and reads the delays that the server measures.
func (e *exchange) pushDelay(ctx context.Context, period time.Duration) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	venue := e.venue(registry())
	var s *server
	f, err := newFeed(socketConns, func(ctx context.Context, name string, ids []market.SymbolID) (feed.Conn, error) {
		return venue.DialTrades(ctx, name, ids)
	}, func(c *market.Changes) { s.Publish(c) })
	if err != nil {
		return sample{}, err
	}
	delays := newDelays()
	if s, err = startServer(serve.Options{Live: watchedFeed{f}, Store: emptyStore{}, Metrics: delays.metrics}); err != nil {
		return sample{}, err
	}
	defer s.stop()
	var pushed atomic.Int64
	if err := s.subscribe(ctx, streamsOf(market.OneMinute), func([]byte) { pushed.Add(1) }); err != nil {
		return sample{}, err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- f.Run(ctx) }()
	time.Sleep(warmUp)
	if err := delays.begin(); err != nil {
		return sample{}, err
	}
	time.Sleep(period)
	one, err := delays.end()
	cancel()
	if err == nil && pushed.Load() == 0 {
		err = errors.New("nothing was pushed")
	}
	return one, errors.Join(err, <-stopped)
}

// idiomaticPushDelay is the same with everything as it is usually written.
func (e *exchange) idiomaticPushDelay(ctx context.Context, period time.Duration) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, err := gorillaClient(ctx, func([]byte) {})
	if err != nil {
		return sample{}, err
	}
	var mu sync.Mutex
	var delays []time.Duration
	began := time.Now().Add(warmUp)
	s := newIdiomatic()
	s.closed = func(t *floatTrade, k *floatKline) {
		text, err := json.Marshal(k.event(t.symbol.name))
		if err != nil || out.WriteMessage(websocket.TextMessage, text) != nil {
			return
		}
		if now := time.Now(); now.After(began) {
			mu.Lock()
			delays = append(delays, now.Sub(t.received))
			mu.Unlock()
		}
	}
	var readers sync.WaitGroup
	for n := range socketConns {
		in, err := dialGorilla(ctx, "ws://"+e.address+"/ws")
		if err != nil {
			return sample{}, err
		}
		context.AfterFunc(ctx, func() { _ = in.Close() })
		var params []string
		for _, name := range namesOf(n, socketConns) {
			params = append(params, strings.ToLower(name)+"@aggTrade")
		}
		if err := in.WriteJSON(map[string]any{"method": "SUBSCRIBE", "params": params, "id": 1}); err != nil {
			return sample{}, err
		}
		readers.Go(func() {
			for {
				_, frame, err := in.ReadMessage()
				if err != nil {
					return
				}
				if received := time.Now(); frame[2] == 'e' {
					_ = s.take(frame, received)
				}
			}
		})
	}
	time.Sleep(warmUp + period)
	cancel()
	readers.Wait()
	s.close()
	slices.Sort(delays)
	if len(delays) == 0 {
		return sample{}, errors.New("nothing was pushed")
	}
	return sample{value: micros(delays[len(delays)/2]), p99: micros(delays[len(delays)*99/100]), allocs: -1}, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func dialGorilla(ctx context.Context, address string) (*websocket.Conn, error) {
	conn, answer, err := websocket.DefaultDialer.DialContext(ctx, address, nil)
	if err == nil {
		_ = answer.Body.Close()
	}
	return conn, err
}

// gorillaClient is a connection to a client that hands the frames that come to each.
func gorillaClient(ctx context.Context, each func(frame []byte)) (*websocket.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	taken := make(chan *websocket.Conn, 1)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{}
		if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
			taken <- conn
		}
	})}
	go func() { _ = server.Serve(l) }()
	client, err := dialGorilla(ctx, "ws://"+l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	go func() {
		for {
			_, frame, err := client.ReadMessage()
			if err != nil {
				return
			}
			each(frame)
		}
	}()
	conn := <-taken
	context.AfterFunc(ctx, func() { _ = errors.Join(server.Close(), client.Close(), conn.Close()) })
	return conn, nil
}

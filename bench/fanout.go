package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"

	"klined/market"
	"klined/serve"
)

// fanoutStreams is how many streams each client takes, and fanoutRounds how often each of them brings a kline in a sample.
const (
	fanoutStreams = 10
	fanoutRounds  = 10
)

func fanoutRow(clients int) subject {
	return subject{
		name: fmt.Sprintf("fanout_%d", clients), unit: "µs CPU/frame",
		what:     fmt.Sprintf("closed klines of 10 series to %d clients that take all of them", clients),
		baseline: "gorilla/websocket, one prepared message per write",
		open: func(ctx context.Context, o Options) (*pair, error) {
			clients := o.scaled(clients, 1)
			process, err := startPeer(ctx, o, "clients", clientsPeer{N: clients, Streams: fanoutNames()})
			if err != nil {
				return nil, err
			}
			f := &fanout{clients: clients, process: process}
			return &pair{value: f.cost, baseline: f.plainCost, close: process.stop}, nil
		},
	}
}

// fanoutNames are the streams that each client takes.
func fanoutNames() []string { return streamsOf(market.OneMinute)[:fanoutStreams] }

// fanout pushes to clients in a process of their own.
type fanout struct {
	clients int
	process *PeerProcess
}

// measure has the clients connect to an address, and says what a frame costs that publish sends to each of them.
func (f *fanout) measure(address string, publish func(round int) error) (one sample, err error) {
	if err := f.process.ask("connect "+address, "connected"); err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, f.process.ask("leave", "left")) }()
	spent := cpu()
	for round := range fanoutRounds {
		if err := publish(round); err != nil {
			return one, err
		}
		if err := f.process.ask(fmt.Sprint("expect ", (round+1)*f.clients*fanoutStreams), "come"); err != nil {
			return one, err
		}
	}
	return sample{value: micros(cpu()-spent) / float64(fanoutRounds*f.clients*fanoutStreams), allocs: -1}, nil
}

func (f *fanout) cost(context.Context) (sample, error) {
	s, err := startServer(serve.Options{Live: idle{}, Store: emptyStore{}})
	if err != nil {
		return sample{}, err
	}
	defer s.stop()
	rows := restKlines()
	return f.measure(s.address, func(round int) error {
		changes := &market.Changes{Received: time.Now()}
		for i := range fanoutStreams {
			changes.Updates = append(changes.Updates, market.Update{Series: market.Series{Symbol: market.SymbolID(i), Interval: market.OneMinute}, Kline: rows[round]})
		}
		s.Publish(changes)
		return nil
	})
}

// plainCost is the same with a prepared message of each kline, written to one client after the other.
func (f *fanout) plainCost(context.Context) (sample, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return sample{}, err
	}
	taken := make(chan *websocket.Conn, f.clients)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		for _, answer := range []string{`{"result":null,"id":1}`, `{"result":[],"id":2}`} {
			if _, _, err := conn.ReadMessage(); err != nil || conn.WriteMessage(websocket.TextMessage, []byte(answer)) != nil {
				return
			}
		}
		taken <- conn
	})}
	go func() { _ = server.Serve(l) }()
	var clients []*websocket.Conn
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
		_ = server.Close()
	}()
	rows := restKlines()
	return f.measure(l.Addr().String(), func(round int) error {
		for len(clients) < f.clients {
			clients = append(clients, <-taken)
		}
		for i := range fanoutStreams {
			u := market.Update{Series: market.Series{Symbol: market.SymbolID(i), Interval: market.OneMinute}, Kline: rows[round]}
			text, err := plainJSON(symbolName(i), &u)
			if err != nil {
				return err
			}
			message, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
			if err != nil {
				return err
			}
			for _, c := range clients {
				if err := c.WritePreparedMessage(message); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// comeWithin is how long clients wait for what they expect.
const comeWithin = 30 * time.Second

// clientsPeer is clients in a process of their own. It is told
//
//	connect ADDRESS   and says connected
//	expect N          and says come when so many frames have come over all of them since they connected
//	leave             and says left
type clientsPeer struct {
	N       int
	Streams []string
	come    atomic.Int64
	failed  atomic.Pointer[error]
}

func (o *clientsPeer) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var conns []net.Conn
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		answer := "cannot " + lines.Text()
		var err error
		switch verb {
		case "connect":
			o.come.Store(0)
			answer = "connected"
			conns, err = o.connect(ctx, arg)
		case "expect":
			var n int64
			if _, err = fmt.Sscan(arg, &n); err == nil {
				answer = "come"
				for end := time.Now().Add(comeWithin); o.come.Load() < n && o.failed.Load() == nil && ctx.Err() == nil; {
					if time.Sleep(time.Millisecond); time.Now().After(end) {
						err = fmt.Errorf("%d frames of %d have come", o.come.Load(), n)
						break
					}
				}
			}
		case "leave":
			answer = "left"
			for _, c := range conns {
				_ = c.Close()
			}
		}
		if failed := o.failed.Load(); err == nil && failed != nil && verb != "leave" {
			err = *failed
		}
		if err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

// connect opens the clients' connections, some at once, and reads from them.
func (o *clientsPeer) connect(ctx context.Context, address string) ([]net.Conn, error) {
	conns := make([]net.Conn, o.N)
	var g errgroup.Group
	g.SetLimit(32)
	for i := range conns {
		g.Go(func() error {
			conn, err := dialAndSubscribe(ctx, "ws://"+address+"/ws", nil, o.Streams)
			if err == nil {
				err = subscribed(conn)
			}
			if err == nil {
				conns[i] = conn
				go o.read(conn)
			}
			return err
		})
	}
	return conns, g.Wait()
}

// read counts the frames that come.
func (o *clientsPeer) read(conn net.Conn) {
	in := bufio.NewReaderSize(conn, 4<<10)
	for {
		h, err := ws.ReadHeader(in)
		if err == nil {
			_, err = in.Discard(int(h.Length))
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				o.failed.CompareAndSwap(nil, &err)
			}
			return
		}
		if h.OpCode == ws.OpText {
			o.come.Add(1)
		}
	}
}

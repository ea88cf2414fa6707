package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"klined/market"
	"klined/serve"
)

// fanoutStreams is how many streams each client takes.
const fanoutStreams = 10

// A sample of pushes: for so long a version of each series so often, and for the baseline so many of each.
const (
	fanoutFor     = time.Second
	fanoutVersion = 25 * time.Millisecond
	fanoutRounds  = 3
)

func fanoutRow(clients int) subject {
	return subject{
		name: fmt.Sprintf("fanout_%d", clients), unit: "µs CPU/frame",
		what:     fmt.Sprintf("running klines of 10 series, 40 versions/s of each, pushed every 250 ms to %d clients that take all of them", clients),
		baseline: "gorilla/websocket, one prepared message per write",
		open: func(ctx context.Context, o Options) (*pair, error) {
			f, err := startFanout(ctx, o, clients)
			if err != nil {
				return nil, err
			}
			return &pair{value: f.cost, baseline: f.plainCost, close: f.process.stop}, nil
		},
	}
}

// fanout pushes to clients in a process of their own.
type fanout struct {
	clients int
	period  time.Duration
	process *PeerProcess
}

func startFanout(ctx context.Context, o Options, clients int) (*fanout, error) {
	clients = o.scaled(clients, 1)
	process, err := startPeer(ctx, o, "clients", clientsPeer{N: clients, Streams: streamsOf(market.OneMinute)[:fanoutStreams]})
	if err != nil {
		return nil, err
	}
	return &fanout{clients: clients, period: time.Duration(o.scaled(int(fanoutFor), int(300*time.Millisecond))), process: process}, nil
}

// connected has the clients connect to an address while run runs.
func (f *fanout) connected(address string, run func() (sample, error)) (one sample, err error) {
	defer func() { err = errors.Join(err, f.process.ask("leave", "left")) }()
	if err := f.process.ask("connect "+address, "connected"); err != nil {
		return one, err
	}
	return run()
}

// come is how many frames the clients have got, when no more come.
func (f *fanout) come() (n int64, err error) {
	for quiet := 0; quiet < 3; {
		before := n
		if _, err := fmt.Fprintln(f.process.In, "count"); err != nil {
			return n, err
		}
		text, err := f.process.line()
		if err != nil {
			return n, err
		}
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			return n, errors.New(text)
		}
		if quiet++; n != before {
			quiet = 0
		}
		time.Sleep(125 * time.Millisecond) // half a push interval
	}
	return n, nil
}

func (f *fanout) cost(context.Context) (sample, error) {
	s, err := startServer(serve.Options{Live: idle{}, Store: emptyStore{}})
	if err != nil {
		return sample{}, err
	}
	defer s.stop()
	return f.connected(s.address, func() (sample, error) {
		spent := cpu()
		s.pushFor(f.period)
		n, err := f.come()
		if err == nil && n == 0 {
			err = errors.New("nothing was pushed")
		}
		return sample{value: micros(cpu()-spent) / float64(n), allocs: -1}, err
	})
}

// pushFor publishes versions of the running klines for a while.
func (s *server) pushFor(period time.Duration) {
	row := restKlines()[0]
	row.State = market.StateOpen
	tick := time.NewTicker(fanoutVersion)
	defer tick.Stop()
	for end := time.Now().Add(period); time.Now().Before(end); <-tick.C {
		changes := &market.Changes{Received: time.Now()}
		for i := range fanoutStreams {
			changes.Updates = append(changes.Updates, market.Update{Series: market.Series{Symbol: market.SymbolID(i), Interval: market.OneMinute}, Kline: row})
		}
		s.Publish(changes)
	}
}

// plainClients takes clients as they are usually taken, and hands each on when it has subscribed.
func plainClients(n int) (address string, taken chan *websocket.Conn, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	taken = make(chan *websocket.Conn, n)
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
	return l.Addr().String(), taken, func() { _ = server.Close() }, nil
}

// plainCost is the same with a prepared message of each kline, written to one client after the other.
func (f *fanout) plainCost(context.Context) (sample, error) {
	address, taken, stop, err := plainClients(f.clients)
	if err != nil {
		return sample{}, err
	}
	defer stop()
	var clients []*websocket.Conn
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	rows := restKlines()
	return f.connected(address, func() (sample, error) {
		for len(clients) < f.clients {
			clients = append(clients, <-taken)
		}
		spent := cpu()
		for round := range fanoutRounds {
			if err := plainPush(clients, &rows[round]); err != nil {
				return sample{}, err
			}
			if err := f.process.ask(fmt.Sprint("expect ", (round+1)*f.clients*fanoutStreams), "come"); err != nil {
				return sample{}, err
			}
		}
		return sample{value: micros(cpu()-spent) / float64(fanoutRounds*f.clients*fanoutStreams), allocs: -1}, nil
	})
}

// plainPush writes a kline of each series to each client.
func plainPush(clients []*websocket.Conn, k *market.Kline) error {
	for i := range fanoutStreams {
		u := market.Update{Series: market.Series{Symbol: market.SymbolID(i), Interval: market.OneMinute}, Kline: *k}
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
}

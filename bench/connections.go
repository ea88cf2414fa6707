package bench

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"klined/serve"
)

// memoryClients is how many connections the memory row has.
const memoryClients = 10_000

var memoryRow = subject{
	name: "fanout_memory", unit: "KiB/client",
	what:     "heap and stacks of the whole process for each of 10,000 clients of 10 series, after pushes and a collection",
	baseline: "gorilla/websocket: two goroutines, buffers of 4 KiB, a channel of 256 messages",
	open: func(ctx context.Context, o Options) (*pair, error) {
		f, err := startFanout(ctx, o, memoryClients)
		if err != nil {
			return nil, err
		}
		return &pair{value: f.memory, baseline: f.plainMemory, close: f.process.stop}, nil
	},
}

// held is what this process holds on to, in bytes.
func held() float64 {
	runtime.GC()
	runtime.GC() // what the first has found unused in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}

// perClient is what has been added to what was held before, KiB for each client.
func (f *fanout) perClient(before float64) (sample, error) {
	kib := (held() - before) / 1024 / float64(f.clients)
	if kib <= 0 {
		return sample{}, errors.New("clients take no memory")
	}
	return sample{value: kib, allocs: -1}, nil
}

func (f *fanout) memory(context.Context) (sample, error) {
	s, err := startServer(serve.Options{Live: idle{}, Store: emptyStore{}})
	if err != nil {
		return sample{}, err
	}
	defer s.stop()
	before := held()
	return f.connected(s.address, func() (sample, error) {
		s.pushFor(f.period / 2)
		if _, err := f.come(); err != nil {
			return sample{}, err
		}
		return f.perClient(before)
	})
}

// plainMemory is the same for clients as they are usually written.
func (f *fanout) plainMemory(context.Context) (sample, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return sample{}, err
	}
	var running sync.WaitGroup
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{ReadBufferSize: 4096, WriteBufferSize: 4096}
		if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
			running.Go(func() { plainClient(conn) })
		}
	})}
	go func() { _ = server.Serve(l) }()
	defer func() {
		_ = server.Close()
		running.Wait()
	}()
	before := held()
	return f.connected(l.Addr().String(), func() (sample, error) { return f.perClient(before) })
}

// plainClient answers what a client asks for until it leaves: one goroutine reads, one writes.
func plainClient(conn *websocket.Conn) {
	out := make(chan []byte, 256)
	go func() {
		for text := range out {
			_ = conn.WriteMessage(websocket.TextMessage, text)
		}
		_ = conn.Close()
	}()
	defer close(out)
	for _, answer := range []string{`{"result":null,"id":1}`, `{"result":[],"id":2}`} {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
		out <- []byte(answer)
	}
	_, _, _ = conn.ReadMessage() // until it leaves
}

package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sync/errgroup"
)

// comeWithin is how long clients wait for what they expect.
const comeWithin = 30 * time.Second

// clientsPeer is clients in a process of their own. It is told
//
//	connect ADDRESS   and says connected
//	count             and says how many frames have come over all of them since they connected
//	expect N          and says come when so many have
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
		case "count":
			answer = strconv.FormatInt(o.come.Load(), 10)
		case "expect":
			var n int64
			if _, err = fmt.Sscan(arg, &n); err == nil {
				answer = "come"
				for end := time.Now().Add(comeWithin); o.come.Load() < n && o.failed.Load() == nil && ctx.Err() == nil; {
					// To be signalled would cost the readers for each frame what is to be measured.
					if time.Sleep(time.Millisecond); time.Now().After(end) {
						err = fmt.Errorf("%d frames of %d have come", o.come.Load(), n)
						break
					}
				}
			}
		case "leave":
			answer = "left"
			for _, c := range conns {
				if c != nil {
					_ = c.Close()
				}
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

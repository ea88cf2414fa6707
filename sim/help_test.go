package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"klined/market"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at is a start that is far from every boundary but the second's.
const at = market.Time(1795456789000) // 2026-11-23T17:59:49Z

func mustTime(t *testing.T, text string) market.Time {
	t.Helper()
	tm, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return market.TimeOf(tm)
}

func newExchange(t testing.TB, opt Options) *Exchange {
	t.Helper()
	if opt.Start == 0 {
		opt.Start = at
	}
	e, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// served runs an exchange and its server in a bubble of fake time, and ends both after test.
func served(t *testing.T, opt Options, test func(t *testing.T, e *Exchange, v *visitor)) {
	synctest.Test(t, func(t *testing.T) {
		e := newExchange(t, opt)
		l := newMemListener()
		server := &http.Server{Handler: e.Handler()}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() { ended <- server.Serve(l) }()
		go func() { ended <- e.Run(ctx) }()
		v := &visitor{t: t, l: l}
		v.http = &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return l.dial() },
		}}
		defer func() {
			cancel()
			<-ended
			v.http.CloseIdleConnections()
			_ = server.Close()
			<-ended
		}()
		test(t, e, v)
	})
}

// visitor is a client of an exchange in memory.
type visitor struct {
	t    *testing.T
	l    *memListener
	http *http.Client
}

// get answers status, headers and body of a GET.
func (v *visitor) get(path string) (int, http.Header, string) {
	v.t.Helper()
	res, err := v.http.Get("http://sim" + path)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

func (v *visitor) post(path, body string) (int, string) {
	v.t.Helper()
	res, err := v.http.Post("http://sim"+path, "application/json", strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	return res.StatusCode, strings.TrimSpace(string(answer))
}

// rows reads an answer of klines.
func (v *visitor) rows(path string) [][]any {
	v.t.Helper()
	status, _, body := v.get(path)
	if status != 200 {
		v.t.Fatalf("%s: %d %s", path, status, body)
	}
	var rows [][]any
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		v.t.Fatalf("%s: %v in %s", path, err, body)
	}
	return rows
}

// socket is the client's end of a WebSocket. Its frames are read by a goroutine, so that the peer never waits.
type socket struct {
	t      *testing.T
	conn   net.Conn
	frames chan string   // text frames
	pings  chan string   // payloads
	over   chan struct{} // closed when the connection is over
	code   ws.StatusCode // of the close frame, valid when over
	reason string
	mute   atomic.Bool // pings are not answered
}

func (v *visitor) dial(path string) *socket {
	v.t.Helper()
	var buffered *bufio.Reader
	d := ws.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return v.l.dial() }}
	conn, buffered, _, err := d.Dial(v.t.Context(), "ws://sim"+path)
	if err != nil {
		v.t.Fatalf("%s: %v", path, err)
	}
	s := &socket{t: v.t, conn: conn, frames: make(chan string, 1<<17), pings: make(chan string, 1000), over: make(chan struct{})}
	var r io.Reader = conn
	if buffered != nil {
		r = io.MultiReader(io.LimitReader(buffered, int64(buffered.Buffered())), conn)
	}
	go s.read(r)
	v.t.Cleanup(func() { _ = conn.Close() })
	synctest.Wait() // the handshake is answered before the exchange numbers the connection
	return s
}

func (s *socket) read(r io.Reader) {
	defer close(s.over)
	defer s.conn.Close()
	for {
		f, err := ws.ReadFrame(r)
		if err != nil {
			return
		}
		switch f.Header.OpCode {
		case ws.OpText:
			s.frames <- string(f.Payload)
		case ws.OpPing:
			s.pings <- string(f.Payload)
			if !s.mute.Load() {
				_ = ws.WriteFrame(s.conn, ws.MaskFrame(ws.NewPongFrame(f.Payload)))
			}
		case ws.OpPong:
			s.frames <- "pong " + string(f.Payload)
		case ws.OpClose:
			s.code, s.reason = ws.ParseCloseFrameData(f.Payload)
			return
		}
	}
}

func (s *socket) send(text string) {
	s.t.Helper()
	if err := ws.WriteFrame(s.conn, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
		s.t.Logf("send: %v", err)
	}
}

// subscribe asks for streams and waits for the answer.
func (s *socket) subscribe(names ...string) {
	s.t.Helper()
	list, _ := json.Marshal(names)
	s.send(fmt.Sprintf(`{"method":"SUBSCRIBE","params":%s,"id":1}`, list))
	for frame := range s.frames {
		if frame == `{"result":null,"id":1}` {
			return
		}
	}
}

// taken are the frames that have come so far.
func (s *socket) taken() (frames []string) {
	for {
		select {
		case f := <-s.frames:
			frames = append(frames, f)
		default:
			return frames
		}
	}
}

// advanceTo lets the market happen up to a time, without a loop.
func (e *Exchange) advanceTo(now market.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.advance(now)
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n got %v\nwant %v", what, got, want)
	}
}

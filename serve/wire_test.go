package serve

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// pipes is a listener of in-memory connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// bubble runs test against a served world on fake time; Close and the end of every goroutine belong to it.
func bubble(t *testing.T, test func(t *testing.T, w *world, listen *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, stdClock{})
		listen := newPipes()
		server := NewHTTPServer(w.Handler(), w.log)
		go func() { _ = server.Serve(listen) }()
		defer func() { _ = server.Close() }()
		for _, iv := range w.opt.Intervals { // what is open at the start has one before it
			for _, id := range []market.SymbolID{btc, moon} {
				w.before(market.Series{Symbol: id, Interval: iv}, bubbleStart)
			}
		}
		test(t, w, listen)
		w.Close()
	})
}

// peer is a WebSocket client that reads while it is not paused.
type peer struct {
	t    *testing.T
	conn net.Conn

	mu    sync.Mutex
	cond  *sync.Cond
	pause bool
	got   []string // texts
	pings []string
	bye   string // code and reason of the close frame
	over  bool   // the connection has ended
	mute  bool   // does not answer pings
}

func connect(t *testing.T, listen *pipes, path string) *peer {
	t.Helper()
	conn, br, _, err := ws.Dialer{NetDial: listen.dial}.Dial(t.Context(), "ws://klined"+path)
	if err != nil {
		t.Fatal(err)
	}
	if br != nil {
		t.Fatal("frames came with the handshake")
	}
	p := &peer{t: t, conn: conn}
	p.cond = sync.NewCond(&p.mu)
	go p.read()
	synctest.Wait() // subscribed
	return p
}

func (p *peer) read() {
	defer func() {
		_ = p.conn.Close()
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
	}()
	for {
		p.mu.Lock()
		for p.pause {
			p.cond.Wait()
		}
		p.mu.Unlock()
		h, err := ws.ReadHeader(p.conn)
		if err != nil || ws.CheckHeader(h, ws.StateClientSide) != nil {
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(p.conn, payload); err != nil {
			return
		}
		p.mu.Lock()
		switch h.OpCode {
		case ws.OpText:
			p.got = append(p.got, string(payload))
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			p.bye = strings.TrimSpace(string(rune('0'+code/1000)) + string(rune('0'+code/100%10)) + string(rune('0'+code/10%10)) + string(rune('0'+code%10)) + " " + reason)
		case ws.OpPing, ws.OpPong:
			p.pings = append(p.pings, string(payload))
		}
		mute := p.mute
		p.mu.Unlock()
		if h.OpCode == ws.OpPing && !mute {
			p.write(ws.NewPongFrame(payload))
		}
		if h.OpCode == ws.OpClose {
			p.write(ws.NewCloseFrame(payload))
		}
	}
}

func (p *peer) write(f ws.Frame) { _ = ws.WriteFrame(p.conn, ws.MaskFrame(f)) }

// hold stops reading after the frame under way, or goes on.
func (p *peer) hold(pause bool) {
	p.mu.Lock()
	p.pause = pause
	p.mu.Unlock()
	p.cond.Broadcast()
}

// texts are those that came since the last call.
func (p *peer) texts() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

// ask sends a control message and returns what came.
func (p *peer) ask(text string) string {
	p.write(ws.NewTextFrame([]byte(text)))
	return strings.Join(p.texts(), "\n")
}

// ended is the close frame that came, "" while the connection goes on.
func (p *peer) ended() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bye
}

// seen are the payloads of the pings and pongs that came.
func (p *peer) seen() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pings
}

// silence stops the answers to pings.
func (p *peer) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = true
}

// event is what tests look at in a kline event.
type event struct {
	K struct {
		Open     market.Time `json:"t"`
		Last     market.Time `json:"T"`
		Low      string      `json:"l"`
		LastID   int64       `json:"L"`
		Close    string      `json:"c"`
		Final    bool        `json:"x"`
		Revision int         `json:"r"`
		Standing string      `json:"st"`
	} `json:"k"`
}

// events names the events that came since the last call: "close price, x, standing".
func (p *peer) events() []string {
	p.t.Helper()
	var out []string
	for _, text := range p.texts() {
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			p.t.Fatalf("%v in %s", err, text)
		}
		final := ""
		if e.K.Final {
			final = " x"
		}
		out = append(out, e.K.Close+" "+e.K.Standing+final)
	}
	return out
}

// publish hands one version of a kline of series on.
func (w *world) publish(series market.Series, k market.Kline) {
	w.Publish(&market.Changes{Updates: []market.Update{{Series: series, Kline: k}}, Received: time.Now()})
}

// before publishes the kline before the one that runs at that time.
func (w *world) before(series market.Series, at market.Time) {
	iv := series.Interval
	w.publish(series, kline(iv.OpenAt(iv.Ordinal(at)-1), "1", market.StateSettled))
}

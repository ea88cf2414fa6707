package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"klined/health"
	"klined/market"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// leakless runs the tests and fails where goroutines are left.
func leakless(m *testing.M) int {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			return 1
		}
	}
	return code
}

// peer is the exchange's end of a connection in memory.
type peer struct {
	t    *testing.T
	conn net.Conn
	path string
}

// exchange hands the peer of each connection that is dialled to serve, in a goroutine of its own; first is what it
// sends together with its handshake.
type exchange struct {
	t     *testing.T
	serve func(*peer)
	first []byte
	done  sync.WaitGroup
}

func (e *exchange) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	e.t.Cleanup(e.done.Wait)
	e.done.Go(func() {
		defer theirs.Close()
		p := &peer{t: e.t, conn: theirs}
		answer := &held{Conn: theirs}
		upgrader := ws.Upgrader{OnRequest: func(uri []byte) error {
			p.path = string(uri)
			return nil
		}}
		if _, err := upgrader.Upgrade(answer); err != nil {
			e.t.Errorf("handshake: %v", err)
			return
		}
		if _, err := theirs.Write(append(answer.Bytes(), e.first...)); err != nil {
			return
		}
		e.serve(p)
	})
	return ours, nil
}

// held keeps what is written to it.
type held struct {
	net.Conn
	bytes.Buffer
}

func (h *held) Read(p []byte) (int, error)  { return h.Conn.Read(p) }
func (h *held) Write(p []byte) (int, error) { return h.Buffer.Write(p) }

// control is a control message of a client.
type control struct {
	Method string   `json:"method"`
	Params []string `json:"params"`
	ID     uint64   `json:"id"`
}

// control reads the client's next control message; false at the connection's end.
func (p *peer) control() (c control, ok bool) {
	text, op, ok := p.frame()
	if !ok || op == ws.OpClose {
		return c, false
	}
	if err := json.Unmarshal(text, &c); err != nil {
		p.t.Errorf("control message %q: %v", text, err)
	}
	return c, true
}

// frame reads the client's next frame.
func (p *peer) frame() (payload []byte, op ws.OpCode, ok bool) {
	f, err := ws.ReadFrame(p.conn)
	if err != nil {
		return nil, 0, false
	}
	if !f.Header.Masked {
		p.t.Error("a frame that is not masked")
	}
	return ws.UnmaskFrame(f).Payload, f.Header.OpCode, true
}

// send writes texts, each a frame, all at once.
func (p *peer) send(texts ...string) error {
	var frames []ws.Frame
	for _, text := range texts {
		frames = append(frames, ws.NewTextFrame([]byte(text)))
	}
	_, err := p.conn.Write(compiled(frames...))
	return err
}

// acknowledge answers control messages until the connection ends.
func (p *peer) acknowledge() {
	for {
		c, ok := p.control()
		if !ok {
			return
		}
		_ = wsutil.WriteServerText(p.conn, ack(c.ID))
	}
}

func ack(id uint64) []byte {
	text, _ := json.Marshal(map[string]any{"result": nil, "id": id})
	return text
}

// venue is a Venue whose exchange is served by serve.
func (e *exchange) venue(symbols *market.Symbols, source market.Source) *Venue {
	return NewVenue(VenueOptions{URL: "ws://exchange", Dial: e.dial, Symbols: symbols, Source: source, Metrics: health.NewMetrics()})
}

// dialled is a stream of the first n symbols; it is closed when the test ends.
func (e *exchange) dialled(n int) *Stream {
	e.t.Helper()
	symbols := registry()
	for len(symbols.All()) < n {
		symbols.Put(market.Symbol{Name: "S" + string(rune('A'+len(symbols.All())/26%26)) + string(rune('A'+len(symbols.All())%26)) + string(rune('A'+len(symbols.All())/676)) + "USDT"})
	}
	s, err := e.venue(symbols, market.SourceAggTrade).DialTrades(context.Background(), "a1", firstIDs(n))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { s.Close("test done") })
	return s
}

func firstIDs(n int) []market.SymbolID {
	ids := make([]market.SymbolID, n)
	for i := range ids {
		ids[i] = market.SymbolID(i)
	}
	return ids
}

// untilReady reads until all streams are acknowledged.
func untilReady(t *testing.T, s *Stream) (b market.Batch) {
	t.Helper()
	for !b.Ready {
		if err := s.Read(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// readError reads until the stream ends.
func readError(s *Stream) error {
	var b market.Batch
	for {
		if err := s.Read(&b); err != nil {
			return err
		}
	}
}

// localTime is a Clock that runs with the test's.
type localTime struct{}

func (localTime) Now() market.Time { return market.TimeOf(time.Now()) }

var errDial = errors.New("no route")

// standingTime is a Clock that stands still.
type standingTime market.Time

func (c standingTime) Now() market.Time { return market.Time(c) }

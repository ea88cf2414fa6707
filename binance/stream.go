package binance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"

	"klined/market"
)

// ErrClosed is what Read returns after Close.
var ErrClosed = errors.New("connection closed by us")

// Stream is one connection to the exchange. One goroutine calls Read; the other methods may be called from any.
// It ends with the first error of Read, or with Close.
type Stream struct {
	name    string
	conn    net.Conn
	began   time.Time
	symbols *market.Symbols
	suffix  string                                        // what the names of symbols' streams end in
	sink    func(name, payload []byte)                    // takes wrapped events as they are; nil: they are decoded
	record  func(conn string, at time.Time, frame []byte) // nil: nobody records
	subs    *subscriptions
	frames  atomic.Uint64
	heard   atomic.Int64       // Unix ns of the last byte, of the connection's begin before the first
	counted prometheus.Counter // nil where nothing counts
	writer  writer
	ended   sync.Once

	// Read's goroutine alone:
	framer   *framer
	decoder  *Decoder
	timeout  time.Duration
	deadline time.Time // that is set on conn
	failed   error
}

// newStream takes conn over; head is what has been read of it behind the handshake.
func newStream(conn net.Conn, head []byte, v *Venue, name, suffix string) *Stream {
	s := &Stream{
		name:    name,
		record:  v.o.Record,
		conn:    conn,
		began:   time.Now(),
		symbols: v.o.Symbols,
		suffix:  suffix,
		subs:    newSubscriptions(),
		framer:  newFramer(conn, head),
		decoder: NewDecoder(v.o.Symbols, v.o.Source, v.o.Metrics, v.o.Log.With("conn", name)),
		timeout: v.o.ReadTimeout,
	}
	s.decoder.OnUnknown, s.decoder.Tickers = v.o.OnUnknown, suffix == tickerStream
	if v.o.Metrics != nil {
		s.counted = v.o.Metrics.Frames.WithLabelValues(name)
	}
	s.heard.Store(s.began.UnixNano())
	s.writer.start(conn, s.subs)
	return s
}

// Read waits until at least one frame has come, or the answer to a ping, then decodes every one that has come whole into
// b, which it resets. The batch may bring nothing, as where the frame was an answer. A frame that cannot be decoded is dropped. An error
// means that the connection is over; what came before it has been handed out by then.
func (s *Stream) Read(b *market.Batch) error {
	b.Reset()
	n, err := 0, s.failed
	for n == 0 && !b.Pong && err == nil {
		if n, err = s.drain(b); n == 0 && !b.Pong && err == nil {
			if _, err = s.subs.state(time.Now()); err == nil {
				err = s.fill()
			}
			b.Received = time.Now()
		}
	}
	if b.Received.IsZero() { // the bytes lay here already
		b.Received = time.Now()
	}
	s.count(n)
	var overdue error
	b.Ready, overdue = s.subs.state(b.Received)
	if err == nil {
		err = overdue
	}
	if err == nil {
		return nil
	}
	if s.failed == nil {
		s.failed = s.reason(err)
	}
	if len(b.Trades)+len(b.Official)+len(b.Tickers) > 0 {
		return nil // the error comes with the next Read
	}
	s.end("")
	return s.failed
}

// fill reads once from the connection. The deadline is moved only now and then: that is dear.
func (s *Stream) fill() error {
	if now := time.Now(); s.deadline.Sub(now) < s.timeout-s.timeout/8 {
		s.deadline = now.Add(s.timeout)
		_ = s.conn.SetReadDeadline(s.deadline) // it fails where reading fails, which says more
	}
	err := s.framer.fill()
	if err == nil {
		s.heard.Store(time.Now().UnixNano())
	}
	return err
}

// drain takes every whole message, and says how many there were, control frames left out.
func (s *Stream) drain(b *market.Batch) (n int, err error) {
	for {
		op, payload, ok, err := s.framer.next()
		if !ok || err != nil {
			return n, err
		}
		switch op {
		case ws.OpText, ws.OpBinary:
			n++
			if s.record != nil {
				s.tape(payload, b)
			}
			if err := s.message(payload, b); err != nil {
				return n, err
			}
		case ws.OpPing:
			s.writer.pong(payload)
		case ws.OpPong:
			b.Pong = true
		case ws.OpClose:
			return n, closeError(payload)
		}
	}
}

// tape hands a message to who records.
func (s *Stream) tape(payload []byte, b *market.Batch) {
	if b.Received.IsZero() { // the bytes lay here already
		b.Received = time.Now()
	}
	s.record(s.name, b.Received, payload)
}

// errUnreadable is an answer to a control message that says nothing that can be understood.
var errUnreadable = errors.New("an answer that cannot be read")

// message decodes one message; the error is a refusal, which ends the connection. A bad answer is dropped like any bad
// frame.
func (s *Stream) message(payload []byte, b *market.Batch) error {
	if s.sink != nil {
		if name, event, ok := eventOf(payload); ok {
			s.sink(name, event)
			return nil
		}
	}
	kind, err := s.decoder.Frame(payload, b)
	if err != nil || kind != KindAck && kind != KindRefusal {
		return nil
	}
	if err = s.subs.answer(payload); err == errUnreadable {
		s.decoder.drop("frame", payload, ErrSyntax)
		return nil
	}
	return err
}

func (s *Stream) count(n int) {
	s.frames.Add(uint64(n))
	if s.counted != nil {
		s.counted.Add(float64(n))
	}
}

// reason puts the end of the connection into words, and where it was not we who closed it, how far it had come: one
// that never served says something else than one at the end of its day.
func (s *Stream) reason(err error) error {
	why := s.writer.ending()
	switch {
	case errors.Is(why, ErrClosed):
		return why
	case why != nil:
		err = why
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("nothing has come for %s: %w", s.timeout, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the exchange ended the connection without a word: %w", err)
	}
	up := time.Since(s.began).Round(time.Second)
	return fmt.Errorf("%w (after %s and %d frames; %s)", err, up, s.frames.Load(), s.subs.progress())
}

// Subscribe adds symbols to what the connection carries. They are asked for in the background, within the limits;
// Batch.Ready is false until all of them have been acknowledged.
func (s *Stream) Subscribe(symbols ...market.SymbolID) error {
	return s.subs.begin(streamNames(s.symbols, symbols, s.suffix), false)
}

// Unsubscribe takes symbols out of what the connection carries, in the background.
func (s *Stream) Unsubscribe(symbols ...market.SymbolID) {
	s.subs.end(streamNames(s.symbols, symbols, s.suffix))
}

// Ping asks the exchange for a sign of life, which Batch.Pong shows. It does not wait.
func (s *Stream) Ping() {
	select {
	case s.writer.pings <- struct{}{}:
	default: // one is on its way
	}
}

// Frames is how many frames have come, pings left out.
func (s *Stream) Frames() uint64 { return s.frames.Load() }

// Close ends the connection and tells the exchange so, if that can be done at once. When it returns nothing of the
// stream runs any more; a Read that waits gets ErrClosed with the reason. It may be called again.
func (s *Stream) Close(reason string) { s.end(reason) }

// end stops the stream; the reason is empty where the connection is over already.
func (s *Stream) end(reason string) {
	s.ended.Do(func() {
		s.writer.stop(reason)
		_ = s.conn.Close()
	})
}

package binance

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// writer owns the writing side of a connection: pongs as pings come, and control messages at their pace.
type writer struct {
	conn    net.Conn
	subs    *subscriptions
	pongs   chan []byte   // the payload of the newest ping not yet answered
	pings   chan struct{} // holds one while a ping is to be sent
	closing chan struct{}
	done    chan struct{} // closed when run has returned

	mu  sync.Mutex
	why error // set once: why we ended the connection
}

// start begins to write to conn what subs asks for.
func (w *writer) start(conn net.Conn, subs *subscriptions) {
	w.conn, w.subs = conn, subs
	w.pongs, w.pings = make(chan []byte, 1), make(chan struct{}, 1)
	w.closing, w.done = make(chan struct{}), make(chan struct{})
	go w.run()
}

func (w *writer) run() {
	defer close(w.done)
	pace := time.NewTimer(0)
	defer pace.Stop()
	<-pace.C
	wake := w.subs.wake // nil while no control message may go
	for {
		var err error
		select {
		case <-w.closing:
			return
		case payload := <-w.pongs:
			err = w.send(ws.NewPongFrame(payload))
		case <-w.pings:
			err = w.send(ws.NewPingFrame(nil))
		case <-pace.C:
			wake = w.subs.wake
		case <-wake:
			if message := w.subs.next(time.Now()); message != nil {
				err = w.send(ws.NewTextFrame(message))
				pace.Reset(controlEvery)
				wake = nil
			}
		}
		if err != nil {
			w.because(fmt.Errorf("cannot write to the exchange: %w", err))
			_ = w.conn.Close() // Read learns of it
			return
		}
	}
}

// send writes one frame, masked as a client's must be. After stop it writes nothing.
func (w *writer) send(frame ws.Frame) error {
	text, err := ws.CompileFrame(ws.MaskFrameInPlace(frame))
	if err != nil {
		return err
	}
	if !w.deadline(writeTimeout) {
		return nil
	}
	_, err = w.conn.Write(text)
	return err
}

// deadline gives the next write its time; false once the writer is to stop.
func (w *writer) deadline(d time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closing:
		return false
	default:
	}
	return w.conn.SetWriteDeadline(time.Now().Add(d)) == nil
}

// pong answers a ping. Only the newest needs an answer (RFC 6455, section 5.5.3). It is Read's alone to call.
func (w *writer) pong(payload []byte) {
	select {
	case <-w.pongs:
	default:
	}
	w.pongs <- append([]byte(nil), payload...) // there is room: only Read puts any in
}

// because keeps the first reason.
func (w *writer) because(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == nil {
		w.why = why
	}
}

// ending is why we ended the connection, nil where we did not.
func (w *writer) ending() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

// stop ends run, then writes a close frame, all within closeTimeout.
func (w *writer) stop(reason string) {
	if reason != "" {
		w.because(fmt.Errorf("%w: %s", ErrClosed, reason))
	}
	w.mu.Lock()
	close(w.closing)
	_ = w.conn.SetWriteDeadline(time.Now().Add(closeTimeout)) // a write that is stuck ends too
	w.mu.Unlock()
	<-w.done
	body := ws.NewCloseFrameBody(ws.StatusNormalClosure, "")
	if text, err := ws.CompileFrame(ws.MaskFrameInPlace(ws.NewCloseFrame(body))); err == nil {
		_, _ = w.conn.Write(text)
	}
}

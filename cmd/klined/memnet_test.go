package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memnet is a network in memory: its connections hold a bounded number of bytes in each direction, so that whole
// programs talk to each other within one synctest bubble.
type memnet struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	next      int
	dialled   []*memConn // client ends, oldest first
	down      time.Time  // until when nobody is let in
}

// refuse lets nobody in for a time.
func (m *memnet) refuse(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = time.Now().Add(d)
}

// memBuffer is how many bytes one direction of a connection holds before the writer waits.
const memBuffer = 1 << 20

func newMemnet() *memnet { return &memnet{listeners: map[string]*memListener{}} }

type memAddr string

func (a memAddr) Network() string { return "mem" }
func (a memAddr) String() string  { return string(a) }

// Listen opens addr; port 0 is the next free one.
func (m *memnet) Listen(_, addr string) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if port == "0" {
		m.next++
		addr = net.JoinHostPort(host, fmt.Sprint(40000+m.next))
	}
	if m.listeners[addr] != nil {
		return nil, fmt.Errorf("%s: address already in use", addr)
	}
	l := &memListener{m: m, addr: memAddr(addr), incoming: make(chan net.Conn), done: make(chan struct{})}
	m.listeners[addr] = l
	return l, nil
}

// Dial connects to a listener.
func (m *memnet) Dial(ctx context.Context, _, addr string) (net.Conn, error) {
	m.mu.Lock()
	l := m.listeners[addr]
	if time.Now().Before(m.down) {
		l = nil
	}
	m.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	up, down := newHalf(), newHalf()
	client := &memConn{read: down, write: up, remote: memAddr(addr)}
	m.mu.Lock()
	m.next++
	server := &memConn{read: up, write: down, remote: memAddr(fmt.Sprintf("127.0.0.1:%d", 1000+m.next))}
	m.mu.Unlock()
	select {
	case l.incoming <- server:
	case <-l.done:
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m.mu.Lock()
	m.dialled = append(m.dialled, client)
	m.mu.Unlock()
	return client, nil
}

type memListener struct {
	m        *memnet
	addr     memAddr
	incoming chan net.Conn
	once     sync.Once
	done     chan struct{}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.m.mu.Lock()
		delete(l.m.listeners, string(l.addr))
		l.m.mu.Unlock()
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return l.addr }

// memHalf is one direction of a connection.
type memHalf struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	closed bool
}

func newHalf() *memHalf {
	h := &memHalf{}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *memHalf) close() {
	h.mu.Lock()
	h.closed = true
	h.cond.Broadcast()
	h.mu.Unlock()
}

// deadline is an instant after which waiting ends; its owner is one end of a connection.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(h *memHalf, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at = at
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), h.cond.Broadcast)
	}
	h.cond.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// memConn is one end.
type memConn struct {
	read, write   *memHalf
	readBy, wroBy deadline
	remote        memAddr
}

func (c *memConn) Read(p []byte) (int, error) {
	h := c.read
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) == 0 {
		if h.closed {
			return 0, io.EOF
		}
		if c.readBy.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		h.cond.Wait()
	}
	n := copy(p, h.buf)
	h.buf = h.buf[n:]
	h.cond.Broadcast()
	return n, nil
}

func (c *memConn) Write(p []byte) (int, error) {
	h := c.write
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.buf) > memBuffer && !h.closed {
		if c.wroBy.passed() {
			return 0, os.ErrDeadlineExceeded
		}
		h.cond.Wait()
	}
	if h.closed {
		return 0, errors.New("broken pipe")
	}
	h.buf = append(h.buf, p...)
	h.cond.Broadcast()
	return len(p), nil
}

func (c *memConn) Close() error {
	c.read.close()
	c.write.close()
	c.readBy.set(c.read, time.Time{})
	c.wroBy.set(c.write, time.Time{})
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return memAddr("127.0.0.1:2") }
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

func (c *memConn) SetDeadline(t time.Time) error {
	c.readBy.set(c.read, t)
	c.wroBy.set(c.write, t)
	return nil
}
func (c *memConn) SetReadDeadline(t time.Time) error  { c.readBy.set(c.read, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.wroBy.set(c.write, t); return nil }

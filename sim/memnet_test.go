package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memListener accepts connections that live in memory, so that they work in a synctest bubble.
type memListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *memListener) Addr() net.Addr { return memAddr{} }

// dial gives the client's end of a new connection.
func (l *memListener) dial() (net.Conn, error) {
	up, down := newMemPipe(), newMemPipe()
	select {
	case l.conns <- &memConn{in: up, out: down}:
		return &memConn{in: down, out: up}, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return "10.0.0.1:1" }

// memPipe is one direction: a buffer that a socket would have.
type memPipe struct {
	mu       sync.Mutex
	moved    *sync.Cond
	buf      []byte
	closed   bool
	deadline [2]time.Time // of the reader, of the writer
}

const memBuffer = 256 << 10

func newMemPipe() *memPipe {
	p := &memPipe{}
	p.moved = sync.NewCond(&p.mu)
	return p
}

func (p *memPipe) late(end int) bool {
	d := p.deadline[end]
	return !d.IsZero() && !time.Now().Before(d)
}

func (p *memPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) == 0 {
		switch {
		case p.closed:
			return 0, io.EOF
		case p.late(0):
			return 0, os.ErrDeadlineExceeded
		}
		p.moved.Wait()
	}
	n := copy(b, p.buf)
	p.buf = append(p.buf[:0], p.buf[n:]...)
	p.moved.Broadcast()
	return n, nil
}

func (p *memPipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		for len(p.buf) >= memBuffer && !p.closed && !p.late(1) {
			p.moved.Wait()
		}
		switch {
		case p.closed:
			return n, io.ErrClosedPipe
		case p.late(1):
			return n, os.ErrDeadlineExceeded
		}
		part := min(len(b), memBuffer-len(p.buf))
		p.buf = append(p.buf, b[:part]...)
		b, n = b[part:], n+part
		p.moved.Broadcast()
	}
	return n, nil
}

func (p *memPipe) close() {
	p.mu.Lock()
	p.closed = true
	p.moved.Broadcast()
	p.mu.Unlock()
}

func (p *memPipe) setDeadline(end int, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline[end] = t
	p.moved.Broadcast()
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		time.AfterFunc(wait, p.moved.Broadcast)
	}
}

type memConn struct{ in, out *memPipe }

func (c *memConn) Read(b []byte) (int, error)         { return c.in.read(b) }
func (c *memConn) Write(b []byte) (int, error)        { return c.out.write(b) }
func (c *memConn) LocalAddr() net.Addr                { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr               { return memAddr{} }
func (c *memConn) SetReadDeadline(t time.Time) error  { c.in.setDeadline(0, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.out.setDeadline(1, t); return nil }

func (c *memConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	c.in.setDeadline(0, t)
	c.out.setDeadline(1, t)
	return nil
}

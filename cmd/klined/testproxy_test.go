package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
)

// testProxy is a SOCKS5 and an HTTP proxy on one port, as their RFCs have them (1928, 1929; 9110).
type testProxy struct {
	dial     dialFunc // leads on; it is given the names as they came
	password string   // of the user "bot"; empty: nobody is asked
	answer   string   // in place of what it should say to CONNECT
	opens    string   // status and fields with which it opens a way; empty: as usual

	mu     sync.Mutex
	opened map[string]int // ways, by where to
}

// serve lets clients in until l is closed.
func (p *testProxy) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go p.take(conn)
	}
}

func (p *testProxy) take(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	var there net.Conn
	if first[0] == 5 {
		there, err = p.socks(in, conn)
	} else {
		there, err = p.connect(in, conn)
	}
	if err != nil {
		return
	}
	defer there.Close()
	go func() {
		_, _ = io.Copy(there, in)
		_ = there.Close()
	}()
	_, _ = io.Copy(conn, there)
}

var errNoWay = errors.New("refused")

func (p *testProxy) open(addr string) (net.Conn, error) {
	p.mu.Lock()
	if p.opened == nil {
		p.opened = map[string]int{}
	}
	p.opened[addr]++
	p.mu.Unlock()
	return p.dial(context.Background(), "tcp", addr)
}

func (p *testProxy) connect(in *bufio.Reader, conn net.Conn) (net.Conn, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, err
	}
	if p.answer != "" {
		_, _ = io.WriteString(conn, p.answer)
		return nil, errNoWay
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("bot:"+p.password))
	if r.Method != http.MethodConnect || p.password != "" && r.Header.Get("Proxy-Authorization") != want {
		_, _ = io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return nil, errNoWay
	}
	there, err := p.open(r.RequestURI)
	if err != nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return nil, err
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 "+cmp.Or(p.opens, "200 Connection established")+"\r\n\r\n")
	return there, nil
}

func (p *testProxy) socks(in *bufio.Reader, conn net.Conn) (net.Conn, error) {
	take := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(in, b) // what is missing stays 0, and is refused
		return b
	}
	methods := take(int(take(2)[1]))
	method := byte(0)
	if p.password != "" {
		method = 2
	}
	if !bytes.Contains(methods, []byte{method}) {
		_, _ = conn.Write([]byte{5, 0xff})
		return nil, errNoWay
	}
	_, _ = conn.Write([]byte{5, method})
	if method == 2 {
		user := string(take(int(take(2)[1])))
		password := string(take(int(take(1)[0])))
		if user != "bot" || password != p.password {
			_, _ = conn.Write([]byte{1, 1})
			return nil, errNoWay
		}
		_, _ = conn.Write([]byte{1, 0})
	}
	var host string
	switch head := take(4); head[3] {
	case 1:
		host = net.IP(take(4)).String()
	case 3:
		host = string(take(int(take(1)[0])))
	case 4:
		host = net.IP(take(16)).String()
	}
	number := take(2)
	port := strconv.Itoa(int(number[0])<<8 | int(number[1]))
	there, err := p.open(net.JoinHostPort(host, port))
	code := byte(0)
	if err != nil {
		code = 5 // refused
	}
	_, _ = conn.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
	return there, err
}

func (p *testProxy) ways() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.opened)
}

// pemOf is a certificate as files hold it.
func pemOf(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }

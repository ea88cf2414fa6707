package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	socks "golang.org/x/net/proxy"
)

// proxyTimeout is how long the proxy may take until the way to the exchange is open.
const proxyTimeout = 10 * time.Second

// maxConnectAnswer bounds what a proxy says before the way is open, in bytes.
const maxConnectAnswer = 64 << 10

const proxyUsage = "reach the exchange through the proxy at `URL`: socks5://USER:PASSWORD@HOST:PORT or http://…, which resolves the names too"

// proxyFlag is the address of a proxy. It is printed without its password.
type proxyFlag struct{ *url.URL }

func (p *proxyFlag) Type() string { return "string" }

func (p *proxyFlag) String() string {
	if p.URL == nil {
		return ""
	}
	return p.masked()
}

// Set is pflag's. What is wrong is found by parse: pflag's own errors repeat the text, password and all.
func (p *proxyFlag) Set(text string) error {
	p.URL = nil
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil { // its text repeats the address
		u = &url.URL{}
	}
	p.URL = u
	return nil
}

// check refuses what is no address of a proxy, without telling the password.
func (p *proxyFlag) check() error {
	if p.URL == nil {
		return nil
	}
	if !slices.Contains([]string{"socks5", "socks5h", "http"}, p.Scheme) || p.Hostname() == "" || p.Path != "" && p.Path != "/" {
		return refused("proxy", p.masked())
	}
	return nil
}

// masked is the address without what it could hold of a password where it is not well formed.
func (p *proxyFlag) masked() string {
	if p.Host == "" {
		return p.Scheme + "…"
	}
	return p.Redacted()
}

// dialer is what reaches everything through the proxy: names are resolved by it, for socks5 as for socks5h, so that what this
// machine's DNS says does not matter. through dials the proxy itself.
func (p *proxyFlag) dialer(through dialFunc) dialFunc {
	host := p.Host
	if p.Port() == "" {
		host = net.JoinHostPort(p.Hostname(), p.usualPort())
	}
	shown := *p.URL
	shown.Host = host
	open := p.connect
	if p.Scheme != "http" {
		open = p.socks
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
		defer cancel()
		conn, err := through(ctx, network, host)
		if err != nil {
			return nil, fmt.Errorf("cannot reach the proxy %s: %w", shown.Redacted(), cause(err))
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
		err = open(ctx, conn, addr)
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = conn.Close()
			if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("no answer within %s: %w", time.Since(began).Round(time.Second), cmp.Or(context.Cause(ctx), context.DeadlineExceeded))
			}
			return nil, fmt.Errorf("the proxy %s does not open the way to %s: %w", shown.Redacted(), addr, err)
		}
		return conn, nil
	}
}

// usualPort is where proxies are that name no port.
func (p *proxyFlag) usualPort() string {
	if p.Scheme == "http" {
		return "3128"
	}
	return "1080"
}

// dialFunc is net.Dialer's DialContext.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// DialContext makes f a dialer, which the library asks for.
func (f dialFunc) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

// Dial is asked for too, and not used.
func (f dialFunc) Dial(network, addr string) (net.Conn, error) {
	return f(context.Background(), network, addr)
}

// socks asks a SOCKS5 proxy (RFC 1928, RFC 1929) at the other end of conn to open the way to addr.
func (p *proxyFlag) socks(ctx context.Context, conn net.Conn, addr string) error {
	var auth *socks.Auth
	if p.User != nil {
		auth = &socks.Auth{User: p.User.Username()}
		auth.Password, _ = p.User.Password()
	}
	there := dialFunc(func(context.Context, string, string) (net.Conn, error) { return conn, nil })
	d, err := socks.SOCKS5("tcp", p.Host, auth, there)
	if err != nil {
		return err
	}
	_, err = d.(socks.ContextDialer).DialContext(ctx, "tcp", addr)
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if err != nil && strings.Contains(err.Error(), "no acceptable authentication methods") {
		err = fmt.Errorf("%w: user and password are missing, or it takes none such", err)
	}
	return err
}

// connect asks an HTTP proxy at the other end of conn to open the way to addr (RFC 9110, CONNECT).
func (p *proxyFlag) connect(_ context.Context, conn net.Conn, addr string) error {
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{"User-Agent": {"klined"}}}
	if p.User != nil {
		password, _ := p.User.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)))
	}
	if err := ask.Write(conn); err != nil {
		return err
	}
	// Byte by byte, so that nothing is read of what comes behind the answer.
	answer, err := http.ReadResponse(bufio.NewReaderSize(&slowly{conn, maxConnectAnswer}, 16), ask)
	if err != nil {
		if strings.Contains(err.Error(), `"\x05`) { // the version that SOCKS5 answers begin with
			err = fmt.Errorf("%w: that is a SOCKS proxy; want socks5://…", err)
		}
		return fmt.Errorf("cannot read its answer: %w", err)
	}
	switch {
	case answer.StatusCode/100 == 2: // any, and no body, whatever its fields say: what comes now is the exchange's
		return nil
	case answer.StatusCode == http.StatusProxyAuthRequired:
		err = fmt.Errorf("it answers %s: user or password are wrong, or missing", answer.Status)
	default:
		err = fmt.Errorf("it answers %s", answer.Status)
	}
	_ = answer.Body.Close()
	return err
}

// slowly reads a byte at a time, and no more than left.
type slowly struct {
	net.Conn
	left int
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.left--; s.left < 0 {
		return 0, fmt.Errorf("more than %d bytes", maxConnectAnswer)
	}
	return s.Conn.Read(p[:min(1, len(p))])
}

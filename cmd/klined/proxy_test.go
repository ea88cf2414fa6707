package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/binance"
	"klined/market"
	"klined/sim"
)

// proxyAt is the flag's value.
func proxyAt(t *testing.T, text string) *proxyFlag {
	t.Helper()
	p := new(proxyFlag)
	if err := p.Set(text); err != nil {
		t.Fatal(err)
	}
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	return p
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestProxyFlag(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"socks5://h:1080":                 "",
		"socks5h://u:secret@h":            "",
		"http://u:s%40cret@[::1]:3128/":   "",
		"h:1080":                          "want socks5://HOST:PORT or http://HOST:PORT",
		"https://u:secret@h:1":            `--proxy "https://u:xxxxx@h:1": want`,
		"socks4://h:1":                    "want socks5://",
		"socks5://u:secret@":              "want socks5://",
		"http://u:secret@h:1/path":        "want socks5://",
		"http://u:sec%ret@h:1":            "an @ in it as %40",
		"socks5:u:secret@h:1":             "want socks5://",
		"socks5://u:secret@h:not-a-port":  "want socks5://",
		"http://u:sec\x00ret@example.org": "want socks5://",
	} {
		p := new(proxyFlag)
		if err := p.Set(text); err != nil {
			t.Fatal(err)
		}
		err := p.check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") || strings.Contains(p.String(), "secret") {
			t.Errorf("%q: the password is told: %v, %s", text, err, p)
		}
	}
}

// TestProxy: what goes through a proxy, and what is said where it does not.
func TestProxy(t *testing.T) {
	exchange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	defer exchange.Close()
	const nobody = "127.0.0.1:1" // a port that no system gives to who asks for any
	direct := new(net.Dialer)
	toExchange := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return direct.DialContext(ctx, network, exchange.Listener.Addr().String())
	}
	astray := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return direct.DialContext(ctx, network, nobody)
	}
	const head = "HTTP/1.1 "
	for _, c := range []struct {
		name, url string // PROXY stands for where it is
		proxy     *testProxy
		want      string // in the error; "" where all goes through
	}{
		{"SOCKS5", "socks5://PROXY", &testProxy{dial: toExchange}, ""},
		{"SOCKS5, a user nobody asks for", "socks5h://bot:secret@PROXY", &testProxy{dial: toExchange}, ""},
		{"SOCKS5, user and password", "socks5://bot:secret@PROXY", &testProxy{dial: toExchange, password: "secret"}, ""},
		{"SOCKS5, special letters", "socks5://bot:s%40%2Fcret@PROXY", &testProxy{dial: toExchange, password: "s@/cret"}, ""},
		{"SOCKS5, a wrong password", "socks5://bot:secretly@PROXY", &testProxy{dial: toExchange, password: "secret"}, "xxxxx@PROXY does not open the way to exchange.invalid:80: username/password authentication failed"},
		{"SOCKS5, none", "socks5://PROXY", &testProxy{dial: toExchange, password: "secret"}, "no acceptable authentication methods"},
		{"SOCKS5, nobody behind it", "socks5://PROXY", &testProxy{dial: astray}, "does not open the way to exchange.invalid:80: unknown error connection refused"},
		{"CONNECT", "http://PROXY", &testProxy{dial: toExchange}, ""},
		{"CONNECT, user and password", "http://bot:secret@PROXY", &testProxy{dial: toExchange, password: "secret"}, ""},
		{"CONNECT, a wrong password", "http://bot:secretly@PROXY", &testProxy{dial: toExchange, password: "secret"}, "it answers 407 Proxy Authentication Required: user or password are wrong, or missing"},
		{"CONNECT, nobody behind it", "http://PROXY", &testProxy{dial: astray}, "does not open the way to exchange.invalid:80: it answers 502 Bad Gateway"},
		{"CONNECT, any 2xx, and a length that is to be ignored", "http://PROXY", &testProxy{dial: toExchange, opens: "201 Created\r\nContent-Length: 5"}, ""},
		{"CONNECT, nothing inside", "http://PROXY", &testProxy{dial: toExchange, opens: "204 No Content"}, ""},
		{"CONNECT, in chunks", "http://PROXY", &testProxy{dial: toExchange, opens: "200 OK\r\nTransfer-Encoding: chunked"}, ""},
		{"CONNECT, not allowed", "http://PROXY", &testProxy{answer: head + "403 Forbidden\r\n\r\n"}, "it answers 403 Forbidden"},
		{"no HTTP", "http://PROXY", &testProxy{answer: "SSH-2.0-OpenSSH_9.6\r\n\r\n"}, "cannot read its answer: malformed HTTP"},
		{"SOCKS where HTTP is meant", "http://PROXY", &testProxy{answer: "\x05\xff"}, "that is a SOCKS proxy; want socks5://"},
		{"an answer without end", "http://PROXY", &testProxy{answer: head + "200 OK\r\nX: " + strings.Repeat("x", 2*maxConnectAnswer)}, "more than 65536 bytes"},
		{"it hangs up", "http://PROXY", &testProxy{answer: head + "200 OK\r\n"}, "cannot read its answer: unexpected EOF"},
		{"nobody there", "socks5://bot:secret@" + nobody, &testProxy{}, "cannot reach the proxy socks5://bot:xxxxx@" + nobody + ": connect: connection refused"},
	} {
		l := listen(t)
		go c.proxy.serve(l)
		at := l.Addr().String()
		n := network{}.through(proxyAt(t, strings.Replace(c.url, "PROXY", at, 1)))
		for _, client := range []*http.Client{n.client(), n.download()} {
			answer, err := client.Get("http://exchange.invalid/")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), strings.Replace(c.want, "PROXY", at, 1))) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the password is told: %v", c.name, err)
			}
			if err == nil {
				_ = answer.Body.Close()
			}
			client.CloseIdleConnections()
		}
		if c.want == "" && c.proxy.ways() != "map[exchange.invalid:80:2]" {
			t.Errorf("%s: %s went through, by name", c.name, c.proxy.ways())
		}
		_ = l.Close()
	}
}

// TestSilentProxy: one that says nothing is given up.
func TestSilentProxy(t *testing.T) {
	for _, url := range []string{"socks5://silent:1", "http://silent:1"} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			defer theirs.Close()
			began := time.Now()
			dial := proxyAt(t, url).dialer(func(context.Context, string, string) (net.Conn, error) { return ours, nil })
			_, err := dial(t.Context(), "tcp", "exchange.invalid:443")
			if err == nil || !strings.Contains(err.Error(), "no answer within 10s") || time.Since(began) != proxyTimeout {
				t.Errorf("%s: after %s: %v", url, time.Since(began), err)
			}
		})
	}
}

// TestMarketThroughProxy: a server that reaches nothing but the proxy lacks nothing: REST, streams, and what is passed on.
func TestMarketThroughProxy(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	for _, scheme := range []string{"socks5", "http"} {
		synctest.Test(t, func(t *testing.T) {
			o := options(t, market.SourceAggTrade, market.OneMinute)
			o.Forward, o.Proxy = forwardPublic, *proxyAt(t, scheme+"://bot:secret@proxy:1080")
			m := &fakeMarket{t: t, net: newMemnet(), options: o}
			var err error
			if m.x, err = sim.New(sim.Options{Symbols: 2, Rate: 20, Seed: 5, Start: at(t, "2027-01-05T09:58:30Z")}); err != nil {
				t.Fatal(err)
			}
			beyond := newMemnet() // the network that only the proxy reaches
			exchange, err := beyond.Listen("tcp", "exchange:80")
			if err != nil {
				t.Fatal(err)
			}
			m.stopExchange = background(func(ctx context.Context) error { return simulate(ctx, m.x, exchange) })
			p := &testProxy{password: "secret", dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return beyond.Dial(ctx, network, "exchange:80")
			}}
			door, err := m.net.Listen("tcp", "proxy:1080")
			if err != nil {
				t.Fatal(err)
			}
			go p.serve(door)
			m.options.REST, m.options.WS, m.options.Archive = "http://rest", "ws://streams", "http://archive"
			m.startServer()
			l := m.hear("btcusdt@kline_1m", "ethusdt@bookTicker")
			time.Sleep(40 * time.Second)
			heard := l.close()
			if len(heard["btcusdt@kline_1m"]) == 0 || len(heard["ethusdt@bookTicker"]) == 0 {
				t.Errorf("heard %d and %d", len(heard["btcusdt@kline_1m"]), len(heard["ethusdt@bookTicker"]))
			}
			if status, body, _ := m.request(t, m.judge.server, "GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=5", "", ""); status != http.StatusOK {
				t.Errorf("%d %s", status, body)
			}
			p.mu.Lock()
			if p.opened["streams:80"] < 7 || p.opened["rest:80"] == 0 {
				t.Errorf("through the proxy went %v", p.opened)
			}
			p.mu.Unlock()
			m.end()
			_ = door.Close()
		})
	}
}

// TestTLS: a server whose certificate nobody trusted has signed is refused in words, through a proxy too; with SSL_CERT_FILE naming it,
// it is taken. What Go trusts it reads once: each question has a process of its own.
func TestTLS(t *testing.T) {
	if address := os.Getenv("KLINED_TEST_TLS"); address != "" {
		n := network{}.through(proxyAt(t, os.Getenv("KLINED_TEST_PROXY")))
		_, err := binance.NewREST(binance.RESTOptions{Base: address, HTTP: n.client()}).Time(t.Context())
		_, err2 := binance.NewVenue(binance.VenueOptions{URL: strings.Replace(address, "http", "ws", 1), Dial: n.Dial}).DialTrades(t.Context(), "probe", nil)
		t.Logf("REST: %v\nstreams: %v", binance.Explain(address, err), err2)
		return
	}
	exchange := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"serverTime":7}`) }))
	exchange.Config.ErrorLog = log.New(io.Discard, "", 0)
	exchange.StartTLS()
	defer exchange.Close()
	own := filepath.Join(t.TempDir(), "own.pem")
	if err := os.WriteFile(own, pemOf(exchange.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	p := &testProxy{dial: new(net.Dialer).DialContext}
	go p.serve(l)
	for _, c := range []struct{ name, proxy, cert, rest, streams string }{
		{"unknown", "", "", "SSL_CERT_FILE may name", "SSL_CERT_FILE may name"},
		{"unknown, SOCKS5", "socks5://" + l.Addr().String(), "", "SSL_CERT_FILE may name", "SSL_CERT_FILE may name"},
		{"named", "", own, "<nil>", "unexpected HTTP response status: 200"},
		{"named, CONNECT", "http://" + l.Addr().String(), own, "<nil>", "unexpected HTTP response status: 200"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTLS$", "-test.v")
		cmd.Env = append(os.Environ(), "KLINED_TEST_TLS="+exchange.URL, "KLINED_TEST_PROXY="+c.proxy, "SSL_CERT_FILE="+c.cert)
		out, err := cmd.CombinedOutput()
		rest, streams, _ := strings.Cut(string(out), "streams: ")
		if err != nil || !strings.Contains(rest, "REST: ") || !strings.Contains(rest, c.rest) || !strings.Contains(streams, c.streams) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
	if p.ways() != "map["+exchange.Listener.Addr().String()+":4]" {
		t.Errorf("through the proxies went %s", p.ways())
	}
}

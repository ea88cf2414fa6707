package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"

	"klined/market"
	"klined/sim"
)

func TestAdminFlag(t *testing.T) {
	for _, c := range []struct {
		addr string
		want string // in the error; empty where there is none
	}{
		{"", ""},
		{"127.0.0.1:6060", ""},
		{"[::1]:6060", ""},
		{"localhost:0", ""},
		{"6060", `--admin "6060": want HOST:PORT of this machine, like 127.0.0.1:6060`},
		{"127.0.0.1:http2x", `want HOST:PORT`},
		{":6060", `--admin ":6060": profiles are for this machine alone: want HOST:PORT of this machine, like 127.0.0.1:6060`},
		{"0.0.0.0:6060", "profiles are for this machine alone"},
		{"192.0.2.1:6060", "profiles are for this machine alone"},
		{"example.org:6060", "profiles are for this machine alone"},
	} {
		var o serveOptions
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		o.bind(flags)
		err := flags.Parse([]string{"--admin", c.addr})
		if err == nil {
			err = o.parse()
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("--admin %q: %v, want %q", c.addr, err, c.want)
		}
	}
}

// TestAdmin: profiles and what was built are on --admin, from the server's start on, for who is on this machine; nothing of it
// is on --listen, and a profile under way does not keep the server from stopping.
func TestAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		var bound serveOptions
		bound.bind(flags)
		if err := flags.Parse([]string{"--proxy", "socks5://me:geheim@127.0.0.1:1", "--lanes", "3"}); err != nil {
			t.Fatal(err)
		}
		o := options(t, market.SourceAggTrade, market.OneMinute)
		o.Admin, o.flags = "127.0.0.1:6060", flags
		m := startMarket(t, sim.Options{Symbols: 2, Rate: 20, Seed: 3, Start: at(t, "2027-01-05T09:58:40Z")}, o)
		defer m.end()
		const admin = "http://127.0.0.1:6060"
		for _, c := range []struct {
			path   string
			status int
			holds  string
		}{
			{"/", 200, `href="/debug/pprof/"`},
			{"/buildinfo", 200, `"version": "dev"`},
			{"/debug/pprof/", 200, "goroutine"},
			{"/debug/pprof/goroutine?debug=2", 200, "klined/feed"},
			{"/debug/pprof/heap?debug=1", 200, "heap profile"},
			{"/debug/pprof/symbol", 200, "num_symbols"},
			{"/debug/pprof/cmdline", 404, ""},
			{"/metrics", 404, ""},
			{"/fapi/v1/ping", 404, ""},
		} {
			status, body, _ := m.request(t, admin, "GET", c.path, "", "")
			if status != c.status || !strings.Contains(body, c.holds) {
				t.Errorf("%s: %d %.300s", c.path, status, body)
			}
			if c.path == "/" || c.path == "/fapi/v1/ping" || c.path == "/metrics" {
				continue
			}
			if status, body, _ := m.request(t, m.judge.server, "GET", c.path, "", ""); status != 404 {
				t.Errorf("%s is on --listen: %d %.100s", c.path, status, body)
			}
		}
		_, body, _ := m.request(t, admin, "GET", "/buildinfo", "", "")
		var info buildInfo
		if err := json.Unmarshal([]byte(body), &info); err != nil || info.Go == "" || info.Flags["lanes"] != "3" || info.Started.IsZero() || strings.Contains(body, "geheim") {
			t.Errorf("%v: %s", err, body)
		}

		cut := make(chan error, 1)
		go func() {
			answer, err := m.judge.client.Get(admin + "/debug/pprof/goroutine?seconds=200")
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			cut <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		if err := m.stopServer(); err != nil || time.Since(began) > 5*time.Second {
			t.Errorf("stopped after %s: %v", time.Since(began), err)
		}
		if err := <-cut; err == nil {
			t.Error("the profile went on to its end")
		}
	})
}

// TestAdminAndPages: no page of another site may have a browser here make the process work, whatever address it asks by.
func TestAdminAndPages(t *testing.T) {
	for _, c := range []struct {
		name, host string
		headers    []string
		status     int
	}{
		{"a program", "127.0.0.1:6060", nil, 200},
		{"a person who types the address", "localhost:6060", []string{"Sec-Fetch-Site", "none"}, 200},
		{"a link on our page", "[::1]:6060", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"our page, an older browser", "127.0.0.1:6060", []string{"Origin", "http://127.0.0.1:6060"}, 200},
		{"a page that took the address for its own", "rebound.example:6060", nil, 403},
		{"a picture on another site's page", "127.0.0.1:6060", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"a page of another port", "127.0.0.1:6060", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"a script of another site's page, an older browser", "127.0.0.1:6060", []string{"Origin", "http://evil.example"}, 403},
	} {
		r := httptest.NewRequest("GET", "http://"+c.host+"/buildinfo", nil)
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		w := httptest.NewRecorder()
		onlyLocal(adminHandler(nil, time.Now())).ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.status)
		}
	}
}

// TestAdminTaken: a port that is taken is named before anything else is done.
func TestAdminTaken(t *testing.T) {
	o := options(t, market.SourceAggTrade)
	o.Admin = "127.0.0.1:6061"
	n := network{Listen: func(network, addr string) (net.Listener, error) {
		if addr == o.Admin {
			return nil, &net.OpError{Op: "listen", Err: io.ErrClosedPipe}
		}
		return net.Listen(network, addr)
	}}
	err := runServe(context.Background(), o, n, slog.New(slog.DiscardHandler), func(net.Addr) {})
	if err == nil || err.Error() != "cannot listen on 127.0.0.1:6061: "+io.ErrClosedPipe.Error() {
		t.Errorf("%v", err)
	}
}

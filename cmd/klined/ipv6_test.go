package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
	"klined/sim"
)

// TestIPv6: exchange, server and clients on IPv6 alone; and a server on all addresses is reached by both kinds.
func TestIPv6(t *testing.T) {
	if raced {
		t.Skip("over real sockets; it takes as long as a server takes to start")
	}
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	x, err := sim.New(sim.Options{Symbols: 2, Rate: 20, Seed: 5, Start: market.TimeOf(time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	stopExchange := background(func(ctx context.Context) error { return simulate(ctx, x, l) })
	for listen, by := range map[string][]string{"[::1]:0": {"::1"}, "[::]:0": {"::1", "127.0.0.1"}} {
		o := options(t, market.SourceAggTrade, market.OneMinute)
		exchange := l.Addr().String()
		o.Listen, o.REST, o.WS, o.Archive, o.Forward = listen, "http://"+exchange, "ws://"+exchange, "http://"+exchange, forwardPublic
		listening := make(chan net.Addr, 1)
		stopServer := background(func(ctx context.Context) error {
			err := runServe(ctx, o, network{}, slog.New(slog.DiscardHandler), func(a net.Addr) { listening <- a })
			if err != nil {
				close(listening)
			}
			return err
		})
		addr, ok := <-listening
		if !ok {
			t.Fatal(stopServer())
		}
		_, port, _ := net.SplitHostPort(addr.String())
		for _, host := range by {
			at := net.JoinHostPort(host, port)
			client := network{}.client()
			resp, err := client.Get("http://" + at + "/fapi/v1/depth?symbol=BTCUSDT&limit=5")
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			client.CloseIdleConnections()
			if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"bids"`) {
				t.Errorf("%s: %d %s", at, resp.StatusCode, body)
			}
			conn, _, _, err := ws.Dial(t.Context(), "ws://"+at+"/ws/btcusdt@aggTrade")
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if frame, err := ws.ReadFrame(conn); err != nil || !strings.Contains(string(frame.Payload), `"aggTrade"`) {
				t.Errorf("%s: %q, %v", at, frame.Payload, err)
			}
			_ = conn.Close()
		}
		if err := stopServer(); err != nil {
			t.Error(err)
		}
	}
	if err := stopExchange(); err != nil {
		t.Error(err)
	}
}

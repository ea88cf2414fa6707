package binance

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"klined/market"
)

// TestForwardOnce: an order whose answer is lost with its connection is not sent again, whatever the client says of it.
func TestForwardOnce(t *testing.T) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		synctest.Test(t, func(t *testing.T) {
			orders := 0
			transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer theirs.Close()
					in := bufio.NewReader(theirs)
					for {
						q, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						if q.Method == http.MethodPost {
							if orders++; orders == 1 {
								return // carried out
							}
						}
						_, _ = io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
					}
				}()
				return ours, nil
			}}
			defer transport.CloseIdleConnections()
			r := NewREST(RESTOptions{Base: "http://exchange", HTTP: &http.Client{Transport: transport}})
			if _, err := pass(t, r, true, httptest.NewRequest("GET", "/fapi/v1/ping", nil)); err != nil {
				t.Fatal(err) // the order finds a connection that was used
			}
			synctest.Wait()
			order := httptest.NewRequest("POST", "/fapi/v1/order?signature=s", nil)
			order.Header.Set(name, "1")
			if _, err := pass(t, r, true, order); !errors.Is(err, market.ErrOutcomeUnknown) {
				t.Error(err)
			}
			synctest.Wait()
			if orders != 1 {
				t.Errorf("%s: the exchange got %d orders", name, orders)
			}
		})
	}
}

package binance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestDials: all connections of a process together are dialled less often than the exchange allows, whoever dials; who
// waits is told, and waits no longer than its context.
func TestDials(t *testing.T) {
	const most, within = 300, 5 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var mu sync.Mutex
		var at []time.Time
		refused := errors.New("refused")
		v := NewVenue(VenueOptions{Symbols: registry(), Log: textLog(&log), Dial: func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			return nil, refused
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var dialling sync.WaitGroup
		for n := range 40 { // an outage, and everybody tries again at once
			dialling.Go(func() {
				for ctx.Err() == nil {
					var err error
					if n%2 == 0 {
						_, err = v.DialTrades(ctx, fmt.Sprintf("trades-%d", n), []market.SymbolID{0})
					} else {
						_, err = v.dialRelay(ctx, fmt.Sprintf("relay-%d", n), marketPath, func(_, _ []byte) {})
					}
					if err == nil || ctx.Err() == nil && !errors.Is(err, refused) {
						t.Errorf("%v", err)
					}
				}
			})
		}
		time.Sleep(time.Hour)
		cancel()
		began := time.Now()
		dialling.Wait()
		if took := time.Since(began); took > 0 {
			t.Errorf("who waited went on waiting for %s", took)
		}
		for i := range at[:len(at)-most*4/5] {
			if took := at[i+most*4/5].Sub(at[i]); took < within {
				t.Fatalf("dials %d to %d took %s", i, i+most*4/5, took)
			}
		}
		if n := len(at); n < 120+60*60*2/5 {
			t.Errorf("%d dials in an hour", n)
		}
		if first := at[dialBurst-1].Sub(at[0]); first > 0 {
			t.Errorf("the first %d took %s", dialBurst, first)
		}
		if want := `level=WARN msg="too many connections have been dialled: waiting for the next turn" target=feed conn=trades-`; !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	})
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/market"
)

// lateLive is a lane that has a minute running until it closes at a time: who asks waits for it, for 2.5 s.
type lateLive struct {
	*fakeLive
	closes time.Time
	minute market.Time // that closes
}

func (l *lateLive) Tail(ctx context.Context, dst []market.Kline, _ market.Series, _ market.Time) ([]market.Kline, error) {
	select {
	case <-time.After(min(time.Until(l.closes), 2500*time.Millisecond)):
	case <-ctx.Done():
		return dst, ctx.Err()
	}
	if time.Now().Before(l.closes) {
		return append(dst, kline(l.minute, "1", market.StateOpen)), nil
	}
	return append(dst, kline(l.minute, "2", market.StateClosed), kline(l.minute+market.Minute, "3", market.StateOpen)), nil
}

// What the exchange may answer besides failing: the minute alone, which is open there, too, or nothing.
var errOpen, errNothing = errors.New("open"), errors.New("nothing")

// TestLateClose: who asks at a boundary gets the closed kline, be it the lane's or the exchange's, or is refused, soon enough to
// learn of it; never is a kline that is over and may lack trades passed off as it.
func TestLateClose(t *testing.T) {
	const ours, theirs = "settled=0,closed=1,open=1,gap=0", "settled=1,closed=0,open=1,gap=0"
	never := errDown
	for _, c := range []struct {
		name   string
		closes time.Duration // after the boundary; 0: never
		takes  time.Duration // the exchange's answer
		fails  error
		query  string // beside limit=2
		status int
		state  string
		after  time.Duration
		asked  int
	}{
		{"in time", 300 * time.Millisecond, 0, never, "", 200, ours, 300 * time.Millisecond, 0},
		{"too late, the exchange answers", 0, 200 * time.Millisecond, nil, "", 200, theirs, 2700 * time.Millisecond, 1},
		{"too late, what is over is asked for alone", 0, 200 * time.Millisecond, nil, "&endTime=946684799999", 200, "settled=2,closed=0,open=0,gap=0", 2700 * time.Millisecond, 1},
		{"too late, the exchange fails at once", 3 * time.Second, 0, never, "", 200, ours, 3 * time.Second, 1},
		{"too late, the exchange fails later", 3 * time.Second, 2 * time.Second, never, "", 200, ours, 4500 * time.Millisecond, 1},
		{"too late, the exchange does not answer", 5 * time.Second, time.Hour, never, "", 200, ours, 8 * time.Second, 1},
		{"a moment after the exchange was given up", 8500 * time.Millisecond, time.Hour, never, "", 200, ours, 8500 * time.Millisecond, 1},
		{"never, and the exchange fails", 0, 0, never, "", 503, "", 3500 * time.Millisecond, 1},
		{"never, and the exchange does not answer", 0, time.Hour, never, "", 503, "", 9 * time.Second, 1},
		{"never, and the exchange has nothing", 0, 0, errNothing, "", 503, "", 3500 * time.Millisecond, 1},
		{"never, nor at the exchange: as it answers", 0, 0, errOpen, "", 200, "settled=0,closed=0,open=1,gap=0", 2500 * time.Millisecond, 1},
		{"never, and the exchange may not be asked", 0, 0, &market.BudgetError{RetryAfter: 7 * time.Second}, "", 429, "", 3500 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boundary := stdClock{}.Now()
				live := &lateLive{minute: boundary - market.Minute, closes: time.Now().Add(c.closes)}
				if c.closes == 0 {
					live.closes = live.closes.Add(24 * time.Hour)
				}
				asked := 0
				w := newWorld(t, stdClock{}, func(o *Options) {
					live.fakeLive = o.Live.(*fakeLive)
					o.Live = live
					o.Upstream = func(ctx context.Context, _ string, _ market.Series, span market.Span, _ int) (rows []market.Kline, _ error) {
						asked++
						select {
						case <-time.After(c.takes):
						case <-ctx.Done():
							return nil, ctx.Err()
						}
						switch c.fails {
						case nil, errOpen:
						case errNothing:
							return nil, nil
						default:
							return nil, c.fails
						}
						if c.fails == errOpen {
							return []market.Kline{kline(span.From, "9", market.StateOpen)}, nil
						}
						for open := span.From; open < span.To; open += market.Minute {
							state := market.StateSettled
							if open == boundary {
								state = market.StateOpen
							}
							rows = append(rows, kline(open, "9", state))
						}
						return rows, nil
					}
				})
				w.store.rows[minutes(btc)] = run(market.OneMinute, boundary-5*market.Minute, boundary-market.Minute, market.StateSettled)
				w.store.known[minutes(btc)] = []market.Span{{From: 0, To: boundary - market.Minute}}
				w.firsts.set(minutes(btc), 0)
				rec := httptest.NewRecorder()
				w.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2"+c.query, nil))
				got := fmt.Sprintf("%d %s after %s", rec.Code, rec.Header().Get("X-Klined-State"), stdClock{}.Now().Sub(boundary))
				if want := fmt.Sprintf("%d %s after %s", c.status, c.state, c.after); got != want || asked != c.asked {
					t.Errorf("%s, asked %d times, want %s, %d times", got, asked, want, c.asked)
				}
				if n := testutil.ToFloat64(w.opt.Metrics.Refused.WithLabelValues(fmt.Sprint(c.status))); (n == 1) != (c.status != 200) {
					t.Errorf("klined_refused_total counts %v of status %d", n, c.status)
				}
			})
		})
	}
}

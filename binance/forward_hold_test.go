package binance

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestForwardRefused: each refusal of the exchange keeps those back whom it concerns, and nobody else.
func TestForwardRefused(t *testing.T) {
	const orders = `{"code":-1015,"msg":"Too many new orders; current limit is 300 orders per 10 SECOND."}`
	const weight = `{"code":-1003,"msg":"Too many requests."}`
	for _, c := range []struct {
		path, body string
		status     int
		private    bool
		ours       bool          // klined's own questions go on
		again      time.Duration // until another question for the path is taken; 0 is at once
	}{
		{"/fapi/v1/order", orders, 429, true, true, 0},
		{"/fapi/v1/order", weight, 429, true, false, 9 * time.Second},
		{"/fapi/v1/depth", weight, 429, false, false, 9 * time.Second},
		{"/fapi/v1/depth", "<html>", 429, false, false, 9 * time.Second},
		{"/fapi/v1/fundingRate", weight, 429, false, true, 9 * time.Second},
		{"/futures/data/basis", "[]", 429, true, true, 9 * time.Second},
		{"/futures/data/basis", weight, 418, false, false, 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			status := c.status
			r := newTestREST(func(*http.Request) (int, map[string]string, string) {
				return status, map[string]string{"Retry-After": "9"}, c.body
			})
			f, err := r.Forwarder()
			if err != nil {
				t.Fatal(err)
			}
			rec := httptest.NewRecorder()
			err = f.Pass(rec, httptest.NewRequest("GET", c.path, nil), c.private)
			var budget *market.BudgetError
			if c.private && (err != nil || rec.Code != c.status || rec.Body.String() != c.body) || !c.private && !errors.As(err, &budget) {
				t.Errorf("%+v: %d %s, %v", c, rec.Code, rec.Body, err)
			}
			if err := r.budget.take(0); (err == nil) != c.ours {
				t.Errorf("%+v: ours: %v", c, err)
			}
			status = 200
			ask := func() bool {
				return f.Pass(httptest.NewRecorder(), httptest.NewRequest("GET", c.path, nil), false) == nil
			}
			if c.again > 0 {
				if ask() {
					t.Errorf("%+v: asked at once", c)
				}
				time.Sleep(c.again + time.Second)
			}
			if !ask() {
				t.Errorf("%+v: still refused", c)
			}
		})
	}
}

// TestForwardBelieved: what answers for prices say of the weight is not taken in.
func TestForwardBelieved(t *testing.T) {
	for path, want := range map[string]int{"/fapi/v2/ticker/price": 2, "/fapi/v1/ticker/bookTicker": 5, "/fapi/v1/ticker/24hr": 60} {
		synctest.Test(t, func(t *testing.T) {
			r := newTestREST(func(*http.Request) (int, map[string]string, string) {
				return 200, map[string]string{"X-MBX-USED-WEIGHT-1M": "60"}, "[]"
			})
			if _, err := pass(t, r, false, httptest.NewRequest("GET", path, nil)); err != nil {
				t.Error(err)
			}
			if used := r.budget.Used(); used != want {
				t.Errorf("%s: %d used, want %d", path, used, want)
			}
			if _, err := r.Prices(t.Context(), market.ClassClients); err != nil {
				t.Error(err)
			}
			if used := r.budget.Used(); used != want+pricesWeight {
				t.Errorf("%s: %d used, want the weight of our own question more than %d", path, used, want)
			}
		})
	}
}

// slowReader takes nothing before its deadline has passed.
type slowReader struct {
	*httptest.ResponseRecorder
	over chan struct{}
}

func (s *slowReader) Write([]byte) (int, error) {
	<-s.over
	return 0, os.ErrDeadlineExceeded
}

func (s *slowReader) SetWriteDeadline(by time.Time) error {
	time.AfterFunc(time.Until(by), func() { close(s.over) })
	return nil
}

// sized says how long answers are: net/http has a goroutine flush others, which waits for a lock that this test's writer holds.
type sized struct{ http.RoundTripper }

func (s sized) RoundTrip(q *http.Request) (*http.Response, error) {
	answer, err := s.RoundTripper.RoundTrip(q)
	answer.ContentLength = int64(len("[]"))
	return answer, err
}

// TestForwardSlowReader: who does not read what was answered holds no weight, and holds its place for a time alone.
func TestForwardSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := says("[]")
		r.o.HTTP.Transport = sized{r.o.HTTP.Transport}
		f, err := r.Forwarder()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var passing sync.WaitGroup
		passing.Go(func() {
			defer func() { _ = recover() }() // net/http's own, where an answer cannot be copied
			_ = f.Pass(&slowReader{httptest.NewRecorder(), make(chan struct{})}, httptest.NewRequest("GET", "/fapi/v1/ticker/24hr", nil), false)
		})
		synctest.Wait()
		f.rest.budget.mu.Lock()
		inFlight := f.rest.budget.inFlight
		f.rest.budget.mu.Unlock()
		if inFlight != 0 {
			t.Errorf("weight %d in flight", inFlight)
		}
		passing.Wait()
		if took := time.Since(began); took != forwardTimeout {
			t.Errorf("it held its place for %s", took)
		}
	})
}

// TestForwardAllowanceKept: what the budget refuses has not used up an allowance.
func TestForwardAllowanceKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := says("[]")
		f, err := r.Forwarder()
		if err != nil {
			t.Fatal(err)
		}
		ask := func() error {
			return f.Pass(httptest.NewRecorder(), httptest.NewRequest("GET", "/fapi/v1/fundingRate", nil), false)
		}
		r.budget.block(10*time.Second, "the exchange refuses")
		for range 2 * allowancesOf[allowanceFunding] {
			if ask() == nil {
				t.Fatal("asked while the exchange refuses")
			}
		}
		time.Sleep(11 * time.Second)
		if err := ask(); err != nil {
			t.Error(err)
		}
	})
}

// TestForwardTooHeavy: a question that no minute has the weight for is refused as one, not put off.
func TestForwardTooHeavy(t *testing.T) {
	_, err := pass(t, says("[]"), false, httptest.NewRequest("GET", "/fapi/v1/historicalTrades?symbol=BTCUSDT", nil))
	var heavy *market.TooHeavyError
	if !errors.As(err, &heavy) || *heavy != (market.TooHeavyError{Weight: 200, Limit: 90}) {
		t.Error(err)
	}
}

package binance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"klined/market"
)

// TestRESTDoesNotHammer: twenty ask at once and the exchange refuses for the rest of the minute, and the first of the
// next one too. Nothing leaves while it does; then one request goes, and the others when it has been answered, as far
// as the budget reaches.
func TestRESTDoesNotHammer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 100 * time.Millisecond
		began := time.Now()
		left := map[string]int{} // requests by the second in which they left
		var mu sync.Mutex
		r := newTestREST(nil)
		lines := new(bytes.Buffer)
		r.log = textLog(lines)
		r.o.HTTP.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			at := time.Since(began)
			mu.Lock()
			left[at.Truncate(latency).String()]++
			mu.Unlock()
			time.Sleep(latency)
			answer := &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`[]`))}
			if at < 61*time.Second {
				answer.StatusCode, answer.Body = 429, io.NopCloser(strings.NewReader(`{"code":-1003,"msg":"Too many requests"}`))
			}
			return answer, nil
		})
		var done sync.WaitGroup
		for range 20 {
			done.Go(func() {
				if _, err := r.Klines(t.Context(), market.ClassStart, minute, market.Span{}, 1500); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		want := map[string]int{"0s": 9, "1m0s": 1, "2m0s": 1, "2m0.1s": 8, "3m0s": 9, "4m0s": 2}
		if diff := cmp.Diff(want, left); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(lines.String(), "the exchange refuses requests"); n != 2 {
			t.Errorf("logged %d times, want once for each wait:\n%s", n, lines)
		}
	})
}

// TestRESTWaitIsBounded: no answer, however broken, ends the asking for good, or lets it go on.
func TestRESTWaitIsBounded(t *testing.T) {
	date := ""
	f := func(name string, status int, retryAfter string, body io.Reader, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := newTestREST(nil)
			r.o.HTTP.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}, "Date": {date}}, Body: io.NopCloser(body)}, nil
			})
			var refusal *market.BudgetError
			for range 2 {
				if _, err := r.Klines(t.Context(), market.ClassClients, minute, market.Span{}, 1); !errors.As(err, &refusal) || refusal.RetryAfter != want {
					t.Errorf("%s: %v", name, err)
				}
				if room := r.budget.Room(market.ClassHeal); room != 0 {
					t.Errorf("%s: room for %d", name, room)
				}
			}
		})
	}
	ban := func(until string) io.Reader {
		return strings.NewReader(fmt.Sprintf(`{"code":-1003,"msg":"Way too many requests; IP banned until %s."}`, until))
	}
	f("banned for ever", 418, "", ban("9223372036854775807"), longestBlock)
	f("banned beyond all numbers", 418, "", ban("92233720368547758070"), time.Minute)
	f("a year of patience", 429, "31536000", ban("x"), longestBlock)
	f("no patience", 429, "0", ban("x"), time.Minute)
	f("a body that breaks off", 429, "9", io.MultiReader(strings.NewReader(`{"co`), broken{}), 9*time.Second)
	f("no body", 418, "", strings.NewReader(""), time.Minute)
	date = "Tue, 05 Jan 2027 09:58:42 GMT" // our clock has the year 2000
	f("the answer has its own time", 418, "5", ban("1799143143000"), 21*time.Second)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestRESTTooOld: what lies too far back is told apart from other refusals.
func TestRESTTooOld(t *testing.T) {
	f := func(body string, want bool) {
		t.Helper()
		r := newTestREST(func(*http.Request) (int, map[string]string, string) { return 400, nil, body })
		_, err := r.AggTrades(t.Context(), market.ClassHeal, 0, 5, 1000)
		var refusal *APIError
		if errors.Is(err, ErrTooOld) != want || !errors.As(err, &refusal) || !strings.Contains(err.Error(), "fromId=5") {
			t.Errorf("%s: %v", body, err)
		}
	}
	f(`{"code":-4166,"msg":"Search window is restricted to recent 2 days only."}`, true)
	f(`{"code":-1121,"msg":"Invalid symbol."}`, false)
	f(`<html>-4166</html>`, false)
}

func TestRESTUsedWeight(t *testing.T) {
	for header, want := range map[string]int{"": 0, "17": 17, "-5": 0, "x": 0, "99999999999999999999": 0} {
		answer := &http.Response{Header: http.Header{}}
		answer.Header.Set("x-mbx-used-weight-1m", header)
		if got := usedWeight(answer, "klines"); got != want {
			t.Errorf("%q: %d, want %d", header, got, want)
		}
	}
}

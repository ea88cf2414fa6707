package sim

import (
	"fmt"
	"testing"
	"time"

	"klined/market"
)

const (
	klinesPath = "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=2"
	tooManyMsg = `{"code":-1003,"msg":"Too many requests; current limit is 2400 requests per minute. ` +
		`Please use the websocket for live updates to avoid polling the API."}`
)

// inject makes a fault happen as a user would.
func (v *visitor) inject(fault string) {
	v.t.Helper()
	status, body := v.post("/sim/faults", fault)
	same(v.t, fault+" "+body, status, 200)
}

// ask answers a GET in short: its status, and the headers and body that matter.
func (v *visitor) ask(path string) string {
	v.t.Helper()
	status, head, body := v.get(path)
	if status == 200 {
		return "200"
	}
	return fmt.Sprint(status, " ", head.Get("Content-Type"), " retry ", head.Get("Retry-After"), " weight ", head.Get("X-Mbx-Used-Weight-1m"), " ", body)
}

func TestREST429(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		refused := func(retry, weight int) string {
			return fmt.Sprint("429 application/json retry ", retry, " weight ", weight, " ", tooManyMsg)
		}
		untilMinute(e)
		time.Sleep(20 * time.Second)
		v.inject(`{"kind":"rest_429","seconds":30}`)
		same(t, "at once", v.ask(klinesPath), refused(30, 1))
		time.Sleep(10500 * time.Millisecond)
		same(t, "rounded up", v.ask("/fapi/v1/ping"), refused(20, 2))
		time.Sleep(19499 * time.Millisecond)
		same(t, "a millisecond before its end", v.ask("/fapi/v1/aggTrades?symbol=BTCUSDT"), refused(1, 22))
		same(t, "outside of it", v.ask("/sim/truth?symbol=BTCUSDT&interval=1m"), "200")
		time.Sleep(time.Millisecond)
		same(t, "at its end", v.ask(klinesPath), "200")

		v.inject(`{"kind":"rest_429","seconds":100,"path":"klines"}`)
		same(t, "until the minute's end", v.ask(klinesPath), refused(10, 24))
		same(t, "another path", v.ask("/fapi/v1/ping"), "200")
		untilMinute(e)
		same(t, "the next minute", v.ask(klinesPath), refused(60, 1))
		time.Sleep(time.Minute)
		same(t, "the last minute", v.ask(klinesPath), refused(30, 1))
		time.Sleep(30 * time.Second)
		same(t, "at its end", v.ask(klinesPath), "200")
	})
}

func TestREST418(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		refused := func(retry int, until market.Time) string {
			return fmt.Sprint("418 application/json retry ", retry, " weight 1 ", fmt.Sprintf(`{"code":-1003,"msg":"Way too many requests; `+
				`IP(10.0.0.1) banned until %d. Please use the websocket for live updates to avoid bans."}`, until))
		}
		untilMinute(e)
		v.inject(`{"kind":"rest_418","seconds":150.5}`)
		until := e.Now() + 150_500
		same(t, "at once", v.ask("/fapi/v1/ping"), refused(151, until))
		time.Sleep(2 * time.Minute)
		same(t, "later", v.ask(klinesPath), refused(31, until))
		v.inject(`{"kind":"clock_skew","ms":-60000}`)
		same(t, "by a clock that was stepped", v.ask(klinesPath), refused(31, until-60_000))
		time.Sleep(30500 * time.Millisecond)
		same(t, "at its end", v.ask("/fapi/v1/ping"), "200")
	})
}

func TestREST500(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		const page = "500 text/html retry  weight  " + gatewayPage
		internal := func(weight int) string {
			return fmt.Sprint("503 application/json retry  weight ", weight,
				` {"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}`)
		}
		untilMinute(e)
		v.inject(`{"kind":"rest_500","seconds":10,"path":"/fapi/v1/"}`)
		same(t, "first", v.ask(klinesPath), page)
		same(t, "second", v.ask(klinesPath), internal(2))
		same(t, "third", v.ask("/fapi/v1/exchangeInfo"), page)
		same(t, "fourth", v.ask("/fapi/v1/exchangeInfo"), internal(4))
		same(t, "another path", v.ask("/fapi/v2/ticker/price"), "200")
		time.Sleep(10 * time.Second)
		same(t, "at its end", v.ask(klinesPath), "200")
	})
}

func TestRESTSlow(t *testing.T) {
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		takes := func(path, want string) time.Duration {
			begin := time.Now()
			same(t, path, v.ask(path)[:3], want)
			return time.Since(begin)
		}
		same(t, "before", takes(klinesPath, "200"), 0)
		v.inject(`{"kind":"rest_slow","seconds":100}`)
		v.inject(`{"kind":"rest_slow","seconds":20,"delay":12.5,"path":"klines"}`)
		same(t, "by default", takes("/fapi/v1/ping", "200"), 5*time.Second)
		same(t, "the slower one counts", takes(klinesPath, "200"), 12500*time.Millisecond)
		same(t, "control", takes("/sim/status", "200"), 0)
		v.inject(`{"kind":"rest_429","seconds":3}`)
		same(t, "a refusal", takes("/fapi/v1/ping", "429"), 5*time.Second)
		same(t, "the slower one is over", takes(klinesPath, "200"), 5*time.Second)
		v.inject(`{"kind":"clear"}`)
		same(t, "after", takes(klinesPath, "200"), 0)
	})
}

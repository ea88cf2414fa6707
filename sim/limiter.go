package sim

import (
	"fmt"
	"sync"
	"time"

	"klined/market"
)

// Limits of REST, for each address.
const (
	weightPerMinute = 2400
	refusalsToBan   = 20 // requests refused with 429 in one minute, after which the address is banned
	banFor          = 2 * market.Minute
)

// Connections that each address may try to open. The exchange documents that for its spot markets alone; whoever keeps to it there
// is safe on its futures.
const (
	handshakes     = 300
	handshakesEach = 5 * time.Minute
)

// limiter counts the weight that each address uses in a minute of the clock, and the connections that it tries to open.
type limiter struct {
	mu    sync.Mutex
	uses  map[string]*usage
	opens map[string]*opened
}

// opened is when an address tried to open its last connections: a ring.
type opened struct {
	at  [handshakes]time.Time
	num int // of all
}

// usage is one address's.
type usage struct {
	minute  market.Time
	weight  int
	refused int
	banned  market.Time // until when
}

func newLimiter() *limiter {
	return &limiter{uses: make(map[string]*usage), opens: make(map[string]*opened)}
}

// open counts an attempt to open a connection, and says after how long there would be room for it; 0 where there is.
func (l *limiter) open(ip string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.opens[ip]
	if o == nil {
		o = &opened{}
		l.opens[ip] = o
	}
	oldest := &o.at[o.num%handshakes]
	if o.num >= handshakes {
		wait = max(0, oldest.Add(handshakesEach).Sub(now))
	}
	*oldest = now
	o.num++
	return wait
}

// charge counts a request and says how much its address has used in this minute, and why the request is refused, if
// it is. Requests that are refused cost what they would have cost.
func (l *limiter) charge(ip string, weight int, now market.Time) (used int, refused *apiError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.of(ip, now)
	if now < u.banned {
		return u.weight, ban(ip, u.banned, now)
	}
	if u.weight += weight; u.weight <= weightPerMinute {
		return u.weight, nil
	}
	if u.refused++; u.refused > refusalsToBan {
		u.banned = now + banFor
		return u.weight, ban(ip, u.banned, now)
	}
	return u.weight, tooMany(u.minute + market.Minute - now)
}

// of is the usage of an address in the running minute.
func (l *limiter) of(ip string, now market.Time) *usage {
	minute := oneMinute.open(now)
	u := l.uses[ip]
	if u == nil {
		u = &usage{minute: minute}
		l.uses[ip] = u
	}
	if u.minute != minute {
		u.minute, u.weight, u.refused = minute, 0, 0
	}
	return u
}

func tooMany(wait market.Time) *apiError {
	return &apiError{status: 429, code: -1003, retry: seconds(wait), msg: fmt.Sprintf(
		"Too many requests; current limit is %d requests per minute. Please use the websocket for live updates to avoid polling the API.",
		weightPerMinute)}
}

func ban(ip string, until, now market.Time) *apiError {
	return &apiError{status: 418, code: -1003, retry: seconds(until - now), msg: fmt.Sprintf(
		"Way too many requests; IP(%s) banned until %d. Please use the websocket for live updates to avoid bans.", ip, until)}
}

// seconds rounds up, to 1 at least: after so many, the time has passed.
func seconds(t market.Time) int { return max(1, int((t+market.Second-1)/market.Second)) }

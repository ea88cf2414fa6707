package serve

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"klined/market"
)

// maxAddresses bounds how many addresses are told apart within a minute.
const maxAddresses = 1 << 16

// weights counts what each address has asked for in the running UTC minute, as the exchange does.
type weights struct {
	clock interface{ Now() market.Time }

	mu     sync.Mutex
	minute market.Time // when the counts began
	used   map[netip.Addr]int
}

// add counts weight for addr and returns what addr has used this minute.
func (w *weights) add(addr netip.Addr, weight int) int {
	minute := market.OneMinute.Open(w.clock.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.used == nil || minute != w.minute {
		w.minute, w.used = minute, make(map[netip.Addr]int)
	}
	used, known := w.used[addr]
	if !known && len(w.used) >= maxAddresses {
		return weight
	}
	w.used[addr] = used + weight
	return used + weight
}

// klinesWeight is what the exchange counts for a klines request; limit 0 stands for none sent
// (measured 2026-10-07; refused requests cost as much).
func klinesWeight(limit int) int {
	switch {
	case limit <= 0:
		return 5
	case limit <= 100:
		return 1
	case limit <= 500:
		return 2
	case limit <= 1000:
		return 5
	}
	return 10
}

// Bounds on what one address may have under way upstream.
const (
	fetchesAtOnce  = 4
	fetchesWaiting = 256
)

// slots lets each address have a few fetches under way; further ones wait their turn.
type slots struct {
	mu   sync.Mutex
	held map[netip.Addr]*slot
}

type slot struct {
	turns chan struct{} // holds one value per fetch under way
	users int           // under way and waiting; guarded by slots.mu
}

// acquire waits for a turn of addr; release must be called once after it.
func (s *slots) acquire(ctx context.Context, addr netip.Addr) (release func(), err error) {
	s.mu.Lock()
	sl := s.held[addr]
	if sl == nil {
		if s.held == nil {
			s.held = make(map[netip.Addr]*slot)
		}
		sl = &slot{turns: make(chan struct{}, fetchesAtOnce)}
		s.held[addr] = sl
	}
	if sl.users >= fetchesWaiting {
		s.mu.Unlock()
		return nil, &market.BudgetError{RetryAfter: time.Second, Reason: "too many requests of this address wait for the exchange"}
	}
	sl.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sl.users--; sl.users == 0 {
			delete(s.held, addr)
		}
	}
	select {
	case sl.turns <- struct{}{}:
		return func() { <-sl.turns; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// address is where a request comes from; invalid where that cannot be told (an in-memory connection).
func address(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

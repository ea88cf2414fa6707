package serve

import (
	"net/http"
	"net/netip"
	"sync"

	"klined/market"
)

// maxAddresses bounds how many addresses are told apart within a minute; all further ones share a count.
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
	w.mu.Lock()
	defer w.mu.Unlock()
	addr = w.placeLocked(addr)
	w.used[addr] += weight
	return w.used[addr]
}

// of is what addr has used this minute.
func (w *weights) of(addr netip.Addr) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used[w.placeLocked(addr)]
}

// placeLocked is where addr is counted.
func (w *weights) placeLocked(addr netip.Addr) netip.Addr {
	if minute := market.OneMinute.Open(w.clock.Now()); w.used == nil || minute != w.minute {
		w.minute, w.used = minute, make(map[netip.Addr]int)
	}
	addr = network(addr)
	if _, known := w.used[addr]; !known && len(w.used) >= maxAddresses {
		return netip.Addr{}
	}
	return addr
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

// address is where a request comes from; invalid where that cannot be told (an in-memory connection).
func address(r *http.Request) netip.Addr {
	addr, _ := boundedFrom(r.RemoteAddr)
	return addr
}

// whose tells who asks apart from others who wait for the exchange: an address, or a connection from this machine, where
// many clients are behind one address.
func whose(r *http.Request) string {
	if addr, elsewhere := boundedFrom(r.RemoteAddr); elsewhere {
		return addr.String()
	}
	return r.RemoteAddr
}

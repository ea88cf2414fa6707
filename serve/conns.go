package serve

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Bounds of connections. Those of one address do not hold for this machine's, which many clients share.
const (
	maxConns          = 16_384 // that are no WebSockets yet, of all
	maxConnsOfOne     = 1024   // of one address
	maxWebSocketOfOne = 1024   // of one address; not for who showed the token
)

// conns counts the connections that an http.Server holds itself, from its hook; one too many is closed before anything of it is
// read. What has become a WebSocket is the hub's.
type conns struct {
	most int
	from crowd

	mu  sync.Mutex
	all map[net.Conn]string // who each is counted for
}

// changed is the server's ConnState. One that it closes is told as closed, too, and is not counted.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if !c.opened(conn) {
			_ = conn.Close()
		}
	case http.StateHijacked, http.StateClosed:
		c.gone(conn)
	}
}

// opened counts conn; false where it is one too many.
func (c *conns) opened(conn net.Conn) bool {
	who := countedFor(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) >= c.most || who != "" && !c.from.enter(who, maxConnsOfOne) {
		return false
	}
	c.all[conn] = who
	return true
}

func (c *conns) gone(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if who, counted := c.all[conn]; counted {
		delete(c.all, conn)
		if who != "" {
			c.from.leave(who)
		}
	}
}

// countedFor is for whom what comes from host:port is counted; "" where no bound of an address holds.
func countedFor(hostport string) string {
	addr, bounded := boundedFrom(hostport)
	if !bounded {
		return ""
	}
	return network(addr).String()
}

// boundedFrom is the address of host:port, and whether the bounds of one address hold for it: not for this machine's own, and not for
// what is none, whose address is invalid.
func boundedFrom(hostport string) (addr netip.Addr, bounded bool) {
	at, err := netip.ParseAddrPort(hostport)
	addr = at.Addr().Unmap()
	return addr, err == nil && !addr.IsLoopback()
}

// network is what is told apart as one address. Of IPv6 it is 64 bits, within which a machine gives itself addresses as it likes.
func network(addr netip.Addr) netip.Addr {
	if !addr.Is6() || addr.IsLoopback() {
		return addr
	}
	first, _ := addr.WithZone("").Prefix(64) // an IPv6 address has one
	return first.Addr()
}

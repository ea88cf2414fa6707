package history

import (
	"slices"
	"time"

	"klined/market"
)

// Bounds of what clients wait for.
const (
	flightsAtOnce = 8   // under way, of all clients
	waitingMost   = 256 // of one client
)

// turns lets the clients' flights begin, a client at a time. History.mu guards it.
type turns struct {
	flying  int
	clients []Client // that wait, whose turn is next first
	waiting map[Client][]*flight
}

// wait puts a flight behind the others of a client.
func (t *turns) wait(who Client, f *flight) error {
	if len(t.waiting[who]) >= waitingMost {
		return &market.BudgetError{RetryAfter: time.Second, Reason: "too many requests of this client wait for the exchange"}
	}
	if t.waiting == nil {
		t.waiting = make(map[Client][]*flight)
	}
	if len(t.waiting[who]) == 0 {
		t.clients = append(t.clients, who)
	}
	t.waiting[who] = append(t.waiting[who], f)
	return nil
}

// next is the flight to begin now; nil where none waits, or enough are under way. It counts as under way from then on.
func (t *turns) next() *flight {
	for t.flying < flightsAtOnce && len(t.clients) > 0 {
		who := t.clients[0]
		t.clients = t.clients[1:]
		// Another client's turn may have begun it, or all who asked for it have gone.
		i := slices.IndexFunc(t.waiting[who], func(f *flight) bool { return !f.started && f.ctx.Err() == nil })
		if i < 0 {
			delete(t.waiting, who)
			continue
		}
		f := t.waiting[who][i]
		if rest := t.waiting[who][i+1:]; len(rest) > 0 {
			t.waiting[who] = rest
			t.clients = append(t.clients, who)
		} else {
			delete(t.waiting, who)
		}
		t.flying++
		return f
	}
	return nil
}

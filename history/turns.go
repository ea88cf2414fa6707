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
	clients []Client             // that wait, whose turn is next first
	waiting map[Client][]*flight // what each of them waits for, once for each of its askers
}

// wait puts a flight behind the others of a client.
func (t *turns) wait(who Client, f *flight) error {
	waiting, waits := t.waiting[who]
	if len(waiting) >= waitingMost { // another client's turn may have begun some of them
		waiting = slices.DeleteFunc(waiting, func(f *flight) bool { return f.started })
		t.waiting[who] = waiting
	}
	if len(waiting) >= waitingMost {
		return &market.BudgetError{RetryAfter: time.Second, Reason: "too many requests of this client wait for the exchange"}
	}
	if t.waiting == nil {
		t.waiting = make(map[Client][]*flight)
	}
	if !waits {
		t.clients = append(t.clients, who)
	}
	t.waiting[who] = append(waiting, f)
	return nil
}

// leave takes back what one asker of a client waits for.
func (t *turns) leave(who Client, f *flight) {
	waiting := t.waiting[who]
	i := slices.Index(waiting, f)
	switch {
	case i < 0:
	case len(waiting) > 1:
		t.waiting[who] = slices.Delete(waiting, i, i+1)
	default:
		delete(t.waiting, who)
		t.clients = slices.DeleteFunc(t.clients, func(other Client) bool { return other == who })
	}
}

// next is the flight to begin now; nil where none waits, or enough are under way. It counts as under way from then on.
func (t *turns) next() *flight {
	for t.flying < flightsAtOnce && len(t.clients) > 0 {
		who := t.clients[0]
		t.clients = t.clients[1:]
		// Another client's turn may have begun it.
		i := slices.IndexFunc(t.waiting[who], func(f *flight) bool { return !f.started })
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

package serve

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/gobwas/ws"
)

// Bounds of one connection's subscriptions.
const (
	maxStreams = 1024
	ownStreams = 16  // that it may have whatever the others have
	maxRelayed = 200 // of those that are relayed; the others stay silent
	maxName    = 128 // bytes; a longer name stands for nothing and is not remembered
)

// tellEvery is how often it is logged, at most, that clients take too much.
const tellEvery = 10 * time.Second

// begin subscribes to the streams that the URL names.
func (c *client) begin(names []string) {
	names = c.fresh(names)
	if refused := c.claim(len(names), nil); refused != nil {
		refused.end = true
		c.refuse(refused)
		return
	}
	c.subscribe(names)
}

// obey carries out a control message and answers it.
func (c *client) obey(message []byte) {
	cmd, err := parseCommand(message)
	var refused *controlError
	if errors.As(err, &refused) {
		c.refuse(refused)
		return
	}
	switch cmd.method {
	case "SUBSCRIBE":
		if slices.ContainsFunc(cmd.names, func(name string) bool { return ofUserData(name, c.private) }) {
			c.refuse(&controlError{code: 2, msg: "Invalid request: " + noUserData, id: cmd.id})
			return
		}
		names := c.fresh(cmd.names)
		if refused := c.claim(len(c.subs)+len(names), cmd.id); refused != nil {
			c.refuse(refused)
			return
		}
		c.answer("null", cmd.id) // before the first frame of the streams
		c.subscribe(names)
	case "UNSUBSCRIBE":
		c.unsubscribe(cmd.names)
		c.answer("null", cmd.id)
	case "LIST_SUBSCRIPTIONS":
		names := make([]string, len(c.subs))
		for i, s := range c.subs {
			names[i] = s.name
		}
		list, _ := json.Marshal(names) // strings always marshal
		c.answer(string(list), cmd.id)
	case "SET_PROPERTY":
		c.combine(cmd.value)
		c.answer("null", cmd.id)
	case "GET_PROPERTY":
		value := "false"
		if c.combined.Load() {
			value = "true"
		}
		c.answer(value, cmd.id)
	}
}

// combine has frames wrapped from now on, or bare. What waits for c stays as it is, and where it is: newer versions are of the other form.
// One that is being made meanwhile may come behind the answer, and still in the old form.
func (c *client) combine(wrapped bool) {
	c.combined.Store(wrapped)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		s.waits = 0
	}
}

func (c *client) answer(result string, id []byte) {
	text := append([]byte(`{"result":`+result+`,"id":`), id...)
	c.say(control(ws.OpText, append(text, '}')))
}

// refuse answers with an error, and closes where the exchange does.
func (c *client) refuse(e *controlError) {
	c.say(control(ws.OpText, e.answer()))
	if e.end {
		c.shut(ws.StatusPolicyViolation, "Invalid request")
	}
}

// fresh is those of names that c is not subscribed to, each once.
func (c *client) fresh(names []string) []string {
	seen := make(map[string]bool, len(c.subs)+len(names))
	for _, s := range c.subs {
		seen[s.name] = true
	}
	out := make([]string, 0, len(names))
	for _, name := range names {
		if !seen[name] && len(name) <= maxName {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// claim has room for n subscriptions of c, as many as it will have, or refuses them.
func (c *client) claim(n int, id []byte) *controlError {
	if n > maxStreams {
		return tooManySubscriptions(id)
	}
	shared := max(n-ownStreams, 0)
	more := int64(shared - c.claimed)
	if c.hub.subscriptions.Add(more) > c.hub.maxStreams && more > 0 {
		c.hub.subscriptions.Add(-more)
		c.hub.metrics.WSRefused.Inc()
		return tooManyOfAll(id)
	}
	c.claimed = shared
	return nil
}

// subscribe adds names, none of which is subscribed yet.
func (c *client) subscribe(names []string) {
	for _, name := range names {
		s := &subscription{client: c, name: name}
		c.hub.subscribe(s)
		c.subs = append(c.subs, s)
	}
	if silent := c.hub.silent(c); silent > 0 {
		c.hub.server.log.Warn("a client takes too many relayed streams: the others stay silent", "from", c.conn.RemoteAddr(), "at_most", maxRelayed, "silent", silent)
	}
}

// silent is how many streams of c stay silent that have not been told of, where it is time to tell.
func (h *hub) silent(c *client) (n int) {
	h.subscribing.Lock()
	defer h.subscribing.Unlock()
	if c.unrelayed > 0 && h.tells(time.Now()) {
		n, c.unrelayed = c.unrelayed, 0
	}
	return n
}

// tells reports whether it may be logged what a client does: of all clients once in a while.
func (h *hub) tells(now time.Time) bool {
	last := h.told.Load()
	return now.UnixNano()-last >= int64(tellEvery) && h.told.CompareAndSwap(last, now.UnixNano())
}

func (c *client) unsubscribe(names []string) {
	gone := make(map[string]bool, len(names))
	for _, name := range names {
		gone[name] = true
	}
	c.subs = slices.DeleteFunc(c.subs, func(s *subscription) bool {
		if gone[s.name] {
			c.hub.unsubscribe(s)
		}
		return gone[s.name]
	})
	_ = c.claim(len(c.subs), nil) // it has got less
}

// leave takes c off every topic.
func (c *client) leave() {
	for _, s := range c.subs {
		c.hub.unsubscribe(s)
	}
	c.subs = nil
	_ = c.claim(0, nil)
}

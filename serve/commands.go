package serve

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/gobwas/ws"
)

// Bounds of one connection's subscriptions.
const (
	maxStreams = 1024
	maxName    = 128 // bytes; a longer name stands for nothing and is not remembered
)

// begin subscribes to the streams that the URL names.
func (c *client) begin(names []string) {
	if names = c.fresh(names); len(names) > maxStreams {
		c.refuse(tooManySubscriptions(nil))
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
		names := c.fresh(cmd.names)
		if len(c.names)+len(names) > maxStreams {
			c.refuse(tooManySubscriptions(cmd.id))
			return
		}
		c.answer("null", cmd.id) // before the first frame of the streams
		c.subscribe(names)
	case "UNSUBSCRIBE":
		c.unsubscribe(cmd.names)
		c.answer("null", cmd.id)
	case "LIST_SUBSCRIPTIONS":
		list, _ := json.Marshal(append([]string{}, c.names...)) // strings always marshal
		c.answer(string(list), cmd.id)
	case "SET_PROPERTY":
		c.combined.Store(cmd.value)
		c.answer("null", cmd.id)
	case "GET_PROPERTY":
		value := "false"
		if c.combined.Load() {
			value = "true"
		}
		c.answer(value, cmd.id)
	}
}

func (c *client) answer(result string, id []byte) {
	text := append([]byte(`{"result":`+result+`,"id":`), id...)
	c.enqueue(control(ws.OpText, append(text, '}')))
}

// refuse answers with an error, and closes where the exchange does.
func (c *client) refuse(e *controlError) {
	c.enqueue(control(ws.OpText, e.answer()))
	if e.end {
		c.shut(ws.StatusPolicyViolation, "Invalid request")
	}
}

// fresh is those of names that c is not subscribed to, each once.
func (c *client) fresh(names []string) []string {
	seen := make(map[string]bool, len(names))
	out := make([]string, 0, len(names))
	for _, name := range names {
		if _, subscribed := c.topics[name]; subscribed || seen[name] || len(name) > maxName {
			continue
		}
		seen[name] = true
		out = append(out, name)
	}
	return out
}

// subscribe adds names, none of which is subscribed yet.
func (c *client) subscribe(names []string) {
	for _, name := range names {
		var t *topic
		if series, ok := c.hub.server.series(name); ok {
			t = c.hub.subscribe(c, series)
		}
		c.topics[name] = t
		c.names = append(c.names, name)
	}
}

func (c *client) unsubscribe(names []string) {
	for _, name := range names {
		t, subscribed := c.topics[name]
		if !subscribed {
			continue
		}
		if t != nil {
			c.hub.unsubscribe(c, t)
		}
		delete(c.topics, name)
		c.names = slices.DeleteFunc(c.names, func(n string) bool { return n == name })
	}
}

// leave takes c off every topic.
func (c *client) leave() { c.unsubscribe(slices.Clone(c.names)) }

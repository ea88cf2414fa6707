package serve

import "strings"

// facts is a stream of which every frame counts: trades, and what others say of the market. Nothing of it coalesces and
// nothing is skipped; a client that is too slow for it is closed by the bound of its queue.
type facts struct {
	hub    *hub
	name   string
	source func(on bool) // what relays or Options.Facts gave
	fed    bool          // the feed relays it: its trades and rows come by from, and Deliver brings nothing
	from   relayedFrom   // of what; where fed

	subscribers
}

func (f *facts) add(s *subscription) (first bool) {
	if !f.fed {
		s.client.relayed++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.join(s)
}

func (f *facts) remove(s *subscription) (last bool) {
	if !f.fed {
		s.client.relayed--
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leave(s)
}

// watch implements topic. A stream that nobody takes is forgotten: names are the clients' to choose.
func (f *facts) watch(on bool) {
	if !on {
		f.hub.mu.Lock()
		delete(f.hub.facts, f.name)
		if f.fed {
			delete(f.hub.fed, f.from)
		}
		f.hub.mu.Unlock()
	}
	f.source(on)
}

// deliver queues a payload, the JSON of one event, for all who subscribe. It copies it.
func (f *facts) deliver(r *round, payload []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var made [2]*frame // bare, wrapped
	for _, s := range f.list {
		wrapped := s.client.combined.Load()
		made := &made[index(wrapped)]
		if *made == nil {
			*made = &frame{data: sealed(append(envelope(f.name, wrapped, len(payload)+1), payload...), wrapped)}
		}
		r.put(s.client, s, *made)
	}
}

// index is 1 where wrapped.
func index(wrapped bool) int {
	if wrapped {
		return 1
	}
	return 0
}

// fact finds the stream of facts of that name for c, made where there was none; nil where there is nothing behind it, and where c
// takes too many that are relayed. Its caller holds subscribing.
func (h *hub) fact(c *client, name string) *facts {
	h.mu.RLock()
	f := h.facts[name]
	h.mu.RUnlock()
	made := f == nil && !strings.ContainsFunc(name, quotes)
	if made {
		f = h.newFacts(name)
	}
	switch {
	case f == nil:
	case !f.fed && c.relayed == maxRelayed:
		c.unrelayed++
		return nil
	case made:
		h.mu.Lock()
		h.facts[f.name] = f
		if f.fed {
			h.fed[f.from] = f
		}
		h.mu.Unlock()
	}
	return f
}

// newFacts makes the stream of facts of that name, nil where there is nothing behind it.
func (h *hub) newFacts(name string) *facts {
	from, source := h.server.relays(name)
	fed := source != nil
	if !fed && h.server.opt.Facts != nil {
		source = h.server.opt.Facts(name)
	}
	if source == nil {
		return nil
	}
	return &facts{hub: h, name: strings.Clone(name), source: source, fed: fed, from: from}
}

// quotes reports whether r cannot stand in a JSON string as it is: U+FFFD stands for what is not UTF-8.
func quotes(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == '\uFFFD' }

// Deliver pushes payload, the JSON of one event, to all who subscribe to a stream of facts. It copies it and waits for no
// client. The events of one stream must come one after the other.
func (s *Server) Deliver(stream string, payload []byte) {
	s.hub.mu.RLock()
	f := s.hub.facts[stream]
	s.hub.mu.RUnlock()
	if f == nil {
		return
	}
	r := s.hub.round()
	f.deliver(r, payload)
	r.end()
}

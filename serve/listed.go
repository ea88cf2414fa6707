package serve

import "strings"

// Listed says that further symbols are carried from now on. Who subscribed to their streams before gets them, as at the
// exchange. It waits for no client, and is not called from Publish.
func (s *Server) Listed() { s.hub.listed() }

// awaits reports whether a subscription is klined's own once its symbol is carried: to klines, or to what the feed relays where
// nobody else does. subscribing is held.
func (h *hub) awaits(s *subscription) bool {
	_, what, _ := strings.Cut(s.name, "@")
	if strings.HasPrefix(what, "kline_") || strings.HasPrefix(what, "continuousKline_") {
		_, own := s.topic.(*klineTopic)
		return !own
	}
	return s.topic == nil && ("@"+what == h.server.trades || "@"+what == miniTickerStream)
}

// listed lets subscriptions have their streams that have become klined's own; they keep their names.
func (h *hub) listed() {
	h.subscribing.Lock()
	defer h.subscribing.Unlock()
	for s := range h.later {
		to, form := h.ownNamed(s)
		if to == nil {
			continue
		}
		delete(h.later, s)
		if s.topic != nil && s.topic.remove(s) {
			s.topic.watch(false)
		}
		s.topic, s.form = to, form
		if to.add(s) {
			to.watch(true)
		}
	}
}

// ownNamed is what klined itself has for the name of a subscription; nil where it has nothing. subscribing is held.
func (h *hub) ownNamed(s *subscription) (topic, form) {
	if t, form := h.klinesNamed(s.name); t != nil {
		return t, form
	}
	if _, fed := h.server.relays(s.name); fed == nil {
		return nil, 0
	}
	if f := h.fact(s.client, s.name); f != nil && f.fed {
		return f, 0
	}
	return nil, 0 // others have it relayed from the exchange
}

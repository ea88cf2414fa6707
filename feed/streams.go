package feed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"klined/market"
)

// keepLinks runs the links, those that come later too, until ctx ends.
func (f *Feed) keepLinks(ctx context.Context, g *errgroup.Group) {
	for started := 0; ; {
		all := f.allLinks()
		for _, k := range all[started:] {
			g.Go(func() error { k.run(ctx); return nil })
		}
		started = len(all)
		select {
		case <-ctx.Done():
			return
		case <-f.more:
		}
	}
}

// allLinks is the links so far, in the order they came.
func (f *Feed) allLinks() []*link {
	f.linking.Lock()
	defer f.linking.Unlock()
	return slices.Clone(f.links)
}

// carries is what the link's connections carry. It is read only.
func (k *link) carries() []market.SymbolID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.symbols
}

// join adds a connection that was dialled for the given symbols, before it is read: what has come to the link since then it
// is asked to carry too, and what has left no more.
func (k *link) join(s *session, dialled []market.SymbolID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lane != nil {
		s.carrier = k.lane.newCarrier(k, s.conn, dialled)
		s.carried = s.carrier.carried
	}
	k.sessions = append(k.sessions, s)
	if gone := without(dialled, k.symbols); len(gone) > 0 {
		s.conn.Unsubscribe(gone...)
	}
	k.subscribe(s, without(k.symbols, dialled))
	if !k.all && len(k.symbols) == 0 {
		go s.conn.Close("nothing to carry")
	}
}

// leave takes a connection that has ended out of the link.
func (k *link) leave(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sessions = slices.DeleteFunc(k.sessions, func(x *session) bool { return x == s })
}

// begin lets the link carry further symbols, on all its connections. Of those whose streams have not ended since they had ended,
// nothing is sent: what comes next shows that they are carried.
func (k *link) begin(ids []market.SymbolID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	further := without(ids, k.symbols)
	running := without(ids, further)
	k.symbols = slices.Concat(k.symbols, further)
	select {
	case k.filled <- struct{}{}:
	default:
	}
	for _, s := range k.sessions {
		if s.carrier != nil {
			k.lane.asked(s.carrier, running, time.Now())
		}
		k.subscribe(s, further)
	}
}

// end lets the link carry symbols no more. Where none is left its connections end.
func (k *link) end(ids []market.SymbolID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.symbols = without(k.symbols, ids)
	for _, s := range k.sessions {
		if len(k.symbols) == 0 {
			go s.conn.Close("nothing to carry")
			continue
		}
		s.conn.Unsubscribe(ids...)
	}
}

// subscribe asks one connection to carry further symbols. k.mu is held. A connection that cannot is ended: its successor is
// dialled for all of them.
func (k *link) subscribe(s *session, ids []market.SymbolID) {
	if len(ids) == 0 {
		return
	}
	if err := s.conn.Subscribe(ids...); err != nil {
		k.f.log.Error("cannot subscribe", "conn", k.name, "symbols", len(ids), "error", err)
		go s.conn.Close(err.Error())
		return
	}
	if s.carrier != nil {
		k.lane.asked(s.carrier, ids, time.Now())
	}
}

// without is a's symbols that are not among b's.
func without(a, b []market.SymbolID) (rest []market.SymbolID) {
	among := setOf(b)
	for _, id := range a {
		if _, is := among[id]; !is {
			rest = append(rest, id)
		}
	}
	return rest
}

func setOf(ids []market.SymbolID) map[market.SymbolID]struct{} {
	set := make(map[market.SymbolID]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

// carryKlines shares out symbols over the connections for the venue's own klines: those that have room, then new ones. One whose
// stream has not ended since it had ended stays where it is.
func (f *Feed) carryKlines(ids []market.SymbolID) {
	for _, k := range f.klines {
		ids = without(ids, k.carries())
	}
	for _, k := range f.klines {
		if room := min(f.layout.klinesPerConn-len(k.carries()), len(ids)); room > 0 {
			k.begin(ids[:room])
			ids = ids[room:]
		}
	}
	for part := range slices.Chunk(ids, f.layout.klinesPerConn) {
		f.klines = append(f.klines, f.newLink(fmt.Sprintf("klines-%d", len(f.klines)), f.layout.dialKlines, nil, part))
	}
}

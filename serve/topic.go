package serve

import "sync"

// topic is a stream on its way to those who subscribe to it.
type topic interface {
	add(s *subscription) (first bool)
	remove(s *subscription) (last bool)
	// watch is told, in their order, that the first has come and that the last has left. It waits for nothing.
	watch(on bool)
}

// subscription is one stream of one client.
type subscription struct {
	client *client
	name   string // as the client asked for it
	topic  topic  // nil where the name stands for nothing here; guarded by the hub's subscribing
	form   form   // written by the hub before the topic has s

	settled bool   // a kline is final when it is settled; guarded by the topic's mu
	place   int    // in the topic's list; guarded by the topic's mu
	waits   uint64 // the number, in the client's queue, of the open kline that a newer version replaces; guarded by client.mu
}

// subscribers are those of one topic.
type subscribers struct {
	mu      sync.Mutex // guards the list, and what the topic has besides
	list    []*subscription
	settled int // how many of them are
}

// join adds s and reports whether it is the first.
func (l *subscribers) join(s *subscription) (first bool) {
	s.place = len(l.list)
	l.list = append(l.list, s)
	if s.settled {
		l.settled++
	}
	return s.place == 0
}

// leave takes s off and reports whether it was the last.
func (l *subscribers) leave(s *subscription) (last bool) {
	end := len(l.list) - 1
	moved := l.list[end]
	l.list[s.place], moved.place = moved, s.place
	l.list[end] = nil
	l.list = l.list[:end]
	if s.settled {
		l.settled--
	}
	if end == 0 {
		l.list = nil
	}
	return end == 0
}

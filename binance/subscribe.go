package binance

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// answerTimeout is how long a control message may stay without an answer; the exchange takes a fraction of a second.
const answerTimeout = 30 * time.Second

// subscriptions is what a connection carries, and what of it has still to be asked for or acknowledged. It may be used
// from any goroutine.
type subscriptions struct {
	wake chan struct{} // holds one token while something is to be asked for

	mu      sync.Mutex
	carried map[string]bool // by the stream's name
	queue   []ask
	sent    map[uint64]sent // by the message's id
	lastID  uint64
	waiting int // names asked for with SUBSCRIBE and not acknowledged, queued ones included
}

// ask is one stream to begin or to end.
type ask struct {
	method string
	name   string
}

// sent is a control message that has not been answered.
type sent struct {
	method string
	names  int
	at     time.Time
}

const (
	methodSubscribe   = "SUBSCRIBE"
	methodUnsubscribe = "UNSUBSCRIBE"
)

func newSubscriptions() *subscriptions {
	return &subscriptions{wake: make(chan struct{}, 1), carried: make(map[string]bool), sent: make(map[uint64]sent)}
}

// begin queues the streams that are not carried yet; none where they would be too many together.
func (s *subscriptions) begin(names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := len(s.carried)
	for _, name := range names {
		if !s.carried[name] {
			total++
		}
	}
	if err := checkStreams(total); err != nil {
		return err
	}
	for _, name := range names {
		if !s.carried[name] {
			s.carried[name] = true
			s.waiting++
			s.enqueue(ask{methodSubscribe, name})
		}
	}
	return nil
}

// end queues the end of the streams that are carried.
func (s *subscriptions) end(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.carried[name] {
			delete(s.carried, name)
			s.enqueue(ask{methodUnsubscribe, name})
		}
	}
}

// enqueue is called with mu held.
func (s *subscriptions) enqueue(a ask) {
	s.queue = append(s.queue, a)
	s.signal()
}

func (s *subscriptions) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// next is the next control message to send, nil where there is none:
//
//	{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","ethusdt@aggTrade"],"id":1}
func (s *subscriptions) next(now time.Time) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	method := s.queue[0].method
	var names []string
	for _, a := range s.queue[:min(len(s.queue), maxNames)] {
		if a.method != method {
			break
		}
		names = append(names, a.name)
	}
	if s.queue = s.queue[len(names):]; len(s.queue) > 0 {
		s.signal()
	}
	s.lastID++
	s.sent[s.lastID] = sent{method, len(names), now}
	message, err := json.Marshal(struct {
		Method string   `json:"method"`
		Params []string `json:"params"`
		ID     uint64   `json:"id"`
	}{method, names, s.lastID})
	if err != nil {
		panic(err) // strings and a number always encode
	}
	return message
}

// answer takes the exchange's answer to a control message; a refusal is an error.
//
//	{"result":null,"id":1}
//	{"error":{"code":4,"msg":"Too many subscriptions"},"id":1}
//
// An answer that cannot be read is errUnreadable.
func (s *subscriptions) answer(frame []byte) error {
	var a struct {
		ID    uint64 `json:"id"`
		Error *struct {
			Code int    `json:"code"`
			Msg  string `json:"msg"`
		} `json:"error"`
	}
	if err := json.Unmarshal(frame, &a); err != nil {
		return errUnreadable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	request, known := s.sent[a.ID]
	if a.Error != nil {
		method := "a control message"
		if known {
			method = fmt.Sprintf("%s of %d streams", request.method, request.names)
		}
		return fmt.Errorf("the exchange refused %s: %d %s", method, a.Error.Code, a.Error.Msg)
	}
	if request.method == methodSubscribe {
		s.waiting -= request.names
	}
	delete(s.sent, a.ID)
	return nil
}

// state says whether all streams are acknowledged; the error says that an answer is overdue.
func (s *subscriptions) state(now time.Time) (ready bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.sent {
		if now.Sub(m.at) > answerTimeout {
			return false, fmt.Errorf("%s of %d streams has not been answered within %s", m.method, m.names, answerTimeout)
		}
	}
	return s.waiting == 0, nil
}

// progress says how far the connection has come with what it carries.
func (s *subscriptions) progress() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == 0 {
		return fmt.Sprintf("all of %d streams acknowledged", len(s.carried))
	}
	return fmt.Sprintf("%d streams, %d not acknowledged", len(s.carried), s.waiting)
}

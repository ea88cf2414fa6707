package binance

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// answerTimeout is how long a control message may stay without an answer; the exchange takes a fraction of a second.
const answerTimeout = 30 * time.Second

// subscriptions is what a connection carries, and what of it has still to be asked for or acknowledged: what is wanted, not who
// asked for it when, so that it never holds more than the names of one connection. It may be used from any goroutine.
type subscriptions struct {
	wake chan struct{} // holds one token while something is to be asked for

	mu      sync.Mutex
	carried map[string]bool // by the stream's name; true where it is to be asked for alone
	asked   map[string]bool // those that the exchange carries once it has answered
	begins  []string        // carried and not asked for, in their order
	ends    []string        // asked for and not carried, in their order
	last    string          // the method of the last message
	sent    map[uint64]sent // by the message's id
	refused []string        // the streams of the message that the exchange refused
	lastID  uint64
}

// sent is a control message that has not been answered.
type sent struct {
	method string
	names  []string
	at     time.Time
}

const (
	methodSubscribe   = "SUBSCRIBE"
	methodUnsubscribe = "UNSUBSCRIBE"
)

func newSubscriptions() *subscriptions {
	return &subscriptions{wake: make(chan struct{}, 1), carried: make(map[string]bool), asked: make(map[string]bool), sent: make(map[uint64]sent)}
}

// begin lets the streams be carried; none where they would be too many together. Each of those that are alone is asked for in a
// message of its own.
func (s *subscriptions) begin(names []string, alone bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fresh []string
	for _, name := range names {
		if _, ok := s.carried[name]; !ok {
			fresh = append(fresh, name)
			s.carried[name] = alone
		}
	}
	if err := checkStreams(len(s.carried)); err != nil {
		for _, name := range fresh {
			delete(s.carried, name)
		}
		return err
	}
	for _, name := range fresh {
		if s.asked[name] {
			s.ends = without(s.ends, name)
		} else {
			s.begins = append(s.begins, name)
			s.signal()
		}
	}
	return nil
}

// end lets the streams be carried no more.
func (s *subscriptions) end(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if _, ok := s.carried[name]; !ok {
			continue
		}
		delete(s.carried, name)
		if s.asked[name] {
			s.ends = append(s.ends, name)
			s.signal()
		} else {
			s.begins = without(s.begins, name)
		}
	}
}

// without is names without that one, which is in it.
func without(names []string, name string) []string {
	i := slices.Index(names, name)
	return slices.Delete(names, i, i+1)
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
	method, names := s.choose()
	if len(names) == 0 {
		return nil
	}
	if len(s.begins)+len(s.ends) > 0 {
		s.signal()
	}
	s.lastID++
	s.last, s.sent[s.lastID] = method, sent{method, names, now}
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

// choose takes out what the next message asks for. Beginning and ending take turns, and no stream begins that would be one too many
// before others have ended.
func (s *subscriptions) choose() (method string, names []string) {
	n := s.together(min(len(s.begins), maxNames, MaxStreams-len(s.asked)))
	if len(s.ends) > 0 && (n == 0 || s.last == methodSubscribe) {
		n = min(len(s.ends), maxNames)
		names, s.ends = slices.Clone(s.ends[:n]), slices.Delete(s.ends, 0, n)
		for _, name := range names {
			delete(s.asked, name)
		}
		return methodUnsubscribe, names
	}
	names, s.begins = slices.Clone(s.begins[:n]), slices.Delete(s.begins, 0, n)
	for _, name := range names {
		s.asked[name] = true
	}
	return methodSubscribe, names
}

// together is how many of the first n streams that are to begin go into one message.
func (s *subscriptions) together(n int) int {
	for i, name := range s.begins[:n] {
		if s.carried[name] {
			return max(i, 1)
		}
	}
	return n
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
			method = fmt.Sprintf("%s of %d streams", request.method, len(request.names))
			s.refused = request.names
		}
		return fmt.Errorf("the exchange refused %s: %d %s", method, a.Error.Code, a.Error.Msg)
	}
	delete(s.sent, a.ID)
	return nil
}

// rejected are the streams of the message that the exchange refused.
func (s *subscriptions) rejected() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// waiting is how many streams are to begin and are not acknowledged; the caller holds mu.
func (s *subscriptions) waiting() int {
	n := len(s.begins)
	for _, m := range s.sent {
		if m.method == methodSubscribe {
			n += len(m.names)
		}
	}
	return n
}

// state says whether all streams are acknowledged; the error says that an answer is overdue.
func (s *subscriptions) state(now time.Time) (ready bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.sent {
		if now.Sub(m.at) > answerTimeout {
			return false, fmt.Errorf("%s of %d streams has not been answered within %s", m.method, len(m.names), answerTimeout)
		}
	}
	return s.waiting() == 0, nil
}

// progress says how far the connection has come with what it carries.
func (s *subscriptions) progress() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.waiting()
	if waiting == 0 {
		return fmt.Sprintf("all of %d streams acknowledged", len(s.carried))
	}
	return fmt.Sprintf("%d streams, %d not acknowledged", len(s.carried), waiting)
}

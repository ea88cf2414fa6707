package binance

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is the next control message, in short; empty where there is none.
func (s *subscriptions) told(t *testing.T) (method string, names []string) {
	t.Helper()
	message := s.next(time.Time{})
	if message == nil {
		return "", nil
	}
	var c control
	if err := json.Unmarshal(message, &c); err != nil {
		t.Fatal(err)
	}
	if err := s.answer(ack(c.ID)); err != nil {
		t.Fatal(err)
	}
	return c.Method, c.Params
}

// TestSubscriptionsWant: what is asked for is what is wanted when it is, not each step on the way there.
func TestSubscriptionsWant(t *testing.T) {
	s := newSubscriptions()
	for _, step := range []struct{ begin, end, alone, want []string }{
		{begin: []string{"a", "b", "b"}, want: []string{"SUBSCRIBE a b"}},
		{begin: []string{"a", "b"}},
		{begin: []string{"c"}, end: []string{"c", "never"}},
		{end: []string{"a", "b"}, want: []string{"UNSUBSCRIBE a b"}},
		{begin: []string{"a", "c"}, want: []string{"SUBSCRIBE a c"}},
		{end: []string{"a"}, alone: []string{"a"}},
		{begin: []string{"d"}, end: []string{"a", "c"}, want: []string{"UNSUBSCRIBE a c", "SUBSCRIBE d"}},
		{begin: []string{"e"}, end: []string{"d"}, want: []string{"UNSUBSCRIBE d", "SUBSCRIBE e"}},
		{begin: []string{"f", "g"}, alone: []string{"h", "i", "f"}, want: []string{"SUBSCRIBE f g", "SUBSCRIBE h", "SUBSCRIBE i"}},
	} {
		if err := s.begin(step.begin, false); err != nil {
			t.Fatal(err)
		}
		s.end(step.end)
		if err := s.begin(step.alone, true); err != nil {
			t.Fatal(err)
		}
		var got []string
		for method, names := s.told(t); method != ""; method, names = s.told(t) {
			for _, name := range names {
				method += " " + name
			}
			got = append(got, method)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%+v: (−want +got)\n%s", step, diff)
		}
	}
}

// TestSubscriptionsTakeTurns: who begins and ends without pause holds nobody up, and no stream begins that would be one too many.
func TestSubscriptionsTakeTurns(t *testing.T) {
	s := newSubscriptions()
	var names, others []string
	for n := range MaxStreams {
		names, others = append(names, fmt.Sprint("a", n)), append(others, fmt.Sprint("b", n))
	}
	if err := s.begin(names, false); err != nil {
		t.Fatal(err)
	}
	if err := s.begin(others[:1], false); err == nil {
		t.Error("one more is taken")
	}
	carried := 0
	count := func(most int) {
		t.Helper()
		for range most {
			method, names := s.told(t)
			if len(names) > maxNames {
				t.Errorf("%d names in a message", len(names))
			}
			if carried += len(names); method == methodUnsubscribe {
				carried -= 2 * len(names)
			}
			if carried > MaxStreams {
				t.Errorf("%d streams are carried", carried)
			}
		}
	}
	count(6)
	s.end(names)
	if err := s.begin(others, false); err != nil {
		t.Fatal(err)
	}
	if len(s.begins)+len(s.ends) != 2*MaxStreams {
		t.Errorf("%d names wait", len(s.begins)+len(s.ends))
	}
	count(12)
	if left := len(s.begins) + len(s.ends); left > 0 || carried != MaxStreams {
		t.Errorf("%d are carried, %d wait", carried, left)
	}
	s.end(others[:1])
	count(1)
	s.end(others[1:6])
	if err := s.begin(names[:6], false); err != nil {
		t.Fatal(err)
	}
	count(3) // there is room for one at first
	s.end(others[6:9])
	for n := range 10 { // of one, who leaves a stream before each message, and takes another
		s.end(others[10+n : 11+n])
		if err := s.begin(names[10+n:11+n], false); err != nil {
			t.Fatal(err)
		}
		if n == 3 {
			_ = s.begin([]string{"another's"}, false)
		}
		if _, names := s.told(t); n > 5 && slices.Contains(s.begins, "another's") {
			t.Errorf("another's waits while %v goes", names)
		}
	}
}

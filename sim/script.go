package sim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// FaultAt is a fault that happens by itself.
type FaultAt struct {
	Fault
	At time.Duration // after the exchange's start, by real time
}

// ReadFaults reads faults as POST /sim/faults takes them, one after the other or in a list. What each has more is at, the
// seconds from the exchange's start until it happens; without it, it happens at once.
//
//	{"kind":"disconnect","at":30}
//	{"kind":"rest_429","seconds":20,"at":45.5}
func ReadFaults(r io.Reader) ([]FaultAt, error) {
	var script []FaultAt
	for d := json.NewDecoder(r); ; {
		var value json.RawMessage
		if err := d.Decode(&value); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("behind fault %d: %w", len(script), err)
		}
		faults := []json.RawMessage{value}
		if bytes.HasPrefix(value, []byte("[")) {
			if err := json.Unmarshal(value, &faults); err != nil {
				return nil, err
			}
		}
		for _, body := range faults {
			f, err := parseScripted(body)
			if err != nil {
				return nil, fmt.Errorf("fault %d: %w", len(script)+1, err)
			}
			script = append(script, f)
		}
	}
	slices.SortStableFunc(script, func(a, b FaultAt) int { return cmp.Compare(a.At, b.At) })
	return script, nil
}

// parseScripted reads one fault. Which symbols there are is only known when it happens.
func parseScripted(body []byte) (f FaultAt, err error) {
	var values map[string]json.RawMessage
	if json.Unmarshal(body, &values) == nil && values["at"] != nil {
		var at float64
		if err := json.Unmarshal(values["at"], &at); err != nil || !(at >= 0 && at < maxSeconds) {
			return f, fmt.Errorf("at %s: want seconds, 0 or more, and less than a million", values["at"])
		}
		f.At = time.Duration(at * float64(time.Second))
		delete(values, "at")
		if body, err = json.Marshal(values); err != nil {
			return f, err
		}
	}
	if f.Fault, err = parseFault(body); err != nil {
		return f, err
	}
	return f, f.check()
}

// playScript makes happen what is due by now, and says how long nothing will be.
func (e *Exchange) playScript() time.Duration {
	for len(e.script) > 0 {
		next := e.script[0]
		if wait := next.At - time.Since(e.began); wait > 0 {
			return wait
		}
		e.script = e.script[1:]
		conns, err := e.fault(&next.Fault)
		if err != nil {
			e.log.Error("a fault of the script cannot be", "at", next.At, "error", err)
			continue
		}
		e.log.Info("fault", "kind", next.Kind, "at", next.At, "conns", len(conns))
	}
	return maxNap
}

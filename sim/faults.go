package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"klined/market"
)

// Kinds of Fault.
const (
	FaultDisconnect = "disconnect" // sockets are closed without a close frame
	FaultDrop       = "drop"       // some frames are not sent
	FaultDuplicate  = "duplicate"  // some frames are sent twice
	FaultGarbage    = "garbage"    // malformed frames are sent in between
)

// faultFields are the fields that a kind of fault knows, beside its kind.
var faultFields = map[string][]string{
	FaultDisconnect: {"conn", "path", "stream"},
	FaultDrop:       {"percent", "seconds", "conn", "path", "stream"},
	FaultDuplicate:  {"percent", "seconds", "conn", "path", "stream"},
	FaultGarbage:    {"n", "conn", "path", "stream"},
}

// Fault is something that goes wrong on request: on the connections of which all that is set is true.
type Fault struct {
	Kind    string
	Conn    int     // the connection's number in GET /sim/status; 0 is any
	Path    string  // the connection's path holds this
	Stream  string  // the name of a stream it is subscribed to holds this; drop and duplicate touch such streams only
	Percent float64 // of the frames, for drop and duplicate
	Seconds float64 // how long drop and duplicate last, from now on; connections that are opened meanwhile suffer too
	N       int     // how many malformed frames each connection gets
}

// trouble is a fault that lasts.
type trouble struct {
	Fault
	until market.Time
}

// hits reports whether f is about a connection; the caller holds the exchange's mutex.
func (f *Fault) hits(c *conn) bool {
	if f.Conn != 0 && f.Conn != c.num || !strings.Contains(c.path, f.Path) {
		return false
	}
	return f.Stream == "" || slices.ContainsFunc(c.names, func(name string) bool { return strings.Contains(name, f.Stream) })
}

func (f *Fault) check() error {
	switch {
	case faultFields[f.Kind] == nil:
		return fmt.Errorf("unknown kind %q: want disconnect, drop, duplicate or garbage", f.Kind)
	case f.lasts() && !(f.Percent > 0 && f.Percent <= 100):
		return fmt.Errorf("%s: percent %v: want more than 0, at most 100", f.Kind, f.Percent)
	case f.lasts() && !(f.Seconds > 0 && f.Seconds < 1e6):
		return fmt.Errorf("%s: seconds %v: want more than 0 and less than a million", f.Kind, f.Seconds)
	case f.Kind == FaultGarbage && (f.N < 1 || f.N > 100_000):
		return fmt.Errorf("garbage: n %d: want 1 to 100000", f.N)
	}
	return nil
}

func (f *Fault) lasts() bool { return f.Kind == FaultDrop || f.Kind == FaultDuplicate }

// Fault makes something go wrong now and gives the numbers of the connections that it is about.
func (e *Exchange) Fault(f Fault) (conns []int, err error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.catchUp()
	if f.lasts() {
		e.faults = append(e.faults, &trouble{f, now + market.Time(f.Seconds*1000)})
	}
	conns = []int{}
	for num, c := range e.conns {
		if c.gone() || !f.hits(c) {
			continue
		}
		conns = append(conns, num)
		switch f.Kind {
		case FaultDisconnect:
			c.abort()
		case FaultGarbage:
			for i := range f.N {
				c.data(appendFrame(nil, ws.OpText, nil, c.garbage(i, now), nil))
			}
			c.wake()
		}
	}
	slices.Sort(conns)
	return conns, nil
}

// copies is how often a frame goes out to a connection: once, but for faults.
func (e *Exchange) copies(c *conn, st *stream) int {
	if len(e.faults) == 0 {
		return 1
	}
	n, now := 1, e.Now()
	e.faults = slices.DeleteFunc(e.faults, func(t *trouble) bool { return t.until <= now })
	for _, t := range e.faults {
		if !t.hits(c) || !strings.Contains(st.name, t.Stream) || rand.Float64()*100 >= t.Percent {
			continue
		}
		if t.Kind == FaultDrop {
			return 0
		}
		n++
	}
	return n
}

// garbage is the i-th malformed frame of a connection. None of them is a record, whichever way it is read.
func (c *conn) garbage(i int, now market.Time) []byte {
	name := "btcusdt@aggTrade"
	if len(c.names) > 0 {
		name = c.names[i%len(c.names)]
	}
	body := func(symbol, price, qty, ids string) string {
		return fmt.Sprintf(`{"e":"aggTrade","E":%d,"a":%s,"s":%s,"p":%s,"q":%s,"nq":%s,"f":%s,"l":%s,"T":%d,"m":false,"st":1}`,
			now, ids, symbol, price, qty, qty, ids, ids, now-150)
	}
	good := body(`"BTCUSDT"`, `"83091.70"`, `"0.022"`, `3477868433`)
	kinds := []string{
		`this is not JSON`,
		good[:len(good)/2],
		body(`"BTCUSDT"`, `83091.70`, `true`, `"one"`),
		body("\"BTC\xff\xfeUSDT\"", `"83091.70"`, `"0.022"`, `3477868433`),
		body(`"BTCUSDT"`, `"99999999999999999999999999.9"`, `"0.022"`, `99999999999999999999999999`),
		body(`"BTCUSDT"`, `"-83091.70"`, `"1e5"`, `-1`),
		`{}`, `[]`, `null`, ``,
		good + good[:20],
		`{"e":"kline","E":` + strings.Repeat("9", 400) + `}`,
		strings.Repeat("[", 2000),
	}
	frame := kinds[i%len(kinds)]
	if c.combined && i%2 == 0 {
		frame = `{"stream":"` + name + `","data":` + frame + `}`
	}
	return []byte(frame)
}

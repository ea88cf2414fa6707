package sim

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Kinds of Fault.
const (
	FaultDisconnect   = "disconnect"    // sockets are closed without a close frame
	FaultSilence      = "silence"       // no frame of a stream is sent; connections stay open, pings and answers go on
	FaultDrop         = "drop"          // some frames are not sent
	FaultDuplicate    = "duplicate"     // some frames are sent twice
	FaultReorder      = "reorder"       // some frames change places with the next one of their connection
	FaultGarbage      = "garbage"       // malformed frames and well-formed lies are sent in between
	FaultREST429      = "rest_429"      // REST refuses: the weight is used up
	FaultREST418      = "rest_418"      // REST refuses: the address is banned
	FaultREST500      = "rest_500"      // REST fails: in turn with a 500 that is no JSON and with a 503
	FaultRESTSlow     = "rest_slow"     // REST answers late
	FaultRESTWrong    = "rest_wrong"    // REST's closed klines are wrong
	FaultArchiveWrong = "archive_wrong" // the archive's files are wrong
	FaultClockSkew    = "clock_skew"    // the exchange's clock is stepped, for good: see Exchange.Now
	FaultList         = "list"          // a new symbol is announced, and trades later
	FaultDelist       = "delist"        // a symbol is announced to end, and trades no more later
	FaultClear        = "clear"         // every fault that lasts is over
)

// faultKind is what a kind of fault is told with, beside its kind.
type faultKind struct {
	name   string
	fields []string
	once   bool // what it does is for good, and its seconds say when
}

var faultKinds = []faultKind{
	{FaultDisconnect, []string{"conn", "path", "stream", "symbol"}, false},
	{FaultSilence, []string{"seconds", "conn", "path", "stream", "symbol"}, false},
	{FaultDrop, []string{"percent", "seconds", "conn", "path", "stream", "symbol"}, false},
	{FaultDuplicate, []string{"percent", "seconds", "conn", "path", "stream", "symbol"}, false},
	{FaultReorder, []string{"percent", "seconds", "conn", "path", "stream", "symbol"}, false},
	{FaultGarbage, []string{"n", "lies", "conn", "path", "stream", "symbol"}, false},
	{FaultREST429, []string{"seconds", "path"}, false},
	{FaultREST418, []string{"seconds", "path"}, false},
	{FaultREST500, []string{"seconds", "path"}, false},
	{FaultRESTSlow, []string{"seconds", "delay", "path"}, false},
	{FaultRESTWrong, []string{"seconds", "symbol", "how"}, false},
	{FaultArchiveWrong, []string{"seconds", "symbol", "how"}, false},
	{FaultClockSkew, []string{"ms"}, false},
	{FaultList, []string{"symbol", "seconds", "contractType"}, true},
	{FaultDelist, []string{"symbol", "seconds", "gone"}, true},
	{FaultClear, nil, false},
}

// Bounds and defaults of a Fault's fields.
const (
	maxSeconds   = 1e6
	maxGarbage   = 100_000
	defaultDelay = 5  // s
	maxDelay     = 60 // s
	maxSkew      = 3_600_000
)

// Fault is something that goes wrong on request: where all that is set is true, and for every address alike. What
// lasts is over after so many seconds of real time, however the exchange's clock is stepped meanwhile.
type Fault struct {
	Kind     string
	Conn     int     // the connection's number in GET /sim/status; 0 is any
	Path     string  // the connection's path holds this, for REST the endpoint's; the archive's where it begins with /data
	Stream   string  // the name of a stream that the connection is subscribed to holds this; only such streams are touched
	Symbol   string  // likewise: the stream is this symbol's. !miniTicker@arr is, whole, where Stream is set and in its name
	Percent  float64 // of the frames
	Seconds  float64 // how long it lasts, from now on; connections that are opened meanwhile suffer too. Of list and delist: until it trades, or ends; 0 is at once
	N        int     // how many frames of garbage each connection gets
	Lies     *bool   // whether they are well-formed lies; nil is half of them, where the connection hears a trade stream
	Delay    float64 // seconds that an answer of REST takes; 0 is 5
	MS       int64   // what is added to the clock, an hour at most
	Contract string  // the contractType of a new symbol; "" is PERPETUAL
	Gone     bool    // a delisted symbol leaves exchangeInfo; false is that it stays there, SETTLING
	How      string  // in what way klines are wrong, for the kinds that know several; "" is each in turn, by open time or by file
}

// trouble is a fault that lasts.
type trouble struct {
	Fault
	until   time.Time
	answers int // that it has given to requests
}

// FaultHelp is a line for each kind of fault: its name, and the fields that it is told with.
func FaultHelp() string {
	var lines strings.Builder
	for _, k := range faultKinds {
		fmt.Fprintf(&lines, "  %-13s %s", k.name, strings.Join(k.fields, ", "))
		if ways := hows[k.name]; ways != nil {
			fmt.Fprintf(&lines, " (%s)", strings.Join(ways, ", "))
		}
		lines.WriteByte('\n')
	}
	return lines.String()
}

func kindOf(name string) *faultKind {
	if i := slices.IndexFunc(faultKinds, func(k faultKind) bool { return k.name == name }); i >= 0 {
		return &faultKinds[i]
	}
	return nil
}

// knows reports whether a kind is told with a field.
func (k *faultKind) knows(field string) bool { return slices.Contains(k.fields, field) }

// unknownKind refuses a kind, as it was written.
func unknownKind(kind string) error {
	names := make([]string, len(faultKinds))
	for i := range faultKinds {
		names[i] = faultKinds[i].name
	}
	return fmt.Errorf("unknown kind %s: want %s", kind, orList(names))
}

// orList names what may be chosen from.
func orList(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// unknown refuses a field.
func (k *faultKind) unknown(field string) error {
	if len(k.fields) == 0 {
		return fmt.Errorf("%s has no field %q: it has none", k.name, field)
	}
	return fmt.Errorf("%s has no field %q: want %s", k.name, field, strings.Join(k.fields, ", "))
}

// faultField is one of a Fault's fields by its name in POST /sim/faults.
type faultField struct {
	name string
	to   any // a pointer
}

func (f *Fault) fields() []faultField {
	return []faultField{
		{"percent", &f.Percent}, {"seconds", &f.Seconds}, {"n", &f.N}, {"lies", &f.Lies}, {"delay", &f.Delay}, {"ms", &f.MS},
		{"conn", &f.Conn}, {"path", &f.Path}, {"stream", &f.Stream}, {"symbol", &f.Symbol},
		{"how", &f.How}, {"contractType", &f.Contract}, {"gone", &f.Gone},
	}
}

// check refuses what cannot be, and fields that the kind does not know.
func (f *Fault) check() error {
	k := kindOf(f.Kind)
	if k == nil {
		return unknownKind(fmt.Sprintf("%q", f.Kind))
	}
	for _, field := range f.fields() {
		value := reflect.ValueOf(field.to).Elem()
		if !k.knows(field.name) {
			if !value.IsZero() {
				return k.unknown(field.name)
			}
		} else if want := f.wrong(field.name); want != "" {
			return fmt.Errorf("%s: %s %#v: want %s", f.Kind, field.name, value, want)
		}
	}
	return nil
}

// wrong is what a field should be and is not; "" where it is right.
func (f *Fault) wrong(field string) string {
	switch {
	case field == "seconds" && kindOf(f.Kind).once:
		if !(f.Seconds >= 0 && f.Seconds < maxSeconds) {
			return "0 or more, and less than a million"
		}
	case field == "symbol" && f.Kind == FaultList:
		return wrongName(upper(f.Symbol), f.Contract)
	case field == "contractType" && f.Contract != "" && !slices.Contains(contractTypes, f.Contract):
		return orList(contractTypes)
	case field == "percent" && !(f.Percent > 0 && f.Percent <= 100):
		return "more than 0, at most 100"
	case field == "seconds" && !(f.Seconds > 0 && f.Seconds < maxSeconds):
		return "more than 0 and less than a million"
	case field == "n" && (f.N < 1 || f.N > maxGarbage):
		return fmt.Sprintf("1 to %d", maxGarbage)
	case field == "delay" && !(f.Delay >= 0 && f.Delay <= maxDelay):
		return fmt.Sprintf("more than 0, at most %d", maxDelay)
	case field == "ms" && (f.MS == 0 || f.MS < -maxSkew || f.MS > maxSkew):
		return fmt.Sprintf("%d to %d, and not 0", -maxSkew, maxSkew)
	case field == "how" && f.How != "" && !slices.Contains(hows[f.Kind], f.How):
		return orList(hows[f.Kind])
	}
	return ""
}

// parseFault reads a fault as strictly as a user who mistypes would want.
func parseFault(body []byte) (f Fault, err error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(body, &values); err != nil {
		return f, fmt.Errorf("a fault is a JSON object as {\"kind\":\"disconnect\"}: %w", err)
	}
	if err := json.Unmarshal(values["kind"], &f.Kind); err != nil || kindOf(f.Kind) == nil {
		return f, unknownKind(string(values["kind"]))
	}
	k, fields := kindOf(f.Kind), f.fields()
	for name, value := range values {
		switch {
		case name == "kind":
			continue
		case !k.knows(name):
			return f, k.unknown(name)
		case name == "conn" && string(value) == `"all"`:
			continue
		}
		i := slices.IndexFunc(fields, func(field faultField) bool { return field.name == name })
		if err := json.Unmarshal(value, fields[i].to); err != nil {
			return f, fmt.Errorf("%s: %s %s: %w", f.Kind, name, value, err)
		}
	}
	return f, nil
}

// Fault makes something go wrong now and gives the numbers of the connections that it is about.
func (e *Exchange) Fault(f Fault) (conns []int, err error) { return e.fault(&f) }

// fault is Fault; what was left to the exchange, it says in f.
func (e *Exchange) fault(f *Fault) (conns []int, err error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.Symbol = upper(f.Symbol); f.Symbol != "" && f.Kind != FaultList && e.byName[f.Symbol] == nil {
		return nil, fmt.Errorf("%s: symbol %q: there is none", f.Kind, f.Symbol)
	}
	e.catchUp()
	e.releaseAll()
	k := kindOf(f.Kind)
	switch {
	case k.once && e.player != nil:
		err = fmt.Errorf("%s: its market is a tape", f.Kind)
	case f.Kind == FaultClear:
		e.faults = nil
	case f.Kind == FaultClockSkew:
		e.skew.Add(f.MS)
	case f.Kind == FaultList:
		err = e.list(f)
	case f.Kind == FaultDelist:
		err = e.delist(f)
	case k.knows("seconds"):
		e.faults = append(e.faults, &trouble{Fault: *f, until: time.Now().Add(time.Duration(f.Seconds * float64(time.Second)))})
	}
	if err != nil {
		return nil, err
	}
	conns = []int{}
	for num, c := range e.conns {
		if k.knows("conn") && !c.gone() && e.hits(f, c) && e.strike(f, c) {
			conns = append(conns, num)
		}
	}
	slices.Sort(conns)
	e.catchUp()
	return conns, nil
}

// strike does to a connection what a fault does at once, and reports whether there was anything to do it with.
func (e *Exchange) strike(f *Fault, c *conn) bool {
	switch f.Kind {
	case FaultDisconnect:
		c.abort()
	case FaultGarbage:
		return e.litter(f, c)
	}
	return true
}

// inForce are the faults that are not over; the caller holds e.mu.
func (e *Exchange) inForce() []*trouble {
	if len(e.faults) > 0 {
		now := time.Now()
		e.faults = slices.DeleteFunc(e.faults, func(t *trouble) bool { return !now.Before(t.until) })
	}
	return e.faults
}

package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/gobwas/ws"
)

// tooManyStreams is the answer to the 1025th stream; its connection is closed.
var tooManyStreams = []byte(`{"error":{"code":4,"msg":"Too many subscriptions"}}`)

// methods are those of the control messages.
var methods = []string{"SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"}

// request is a control message:
//
//	{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@depth"],"id":1}
type request struct {
	method string
	params []json.RawMessage
	id     string
}

// refusal is an error as the wire has it. A malformed request ends the connection.
type refusal struct {
	code      int
	msg       string
	malformed bool
}

// control answers a control message; false ends the connection.
func (e *Exchange) control(c *conn, message []byte) bool {
	req, bad := parseRequest(message)
	var result []byte
	if bad == nil {
		result, bad = e.answer(c, req)
	}
	switch {
	case bad == nil:
		c.control(ws.OpText, fmt.Appendf(nil, `{"result":%s,"id":%s}`, result, req.id))
		return true
	case bad.code == 4:
		c.control(ws.OpText, tooManyStreams)
		return false
	}
	msg, _ := json.Marshal(bad.msg)
	text := fmt.Appendf(nil, `{"error":{"code":%d,"msg":%s}`, bad.code, msg)
	if req.id != "" {
		text = fmt.Appendf(text, `,"id":%s`, req.id)
	}
	c.control(ws.OpText, append(text, '}'))
	return !bad.malformed
}

func malformed(format string, args ...any) *refusal {
	return &refusal{2, "Invalid request: " + fmt.Sprintf(format, args...), true}
}

// parseRequest reads a control message as strictly as the exchange does.
func parseRequest(message []byte) (req request, bad *refusal) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(message, &fields); err != nil || fields == nil {
		return req, notJSON(message, err)
	}
	if id := fields["id"]; validID(id) {
		req.id = string(id)
	}
	name, ok := fields["method"]
	if !ok {
		return req, malformed("missing field `method` %s", place(message, len(bytes.TrimRight(message, " \r\n\t"))))
	}
	if err := json.Unmarshal(name, &req.method); err != nil || !slices.Contains(methods, req.method) {
		return req, malformed("unknown variant `%s`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, "+
			"`SET_PROPERTY`, `GET_PROPERTY` %s", trimQuotes(name), place(message, methodEnd(message)))
	}
	if req.id == "" {
		return req, malformed("request ID must be an unsigned integer")
	}
	return req, req.read(fields["params"])
}

// methodEnd is where the method of a control message ends: the last one, as json.Unmarshal takes it.
func methodEnd(message []byte) (end int) {
	dec := json.NewDecoder(bytes.NewReader(message))
	_, _ = dec.Token() // it is an object: parseRequest has read it whole
	for dec.More() {
		key, _ := dec.Token()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			break
		}
		if key == "method" {
			end = int(dec.InputOffset())
		}
	}
	return end
}

// read takes the params; what the exchange says of those that are no array is not known.
func (r *request) read(params json.RawMessage) *refusal {
	broken := len(params) > 0 && json.Unmarshal(params, &r.params) != nil
	switch {
	case (r.method == "SUBSCRIBE" || r.method == "UNSUBSCRIBE") && r.params == nil:
		return malformed("params must be an array of stream names")
	case broken:
		return malformed("params must be an array")
	case r.method == "LIST_SUBSCRIPTIONS" && len(r.params) > 0:
		return malformed("too many parameters")
	}
	return nil
}

// validID reports whether id is an unsigned integer, which is what the exchange documents, or a string, which its own connectors
// send (32 hexadecimal digits; its spot documentation allows 36 characters).
func validID(id []byte) bool {
	var text string
	if json.Unmarshal(id, &text) == nil && bytes.HasPrefix(id, []byte{'"'}) {
		return len(text) <= 36
	}
	_, err := strconv.ParseUint(string(id), 10, 64)
	return err == nil
}

func trimQuotes(s []byte) []byte { return bytes.Trim(s, `"`) }

// notJSON is the refusal of what is not a JSON object.
func notJSON(message []byte, err error) *refusal {
	column := 1
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		column = int(syntax.Offset)
	}
	return &refusal{3, "Invalid JSON: expected value " + place(message, column), true}
}

// place says where in a message something ends, as the exchange does.
func place(message []byte, at int) string {
	before := message[:min(at, len(message))]
	return fmt.Sprintf("at line %d column %d", 1+bytes.Count(before, []byte("\n")), len(before)-1-bytes.LastIndexByte(before, '\n'))
}

// answer does what a well-formed request asks for and gives the result as JSON.
func (e *Exchange) answer(c *conn, req request) ([]byte, *refusal) {
	switch req.method {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		return e.change(c, req)
	case "LIST_SUBSCRIPTIONS":
		e.mu.Lock()
		defer e.mu.Unlock()
		list, _ := json.Marshal(append([]string{}, c.names...))
		return list, nil
	}
	return e.property(c, req)
}

// change subscribes or unsubscribes. Every name is acknowledged, known or not.
func (e *Exchange) change(c *conn, req request) ([]byte, *refusal) {
	names := make([]string, len(req.params))
	for i, p := range req.params {
		if json.Unmarshal(p, &names[i]) != nil || p[0] != '"' {
			return nil, malformed("params must be an array of stream names")
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		if req.method == "SUBSCRIBE" {
			e.add(c, name)
		} else {
			e.remove(c, name)
		}
	}
	if len(c.names) > maxStreams {
		return nil, &refusal{code: 4}
	}
	return []byte("null"), nil
}

// add subscribes a connection to a name; beyond the limit, to nothing more.
func (e *Exchange) add(c *conn, name string) {
	if c.set[name] {
		return
	}
	c.set[name] = true
	c.names = append(c.names, name)
	if len(c.names) <= maxStreams {
		e.subscribe(c, name)
	}
}

func (e *Exchange) remove(c *conn, name string) {
	if !c.set[name] {
		return
	}
	delete(c.set, name)
	c.names = slices.DeleteFunc(c.names, func(n string) bool { return n == name })
	e.unsubscribe(c, name)
}

// property gets or sets combined, the only property.
func (e *Exchange) property(c *conn, req request) ([]byte, *refusal) {
	want := 1
	if req.method == "SET_PROPERTY" {
		want = 2
	}
	var name string
	if len(req.params) > want {
		return nil, malformed("too many parameters")
	}
	if len(req.params) == 0 || json.Unmarshal(req.params[0], &name) != nil || req.params[0][0] != '"' {
		return nil, malformed("property name must be a string")
	}
	if name != "combined" {
		return nil, &refusal{code: 0, msg: "Unknown property"}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if want == 1 {
		return strconv.AppendBool(nil, c.combined), nil
	}
	if len(req.params) < 2 || json.Unmarshal(req.params[1], &c.combined) != nil || req.params[1][0] == 'n' {
		return nil, &refusal{code: 1, msg: "Invalid value type: expected Boolean"}
	}
	return []byte("null"), nil
}

package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// maxID bounds the id of a control message, in bytes of JSON.
const maxID = 256

// command is one control message: {"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}.
type command struct {
	method string
	names  []string // of SUBSCRIBE, UNSUBSCRIBE
	value  bool     // of SET_PROPERTY
	id     []byte   // as it came: an unsigned integer or a string
}

// controlError is an answer that refuses: {"error":{"code":2,"msg":"Invalid request: …"},"id":4}.
type controlError struct {
	code int
	msg  string
	id   []byte // nil where there is none to echo
	end  bool   // the connection is closed after it
}

func (e *controlError) Error() string { return fmt.Sprintf("%d: %s", e.code, e.msg) }

// answer is the text of e.
func (e *controlError) answer() []byte {
	msg, _ := json.Marshal(e.msg) // a string always marshals
	out := strconv.AppendInt([]byte(`{"error":{"code":`), int64(e.code), 10)
	out = append(append(append(out, `,"msg":`...), msg...), '}')
	if e.id != nil {
		out = append(append(out, `,"id":`...), e.id...)
	}
	return append(out, '}')
}

// The exchange's words (USDⓈ-M Futures, "Live Subscribing/Unsubscribing to streams"). A malformed message ends the
// connection, as on the wire.
func malformed(msg string, id []byte) *controlError {
	return &controlError{code: 2, msg: "Invalid request: " + msg, id: id, end: true}
}
func unknownProperty(id []byte) *controlError {
	return &controlError{code: 0, msg: "Unknown property", id: id}
}
func notBoolean(id []byte) *controlError {
	return &controlError{code: 1, msg: "Invalid value type: expected Boolean", id: id}
}
func tooManySubscriptions(id []byte) *controlError {
	return &controlError{code: 4, msg: "Too many subscriptions", id: id, end: true}
}

// tooManyOfAll is not the exchange's: what is subscribed stays.
func tooManyOfAll(id []byte) *controlError {
	return &controlError{code: 4, msg: "Too many subscriptions of all clients together", id: id}
}

// fields is a control message taken apart, with the place in the text where its method and the whole of it end. What it does not
// have is nil, an id that may not be one too.
type fields struct {
	method, params, id json.RawMessage
	methodEnd, end     int
}

// parseFields takes the top level of a control message apart. Keys are told apart by case; the last of two wins.
func parseFields(text []byte) (f fields, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return f, badJSON(text)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return f, badJSON(text)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return f, badJSON(text)
		}
		switch key {
		case "method":
			f.method, f.methodEnd = value, int(dec.InputOffset())
		case "params":
			f.params = value
		case "id":
			f.id = value
		}
	}
	if _, err := dec.Token(); err != nil {
		return f, badJSON(text)
	}
	f.end = int(dec.InputOffset())
	if !validID(f.id) {
		f.id = nil
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return f, badJSON(text)
	}
	return f, nil
}

// badJSON says where a text stops being the JSON of an object.
func badJSON(text []byte) *controlError {
	at := 1
	var whole json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(text, &whole), &syntax) {
		at = int(syntax.Offset)
	}
	return &controlError{code: 3, msg: "Invalid JSON: expected value " + place(text, at), end: true}
}

// place names an offset in text as the exchange does.
func place(text []byte, at int) string {
	before := text[:min(max(at, 1), len(text))]
	line := 1 + bytes.Count(before, []byte("\n"))
	return fmt.Sprintf("at line %d column %d", line, len(before)-1-bytes.LastIndexByte(before, '\n'))
}

// parseCommand reads a control message.
func parseCommand(text []byte) (cmd command, err error) {
	f, err := parseFields(text)
	if err != nil {
		return cmd, err
	}
	if f.method == nil {
		return cmd, malformed("missing field `method` "+place(text, f.end), f.id)
	}
	if !isString(f.method) || json.Unmarshal(f.method, &cmd.method) != nil || !slices.Contains(methods, cmd.method) {
		return cmd, unknownMethod(text, f, cmd.method)
	}
	if f.id == nil {
		return cmd, malformed("request ID must be an unsigned integer", nil)
	}
	cmd.id = f.id
	switch cmd.method {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		cmd.names, err = parseNames(f)
	case "LIST_SUBSCRIPTIONS":
		_, err = parseProperty(f, 0)
	case "GET_PROPERTY":
		_, err = parseProperty(f, 1)
	case "SET_PROPERTY":
		cmd.value, err = parseProperty(f, 2)
	}
	return cmd, err
}

// methods are those of control messages.
var methods = []string{"SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"}

// unknownMethod refuses a method that is none, and a value that is no string (as the wire has it: the documentation leaves out the
// quotes of what came).
func unknownMethod(text []byte, f fields, method string) *controlError {
	if !isString(f.method) {
		method = string(f.method)
	}
	return malformed(fmt.Sprintf("unknown variant `%s`, expected one of `%s` %s", method, strings.Join(methods, "`, `"), place(text, f.methodEnd)), f.id)
}

// isString reports whether a JSON value is a string.
func isString(value json.RawMessage) bool { return len(value) > 0 && value[0] == '"' }

// parseNames reads the params of SUBSCRIBE and UNSUBSCRIBE.
func parseNames(f fields) ([]string, error) {
	var list []json.RawMessage
	if json.Unmarshal(f.params, &list) != nil || list == nil {
		return nil, malformed("params must be an array of stream names", f.id)
	}
	names := make([]string, len(list))
	for i, name := range list {
		if !isString(name) || json.Unmarshal(name, &names[i]) != nil {
			return nil, malformed("params must be an array of stream names", f.id)
		}
	}
	return names, nil
}

// validID reports whether id is an unsigned integer or a string.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	if isString(id) {
		return true
	}
	for _, c := range id {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// parseProperty checks the params of a method that takes n of them: the property's name, and the value to set.
func parseProperty(f fields, n int) (value bool, err error) {
	var params []any
	if f.params != nil && json.Unmarshal(f.params, &params) != nil {
		return false, malformed("params must be an array", f.id)
	}
	if len(params) > n {
		return false, malformed("too many parameters", f.id)
	}
	if n == 0 {
		return false, nil
	}
	if len(params) == 0 {
		return false, malformed("property name must be a string", f.id)
	}
	name, ok := params[0].(string)
	if !ok {
		return false, malformed("property name must be a string", f.id)
	}
	if name != "combined" {
		return false, unknownProperty(f.id)
	}
	if n == 1 {
		return false, nil
	}
	if len(params) == 2 {
		if value, ok = params[1].(bool); ok {
			return value, nil
		}
	}
	return false, notBoolean(f.id)
}

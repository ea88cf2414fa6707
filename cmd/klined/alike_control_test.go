package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"

	"klined/market"
	"klined/sim"
)

// TestAlikeControl sends exchange and server the same control messages: they answer and end alike, byte for byte. Ids beyond 64 bits
// and 36 characters are the server's alone, and whether error 4 has an id is not known.
func TestAlikeControl(t *testing.T) {
	if raced {
		t.Skip("markets are run without the race detector: make test does both")
	}
	synctest.Test(t, func(t *testing.T) {
		m := startMarket(t, sim.Options{Symbols: 2, Rate: 1, Seed: 5, Start: at(t, "2027-01-05T09:57:20Z")}, options(t, market.SourceAggTrade, market.OneMinute))
		defer m.end()
		ended := 0
		for _, message := range controlMessages() {
			want := m.converse(t, m.options.REST, message)
			if got := m.converse(t, m.judge.server, message); got != want {
				t.Errorf("%s:\nserver   %s\nexchange %s", message, got, want)
			}
			if strings.Contains(want, "1008 Invalid request") {
				ended++
			}
		}
		if ended < 50 {
			t.Errorf("%d messages ended the connection: that is less than was meant to be compared", ended)
		}
	})
}

// controlMessages are good and bad ones.
func controlMessages() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, id := range []string{
		"0", "1", "18446744073709551615", `""`, `"a"`, `"é\u00e9\""`, `"` + strings.Repeat("x", 36) + `"`, "null", "1.0", "1.5", "-1", "1e3", "true", "[]", "{}", "01", "' 1'",
	} {
		add(`{"method":"SUBSCRIBE","params":["btcusdt@depth"],"id":%s}`, id)
	}
	methods := []string{"SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "GET_PROPERTY", "SET_PROPERTY"}
	for _, method := range methods {
		add(`{"method":"%s"}`, method)
		add(`{"method":"%s","id":1}`, method)
		add("{\n \"id\": 1,\n \"method\" : \"%s\" , \"x\":[{}] }\n", method)
		for _, params := range []string{
			"null", "[]", "{}", "7", "true", `"combined"`, `[""]`, `["combined"]`, `["combined",true]`, `["combined",false,1]`, `["combined",null]`, `["combined","true"]`, `["combined",0]`,
			`["x"]`, `["x",1]`, "[7]", "[7,true]", "[null]", `["a@b","a@b"]`, `["a@b",["c"]]`, `["BTCUSDT@kline_1m","nope@kline_1m","币安人生usdt@x"]`, `["a\"b\\c\u0000"]`,
		} {
			add(`{"method":"%s","params":%s,"id":1}`, method, params)
		}
	}
	for _, method := range []string{`"subscribe"`, `"JUMP"`, `""`, "7", "null", "[]", `"SUBSCRIBE "`} {
		add(`{"method":%s,"params":[],"id":4}`, method)
		add("{\n\"method\":%s}", method)
	}
	return append(all,
		`{}`, `{"id":1}`, "{\n\"params\":[],\n\"id\":3\n}\n", `{"Method":"LIST_SUBSCRIPTIONS","id":1}`, `{"method":"LIST_SUBSCRIPTIONS","ID":1}`, `{"method":"LIST_SUBSCRIPTIONS","id":1,"id":2}`,
		``, ` `, `[]`, `5`, `"x"`, `null`, `true`, `ping`, `{`, `{"method":`, `{"method":"LIST_SUBSCRIPTIONS","id":1}x`, `{"method":"LIST_SUBSCRIPTIONS","id":1}{}`, "{\"method\":\n oops}",
		`{"method":"LIST_SUBSCRIPTIONS",}`, `{"method":"SUBSCRIBE","params":["a"b"],"id":1}`, "\ufeff"+`{"method":"LIST_SUBSCRIPTIONS","id":1}`, ` {"method":"LIST_SUBSCRIPTIONS","id":1} `)
}

// converse sends one message on a connection of its own, and a close frame behind it: all that comes, and how it ended.
func (m *fakeMarket) converse(t *testing.T, base, message string) string {
	t.Helper()
	conn, _, _, err := ws.Dialer{NetDial: m.net.Dial}.Dial(t.Context(), strings.Replace(base, "http", "ws", 1)+"/market/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(message)))); err != nil {
		t.Fatal(err)
	}
	// Who has refused the message may have ended the connection by then.
	_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
	var heard strings.Builder
	for {
		f, err := ws.ReadFrame(conn)
		if err != nil {
			t.Fatalf("%s: %s: %v after %s", base, message, err, heard.String())
		}
		if f.Header.OpCode == ws.OpClose {
			code, reason := ws.ParseCloseFrameData(f.Payload)
			return fmt.Sprintf("%s%d %s", heard.String(), code, reason)
		}
		fmt.Fprintf(&heard, "%s\n", f.Payload)
	}
}

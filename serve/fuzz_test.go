package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"klined/market"
)

// FuzzQuestion: whatever is asked, the answer is one of those that there are, and where it refuses it says so in the exchange's form.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{
		"/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=3", "/fapi/v1/klines?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&interval=1M&startTime=1&endTime=9223372036854775807",
		"/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=1501", "/fapi/v2/ticker/price?symbol=BTCUSDT",
		"/klined/v1/klines?symbol=BTCUSDT&interval=1s&startTime=-1", "/udf/history?symbol=BTCUSDT&resolution=1S&from=0&to=99999999999&countback=5", "/udf/search?query=b&limit=9",
		"/udf/symbols?symbol=BTCUSDT", "/udf/symbol_info?group=klined", "/fapi/v1/depth?symbol=A;b=%zz", "//fapi/v1/ping", "/fapi/v1/klines?symbol=A%0d%0aB&interval=1m",
		"/ws/btcusdt@kline_1m/%2e%2e", "/stream?streams=btcusdt@kline_1m/x@y&revisions=2", "/fapi/v1/%2e%2e/%2e%2e/dapi/v1/ping", "/?symbol=<script>",
	} {
		f.Add(seed)
	}
	w := newWorld(f, fixedClock(at("12:02:30")))
	w.opt.Forward = &fakeForwarder{err: errDown}
	w.live.rows[minutes(btc)] = run(market.OneMinute, at("11:00:00"), at("12:03:00"), market.StateClosed)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.ParseRequestURI(text)
		if err != nil || !strings.HasPrefix(text, "/") {
			return
		}
		r := &http.Request{Method: http.MethodGet, URL: u, RequestURI: text, Host: "klined", Header: http.Header{}, RemoteAddr: local, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, r.WithContext(t.Context()))
		body := rec.Body.Bytes()
		switch code := rec.Code; {
		case code == http.StatusOK && strings.HasPrefix(u.Path, "/fapi/"), code == http.StatusOK && strings.HasPrefix(u.Path, "/udf/"):
			if !json.Valid(body) {
				t.Errorf("%q: %.200q", text, body)
			}
		case code == http.StatusOK, code/100 == 3:
		case code == http.StatusNotFound && !json.Valid(body): // net/http's own, of what lies beside our paths
		case code/100 == 4 || code == http.StatusServiceUnavailable:
			var said struct {
				Code int
				Msg  string
				S    string
			}
			if err := json.Unmarshal(body, &said); err != nil || said.Code >= 0 && said.S != "error" {
				t.Errorf("%q: %d %.200q: %v", text, code, body, err)
			}
		default:
			t.Errorf("%q: %d %.200q", text, code, body)
		}
		for name, values := range rec.Header() {
			if strings.ContainsAny(name+strings.Join(values, ""), "\r\n") {
				t.Errorf("%q: a header of several lines: %q", text, values)
			}
		}
	})
}

// FuzzStreamName: a name that stands for klines is the one that the exchange has for them, and one that leads to user data is never
// passed on.
func FuzzStreamName(f *testing.F) {
	for _, seed := range []string{"btcusdt@kline_1m", "币安人生usdt@kline_1M", "btcusdt_perpetual@continuousKline_1h", "币安人生usdt_tradifi_perpetual@continuousKline_1s",
		"BTCUSDT@kline_1m", "btcusdt@kline_", "@kline_1m", "btcusdt@kline_1m@kline_1m", "!miniTicker@arr", strings.Repeat("a", 64), "a@ORDER_TRADE_UPDATE", "\xff@kline_1m"} {
		f.Add(seed)
	}
	w := newWorld(f, fixedClock(at("12:02:30")))
	f.Fuzz(func(t *testing.T, name string) {
		series, form, ok := w.series(name)
		if !ok {
			return
		}
		sym := w.opt.Symbols.Get(series.Symbol)
		want := lower(sym.Name) + "@kline_" + series.Interval.String()
		if form == continuous {
			want = lower(sym.Name) + "_" + lower(w.opt.Contract(sym.ID)) + "@continuousKline_" + series.Interval.String()
		}
		if name != want || ofUserData(name, false) || !w.serves(series.Interval) || sym.ID == ended {
			t.Errorf("%q stands for %v, whose name is %q", name, series, want)
		}
	})
}

// FuzzClient: whatever bytes a client sends, what it gets is whole frames of text in the exchange's form, at most one close at the
// end, and nothing of it is left behind.
func FuzzClient(f *testing.F) {
	masked := func(frames ...ws.Frame) (wire []byte) {
		for _, frame := range frames {
			wire = append(wire, ws.MustCompileFrame(ws.MaskFrame(frame))...)
		}
		return wire
	}
	f.Add(masked(ws.NewTextFrame([]byte(`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`)), ws.NewPingFrame([]byte("x")), ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))))
	f.Add(masked(ws.NewFrame(ws.OpText, false, []byte(`{"method":`)), ws.NewPongFrame(nil), ws.NewFrame(ws.OpContinuation, true, []byte(`"LIST_SUBSCRIPTIONS","id":"a"}`))))
	f.Add(ws.MustCompileFrame(ws.NewTextFrame([]byte("{}")))) // without a mask
	f.Add([]byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, '{'})
	f.Add([]byte{0xf1, 0x80, 0, 0, 0, 0})
	w := newWorld(f, stdClock{})
	f.Fuzz(func(t *testing.T, wire []byte) {
		ours, theirs := net.Pipe()
		if !w.hub.admit() {
			t.Fatal("a client before has not left")
		}
		got := make(chan []byte, 1)
		go func() { // up to the close, or until the server hangs up
			var text bytes.Buffer
			for in := io.TeeReader(ours, &text); ; {
				if frame, err := ws.ReadFrame(in); err != nil || frame.Header.OpCode == ws.OpClose {
					break
				}
			}
			_ = ours.Close()
			got <- text.Bytes()
		}()
		w.hub.start(theirs, bufio.NewReader(theirs), wanted{})
		_, _ = ours.Write(wire)
		w.hub.clientsMu.Lock()
		for c := range w.hub.clients {
			c.shut(ws.StatusGoingAway, "") // behind its answers
		}
		w.hub.clientsMu.Unlock()
		text := <-got
		w.hub.running.Wait()
		if err := wellFramed(text); err != nil {
			t.Errorf("%x: answered %q: %v", wire, text, err)
		}
		if n := w.hub.admitted.Load() + w.hub.reading.Load() + w.hub.queued.Load() + w.hub.subscriptions.Load(); n != 0 {
			t.Errorf("%x: something is left", wire)
		}
	})
}

// wellFramed reports what is wrong with what a server sent.
func wellFramed(text []byte) error {
	in := bytes.NewReader(text)
	for closed := false; in.Len() > 0; {
		frame, err := ws.ReadFrame(in)
		switch {
		case err != nil:
			return err
		case closed:
			return errors.New("something behind the close")
		case frame.Header.Masked || !frame.Header.Fin || frame.Header.Rsv != 0:
			return errors.New("a frame that no server sends")
		}
		switch frame.Header.OpCode {
		case ws.OpText:
			if !utf8.Valid(frame.Payload) || !json.Valid(frame.Payload) {
				return errors.New("no JSON")
			}
		case ws.OpClose:
			closed = true
		case ws.OpPong:
		default:
			return errors.New("a frame of another kind")
		}
	}
	return nil
}

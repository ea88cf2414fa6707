package binance

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
)

// message is what a framer hands out, kept.
type message struct {
	Op      ws.OpCode
	Payload string
}

// chunks is a reader that gives at most so many bytes at a time.
type chunks struct {
	text []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.text[:min(c.size, len(c.text))])
	c.text = c.text[n:]
	return n, nil
}

// cut runs a framer over text that arrives in chunks, until it ends or fails.
func cut(text []byte, size int) (messages []message, err error) {
	f := newFramer(&chunks{text, size}, nil)
	for {
		op, payload, ok, err := f.next()
		switch {
		case err != nil:
			return messages, err
		case ok:
			messages = append(messages, message{op, string(payload)})
			continue
		}
		if err := f.fill(); err != nil {
			return messages, err
		}
	}
}

func compiled(frames ...ws.Frame) []byte {
	var text []byte
	for _, f := range frames {
		text = append(text, ws.MustCompileFrame(f)...)
	}
	return text
}

func TestFramer(t *testing.T) {
	part := func(op ws.OpCode, fin bool, text string) ws.Frame { return ws.NewFrame(op, fin, []byte(text)) }
	long, longer := strings.Repeat("a", 200), strings.Repeat("b", 3*readBuffer)
	f := func(name string, text []byte, want []message, wantErr error) {
		t.Helper()
		for _, size := range []int{1, 2, 3, 7, 1 << 10, 1 << 20} {
			if size < 7 && len(text) > readBuffer {
				continue
			}
			got, err := cut(text, size)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %d bytes at a time: (−want +got)\n%.400s", name, size, diff)
			}
			if !errors.Is(err, wantErr) {
				t.Errorf("%s, %d bytes at a time: error %v, want %v", name, size, err, wantErr)
			}
		}
	}
	f("lengths of 7, 16 and 64 bits", compiled(ws.NewTextFrame([]byte("x")), ws.NewTextFrame([]byte(long)), ws.NewTextFrame([]byte(longer)), ws.NewBinaryFrame(nil)),
		[]message{{ws.OpText, "x"}, {ws.OpText, long}, {ws.OpText, longer}, {ws.OpBinary, ""}}, io.EOF)
	f("fragments with a ping between", compiled(part(ws.OpText, false, "one "), part(ws.OpPing, true, "p"), part(ws.OpContinuation, false, ""),
		part(ws.OpContinuation, true, "two"), part(ws.OpText, true, "three")),
		[]message{{ws.OpPing, "p"}, {ws.OpText, "one two"}, {ws.OpText, "three"}}, io.EOF)
	f("masked", compiled(ws.NewTextFrame([]byte("ok")), ws.MaskFrame(ws.NewTextFrame([]byte("no")))), []message{{ws.OpText, "ok"}}, errMasked)
	f("reserved bit", []byte{0x80 | 0x40 | 1, 0}, nil, errReserved)
	f("reserved opcode", []byte{0x80 | 3, 0}, nil, errReserved)
	f("long ping", []byte{0x80 | 9, 126, 0, 126}, nil, errControl)
	f("fragmented ping", []byte{9, 0}, nil, errControl)
	f("continuation of nothing", []byte{0x80, 0}, nil, errFragments)
	f("text among fragments", compiled(part(ws.OpText, false, "a"), part(ws.OpText, true, "b")), nil, errFragments)
	f("too large", []byte{0x80 | 1, 127, 0, 0, 0, 0, 0, 0x80, 0, 1}, nil, errTooLarge)
	f("far too large", []byte{0x80 | 1, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nil, errTooLarge)
	half := ws.NewFrame(ws.OpText, false, make([]byte, maxMessage/2+1))
	rest := ws.NewFrame(ws.OpContinuation, true, half.Payload)
	f("too large in parts", compiled(half, rest), nil, errTooLarge)
}

// TestFramerTakesWhatIsThere: one read may bring many frames and part of one; the buffer is used again.
func TestFramerTakesWhatIsThere(t *testing.T) {
	frame := ws.MustCompileFrame(ws.NewTextFrame([]byte(aggFrame)))
	text := bytes.Repeat(frame, 2000)
	f := newFramer(&chunks{text[10:], 1 << 20}, text[:10])
	buffer := &f.buf[0]
	n := 0
	for {
		_, payload, ok, err := f.next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			if n++; string(payload) != aggFrame {
				t.Fatalf("message %d is %q", n, payload)
			}
			continue
		}
		if f.fill() != nil {
			break
		}
	}
	if n != 2000 || &f.buf[0] != buffer {
		t.Errorf("%d messages, same buffer %t", n, &f.buf[0] == buffer)
	}
}

func TestCloseError(t *testing.T) {
	for body, want := range map[string]string{
		string(ws.NewCloseFrameBody(1008, "Invalid request")): "the exchange closed the connection: 1008 Invalid request",
		string(ws.NewCloseFrameBody(1001, "")):                "the exchange closed the connection: 1001",
		"":                                                    "the exchange closed the connection: 1005",
	} {
		if got := closeError([]byte(body)).Error(); got != want {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}

// sequence is what gobwas/ws makes of the same bytes, held to what a server may send.
func sequence(text []byte) (messages []message, whole bool) {
	src, started, parts := bytes.NewReader(text), ws.OpContinuation, []byte(nil)
	for {
		if src.Len() == 0 {
			return messages, true
		}
		h, err := ws.ReadHeader(src)
		if err != nil {
			return messages, false
		}
		state := ws.StateClientSide
		if started != ws.OpContinuation {
			state |= ws.StateFragmented
		}
		if ws.CheckHeader(h, state) != nil || h.Masked || h.Rsv != 0 || h.Length > maxMessage {
			return messages, false
		}
		payload := make([]byte, min(int(h.Length), src.Len()))
		_, _ = io.ReadFull(src, payload)
		if len(payload) < int(h.Length) {
			return messages, false
		}
		switch {
		case h.OpCode.IsControl():
			messages = append(messages, message{h.OpCode, string(payload)})
			continue
		case h.OpCode != ws.OpContinuation:
			started, parts = h.OpCode, nil
		}
		if parts = append(parts, payload...); h.Fin {
			messages = append(messages, message{started, string(parts)})
			started = ws.OpContinuation
		}
	}
}

func FuzzFramer(f *testing.F) {
	f.Add(compiled(ws.NewTextFrame([]byte("abc")), ws.NewPingFrame([]byte("1791382992488")), ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "Too many requests"))), 3)
	f.Add(compiled(ws.NewFrame(ws.OpText, false, []byte("a")), ws.NewPongFrame(nil), ws.NewFrame(ws.OpContinuation, true, []byte("b"))), 1)
	f.Add([]byte{0x81, 126, 0, 1, 'x', 0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'y'}, 2)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		want, whole := sequence(text)
		got, err := cut(text, max(1, size))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%x, %d bytes at a time: (−want +got)\n%s", text, size, diff)
		}
		if whole && err != io.EOF {
			t.Fatalf("%x: %v", text, err)
		}
	})
}

func BenchmarkFramer(b *testing.B) {
	const frames = 300
	frame := ws.MustCompileFrame(ws.NewTextFrame([]byte(aggFrame)))
	text := bytes.Repeat(frame, frames)
	src := &chunks{size: 1 << 20}
	f := newFramer(src, nil)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		src.text = text
		if err := f.fill(); err != nil {
			b.Fatal(err)
		}
		for n := 0; ; n++ {
			if _, _, ok, err := f.next(); err != nil || !ok && n != frames {
				b.Fatal(n, err)
			} else if !ok {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/frames, "ns/frame")
}

package binance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gobwas/ws"
)

const (
	readBuffer = 64 << 10 // what one read may bring; it grows for a larger message
	maxMessage = 8 << 20  // beyond it the connection ends
)

// CloseError is the exchange's word at the end of a connection.
type CloseError struct {
	Code   int // RFC 6455, section 7.4; 1005 where it sent none
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the exchange closed the connection: %d", e.Code)
	}
	return fmt.Sprintf("the exchange closed the connection: %d %s", e.Code, e.Reason)
}

// Why bytes are not the WebSocket frames of a server.
var (
	errTooLarge  = fmt.Errorf("a message of more than %d bytes", maxMessage)
	errMasked    = errors.New("a masked frame from the server")
	errReserved  = errors.New("a frame with reserved bits or a reserved opcode")
	errControl   = errors.New("a control frame that is fragmented or too long")
	errFragments = errors.New("fragments out of order")
)

// framer cuts the bytes of a connection into messages, in place. It is not safe for concurrent use.
//
//	 0               1               2               3
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| Payload len |  Extended payload length      |
//	|I|S|S|S|  (4)  |A|     (7)     |  (16 if len = 126,            |
//	|N|V|V|V|       |S|             |   64 if len = 127)            |
//	| |1|2|3|       |K|             |                               |
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//
// (RFC 6455, section 5.2; a server sends no masking key.)
type framer struct {
	src     io.Reader
	buf     []byte // buf[r:w] has been read and not been handed out
	r, w    int
	want    int       // bytes that the frame at r needs, where it is not complete
	parts   []byte    // the fragments of a message so far
	started ws.OpCode // what the fragments are of; OpContinuation where there are none
}

// newFramer reads from src what follows head, which has been read already.
func newFramer(src io.Reader, head []byte) *framer {
	f := &framer{src: src, buf: make([]byte, max(readBuffer, len(head)))}
	f.w = copy(f.buf, head)
	return f
}

// fill reads once. What next has handed out is no longer valid after it.
func (f *framer) fill() error {
	if f.r > 0 { // what is left is less than one frame
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.want > len(f.buf) {
		larger := make([]byte, max(f.want, 2*len(f.buf)))
		f.w = copy(larger, f.buf[:f.w])
		f.buf = larger
	}
	n, err := f.src.Read(f.buf[f.w:])
	f.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// next hands out the next message, or the next control frame; false where the rest of it has not been read yet.
// The payload is valid until the next call of fill.
func (f *framer) next() (op ws.OpCode, payload []byte, ok bool, err error) {
	for {
		h, size, ok, err := f.header()
		if !ok || err != nil {
			return 0, nil, false, err
		}
		if f.want = size + int(h.Length); f.w-f.r < f.want {
			return 0, nil, false, nil
		}
		payload := f.buf[f.r+size : f.r+f.want]
		f.r += f.want
		f.want = 0
		if h.Fin && h.OpCode != ws.OpContinuation {
			return h.OpCode, payload, true, nil
		}
		f.parts = append(f.parts, payload...)
		if h.Fin {
			op := f.started
			payload, f.parts, f.started = f.parts, nil, ws.OpContinuation
			return op, payload, true, nil
		}
		if h.OpCode != ws.OpContinuation {
			f.started = h.OpCode
		}
	}
}

// header reads the header at r; false where it has not been read whole.
func (f *framer) header() (h ws.Header, size int, ok bool, err error) {
	b := f.buf[f.r:f.w]
	if len(b) < 2 {
		f.want = 2
		return h, 0, false, nil
	}
	h = ws.Header{Fin: b[0]&0x80 != 0, Rsv: b[0] >> 4 & 7, OpCode: ws.OpCode(b[0] & 0x0f), Masked: b[1]&0x80 != 0}
	size = 2
	length := uint64(b[1] & 0x7f)
	switch length {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if len(b) < size {
		f.want = size
		return h, size, false, nil
	}
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		length = binary.BigEndian.Uint64(b[2:])
	}
	if length+uint64(len(f.parts)) > maxMessage || length > maxMessage {
		return h, size, false, errTooLarge
	}
	h.Length = int64(length)
	return h, size, true, f.check(h)
}

// check refuses what a server may not send now.
func (f *framer) check(h ws.Header) error {
	fragments := f.started != ws.OpContinuation
	switch {
	case h.Masked:
		return errMasked
	case h.Rsv != 0 || h.OpCode.IsReserved():
		return errReserved
	case h.OpCode.IsControl():
		if !h.Fin || h.Length > ws.MaxControlFramePayloadSize {
			return errControl
		}
	case (h.OpCode == ws.OpContinuation) != fragments:
		return errFragments
	}
	return nil
}

// closeError reads the payload of a close frame.
func closeError(payload []byte) *CloseError {
	if len(payload) < 2 {
		return &CloseError{Code: int(ws.StatusNoStatusRcvd)}
	}
	return &CloseError{Code: int(binary.BigEndian.Uint16(payload)), Reason: string(payload[2:])}
}

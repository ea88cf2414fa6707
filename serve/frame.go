package serve

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"klined/market"
)

// frame is one encoded WebSocket frame. It is shared by the queues of many clients: all but waits is read only.
type frame struct {
	data  []byte
	kind  kind
	open  market.Time  // the kline's open time
	mark  *mark        // nil where nothing is measured
	waits atomic.Int32 // for how many clients it waits, or is being written
}

// kind says what a frame may replace, and what may replace it, while it waits.
type kind uint8

const (
	lasting kind = iota // nothing: facts, answers, pings
	running             // an open kline: a newer version, or its close, replaces it
	closing             // a closed kline: it replaces the open one
)

// mark measures one push: whoever first writes a frame of it to a client.
type mark struct {
	received time.Time   // of the oldest frame behind it; zero where none was
	boundary market.Time // 0 for open klines
	done     atomic.Bool
}

// maxHeader is the longest frame header that a server writes.
const maxHeader = 10

// envelope begins a frame: room for its header, and before the payload the name of its stream where that is wanted. The
// payload is to be appended, and the frame closed with sealed.
func envelope(stream string, wrapped bool, size int) []byte {
	if !wrapped {
		return make([]byte, maxHeader, maxHeader+size)
	}
	buf := make([]byte, maxHeader, maxHeader+size+len(stream)+32)
	buf = append(buf, `{"stream":"`...)
	return append(append(buf, stream...), `","data":`...)
}

// sealed is the bytes of a frame that envelope began.
func sealed(buf []byte, wrapped bool) []byte {
	if wrapped {
		buf = append(buf, '}')
	}
	return seal(buf, ws.OpText)
}

// seal writes the header of a frame before its payload, which begins at maxHeader in buf.
func seal(buf []byte, op ws.OpCode) []byte {
	n := len(buf) - maxHeader
	var header [maxHeader]byte
	h := append(header[:0], 0x80|byte(op)) // FIN
	switch {
	case n < 126:
		h = append(h, byte(n))
	case n < 1<<16:
		h = append(h, 126, byte(n>>8), byte(n))
	default:
		h = append(h, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	at := maxHeader - len(h)
	copy(buf[at:], h)
	return buf[at:]
}

// control makes a frame of a client's own: an answer, a ping, a pong.
func control(op ws.OpCode, payload []byte) *frame {
	buf := make([]byte, maxHeader, maxHeader+len(payload))
	return &frame{data: seal(append(buf, payload...), op)}
}

// ping is a ping as the exchange sends it: the payload is the time, ms.
func ping(now time.Time) *frame {
	return control(ws.OpPing, strconv.AppendInt(nil, now.UnixMilli(), 10))
}

package health

import (
	"errors"
	"io"
	"net"
)

// ReconnectReason is why a connection that has failed ended, in one word: a label of Metrics.Reconnects.
func ReconnectReason(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return "error"
}

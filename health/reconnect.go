package health

import (
	"errors"
	"io"
	"net"
)

// Why a connection failed.
const (
	reasonTimeout = "timeout"
	reasonEOF     = "eof"
	reasonError   = "error"
)

// ReconnectReasons are the words that ReconnectReason knows.
func ReconnectReasons() []string { return []string{reasonTimeout, reasonEOF, reasonError} }

// ReconnectReason is why a connection that has failed ended, in one word: a label of Metrics.Reconnects.
func ReconnectReason(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return reasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return reasonEOF
	}
	return reasonError
}

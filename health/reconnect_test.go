package health

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
)

func TestReconnectReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{io.EOF, "eof"},
		{fmt.Errorf("cut: %w", io.ErrUnexpectedEOF), "eof"},
		{fmt.Errorf("nothing has come: %w", os.ErrDeadlineExceeded), "timeout"},
		{errors.New("1008 Too many requests"), "error"},
	} {
		if got := ReconnectReason(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

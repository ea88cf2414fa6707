package main

import (
	"strings"
	"testing"
)

// TestListenFamily: an IPv4 address is listened on alone, not with those of IPv6; and who asks for
// one that is taken is told how to ask for another.
func TestListenFamily(t *testing.T) {
	for addr, want := range map[string]string{"0.0.0.0:0": "0.0.0.0:", "127.0.0.1:0": "127.0.0.1:"} {
		l, err := network{}.listen("listen", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Addr().String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: at %s", addr, got)
		}
		if _, err := (network{}).listen("admin", l.Addr().String()); err == nil || !strings.HasSuffix(err.Error(), " (--admin takes another)") {
			t.Errorf("%s, which is taken: %v", l.Addr(), err)
		}
		_ = l.Close()
	}
}

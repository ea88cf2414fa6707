package main

import (
	"strings"
	"testing"
)

// TestListenFamily: an IPv4 address is listened on alone, not with those of IPv6.
func TestListenFamily(t *testing.T) {
	for addr, want := range map[string]string{"0.0.0.0:0": "0.0.0.0:", "127.0.0.1:0": "127.0.0.1:"} {
		l, err := network{}.listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Addr().String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: at %s", addr, got)
		}
		_ = l.Close()
	}
}

package main

import "testing"

// TestCapacityFlag: what cannot be carried is refused with the flag that allows more.
func TestCapacityFlag(t *testing.T) {
	for _, c := range []struct {
		symbols, lanes, capacity int
		want                     string
	}{
		{1500, 4, 1500, ""},
		{1501, 4, 1500, "1501 symbols are more than --capacity 1500"},
		{1024, 1, 1500, ""},
		{1025, 1, 1500, "1025 symbols on 1 lanes are 1025 streams a connection; the exchange allows 1024: use more --lanes"},
	} {
		got := ""
		if err := checkCapacity(c.symbols, c.lanes, c.capacity); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%d on %d lanes: %q, want %q", c.symbols, c.lanes, got, c.want)
		}
	}
}

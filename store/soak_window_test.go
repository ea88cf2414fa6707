//go:build soak

package store

import "testing"

// TestSoakWindow is TestWindowIsNoOtherAnswer in many cases.
func TestSoakWindow(t *testing.T) {
	windowIsNoOtherAnswer(t, 3000)
}

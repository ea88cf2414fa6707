//go:build race

package store

// raced is true under the race detector, which makes everything ten times slower. What runs in one goroutine runs without it.
const raced = true

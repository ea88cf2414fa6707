//go:build race

package sim

// raced is true under the race detector, which makes everything ten times slower. The longest markets run without it.
const raced = true

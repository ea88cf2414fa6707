//go:build race

package main

// raced is true under the race detector, which makes everything ten times slower: markets are smaller there.
const raced = true

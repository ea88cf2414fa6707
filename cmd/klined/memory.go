package main

import (
	"os"
	"runtime/debug"
)

// besideWindow is what the server's memory may take beside the window, garbage included: 256 MiB that wait for clients, 150 for
// a full outbox, 80 for feed and lanes of 800 symbols, 80 for as many clients as there may be, 70 for as many subscriptions (250
// where they name nothing that is here), 64 for messages that are not whole. Hardly two of these are full on one day; the rest is
// for garbage. What SQLite takes comes on top: it does its own accounts, and is bounded by its caches, 48 MiB.
const besideWindow = 700 << 20

// aSymbol is what a symbol beyond the usual capacity may take, in all parts.
const aSymbol = 100 << 10

// limitMemory has garbage collected before the process takes more than its parts may, unless the user has set GOMEMLIMIT.
func limitMemory(window int64, capacity int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(window + besideWindow + int64(max(0, capacity-defaultCapacity))*aSymbol)
	}
}

package health

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Stacks is where every goroutine of the process is, for the log of a process that does not end: one entry for all that are at
// the same place, its number first, then the calls, the innermost first.
func Stacks() []string {
	records := make([]runtime.StackRecord, 2*runtime.NumGoroutine()+64)
	n, _ := runtime.GoroutineProfile(records) // as many as there is room for
	counts := make(map[string]int)
	for i := range records[:min(n, len(records))] {
		counts[calls(records[i].Stack())]++
	}
	stacks := make([]string, 0, len(counts))
	for stack, n := range counts {
		stacks = append(stacks, fmt.Sprintf("%d at %s", n, stack))
	}
	slices.Sort(stacks)
	return stacks
}

// calls is a stack in one line.
func calls(stack []uintptr) string {
	var line strings.Builder
	frames := runtime.CallersFrames(stack)
	for {
		f, more := frames.Next()
		if line.Len() > 0 {
			line.WriteString(" < ")
		}
		fmt.Fprintf(&line, "%s:%d", f.Function, f.Line)
		if !more {
			return line.String()
		}
	}
}

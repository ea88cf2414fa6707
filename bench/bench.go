// Package bench measures what klined costs on this machine, each figure beside a baseline of the same run.
package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Row is one figure. Ratio is Baseline over Value: higher is better.
type Row struct {
	Name          string  `json:"name"`
	What          string  `json:"what"`
	Unit          string  `json:"unit"`
	Value         float64 `json:"value"`
	Allocs        float64 `json:"allocs"` // of one unit of work; −1 where they are not counted
	Baseline      string  `json:"baseline"`
	BaselineValue float64 `json:"baseline_value"`
	Ratio         float64 `json:"ratio"`
	P99           float64 `json:"p99,omitempty"` // where Value is a median of delays
}

// Report is the rows of one run.
type Report struct {
	Machine string `json:"machine"`
	Rows    []Row  `json:"rows"`
}

// Options say what is measured.
type Options struct {
	Rows   []string     // names; all where empty
	Rounds int          // in each of which every row is measured once, and its baseline; 3 where 0
	Peer   Peer         // starts the other ends of connections
	Say    func(string) // hears what is being measured; may be nil
	Scale  int          // each sample is so many times smaller than it should be, for tests that only look whether it works; 1 where 0
}

// scaled is n in a sample of this scale, and not less than least.
func (o *Options) scaled(n, least int) int { return max(n/max(o.Scale, 1), least) }

// subject is what a row measures: value and baseline alternate, round by round.
type subject struct {
	name, what, unit, baseline string
	open                       func(context.Context, Options) (*pair, error)
}

// pair measures a row and its baseline once more with each call.
type pair struct {
	value, baseline func(context.Context) (sample, error)
	close           func()
}

// sample is one measurement.
type sample struct{ value, allocs, p99 float64 }

// subjects are all rows, in their order.
var subjects = []subject{decodeRow, pathRow, lanesRow, socketRow, tlsRow, pushRow, boundaryRow, commitRow, klinesRow, fanoutRow(1000), fanoutRow(10_000), memoryRow}

// Names are the names of all rows.
func Names() (names []string) {
	for i := range subjects {
		names = append(names, subjects[i].name)
	}
	return names
}

// Run measures: several rounds, of which each row shows the median.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	report := &Report{Machine: machine()}
	for i := range subjects {
		if s := &subjects[i]; len(o.Rows) == 0 || slices.Contains(o.Rows, s.name) {
			o.Say(s.name)
			row, err := s.measure(ctx, o)
			if err != nil {
				return report, fmt.Errorf("%s: %w", s.name, cmp.Or(ctx.Err(), err))
			}
			report.Rows = append(report.Rows, row)
		}
	}
	return report, nil
}

func (s *subject) measure(ctx context.Context, o Options) (Row, error) {
	row := Row{Name: s.name, What: s.what, Unit: s.unit, Baseline: s.baseline}
	p, err := s.open(ctx, o)
	if err != nil {
		return row, err
	}
	if p.close != nil {
		defer p.close()
	}
	var values, baselines []sample
	for range o.Rounds {
		for _, half := range []struct {
			measure func(context.Context) (sample, error)
			into    *[]sample
		}{{p.value, &values}, {p.baseline, &baselines}} {
			if err := ctx.Err(); err != nil {
				return row, err
			}
			runtime.GC()
			one, err := half.measure(ctx)
			if err != nil {
				return row, err
			}
			*half.into = append(*half.into, one)
		}
	}
	middle := median(values)
	row.Value, row.Allocs, row.P99 = middle.value, middle.allocs, middle.p99
	row.BaselineValue = median(baselines).value
	row.Ratio = row.BaselineValue / row.Value
	return row, nil
}

// median is the sample in the middle.
func median(samples []sample) sample {
	slices.SortFunc(samples, func(a, b sample) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	return samples[len(samples)/2]
}

// machine names the processor, how many of it there are, and what the program was built with.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(text), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"klined/bench"
)

// newBenchCommand is the command klined bench.
func newBenchCommand() *cobra.Command {
	var asJSON bool
	var o bench.Options
	var peer []string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "what klined costs on this machine, beside what is usual",
		Long: `Measures the hot path, pushes, the store and REST on this machine, each beside a baseline of the same run: how it is
usually written, or the least it could cost. Several rounds, alternating; each figure is the median. The ratio is
baseline over value: higher is better. About three minutes; nothing else should be running.

Rows: ` + strings.Join(bench.Names(), ", ") + ".",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(peer) > 0 {
				return bench.ServePeer(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), peer)
			}
			for _, row := range o.Rows {
				if !slices.Contains(bench.Names(), row) {
					return &usageError{fmt.Errorf("--rows %q: no such row%s; there are %s", row, nearest(row, bench.Names()), strings.Join(bench.Names(), ", "))}
				}
			}
			if o.Rounds < 1 || o.Rounds > 100 {
				return &usageError{fmt.Errorf("--rounds %d: want 1 to 100", o.Rounds)}
			}
			o.Peer = startPeer
			o.Say = func(row string) { fmt.Fprintf(cmd.ErrOrStderr(), "measuring %s\n", row) }
			report, err := bench.Run(cmd.Context(), o)
			if len(report.Rows) == 0 && err != nil {
				return err
			}
			if asJSON { // what has been measured is shown, whatever happened to the rest
				return errors.Join(err, writeJSON(cmd.OutOrStdout(), report))
			}
			return errors.Join(err, writeReport(cmd.OutOrStdout(), report))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringSliceVar(&o.Rows, "rows", nil, "measure only the rows of `LIST`")
	f.IntVar(&o.Rounds, "rounds", 3, "measure each row `N` times")
	f.StringArrayVar(&peer, "peer", nil, "be the other end of connections")
	_ = f.MarkHidden("peer")
	return cmd
}

// startPeer runs this program as the other end of connections.
func startPeer(ctx context.Context, args ...string) (*bench.PeerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line := []string{"bench"}
	for _, arg := range args {
		line = append(line, "--peer", arg)
	}
	return bench.StartPeer(exec.CommandContext(ctx, self, line...))
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeReport prints a report as a table, and below it what the rows and their baselines are.
func writeReport(w io.Writer, report *bench.Report) error {
	fmt.Fprintf(w, "%s\n\n", report.Machine)
	var rows strings.Builder
	rows.WriteString("row\tvalue\tbaseline\tratio\tp99\tallocs\tunit\t\n")
	dash := func(v float64, none bool) string {
		if none {
			return "–"
		}
		return figure(v)
	}
	for _, r := range report.Rows {
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%.2f\t%s\t%s\t%s\t\n", r.Name, figure(r.Value), figure(r.BaselineValue), r.Ratio, dash(r.P99, r.P99 == 0), dash(r.Allocs, r.Allocs < 0), r.Unit)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := io.WriteString(t, rows.String()); err != nil {
		return err
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range report.Rows {
		fmt.Fprintf(w, "\n%s: %s\n  baseline: %s\n", r.Name, r.What, r.Baseline)
	}
	return nil
}

// figure is a number with three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

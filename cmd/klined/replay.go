package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"klined/market"
)

const replayHelp = `Reads trades from files and prints their klines.

What a file holds is told by its content: the exchange's archive CSV of aggTrades or trades, with a header or without,
in milliseconds or microseconds, or lines of frames as received, bare or wrapped, behind a clock or not; each plain,
gzip, zstd or zip with one file in it. Several files are read in order and taken together: all tapes of a folder that
klined serve --record wrote, for instance, where each trade came over two connections. - is what comes on stdin.

Every kline that has trades is printed, the last one too. Trades that come twice count once, in whatever order they
come. Ids that are missing, trades of quantity 0 (which add nothing), rows that cannot be read, lines without a frame and what a tape
says it left out are reported on stderr. Where the input
holds both aggTrades and trades of a symbol, the trades count, where they fill every kline that the aggTrades have and are at
least 99 in 100 of those that these stand for; else the aggTrades.

Archive CSV does not name its symbol: --symbol does, or a file name like BTCUSDT-aggTrades-2026-09.zip. Several
symbols or intervals need --out, where each series becomes a file like BTCUSDT-1m.csv (1M is written 1mo, as in the
archive: names that differ by case only are one name on some disks).

Numbers are written with the symbol's digits from --exchange-info, else with the most digits seen in the input, where 9.31E-6 has
eight.`

// replayOptions are the flags of replay.
type replayOptions struct {
	symbol       string
	intervals    []market.Interval
	exchangeInfo string
	format       string
	out          string
}

// newReplayCommand is the command klined replay.
func newReplayCommand() *cobra.Command {
	var o replayOptions
	var intervals string
	cmd := &cobra.Command{
		Use:   "replay FILE…",
		Short: "trades in files → klines on stdout",
		Long:  replayHelp,
		Args: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return &usageError{errors.New("replay: which files?")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := o.parse(intervals, files); err != nil {
				return &usageError{err}
			}
			return replay(cmd.Context(), o, files, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.symbol, "symbol", "", "`NAME` of the symbol to replay; of archive CSV, which names none")
	flags.StringVar(&intervals, "interval", "1m", "`INTERVAL` of the klines; with --out a list, as in 1m,1h")
	flags.StringVar(&o.exchangeInfo, "exchange-info", "", "`FILE`: take the digits from this exchangeInfo answer")
	flags.StringVar(&o.format, "format", "csv", "`csv|jsonl`")
	flags.StringVar(&o.out, "out", "", "`DIR` to write one file per series into")
	return cmd
}

// parse reads what the flags hold as text, and looks at the names of files.
func (o *replayOptions) parse(intervals string, files []string) error {
	o.symbol = strings.ToUpper(o.symbol)
	for name := range strings.SplitSeq(intervals, ",") {
		iv, err := market.ParseInterval(strings.TrimSpace(name))
		if err != nil {
			return fmt.Errorf("--interval: %w", err)
		}
		o.intervals = append(o.intervals, iv)
	}
	if len(o.intervals) > 1 && o.out == "" {
		return fmt.Errorf("--interval %s: several intervals need --out", intervals)
	}
	if o.format != "csv" && o.format != "jsonl" {
		return fmt.Errorf("--format %q: want csv or jsonl", o.format)
	}
	files = append(slices.Clone(files), o.exchangeInfo)
	if first := slices.Index(files, stdinName); first >= 0 && slices.Contains(files[first+1:], stdinName) {
		return errors.New("- stands twice: stdin can be read once")
	}
	return nil
}

// replay reads files in order and writes the klines of their trades. What can be read is written even where an error
// is returned; all but the last of several errors stand on stderr.
func replay(ctx context.Context, o replayOptions, files []string, stdout, stderr io.Writer) error {
	in := newReplayInput(o, stderr)
	var failed error
	for _, name := range files {
		err := in.readFile(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && failed != nil {
			in.report("%v", failed)
		}
		if err != nil {
			failed = err
		}
	}
	books := in.chosen()
	if len(books) == 0 && failed != nil {
		return failed
	}
	if len(books) == 0 {
		return in.nothing()
	}
	if len(books) > 1 && o.out == "" {
		return fmt.Errorf("the input holds %d symbols (%s): choose one with --symbol, or all with --out",
			len(books), someNames(books))
	}
	reportBooks(books, in.report)
	if err := in.digits(ctx, books); err != nil {
		return err
	}
	if err := writeReplay(o, books, stdout); err != nil {
		return err
	}
	return failed
}

// someNames lists the first symbols of books.
func someNames(books []*book) string {
	const shown = 8
	var names []string
	for _, b := range books[:min(len(books), shown)] {
		names = append(names, b.symbol)
	}
	if len(books) > shown {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// stdinName stands for what comes on stdin.
const stdinName = "-"

// openInput opens a file to read, or stdin, which gives ctx's error once ctx has ended; a folder is no file.
func openInput(ctx context.Context, name string) (io.ReadCloser, error) {
	if name == stdinName {
		return openStdin(ctx, os.Stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("%s: is a folder", name)
	}
	return f, nil
}

// openStdin reads in until ctx ends. A read of a pipe or a terminal that stays silent cannot be called off: it is left to a goroutine,
// which may last as long as the process.
func openStdin(ctx context.Context, in *os.File) io.ReadCloser {
	if info, err := in.Stat(); err == nil && info.Mode().IsRegular() {
		return in // a zip file is read from its end
	}
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(w, in)
		_ = w.CloseWithError(err)
		stop()
	}()
	return r
}

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"klined/binance"
	"klined/history"
)

const backfillHelp = `Brings closed klines of the past into the store: from the exchange's archive, files of months and then of days, and
from its REST what the archive does not have. Checksums are verified. Longer intervals are folded from shorter ones where
all their parts are there, and each day of them is held against the exchange's own.

What the store has is not asked for again: a backfill that was stopped, or killed, goes on where it was. Only one process
writes a store: while serve runs on it, serve --backfill does the same.

Times are RFC 3339 (2026-09-01T12:00:00Z), dates (2026-09-01, from midnight UTC) or Unix milliseconds. serve deletes
what its --retain does not keep.`

// newBackfillCommand is the command klined backfill.
func newBackfillCommand() *cobra.Command {
	var o pastOptions
	var archive string
	cmd := &cobra.Command{
		Use:   "backfill",
		Short: "closed klines of the past, from the exchange's archive and REST into the store",
		Long:  backfillHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := o.parse()
			if err == nil {
				err = checkArchive(archive)
			}
			if err != nil {
				return &usageError{err}
			}
			return backfill(cmd.Context(), &o, archive, network{}.through(&o.proxy), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.bind(cmd.Flags(), "bring")
	cmd.Flags().StringVar(&archive, "archive", binance.DefaultArchive, "`URL` of the exchange's archive")
	return cmd
}

// backfill is klined backfill. What it has brought is said on stdout, how it goes on stderr.
func backfill(ctx context.Context, o *pastOptions, archive string, n network, stdout, stderr io.Writer) (err error) {
	began := time.Now()
	p, err := openPast(ctx, o, n, stderr)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.openStore(); err != nil {
		return err
	}
	defer func() {
		if e := p.store.Close(); err == nil {
			err = e
		}
	}()
	info, ids, err := p.list(ctx, choosePast)
	if err != nil {
		return err
	}
	var refused, kept refusals
	noteOdd(info, p.symbols, o.symbols, &refused, &kept)
	refused.tell(p.log, cannotCarry)
	kept.tell(p.log, listedOddly)
	h := p.fetcher(p.store, archived{binance.NewArchive(binance.ArchiveOptions{Base: archive, HTTP: n.download(), Symbols: p.symbols,
		Metrics: p.metrics, Log: p.log})})
	_, ranges, err := o.ranges(ids, p.clock.Now())
	if err != nil {
		return &usageError{err}
	}
	var done history.Progress
	shown := show(&done, stderr)
	err = h.Backfill(ctx, ranges, &done)
	shown()
	if ctx.Err() != nil {
		return fmt.Errorf("stopped after %d of %d klines; the next backfill goes on from there", done.Done.Load(), done.Total.Load())
	}
	fmt.Fprintf(stdout, "%d klines: %d of the archive, %d by REST, %d folded, %d before the first; %d of these held against the exchange's own, %d differed; took %s\n",
		done.Done.Load(), done.Archive.Load(), done.REST.Load(), done.Folded.Load(), done.Empty.Load(),
		done.Checked.Load(), done.Differ.Load(), time.Since(began).Round(time.Millisecond))
	return err
}

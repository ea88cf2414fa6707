package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"klined/market"
	"klined/sim"
)

// simOptions are the flags of klined sim.
type simOptions struct {
	sim.Options
	listen  string
	start   string
	latency float64 // ms
	tapes   []string
	faults  string
}

func (o *simOptions) bind(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "127.0.0.1:8090", "serve on `HOST:PORT`")
	f.IntVar(&o.Symbols, "symbols", 40, "list `N` perpetuals, BTCUSDT and ETHUSDT first")
	f.Float64Var(&o.Rate, "rate", 500, "`N` trades a second over the whole market")
	f.Uint64Var(&o.Seed, "seed", 1, "same `N` and same start, same market")
	f.StringVar(&o.start, "start", "", "begin its clock at `TIME` (RFC 3339) instead of now")
	f.Float64Var(&o.Straddle, "straddle", sim.DefaultStraddle, "`SHARE` of the aggTrades that cross a minute's boundary")
	f.Float64Var(&o.Burn, "burn", sim.DefaultBurn, "`SHARE` of the trade ids that are burnt")
	f.Float64Var(&o.latency, "latency", 0, "`MS` of latency one way, with a tail")
	f.StringArrayVar(&o.tapes, "tape", nil, "play the frames of `FILE` instead; more files may follow")
	f.Float64Var(&o.Speed, "speed", 1, "play the tape `X` times as fast as it was recorded")
	f.StringVar(&o.faults, "faults", "", "let the faults in `FILE` happen, each at its time")
	for _, name := range []string{"straddle", "burn"} {
		f.Lookup(name).DefValue = "as measured on the real exchange"
	}
}

// newSimCommand is the command klined sim.
func newSimCommand() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "the simulated exchange alone",
		Long:  simHelp + sim.FaultHelp(),
		Args: func(cmd *cobra.Command, files []string) error {
			if cmd.Flags().Changed("tape") {
				return nil
			}
			return noArgs(cmd, files)
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := o.parse(); err != nil {
				return &usageError{err}
			}
			o.Log = (&serveOptions{LogFormat: "text"}).logger(cmd.ErrOrStderr())
			if err := o.play(cmd.Flags(), files); err != nil {
				return err
			}
			if err := o.readFaults(cmd.Context()); err != nil {
				return err
			}
			return runSim(cmd.Context(), o, network{}, cmd.OutOrStdout())
		},
	}
	cmd.Flags().SortFlags = false
	o.bind(cmd.Flags())
	return cmd
}

const simHelp = `A synthetic exchange that speaks the real one's REST and WebSocket on one port, with its limits and refusals,
and keeps the truth: POST /sim/faults, GET /sim/status, /sim/truth, /sim/deviations, /sim/tape. On the same port it has the
archive's files of klines, below /data/futures/um/daily and /monthly: a day's from 08:30 UTC of the next day on, a month's
from the first Monday after it.

Its REST has, for one symbol and for all, /fapi/v1/ticker/24hr (a day and the running minute, the sums of its own klines),
/ticker/bookTicker and /premiumIndex, and for one /depth, /markPriceKlines, /indexPriceKlines, /fundingRate and /openInterest. Mark and
index follow the last price, every funding is the same, and the book has the same quantity at each step beyond the best price. What it
does not have is answered 404, -5000.

/sim/truth takes symbol, interval (of a second or more), startTime, endTime and limit as klines do, and answers as they do: from a
startTime on all there are, else the last 500. /sim/deviations takes symbol, interval (1m), startTime and endTime, and
lists why klines of aggTrades differ: the aggTrades that cross a boundary, and the burnt ids.

With --tape it plays the frames that klined serve --record has written, or any file of frames with the time of their receipt, as it
was received: each trade once, however many connections brought it, other frames as often as they came. What is subscribed to comes
by the name of its stream. The exchange's clock is the tape's, so a server on it wants --speed 1; at the tape's end the
market stands still. exchangeInfo has what trades on the tape. Klines are the exchange's own where the tape has their close, else
the sums of its trades, and begin with the first minute that the tape has whole; where it lacks trades of one, they are
refused with 503. There are no aggTrades and trades by REST, and no archive: what a server misses of the stream it fetches as klines.

A fault is JSON, {"kind":"silence","symbol":"BTCUSDT","seconds":30}; what is left out is any, or each in turn. A path of
REST is the archive's where it begins with /data. delay is how many seconds an answer takes (5, at most 60), ms is milliseconds.
--faults takes a file of faults, a line each or as a list, that happen by themselves: {"at":30,"kind":"disconnect"} half a minute
after the start.

list announces a new symbol, which trades after so many seconds; without them it is there at once. Its symbol is a name like
NEWUSDT, in any script, or NEWUSDT_261225 for a quarterly contractType (PERPETUAL; TRADIFI_PERPETUAL, CURRENT_QUARTER, NEXT_QUARTER);
without one the answer says which. Before it trades it is PENDING_TRADING and its streams are silent; its ids begin at 1.
delist ends a symbol after so many seconds: its deliveryDate says when, then it is SETTLING, its streams are silent and its klines go
on flat; with "gone":true it leaves exchangeInfo and REST instead. /sim/truth knows it still.

These kinds take these fields:

`

// play reads the tapes that are to be played.
func (o *simOptions) play(f *pflag.FlagSet, more []string) error {
	if len(o.tapes) == 0 {
		if f.Changed("speed") {
			return &usageError{errors.New("--speed: there is no --tape to play")}
		}
		return nil
	}
	if o.Speed == 0 { // which sim.Options take for the default
		return &usageError{errors.New("--speed 0: want more than 0")}
	}
	for _, name := range []string{"symbols", "rate", "start", "straddle", "burn"} {
		if f.Changed(name) {
			return &usageError{fmt.Errorf("--%s with --tape: it is the tape's", name)}
		}
	}
	files := slices.Concat(o.tapes, more)
	if slices.Contains(files, stdinName) {
		return &usageError{errors.New("--tape -: a tape is read twice, which stdin cannot be")}
	}
	var err error
	o.Tape, err = sim.ReadTape(func(name string, size int64) {
		o.Log.Info("reading a tape", "file", name, "size", strings.ReplaceAll(humanize.Bytes(uint64(size)), " ", ""))
	}, files...)
	return err
}

// readFaults reads the faults that are to happen.
func (o *simOptions) readFaults(ctx context.Context) error {
	if o.faults == "" {
		return nil
	}
	f, err := openInput(ctx, o.faults)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	o.Faults, err = sim.ReadFaults(f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &usageError{fmt.Errorf("--faults %s: %w", o.faults, err)}
	}
	return nil
}

// maxLatency is in milliseconds.
const maxLatency = 60_000

// parse reads what the flags hold as text.
func (o *simOptions) parse() error {
	if err := checkHostPort("listen", o.listen); err != nil {
		return err
	}
	if o.Symbols < 2 || o.Symbols > 1000 {
		return fmt.Errorf("--symbols %d: want 2 to 1000", o.Symbols)
	}
	if o.Rate == 0 { // which sim.Options take for the default
		return errors.New("--rate 0: want more than 0")
	}
	if !(o.latency >= 0 && o.latency <= maxLatency) {
		return fmt.Errorf("--latency %v: want milliseconds, 0 to %d", o.latency, maxLatency)
	}
	o.Latency = time.Duration(o.latency * float64(time.Millisecond))
	if o.start == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, o.start)
	if err != nil {
		return fmt.Errorf("--start %q: want a time like 2027-02-28T23:57:30Z", o.start)
	}
	o.Start = market.TimeOf(t)
	return nil
}

// runSim is klined sim, until ctx ends.
func runSim(ctx context.Context, o simOptions, n network, stdout io.Writer) error {
	x, err := sim.New(o.Options)
	if err != nil {
		return &usageError{fmt.Errorf("--%w", err)} // it begins with the option's name, which is the flag's
	}
	listener, err := n.listen("listen", o.listen)
	if err != nil {
		return err
	}
	addr := listener.Addr().String()
	if o.Tape != nil {
		from, to := o.Tape.Span()
		fmt.Fprintf(stdout, "tape: %d symbols, from %s to %s\n", o.Tape.Symbols(), from, to)
	}
	fmt.Fprintf(stdout, "simulated exchange: --rest http://%[1]s --ws ws://%[1]s --archive http://%[1]s\n", addr)
	return simulate(ctx, x, listener)
}

// simulate lets an exchange trade and serve until ctx ends.
func simulate(ctx context.Context, x *sim.Exchange, listener net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	server := &http.Server{Handler: x.Handler(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	g.Go(func() error { return unlessStopped(ctx, x.Run(ctx)) })
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}

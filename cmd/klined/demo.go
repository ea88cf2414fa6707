package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"klined/market"
	"klined/sim"
)

// demoIntervals are the exchange's fifteen and four that it does not have.
const demoIntervals = "1s,5s,15s,30s"

// newDemoCommand is the command klined demo.
func newDemoCommand() *cobra.Command {
	var o serveOptions
	so := simOptions{listen: "127.0.0.1:0"}
	so.Straddle, so.Burn = sim.DefaultStraddle, sim.DefaultBurn
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "a simulated exchange and the whole server in one process",
		Long: `Starts a simulated exchange on a port of its own and the whole server in front of it, and prints the page's
address. Nothing to configure; without --dir nothing is kept.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(o.parse(), so.parse()); err != nil {
				return &usageError{err}
			}
			return runDemo(cmd.Context(), o, so, cmd.OutOrStdout(), o.logger(cmd.ErrOrStderr()))
		},
	}
	o.bind(pflag.NewFlagSet("serve", pflag.ContinueOnError)) // what demo has no flag for keeps serve's default
	o.texts.level, o.RESTWeight = "warn", 2400
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "serve on `HOST:PORT`")
	f.IntVar(&so.Symbols, "symbols", 40, "simulate `N` symbols")
	f.Float64Var(&so.Rate, "rate", 500, "`N` trades a second over the whole market")
	f.StringVar(&o.Dir, "dir", "", "keep the store in `DIR`, instead of a temporary one")
	f.Uint64Var(&so.Seed, "seed", 1, "same `N` and same start, same market")
	f.StringVar(&o.texts.source, "source", "aggTrade", "build from `RECORDS`: aggTrade, or trade")
	f.StringVar(&o.texts.intervals, "intervals", demoIntervals+","+intervalList(market.ExchangeIntervals()), "build the intervals of `LIST`; 1m always")
	return cmd
}

// runDemo is klined demo, until ctx ends.
func runDemo(ctx context.Context, o serveOptions, so simOptions, stdout io.Writer, log *slog.Logger) error {
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "klined-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	x, err := sim.New(so.Options)
	if err != nil {
		return &usageError{fmt.Errorf("--%w", err)}
	}
	listener, err := network{}.listen("listen", so.listen)
	if err != nil {
		return err
	}
	o.REST, o.WS = "http://"+listener.Addr().String(), "ws://"+listener.Addr().String()
	o.Archive = o.REST

	// The exchange outlives the server, so that the server stops in order.
	simCtx, stopSim := context.WithCancel(context.WithoutCancel(ctx))
	ctx, stopServer := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error {
		defer stopServer() // without an exchange there is nothing to show
		return simulate(simCtx, x, listener)
	})
	err = runServe(ctx, o, network{}, log, func(addr net.Addr) { announce(stdout, addr, x) })
	stopSim()
	return errors.Join(err, g.Wait())
}

// announce tells the user where to look.
func announce(w io.Writer, addr net.Addr, x *sim.Exchange) {
	first := market.OneMinute.Ceil(x.Now() + market.Second)
	fmt.Fprintf(w, `klined demo: a simulated exchange and the whole server in one process

  chart page   http://%[1]s/
  REST         curl 'http://%[1]s/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=3'
  WebSocket    ws://%[1]s/ws/btcusdt@kline_1m
  status       http://%[1]s/klined/v1/status

Live klines from %[2]s on (the first full minute). Ctrl-C stops.
`, addr, first.Std().Format("15:04:05 UTC"))
}

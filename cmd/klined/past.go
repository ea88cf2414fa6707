package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/spf13/pflag"

	"klined/binance"
	"klined/clock"
	"klined/health"
	"klined/history"
	"klined/market"
)

// pastOptions are the flags of the commands that ask the exchange for a time that is past.
type pastOptions struct {
	dir        string
	rest       string
	restWeight int
	proxy      proxyFlag
	symbols    []string // nil: all
	intervals  []market.Interval
	from, to   market.Time // unasked where they are left to the command

	texts struct{ symbols, intervals, from, to string }

	readAgain time.Duration // 0: as usual. For tests
}

// usualIntervals are the exchange's own.
var usualIntervals = intervalList(market.ExchangeIntervals())

// unasked stands for a time that is left to the command.
const unasked market.Time = math.MinInt64

// usualPast is how far back these commands look where nothing else is asked for: as far as serve keeps minutes.
const usualPast = 30 * market.Day

// bind declares the flags; what the command does with symbols and intervals is said by verb.
func (o *pastOptions) bind(f *pflag.FlagSet, verb string) {
	f.SortFlags = false
	f.StringVar(&o.texts.symbols, "symbols", "all", verb+" all symbols, or those of `LIST`: BTCUSDT,ETHUSDT")
	f.StringVar(&o.texts.intervals, "intervals", usualIntervals, verb+" the intervals of `LIST`")
	f.StringVar(&o.texts.from, "from", "", "begin at `TIME` (30 days before the end)")
	f.StringVar(&o.texts.to, "to", "", "end before `TIME` (now)")
	f.StringVar(&o.dir, "dir", "klined-data", "the store is in `DIR`")
	f.StringVar(&o.rest, "rest", binance.DefaultREST, "`URL` of the exchange's REST")
	f.Var(&o.proxy, "proxy", proxyUsage)
	f.IntVar(&o.restWeight, "rest-weight", 1200, "use `N` of the exchange's 2400 request weight a minute")
}

// parse reads what the flags hold as text.
func (o *pastOptions) parse() (err error) {
	if o.symbols, err = parseSymbols(o.texts.symbols); err != nil {
		return err
	}
	if o.intervals, err = parseIntervals(o.texts.intervals); err == nil && o.intervals[0] < market.OneMinute {
		err = fmt.Errorf("interval %q: the exchange has none below a minute", o.intervals[0])
	}
	if err != nil {
		return fmt.Errorf("--intervals: %w", err)
	}
	if o.to, err = parseInstant("to", o.texts.to, unasked); err != nil {
		return err
	}
	if o.from, err = parseInstant("from", o.texts.from, unasked); err != nil {
		return err
	}
	if o.from >= o.to && o.from != unasked && o.to != unasked {
		return fmt.Errorf("--from %s is not before --to %s", o.texts.from, o.texts.to)
	}
	if o.to <= 0 && o.to != unasked {
		return fmt.Errorf("--to %s: want a time after 1970-01-01", o.texts.to)
	}
	if o.restWeight < 20 || o.restWeight > 2400 {
		return fmt.Errorf("--rest-weight %d: want %s", o.restWeight, takes["rest-weight"])
	}
	if err := o.proxy.check(); err != nil {
		return err
	}
	return checkREST(o.rest)
}

// past is a server without streams: exchange and store for commands that ask for what is past.
type past struct {
	server
	readAgain time.Duration
	stop      func()
}

// openPast reaches the exchange. What is logged goes to stderr, from warnings up.
func openPast(ctx context.Context, o *pastOptions, n network, stderr io.Writer) (*past, error) {
	log := health.NewLog(stderr, health.LogOptions{Level: slog.LevelWarn})
	client := n.client()
	p := &past{stop: func() { client.CloseIdleConnections(); logged(func() { health.Flush(log) }) }, readAgain: o.readAgain, server: server{
		o:       serveOptions{Dir: o.dir, REST: o.rest, Symbols: o.symbols, Intervals: o.intervals, RESTWeight: o.restWeight},
		metrics: health.NewMetrics(), log: log, clock: clock.New(), symbols: &market.Symbols{}}}
	p.askREST(client)
	if err := p.unlessRefused(ctx, func() error { return p.syncClock(ctx) }); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// fetcher is what asks for klines of the past, with a store and an archive or without.
func (p *past) fetcher(kept history.Store, archive history.Archive) *history.History {
	return history.New(history.Options{Venue: p.rest, Store: kept, Archive: archive, Clock: p.clock, Log: p.log, Metrics: p.metrics, ReadAgain: p.readAgain,
		Intervals: p.o.Intervals, Name: func(id market.SymbolID) string { return p.symbols.Get(id).Name }, Doubt: func(ctx context.Context) {
			if err := p.clock.Sync(ctx, p.rest.Time); err != nil {
				p.log.Warn("cannot synchronise", "error", err)
			}
		}})
}

// archived is the exchange's archive as history asks it.
type archived struct{ *binance.Archive }

func (a archived) Klines(ctx context.Context, series market.Series, span market.Span) (rows []market.Kline, there bool, err error) {
	rows, err = a.Archive.Klines(ctx, series, span)
	if errors.Is(err, binance.ErrNoFile) {
		return nil, false, nil
	}
	return rows, err == nil, err
}

// ranges are those that o asks for of the symbols, and the span that they are of; now is the exchange's time.
func (o *pastOptions) ranges(ids []market.SymbolID, now market.Time) (asked market.Span, ranges []market.Range, err error) {
	asked = market.Span{From: o.from, To: min(o.to, now)}
	if o.to == unasked {
		asked.To = now
	}
	if o.from == unasked {
		asked.From = asked.To - usualPast
	}
	asked.From = max(asked.From, 0) // the exchange knows no time before
	if asked.Empty() {
		return asked, nil, fmt.Errorf("--from %s: it is %s at the exchange", o.from, now)
	}
	for _, iv := range o.intervals {
		span := market.Span{From: iv.Ceil(asked.From), To: min(iv.Ceil(asked.To), iv.Open(now))}
		for _, id := range ids {
			if !span.Empty() {
				ranges = append(ranges, market.Range{Series: market.Series{Symbol: id, Interval: iv}, Span: span})
			}
		}
	}
	return asked, ranges, nil
}

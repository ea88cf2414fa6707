package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dustin/go-humanize"

	"klined/binance"
	"klined/clock"
	"klined/health"
	"klined/market"
	"klined/store"
)

// A check may take so long; and of a clock that is further from the exchange's is warned. That is as much as the exchange takes of
// signed requests without a recvWindow of their own.
const (
	checkWithin = 15 * time.Second
	mostOffset  = 5 * time.Second
)

// checks are what serve --check asks, one line each.
type checks struct {
	ctx           context.Context
	out           io.Writer
	asked, failed int
}

// is asks one thing, and says what was found. It reports whether that is as it should be.
func (c *checks) is(what string, ask func(ctx context.Context) (found string, err error)) bool {
	ctx, cancel := context.WithTimeout(c.ctx, checkWithin)
	defer cancel()
	found, err := ask(ctx)
	c.asked++
	if err != nil {
		c.failed++
		fmt.Fprintf(c.out, "failed  %-8s %s\n", what, health.Mask(oneLine(err)))
		return false
	}
	fmt.Fprintf(c.out, "ok      %-8s %s\n", what, health.Mask(found))
	return true
}

// warn is is of what a server starts with nevertheless, but should not have to.
func (c *checks) warn(what, found string) {
	c.asked++
	fmt.Fprintf(c.out, "warning %-8s %s\n", what, health.Mask(found))
}

// errNotAsked is of a check that another one stands in the way of.
var errNotAsked = errors.New("not asked: the exchange's REST does not answer")

// checkServe is klined serve --check: whether a server would start with these options, as far as that can be told without
// starting one. Nothing is changed, and no server that runs is disturbed.
func checkServe(ctx context.Context, o serveOptions, n network, stderr io.Writer) error {
	n = n.through(&o.Proxy)
	log, symbols := health.NewLog(io.Discard, health.LogOptions{}), &market.Symbols{}
	s := &server{o: o, metrics: health.NewMetrics(), log: log, clock: clock.New(), symbols: symbols}
	client := n.client()
	defer client.CloseIdleConnections()
	s.askREST(client)
	s.venue = binance.NewVenue(binance.VenueOptions{URL: o.WS, Dial: n.Dial, Symbols: symbols, Source: o.Source, Metrics: s.metrics, Log: log})

	c := &checks{ctx: ctx, out: stderr}
	s.checkMachine(c, n)
	s.checkExchange(c, n.download())
	if c.failed > 0 {
		return fmt.Errorf("serve --check: %d of %d checks failed", c.failed, c.asked)
	}
	return nil
}

// checkMachine asks what is on this machine.
func (s *server) checkMachine(c *checks, n network) {
	found, err := store.Check(s.o.Dir)
	if wrong := s.symbols.Restore(found.Symbols); err == nil {
		err = wrong
	}
	c.is("store", func(context.Context) (string, error) {
		what := fmt.Sprintf("%s, of %d symbols", s.o.Dir, len(found.Symbols))
		if found.New {
			what = s.o.Dir + ", to be made"
		}
		return what, err
	})
	if found.Size > 0 {
		c.is("disk", func(context.Context) (string, error) {
			if found.Disk != store.StateOK {
				return "", fmt.Errorf("%s: %s", s.o.Dir, found.Disk)
			}
			return fmt.Sprintf("%s of %s are free", humanize.IBytes(uint64(found.Free)), humanize.IBytes(uint64(found.Size))), nil
		})
	}
	if s.o.Record != "" {
		c.is("record", func(context.Context) (string, error) {
			_, err := store.Writable(s.o.Record)
			return s.o.Record, err
		})
	}
	for _, at := range []struct{ flag, addr string }{{"listen", s.o.Listen}, {"admin", s.o.Admin}} {
		if at.addr != "" {
			c.is(at.flag, func(context.Context) (string, error) {
				listener, err := n.listen(at.flag, at.addr)
				if err != nil {
					return "", err
				}
				return at.addr, listener.Close()
			})
		}
	}
}

// checkExchange asks the exchange.
func (s *server) checkExchange(c *checks, files *http.Client) {
	answers := c.is("rest", func(ctx context.Context) (string, error) {
		if err := s.syncClock(ctx); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s: %d of %d weight used in this minute", s.o.REST, s.budget.Used(), s.o.RESTWeight), nil
	})
	offset := s.clock.Offset().Round(time.Millisecond)
	side := "ahead of"
	if offset < 0 {
		side = "behind"
	}
	if found := fmt.Sprintf("the exchange's is %s %s this machine's", offset.Abs(), side); answers && offset.Abs() > mostOffset {
		c.warn("clock", fmt.Sprintf("%s: want %s at most, either way; a server starts, and follows the exchange's", found, mostOffset))
	} else {
		c.is("clock", func(context.Context) (string, error) {
			if !answers {
				return "", errNotAsked
			}
			return found, nil
		})
	}
	c.is("symbols", func(ctx context.Context) (string, error) {
		if !answers {
			return "", errNotAsked
		}
		info, err := s.exchangeInfo(ctx)
		if err != nil {
			return "", explained(s.o.REST, err)
		}
		listed, err := s.chooseLiving(info, s.o.Symbols)
		if err == nil {
			err = checkCapacity(len(listed), s.o.Lanes, s.o.Capacity)
		}
		return fmt.Sprintf("%d, %d intervals", len(listed), len(s.o.Intervals)), err
	})
	c.is("streams", func(ctx context.Context) (string, error) { return s.o.WS, s.probe(ctx) })
	c.is("archive", func(ctx context.Context) (string, error) {
		now := s.clock.Now()
		if !answers {
			now = market.TimeOf(time.Now())
		}
		archive := binance.NewArchive(binance.ArchiveOptions{Base: s.o.Archive, HTTP: files, Symbols: s.symbols, Metrics: s.metrics, Log: s.log})
		return s.o.Archive, explained(s.o.Archive, archive.Probe(ctx, now))
	})
}

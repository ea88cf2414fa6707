package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"klined/binance"
	"klined/fixed"
	"klined/health"
	"klined/market"
)

// listed is a lister between fakes: an exchange whose list the test writes, and parts that note what they are told.
type listed struct {
	t *testing.T
	*lister
	exchange []binance.Listing
	oddly    []binance.Odd // what it lists beside them
	err      error         // of the next questions
	asks     int
	told     []string // what the parts were told
	full     error    // of what is added
	unsaved  error    // of what is saved
	saved    []market.Symbol
	saves    int
	trades   map[market.SymbolID]bool // symbols that trade all the time
	dog      *health.Watchdog
	logged   bytes.Buffer
	stop     func() error
}

// perpetualOf is a contract that has traded since the year before a bubble's begin.
func perpetualOf(name string) binance.Listing {
	return binance.Listing{Name: name, Pair: name, ContractType: "PERPETUAL", Status: "TRADING", PriceDigits: 2, QtyDigits: 3, Tick: fixed.One / 10,
		Onboard: 915148800000, Delivery: 4133404800000}
}

// startLister runs a lister that carries AUSDT and BUSDT, and of the given names only those where there are any; call it within a bubble.
func startLister(t *testing.T, named ...string) *listed {
	x := &listed{t: t, exchange: []binance.Listing{perpetualOf("AUSDT"), perpetualOf("BUSDT")}}
	log := slog.New(slog.NewTextHandler(&x.logged, nil))
	x.dog = health.NewWatchdog(log)
	symbols := &market.Symbols{}
	note := func(format string, args ...any) { x.told = append(x.told, fmt.Sprintf(format, args...)) }
	x.lister = &lister{named: named, symbols: symbols, clock: machineClock{}, log: log, health: x.dog.Component("listings", health.Outside),
		ask: func(context.Context) (*binance.Info, error) {
			x.pass()
			x.asks++
			info := &binance.Info{Raw: []byte(fmt.Sprint(x.asks)), Listings: slices.Clone(x.exchange), Odd: x.oddly}
			keepKnown(info, symbols)
			return info, x.err
		},
		save: func(all []market.Symbol) error { x.saves++; x.saved = slices.Clone(all); return x.unsaved },
		traded: func(id market.SymbolID) market.Time {
			if x.trades[id] {
				return machineClock{}.Now() - market.Second
			}
			return 0
		},
		add: func(id market.SymbolID, first bool) error {
			if x.full != nil {
				return x.full
			}
			if int(id) >= len(x.saved) {
				t.Errorf("symbol %d was not saved before", id)
			}
			note("add %d %s first=%t", id, symbols.Get(id).Name, first)
			return nil
		},
		end:    func(id market.SymbolID) { note("end %d", id) },
		listed: func() { note("listed") }}
	x.saved = symbols.Put(symbolOf(&x.exchange[0]), symbolOf(&x.exchange[1]))
	x.begin(&binance.Info{Listings: x.exchange}, []market.SymbolID{0, 1})
	x.stop = background(func(ctx context.Context) error { x.run(ctx); return nil })
	return x
}

// machineClock is the machine's, which is the bubble's.
type machineClock struct{}

func (machineClock) Now() market.Time { return market.TimeOf(time.Now()) }

// pass lets the lister see what the test has changed.
func (x *listed) pass() {
	x.mu.Lock()
	defer x.mu.Unlock()
}

// after lets time pass, and wants the parts to have been told so much meanwhile, and the exchange to have been asked so often.
func (x *listed) after(d time.Duration, asks int, told ...string) {
	x.t.Helper()
	before := x.asks
	x.pass()
	time.Sleep(d)
	synctest.Wait()
	if diff := cmp.Diff(told, x.told); diff != "" {
		x.t.Errorf("told (−want +got):\n%s", diff)
	}
	x.told = nil
	if n := x.asks - before; n != asks {
		x.t.Errorf("asked %d times, want %d", n, asks)
	}
}

// hears lets names stand in a stream.
func (x *listed) hears(names ...string) {
	for _, name := range names {
		x.unknown([]byte(name))
	}
}

// set changes what the exchange lists of a name.
func (x *listed) set(name string, change func(*binance.Listing)) {
	i := slices.IndexFunc(x.exchange, func(l binance.Listing) bool { return l.Name == name })
	if i < 0 {
		i = len(x.exchange)
		x.exchange = append(x.exchange, perpetualOf(name))
	}
	change(&x.exchange[i])
}

// failing is why the watchdog's component does not work; empty where it does.
func (x *listed) fails() string {
	_, all := x.dog.State()
	return all[0].Reason
}

func bubbled(t *testing.T, f func(*testing.T, *listed), named ...string) {
	synctest.Test(t, func(t *testing.T) {
		x := startLister(t, named...)
		f(t, x)
		if err := x.stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestLister: what a lister does in time, row by row.
func TestLister(t *testing.T) {
	t.Run("without a reason", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			x.after(3*time.Minute-time.Second, 0)
			x.after(time.Hour, 20)
			if x.fails() != "" || string(x.info.Load().Raw) != "20" {
				t.Error(x.fails(), string(x.info.Load().Raw))
			}
		})
	})
	t.Run("announced", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			onboard := machineClock{}.Now() + 5*market.Minute + 500
			x.set(chinese, func(l *binance.Listing) { l.Status, l.Onboard = "PENDING_TRADING", onboard })
			x.after(3*time.Minute+time.Second, 1, "add 2 币安人生USDT first=true", "listed")
			if c := x.contract(2); c.kind != "PERPETUAL" || c.tick != fixed.One/10 || !x.serves(2) || c.ended {
				t.Errorf("%+v", c)
			}
			x.after(time.Minute, 0)
			x.set(chinese, func(l *binance.Listing) { l.Status = "TRADING" })
			x.after(62*time.Second, 1) // just after its onboard time
			x.after(2*time.Minute, 0)
			x.after(time.Minute, 1)
		})
	})
	t.Run("announced, and late to begin", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			x.set("NEWUSDT", func(l *binance.Listing) {
				l.Status, l.Onboard = "PENDING_TRADING", machineClock{}.Now()+4*market.Minute
			})
			x.after(3*time.Minute+time.Second, 1, "add 2 NEWUSDT first=true", "listed")
			x.after(2*time.Minute, 6) // again and again, for a minute
			x.after(3*time.Minute, 1)
		})
	})
	t.Run("without notice", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			x.after(time.Minute, 0)
			x.set("NEWUSDT", func(l *binance.Listing) { l.Onboard = machineClock{}.Now() - 3*market.Second })
			x.hears("NEWUSDT", "NEWUSDT")
			x.after(0, 1, "add 2 NEWUSDT first=true", "listed")
			x.set("TWOUSDT", func(l *binance.Listing) { l.ContractType, l.Onboard = "TRADIFI_PERPETUAL", machineClock{}.Now() })
			x.hears("TWOUSDT")
			x.after(9*time.Second, 0)
			x.after(time.Second, 1, "add 3 TWOUSDT first=true", "listed")
		})
	})
	t.Run("not new", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			x.set("OLDUSDT", func(l *binance.Listing) { l.Onboard = machineClock{}.Now() - 2*market.Hour })
			x.after(4*time.Minute, 1, "add 2 OLDUSDT first=false", "listed")
		})
	})
	t.Run("none of ours", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			x.set("AUSDT_270326", func(l *binance.Listing) { l.ContractType = "CURRENT_QUARTER" })
			x.set("OMGUSDT", func(l *binance.Listing) { l.Status = "SETTLING" })
			x.after(time.Minute, 0)
			asks := x.asks
			for range 60 * 60 {
				x.hears("AUSDT_270326", "OMGUSDT", "BTCUSD_PERP")
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if n := x.asks - asks; n < 20 || n > 20+hintTries {
				t.Errorf("asked %d times in an hour", n)
			}
			for i := range 2 * hintsMost {
				x.hears(fmt.Sprint("X", i, "USD_PERP"))
			}
			x.mu.Lock()
			n := len(x.hints)
			x.mu.Unlock()
			if n != hintsMost {
				t.Errorf("%d names are remembered", n)
			}
			x.after(70*time.Minute, 24)
			x.hears("NEWUSDT")
			x.after(10*time.Second, 1)
		})
	})
	t.Run("dates that are no dates", func(t *testing.T) {
		for _, never := range []market.Time{253402300799000, 32503680000000, 11400000000000, math.MaxInt64, math.MinInt64, -1} {
			bubbled(t, func(t *testing.T, x *listed) {
				x.set("AUSDT", func(l *binance.Listing) { l.Delivery = never })
				x.set("BUSDT", func(l *binance.Listing) { l.Status, l.Onboard = "PENDING_TRADING", never })
				x.after(time.Hour+time.Second, 20)
			})
		}
	})
	t.Run("named ones only", func(t *testing.T) {
		bubbled(t, func(t *testing.T, x *listed) {
			x.set("CUSDT", func(*binance.Listing) {})
			x.set("NEWUSDT", func(l *binance.Listing) { l.Status = "PENDING_TRADING" })
			x.hears("CUSDT")
			x.after(4*time.Minute, 1, "add 2 NEWUSDT first=true", "listed")
		}, "AUSDT", "NEWUSDT")
	})
}

// TestListerEnds: what has ended is let go of, once two answers have said so; halts are no end. One that comes back is carried again,
// under its number.
func TestListerEnds(t *testing.T) {
	bubbled(t, func(t *testing.T, x *listed) {
		for _, status := range []string{"TRADING_HALT", "TRADING_CANCEL_ONLY", "PRE_SETTLE", "NEVER_HEARD_OF"} {
			x.set("BUSDT", func(l *binance.Listing) { l.Status = status })
			x.after(3*time.Minute+time.Second, 1)
		}
		all := x.exchange
		x.exchange = all[:1] // answers that lack half of the market, for a while
		x.after(3*time.Minute, 1)
		x.after(4*time.Minute, 8)
		x.exchange = all
		x.after(time.Minute, 1)

		delivery := machineClock{}.Now() + 5*market.Minute
		x.set("BUSDT", func(l *binance.Listing) { l.Status, l.Delivery = "TRADING", delivery })
		x.after(5*time.Minute, 1)
		x.set("BUSDT", func(l *binance.Listing) { l.Status = "SETTLING" })
		x.after(3*time.Second, 1) // just after it was announced to end
		x.after(30*time.Second, 1, "end 1")
		if c := x.contract(1); !c.ended || c.gone || !x.serves(1) {
			t.Errorf("%+v", c)
		}
		x.exchange = all[:1]
		x.after(3*time.Minute, 1)
		if c := x.contract(1); !c.gone {
			t.Errorf("not listed any more: %+v", c)
		}
		x.exchange = append(slices.Clip(all[:1]), perpetualOf("BUSDT"))
		x.after(3*time.Minute, 1, "add 1 BUSDT first=false", "listed")
		if c := x.contract(1); c.ended || c.gone || !c.carried {
			t.Errorf("back again: %+v", c)
		}
		x.trades = map[market.SymbolID]bool{0: true}
		x.exchange = x.exchange[1:] // what trades has not ended, whatever the answers lack
		x.after(30*time.Minute, 55)
		if n := strings.Count(x.logged.String(), "list lacks symbols"); n != 2 || x.contract(0).ended {
			t.Errorf("said %d times: %s", n, &x.logged)
		}
		x.trades = nil
		x.after(time.Minute, 1, "end 0")
		if c := x.contract(0); !c.gone {
			t.Errorf("vanished: %+v", c)
		}
	})
}

// TestListerRefused: what cannot be carried is said once, in the log and to the watchdog, until it can be.
func TestListerRefused(t *testing.T) {
	bubbled(t, func(t *testing.T, x *listed) {
		x.full = errors.New("at most 2 symbols")
		x.set("CUSDT", func(*binance.Listing) {})
		x.set("DUSDT", func(l *binance.Listing) { l.Status = "PENDING_TRADING" })
		x.after(31*time.Minute, 10)
		if why := x.fails(); why != "2 symbols are not carried, CUSDT first: at most 2 symbols" || x.serves(2) {
			t.Error(why)
		}
		if n := strings.Count(x.logged.String(), "cannot carry what the exchange lists"); n < 3 || n > 4 || !strings.Contains(x.logged.String(), "CUSDT DUSDT") {
			t.Errorf("logged %d times in half an hour: %s", n, &x.logged)
		}
		x.full = nil
		x.after(3*time.Minute, 1, "add 2 CUSDT first=false", "add 3 DUSDT first=true", "listed")
		if why := x.fails(); why != "" || !x.serves(2) {
			t.Error(why)
		}
		x.unsaved = errors.New("disk full")
		x.set("EUSDT", func(*binance.Listing) {})
		x.after(3*time.Minute, 1)
		if why := x.fails(); why != "EUSDT is not carried: disk full" {
			t.Error(why)
		}
		x.unsaved, x.full, x.saves = nil, errors.New("full again"), 0
		x.after(15*time.Minute, 5)
		x.full = nil
		x.after(3*time.Minute, 1, "add 4 EUSDT first=false", "listed")
		if x.saves != 1 {
			t.Errorf("what finds no room was saved %d times", x.saves)
		}
	})
}

// TestListerUnanswered: where the exchange does not answer it is asked again, the watchdog knows why, and what was known stays.
func TestListerUnanswered(t *testing.T) {
	bubbled(t, func(t *testing.T, x *listed) {
		x.after(3*time.Minute, 1)
		x.err = errors.New("status 500")
		x.after(4*time.Minute+time.Second, 3)
		if why := x.fails(); why != "cannot ask the exchange what it lists: status 500" || string(x.info.Load().Raw) != "1" || !x.serves(1) {
			t.Error(why)
		}
		x.err = &market.BudgetError{RetryAfter: 5 * time.Minute, Reason: "refused"}
		x.after(time.Minute, 1)
		x.hears("CUSDT") // a name is no reason to ask before that
		x.after(3*time.Minute, 0)
		x.err = nil
		x.after(2*time.Minute, 1)
		if why := x.fails(); why != "" {
			t.Error(why)
		}
		x.err = errors.New("status 500")
		x.hears("DUSDT")
		x.after(time.Second, 1)
		x.after(time.Minute, 2)
	})
}

// TestListerDigits: other digits of a symbol are said and taken.
func TestListerDigits(t *testing.T) {
	bubbled(t, func(t *testing.T, x *listed) {
		x.set("BUSDT", func(l *binance.Listing) { l.PriceDigits, l.QtyDigits = 4, 0 })
		x.unsaved = errors.New("disk full")
		x.after(4*time.Minute, 1)
		if sym := x.symbols.Get(1); sym.PriceDigits != 2 {
			t.Errorf("%+v was not saved", sym)
		}
		x.unsaved = nil
		x.after(3*time.Minute, 1)
		want := market.Symbol{ID: 1, Name: "BUSDT", PriceDigits: 4, QtyDigits: 0}
		if x.symbols.Get(1) != want || x.saved[1] != want || strings.Count(x.logged.String(), "with other digits") != 1 {
			t.Errorf("%+v, saved %+v: %s", x.symbols.Get(1), x.saved, &x.logged)
		}
	})
}

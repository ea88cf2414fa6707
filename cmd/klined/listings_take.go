package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"klined/binance"
	"klined/market"
)

// take does what follows from an answer: what has ended is let go of, what is new is carried.
func (l *lister) take(info *binance.Info) {
	l.info.Store(info)
	l.noteOdd(info)
	listed, added := byName(info.Listings), false
	lacking := l.lacking
	l.lacking = 0
	for id, c := range *l.contracts.Load() { // first: what ends makes room
		l.follow(market.SymbolID(id), c, listed)
	}
	if l.lacking > lacking {
		l.log.Warn("the exchange's list lacks symbols that are carried", "symbols", l.lacking, "of", len(listed))
	}
	for i := range info.Listings {
		if listing := &info.Listings[i]; listing.Perpetual() && listing.Live() && l.wants(listing.Name) {
			added = l.carry(listing) || added
		}
	}
	if added {
		l.listed()
	}
	l.answered(listed)
	l.tell()
	l.plan(info)
}

// noteOdd begins to note what is not carried, and what goes on as it was, with what is odd in an answer.
func (l *lister) noteOdd(info *binance.Info) {
	l.refused.begin()
	l.odd.begin()
	noteOdd(info, l.symbols, l.named, &l.refused, &l.odd)
}

// tell logs both.
func (l *lister) tell() {
	l.refused.tell(l.log, cannotCarry)
	l.odd.tell(l.log, listedOddly)
}

// carry has a perpetual carried that trades, or will, and reports whether it was not before.
func (l *lister) carry(listing *binance.Listing) bool {
	sym, registered := l.symbols.ByName(listing.Name)
	if c := l.contract(sym.ID); registered && c.carried && !c.ended {
		l.redigit(sym, listing)
		return false
	}
	c := contract{kind: listing.ContractType, tick: listing.Tick, carried: true}
	first := !registered || int(sym.ID) >= l.known && !l.contract(sym.ID).carried
	first = first && (listing.Pending() || listing.Onboard >= l.clock.Now().Add(-listedLately))
	var err error
	if to := symbolOf(listing); !registered || !sameDigits(sym, to) {
		sym, l.unsaved = l.symbols.Put(to)[0], true
	}
	if l.unsaved {
		err = l.save(l.symbols.All())
		l.unsaved = err != nil
	}
	if err == nil {
		err = l.add(sym.ID, first)
	}
	if err != nil {
		l.refused.add(listing.Name, err)
		return false
	}
	l.change(sym.ID, c)
	l.log.Info("carrying a further symbol", "symbol", sym.Name, "id", sym.ID, "contract", listing.ContractType, "status", listing.Status,
		"onboard", listing.Onboard.String(), "from_its_first_trade", first)
	return true
}

func symbolOf(l *binance.Listing) market.Symbol {
	return market.Symbol{Name: l.Name, PriceDigits: l.PriceDigits, QtyDigits: l.QtyDigits}
}

func sameDigits(a, b market.Symbol) bool {
	return a.PriceDigits == b.PriceDigits && a.QtyDigits == b.QtyDigits
}

// redigit takes other digits of a symbol that is carried: rows from now on have them.
func (l *lister) redigit(sym market.Symbol, listing *binance.Listing) {
	to := symbolOf(listing)
	if sameDigits(sym, to) {
		return
	}
	l.symbols.Put(to)
	if err := l.save(l.symbols.All()); err != nil {
		l.symbols.Put(sym) // it is noticed again
		l.log.Error("cannot keep a symbol's digits", "symbol", sym.Name, "error", err)
		return
	}
	l.log.Warn("the exchange writes a symbol with other digits", "symbol", sym.Name, "price_digits", to.PriceDigits, "price_digits_before", sym.PriceDigits,
		"qty_digits", to.QtyDigits, "qty_digits_before", sym.QtyDigits)
}

// follow notes what the exchange says of a registered symbol, and lets go of one that has ended once two answers have said so:
// the last minute may bring trades after its time. An answer that lacks it says little, as one may lack half of the market: it
// has ended where all of them lack it for minutes, and it does not trade.
func (l *lister) follow(id market.SymbolID, c contract, listed map[string]*binance.Listing) {
	listing := listed[l.symbols.Get(id).Name]
	live := listing != nil && listing.Live()
	confirmed, trades := endConfirmed, false
	if listing != nil {
		c.kind, c.tick = listing.ContractType, listing.Tick
	} else if confirmed = vanishedFor; c.carried && !c.ended {
		l.lacking++
		trades = l.traded(id) > l.clock.Now().Add(-vanishedFor)
	}
	since, seen := l.ending[id]
	switch {
	case live || !c.carried || c.ended:
		delete(l.ending, id)
	case !seen:
		l.ending[id] = time.Now()
	case time.Since(since) >= confirmed && !trades:
		delete(l.ending, id)
		c.ended = true
		l.end(id)
		l.log.Info("the exchange has ended a symbol", "symbol", l.symbols.Get(id).Name, "status", statusOf(listing))
	}
	c.gone = c.ended && listing == nil
	l.change(id, c)
}

func statusOf(listing *binance.Listing) string {
	if listing == nil {
		return "not listed"
	}
	return listing.Status
}

// plan sets when the exchange is asked next: soon after a contract begins or ends, as announced, until it says so; but never
// without a pause.
func (l *lister) plan(info *binance.Info) {
	now, today := time.Now(), l.clock.Now()
	l.next = now.Add(listEvery)
	if len(l.ending) > 0 {
		l.next = now.Add(endConfirmed)
	}
	for i := range info.Listings {
		listing := &info.Listings[i]
		turn := listing.Delivery
		if listing.Pending() {
			turn = listing.Onboard
		}
		near := turn >= today.Add(-turnsWithin) && turn <= today.Add(listEvery)
		if !listing.Perpetual() || !listing.Live() || !l.wants(listing.Name) || !near {
			continue
		}
		wait := max(turn.Add(afterTurn).Sub(today), 0)
		if turn.Add(afterTurn) <= today {
			wait = listAgain
		}
		if at := now.Add(wait); at.Before(l.next) {
			l.next = at
		}
	}
	if soonest := l.asked.Add(listAgain); l.next.Before(soonest) {
		l.next = soonest
	}
}

// refusals are the symbols that are to be carried and cannot be, or not as they are listed, of one answer after the other.
type refusals struct {
	names  []string
	why    error  // of the first
	told   string // what was logged last,
	toldAt time.Time
}

// What is logged of refusals.
const (
	cannotCarry = "cannot carry what the exchange lists"
	listedOddly = "the exchange lists known symbols oddly: they go on with the digits they had"
)

// refusalsTold is how often the same refusals are logged.
const refusalsTold = 10 * time.Minute

func (r *refusals) begin() { r.names, r.why = nil, nil }

func (r *refusals) add(name string, why error) {
	r.names, r.why = append(r.names, name), cmp.Or(r.why, why)
}

// reason says what is not carried; empty where all is.
func (r *refusals) reason() string {
	switch n := len(r.names); {
	case n == 0:
		return ""
	case n == 1:
		return fmt.Sprintf("%s is not carried: %v", r.names[0], r.why)
	default:
		return fmt.Sprintf("%d symbols are not carried, %s first: %v", n, r.names[0], r.why)
	}
}

// tell logs them, when they change and once in a while.
func (r *refusals) tell(log *slog.Logger, msg string) {
	why := r.reason()
	if why == r.told && (why == "" || time.Since(r.toldAt) < refusalsTold) {
		return
	}
	r.told, r.toldAt = why, time.Now()
	if why != "" {
		log.Error(msg, "symbols", r.names[:min(len(r.names), 10)], "count", len(r.names), "error", r.why)
	}
}

// retryAfter is how long the exchange refuses questions; 0 where err says nothing of that.
func retryAfter(err error) time.Duration {
	var refusal *market.BudgetError
	if errors.As(err, &refusal) {
		return refusal.RetryAfter
	}
	return 0
}

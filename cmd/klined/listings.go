package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"klined/binance"
	"klined/fixed"
	"klined/market"
)

// When the exchange is asked what it lists.
const (
	listEvery    = 3 * time.Minute  // without any reason
	listAgain    = 10 * time.Second // between two questions with one
	turnsWithin  = time.Minute      // how long after its time the exchange may be late to say that a contract has begun or ended
	afterTurn    = 2 * time.Second  // after a contract's first or last trade it says so, as a rule
	endConfirmed = 30 * time.Second // between two answers that say that a contract has ended
	vanishedFor  = 5 * time.Minute  // that no answer lists it and no trade of it comes: it has ended without a word
	listFailed   = 30 * time.Second // after a question that failed
)

// Hints are names that the exchange's streams show and that are not registered.
const (
	hintsMost = 4096            // remembered at once; what is more is left to the regular question
	hintTries = 3               // questions that one name is worth while the exchange does not list it
	hintAgain = 2 * time.Minute // between two of them
	hintsKept = time.Hour       // where there are as many as can be, older ones are forgotten
)

// listedLately is how long before now a symbol that is found may have begun to trade and still be asked for from its first trade on.
const listedLately = time.Hour

// contract is what is known of a registered symbol's contract.
type contract struct {
	kind    string      // its type, as the exchange writes it; empty while it was not listed
	tick    fixed.Value // its prices are multiples of it; 0 where that is not known
	carried bool        // the lanes carry it, or did until it ended
	ended   bool        // the exchange has ended it: its klines are readable
	gone    bool        // and does not list it any more
}

// hint is how often the exchange was asked for a name, and when last.
type hint struct {
	tries int
	at    time.Time
}

// lister follows what the exchange lists: it has new perpetuals carried, and lets go of those that have ended. What it knows of
// contracts may be read from any goroutine; the rest is its own goroutine's.
type lister struct {
	named   []string // of all perpetuals only these; nil: all
	symbols *market.Symbols
	ask     func(context.Context) (*binance.Info, error)
	save    func([]market.Symbol) error                // makes symbols durable
	add     func(id market.SymbolID, first bool) error // has a symbol carried; first: the exchange has listed it just now
	end     func(id market.SymbolID)                   // lets go of one
	traded  func(id market.SymbolID) market.Time       // when it has traded last, as the lanes know; 0 before that
	listed  func()                                     // further symbols are carried
	clock   interface{ Now() market.Time }
	health  interface {
		Beat()
		Fail(reason string)
	}
	log *slog.Logger

	info      atomic.Pointer[binance.Info] // the newest answer
	contracts atomic.Pointer[[]contract]   // by SymbolID; never written: a changed copy takes its place
	wake      chan struct{}                // holds one

	mu     sync.Mutex // guards the hints; taken while a connection is read
	hints  map[string]hint
	hinted bool // one of them has not been asked for

	known   int // symbols that were registered when the process began
	asked   time.Time
	next    time.Time                     // when it is asked again, unless a hint comes
	barred  time.Time                     // it is not asked before then, whatever comes: it has refused, or not answered
	ending  map[market.SymbolID]time.Time // since when the exchange says that they have ended, or does not list them
	lacking int                           // symbols that are carried and were not in the last answer
	unsaved bool                          // the registry has symbols, or digits, that are not durable
	refused refusals
	odd     refusals // they are registered, and go on with the digits they had
	failing string   // why the exchange did not answer; empty where it did
}

// begin takes in the first answer, and which symbols the lanes are to carry: all others that are registered and have ended stay
// readable.
func (l *lister) begin(info *binance.Info, carried []market.SymbolID) {
	l.wake, l.hints, l.ending = make(chan struct{}, 1), make(map[string]hint), make(map[market.SymbolID]time.Time)
	l.info.Store(info)
	byName := byName(info.Listings)
	all := l.symbols.All()
	contracts := make([]contract, len(all))
	for i := range all {
		c := &contracts[i]
		listing, listed := byName[all[i].Name]
		if listed {
			c.kind, c.tick = listing.ContractType, listing.Tick
		}
		c.carried = slices.Contains(carried, all[i].ID)
		c.ended = !c.carried && l.wants(all[i].Name) && !(listed && listing.Live())
		c.gone = c.ended && !listed
	}
	l.contracts.Store(&contracts)
	l.known, l.asked = len(all), time.Now()
	l.noteOdd(info)
	l.tell()
	l.plan(info)
}

func byName(listings []binance.Listing) map[string]*binance.Listing {
	m := make(map[string]*binance.Listing, len(listings))
	for i := range listings {
		m[listings[i].Name] = &listings[i]
	}
	return m
}

// wants reports whether a symbol of that name is to be carried where it is listed.
func (l *lister) wants(name string) bool { return l.named == nil || slices.Contains(l.named, name) }

// contract is what is known of a symbol.
func (l *lister) contract(id market.SymbolID) (c contract) {
	if all := *l.contracts.Load(); int(id) < len(all) && id >= 0 {
		c = all[id]
	}
	return c
}

// serves reports whether a symbol's klines are served: it is carried, or has ended.
func (l *lister) serves(id market.SymbolID) bool {
	c := l.contract(id)
	return c.carried || c.ended
}

// change puts what is known of a symbol in the place of what was.
func (l *lister) change(id market.SymbolID, c contract) {
	old := *l.contracts.Load()
	if int(id) < len(old) && old[id] == c {
		return
	}
	contracts := make([]contract, max(len(old), int(id)+1))
	copy(contracts, old)
	contracts[id] = c
	l.contracts.Store(&contracts)
}

// unknown takes a hint: a name that a stream shows and that is not registered. The bytes are the caller's. It waits for nothing.
func (l *lister) unknown(name []byte) {
	if !l.wants(string(name)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, known := l.hints[string(name)]
	if !known && len(l.hints) >= hintsMost || known && (h.tries >= hintTries || time.Since(h.at) < hintAgain) {
		return
	}
	l.hints[string(name)] = hint{h.tries + 1, time.Now()}
	l.hinted = true
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// answered takes back the hints: names that the exchange lists, as whatever, are not asked for again. Where no more hints can be
// remembered the old ones go: they may never have been names.
func (l *lister) answered(listed map[string]*binance.Listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hinted = false
	full := len(l.hints) >= hintsMost
	for name, h := range l.hints {
		if full && time.Since(h.at) >= hintsKept {
			delete(l.hints, name)
			continue
		}
		if listed[name] != nil {
			h.tries = hintTries
			l.hints[name] = h
		}
	}
}

// due is when the exchange is to be asked next.
func (l *lister) due() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.next
	if soon := l.asked.Add(listAgain); l.hinted && soon.Before(at) {
		at = soon
	}
	if at.Before(l.barred) {
		at = l.barred
	}
	return at
}

// reportEvery is how often the lister says that it works: twice before the watchdog would call it silent.
const reportEvery = resyncEvery

// run asks until ctx ends.
func (l *lister) run(ctx context.Context) {
	beat := time.NewTicker(reportEvery)
	defer beat.Stop()
	for {
		look := time.NewTimer(time.Until(l.due()))
		select {
		case <-ctx.Done():
			look.Stop()
			return
		case <-beat.C:
		case <-l.wake:
		case <-look.C:
			l.look(ctx)
		}
		look.Stop()
		l.report()
	}
}

// look asks what is listed and does what follows from it.
func (l *lister) look(ctx context.Context) {
	info, err := l.ask(ctx)
	l.asked = time.Now()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		l.failing = "cannot ask the exchange what it lists: " + err.Error()
		l.barred = l.asked.Add(max(listFailed, retryAfter(err)))
		l.next = l.barred
		l.log.Warn("cannot ask the exchange what it lists", "error", err)
		return
	}
	l.failing = ""
	l.take(info)
}

// report tells the watchdog how things stand.
func (l *lister) report() {
	switch why := l.refused.reason(); {
	case why != "":
		l.health.Fail(why)
	case l.failing != "":
		l.health.Fail(l.failing)
	default:
		l.health.Beat()
	}
}

// Package sim is an exchange on loopback that speaks the venue's wire, with faults on request and the truth on record.
package sim

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"klined/market"
)

// What the real exchange was measured to do, over a busy BTCUSDT day of 2,061,378 aggTrades and 5.39 million fills.
const (
	DefaultStraddle = 140.0 / 2061378 // 140 of them crossed the boundary of a minute
	DefaultBurn     = 4246.0 / 5390000
)

// Bounds and defaults of Options.
const (
	minSymbols     = 2
	maxSymbols     = 1000
	defaultSymbols = 200
	defaultRate    = 1000
	maxRate        = 40_000
	maxBurn        = 0.5
	maxSpeed       = 1000
)

// The loop's pace: how long it sleeps at least while there is work, and at most while there is none.
const (
	minNap = 5 * time.Millisecond
	maxNap = time.Second
)

// Options say what the market is like. The zero value is a market of 200 symbols and 1,000 trades a second.
type Options struct {
	Symbols  int           // perpetuals that trade, 2 … 1000; a few contracts of other kinds come on top
	Rate     float64       // aggTrade records per second over the whole market, in the mean
	Seed     uint64        // same seed and same Start, same market
	Start    market.Time   // where its clock begins; 0 is now
	Straddle float64       // share of the aggTrades that cross the boundary of a minute, of seconds in proportion; 0 is none at all
	Burn     float64       // share of the trade ids that no fill has; 0 is none
	Tape     *Tape         // is played instead of a market that is made up: Symbols, Rate, Start, Straddle and Burn are the tape's. nil: none is
	Speed    float64       // so many times as fast as it was recorded; 0 is 1
	Latency  time.Duration // one-way, in the mean; frames keep their order
	Faults   []FaultAt     // happen by themselves, in this order; of ReadFaults
	Log      *slog.Logger  // nil is silence
}

// Exchange is one simulated exchange.
type Exchange struct {
	opt     Options
	began   time.Time
	log     *slog.Logger
	limiter *limiter
	shelf   shelf
	handler http.Handler
	script  []FaultAt    // that are to come; only Run's
	skew    atomic.Int64 // ms that its clock has been stepped by; written under mu

	mu      sync.Mutex // guards what follows, and the live part of every symbol
	symbols []*symbol  // all there have been, in the order of exchangeInfo
	byName  map[string]*symbol
	info    *infoBody // nil until it is asked for, and where a symbol has changed since
	turns   []turn    // soonest first
	live    liveMarket
	player  *player // nil where no tape is played
	streams registry
	conns   map[int]*conn
	lastNum int // the number of the newest connection
	faults  []*trouble
	holding []*conn // those with a frame held back, longest first
	tape    tapeRing
	seconds everySecond
	asked   ArchiveStatus
	ended   bool

	running sync.WaitGroup // connections' goroutines
}

// New builds an exchange whose clock starts now. It needs Run to send; what it answers is right without, too.
func New(opt Options) (*Exchange, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	began := time.Now()
	if opt.Start == 0 {
		opt.Start = market.TimeOf(began)
	}
	e := &Exchange{opt: opt, began: began, log: opt.Log, script: opt.Faults, byName: make(map[string]*symbol), conns: make(map[int]*conn)}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if opt.Tape != nil {
		e.player, e.symbols = newPlayer(opt.Tape), tapedSymbols(opt)
	} else {
		for _, l := range listings(opt) {
			e.symbols = append(e.symbols, newSymbol(l, opt))
		}
	}
	for _, s := range e.symbols {
		e.byName[s.name] = s
	}
	e.limiter = newLimiter()
	e.shelf.files, e.asked.Statuses = make(map[archiveFile]func() []byte), make(map[int]int)
	e.streams = newRegistry(e.symbols)
	e.live.start(e.symbols)
	e.handler = e.routes()
	return e, nil
}

// check fills defaults in and refuses what cannot be.
func (o *Options) check() error {
	if o.Speed == 0 {
		o.Speed = 1
	}
	if !(o.Speed > 0 && o.Speed <= maxSpeed) {
		return fmt.Errorf("speed %v: want more than 0 and at most %d", o.Speed, maxSpeed)
	}
	if o.Tape != nil {
		o.Start = o.Tape.from
	}
	if o.Symbols == 0 {
		o.Symbols = defaultSymbols
	}
	if o.Rate == 0 {
		o.Rate = defaultRate
	}
	switch {
	case o.Symbols < minSymbols || o.Symbols > maxSymbols:
		return fmt.Errorf("symbols %d: want %d to %d", o.Symbols, minSymbols, maxSymbols)
	case !(o.Rate > 0 && o.Rate <= maxRate):
		return fmt.Errorf("rate %v trades a second: want more than 0 and at most %d", o.Rate, maxRate)
	case !(o.Straddle >= 0 && o.Straddle <= 1):
		return fmt.Errorf("straddle %v: want a share from 0 to 1", o.Straddle)
	case !(o.Burn >= 0 && o.Burn <= maxBurn):
		return fmt.Errorf("burn %v: want a share from 0 to %v", o.Burn, maxBurn)
	case o.Latency < 0:
		return fmt.Errorf("latency %v: want 0 or more", o.Latency)
	case o.Start < 0 || o.Start > maxStart:
		return fmt.Errorf("start %d: want milliseconds since 1970, up to the year 2200", o.Start)
	case o.Start > 0 && o.Start < pastDays*market.Day:
		return fmt.Errorf("start %s: want a time that leaves room for a past of %d days", o.Start, pastDays)
	}
	return nil
}

// Symbols are the names of the perpetuals that trade, in the order of exchangeInfo.
func (e *Exchange) Symbols() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trading()
}

// trading is Symbols; the caller holds e.mu.
func (e *Exchange) trading() []string {
	var names []string
	for _, s := range e.symbols {
		if s.perpetual() && s.status == statusTrading {
			names = append(names, s.name)
		}
	}
	return names
}

// Handler serves REST, WebSocket and control, all on one port.
func (e *Exchange) Handler() http.Handler { return e.handler }

// Run lets the market trade and sends what is subscribed, until ctx ends; then it closes every connection and waits
// for them. An exchange runs once.
func (e *Exchange) Run(ctx context.Context) error {
	timer := time.NewTimer(minNap)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			e.end()
			return nil
		case <-timer.C:
		}
		timer.Reset(min(e.playScript(), e.step()))
	}
}

// step brings the market up to now and says how long nothing will happen.
func (e *Exchange) step() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.catchUp()
	next := min(e.live.nextEvent(), e.seconds.next)
	if len(e.turns) > 0 {
		next = min(next, e.turns[0].at)
	}
	if e.player != nil && !e.player.over {
		next = min(next, e.player.at)
	}
	nap := time.Duration(float64(next.Sub(e.Now())) / e.opt.Speed)
	if len(e.holding) > 0 {
		nap = min(nap, time.Until(e.holding[0].held.until))
	}
	return min(max(nap, minNap), maxNap)
}

// catchUp does all that has become due by now, and gives the market's time; the caller holds e.mu.
func (e *Exchange) catchUp() market.Time {
	now := e.advance(e.Now())
	e.turnBy(now)
	e.pushKlines(now)
	e.pushSecond(now)
	e.releaseDue()
	e.wakeAll()
	return now
}

// wakeAll lets every connection send what is queued; the caller holds e.mu.
func (e *Exchange) wakeAll() {
	for _, c := range e.conns {
		c.wake()
	}
}

// end closes every connection and lets no more in.
func (e *Exchange) end() {
	e.mu.Lock()
	if e.ended = true; e.player != nil {
		e.player.reader.close()
	}
	for _, c := range e.conns {
		c.close(closeGoingAway, "")
	}
	e.mu.Unlock()
	e.running.Wait()
}

package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"klined/fixed"
	"klined/health"
	"klined/market"
)

// venue is an exchange in memory: tests say what its connections bring, and when they end.
type venue struct {
	mu     sync.Mutex
	conns  map[string]*conn   // the youngest of each name
	olds   map[string][]*conn // those before it
	dials  map[string][]time.Time
	refuse map[string]bool
}

func newVenue() *venue {
	return &venue{conns: map[string]*conn{}, olds: map[string][]*conn{}, dials: map[string][]time.Time{}, refuse: map[string]bool{}}
}

var errRefused = errors.New("refused")

func (v *venue) dial(_ context.Context, name string, symbols []market.SymbolID) (Conn, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dials[name] = append(v.dials[name], time.Now())
	if v.refuse[name] {
		return nil, errRefused
	}
	c := &conn{symbols: slices.Clone(symbols), batches: make(chan market.Batch), ended: make(chan struct{}), pings: make(chan struct{}, 1)}
	if old := v.conns[name]; old != nil {
		v.olds[name] = append(v.olds[name], old)
	}
	v.conns[name] = c
	return c, nil
}

// conn is the living connection of that name, nil where there is none.
func (v *venue) conn(name string) *conn {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.conns[name]; c != nil && !c.over() {
		return c
	}
	return nil
}

// cut ends a connection; it is refused from then on, until restore.
func (v *venue) cut(name string) {
	c := v.conn(name)
	v.mu.Lock()
	v.refuse[name] = true
	v.mu.Unlock()
	if c != nil {
		c.end(io.EOF)
	}
}

func (v *venue) restore(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refuse[name] = false
}

// conn is one connection. Its reader waits for batches.
type conn struct {
	mu      sync.Mutex
	symbols []market.SymbolID
	batches chan market.Batch
	frames  atomic.Uint64
	once    sync.Once
	ended   chan struct{}
	err     error
	closes  atomic.Int32
	pings   chan struct{}
	dead    atomic.Bool // it lives, and says nothing any more
}

func (c *conn) Read(b *market.Batch) error {
	b.Reset()
	select {
	case <-c.pings:
		b.Received, b.Ready, b.Pong = time.Now(), true, true
		return nil
	case got := <-c.batches:
		c.frames.Add(uint64(len(got.Trades) + len(got.Official)))
		b.Trades, b.Official = append(b.Trades, got.Trades...), append(b.Official, got.Official...)
		b.Tickers, b.Payloads = append(b.Tickers, got.Tickers...), append(b.Payloads, got.Payloads...)
		b.Rows, b.Summaries = append(b.Rows, got.Rows...), append(b.Summaries, got.Summaries...)
		b.Received, b.Ready = time.Now(), got.Ready
		return nil
	case <-c.ended:
		return c.err
	}
}

func (c *conn) Subscribe(symbols ...market.SymbolID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.symbols = append(c.symbols, symbols...)
	return nil
}

func (c *conn) Unsubscribe(symbols ...market.SymbolID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.symbols = without(c.symbols, symbols)
}

// carries is what the connection was asked for.
func (c *conn) carries() []market.SymbolID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.symbols))
}

// Ping is answered at once, unless the connection is dead.
func (c *conn) Ping() {
	if !c.dead.Load() {
		c.pings <- struct{}{}
	}
}

func (c *conn) Frames() uint64 { return c.frames.Load() }

func (c *conn) Close(reason string) {
	c.closes.Add(1)
	c.end(errors.New(reason))
}

func (c *conn) end(err error) {
	c.once.Do(func() { c.err = err; close(c.ended) })
}

func (c *conn) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// bubbleClock is the bubble's time: it begins at 2000-01-01T00:00:00Z.
type bubbleClock struct{}

func (bubbleClock) Now() market.Time { return market.TimeOf(time.Now()) }

// rig is a feed in front of a venue in memory, within a synctest bubble.
type rig struct {
	t       *testing.T
	o       Options
	v       *venue
	f       *Feed
	mu      sync.Mutex
	drained []drained
	wholes  []wholeCall
	stop    func()
}

// drained is a copy of what one drain brought.
type drained struct {
	market.Changes
	at time.Time
}

type wholeCall struct {
	symbol market.SymbolID
	lane   int
	from   market.Time
	after  int // drains before it
}

// newRig runs a feed of n symbols; change may alter its options. It ends with the test.
func newRig(t *testing.T, n int, change func(*Options)) *rig {
	r := &rig{t: t, v: newVenue()}
	log := slog.New(slog.DiscardHandler)
	r.o = Options{
		Intervals: []market.Interval{market.OneMinute}, DialTrades: r.v.dial, DialKlines: r.v.dial, Drain: r.drain,
		OnWhole: r.whole, Clock: bubbleClock{}, Metrics: health.NewMetrics(), Watchdog: health.NewWatchdog(log), Log: log, Lanes: 1,
	}
	for id := range n {
		r.o.Symbols = append(r.o.Symbols, market.SymbolID(id))
	}
	if change != nil {
		change(&r.o)
	}
	var err error
	if r.f, err = New(r.o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.f.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

func (r *rig) drain(c *market.Changes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := drained{Changes: *c, at: time.Now()}
	d.Updates = append([]market.Update(nil), c.Updates...)
	d.Relayed = nil
	for _, x := range c.Relayed {
		d.Relayed = append(d.Relayed, market.Relayed{Symbol: x.Symbol, Payload: bytes.Clone(x.Payload)})
	}
	r.drained = append(r.drained, d)
}

func (r *rig) whole(symbol market.SymbolID, lane int, from market.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wholes = append(r.wholes, wholeCall{symbol, lane, from, len(r.drained)})
}

// take gives what was drained since the last call.
func (r *rig) take() []drained {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.drained
	r.drained = nil
	return d
}

// updates is take without what surrounds the updates.
func (r *rig) updates() (all []market.Update) {
	for _, d := range r.take() {
		all = append(all, d.Updates...)
	}
	return all
}

// bring lets a connection bring a batch, and waits until all that follows from it has happened.
func (r *rig) bring(name string, b market.Batch) {
	r.t.Helper()
	c := r.v.conn(name)
	if c == nil {
		r.t.Fatalf("%s is not connected", name)
	}
	select {
	case c.batches <- b:
	case <-c.ended:
		r.t.Fatalf("%s has ended", name)
	}
	synctest.Wait()
}

// trades brings trades of one symbol over a connection that carries.
func (r *rig) trades(name string, trades ...market.Trade) {
	r.t.Helper()
	r.bring(name, market.Batch{Trades: trades, Ready: true})
}

// official brings the venue's own klines.
func (r *rig) official(updates ...market.Update) {
	r.t.Helper()
	r.bring("klines-0", market.Batch{Official: updates, Ready: true})
}

// at sleeps until that time after the bubble's begin.
func (r *rig) at(d time.Duration) {
	r.t.Helper()
	ahead := time.Until(bubbleBegin.Add(d))
	if ahead < 0 {
		r.t.Fatalf("%s is over", d)
	}
	time.Sleep(ahead)
	synctest.Wait()
}

var bubbleBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// begin connects every lane, brings trade 1 of every symbol at 0:05 and their official starting minute at 1:02. All
// symbols are whole then; intervals up to 1d, for all of them begin at 0:00.
func (r *rig) begin() {
	r.t.Helper()
	r.at(5 * time.Second)
	for _, l := range r.f.lanes {
		for _, k := range r.linksOf(l) {
			var b market.Batch
			for i := range l.symbols {
				b.Trades = append(b.Trades, trade(l.symbols[i].id, 1, "100", "1", bubbleTime(4900*time.Millisecond)))
			}
			b.Ready = true
			r.bring(k.name, b)
		}
	}
	r.at(62 * time.Second)
	var minutes []market.Update
	for _, id := range r.o.Symbols {
		minutes = append(minutes, officialMinute(id, bubbleTime(0), "100", 1, 1, 1))
	}
	r.official(minutes...)
	for _, id := range r.o.Symbols {
		if s := r.f.Standing(id); s != Whole {
			r.t.Fatalf("symbol %d is %s", id, s)
		}
	}
	r.take()
}

// carries reports whether the symbol has a lane.
func (r *rig) carries(id market.SymbolID) bool {
	l, _ := r.f.laneOf(id)
	return l != nil
}

// linksOf are the links of a lane's trades.
func (r *rig) linksOf(l *lane) (links []*link) {
	for _, k := range r.f.links {
		if k.lane == l {
			links = append(links, k)
		}
	}
	return links
}

func bubbleTime(d time.Duration) market.Time { return market.TimeOf(bubbleBegin.Add(d)) }

func trade(symbol market.SymbolID, id int64, price, qty string, at market.Time) market.Trade {
	return market.Trade{SymbolID: symbol, ID: id, FirstID: id, LastID: id, Price: fixed.MustParse(price), Qty: fixed.MustParse(qty), Time: at}
}

// officialMinute is a flat 1m kline of the venue with n trades of quantity 1.
func officialMinute(symbol market.SymbolID, open market.Time, price string, n, first, last int64) market.Update {
	p := fixed.MustParse(price)
	k := market.EmptyKline(open, p)
	k.State, k.TradeCount, k.FirstID, k.LastID = market.StateSettled, n, first, last
	for range n {
		k.Volume = k.Volume.Add(fixed.One.Sum())
		k.QuoteVolume = k.QuoteVolume.Add(fixed.Mul(p, fixed.One))
	}
	return market.Update{Series: market.Series{Symbol: symbol, Interval: market.OneMinute}, Kline: k}
}

// clockText is a time as m:ss.mmm after the bubble's begin.
func clockText(t market.Time) string {
	d := t - bubbleTime(0)
	return fmt.Sprintf("%d:%02d.%03d", d/market.Minute, d%market.Minute/market.Second, d%market.Second)
}

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"klined/engine"
	"klined/fixed"
	"klined/market"
	"klined/serve"
)

var boundaryRow = subject{
	name: "boundary", unit: "ms",
	what:     "the end of all 15 intervals of 800 symbols: from the tick until 12,000 closed klines have reached 15 clients",
	baseline: "the same engine, encoding/json for each kline, gorilla/websocket, one frame per write",
	open: func(_ context.Context, o Options) (*pair, error) {
		b := boundary(o.scaled(marketSize, 1))
		return &pair{value: b.delay, baseline: b.plainDelay}, nil
	},
}

// allEnd is an instant at which all of the exchange's intervals end: a Monday, the first of a month.
const allEnd market.Time = 1803859200000 // 2027-03-01T00:00:00Z

// boundary is of so many symbols.
type boundary int

// closes is how many klines end there.
func (b boundary) closes() int { return int(b) * len(market.ExchangeIntervals()) }

// beforeAllEnd is an engine whose next tick ends every interval of every symbol.
func (b boundary) beforeAllEnd() (*engine.Engine, error) {
	e, err := engine.New(market.ExchangeIntervals())
	if err != nil {
		return nil, err
	}
	from := allEnd - 19*market.Hour
	for i := range int(b) {
		slot := e.Add(market.SymbolID(i))
		e.Fresh(slot)
		e.Begin(slot, from)
		e.Apply(slot, &market.Trade{SymbolID: market.SymbolID(i), ID: 1, FirstID: 1, LastID: 2, Price: 83_000 * fixed.One, Qty: fixed.One / 10, Time: from})
	}
	e.Tick(allEnd - market.Minute)
	e.Drain(nil)
	return e, nil
}

// idle implements serve.Live without a kline.
type idle struct{ watchedFeed }

// Begun implements serve.Live.
func (idle) Begun(market.SymbolID) (market.Time, bool) { return 0, false }

// Watch implements serve.Live.
func (idle) Watch(market.Series, bool) {}

// delay is from a tick until its last close has come.
func (b boundary) delay(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := startServer(serve.Options{Live: idle{}, Store: emptyStore{}})
	if err != nil {
		return sample{}, err
	}
	defer s.stop()
	arrived := b.newArrivals()
	for _, iv := range market.ExchangeIntervals() {
		if err := s.subscribe(ctx, streamsOf(iv), arrived.frame); err != nil {
			return sample{}, err
		}
	}
	return arrived.after(func(changes *market.Changes) error {
		s.Publish(changes)
		return nil
	})
}

// arrivals counts closed klines as they come.
type arrivals struct {
	of  boundary
	n   atomic.Int64
	all chan struct{}
}

func (b boundary) newArrivals() *arrivals { return &arrivals{of: b, all: make(chan struct{})} }

func (a *arrivals) frame(text []byte) {
	if bytes.Contains(text, []byte(`"x":true`)) && a.n.Add(1) == int64(a.of.closes()) {
		close(a.all)
	}
}

// closedWithin is how long closed klines are waited for: on a busy machine far longer than they take.
const closedWithin = 2 * time.Minute

// after is how long it takes from the tick until all have come, when what closed is given to publish.
func (a *arrivals) after(publish func(*market.Changes) error) (sample, error) {
	e, err := a.of.beforeAllEnd()
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	e.Tick(allEnd)
	changes := &market.Changes{Updates: e.Drain(nil), UpTo: allEnd, Received: began}
	if len(changes.Updates) != a.of.closes() {
		return sample{}, fmt.Errorf("%d klines closed, want %d", len(changes.Updates), a.of.closes())
	}
	if err := publish(changes); err != nil {
		return sample{}, err
	}
	select {
	case <-a.all:
		return sample{value: micros(time.Since(began)) / 1000, allocs: -1}, nil
	case <-time.After(closedWithin):
		return sample{}, fmt.Errorf("%d klines of %d have come", a.n.Load(), a.of.closes())
	}
}

// plainDelay is the same with each kline encoded by encoding/json and written by itself.
func (b boundary) plainDelay(ctx context.Context) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived := b.newArrivals()
	clients := make(map[market.Interval]*websocket.Conn)
	for _, iv := range market.ExchangeIntervals() {
		conn, err := gorillaClient(ctx, arrived.frame)
		if err != nil {
			return sample{}, err
		}
		clients[iv] = conn
	}
	return arrived.after(func(changes *market.Changes) error {
		for i := range changes.Updates {
			u := &changes.Updates[i]
			text, err := plainJSON(symbolName(int(u.Symbol)), u)
			if err == nil {
				err = clients[u.Interval].WriteMessage(websocket.TextMessage, text)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// plainJSON is a kline event, from a map.
func plainJSON(symbol string, u *market.Update) ([]byte, error) {
	return json.Marshal(map[string]any{"e": "kline", "E": int64(u.CloseTime()), "s": symbol, "k": map[string]any{
		"t": int64(u.OpenTime), "T": int64(u.CloseTime()), "s": symbol, "i": u.Interval.String(), "f": u.FirstID, "L": u.LastID,
		"o": u.Open.String(), "h": u.High.String(), "l": u.Low.String(), "c": u.Close.String(), "v": u.Volume.String(), "n": u.TradeCount,
		"x": u.State >= market.StateClosed, "q": u.QuoteVolume.String(), "V": u.TakerBuyVolume.String(), "Q": u.TakerBuyQuoteVolume.String(), "B": "0"}})
}

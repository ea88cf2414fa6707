package bench

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"klined/market"
)

// idiomatic is a K-line server's ingest as it is usually written: each frame through encoding/json, symbols in a map behind a
// lock, trades over a channel to the goroutine that adds each of them to every interval, in floats.
type idiomatic struct {
	mu      sync.RWMutex
	symbols map[string]*floatSymbol
	trades  chan floatTrade
	done    chan struct{}
	closed  func(*floatTrade, *floatKline) // hears of the 1m kline after each trade; may be nil
}

type floatTrade struct {
	received   time.Time
	symbol     *floatSymbol
	price, qty float64
	at         int64
	first      int64
	last       int64
	maker      bool
}

type floatSymbol struct {
	name   string
	klines []floatKline // by interval
}

type floatKline struct {
	open, end                    int64
	o, h, l, c                   float64
	volume, quote, taker, tquote float64
	trades, firstID, lastID      int64
}

func newIdiomatic() *idiomatic {
	s := &idiomatic{symbols: make(map[string]*floatSymbol), trades: make(chan floatTrade, 1024), done: make(chan struct{})}
	intervals := market.ExchangeIntervals()
	for _, name := range namesOf(0, 1) {
		s.symbols[name] = &floatSymbol{name: name, klines: make([]floatKline, len(intervals))}
	}
	go s.aggregate(intervals)
	return s
}

// take decodes a frame that came at an instant, and hands its trade on.
func (s *idiomatic) take(frame []byte, received time.Time) error {
	var t jsonTrade
	err := json.Unmarshal(frame, &t)
	if err != nil {
		return err
	}
	ft := floatTrade{received: received, at: t.Time, first: t.FirstID, last: t.LastID, maker: t.Maker}
	if ft.price, err = strconv.ParseFloat(t.Price, 64); err != nil {
		return err
	}
	if ft.qty, err = strconv.ParseFloat(t.Qty, 64); err != nil {
		return err
	}
	s.mu.RLock()
	ft.symbol = s.symbols[t.Symbol]
	s.mu.RUnlock()
	s.trades <- ft
	return nil
}

// close waits until every trade has been added.
func (s *idiomatic) close() {
	close(s.trades)
	<-s.done
}

func (s *idiomatic) aggregate(intervals []market.Interval) {
	defer close(s.done)
	for t := range s.trades {
		for i := range t.symbol.klines {
			k := &t.symbol.klines[i]
			if t.at >= k.end {
				open := intervals[i].Open(market.Time(t.at))
				*k = floatKline{open: int64(open), end: int64(intervals[i].Next(open)), o: t.price, h: t.price, l: t.price, firstID: t.first}
			}
			k.add(&t)
		}
		if s.closed != nil {
			s.closed(&t, &t.symbol.klines[0])
		}
	}
}

func (k *floatKline) add(t *floatTrade) {
	k.h, k.l, k.c = max(k.h, t.price), min(k.l, t.price), t.price
	k.volume += t.qty
	k.quote += t.price * t.qty
	if !t.maker {
		k.taker += t.qty
		k.tquote += t.price * t.qty
	}
	k.trades += t.last - t.first + 1
	k.lastID = t.last
}

// event is the kline as an event of the exchange's, as a map.
func (k *floatKline) event(symbol string) map[string]any {
	text := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	return map[string]any{"e": "kline", "E": k.end, "s": symbol, "k": map[string]any{
		"t": k.open, "T": k.end - 1, "s": symbol, "i": "1m", "f": k.firstID, "L": k.lastID, "o": text(k.o), "h": text(k.h), "l": text(k.l),
		"c": text(k.c), "v": text(k.volume), "n": k.trades, "x": false, "q": text(k.quote), "V": text(k.taker), "Q": text(k.tquote), "B": "0"}}
}

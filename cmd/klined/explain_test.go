package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"klined/fixed"
	"klined/market"
)

// deviations is what the exchange's aggTrades book elsewhere than its klines do.
type deviations struct {
	straddles []straddle
	burnt     []market.Time // of the aggTrade that each burnt id lies in
}

// straddle is an aggTrade that books fills of later klines in the kline of its first fill.
type straddle struct {
	time   market.Time
	beyond []strayFill
}

// strayFill is a fill of a straddling aggTrade that belongs to a later kline.
type strayFill struct {
	id    int64
	time  market.Time
	price string
	qty   string
	maker bool // the buyer was the maker
}

// object is JSON whose keys differ by case only (t, T): struct tags do not tell them apart.
type object map[string]json.RawMessage

// deviations asks the exchange for those of a series: at the boundaries of its base klines, for longer ones are folded.
func (j *judge) deviations(symbol string, iv market.Interval, from, to market.Time) (*deviations, error) {
	body, err := j.get(j.exchange, "/sim/deviations", url.Values{"symbol": {symbol}, "interval": {min(iv, market.OneMinute).String()},
		"startTime": {fmt.Sprint(int64(from))}, "endTime": {fmt.Sprint(int64(to))}})
	if err != nil {
		return nil, err
	}
	var raw struct{ Straddles, Burnt []object }
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, err
	}
	d := &deviations{straddles: make([]straddle, len(raw.Straddles)), burnt: make([]market.Time, len(raw.Burnt))}
	for i, o := range raw.Burnt {
		err = errors.Join(err, json.Unmarshal(o["T"], &d.burnt[i]))
	}
	for i, o := range raw.Straddles {
		var beyond []object
		err = errors.Join(err, json.Unmarshal(o["T"], &d.straddles[i].time), json.Unmarshal(o["beyond"], &beyond))
		for _, o := range beyond {
			var f strayFill
			err = errors.Join(err, json.Unmarshal(o["t"], &f.id), json.Unmarshal(o["T"], &f.time),
				json.Unmarshal(o["p"], &f.price), json.Unmarshal(o["q"], &f.qty), json.Unmarshal(o["m"], &f.maker))
			d.straddles[i].beyond = append(d.straddles[i].beyond, f)
		}
	}
	return d, err
}

// explain reports whether ours is exactly the truth with the straddling aggTrades booked whole in the kline of their
// first fill, and the burnt ids counted. What lies before first is official, also within longer klines.
func (d *deviations) explain(iv market.Interval, first market.Time, ours, truth row) bool {
	within := market.Span{From: max(truth.open, first), To: iv.Next(truth.open)}
	sum := newBalance(truth)
	seen := extremes{high: num(ours.h), low: num(ours.l), open: num(ours.o), firstID: 1 << 62}
	closeMoved := false
	for _, s := range d.straddles {
		for _, f := range s.beyond {
			if in(within, s.time) {
				sum.book(f, &sum.plus)
				closeMoved = closeMoved || ours.c == f.price
			}
			if in(within, f.time) {
				sum.book(f, &sum.minus)
				seen.take(f)
			}
		}
	}
	for _, t := range d.burnt {
		if in(within, t) {
			sum.plus.count++
		}
	}
	return sum.equals(ours) && seen.explain(ours, truth) && (truth.c == ours.c || closeMoved)
}

func in(s market.Span, t market.Time) bool { return t >= s.From && t < s.To }

// extremes are the high, low and open of our kline with the stray fills that the exchange counts in it.
type extremes struct {
	high, low, open fixed.Value
	firstID         int64
}

func (x *extremes) take(f strayFill) {
	p := num(f.price)
	x.high, x.low = max(x.high, p), min(x.low, p)
	if f.id < x.firstID {
		x.firstID, x.open = f.id, p
	}
}

// explain reports whether the exchange's prices are ours, or ours with the stray fills. Where we have no trades of our
// own, only the stray fills count.
func (x *extremes) explain(ours, truth row) bool {
	if ours.count == "0" {
		return num(truth.o) == x.open
	}
	return x.high == num(truth.h) && x.low == num(truth.l) && (truth.o == ours.o || num(truth.o) == x.open)
}

// balance is the sums of a kline, with what is booked in and what is booked out.
type balance struct{ plus, minus sums }

// sums are the five that add.
type sums struct {
	volume, quote, takerVolume, takerQuote fixed.Sum
	count                                  int64
}

func newBalance(r row) *balance { return &balance{plus: sumsOf(r)} }

func sumsOf(r row) sums {
	s := sums{volume: sumOf(r.volume), quote: sumOf(r.quote), takerVolume: sumOf(r.takerVolume), takerQuote: sumOf(r.takerQuote)}
	if _, err := fmt.Sscan(r.count, &s.count); err != nil {
		panic(err)
	}
	return s
}

// book adds a fill to one side of b.
func (b *balance) book(f strayFill, side *sums) {
	price, qty := num(f.price), num(f.qty)
	side.count++
	side.volume, side.quote = side.volume.Add(qty.Sum()), side.quote.Add(fixed.Mul(price, qty))
	if !f.maker {
		side.takerVolume, side.takerQuote = side.takerVolume.Add(qty.Sum()), side.takerQuote.Add(fixed.Mul(price, qty))
	}
}

// equals reports whether plus = minus + r.
func (b *balance) equals(r row) bool {
	s := sumsOf(r)
	return b.plus == sums{
		volume: s.volume.Add(b.minus.volume), quote: s.quote.Add(b.minus.quote),
		takerVolume: s.takerVolume.Add(b.minus.takerVolume), takerQuote: s.takerQuote.Add(b.minus.takerQuote),
		count: s.count + b.minus.count,
	}
}

func num(text string) fixed.Value { return fixed.MustParse(text) }

func sumOf(text string) fixed.Sum {
	s, err := fixed.ParseSum(text)
	if err != nil {
		panic(err)
	}
	return s
}

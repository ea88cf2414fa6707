package feed

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"klined/engine"
	"klined/fixed"
	"klined/health"
	"klined/market"
)

// tapeBegin is when a tape begins: the trades of minute 0 are its stream's starting minute.
const tapeBegin = market.Time(1803859200000) // 2027-03-01T00:00Z

// tape is what two connections bring of a random market of some minutes.
type tape struct {
	random  *rand.Rand
	source  market.Source
	minutes int
	lies    int              // that each connection brings
	rest    bool             // REST brings what is missing
	listed  int              // the last so many symbols are new at the venue: they are added later
	trades  [][]market.Trade // by symbol and id: the truth
	lost    [][]bool         // as trades: nobody brings it
	down    [2][]market.Span // when a connection is away
	brought [2][]delivery

	drop     float64 // the share of the trades that a connection does not bring
	disorder bool    // they come out of order, too
}

// delivery is one trade as it comes over a connection.
type delivery struct {
	market.Trade
	at market.Time
}

// newTape draws a market whose connections are away as given. Some symbols trade several times a second, others hardly
// once a minute; some begin only after the stream.
func newTape(seed uint64, source market.Source, symbols, minutes int, down [2][]market.Span) *tape {
	p := &tape{random: rand.New(rand.NewPCG(seed, 7)), source: source, minutes: minutes, down: down}
	for s := range symbols {
		mean := []int{200, 2000, 20_000, 100_000}[p.random.IntN(4)] // ms between trades
		id, fill := int64(10_000_001+p.random.IntN(100)), int64(1+p.random.IntN(1000))
		price := int64(10_000)
		var all []market.Trade
		for at := tapeBegin; ; at += market.Time(p.random.ExpFloat64() * float64(mean)) {
			if len(all) == 0 {
				at = p.firstTrade(s)
			}
			if at >= tapeBegin+market.Time(minutes)*market.Minute {
				break
			}
			price += int64(p.random.IntN(41)) - 20
			t := market.Trade{SymbolID: market.SymbolID(s), ID: id, FirstID: fill, LastID: fill + int64(p.random.IntN(3)),
				Price: fixed.Value(price) * fixed.One / 100, Qty: fixed.Value(1+p.random.IntN(500)) * fixed.One / 10, Time: at, TakerBuy: p.random.IntN(2) == 0}
			if source == market.SourceTrade {
				t.FirstID, t.LastID = id, id
				id += int64(p.random.IntN(20) / 19) // burnt
			}
			all = append(all, t)
			id, fill = id+1, t.LastID+1+int64(p.random.IntN(2))
		}
		last := tapeBegin + market.Time(minutes)*market.Minute - 1000
		tail := market.Trade{SymbolID: market.SymbolID(s), ID: id, FirstID: max(fill, id), LastID: max(fill, id), Price: fixed.One, Qty: fixed.One, Time: last}
		p.trades = append(p.trades, append(slices.DeleteFunc(all, func(t market.Trade) bool { return t.Time >= last }), tail))
		p.trades[s][len(p.trades[s])-1].ID = p.trades[s][len(p.trades[s])-2].ID + 1
	}
	return p
}

// firstTrade is when a symbol trades for the first time: while the stream begins, or later. Nobody could know of a first
// trade that both connections miss one after the other: so not about when one goes. Symbol 0 begins the stream.
func (p *tape) firstTrade(symbol int) market.Time {
	at := tapeBegin + 60_000 + market.Time(p.random.IntN(90_000))
	for c := range 2 {
		if symbol == 0 || p.random.IntN(2) == 0 || p.away(c, at-2000) || p.away(c, at) || p.away(c, at+2000) {
			return tapeBegin + 4000
		}
	}
	return at
}

// cut decides what each connection brings, and when: with a lag, drops, duplicates and frames out of order. Where
// complementary, what one connection drops the other brings, if it is there.
func (p *tape) cut(seed uint64, drop float64, complementary, disorder bool) {
	random := rand.New(rand.NewPCG(seed, 11))
	p.drop, p.disorder = drop, disorder
	p.lost = make([][]bool, len(p.trades))
	p.brought = [2][]delivery{}
	lag := [2]market.Time{100 + market.Time(random.IntN(100)), 100 + market.Time(random.IntN(300))}
	for s, trades := range p.trades {
		p.lost[s] = make([]bool, len(trades))
		for i := range trades {
			first, last := i == 0, i == len(trades)-1
			both := last || first && trades[i].Time < tapeBegin+5000
			p.lost[s][i] = true
			for c := range 2 {
				if both || random.Float64() >= drop {
					p.bring(random, c, s, i, lag[c], disorder && !both)
				}
			}
			for c := range 2 {
				if p.lost[s][i] && (complementary || first) {
					p.bring(random, c, s, i, lag[c], false)
				}
			}
		}
	}
	for c := range 2 {
		slices.SortStableFunc(p.brought[c], func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
	}
}

// bring lets a connection bring trade i of symbol s, unless it goes away meanwhile: a new one brings nothing old.
func (p *tape) bring(random *rand.Rand, c, s, i int, lag market.Time, disorder bool) {
	t := p.trades[s][i]
	at := t.Time + lag
	if disorder && random.IntN(20) == 0 {
		at += market.Time(random.IntN(150))
	}
	for again := true; again; again = disorder && random.IntN(20) == 0 {
		underway := market.Span{From: t.Time + lag, To: at + 1}
		if !slices.ContainsFunc(p.down[c], underway.Overlaps) {
			p.brought[c] = append(p.brought[c], delivery{t, at})
			p.lost[s][i] = false
		}
		at += market.Time(random.IntN(500))
	}
}

func (p *tape) away(c int, at market.Time) bool {
	return slices.ContainsFunc(p.down[c], func(s market.Span) bool { return at >= s.From && at < s.To })
}

// truth is the kline of the trades with times within [open, next), the slow, obvious way. Without any its price is the
// last before, 100 at first.
func (p *tape) truth(symbol market.SymbolID, open, next market.Time) market.Kline {
	k := market.EmptyKline(open, 100*fixed.One)
	for i := range p.trades[symbol] {
		t := &p.trades[symbol][i]
		switch {
		case t.Time >= next:
			return k
		case t.Time < open:
			k = market.EmptyKline(open, t.Price)
			continue
		case k.TradeCount == 0:
			k = market.EmptyKline(open, t.Price)
			k.FirstID = t.FirstID
		}
		k.High, k.Low, k.Close = max(k.High, t.Price), min(k.Low, t.Price), t.Price
		k.Volume = k.Volume.Add(t.Qty.Sum())
		k.QuoteVolume = k.QuoteVolume.Add(fixed.Mul(t.Price, t.Qty))
		if t.TakerBuy {
			k.TakerBuyVolume = k.TakerBuyVolume.Add(t.Qty.Sum())
			k.TakerBuyQuoteVolume = k.TakerBuyQuoteVolume.Add(fixed.Mul(t.Price, t.Qty))
		}
		k.TradeCount += t.LastID - t.FirstID + 1
		k.LastID, k.LastTradeID = t.LastID, t.ID
	}
	return k
}

// player plays a tape into a lane, without goroutines: its own clock says what time it is.
type player struct {
	*tape
	f       *Feed
	l       *lane
	conns   [2]*carrier
	now     market.Time
	last    map[market.Update]market.Kline  // by series and open time: what was handed on last
	ahead   map[market.SymbolID]market.Time // when a lie that was ahead of its time was told last
	takes   map[market.SymbolID][]taking    // who took the trades as they came
	changes []event                         // of what is carried
	c       market.Changes
	w       []whole
}

func (y *player) Now() market.Time { return y.now }

func local(t market.Time) time.Time { return t.Std() }

// event is something that happens to the lane.
type event struct {
	at market.Time
	do func()
}

func newPlayer(t interface{ Fatal(...any) }, p *tape, intervals []market.Interval) *player {
	log := slog.New(slog.DiscardHandler)
	y := &player{tape: p, now: tapeBegin, last: map[market.Update]market.Kline{}, ahead: map[market.SymbolID]market.Time{},
		takes: map[market.SymbolID][]taking{}}
	o := Options{Intervals: intervals, Source: p.source, Lanes: 1, Clock: y, Metrics: health.NewMetrics(),
		Watchdog: health.NewWatchdog(log), Log: log, Drain: func(*market.Changes) {}}
	if p.rest { // heal asks itself
		o.Healer.Trades = func(context.Context, market.SymbolID, int64, int) ([]market.Trade, error) { return nil, nil }
	}
	for s := range p.trades[:len(p.trades)-p.listed] {
		o.Symbols = append(o.Symbols, market.SymbolID(s))
	}
	var err error
	if y.f, err = New(o); err != nil {
		t.Fatal(err)
	}
	y.l = y.f.lanes[0]
	for c := range y.conns {
		y.conns[c] = y.l.newCarrier(y.f.links[c], nil, y.f.links[c].carries())
	}
	return y
}

// play cuts what the connections bring into reads and lets all happen in the order of time. officials is the share of
// the minutes whose official kline comes a few seconds after their end; where it is 1, all of them come once more.
func (y *player) play(seed uint64, officials float64) {
	random := rand.New(rand.NewPCG(seed, 13))
	events := slices.Concat(y.reads(random), y.takers(random), y.changes)
	for c := range 2 {
		for _, s := range y.down[c] {
			silent := s.From - market.Time(random.IntN(1000)) // the last frame may have been a while ago
			events = append(events, event{s.From, func() {
				y.l.lost(y.conns[c], y.lastFrame(c, s.From, silent))
				y.conns[c] = y.l.newCarrier(y.f.links[c], nil, y.f.links[c].carries())
			}})
		}
	}
	end := tapeBegin + market.Time(y.minutes)*market.Minute
	for at := tapeBegin; at < end+10*market.Second; at += 20 + market.Time(random.IntN(2)*random.IntN(200)) {
		events = append(events, event{at, func() { y.l.tick(at.Add(-y.f.graceNow()), local(at)) }})
	}
	for at := tapeBegin; at < end+13*market.Second; at += market.Second {
		events = append(events, event{at, func() { y.latest(random) }})
	}
	for at := tapeBegin; y.rest && at < end+13*market.Second; at += 300 {
		events = append(events, event{at, func() { y.heal(random) }})
	}
	for c := range 2 {
		for range y.lies {
			at := tapeBegin + 20*market.Second + market.Time(random.Int64N(int64(end-tapeBegin-25*market.Second)))
			events = append(events, event{at, func() { y.lie(random, c) }})
		}
	}
	for m := range y.minutes {
		open := tapeBegin + market.Time(m)*market.Minute
		events = append(events, event{open + market.Minute + 2000 + market.Time(random.IntN(3000)), func() { y.official(random, open, officials) }},
			event{end + 15*market.Second, func() { y.official(random, open, float64(int(officials))) }})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range events {
		y.now = e.at
		e.do()
		if random.IntN(3) == 0 {
			y.drain()
		}
	}
	y.drain()
}

// latest lets REST tell the newest ids, which it knows some time after they were given.
func (y *player) latest(random *rand.Rand) {
	known := y.now - market.Time(random.IntN(900))
	for id, trades := range y.trades[:len(y.l.symbols)] {
		for i := len(trades) - 1; i >= 0; i-- {
			if trades[i].Time <= known {
				y.l.judge(engine.Slot(id), y.symbol(market.SymbolID(id)), trades[i].ID, trades[i].Time, local(y.now))
				break
			}
		}
	}
}

// heal lets REST bring the ids that are missing, as far as it knows them; now and then it does not answer.
func (y *player) heal(random *rand.Rand) {
	known := y.now - market.Time(random.IntN(400))
	for _, w := range y.f.wants(local(y.now)) {
		for _, span := range w.spans {
			if random.IntN(3) == 0 {
				continue
			}
			var rows []market.Trade
			limit := int(min(span.last-span.first+2, 40))
			for _, t := range y.trades[w.id] {
				if t.ID >= span.first && t.Time <= known && len(rows) < limit {
					rows = append(rows, t)
				}
			}
			y.l.heal(engine.Slot(w.id), span.first, min(span.last, span.first+int64(limit)-2), rows, len(rows) < limit, local(y.now))
		}
	}
}

// lie lets a connection bring a well-formed trade that cannot be true, of a symbol that trades.
func (y *player) lie(random *rand.Rand, c int) {
	id := random.IntN(len(y.l.symbols))
	s := y.symbol(market.SymbolID(id))
	if s.next == 0 || y.away(c, y.now) {
		return
	}
	t := market.Trade{SymbolID: market.SymbolID(id), ID: s.next, FirstID: 1, LastID: 1, Price: fixed.One, Qty: 1000 * fixed.One, Time: y.now - 100}
	switch random.IntN(3) {
	case 0:
		t.Time += market.Hour
		t.ID = max(t.ID, min(t.ID+int64(random.IntN(3)), y.trades[id][len(y.trades[id])-1].ID))
		y.ahead[t.SymbolID] = y.now
	case 1:
		t.ID += 1_000_000 + int64(random.IntN(3))
	case 2:
		t.ID = s.first - 2_000_000
	}
	b := market.Batch{Ready: true, Received: local(y.now), Trades: []market.Trade{t}, Payloads: [][]byte{[]byte("a lie")}}
	y.f.believeTimes(context.Background(), &b)
	if len(b.Trades) > 0 {
		y.l.take(y.conns[c], &b)
	}
}

// lastFrame is when a connection last brought something before it ended.
func (y *player) lastFrame(c int, end, otherwise market.Time) market.Time {
	for i := len(y.brought[c]) - 1; i >= 0; i-- {
		if at := y.brought[c][i].at; at < end {
			return at
		}
	}
	return otherwise
}

// reads cuts each connection's deliveries into batches at random; none reaches over a time when the connection is away.
func (y *player) reads(random *rand.Rand) (events []event) {
	for c := range 2 {
		for rest := y.brought[c]; len(rest) > 0; {
			n, limit := 1, rest[0].at+market.Time(random.IntN(60))
			for n < len(rest) && rest[n].at <= limit && random.IntN(50) > 0 && !y.away(c, rest[n].at) && !y.away(c, limit) {
				n++
			}
			b := market.Batch{Ready: true, Received: local(rest[n-1].at)}
			for _, d := range rest[:n] {
				b.Trades, b.Payloads = append(b.Trades, d.Trade), append(b.Payloads, strconv.AppendInt(nil, d.ID, 10))
			}
			events = append(events, event{rest[n-1].at, func() { y.l.take(y.conns[c], &b) }})
			rest = rest[n:]
		}
	}
	return events
}

// official brings the exchange's klines of one minute: all of the starting minute, else some, which only count where
// ours is marked.
func (y *player) official(random *rand.Rand, open market.Time, share float64) {
	for s := range y.trades {
		if s >= len(y.trades)-y.listed && y.trades[s][0].Time >= open+market.Minute {
			continue // the venue has none before its first trade
		}
		if open == tapeBegin || random.Float64() < share {
			k := y.truth(market.SymbolID(s), open, open+market.Minute)
			k.State = market.StateSettled
			y.f.frames([]market.Update{{Series: market.Series{Symbol: market.SymbolID(s), Interval: market.OneMinute}, Kline: k}})
		}
	}
}

func (y *player) drain() {
	y.l.collect(&y.c, &y.w)
	for _, r := range y.c.Relayed {
		y.relayed(r)
	}
	for _, u := range y.c.Updates {
		key := market.Update{Series: u.Series}
		key.OpenTime = u.OpenTime
		y.last[key] = u.Kline
	}
}

// handedOn is the last version of a kline that was handed on.
func (y *player) handedOn(series market.Series, open market.Time) (market.Kline, bool) {
	key := market.Update{Series: series}
	key.OpenTime = open
	k, ok := y.last[key]
	return k, ok
}

func (y *player) symbol(id market.SymbolID) *symbol { return &y.l.symbols[engine.Slot(id)] }

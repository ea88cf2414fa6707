package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"klined/market"
)

// Bounds of what is listed on request.
const (
	maxContracts  = 3000 // that the exchange ever had
	maxName       = 32   // characters
	leastOfMinute = 12   // aggTrades of a newcomer in the mean, where the mean symbol has fewer
)

// statusLag is how long after a symbol's first or last trade exchangeInfo says so (measured at listings: 294 and 367 ms, once more
// than 819).
const statusLag = 300 // ms

// turn is what becomes of a symbol's entry in exchangeInfo at a time.
type turn struct {
	at market.Time
	s  *symbol
}

// list adds the symbol that f describes and completes f by its name; the caller holds e.mu. It trades from its onboard time on,
// as often as the mean symbol does, and has no kline, no price and no row before its first trade. One that was delisted comes back.
func (e *Exchange) list(f *Fault) error {
	if len(e.symbols) >= maxContracts {
		return fmt.Errorf("list: there have been %d symbols: no more", maxContracts)
	}
	begin := e.live.reached + 1 + market.Time(f.Seconds*1000)
	if f.Symbol == "" {
		f.Symbol = e.freeName(f.Contract, begin)
	}
	if s := e.byName[f.Symbol]; s != nil {
		return e.relist(s, f, begin)
	}
	l := newcomer(e.opt, f, begin)
	s := newListed(l, e.opt)
	e.symbols = append(e.symbols, s)
	e.byName[s.name] = s
	e.streams.know(s)
	e.announce(s, f)
	return nil
}

// announce lets exchangeInfo say that s begins, which it does with its next fill: at once, or after f's seconds.
func (e *Exchange) announce(s *symbol, f *Fault) {
	s.status, s.tradesFrom = statusTrading, 0
	if f.Seconds > 0 {
		s.status, s.tradesFrom = statusPending, s.begin+statusLag
		e.turnAt(turn{s.tradesFrom, s})
	}
	e.live.fills.push(due{s.gen.plan[0].us, s})
	e.info = nil
}

// relist lets a symbol that was delisted trade again: its ids and its price go on, and its klines are flat in between.
func (e *Exchange) relist(s *symbol, f *Fault, begin market.Time) error {
	switch {
	case s.ends == 0 || !s.perpetual() || f.Contract != "" && f.Contract != s.contract:
		return fmt.Errorf("list: symbol %q: there is one", f.Symbol)
	case s.status != statusSettling:
		return fmt.Errorf("list: symbol %q: it is listed until %s", f.Symbol, s.ends.Add(statusLag))
	}
	s.begin, s.delivery, s.ends, s.vanishes, s.gone = begin, perpetualDelivery, 0, false, false
	g := &s.gen
	g.began, g.ended, g.nextID = int64(begin)*1000, int64(begin)*1000, s.last.id+1
	g.next()
	waiting := e.live.fills
	e.live.fills = nil
	for _, d := range waiting { // the fill that came too late for its end may wait yet
		if d.s != s {
			e.live.fills.push(d)
		}
	}
	e.announce(s, f)
	return nil
}

// newcomer is the listing of a symbol that begins on request: its market is drawn from its name.
func newcomer(opt Options, f *Fault, begin market.Time) *listing {
	base, _, _ := strings.Cut(f.Symbol, "_")
	m := made(len(models) + int(keyOf(opt.Seed, f.Symbol)%1000))
	m.base = strings.TrimSuffix(base, quoteAsset)
	if f.Contract == tradFi {
		m.kind = tradFi
	}
	l := newListing(opt, m, 3)
	l.name, l.key = f.Symbol, keyOf(opt.Seed, f.Symbol)
	if f.Contract != "" {
		l.contract = f.Contract
	}
	if end, dated := deliveryOf(f.Symbol); dated {
		l.delivery = end
	}
	l.young, l.begin = true, begin
	l.perMinute = max(leastOfMinute, opt.Rate*60/float64(opt.Symbols))
	return l
}

// freeName is a name that no symbol has had.
func (e *Exchange) freeName(contract string, begin market.Time) string {
	suffix := quoteAsset
	switch contract {
	case currentQuarter:
		suffix += "_" + quarterEnd(begin).Std().Format(dateInName)
	case nextQuarter:
		suffix += "_" + quarterEnd(quarterEnd(begin)).Std().Format(dateInName)
	}
	for i := e.opt.Symbols; ; i++ {
		if name := made(i).base + suffix; e.byName[name] == nil {
			return name
		}
	}
}

// dateInName is how the name of a dated contract ends.
const dateInName = "060102"

// deliveryOf is when a contract of that name ends, 08:00Z of the day that it names; dated is false where it names none.
func deliveryOf(name string) (end market.Time, dated bool) {
	_, day, _ := strings.Cut(name, "_")
	t, err := time.Parse(dateInName, day)
	return market.TimeOf(t) + 8*market.Hour, err == nil
}

// wrongName says what the name of a new symbol should be and is not; "" where it is right, or left to the exchange.
func wrongName(name, contract string) string {
	pair, _, cut := strings.Cut(name, "_")
	base, quoted := strings.CutSuffix(pair, quoteAsset)
	_, dated := deliveryOf(name)
	wantsDate := contract == currentQuarter || contract == nextQuarter
	switch {
	case name == "":
		return ""
	case !quoted || base == "" || cut != wantsDate || dated != wantsDate:
		if wantsDate {
			return "one like NEW" + quoteAsset + "_261225 for a " + contract
		}
		return "one like NEW" + quoteAsset
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("at most %d characters", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(base, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }):
		return "letters and digits, of any script"
	}
	return ""
}

// delist lets a symbol trade for f's seconds more; the caller holds e.mu. Its delivery date is set at once; when it trades no
// more it is SETTLING, or gone, and its streams are silent. Its klines go on flat, as those of the real exchange do.
func (e *Exchange) delist(f *Fault) error {
	s := e.byName[f.Symbol]
	switch {
	case s == nil:
		return fmt.Errorf("delist: symbol %q: there is none", f.Symbol)
	case s.ends != 0 || s.status == statusSettling:
		return fmt.Errorf("delist: symbol %q: it is delisted", f.Symbol)
	}
	s.ends = e.live.reached + 1 + market.Time(f.Seconds*1000)
	s.delivery, s.vanishes = s.ends, f.Gone
	e.turnAt(turn{s.ends + statusLag, s})
	e.info = nil
	return nil
}

// turnAt notes a turn.
func (e *Exchange) turnAt(t turn) {
	e.turns = append(e.turns, t)
	slices.SortStableFunc(e.turns, func(a, b turn) int { return int(a.at - b.at) })
}

// turnBy lets exchangeInfo say what has become of symbols by now.
func (e *Exchange) turnBy(now market.Time) {
	for len(e.turns) > 0 && e.turns[0].at <= now {
		s := e.turns[0].s
		e.turns, e.info = e.turns[1:], nil
		switch {
		case s.ends != 0 && now >= s.ends+statusLag:
			s.status, s.gone, s.pushes.traded = statusSettling, s.vanishes, false
		case now >= s.tradesFrom:
			s.status = statusTrading
		}
	}
}

// find is the symbol of a name, gone ones too; nil where there has been none.
func (e *Exchange) find(name string) *symbol {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byName[name]
}

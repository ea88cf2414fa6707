package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"klined/fixed"
	"klined/market"
)

// scenarioDay is the day of times that name none: a Wednesday on which no week, month or 3-day kline begins.
const scenarioDay = "2027-02-10"

// parseClock reads 00:01, 00:01:02.250, 2027-03-01 and 2027-03-01T00:01:02.250.
func parseClock(text string) (market.Time, error) {
	full := text
	if !strings.Contains(text, "-") {
		full = scenarioDay + "T" + text
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, full); err == nil {
			return market.TimeOf(t), nil
		}
	}
	return 0, fmt.Errorf("cannot parse time %q", text)
}

// clockText writes a time as parseClock reads it, as short as can be.
func clockText(t market.Time) string {
	layout := "2006-01-02T15:04:05.000"
	switch {
	case t%market.Minute == 0:
		layout = "2006-01-02T15:04"
	case t%market.Second == 0:
		layout = "2006-01-02T15:04:05"
	}
	return strings.TrimPrefix(t.Std().Format(layout), scenarioDay+"T")
}

// intervals 1m 3m 1h | intervals exchange: makes a new engine.
func (s *script) intervals(args []string) (err error) {
	ivs := market.ExchangeIntervals()
	if !slices.Equal(args, []string{"exchange"}) {
		ivs = nil
		for _, name := range args {
			iv, err := market.ParseInterval(name)
			if err != nil {
				return err
			}
			ivs = append(ivs, iv)
		}
	}
	s.names = nil
	s.e, err = New(ivs)
	return err
}

// symbol BTCUSDT [fresh | first TIME]
func (s *script) symbol(args []string) error {
	slot := s.e.Add(market.SymbolID(len(s.names)))
	s.names = append(s.names, args[0])
	switch {
	case len(args) == 2 && args[1] == "fresh":
		s.e.Fresh(slot)
	case len(args) == 3 && args[1] == "first":
		t, err := parseClock(args[2])
		s.e.First(slot, t)
		return err
	case len(args) != 1:
		return fmt.Errorf("want: symbol NAME [fresh | first TIME]")
	}
	return nil
}

// first NAME TIME
func (s *script) first(args []string) error {
	slot, args, err := s.slot(args)
	if err != nil || len(args) != 1 {
		return fmt.Errorf("want: first NAME TIME")
	}
	t, err := parseClock(args[0])
	s.e.First(slot, t)
	return err
}

// fresh NAME
func (s *script) fresh(args []string) error {
	slot, _, err := s.slot(args)
	if err == nil {
		s.e.Fresh(slot)
	}
	return err
}

// begin TIME: every symbol's trades are whole from there on.
func (s *script) begin(args []string) error {
	t, err := parseClock(args[0])
	for slot := range s.names {
		s.e.Begin(Slot(slot), t)
	}
	return err
}

// forget drops the changes so far, where they are many and beside the point.
func (s *script) forget([]string) error {
	s.e.Drain(nil)
	return nil
}

// tick TIME…
func (s *script) tick(args []string) error {
	for _, arg := range args {
		t, err := parseClock(arg)
		if err != nil {
			return err
		}
		s.e.Tick(t)
	}
	return nil
}

// trade NAME ID PRICE QTY TIME buy|sell [fills FIRST..LAST]
func (s *script) trade(args []string) error {
	slot, args, err := s.slot(args)
	if err != nil || len(args) != 5 && len(args) != 7 {
		return fmt.Errorf("want: trade NAME ID PRICE QTY TIME buy|sell [fills FIRST..LAST]")
	}
	t := market.Trade{SymbolID: market.SymbolID(slot), TakerBuy: args[4] == "buy"}
	if t.ID, err = strconv.ParseInt(args[0], 10, 64); err != nil {
		return err
	}
	if t.Price, err = fixed.Parse(args[1]); err != nil {
		return err
	}
	if t.Qty, err = fixed.Parse(args[2]); err != nil {
		return err
	}
	if t.Time, err = parseClock(args[3]); err != nil {
		return err
	}
	t.FirstID, t.LastID = t.ID, t.ID
	if len(args) == 7 {
		if t.FirstID, t.LastID, err = parseIDs(args[6]); err != nil {
			return err
		}
	}
	words := map[Applied]string{Late: "late", Settled: "settled already", TooLate: "too late", Before: "before begin"}
	if word := words[s.e.Apply(slot, &t)]; word != "" {
		fmt.Fprintf(&s.out, "trade %d: %s\n", t.ID, word)
	}
	return nil
}

// gap NAME [FROM..TO]…: all spans at once, none clears.
func (s *script) gap(args []string) error {
	slot, args, err := s.slot(args)
	if err != nil {
		return err
	}
	var spans []market.Span
	for _, arg := range args {
		from, to, ok := strings.Cut(arg, "..")
		if !ok {
			return fmt.Errorf("want FROM..TO")
		}
		var span market.Span
		if span.From, err = parseClock(from); err != nil {
			return err
		}
		if span.To, err = parseClock(to); to == "" {
			span.To, err = never, nil
		}
		if err != nil {
			return err
		}
		spans = append(spans, span)
	}
	s.e.Mark(slot, spans)
	return nil
}

// load NAME INTERVAL KLINE: settled, or closed, or with gap.
func (s *script) load(args []string) error {
	slot, iv, k, err := s.kline(args)
	if err == nil && !s.e.Load(slot, iv, &k) {
		fmt.Fprintf(&s.out, "load %s %s: refused\n", iv, clockText(k.OpenTime))
	}
	return err
}

// official NAME INTERVAL KLINE
func (s *script) official(args []string) error {
	slot, iv, k, err := s.kline(args)
	if err != nil {
		return err
	}
	words := map[Replaced]string{Equal: "equal", Different: "different", OutOfReach: "out of reach"}
	fmt.Fprintf(&s.out, "official %s %s: %s\n", iv, clockText(k.OpenTime), words[s.e.Replace(slot, iv, &k)])
	return nil
}

// read NAME INTERVAL [FROM]: the klines a client would see, the running one last.
func (s *script) read(args []string) error {
	slot, args, err := s.slot(args)
	if err != nil {
		return err
	}
	iv, err := market.ParseInterval(args[0])
	if err != nil {
		return err
	}
	var from market.Time
	if len(args) > 1 {
		if from, err = parseClock(args[1]); err != nil {
			return err
		}
	}
	rows := s.e.Klines(nil, slot, iv, from)
	for i := range rows {
		fmt.Fprintf(&s.out, "read %s\n", klineLine(iv, &rows[i]))
	}
	if len(rows) == 0 {
		fmt.Fprintf(&s.out, "read %s: nothing\n", iv)
	}
	return nil
}

// whole NAME: whether it is, and since when its klines leave.
func (s *script) whole(args []string) error {
	slot, _, err := s.slot(args)
	if err == nil && s.e.Whole(slot) {
		fmt.Fprintf(&s.out, "whole since %s\n", clockText(s.e.Since(slot)))
	} else if err == nil {
		fmt.Fprintln(&s.out, "not whole")
	}
	return err
}

// kline reads NAME INTERVAL TIME OPEN HIGH LOW CLOSE VOLUME COUNT, then any of: quote Q; buy V Q; ids FIRST..LAST;
// closed; open; gap; revision N. Without quote, the quote volume is close × volume.
func (s *script) kline(args []string) (slot Slot, iv market.Interval, k market.Kline, err error) {
	slot, args, err = s.slot(args)
	if err != nil || len(args) < 8 {
		return slot, iv, k, fmt.Errorf("want NAME INTERVAL TIME OPEN HIGH LOW CLOSE VOLUME COUNT …")
	}
	if iv, err = market.ParseInterval(args[0]); err != nil {
		return slot, iv, k, err
	}
	if k.OpenTime, err = parseClock(args[1]); err != nil {
		return slot, iv, k, err
	}
	for i, price := range [...]*fixed.Value{&k.Open, &k.High, &k.Low, &k.Close} {
		*price = fixed.MustParse(args[2+i])
	}
	k.Volume = fixed.MustParse(args[6]).Sum()
	k.QuoteVolume = fixed.Mul(k.Close, fixed.MustParse(args[6]))
	k.FirstID, k.LastID, k.LastTradeID, k.State = -1, -1, -1, market.StateSettled
	if k.TradeCount, err = strconv.ParseInt(args[7], 10, 64); err != nil {
		return slot, iv, k, err
	}
	for args = args[8:]; len(args) > 0 && err == nil; {
		args, err = klineOption(&k, args)
	}
	return slot, iv, k, err
}

// klineOption reads what may follow a kline.
func klineOption(k *market.Kline, args []string) (rest []string, err error) {
	n := map[string]int{"quote": 1, "buy": 2, "ids": 1, "revision": 1}[args[0]]
	if len(args) <= n {
		return nil, fmt.Errorf("%s wants %d arguments", args[0], n)
	}
	switch args[0] {
	case "quote":
		k.QuoteVolume, err = fixed.ParseSum(args[1])
	case "buy":
		k.TakerBuyVolume, err = fixed.ParseSum(args[1])
		if err == nil {
			k.TakerBuyQuoteVolume, err = fixed.ParseSum(args[2])
		}
	case "ids":
		k.FirstID, k.LastID, err = parseIDs(args[1])
	case "revision":
		var revision int64
		revision, err = strconv.ParseInt(args[1], 10, 32)
		k.Revision = int32(revision)
	case "closed":
		k.State = market.StateClosed
	case "open":
		k.State = market.StateOpen
	case "gap":
		k.Gap = true
	default:
		err = fmt.Errorf("no such option")
	}
	return args[1+n:], err
}

// parseIDs reads FIRST..LAST.
func parseIDs(text string) (first, last int64, err error) {
	_, err = fmt.Sscanf(text, "%d..%d", &first, &last)
	return first, last, err
}

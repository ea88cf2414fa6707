package sim

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"

	"klined/market"
	"klined/tape"
)

// Tape is what an exchange plays instead of a market of its own: the frames of some files, in order, as they were received.
type Tape struct {
	files    []string
	symbols  map[string]*tapeSymbol
	from, to market.Time // of the frames, on the exchange's clock
	late     market.Time // how long they were on their way: the median of receipt less E, which is their receipt less the exchange's clock
}

// Span is when the tape begins and ends, on the clock of the exchange that it was recorded at.
func (t *Tape) Span() (from, to market.Time) { return t.from, t.to }

// Symbols is how many symbols trade on the tape.
func (t *Tape) Symbols() int { return len(t.symbols) }

// tapeSymbol is what a whole tape says of a symbol that trades.
type tapeSymbol struct {
	priceDigits int
	qtyDigits   int
	fills       bool                 // its trades are aggTrades, whose ids have no holes
	minutes     map[market.Time]*row // by open time: sums of its trades, or the exchange's own where the tape has them
	own         map[market.Time]bool // those that are
	runs        idRuns
}

// delaySample is how many frames tell how late they came.
const delaySample = 10_000

// ReadTape reads files from begin to end: text, plain or packed, a frame a line behind the time of its receipt, as klined serve
// --record writes it. Of a file that is cut, what there is counts; one that is damaged is refused. reading, which may be nil, is told of
// each file, and how many bytes it has, when it begins: it may take a minute.
func ReadTape(reading func(name string, size int64), files ...string) (*Tape, error) {
	t := &Tape{files: files, symbols: make(map[string]*tapeSymbol)}
	var own []*tapeMinute
	var delays []market.Time
	r := tapeReader{files: files, reading: reading}
	defer r.close()
	for {
		f, received, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if received != 0 && f.sent != 0 && len(delays) < delaySample {
			delays = append(delays, received-f.sent)
		}
		if received = cmp.Or(received, f.sent); received != 0 {
			t.from, t.to = min(cmp.Or(t.from, received), received), max(t.to, received)
		}
		if f.trade != nil {
			t.take(f.trade)
		} else if f.minute != nil {
			own = append(own, f.minute)
		}
	}
	if len(t.symbols) == 0 {
		return nil, errors.New("no trades on the tape")
	}
	if len(delays) > 0 {
		slices.Sort(delays)
		t.late = delays[len(delays)/2]
	}
	t.from, t.to = t.from-t.late, t.to-t.late
	for _, m := range own {
		if s := t.symbols[m.symbol]; s != nil {
			s.official(m)
		}
	}
	for _, s := range t.symbols {
		if !s.fills && r.leftOut > 0 {
			s.runs = nil // its ids do not tell what is missing
		}
	}
	return t, nil
}

// take sums a trade, unless it has come before.
func (t *Tape) take(tr *tapeTrade) {
	s := t.symbols[tr.symbol]
	if s == nil {
		s = &tapeSymbol{fills: tr.fills, minutes: make(map[market.Time]*row), own: make(map[market.Time]bool)}
		t.symbols[tr.symbol] = s
	}
	if s.fills == tr.fills && s.runs.add(tr.id, tr.at) {
		s.trade(tr)
	}
}

// trade adds a trade to its minute, in whatever order they come.
func (s *tapeSymbol) trade(t *tapeTrade) {
	if !t.counts {
		return
	}
	s.widen(decimals(t.price), decimals(t.qty))
	open := oneMinute.open(t.at)
	r := s.minutes[open]
	if r == nil {
		r = &row{open: open, first: -1, last: -1}
		s.minutes[open] = r
	}
	r.tapeTrade(t, s.priceDigits, s.qtyDigits)
}

// tapeTrade adds a trade of the tape to r; it reports whether it could.
func (r *row) tapeTrade(t *tapeTrade, priceDigits, qtyDigits int) bool {
	price, ok := scaled(t.price, priceDigits)
	qty, fits := scaled(t.qty, qtyDigits)
	if !ok || !fits {
		return false
	}
	if r.count == 0 {
		r.o, r.h, r.l, r.c, r.first, r.last = price, price, price, price, t.first, t.last
	}
	if t.first < r.first {
		r.o, r.first = price, t.first
	}
	if t.last > r.last {
		r.c, r.last = price, t.last
	}
	r.h, r.l = max(r.h, price), min(r.l, price)
	r.count += t.last - t.first + 1
	r.volume += qty
	r.quote += price * qty
	if t.buy {
		r.buyVolume += qty
		r.buyQuote += price * qty
	}
	return true
}

// widen lets the symbol's numbers have more digits.
func (s *tapeSymbol) widen(price, qty int) {
	byPrice, byQty := int64(1), int64(1)
	for ; s.priceDigits < price; s.priceDigits++ {
		byPrice *= 10
	}
	for ; s.qtyDigits < qty; s.qtyDigits++ {
		byQty *= 10
	}
	if byPrice == 1 && byQty == 1 {
		return
	}
	for _, r := range s.minutes {
		for _, p := range [...]*int64{&r.o, &r.h, &r.l, &r.c} {
			*p *= byPrice
		}
		r.volume, r.buyVolume = r.volume*byQty, r.buyVolume*byQty
		r.quote, r.buyQuote = r.quote*byPrice*byQty, r.buyQuote*byPrice*byQty
	}
}

// official takes the exchange's own kline of a minute: it stands for what the tape's trades sum to.
func (s *tapeSymbol) official(m *tapeMinute) {
	r := row{open: m.open, count: m.count, first: m.first, last: m.last}
	for i, to := range [...]*int64{&r.o, &r.h, &r.l, &r.c, &r.volume, &r.quote, &r.buyVolume, &r.buyQuote} {
		digits := s.priceDigits
		if i > 3 {
			digits = s.qtyDigits
		}
		if i == 5 || i == 7 {
			digits = s.priceDigits + s.qtyDigits
		}
		var ok bool
		if *to, ok = scaled(m.values[i], digits); !ok {
			return
		}
	}
	s.minutes[m.open], s.own[m.open] = &r, true
}

// whole says from which minute on the tape has the symbol whole, and which minutes after that it has not: those that lack trades
// and of which it has no kline of the exchange's own. It ends at until.
func (s *tapeSymbol) whole(until market.Time) (from market.Time, gaps map[market.Time]bool) {
	gaps = make(map[market.Time]bool)
	if len(s.runs) == 0 {
		return maxStart, gaps
	}
	if from = oneMinute.open(s.runs[0].at); s.runs[0].from > 1 {
		from = oneMinute.next(from)
	}
	for i := 1; i < len(s.runs) && s.fills; i++ {
		for at := oneMinute.open(s.runs[i-1].till); at <= min(s.runs[i].at, until); at += market.Minute {
			if !s.own[at] {
				gaps[at] = true
			}
		}
	}
	return from, gaps
}

// idRun is the ids from … to, both included, and when the first and the last of them were traded.
type idRun struct {
	from, to int64
	at, till market.Time
}

// idRuns is a set of ids: runs that rise and do not touch.
type idRuns []idRun

// add puts an id in; false where it is in already.
func (s *idRuns) add(id int64, at market.Time) bool {
	runs := *s
	i := len(runs)
	if i > 0 && runs[i-1].from > id { // the newest come in order, as nearly always
		i = sort.Search(i, func(i int) bool { return runs[i].from > id })
	}
	switch {
	case i > 0 && runs[i-1].to >= id:
		return false
	case i > 0 && runs[i-1].to == id-1:
		if runs[i-1].to, runs[i-1].till = id, at; i < len(runs) && runs[i].from == id+1 {
			runs[i-1].to, runs[i-1].till = runs[i].to, runs[i].till
			*s = slices.Delete(runs, i, i+1)
		}
	case i < len(runs) && runs[i].from == id+1:
		runs[i].from, runs[i].at = id, at
	default:
		*s = slices.Insert(runs, i, idRun{id, id, at, at})
	}
	return true
}

// tapeReader reads the frames of several files.
type tapeReader struct {
	files   []string
	file    *os.File
	frames  *tape.Reader
	leftOut int64
	reading func(name string, size int64) // nil: nobody is told
}

// next gives the next frame of a stream, and when it was received: 0 where the tape does not say. At the end the error is io.EOF.
func (r *tapeReader) next() (tapeFrame, market.Time, error) {
	for {
		if r.frames == nil {
			if err := r.open(); err != nil {
				return tapeFrame{}, 0, err
			}
		}
		line, err := r.frames.Next()
		if err != nil {
			if err != io.EOF && !errors.Is(err, tape.ErrCut) {
				return tapeFrame{}, 0, fmt.Errorf("cannot play: %w", err)
			}
			r.leftOut += r.frames.LeftOut()
			r.close()
			continue
		}
		if f, ok := readFrame(line.Data); ok {
			received := market.Time(0)
			if !line.Received.IsZero() {
				received = market.TimeOf(line.Received)
			}
			return f, received, nil
		}
	}
}

// open begins the next file.
func (r *tapeReader) open() error {
	if len(r.files) == 0 {
		return io.EOF
	}
	name := r.files[0]
	r.files = r.files[1:]
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil && r.reading != nil {
		r.reading(name, info.Size())
	}
	lines, err := tape.NewLines(name, f)
	if err != nil {
		return errors.Join(fmt.Errorf("cannot play: %w", err), f.Close())
	}
	r.file, r.frames = f, tape.NewReader(lines)
	return nil
}

func (r *tapeReader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file, r.frames = nil, nil
}

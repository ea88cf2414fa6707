package sim

import "slices"

// Values of a Fault's How.
const (
	howLacks   = "lacks"   // of REST: rows lack some of their trades, the same at each read
	howBreaks  = "breaks"  // of REST: high below low, taker volume above volume, or volume without a count; in turn
	howChanges = "changes" // of REST: rows have another wrong value at each read

	howChecksum   = "checksum"   // of the archive: checksums fit no file
	howHoles      = "holes"      // of the archive: ranges of rows are missing
	howOrder      = "order"      // of the archive: rows stand out of order, and one comes twice
	howMicros     = "micros"     // of the archive: times are in microseconds
	howHeaderless = "headerless" // of the archive: the first line is a row
	howMissing    = "missing"    // of the archive: there is no file
	howBroken     = "broken"     // of the archive: files end in the middle, and their checksums fit that
)

// hows are the values of How that a kind of fault knows.
var hows = map[string][]string{
	FaultRESTWrong:    {howLacks, howBreaks, howChanges},
	FaultArchiveWrong: {howChecksum, howHoles, howOrder, howMicros, howHeaderless, howMissing, howBroken},
}

// way is how a fault goes wrong at its n-th thing: as it says, or each way in turn; turn counts those that go the same way.
func (f *Fault) way(n uint64) (how string, turn uint64) {
	if f.How != "" {
		return f.How, n
	}
	ways := hows[f.Kind]
	return ways[n%uint64(len(ways))], n / uint64(len(ways))
}

// misled is the fault of a kind that is in force for a symbol, the one that began first, with its answers counted.
func (e *Exchange) misled(kind string, s *symbol) (t trouble, wrong bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.inForce()
	i := slices.IndexFunc(all, func(t *trouble) bool { return t.Kind == kind && (t.Symbol == "" || t.Symbol == s.name) })
	if i < 0 {
		return trouble{}, false
	}
	all[i].answers++
	return *all[i], true
}

// falsify makes the closed ones of a symbol's klines wrong. Empty ones stay as they are: they lack nothing.
func (t *trouble) falsify(v *view, iv interval, rows []row) {
	for i := range rows {
		r := &rows[i]
		if r.count == 0 || iv.next(r.open) > v.now {
			continue
		}
		switch how, turn := t.way(iv.number(r.open)); how {
		case howLacks:
			v.lack(r)
		case howBreaks:
			r.breakRule(turn)
		case howChanges:
			r.lengthen(int64(t.answers))
		}
	}
}

// lack takes half of its trades from a kline, or its only one. Those that are left have the mean price; fewer than four,
// which cannot be open, high, low and close, have the open.
func (v *view) lack(r *row) {
	if r.count == 1 {
		*r = emptyRow(r.open, v.closeBefore(r))
		return
	}
	price := r.quote / r.volume
	if r.count /= 2; r.count < 4 {
		price = r.o
		r.h, r.l, r.c = price, price, price
	}
	r.volume /= 2
	r.buyVolume /= 2
	r.quote, r.buyQuote = price*r.volume, price*r.buyVolume
}

// closeBefore is the close that a kline would carry if it were empty; that of the symbol's first one is its open.
func (v *view) closeBefore(r *row) int64 {
	if r.open <= v.s.opens {
		return r.o
	}
	return v.minute(oneMinute.back(r.open, 1)).c
}

// breakRule makes a kline one that cannot be.
func (r *row) breakRule(turn uint64) {
	switch turn % 3 {
	case 0:
		r.h = r.l - 1
	case 1:
		r.buyVolume = r.volume + 1
	case 2:
		r.count = 0
	}
}

// lengthen adds n trades that never were, each of one step at the close.
func (r *row) lengthen(n int64) {
	r.count += n
	r.volume += n
	r.quote += n * r.c
}

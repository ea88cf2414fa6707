package store

import (
	"container/list"
	"math"
	"slices"

	"klined/market"
)

// windowRows is how many klines of a series the window keeps, where clients ask for so many: as many as one request may ask for.
const windowRows = 1500

// partRows is how many klines a part holds at most, partBytes what one takes. When a kline is replaced its part is copied.
const (
	partRows  = 56
	partBytes = 8 << 10 // Go's size class for them
)

// forever is after every kline.
const forever market.Time = math.MaxInt64

// window keeps the recent klines of the series that clients ask for, so that a read of them needs no disk. It is told
// everything that changes what a read of disk and outbox would give: what it is not told of for sure, it forgets. Where it
// takes more memory than it may, the series that was asked for least recently leaves. Whoever calls holds Store.mu.
type window struct {
	most  int64 // bytes that it may take
	rows  int   // klines of a series that it keeps: so many, and at most a part more
	bytes int64 // that it takes
	of    map[market.Series]*list.Element
	asked list.List // of *windowed, the most recently asked first
}

// windowed is one series: every kline of disk and outbox that opens at or after from, the better version of each.
type windowed struct {
	series market.Series
	from   market.Time
	parts  []part // by rising open time, none of them empty
	rows   int
	bytes  int64
	fill   *fill // of what lies before from; nil where none is under way
}

// part is klines by rising open time. What is in it never changes, but more may follow within its capacity: readers keep it
// without a lock.
type part []market.Kline

// fill is a read of the disk on its way into the window.
type fill struct {
	from, to market.Time
	newer    []market.Kline // within it: what the outbox held when it began, and what came since
	done     chan struct{}  // closed at its end
}

func newWindow(most int64) *window {
	return &window{most: most, rows: windowRows, of: make(map[market.Series]*list.Element)}
}

// windowedCost is what a series costs besides its parts, in bytes: itself (112), its place in the list (64), and in a map that
// is half full (64). headerCost is what each part costs in the list of them.
const (
	windowedCost = 240
	headerCost   = 24
)

// get is the series' klines, or nil.
func (w *window) get(series market.Series) *windowed {
	if e, ok := w.of[series]; ok {
		return e.Value.(*windowed)
	}
	return nil
}

// touch notes that a client has asked for the series.
func (w *window) touch(series market.Series) {
	if e, ok := w.of[series]; ok {
		w.asked.MoveToFront(e)
	}
}

// begin starts a fill with what the series has from an open time on, as far as it is not here.
func (w *window) begin(series market.Series, from market.Time) (*windowed, *fill) {
	k := w.get(series)
	if k == nil {
		k = &windowed{series: series, from: forever}
		w.of[series] = w.asked.PushFront(k)
		w.grow(k, windowedCost)
	}
	k.fill = &fill{from: from, to: k.from, done: make(chan struct{})}
	return k, k.fill
}

// forget drops the series; a fill that is under way will not be kept.
func (w *window) forget(series market.Series) {
	if e, ok := w.of[series]; ok {
		w.bytes -= w.asked.Remove(e).(*windowed).bytes
		delete(w.of, series)
	}
}

// grow counts memory, and has leave what is too much.
func (w *window) grow(k *windowed, by int64) {
	k.bytes += by
	w.bytes += by
	for w.bytes > w.most {
		w.forget(w.asked.Back().Value.(*windowed).series)
	}
}

// take takes in a kline that was put into the outbox.
func (w *window) take(series market.Series, k *market.Kline) {
	held := w.get(series)
	if held == nil {
		return
	}
	if held.fill != nil && k.OpenTime >= held.fill.from && k.OpenTime < held.fill.to {
		held.fill.newer = overlay(held.fill.newer, []market.Kline{*k})
	}
	if k.OpenTime >= held.from {
		before := held.size()
		held.put(k)
		held.trim(w.rows)
		w.grow(held, held.size()-before)
	}
}

// finish ends a fill with what the disk had, cut into parts of its own. Where the series was forgotten meanwhile it is not kept.
func (w *window) finish(k *windowed, f *fill, rows []part) {
	close(f.done)
	before := k.size()
	k.fill, k.from = nil, f.from
	for _, p := range rows {
		k.rows += len(p)
	}
	old := k.parts
	if n := len(rows) - 1; n >= 0 && len(old) > 0 && len(rows[n])+len(old[0]) <= partRows {
		rows[n], old = append(rows[n], old[0]...), old[1:] // or many short fills would be as many parts
	}
	k.parts = slices.Concat(rows, old)
	for i := range f.newer {
		k.put(&f.newer[i])
	}
	if w.get(k.series) != k {
		return
	}
	k.trim(w.rows)
	w.grow(k, k.size()-before)
}

// fail ends a fill that brought nothing.
func (w *window) fail(k *windowed, f *fill) {
	close(f.done)
	k.fill = nil
	if w.get(k.series) == k && k.from == forever {
		w.forget(k.series)
	}
}

// size is the bytes of the parts and of the list of them.
func (k *windowed) size() int64 {
	return int64(len(k.parts))*partBytes + int64(cap(k.parts))*headerCost
}

// put takes in a kline unless a version as good is there.
func (k *windowed) put(row *market.Kline) {
	if len(k.parts) == 0 {
		k.parts, k.rows = append(k.parts, newPart(nil, row, nil)), 1
		return
	}
	i := max(k.partOf(row.OpenTime), 0)
	p := k.parts[i]
	at, found := p.find(row.OpenTime)
	switch {
	case found && market.Better(row, &p[at]):
		k.parts[i] = newPart(p[:at], row, p[at+1:])
		return
	case found:
		return
	case at == len(p) && at < partRows:
		k.parts[i] = append(p, *row)
	case at == len(p):
		k.parts = slices.Insert(k.parts, i+1, newPart(nil, row, nil))
	case len(p) < partRows:
		k.parts[i] = newPart(p[:at], row, p[at:])
	default:
		k.parts = slices.Replace(k.parts, i, i+1, newPart(p[:at], row, nil), append(make(part, 0, partRows), p[at:]...))
	}
	k.rows++
}

// newPart is before, row and after as one.
func newPart(before part, row *market.Kline, after part) part {
	return append(append(append(make(part, 0, partRows), before...), *row), after...)
}

// partOf is the last part that begins at or before open; −1 where none does.
func (k *windowed) partOf(open market.Time) int {
	if n := len(k.parts); n > 0 && k.parts[n-1][0].OpenTime <= open {
		return n - 1 // a recent kline: the common case
	}
	i, found := slices.BinarySearchFunc(k.parts, open, func(p part, open market.Time) int { return int(min(max(p[0].OpenTime-open, -1), 1)) })
	if found {
		return i
	}
	return i - 1
}

// find is where the kline that opens at open stands, or would stand, in p.
func (p part) find(open market.Time) (int, bool) {
	if n := len(p); n == 0 || p[n-1].OpenTime < open {
		return n, false
	}
	return market.Search(p, open)
}

// trim drops the oldest parts where without them there are as many klines as are kept.
func (k *windowed) trim(kept int) {
	for k.fill == nil && len(k.parts) > 0 && k.rows-len(k.parts[0]) >= kept {
		oldest := k.parts[0]
		k.from = oldest[len(oldest)-1].OpenTime + 1
		k.rows -= len(oldest)
		k.parts = slices.Delete(k.parts, 0, 1)
	}
}

// within is the klines that open within s.
func (k *windowed) within(s market.Span) (parts []part, rows int) {
	first := max(k.partOf(s.From), 0)
	parts = make([]part, 0, len(k.parts)-first)
	for _, p := range k.parts[first:] {
		from, _ := p.find(s.From)
		to, _ := p.find(s.To)
		if from < to {
			parts = append(parts, p[from:to])
			rows += to - from
		}
		if to < len(p) {
			break
		}
	}
	return parts, rows
}

// cutUp is rows as parts of their own.
func cutUp(rows []market.Kline) (parts []part) {
	for some := range slices.Chunk(rows, partRows) {
		parts = append(parts, append(make(part, 0, partRows), some...))
	}
	return parts
}

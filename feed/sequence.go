package feed

import (
	"slices"
	"time"

	"klined/market"
)

// sequence is the order of one symbol's trades. Its lane's mutex guards it.
type sequence struct {
	first    int64       // the lowest id passed on; 0 until the first trade
	next     int64       // the id expected next; 0 until the first trade
	lastTime market.Time // of the last trade passed on in order
	held     []heldTrade // further than next, by id
	hole     *GapRecord  // of the ids below held[0], once they are late; else nil
	gaps     []gap       // ids that were passed over and have not come, oldest first
	passed   uint64      // trades passed on
	begins   market.Time // of the first trade with a quantity; 0 until then
	edges    [2]edge     // the youngest two minutes with trades
}

// heldTrade waits for the ids below it.
type heldTrade struct {
	market.Trade
	since time.Time // when the hole below it was first seen
	era   int       // lane.era when it was received
}

// gap is a run of ids [first, last] that have not come.
type gap struct {
	first, last int64
	span        market.Span // where their trades' times lie
	record      *GapRecord  // what operators see of it; nil for burnt ids
	official    bool        // its minutes are the exchange's; what is shorter than a minute keeps the mark
}

// edge knows the outer aggregates of one minute's own trades: an official kline that leaves one of them out whole
// is not complete.
type edge struct {
	minute      int64 // ordinal
	firstLastID int64 // last fill id of its first trade
	lastFirstID int64 // first fill id of its last trade
}

// placed says where a trade stands in the sequence.
type placed uint8

const (
	isNext      placed = iota // pass it on
	isAhead                   // ids below it have not come
	isMissing                 // it is one of those that were passed over
	isEarlier                 // it lies shortly before the first that came
	isDuplicate               // it was passed on or is held already
)

// place tells where id stands; i is its gap, or the index in held where it belongs.
func (q *sequence) place(id int64) (p placed, i int) {
	switch {
	case id == q.next || q.next == 0:
		return isNext, 0
	case id < q.next:
		i, found := slices.BinarySearchFunc(q.gaps, id, func(g gap, id int64) int {
			return cmpRange(g.first, g.last, id)
		})
		switch {
		case found:
			return isMissing, i
		case id < q.first && q.first-id <= holdTrades:
			return isEarlier, 0
		}
		return isDuplicate, 0
	}
	i, found := slices.BinarySearchFunc(q.held, id, func(h heldTrade, id int64) int {
		return cmpRange(h.ID, h.ID, id)
	})
	if found {
		return isDuplicate, 0
	}
	return isAhead, i
}

// cmpRange is −1, 0, +1 as the range [first, last] lies below, around or above id.
func cmpRange(first, last, id int64) int {
	switch {
	case last < id:
		return -1
	case first > id:
		return 1
	}
	return 0
}

// fill takes one id out of gap i, and reports whether it was the gap's last.
func (q *sequence) fill(i int, id int64) (whole bool) {
	g := &q.gaps[i]
	switch {
	case g.first == g.last:
		q.gaps = slices.Delete(q.gaps, i, i+1)
		return true
	case id == g.first:
		g.first++
	case id == g.last:
		g.last--
	default:
		rest := *g
		rest.first, g.last = id+1, id-1
		q.gaps = slices.Insert(q.gaps, i+1, rest)
	}
	return false
}

// misses reports whether ids of the record have not come.
func (q *sequence) misses(record *GapRecord) bool {
	return slices.ContainsFunc(q.gaps, func(g gap) bool { return g.record == record })
}

// note keeps what has to be known of a trade that is passed on in order.
func (q *sequence) note(t *market.Trade) {
	if q.next == 0 {
		q.first = t.ID
	}
	q.next = t.ID + 1
	q.lastTime = t.Time
	q.reach(t)
}

// reach widens the edges of the trade's minute, and counts it as passed on. The exchange's klines know nothing of
// trades without a quantity.
func (q *sequence) reach(t *market.Trade) {
	q.passed++
	if t.Qty == 0 {
		return
	}
	if q.begins == 0 || t.ID <= q.first {
		q.begins = t.Time
	}
	minute := int64(t.Time / market.Minute)
	switch e := &q.edges[minute&1]; {
	case e.minute < minute:
		*e = edge{minute: minute, firstLastID: t.LastID, lastFirstID: t.FirstID}
	case e.minute == minute:
		e.firstLastID, e.lastFirstID = min(e.firstLastID, t.LastID), max(e.lastFirstID, t.FirstID)
	}
}

// leavesOut reports whether an official 1m kline leaves out a whole trade of ours. Where it brings no ids, or the
// minute's edges are not known any more, only that it is empty can tell.
func (q *sequence) leavesOut(k *market.Kline) bool {
	minute := int64(k.OpenTime / market.Minute)
	e := &q.edges[minute&1]
	switch {
	case e.minute != minute:
		return false
	case k.TradeCount == 0:
		return true
	case k.FirstID < 0:
		return false
	}
	return k.LastID < e.lastFirstID || k.FirstID > e.firstLastID
}

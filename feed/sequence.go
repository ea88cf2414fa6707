package feed

import (
	"slices"

	"klined/market"
)

// sequence is the order of one symbol's trades. Its lane's mutex guards it.
type sequence struct {
	first     int64        // the lowest id passed on; 0 until the first trade
	next      int64        // the id expected next; 0 until the first trade
	firstTime market.Time  // of the trade first
	lastTime  market.Time  // of the last trade passed on in order
	price     market.Price // of the last such that has a quantity
	held      []heldTrade  // further than next, by id
	hole      hole         // the ids below held[0]
	gaps      []gap        // ids that were passed over and have not come, by id
	debts     []debt       // minutes whose trades are not waited for by id any more, oldest first
	doubt     doubt        // of what its ids say
	passed    uint64       // trades passed on
	begins    market.Time  // of the first trade with a quantity; 0 until then
	edges     [2]edge      // the youngest two minutes with trades
}

// inversion is by how much a trade may be younger than one with a higher id.
const inversion = market.Second

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
	isBackwards               // its id has passed, and yet it is younger than what has: a lie, or the venue counts anew
)

// place tells where t stands; i is its gap, or the index in held where it belongs.
func (q *sequence) place(t *market.Trade) (p placed, i int) {
	id := t.ID
	switch {
	case id == q.next || q.next == 0:
		return isNext, 0
	case id < q.next:
		return q.placeBelow(t)
	}
	i, found := slices.BinarySearchFunc(q.held, id, func(h heldTrade, id int64) int {
		return cmpRange(h.ID, h.ID, id)
	})
	if found {
		return isDuplicate, 0
	}
	return isAhead, i
}

// placeBelow is place for an id that has passed.
func (q *sequence) placeBelow(t *market.Trade) (p placed, i int) {
	if t.Time > q.lastTime+inversion {
		return isBackwards, 0
	}
	if n := len(q.gaps); n > 0 && t.ID <= q.gaps[n-1].last {
		i, found := slices.BinarySearchFunc(q.gaps, t.ID, func(g gap, id int64) int {
			return cmpRange(g.first, g.last, id)
		})
		if found {
			return isMissing, i
		}
	}
	if t.ID < q.first && q.first-t.ID <= holdTrades && t.Time <= q.firstTime+inversion {
		return isEarlier, 0
	}
	return isDuplicate, 0
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

// note keeps what has to be known of a trade that is passed on in order. The very first one proves nothing against an
// official kline until it is believed: it may be a lie.
func (q *sequence) note(t *market.Trade) {
	alone := q.next == 0
	if alone {
		q.first, q.firstTime = t.ID, t.Time
	}
	q.next = t.ID + 1
	q.lastTime = t.Time
	if t.Qty != 0 {
		q.price = market.Price{Value: t.Price, Time: t.Time}
	}
	q.count(t)
	if !alone {
		q.widen(t)
	}
}

// count counts a trade as passed on.
func (q *sequence) count(t *market.Trade) {
	q.passed++
	if t.Qty != 0 && (q.begins == 0 || t.ID <= q.first) {
		q.begins = t.Time
	}
}

// widen widens the edges of the trade's minute. The exchange's klines know nothing of trades without a quantity.
func (q *sequence) widen(t *market.Trade) {
	if t.Qty == 0 {
		return
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

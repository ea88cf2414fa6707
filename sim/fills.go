package sim

import (
	"sort"

	"klined/market"
)

// fill is one execution. What the exchange publishes as a trade record is one, or several of one price and side.
type fill struct {
	id    int64
	price int64 // in ticks
	qty   int64 // in steps
	at    int64 // its time in ms, shifted, and the flags below
}

const (
	flagBuy   = 1 << iota // the taker bought
	flagRPI               // against a retail price improvement order
	flagFirst             // the first fill of its aggTrade
	flagBits  = iota
)

func (f *fill) time() market.Time { return market.Time(f.at >> flagBits) }
func (f *fill) takerBuy() bool    { return f.at&flagBuy != 0 }
func (f *fill) rpi() bool         { return f.at&flagRPI != 0 }
func (f *fill) first() bool       { return f.at&flagFirst != 0 }

// aggTrade is one aggTrade record: its fills are those remembered from one of them on.
type aggTrade struct {
	id    int64
	fills []fill // valid while the exchange is locked
}

func (a *aggTrade) time() market.Time { return a.fills[0].time() }
func (a *aggTrade) firstID() int64    { return a.fills[0].id }
func (a *aggTrade) lastID() int64     { return a.fills[len(a.fills)-1].id }

// qty is what all fills of a have, and what they have without RPI.
func (a *aggTrade) qty() (all, normal int64) {
	for i := range a.fills {
		all += a.fills[i].qty
		if !a.fills[i].rpi() {
			normal += a.fills[i].qty
		}
	}
	return all, normal
}

// memory holds a symbol's latest fills in order, and where the aggTrades among them begin.
type memory struct {
	fills []fill
	base  int64   // how many fills were forgotten
	start []int64 // of each aggTrade remembered, the number of its first fill, counted from the beginning
	agg   int64   // the id of the first aggTrade remembered
	sent  int64   // the id of the last aggTrade that was published

	before int64 // the price of the last fill forgotten, or the close of the past
}

// add remembers a fill.
func (m *memory) add(f fill) {
	if f.first() {
		m.start = append(m.start, m.base+int64(len(m.fills)))
	}
	m.fills = append(m.fills, f)
}

// trade is the aggTrade of an id, which is remembered.
func (m *memory) trade(id int64) aggTrade {
	i := id - m.agg
	end := m.base + int64(len(m.fills))
	if i+1 < int64(len(m.start)) {
		end = m.start[i+1]
	}
	return aggTrade{id, m.fills[m.start[i]-m.base : end-m.base]}
}

// from is the id of the first aggTrade remembered whose time is t or later; one beyond the last where there is none.
func (m *memory) from(t market.Time) int64 {
	return m.agg + int64(sort.Search(len(m.start), func(i int) bool { return m.fills[m.start[i]-m.base].time() >= t }))
}

// since is the index of the first fill remembered at or after t.
func (m *memory) since(t market.Time) int {
	return sort.Search(len(m.fills), func(i int) bool { return m.fills[i].time() >= t })
}

// forget drops the aggTrades that began before t and says how many fills went with them. What is published later is
// kept.
func (m *memory) forget(t market.Time) int {
	id := min(m.from(t), m.sent+1)
	gone := id - m.agg
	if gone == 0 {
		return 0
	}
	fills := len(m.fills)
	if gone < int64(len(m.start)) {
		fills = int(m.start[gone] - m.base)
	}
	m.before = m.fills[fills-1].price
	m.fills, m.start = m.fills[fills:], m.start[gone:]
	m.base += int64(fills)
	m.agg = id
	return fills
}

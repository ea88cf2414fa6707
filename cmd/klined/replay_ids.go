package main

import (
	"maps"
	"math/bits"
	"slices"
)

// idSet is a set of ids, none of them negative. One more costs the same in whatever order they come: a bit where ids lie close, a page
// where they do not.
type idSet struct {
	pages  map[int64]*idPage // by id / idsOfPage
	last   *idPage           // that of the id that came last
	lastNo int64
}

const idsOfPage = 512

type idPage [idsOfPage / 64]uint64

// add puts an id in; false where it is in already.
func (s *idSet) add(id int64) bool {
	if no := id / idsOfPage; s.last == nil || no != s.lastNo {
		s.turn(no)
	}
	at := id % idsOfPage
	word, bit := &s.last[at/64], uint64(1)<<(at%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// turn makes a page the last one.
func (s *idSet) turn(no int64) {
	if s.pages == nil {
		s.pages = make(map[int64]*idPage)
	}
	page := s.pages[no]
	if page == nil {
		page = new(idPage)
		s.pages[no] = page
	}
	s.last, s.lastNo = page, no
}

// idRun is the ids from … to, both included.
type idRun struct{ from, to int64 }

// missing is the runs of ids between the first and the last one that are not in the set.
func (s *idSet) missing() []idRun {
	var runs []idRun
	next := int64(-1) // the id behind the one before
	for _, no := range slices.Sorted(maps.Keys(s.pages)) {
		for i, word := range s.pages[no] {
			for ; word != 0; word &= word - 1 {
				id := no*idsOfPage + int64(i)*64 + int64(bits.TrailingZeros64(word))
				if next >= 0 && id > next {
					runs = append(runs, idRun{next, id - 1})
				}
				next = id + 1
			}
		}
	}
	return runs
}

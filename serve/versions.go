package serve

import "klined/market"

// remembered is of how many klines versions knows the best version. It is more than the minutes that an engine may still
// settle or revise; of its seconds that are older only revisions come, and they never settle. A power of two.
const remembered = 128

// versions is the best version that has come of each of a series' youngest closed klines. Its zero value knows none.
type versions struct {
	newest int64            // the highest ordinal that has come
	best   [remembered]rank // by ordinal modulo remembered
}

// reached reports whether a kline with that ordinal or a higher one has come.
func (v *versions) reached(ordinal int64) bool {
	return ordinal <= v.newest && *v.at(v.newest) != unseen
}

// take notes a version of the kline with that ordinal and returns the best one before it; known is false for a kline
// that is too old to be remembered.
func (v *versions) take(ordinal int64, r rank) (best rank, known bool) {
	if !v.reached(ordinal) {
		for o := max(v.newest+1, ordinal-remembered+1); o < ordinal; o++ {
			*v.at(o) = unseen
		}
		v.newest = ordinal
		*v.at(ordinal) = r
		return unseen, true
	}
	if v.newest-ordinal >= remembered {
		return unseen, false
	}
	place := v.at(ordinal)
	best = *place
	*place = max(best, r)
	return best, true
}

func (v *versions) at(ordinal int64) *rank { return &v.best[ordinal&(remembered-1)] }

// rank is a version of a closed kline as a number: the better version has the higher (market.Better). From the top:
// 2 bits State, 29 bits Revision, 1 bit without Gap.
type rank uint32

const stateRank = 30

// unseen is the rank of no version: a closed kline's State is not 0.
const unseen rank = 0

func rankOf(k *market.Kline) rank {
	r := rank(k.State)<<stateRank | rank(k.Revision)<<1
	if !k.Gap {
		r |= 1
	}
	return r
}

// revises reports whether a version is better than the best before it, and not only by being settled.
func (r rank) revises(best rank) bool { return r > best && (r^best)<<(32-stateRank) != 0 }

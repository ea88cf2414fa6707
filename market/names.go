package market

import "math/bits"

// packedMost is how many bytes a name has at most to be packed; few of the exchange's have more.
const packedMost = 15

// packed is a name in two words: its bytes, zeros, and in the last byte how many there are.
type packed struct{ low, high uint64 }

// pack packs a name of at most packedMost bytes.
func pack(name []byte) packed {
	n := len(name)
	k := packed{high: uint64(n) << 56}
	switch {
	case n >= 8:
		k.low = four(name) | four(name[4:])<<32
		k.high |= (four(name[n-8:]) | four(name[n-4:])<<32) >> (8 * (16 - uint(n)))
	case n >= 4: // the two halves may overlap: there they are the same
		k.low = four(name) | four(name[n-4:])<<(8*uint(n-4))
	default:
		for i, c := range name {
			k.low |= uint64(c) << (8 * i)
		}
	}
	return k
}

// four are the first four bytes of b, the first the lowest.
func four(b []byte) uint64 {
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24
}

// hash spreads a name over all bits, the high ones best.
func (k packed) hash() uint64 {
	return (k.low ^ bits.RotateLeft64(k.high*0x9e3779b97f4a7c15, 32)) * 0xff51afd7ed558ccd
}

// nameTable finds packed names: open addressing, at most half full, read-only once built.
type nameTable struct {
	slots []nameSlot // a power of two
	shift uint       // of a hash, to a slot
}

// nameSlot is a name and its id; it is free where number is 0.
type nameSlot struct {
	name   packed
	number SymbolID // its id + 1
}

func newNameTable(symbols []Symbol) nameTable {
	size := uint(bits.Len(uint(2*len(symbols) + 1)))
	t := nameTable{slots: make([]nameSlot, 1<<size), shift: 64 - size}
	for i := range symbols {
		if name := symbols[i].Name; len(name) <= packedMost {
			k := pack([]byte(name))
			*t.slot(k) = nameSlot{k, symbols[i].ID + 1}
		}
	}
	return t
}

// slot is where a name stands, or would.
func (t *nameTable) slot(name packed) *nameSlot {
	for i := name.hash() >> t.shift; ; i++ {
		s := &t.slots[i&uint64(len(t.slots)-1)]
		if s.name == name || s.number == 0 {
			return s
		}
	}
}

package binance

import (
	"encoding/binary"
	"math/bits"

	"klined/fixed"
)

// Text eight bytes at a time: a word holds them with the first in its lowest byte. Each step takes the text that is left and
// gives what is left behind it: nothing where the text is not as expected, or too short for the step to look ahead.

const (
	wordSize  = 8
	lookAhead = 3 * wordSize // what a step may look at; the shortest record has more behind its last number
)

// every is a word of eight bytes c.
func every(c byte) uint64 { return uint64(c) * 0x0101010101010101 }

// lowBytes masks the first n bytes of a word.
func lowBytes(n int) uint64 { return 1<<(8*uint(n)) - 1 }

// word is the first eight bytes of text, which has so many.
func word(text []byte) uint64 { return binary.LittleEndian.Uint64(text) }

// numberKey is ,"c": as the first five bytes of a word.
func numberKey(c byte) uint64 { return ',' | '"'<<8 | uint64(c)<<16 | '"'<<24 | ':'<<32 }

// textKey is ,"c":" as the first six.
func textKey(c byte) uint64 { return numberKey(c) | '"'<<40 }

// nqKey is ,"nq":" as the first seven.
const nqKey = ',' | '"'<<8 | 'n'<<16 | 'q'<<24 | '"'<<32 | ':'<<40 | '"'<<48

// begins reports whether text begins with the size bytes of key.
func begins(text []byte, key uint64, size int) bool {
	return len(text) >= wordSize && word(text)&lowBytes(size) == key
}

// numerals are the bytes of a word without '0': those of digits are 0 to 9.
func numerals(word uint64) uint64 { return word ^ every('0') }

// digits is how many numerals are digits, from the first on.
func digits(v uint64) int {
	return bits.TrailingZeros64((v+every(0x80-10)|v)&every(0x80)) / 8
}

// eight is the number that eight numerals are the digits of, the first the highest.
func eight(v uint64) int64 {
	v = v*10 + v>>8
	const pairs = 0x000000ff000000ff
	return int64((v&pairs*(100+1_000_000<<32) + v>>16&pairs*(1+10_000<<32)) >> 32)
}

// last is the number of the first n numerals alone.
func last(v uint64, n int) int64 { return eight(v << (64 - 8*uint(n))) }

// tens are 10⁰ to 10⁸.
var tens = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// number takes ,"c": and the integer behind it, of 1 to 15 digits, without sign or leading zero.
func number(text []byte, c byte) (n int64, rest []byte) {
	if len(text) < lookAhead || word(text)&lowBytes(5) != numberKey(c) {
		return 0, nil
	}
	v := numerals(word(text[5:]))
	k := digits(v)
	if k < wordSize {
		if k == 0 || k > 1 && v&0xff == 0 {
			return 0, nil
		}
		return last(v, k), text[5+k:]
	}
	w := numerals(word(text[5+wordSize:]))
	if k = digits(w); k == wordSize || v&0xff == 0 {
		return 0, nil
	}
	return eight(v)*tens[k] + last(w, k), text[5+wordSize+k:]
}

// passNumber takes what number does, and does not ask what it is.
func passNumber(text []byte, c byte) (rest []byte) {
	if len(text) < lookAhead || word(text)&lowBytes(5) != numberKey(c) {
		return nil
	}
	v := numerals(word(text[5:]))
	k := digits(v)
	if k == 0 || k > 1 && v&0xff == 0 {
		return nil
	}
	if k == wordSize {
		if k += digits(numerals(word(text[5+wordSize:]))); k == 2*wordSize {
			return nil
		}
	}
	return text[5+k:]
}

// decimal takes digits, and where a point follows up to 8 more, and the closing quote.
func decimal(text []byte) (v fixed.Value, rest []byte) {
	if len(text) < lookAhead {
		return 0, nil
	}
	w := numerals(word(text))
	k := digits(w)
	if k == wordSize {
		return longDecimal(text)
	}
	whole := last(w, k) * int64(fixed.One)
	switch w >> (8 * uint(k)) & 0xff {
	case '.' ^ '0':
		part := text[k+1:]
		f := numerals(word(part))
		d := digits(f)
		if k == 0 || d == 0 || part[d] != '"' {
			return 0, nil
		}
		return fixed.Value(whole + eight(f&lowBytes(d))), part[d+1:]
	case '"' ^ '0':
		if k > 0 {
			return fixed.Value(whole), text[k+1:]
		}
	}
	return 0, nil
}

// longDecimal is decimal for 8 to 10 digits before the point.
func longDecimal(text []byte) (v fixed.Value, rest []byte) {
	whole, k := eight(numerals(word(text))), wordSize
	for ; k < 10 && text[k]-'0' <= 9; k++ {
		whole = whole*10 + int64(text[k]-'0')
	}
	if text[k] == '"' {
		return fixed.Value(whole) * fixed.One, text[k+1:]
	}
	if text[k] != '.' || len(text) < k+1+2*wordSize {
		return 0, nil
	}
	part := text[k+1:]
	f := numerals(word(part))
	d := digits(f)
	if d == 0 || part[d] != '"' {
		return 0, nil
	}
	return fixed.Value(whole)*fixed.One + fixed.Value(eight(f&lowBytes(d))), part[d+1:]
}

// passDecimal takes what decimal does with up to 7 digits before the point, and does not ask what it is.
func passDecimal(text []byte) (rest []byte) {
	if len(text) < lookAhead {
		return nil
	}
	k := digits(numerals(word(text)))
	if k == 0 || k == wordSize {
		return nil
	}
	if text[k] == '.' {
		d := digits(numerals(word(text[k+1:])))
		if d == 0 {
			return nil
		}
		k += 1 + d
	}
	if text[k] != '"' {
		return nil
	}
	return text[k+1:]
}

// quoted takes ,"c":" and a string without escapes behind it, and its closing quote.
func quoted(text []byte, c byte) (value, rest []byte) {
	if !begins(text, textKey(c), 6) {
		return nil, nil
	}
	text = text[6:]
	end := closingQuote(text)
	if end < 0 {
		return nil, nil
	}
	return text[:end], text[end+1:]
}

// closingQuote is where the string at whose first byte text begins has its closing quote; −1 where it has escapes, or is no
// string, or ends less than eight bytes before text does.
func closingQuote(text []byte) int {
	for at := 0; len(text) >= wordSize; at, text = at+wordSize, text[wordSize:] {
		w := word(text)
		// What is 0 without a quote, or a backslash, loses its highest bit to 1; what is below the space, to the space.
		q, b := w^every('"'), w^every('\\')
		ends := ((q-every(1))&^q | (b-every(1))&^b | (w-every(' '))&^w) & every(0x80)
		if ends != 0 {
			if k := bits.TrailingZeros64(ends); byte(w>>(k-7)) == '"' {
				return at + k/8
			}
			return -1
		}
	}
	return -1
}

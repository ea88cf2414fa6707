package fixed

import (
	"math/bits"
	"strconv"
)

// SumDigits is the number of decimals a Sum carries: those of a product of two Values.
const SumDigits = 2 * Digits

// MaxSum is the largest Sum that arithmetic yields, about 3.4 × 10²²; it stands for "beyond the bound" and does not
// format as a number of the exchange: stores refuse it.
var MaxSum = Sum{^uint64(0), ^uint64(0)}

// maxParsed bounds what ParseSum takes: 10¹⁷, so that no fold of parsed klines (44,640 minutes a month) reaches MaxSum.
var maxParsed = mul64(1e17, 1e16)

// Sum is an exact amount, zero or positive, in units of 10⁻¹⁶, 128 bits wide: a volume or a quote volume.
type Sum struct{ Hi, Lo uint64 }

// Mul is the exact product of two Values (price × quantity).
func Mul(a, b Value) Sum { return mul64(uint64(a), uint64(b)) }

func mul64(a, b uint64) Sum {
	hi, lo := bits.Mul64(a, b)
	return Sum{hi, lo}
}

// Sum is v as a Sum.
func (v Value) Sum() Sum { return mul64(uint64(v), uint64(One)) }

// Add is s + t. Beyond the bound it is MaxSum and stays so: it never wraps.
func (s Sum) Add(t Sum) Sum {
	lo, carry := bits.Add64(s.Lo, t.Lo, 0)
	hi, over := bits.Add64(s.Hi, t.Hi, carry)
	if over != 0 {
		return MaxSum
	}
	return Sum{hi, lo}
}

// Cmp is −1, 0 or +1 as s is less than, equal to or greater than t.
func (s Sum) Cmp(t Sum) int {
	switch {
	case s == t:
		return 0
	case s.Hi < t.Hi || s.Hi == t.Hi && s.Lo < t.Lo:
		return -1
	}
	return 1
}

// IsZero reports whether s is 0.
func (s Sum) IsZero() bool { return s == Sum{} }

// ParseSum reads a decimal number as Parse does, with up to 16 decimals and up to 10¹⁷.
func ParseSum[T []byte | string](text T) (Sum, error) {
	whole, frac := split(text)
	if whole == 0 || frac == 0 {
		return Sum{}, ErrSyntax
	}
	var s Sum
	decimals := 0
	for i := 0; i < len(text); i++ {
		if i == whole {
			continue
		}
		d := text[i] - '0'
		if d > 9 {
			return Sum{}, ErrSyntax
		}
		if i > whole {
			if decimals == SumDigits {
				return Sum{}, digitsOrSyntax(text[i:])
			}
			decimals++
		}
		if s.Hi >= 1<<60 {
			return Sum{}, rangeOrSyntax(text)
		}
		s = s.times(10).Add(Sum{0, uint64(d)})
	}
	for ; decimals < SumDigits; decimals++ {
		if s.Hi >= 1<<60 {
			return Sum{}, ErrRange
		}
		s = s.times(10)
	}
	if s.Cmp(maxParsed) > 0 {
		return Sum{}, ErrRange
	}
	return s, nil
}

// times is s·n; the caller has seen that it fits.
func (s Sum) times(n uint64) Sum {
	hi, lo := bits.Mul64(s.Lo, n)
	return Sum{hi + s.Hi*n, lo}
}

// Append writes s with the given number of decimals, or with as many more as s needs: it never rounds.
func (s Sum) Append(dst []byte, digits int) []byte {
	if uint(digits) <= SumDigits && s.Hi < pow10[SumDigits-digits] {
		if n, rest := bits.Div64(s.Hi, s.Lo, pow10[SumDigits-digits]); rest == 0 {
			return appendScaled(dst, n, digits)
		}
	}
	const unit = 1e16
	// s = q·10¹⁶ + r; q may need more than 64 bits (s reaches 3.4 × 10²²).
	qHi, rest := s.Hi/unit, s.Hi%unit
	qLo, r := bits.Div64(rest, s.Lo, unit)
	if qHi == 0 {
		dst = strconv.AppendUint(dst, qLo, 10)
	} else {
		high, low := bits.Div64(qHi, qLo, 1e19)
		dst = strconv.AppendUint(dst, high, 10)
		for i := 18; i >= 0; i-- {
			dst = append(dst, byte('0'+low/pow10[i]%10))
		}
	}
	return appendFraction(dst, r, SumDigits, digits)
}

// String writes s with as many decimals as it needs.
func (s Sum) String() string { return string(s.Append(nil, 0)) }

// Int64 is s in units of 10^−digits; false where s has more decimals than that, or does not fit.
func (s Sum) Int64(digits int) (int64, bool) {
	if digits < 0 || digits > SumDigits {
		return 0, false
	}
	scale := pow10[SumDigits-digits]
	if s.Hi >= scale {
		return 0, false
	}
	n, rest := bits.Div64(s.Hi, s.Lo, scale)
	if rest != 0 || n > 1<<63-1 {
		return 0, false
	}
	return int64(n), true
}

// SumOf is n·10^−digits; false where n is negative or digits is not within 0 … 16.
func SumOf(n int64, digits int) (Sum, bool) {
	if n < 0 || digits < 0 || digits > SumDigits {
		return Sum{}, false
	}
	return mul64(uint64(n), pow10[SumDigits-digits]), true
}

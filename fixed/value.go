// Package fixed holds exact decimal numbers: parse, format, add, multiply; nothing rounds, nothing wraps.
package fixed

import (
	"errors"
	"fmt"
	"strconv"
)

// Digits is the number of decimals a Value carries.
const Digits = 8

// MaxValue is the largest Value: 92233720368.54775807.
const MaxValue Value = 1<<63 - 1

// One is the Value 1.
const One Value = 1e8

// Value is an exact decimal number, zero or positive, in units of 10⁻⁸: a price or a quantity.
type Value int64

// Why a text is not a number of this package. They are returned as they are: the parser stands on the hot path.
var (
	ErrSyntax = errors.New("not a decimal number")
	ErrDigits = errors.New("more decimals than can be kept")
	ErrRange  = errors.New("number beyond the bound")
)

// pow10 holds 10⁰ … 10¹⁹.
var pow10 = [20]uint64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
}

// Parse reads digits with at most one point between them ("0.05", "83091.70", "7"). A sign, an exponent, a space,
// a point without digits on both sides, more than 8 decimals (zeros too) and a value beyond MaxValue are errors.
func Parse[T []byte | string](s T) (Value, error) {
	whole, frac := split(s)
	if whole == 0 || frac == 0 {
		return 0, ErrSyntax
	}
	var n uint64
	for i := 0; i < whole; i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0, ErrSyntax
		}
		if n > uint64(MaxValue)/10 {
			return 0, rangeOrSyntax(s)
		}
		n = n*10 + uint64(d)
	}
	decimals := 0
	for i := whole + 1; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return 0, ErrSyntax
		}
		if decimals == Digits {
			return 0, digitsOrSyntax(s[i:])
		}
		if n > uint64(MaxValue)/10 {
			return 0, rangeOrSyntax(s)
		}
		n = n*10 + uint64(d)
		decimals++
	}
	scale := pow10[Digits-decimals]
	if n > uint64(MaxValue)/scale {
		return 0, ErrRange
	}
	return Value(n * scale), nil
}

// split says how many bytes stand before the point and how many after it; without a point, 1 after it.
func split[T []byte | string](s T) (whole, frac int) {
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			return i, len(s) - i - 1
		}
	}
	return len(s), 1
}

// rangeOrSyntax tells a number too large from a text that is no number at all.
func rangeOrSyntax[T []byte | string](s T) error {
	points := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			points++
		} else if s[i]-'0' > 9 {
			return ErrSyntax
		}
	}
	if points > 1 {
		return ErrSyntax
	}
	return ErrRange
}

// digitsOrSyntax tells too many decimals from a text that is no number at all.
func digitsOrSyntax[T []byte | string](rest T) error {
	for i := 0; i < len(rest); i++ {
		if rest[i]-'0' > 9 {
			return ErrSyntax
		}
	}
	return ErrDigits
}

// Append writes v with the given number of decimals, or with as many more as v needs: it never rounds.
func (v Value) Append(dst []byte, digits int) []byte {
	if uint(digits) <= Digits {
		scale := pow10[Digits-digits]
		if n := uint64(v) / scale; n*scale == uint64(v) {
			return appendScaled(dst, n, digits)
		}
	}
	whole, frac := uint64(v)/uint64(One), uint64(v)%uint64(One)
	dst = strconv.AppendUint(dst, whole, 10)
	return appendFraction(dst, frac, Digits, digits)
}

// pairs is the numbers from 00 to 99.
const pairs = "0001020304050607080910111213141516171819" + "2021222324252627282930313233343536373839" +
	"4041424344454647484950515253545556575859" + "6061626364656667686970717273747576777879" + "8081828384858687888990919293949596979899"

// appendScaled writes n/10^digits with digits decimals, of which there are at most 16: from the right, two digits at a time.
// A klines answer is thousands of these (BenchmarkAppendKline: 170 ns, and 290 with a division for each decimal).
func appendScaled(dst []byte, n uint64, digits int) []byte {
	var b [24]byte // 20 digits and a point, or 16 decimals
	i := len(b)
	for left := digits; left > 0; left -= 2 {
		if left == 1 {
			i--
			b[i] = byte('0' + n%10)
			n /= 10
			break
		}
		rest := n / 100
		two := (n - rest*100) * 2
		i -= 2
		b[i], b[i+1] = pairs[two], pairs[two+1]
		n = rest
	}
	if digits > 0 {
		i--
		b[i] = '.'
	}
	for ; n >= 100; n /= 100 {
		two := n % 100 * 2
		i -= 2
		b[i], b[i+1] = pairs[two], pairs[two+1]
	}
	if n >= 10 {
		i--
		b[i] = byte('0' + n%10)
		n /= 10
	}
	i--
	b[i] = byte('0' + n)
	return append(dst, b[i:]...)
}

// appendFraction writes a point and frac/10^scale with digits decimals, or with as many more as are not zero.
func appendFraction(dst []byte, frac uint64, scale, digits int) []byte {
	shown := scale
	for shown > digits && frac%10 == 0 {
		frac /= 10
		shown--
	}
	if shown > 0 {
		dst = append(dst, '.')
	}
	for i := shown - 1; i >= 0; i-- {
		dst = append(dst, byte('0'+frac/pow10[i]%10))
	}
	for i := shown; i < digits; i++ {
		dst = append(dst, '0')
	}
	return dst
}

// String writes v with as many decimals as it needs.
func (v Value) String() string { return string(v.Append(nil, 0)) }

// Int64 is v in units of 10^−digits; false where v has more decimals than that, or does not fit.
func (v Value) Int64(digits int) (int64, bool) { return v.Sum().Int64(digits) }

// ValueOf is n·10^−digits; false where n is negative or the value cannot be kept.
func ValueOf(n int64, digits int) (Value, bool) {
	if n < 0 || digits < 0 || digits > Digits {
		return 0, false
	}
	scale := pow10[Digits-digits]
	if uint64(n) > uint64(MaxValue)/scale {
		return 0, false
	}
	return Value(uint64(n) * scale), true
}

// MustParse is Parse for constants in tests and tables; it panics on what Parse refuses.
func MustParse(s string) Value {
	v, err := Parse(s)
	if err != nil {
		panic(fmt.Sprintf("fixed: %q: %v", s, err))
	}
	return v
}

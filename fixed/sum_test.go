package fixed

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// asBig is s in units of 10⁻¹⁶.
func asBig(s Sum) *big.Int {
	n := new(big.Int).SetUint64(s.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(s.Lo))
}

// text is n·10⁻¹⁶ with exactly 16 decimals.
func text(n *big.Int) string {
	digits := n.String()
	if len(digits) <= SumDigits {
		digits = strings.Repeat("0", SumDigits+1-len(digits)) + digits
	}
	return digits[:len(digits)-SumDigits] + "." + digits[len(digits)-SumDigits:]
}

var maxBig = asBig(MaxSum)

// sums draws any Sum, small ones and those near powers of two as often as others.
func sums() *rapid.Generator[Sum] {
	return rapid.Custom(func(t *rapid.T) Sum {
		return Sum{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
	})
}

func TestSumAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := sums().Draw(t, "a"), sums().Draw(t, "b")
		want := new(big.Int).Add(asBig(a), asBig(b))
		if want.Cmp(maxBig) > 0 {
			want = maxBig
		}
		if got := asBig(a.Add(b)); got.Cmp(want) != 0 {
			t.Fatalf("sum %v, want %v", got, want)
		}
		if a.Add(b) != b.Add(a) {
			t.Fatal("the order matters")
		}
		if got, want := a.Cmp(b), asBig(a).Cmp(asBig(b)); got != want {
			t.Fatalf("Cmp %d, want %d", got, want)
		}
		if a.IsZero() != (asBig(a).Sign() == 0) {
			t.Fatal("IsZero")
		}
		digits := rapid.IntRange(0, 20).Draw(t, "digits")
		checkText(t, a, digits)
		checkInt64(t, a, digits)
	})
}

// checkText: Append writes the exact value, with no fewer decimals than asked and no more than needed.
func checkText(t *rapid.T, s Sum, digits int) {
	got := string(s.Append(nil, digits))
	want := text(asBig(s))
	if digits >= SumDigits {
		want += strings.Repeat("0", digits-SumDigits)
	} else {
		for decimals := SumDigits; decimals > digits && strings.HasSuffix(want, "0"); decimals-- {
			want = want[:len(want)-1]
		}
		want = strings.TrimSuffix(want, ".")
	}
	if got != want {
		t.Fatalf("%v with %d digits: %q, want %q", asBig(s), digits, got, want)
	}
}

func checkInt64(t *rapid.T, s Sum, digits int) {
	n, ok := s.Int64(digits)
	if digits > SumDigits {
		if ok {
			t.Fatalf("Int64(%d)", digits)
		}
		return
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(SumDigits-digits)), nil)
	want, rest := new(big.Int).QuoRem(asBig(s), scale, new(big.Int))
	if fits := rest.Sign() == 0 && want.IsInt64(); ok != fits || ok && n != want.Int64() {
		t.Fatalf("%v in 10^-%d: %d, %v; want %v", asBig(s), digits, n, ok, want)
	}
	if back, known := SumOf(n, digits); ok && (back != s || !known) {
		t.Fatalf("SumOf(%d, %d) = %v", n, digits, back)
	}
}

func TestMulAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Value(rapid.Int64Range(0, int64(MaxValue)).Draw(t, "a"))
		b := Value(rapid.Int64Range(0, int64(MaxValue)).Draw(t, "b"))
		if got, want := asBig(Mul(a, b)), new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(int64(b))); got.Cmp(want) != 0 {
			t.Fatalf("%v × %v = %v, want %v", a, b, got, want)
		}
		if a.Sum() != Mul(a, One) || a.Sum().String() != a.String() {
			t.Fatalf("%v as a sum is %v", a, a.Sum())
		}
	})
}

// TestSumOrder: a thousand amounts give one sum, in whatever order and grouping.
func TestSumOrder(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	amounts := make([]Sum, 1000)
	want := new(big.Int)
	for i := range amounts {
		amounts[i] = Mul(Value(r.Int64N(1e14)), Value(r.Int64N(1e12)))
		want.Add(want, asBig(amounts[i]))
	}
	for range 10 {
		r.Shuffle(len(amounts), func(i, j int) { amounts[i], amounts[j] = amounts[j], amounts[i] })
		cut := r.IntN(len(amounts))
		var left, right Sum
		for i, a := range amounts {
			if i < cut {
				left = left.Add(a)
			} else {
				right = right.Add(a)
			}
		}
		if got := asBig(left.Add(right)); got.Cmp(want) != 0 {
			t.Fatalf("%v, want %v (seed %d)", got, want, seed)
		}
	}
}

// TestSumBound: beyond the bound a sum is MaxSum, and stays so.
func TestSumBound(t *testing.T) {
	one := Sum{0, 1}
	top := Sum{MaxSum.Hi, MaxSum.Lo - 1}
	for _, c := range []struct{ a, b, want Sum }{
		{top, Sum{}, top},
		{top, one, MaxSum},
		{MaxSum, one, MaxSum},
		{MaxSum, Sum{}, MaxSum},
		{MaxSum, MaxSum, MaxSum},
		{Sum{1 << 63, 0}, Sum{1 << 63, 0}, MaxSum},
		{Sum{0, 1<<64 - 1}, one, Sum{1, 0}},
	} {
		if got := c.a.Add(c.b); got != c.want {
			t.Errorf("%v + %v = %v, want %v", c.a, c.b, got, c.want)
		}
	}
	if got, want := MaxSum.String(), "34028236692093846346337.4607431768211455"; got != want {
		t.Errorf("MaxSum is %s, want %s", got, want)
	}
	if _, ok := MaxSum.Int64(0); ok {
		t.Error("MaxSum fits into an int64")
	}
}

func TestParseSum(t *testing.T) {
	for _, c := range []struct {
		text, want string
		err        error
	}{
		{"0", "0", nil},
		{"1125714.73960", "1125714.7396", nil},
		{"399835975.06250", "399835975.0625", nil},
		{"0.0000000000000001", "0.0000000000000001", nil},
		{"100000000000000000", "100000000000000000", nil},
		{"100000000000000000.0000000000000000", "100000000000000000", nil},
		{"00000000000000000000000000000000000000000000007", "7", nil},

		{"100000000000000000.0000000000000001", "", ErrRange},
		{"100000000000000001", "", ErrRange},
		{"340282366920938463463374607431768211456", "", ErrRange}, // 2¹²⁸: a wrap would read 0
		{strings.Repeat("9", 500), "", ErrRange},
		{"0.00000000000000001", "", ErrDigits},
		{"1.00000000000000000", "", ErrDigits},
		{"", "", ErrSyntax},
		{"5.", "", ErrSyntax},
		{".5", "", ErrSyntax},
		{"-5", "", ErrSyntax},
		{"1e3", "", ErrSyntax},
		{"1.2.3", "", ErrSyntax},
		{strings.Repeat("9", 500) + "x", "", ErrSyntax},
		{"0.00000000000000001x", "", ErrSyntax},
	} {
		got, err := ParseSum(c.text)
		if !errors.Is(err, c.err) || err == nil && got.String() != c.want {
			t.Errorf("ParseSum(%.50q) = %s, %v; want %s, %v", c.text, got, err, c.want, c.err)
		}
	}
}

func TestSumInt64Bounds(t *testing.T) {
	for _, c := range []struct {
		n      int64
		digits int
		ok     bool
	}{{-1, 0, false}, {1, -1, false}, {1, 17, false}, {0, 0, true}, {1<<63 - 1, 0, true}, {1<<63 - 1, 16, true}} {
		s, ok := SumOf(c.n, c.digits)
		if ok != c.ok {
			t.Errorf("SumOf(%d, %d): %v", c.n, c.digits, ok)
		}
		if back, known := s.Int64(c.digits); c.ok && (back != c.n || !known) {
			t.Errorf("SumOf(%d, %d) goes back to %d, %v", c.n, c.digits, back, known)
		}
	}
}

// FuzzParseSum: what ParseSum takes is what math/big reads, and Append gives it back.
func FuzzParseSum(f *testing.F) {
	for _, text := range []string{"0", "1125714.73960", "100000000000000000", "100000000000000000.0000000000000001", "1e3"} {
		f.Add(text)
	}
	bound := asBig(maxParsed)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSum(text)
		want, plain := bigUnits(text, SumDigits)
		if (err == nil) != (plain && want.Cmp(bound) <= 0) {
			t.Fatalf("ParseSum(%q) = %v, %v", text, s, err)
		}
		if err != nil {
			checkWhy(t, text, err, SumDigits)
			return
		}
		if asBig(s).Cmp(want) != 0 {
			t.Fatalf("ParseSum(%q) = %v, want %v", text, s, want)
		}
		if back, err := ParseSum(s.String()); err != nil || back != s {
			t.Fatalf("%q → %v → %v, %v", text, s, back, err)
		}
	})
}

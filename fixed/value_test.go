package fixed

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/govalues/decimal"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want Value
		err  error
	}{
		{"0", 0, nil},
		{"7", 7e8, nil},
		{"0.05", 5e6, nil},
		{"83091.70", 8309170000000, nil},
		{"83091.7", 8309170000000, nil},
		{"000.10", 1e7, nil},
		{"0.00000001", 1, nil},
		{"1.00000000", 1e8, nil},
		{"92233720368", 9223372036800000000, nil},
		{"92233720368.54775807", MaxValue, nil},
		{"000000000000000000000000000001", 1e8, nil},

		{"92233720368.54775808", 0, ErrRange},
		{"92233720369", 0, ErrRange},
		{"99999999999", 0, ErrRange},
		{"92233720368547758080", 0, ErrRange},
		{"18446744073709551616", 0, ErrRange}, // 2⁶⁴: a wrap would read 0
		{strings.Repeat("9", 1000), 0, ErrRange},
		{strings.Repeat("9", 1000) + ".5", 0, ErrRange},

		{"1.123456789", 0, ErrDigits},
		{"1.000000000", 0, ErrDigits},
		{"0.00000000000000000000001", 0, ErrDigits},

		{"", 0, ErrSyntax},
		{".", 0, ErrSyntax},
		{".5", 0, ErrSyntax},
		{"5.", 0, ErrSyntax},
		{"-1", 0, ErrSyntax},
		{"+1", 0, ErrSyntax},
		{" 1", 0, ErrSyntax},
		{"1 ", 0, ErrSyntax},
		{"1e3", 0, ErrSyntax},
		{"1,5", 0, ErrSyntax},
		{"1.2.3", 0, ErrSyntax},
		{"0x10", 0, ErrSyntax},
		{"NaN", 0, ErrSyntax},
		{"1_000", 0, ErrSyntax},
		{"١", 0, ErrSyntax},
		{"1.12345678x", 0, ErrSyntax},
		{strings.Repeat("9", 1000) + "x", 0, ErrSyntax},
		{strings.Repeat("9", 1000) + ".1.1", 0, ErrSyntax},
	} {
		if got, err := Parse(c.text); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Parse(%.40q) = %d, %v; want %d, %v", c.text, got, err, c.want, c.err)
		}
		if got, err := Parse([]byte(c.text)); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("Parse of the bytes of %.40q = %d, %v; want %d, %v", c.text, got, err, c.want, c.err)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, c := range []struct {
		v      Value
		digits int
		want   string
	}{
		{0, 0, "0"},
		{0, 3, "0.000"},
		{7e8, 0, "7"},
		{7e8, 2, "7.00"},
		{7e8, 10, "7.0000000000"},
		{5e6, 2, "0.05"},
		{5e6, 1, "0.05"}, // it never rounds
		{5e6, 0, "0.05"},
		{1, 2, "0.00000001"},
		{8309170000000, 2, "83091.70"},
		{8309170000000, 0, "83091.7"},
		{10e8, 0, "10"},
		{MaxValue, 0, "92233720368.54775807"},
		{MaxValue, 10, "92233720368.5477580700"},
	} {
		if got := string(c.v.Append(nil, c.digits)); got != c.want {
			t.Errorf("%d with %d digits: %q, want %q", c.v, c.digits, got, c.want)
		}
	}
	if got := string(Value(5e8).Append([]byte("x="), 1)); got != "x=5.0" {
		t.Errorf("appended to x=: %q", got)
	}
	if got := Value(150000000).String(); got != "1.5" {
		t.Errorf("String: %q", got)
	}
}

func TestValueInt64(t *testing.T) {
	for _, c := range []struct {
		v      string
		digits int
		want   int64
		ok     bool
	}{
		{"83091.70", 2, 8309170, true},
		{"83091.70", 1, 830917, true},
		{"83091.70", 0, 0, false},
		{"0", 0, 0, true},
		{"7", 16, 70000000000000000, true},
		{"92233720368.54775807", 8, int64(MaxValue), true},
		{"92233720368.54775807", 9, 0, false},
		{"1", 17, 0, false},
		{"1", -1, 0, false},
	} {
		v := MustParse(c.v)
		got, ok := v.Int64(c.digits)
		if got != c.want || ok != c.ok {
			t.Errorf("%s in 10^-%d: %d, %v; want %d, %v", c.v, c.digits, got, ok, c.want, c.ok)
		}
		if back, known := ValueOf(got, c.digits); ok && c.digits <= Digits && (back != v || !known) {
			t.Errorf("%d·10^-%d is %v, want %v", got, c.digits, back, v)
		}
	}
}

func TestValueOf(t *testing.T) {
	for _, c := range []struct {
		n      int64
		digits int
		want   Value
		ok     bool
	}{
		{8309170, 2, 8309170000000, true},
		{0, 0, 0, true},
		{92233720368, 0, 9223372036800000000, true},
		{92233720369, 0, 0, false},
		{1<<63 - 1, 8, MaxValue, true},
		{1<<63 - 1, 0, 0, false},
		{-1, 2, 0, false},
		{1, 9, 0, false},
		{1, -1, 0, false},
	} {
		if got, ok := ValueOf(c.n, c.digits); got != c.want || ok != c.ok {
			t.Errorf("ValueOf(%d, %d) = %d, %v; want %d, %v", c.n, c.digits, got, ok, c.want, c.ok)
		}
	}
}

func TestMustParse(t *testing.T) {
	defer func() {
		if got := recover(); got != `fixed: "1e3": not a decimal number` {
			t.Errorf("panic %v", got)
		}
	}()
	MustParse("1e3")
}

// bigUnits is text as an exact number of units of 10^-digits, by math/big; false where it is no plain decimal number
// of at most that many decimals.
func bigUnits(text string, digits int) (*big.Int, bool) {
	whole, frac, point := strings.Cut(text, ".")
	if whole == "" || point && frac == "" || len(frac) > digits || strings.Trim(whole+frac, "0123456789") != "" {
		return nil, false
	}
	return new(big.Int).SetString(whole+frac+strings.Repeat("0", digits-len(frac)), 10)
}

// FuzzParse: what Parse takes is what math/big and govalues/decimal read, Append gives it back, and what it refuses
// is no number, has too many decimals or is beyond the bound.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"0", "0.05", "83091.70", "92233720368.54775807", "92233720368.54775808", "1e3", "-1", ".5", "1.123456789"} {
		f.Add(text, 2)
	}
	f.Fuzz(func(t *testing.T, text string, digits int) {
		v, err := Parse(text)
		want, plain := bigUnits(text, Digits)
		inRange := plain && want.Cmp(big.NewInt(int64(MaxValue))) <= 0
		if (err == nil) != inRange {
			t.Fatalf("Parse(%q) = %d, %v", text, v, err)
		}
		if err != nil {
			checkWhy(t, text, err, Digits)
			return
		}
		if want.Int64() != int64(v) {
			t.Fatalf("Parse(%q) = %d, want %d", text, v, want)
		}
		if oracle, err := decimal.Parse(text); err == nil { // it rounds what has more than 19 digits
			if got := decimal.MustNew(int64(v), Digits); oracle.Prec() <= 18 && got.Cmp(oracle) != 0 {
				t.Fatalf("Parse(%q) = %s, the oracle says %s", text, got, oracle)
			}
		}
		written := v.Append(nil, digits%20)
		if back, err := Parse(written); err != nil && len(written)-strings.IndexByte(string(written), '.')-1 <= Digits || err == nil && back != v {
			t.Fatalf("%q → %d → %q → %d, %v", text, v, written, back, err)
		}
	})
}

// checkWhy: a text has its own reason to be refused.
func checkWhy(t *testing.T, text string, err error, digits int) {
	t.Helper()
	_, number := bigUnits(text, max(digits, len(text)))
	_, fits := bigUnits(text, digits)
	want := []error{ErrSyntax}
	switch {
	case fits:
		want = []error{ErrRange}
	case number: // too many decimals, and perhaps too large as well
		want = []error{ErrDigits, ErrRange}
	}
	for _, w := range want {
		if err == w {
			return
		}
	}
	t.Fatalf("Parse(%q): %v, want %v", text, err, want)
}

func TestNoAllocations(t *testing.T) {
	price, qty := []byte("83091.70"), []byte("0.022")
	buf := make([]byte, 0, 64)
	var sum Sum
	for name, f := range map[string]func(){
		"parse, parse, multiply, add": func() {
			p, _ := Parse(price)
			q, _ := Parse(qty)
			sum = sum.Add(Mul(p, q))
		},
		"refuse": func() { _, _ = Parse("1e3") },
		"append": func() { buf = sum.Append(Value(8309170000000).Append(buf[:0], 2), 5) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkParseMulAdd carries one trade: price and quantity parsed, multiplied, added to a sum.
func BenchmarkParseMulAdd(b *testing.B) {
	price, qty := []byte("83091.70"), []byte("0.022")
	var sum Sum
	b.ReportAllocs()
	for b.Loop() {
		p, _ := Parse(price)
		q, _ := Parse(qty)
		sum = sum.Add(Mul(p, q))
	}
}

// BenchmarkAppendKline carries the four prices and four sums of a row.
func BenchmarkAppendKline(b *testing.B) {
	price := MustParse("83091.70")
	sum, _ := ParseSum("1125714.73960")
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = buf[:0]
		for range 4 {
			buf = sum.Append(price.Append(buf, 2), 5)
		}
	}
}

// BenchmarkParse carries one price, read by this package, by govalues/decimal and as a float.
func BenchmarkParse(b *testing.B) {
	text := []byte("83091.70")
	b.Run("fixed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Parse(text)
		}
	})
	b.Run("govalues", func(b *testing.B) {
		for b.Loop() {
			_, _ = decimal.Parse(string(text))
		}
	})
	b.Run("float64", func(b *testing.B) {
		for b.Loop() {
			_, _ = strconv.ParseFloat(string(text), 64)
		}
	})
}

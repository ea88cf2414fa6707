package fixed

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// plain is n·10^−scale with digits decimals, or with as many more as it needs, by big integers and text.
func plain(n *big.Int, scale, digits int) string {
	text := n.String()
	if len(text) <= scale {
		text = strings.Repeat("0", scale+1-len(text)) + text
	}
	whole, frac := text[:len(text)-scale], text[len(text)-scale:]
	for len(frac) > digits && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	frac += strings.Repeat("0", max(0, digits-len(frac)))
	if frac == "" {
		return whole
	}
	return whole + "." + frac
}

// TestAppendAsText: values and sums of every size are written as their digits are, with more decimals asked than they have,
// as many, and fewer.
func TestAppendAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.IntRange(0, SumDigits+2).Draw(t, "digits")
		v := Value(rapid.Int64Range(0, int64(MaxValue)).Draw(t, "value"))
		v -= v % Value(pow10[rapid.IntRange(0, 18).Draw(t, "zeros")])
		if got, want := string(v.Append([]byte("x"), digits)), "x"+plain(big.NewInt(int64(v)), Digits, digits); got != want {
			t.Fatalf("%d with %d digits: %q, want %q", v, digits, got, want)
		}
		s := sums().Draw(t, "sum")
		if n, ok := SumOf(int64(v), rapid.IntRange(0, SumDigits).Draw(t, "scale")); ok && rapid.Bool().Draw(t, "few decimals") {
			s = n
		}
		if got, want := string(s.Append(nil, digits)), plain(asBig(s), SumDigits, digits); got != want {
			t.Fatalf("%v with %d digits: %q, want %q", s, digits, got, want)
		}
	})
}

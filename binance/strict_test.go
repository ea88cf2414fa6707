package binance

import (
	"fmt"
	"strings"
	"testing"

	"klined/market"
)

// TestStrictLengths: numbers and names of every length mean what encoding/json says, and those of the exchange's lengths do
// not leave the strict path.
func TestStrictLengths(t *testing.T) {
	digits := "1234567890123456789012"
	replaced := map[string][]string{} // what stands in the place of a text of the wire
	for n := range len(digits) {
		replaced[`3477868433`] = append(replaced[`3477868433`], digits[:n], "0"+digits[:n], digits[:n]+"0")
		for f := range 12 {
			replaced[`"83091.70"`] = append(replaced[`"83091.70"`], `"`+digits[:n]+"."+digits[:f]+`"`, `"0`+digits[:n]+`"`)
		}
	}
	for n := range 70 {
		replaced[`BTCUSDT`] = append(replaced[`BTCUSDT`], strings.Repeat("A", n), strings.Repeat("A", n)+"币安", strings.Repeat("A", n)+`\u5e01`)
	}
	c := newComparer(market.SourceAggTrade)
	c.d.OnUnknown = func(name []byte) { c.o.symbols.Put(market.Symbol{Name: string(name)}) }
	for old, texts := range replaced {
		for _, text := range texts {
			c.compare(t, []byte(swapped(old, text)))
			c.compare(t, []byte(strings.Replace(aggWrapped, old, text, 1)))
		}
	}
	for _, frame := range []string{
		swapped(`3477868433`, `0`), swapped(`3477868433`, digits[:15]), swapped(`83091.70`, `0.00000001`), swapped(`83091.70`, `1`),
		swapped(`"0.022"`, `"1234567890.12345678"`), swapped(`BTCUSDT`, strings.Repeat("A", 64)), swapped(`BTCUSDT`, `币安人生USDT`),
	} {
		var b market.Batch
		if _, sure, _ := c.d.strict([]byte(frame), &b); !sure {
			t.Errorf("not by the strict path: %s", frame)
		}
	}
}

// TestWords holds the arithmetic on eight bytes against one on each.
func TestWords(t *testing.T) {
	for n := range 9 {
		for _, c := range []byte{0, '/', ':', '"', 'x', 0x7f, 0x80, 0xb0, 0xff} {
			text := []byte("97531864\x00\x00")
			want := int64(0)
			for _, d := range text[:n] {
				want = want*10 + int64(d-'0')
			}
			for i := n; i < 8; i++ {
				text[i] = c
			}
			v := numerals(word(text))
			if k := digits(v); k != n || last(v, k) != want {
				t.Errorf("%q: %d digits, %d; want %d, %d", text, k, last(v, k), n, want)
			}
		}
	}
	for _, text := range []string{`"`, `abc"`, `abcdefgh"`, `abcdefg\"`, "abc\x1fd\"", "币安人生USDT\"", "\xff\xfe\"", `\u0022"`, ``, `abcdefghijklmno`} {
		want := plain([]byte(text), 0)
		padded := []byte(text + "\x00\x00\x00\x00\x00\x00\x00\x00")
		if got := closingQuote(padded); got != want {
			t.Errorf("%q ends at %d, want %d", text, got, want)
		}
	}
}

// FuzzStrict: whatever stands in the places of a frame, the strict path says the same as the tolerant one.
func FuzzStrict(f *testing.F) {
	f.Add("1791382992488", "3477868433", "BTCUSDT", "83091.70", "0.022", `,"nq":"0.020"`, `false,"st":1`)
	f.Add("0", "999999999999999999", "币安人生USDT", "1234567890.12345678", "0", ``, `true`)
	agg, trade := newComparer(market.SourceAggTrade), newComparer(market.SourceTrade)
	f.Fuzz(func(t *testing.T, at, id, name, price, qty, extra, end string) {
		if strings.ContainsAny(at+id+name+price+qty+extra+end, "[{") {
			t.Skip("may lie deeper than the decoder goes")
		}
		agg.compare(t, fmt.Appendf(nil, `{"e":"aggTrade","E":%s,"a":%s,"s":"%s","p":"%s","q":"%s"%s,"f":%s,"l":%s,"T":%s,"m":%s}`, at, id, name, price, qty, extra, id, id, at, end))
		trade.compare(t, fmt.Appendf(nil, `{"e":"trade","E":%s,"T":%s,"s":"%s","t":%s,"p":"%s","q":"%s"%s,"m":%s}`, at, at, name, id, price, qty, extra, end))
	})
}

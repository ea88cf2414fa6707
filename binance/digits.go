package binance

import "bytes"

// WrittenDigits is how many decimals the price and the quantity of a trade frame, bare or wrapped, are written with:
// "0.100" has three.
func WrittenDigits(frame []byte) (price, qty int) {
	return writtenDigits(frame, `"p"`), writtenDigits(frame, `"q"`)
}

// writtenDigits counts the decimals of the string that follows key.
func writtenDigits(frame []byte, key string) int {
	i := bytes.Index(frame, []byte(key))
	if i < 0 {
		return 0
	}
	value := bytes.TrimLeft(frame[i+len(key):], " \t\r\n:")
	if len(value) == 0 || value[0] != '"' {
		return 0
	}
	value = value[1:]
	if end := bytes.IndexByte(value, '"'); end >= 0 {
		return decimals(value[:end])
	}
	return 0
}

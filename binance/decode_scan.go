package binance

import (
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks over JSON text in place and takes exactly what encoding/json takes, but for maxDepth.
type scanner struct {
	text []byte
	at   int
}

// maxDepth is how deep arrays and objects may lie in each other; the exchange's go to 5.
const maxDepth = 64

// span is where a value stands in the text, quotes and brackets included. No value begins at 0.
type span struct{ from, to int32 }

func (s span) of(text []byte) []byte { return text[s.from:s.to] }

func (s span) absent() bool { return s.to == 0 }

// object is where the values of one JSON object stand: those of one-letter keys, and of the few long ones that matter.
// Names are matched by case, unlike in encoding/json: t and T are two.
type object struct {
	letter                  ['z' - 'A' + 1]span
	st, data, result, error span
}

// get is the value of a one-letter key.
func (o *object) get(key byte) span { return o.letter[key-'A'] }

// slot is where the value of a key is noted, nil for keys that are passed over.
func (o *object) slot(key []byte) *span {
	if len(key) == 1 {
		if c := key[0]; 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			return &o.letter[c-'A']
		}
		return nil
	}
	switch string(key) {
	case "st":
		return &o.st
	case "data":
		return &o.data
	case "result":
		return &o.result
	case "error":
		return &o.error
	}
	return nil
}

// longestKey is how many bytes a key that is noted has at most, each of its letters written as \u0061.
const longestKey = len("result") * len(`\u0061`)

// object reads one object, from its brace on. A noted key that comes twice is refused: whichever were taken,
// another reader would take the other.
func (s *scanner) object(o *object) error {
	*o = object{}
	s.at++
	s.space()
	if s.next('}') {
		return nil
	}
	for {
		key, ok := s.key()
		if !ok {
			return ErrSyntax
		}
		from := s.at
		if !s.value() {
			return ErrSyntax
		}
		if slot := o.slot(key); slot != nil {
			if !slot.absent() {
				return ErrField
			}
			*slot = span{int32(from), int32(s.at)}
		}
		s.space()
		if s.next('}') {
			return nil
		}
		if !s.next(',') {
			return ErrSyntax
		}
		s.space()
	}
}

// key reads a key and the colon after it, up to the value. The key is valid until the next call.
func (s *scanner) key() ([]byte, bool) {
	from := s.at
	escaped, ok := s.str()
	if !ok {
		return nil, false
	}
	key := s.text[from+1 : s.at-1]
	if escaped {
		key = unescapedKey(key)
	}
	s.space()
	if !s.next(':') {
		return nil, false
	}
	s.space()
	return key, true
}

// unescapedKey is the key without escapes, nil where it is too long to be one that is noted.
func unescapedKey(key []byte) []byte {
	if len(key) > longestKey {
		return nil
	}
	return unescape(make([]byte, 0, longestKey), key)
}

// space passes over white space.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// next passes over c where it stands here.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// end reports whether nothing but white space is left.
func (s *scanner) end() bool {
	s.space()
	return s.at == len(s.text)
}

// str passes over a string with its quotes, and says whether it has escapes.
func (s *scanner) str() (escaped, ok bool) {
	if !s.next('"') {
		return false, false
	}
	for s.at < len(s.text) {
		c := s.text[s.at]
		s.at++
		switch {
		case c == '"':
			return escaped, true
		case c < ' ':
			return false, false
		case c == '\\':
			escaped = true
			if !s.escape() {
				return false, false
			}
		}
	}
	return false, false
}

// escape passes over what follows a backslash.
func (s *scanner) escape() bool {
	if s.at == len(s.text) {
		return false
	}
	c := s.text[s.at]
	s.at++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		if _, ok := hex4(s.text[s.at:]); ok {
			s.at += 4
			return true
		}
	}
	return false
}

// value passes over one value of any kind.
func (s *scanner) value() bool {
	var objects uint64 // bit d: what is open at depth d is an object
	for depth := 0; ; {
		if s.at == len(s.text) {
			return false
		}
		opened := false
		switch c := s.text[s.at]; c {
		case '{', '[':
			if depth == maxDepth {
				return false
			}
			objects = objects<<1 | uint64(c>>5&1) // '{' is 0x7b, '[' 0x5b
			depth++
			s.at++
			opened = true
		default:
			if !s.scalar() {
				return false
			}
		}
		var ok bool
		if depth, objects, ok = s.after(depth, objects, opened); !ok || depth == 0 {
			return ok
		}
	}
}

// after passes over what follows a value or an opening bracket, up to the next value, closing what closes here.
func (s *scanner) after(depth int, objects uint64, opened bool) (int, uint64, bool) {
	for depth > 0 {
		object := objects&1 != 0
		s.space()
		if s.next(closing(object)) {
			depth, objects, opened = depth-1, objects>>1, false
			continue
		}
		if !opened && !s.next(',') {
			return depth, objects, false
		}
		s.space()
		if object {
			if _, ok := s.str(); !ok {
				return depth, objects, false
			}
			s.space()
			if !s.next(':') {
				return depth, objects, false
			}
			s.space()
		}
		return depth, objects, true
	}
	return 0, 0, true
}

func closing(object bool) byte {
	if object {
		return '}'
	}
	return ']'
}

// scalar passes over a string, a number or a literal.
func (s *scanner) scalar() bool {
	switch c := s.text[s.at]; {
	case c == '"':
		_, ok := s.str()
		return ok
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.number()
}

func (s *scanner) word(w string) bool {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// number passes over a number: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func (s *scanner) number() bool {
	s.next('-')
	if !s.next('0') && s.digits() == 0 {
		return false
	}
	if s.next('.') && s.digits() == 0 {
		return false
	}
	if s.next('e') || s.next('E') {
		if !s.next('+') {
			s.next('-')
		}
		return s.digits() > 0
	}
	return true
}

// digits passes over decimal digits and says how many there were.
func (s *scanner) digits() int {
	from := s.at
	for s.at < len(s.text) && s.text[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at - from
}

// hex4 reads four hexadecimal digits.
func hex4(text []byte) (r rune, ok bool) {
	if len(text) < 4 {
		return 0, false
	}
	for _, c := range text[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape appends the string whose text (without quotes, scanned before) is raw. Half a surrogate pair becomes
// U+FFFD, as in encoding/json; bytes that are not UTF-8 stay, for the reader to refuse.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, size := codepoint(raw[i+1:])
			dst = utf8.AppendRune(dst, r)
			i += size
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// codepoint reads what follows \u, and with it the second half of a pair; size is how many bytes that are.
func codepoint(raw []byte) (r rune, size int) {
	r, _ = hex4(raw)
	if !utf16.IsSurrogate(r) {
		return r, 4
	}
	if len(raw) >= 10 && raw[4] == '\\' && raw[5] == 'u' {
		if low, ok := hex4(raw[6:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 10
			}
		}
	}
	return utf8.RuneError, 4
}

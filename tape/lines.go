package tape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxLine is the longest line that is read, in bytes. Longer ones are passed over as ErrLong.
const MaxLine = 16 << 20

// firstBuffer holds a few hundred frames; it grows to MaxLine only where a line asks for it.
const firstBuffer = 64 << 10

// ErrLong stands for one line of more than MaxLine bytes. The next call of Next goes on behind it.
var ErrLong = errors.New("line longer than 16 MiB")

// ErrCut is in the error of a file that stops before its end. What cannot be unpacked for another reason is damaged.
var ErrCut = errors.New("truncated")

// Lines reads a text file line by line, in place. The file is plain, gzip, zip with one file in it, or zstd, told by its
// first bytes.
type Lines struct {
	name    string
	packing string // "" where the file is plain
	src     io.Reader
	err     error // why src has no more
	buf     []byte
	start   int   // of the line that Next gives next
	seen    int   // buf[start:seen] holds no line's end
	end     int   // of what buf holds
	number  int64 // of the line that Next gave last, from 1
	offset  int64 // where that line begins in the text
	next    int64 // where the next one begins
	last    []byte
	whole   bool
	again   bool
}

// NewLines reads r from its beginning; errors call it name. Content that cannot be lines of text is refused.
func NewLines(name string, r io.Reader) (*Lines, error) {
	l := &Lines{name: name, src: r, buf: make([]byte, firstBuffer)}
	l.begin()
	if kind := packing(l.buf[:l.end]); kind != "" {
		packed := io.MultiReader(bytes.NewReader(bytes.Clone(l.buf[:l.end])), &rest{l.src, l.err})
		text, err := unpack(kind, l.src, packed)
		l.packing = kind
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, l.readable(err))
		}
		l.src, l.err, l.end = text, nil, 0
		l.begin()
	}
	head := l.buf[:l.end]
	if kind := notText(head); kind != "" {
		if l.packing != "" {
			kind += " in a " + l.packing + " file"
		}
		return nil, fmt.Errorf("%s: %s; want text, plain or packed once (gzip, zip, zstd)", name, kind)
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) { // byte order mark
		l.start, l.seen, l.next = 3, 3, 3
	}
	return l, nil
}

// begin reads as much as tells what a file is.
func (l *Lines) begin() {
	for l.err == nil && l.end < 4 {
		l.fill()
	}
}

// Next gives the next line without its end; it is valid until the call after. At the end of the file the error is
// io.EOF; where the file stops before its end, everything before is given first and the error says where.
func (l *Lines) Next() ([]byte, error) {
	if l.again {
		l.again = false
		return l.last, nil
	}
	long := false
	for {
		if i := bytes.IndexByte(l.buf[l.seen:l.end], '\n'); i >= 0 {
			return l.take(l.seen+i, 1, long)
		}
		l.seen = l.end
		if l.err != nil {
			return l.tail(long)
		}
		if l.end-l.start > MaxLine {
			long = true
			l.next += int64(l.end - l.start)
			l.start, l.seen, l.end = 0, 0, 0
		}
		l.fill()
	}
}

// take gives buf[start:end] as the next line; mark is the length of its line end.
func (l *Lines) take(end, mark int, long bool) ([]byte, error) {
	line := l.buf[l.start:end]
	l.number++
	l.offset, l.next = l.next, l.next+int64(len(line)+mark)
	l.start, l.seen = end+mark, end+mark
	l.whole = mark > 0
	if long || len(line) > MaxLine {
		return nil, ErrLong
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	l.last = line
	return line, nil
}

// tail gives what stands behind the last line end, then why there is no more. What stands there when reading failed
// is a part of a line, and is not given.
func (l *Lines) tail(long bool) ([]byte, error) {
	if l.err != io.EOF {
		return nil, fmt.Errorf("%s: line %d, byte %d: %w", l.name, l.number+1, l.next, l.readable(l.err))
	}
	if l.start == l.end && !long {
		return nil, io.EOF
	}
	return l.take(l.end, 0, long)
}

// readable says what an error of the reader that unpacks means.
func (l *Lines) readable(err error) error {
	if l.packing != "" && (errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF) {
		return fmt.Errorf("%w %s file", ErrCut, l.packing)
	}
	return err
}

// Back makes the line that Next gave last come again.
func (l *Lines) Back() { l.again = true }

// Whole reports whether the line that Next gave last had a line end: only a file's last line may have none.
func (l *Lines) Whole() bool { return l.whole }

// Number is that of the line that Next gave last, from 1.
func (l *Lines) Number() int64 { return l.number }

// Truncated is the error for a last line that stops before its end.
func (l *Lines) Truncated() error {
	return fmt.Errorf("%s: line %d, byte %d: %w line", l.name, l.number, l.offset, ErrCut)
}

// fill reads once more into buf, making room first.
func (l *Lines) fill() {
	if l.end == len(l.buf) {
		held := copy(l.buf, l.buf[l.start:l.end])
		l.start, l.seen, l.end = 0, l.seen-l.start, held
		if held > len(l.buf)/2 {
			l.buf = append(l.buf, make([]byte, len(l.buf))...)
		}
	}
	n, err := l.src.Read(l.buf[l.end:])
	l.end += n
	l.err = err
}

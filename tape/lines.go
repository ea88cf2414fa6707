package tape

import (
	"bufio"
	"bytes"
	"compress/gzip"
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

// Lines reads a text file line by line, in place. The file is plain or gzip, told by its first bytes.
type Lines struct {
	name   string
	src    io.Reader
	err    error // why src has no more
	buf    []byte
	start  int   // of the line that Next gives next
	seen   int   // buf[start:seen] holds no line's end
	end    int   // of what buf holds
	number int64 // of the line that Next gave last, from 1
	offset int64 // where that line begins in the text
	next   int64 // where the next one begins
	last   []byte
	whole  bool
	again  bool
}

// NewLines reads r, which is called name in errors. Content that cannot be lines of text is refused.
func NewLines(name string, r io.Reader) (*Lines, error) {
	l := &Lines{name: name, src: r, buf: make([]byte, firstBuffer)}
	for l.err == nil && l.end < 4 {
		l.fill()
	}
	if bytes.HasPrefix(l.buf[:l.end], []byte("\x1f\x8b")) {
		if err := l.unzip(); err != nil {
			return nil, err
		}
	}
	head := l.buf[:l.end]
	if kind := notText(head); kind != "" {
		return nil, fmt.Errorf("%s: %s; want text, plain or gzip", name, kind)
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) { // byte order mark
		l.start, l.seen, l.next = 3, 3, 3
	}
	return l, nil
}

// unzip starts over with what the gzip file holds.
func (l *Lines) unzip() error {
	packed := io.MultiReader(bytes.NewReader(bytes.Clone(l.buf[:l.end])), &rest{l.src, l.err})
	z, err := gzip.NewReader(bufio.NewReaderSize(packed, firstBuffer))
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, readable(err))
	}
	l.src, l.err, l.end = z, nil, 0
	for l.err == nil && l.end < 4 {
		l.fill()
	}
	return nil
}

// rest is what a reader still gives after it may have given its error already.
type rest struct {
	r   io.Reader
	err error
}

func (r *rest) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	return r.r.Read(p)
}

// notText names a file that is no text by how it begins, "" for text.
func notText(head []byte) string {
	for _, magic := range []struct{ prefix, kind string }{
		{"PK\x03\x04", "a zip archive"},
		{"\x28\xb5\x2f\xfd", "a zstd file"},
		{"\xfd7zXZ", "an xz file"},
		{"BZh", "a bzip2 file"},
		{"\x1f\x8b", "a gzip file in a gzip file"},
		{"SQLite format 3", "an SQLite database"},
		{"PAR1", "a Parquet file"},
	} {
		if bytes.HasPrefix(head, []byte(magic.prefix)) {
			return magic.kind
		}
	}
	if bytes.IndexByte(head[:min(len(head), 512)], 0) >= 0 {
		return "a binary file"
	}
	return ""
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
		return nil, fmt.Errorf("%s: line %d, byte %d: %w", l.name, l.number+1, l.next, readable(l.err))
	}
	if l.start == l.end && !long {
		return nil, io.EOF
	}
	return l.take(l.end, 0, long)
}

// readable says what an error of the gzip reader means.
func readable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return errors.New("truncated gzip file")
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
	return fmt.Errorf("%s: line %d, byte %d: truncated line", l.name, l.number, l.offset)
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

// Package tape reads raw frames back as they were received: text files of one frame a line, plain or packed.
//
//	{"stream":"btcusdt@aggTrade","data":{…}}            as it came
//	1626992741.06217: {"stream":…}                      behind the receiver's clock, in seconds
//	1721347021434994132 {"stream":…}                    or in milli-, micro- or nanoseconds, told by its size
package tape

import (
	"bytes"
	"encoding/json"
	"time"
)

// Frame is one line of a tape.
type Frame struct {
	Data     []byte    // as received; valid until the next call of Next
	Received time.Time // what the line's clock says; zero where it has none
	Line     int64     // its number in the file, from 1
}

// Reader reads the frames of one tape, in order.
type Reader struct {
	lines   *Lines
	skipped int64
}

// NewReader reads the frames that stand in lines.
func NewReader(lines *Lines) *Reader { return &Reader{lines: lines} }

// Skipped is the number of lines so far that carried no frame.
func (r *Reader) Skipped() int64 { return r.skipped }

// Next gives the next frame. Lines without one are skipped and counted. At the end of the tape the error is io.EOF;
// where the tape stops before its end, every whole frame is given first and the error names file, line and byte.
func (r *Reader) Next() (Frame, error) {
	for {
		line, err := r.lines.Next()
		if err == ErrLong {
			r.skipped++
			continue
		}
		if err != nil {
			return Frame{}, err
		}
		data, received := split(line)
		if !r.lines.Whole() && len(bytes.TrimSpace(line)) > 0 && !json.Valid(data) {
			return Frame{}, r.lines.Truncated()
		}
		if data == nil {
			r.skipped++
			continue
		}
		return Frame{Data: data, Received: received, Line: r.lines.Number()}, nil
	}
}

// split takes a line apart into its frame (nil where it has none) and its clock (zero where it has none).
func split(line []byte) ([]byte, time.Time) {
	data := bytes.TrimSpace(line)
	if isFrame(data) {
		return data, time.Time{}
	}
	at, n := clock(data)
	if n == 0 {
		return nil, time.Time{}
	}
	data = bytes.TrimLeft(bytes.TrimPrefix(data[n:], []byte(":")), " \t")
	if !isFrame(data) {
		return nil, time.Time{}
	}
	return data, at
}

func isFrame(data []byte) bool { return len(data) > 1 && (data[0] == '{' || data[0] == '[') }

// clock reads the number that a line begins with and how long it is, 0 where there is none. Until the year 5000
// seconds have at most 11 digits, milliseconds 14, microseconds 17.
func clock(line []byte) (time.Time, int) {
	var whole, frac int64
	n := 0
	for ; n < len(line) && line[n]-'0' <= 9; n++ {
		if n == 19 {
			return time.Time{}, 0
		}
		whole = whole*10 + int64(line[n]-'0')
	}
	switch {
	case n == 0:
		return time.Time{}, 0
	case n > 17:
		return time.Unix(0, whole), n
	case n > 14:
		return time.UnixMicro(whole), n
	case n > 11:
		return time.UnixMilli(whole), n
	}
	if n < len(line) && line[n] == '.' {
		scale := int64(time.Second)
		for n++; n < len(line) && line[n]-'0' <= 9; n++ {
			if scale /= 10; scale > 0 {
				frac += scale * int64(line[n]-'0')
			}
		}
	}
	return time.Unix(whole, frac), n
}

// Package tape records raw frames as received and reads them back: text files of one frame a line, plain or packed.
//
//	{"stream":"btcusdt@aggTrade","data":{…}}            as it came
//	1626992741.06217: {"stream":…}                      behind the receiver's clock, in seconds
//	1721347021434994132 {"stream":…}                    or in milli-, micro- or nanoseconds, told by its size
//	2024-07-18T23:57:01.434994132Z {"stream":…}         or as a date, of UTC where it names no zone
//	1721347021434994132 trades-0.1 {"e":"aggTrade",…}   or behind the clock and one word: what a Recorder writes
//
// Behind clock and word may stand a colon, comma, semicolon, bar or tab for the space.
package tape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
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
	leftOut int64
}

// A recorder's mark of what it left out stands between these, behind the clock.
const (
	markBegin = "# left out "
	markEnd   = " frames"
)

// NewReader reads the frames that stand in lines.
func NewReader(lines *Lines) *Reader { return &Reader{lines: lines} }

// Skipped is the number of lines so far that carried no frame.
func (r *Reader) Skipped() int64 { return r.skipped }

// LeftOut is the number of frames that the recorder of the tape, as read so far, says it left out.
func (r *Reader) LeftOut() int64 { return r.leftOut }

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
		if n := leftOut(line); n > 0 {
			r.leftOut += n
			continue
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
	if date, length := dated(data); length > 0 {
		at, n = date, length
	}
	if n == 0 {
		return nil, time.Time{}
	}
	rest := bytes.TrimLeft(data[n:], separators)
	if !isFrame(rest) {
		rest = behindWord(rest, data[n:len(data)-len(rest)])
	}
	if !isFrame(rest) {
		return nil, time.Time{}
	}
	return rest, at
}

// separators may stand between clock, word and frame.
const separators = ":,;|" + spaces

const spaces = " \t"

// behindWord is what follows the word that a line begins with, where something parts it from what stands before it. It ends at a
// space, or, where none stands before it, at what does instead: names of connections and streams may hold any other separator.
func behindWord(line, before []byte) []byte {
	if len(before) == 0 {
		return nil
	}
	ends := spaces
	if !bytes.ContainsAny(before, spaces) {
		ends = string(before[:1])
	}
	word := bytes.IndexAny(line, ends)
	if word < 0 {
		return nil
	}
	return bytes.TrimSpace(bytes.TrimLeft(line[word:], ends+spaces))
}

// leftOut reads a recorder's mark; 0 where the line is none.
func leftOut(line []byte) int64 {
	_, n := clock(line)
	number, marked := bytes.CutPrefix(bytes.TrimLeft(line[n:], " "), []byte(markBegin))
	number, whole := bytes.CutSuffix(number, []byte(markEnd))
	if n == 0 || !marked || !whole {
		return 0
	}
	frames, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return frames
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

// date is a date, a time and, behind a blank or not, its zone.
var date = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:[.,]\d+)?)(?:[ \t]?(Z|[+-]\d\d(?::?\d\d)?)\b)?`)

// dated reads the date and time that a line begins with, as in 2024-07-18T23:57:01.434Z, 2024-07-18 23:57:01,434 or with a zone
// like +02:00, and how long it is, 0 where there is none.
func dated(line []byte) (time.Time, int) {
	if len(line) < 5 || line[4] != '-' {
		return time.Time{}, 0
	}
	part := date.FindSubmatch(line)
	if part == nil {
		return time.Time{}, 0
	}
	text := fmt.Sprintf("%sT%s%s", part[1], part[2], part[3])
	for _, zone := range []string{"", "Z07:00", "Z0700", "Z07"} {
		if t, err := time.Parse("2006-01-02T15:04:05"+zone, text); err == nil {
			return t, len(part[0])
		}
	}
	return time.Time{}, 0
}

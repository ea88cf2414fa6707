package tape

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A tape's file is called 20261126T235959.123Z.tape.zst: names in order are times in order.
const (
	nameTime = "20060102T150405.000Z"
	nameEnd  = ".tape.zst"
)

// Bounds of one file.
const (
	fileShare = 8 // of the size of all
	maxFile   = 256 << 20
)

// reel is a folder of tapes, of which the newest is being written.
type reel struct {
	dir  string
	size int64 // bytes of all

	file    *os.File // nil where there is none
	written int64    // bytes of file
	hour    time.Time
	total   int64 // bytes of all, as far as this process knows
}

// begin starts a new file.
func (r *reel) begin(now time.Time) error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil { //nolint:gosec // what the exchange tells everybody
		return err
	}
	var err error
	for at := now.UTC(); ; at = at.Add(time.Millisecond) {
		name := filepath.Join(r.dir, at.Format(nameTime)+nameEnd)
		r.file, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // likewise
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		r.file = nil
		return err
	}
	r.written, r.hour = 0, now.UTC().Truncate(time.Hour)
	return r.trim(0)
}

// write appends to the tape, to a new file where the hour or the file is full. Where it fails nothing of it stays: the file ends
// before it, and the next write begins a new one.
func (r *reel) write(now time.Time, p []byte) error {
	full := r.written > 0 && r.written+int64(len(p)) > min(maxFile, r.size/fileShare)
	if full || !now.UTC().Truncate(time.Hour).Equal(r.hour) {
		if err := r.end(); err != nil {
			return err
		}
	}
	if r.file == nil {
		if err := r.begin(now); err != nil {
			return err
		}
	}
	if r.total+int64(len(p)) > r.size {
		if err := r.trim(int64(len(p))); err != nil {
			return err
		}
	}
	n, err := r.file.Write(p)
	if err != nil {
		return errors.Join(err, r.undo())
	}
	r.written += int64(n)
	r.total += int64(n)
	return nil
}

// undo ends the file with what was written to it as a whole; where that is nothing, no file stays.
func (r *reel) undo() error {
	if r.written > 0 {
		return errors.Join(r.file.Truncate(r.written), r.end())
	}
	name := r.file.Name()
	return errors.Join(r.end(), os.Remove(name))
}

// end closes the file, once it is durable.
func (r *reel) end() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return errors.Join(f.Sync(), f.Close())
}

// trim removes the oldest tapes, until there is room for so many bytes more or the newest alone is left.
func (r *reel) trim(room int64) error {
	tapes, err := r.tapes()
	if err != nil {
		return err
	}
	r.total = 0
	for _, t := range tapes {
		r.total += t.Size()
	}
	for _, t := range tapes {
		if r.total+room <= r.size || r.file != nil && t.Name() == filepath.Base(r.file.Name()) {
			return nil
		}
		if err := os.Remove(filepath.Join(r.dir, t.Name())); err != nil {
			return err
		}
		r.total -= t.Size()
	}
	return nil
}

// tapes are the files of the folder that are named like tapes, oldest first.
func (r *reel) tapes() (tapes []fs.FileInfo, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		at, named := strings.CutSuffix(e.Name(), nameEnd)
		if _, err := time.Parse(nameTime, at); !named || err != nil || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil { // what has gone meanwhile takes no room
			tapes = append(tapes, info)
		}
	}
	slices.SortFunc(tapes, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return tapes, nil
}

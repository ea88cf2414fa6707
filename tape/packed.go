package tape

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	maxWindow  = 128 << 20 // what a zstd file may make us remember, as with zstd's own command
	maxZip     = 1 << 30   // of a zip file that cannot be read from anywhere but its beginning
	shownFiles = 8
)

// fileHeader is how a file begins within a zip file.
const fileHeader = "PK\x03\x04"

// packings are how text may be packed, told by a file's first bytes.
var packings = []struct{ prefix, kind string }{
	{"\x1f\x8b", "gzip"},
	{fileHeader, "zip"},
	{"PK\x05\x06", "zip"}, // of no files
	{"\x28\xb5\x2f\xfd", "zstd"},
}

// packing says how a file that begins so is packed, "" where it is not.
func packing(head []byte) string {
	for _, p := range packings {
		if bytes.HasPrefix(head, []byte(p.prefix)) {
			return p.kind
		}
	}
	return ""
}

// unpack reads what a packed file holds. The file is src, of which packed gives what src gave already, too.
func unpack(kind string, src, packed io.Reader) (io.Reader, error) {
	switch kind {
	case "gzip":
		return gzip.NewReader(bufio.NewReaderSize(packed, firstBuffer))
	case "zip":
		return unzip(src, packed)
	}
	// One at a time: the reader has no goroutines, and need not be closed.
	return zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
}

// unzip reads the one file of a zip file. The directory stands at the end: what is no file on disk is held in memory.
func unzip(src, packed io.Reader) (io.Reader, error) {
	at, size, err := wholeZip(src, packed)
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(at, size)
	if err != nil {
		return cutZip(bufio.NewReaderSize(io.NewSectionReader(at, 0, size), firstBuffer))
	}
	var files []*zip.File
	var names []string
	for _, f := range z.File {
		if !f.FileInfo().IsDir() {
			files, names = append(files, f), append(names, f.Name)
		}
	}
	if len(names) > shownFiles {
		names = append(names[:shownFiles], "…")
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("a zip file of %d files (%s); want one", len(files), strings.Join(names, ", "))
	}
	return files[0].Open()
}

// wholeZip is a zip file that can be read from anywhere, and its size.
func wholeZip(src, packed io.Reader) (io.ReaderAt, int64, error) {
	if f, ok := src.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return f, info.Size(), nil
		}
	}
	held, err := io.ReadAll(io.LimitReader(packed, maxZip+1))
	if err == nil && len(held) > maxZip {
		err = errors.New("a zip file of more than 1 GiB must be on disk")
	}
	return bytes.NewReader(held), int64(len(held)), err
}

// cutZip reads the first file of a zip file that has no directory, for it is cut: what there is of it, then
// io.ErrUnexpectedEOF.
func cutZip(r *bufio.Reader) (io.Reader, error) {
	var header [30]byte
	name := []byte("/")
	for bytes.HasSuffix(name, []byte("/")) { // a folder
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(header[:], []byte(fileHeader)) {
			return nil, zip.ErrFormat
		}
		name = make([]byte, binary.LittleEndian.Uint16(header[26:]))
		extra := int(binary.LittleEndian.Uint16(header[28:]))
		if _, err := io.ReadFull(r, name); err != nil {
			return nil, err
		}
		if _, err := r.Discard(extra); err != nil {
			return nil, err
		}
	}
	var file io.Reader
	switch binary.LittleEndian.Uint16(header[8:]) {
	case zip.Store:
		file = io.LimitReader(r, int64(binary.LittleEndian.Uint32(header[18:])))
	case zip.Deflate:
		file = flate.NewReader(r)
	default:
		return nil, zip.ErrAlgorithm
	}
	return io.MultiReader(file, &rest{err: io.ErrUnexpectedEOF}), nil
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
	if kind := packing(head); kind != "" {
		return "a " + kind + " file"
	}
	for _, magic := range []struct{ prefix, kind string }{
		{"\xfd7zXZ", "an xz file"},
		{"BZh", "a bzip2 file"},
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

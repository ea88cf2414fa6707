package tape

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"
)

func gz(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

func zst(text string) string {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

// zipped is a zip file of text: its size and checksum stand behind it.
func zipped(text string) string { return zippedAs(zip.Deflate, "a.csv", text) }

// zippedAs is a zip file of names and their texts, one behind the other.
func zippedAs(method uint16, files ...string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(f, files[i+1])
	}
	_ = w.Close()
	return b.String()
}

// zippedRaw is a zip file of text as it is; its size and checksum stand before it.
func zippedRaw(method uint16, text string, sum uint32) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(&zip.FileHeader{
		Name: "a.csv", Method: method, CRC32: sum, CompressedSize64: uint64(len(text)), UncompressedSize64: uint64(len(text)),
	})
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(f, text)
	_ = w.Close()
	return b.String()
}

// TestPacked: how a file is packed is told by its content, parts that follow each other are one text, and a file that
// stops early gives every line that it holds whole before it says so; of zstd, every line of its whole blocks.
func TestPacked(t *testing.T) {
	const directory = "PK\x01\x02" // its first entry
	const wantText = "; want text, plain or packed once (gzip, zip, zstd)"
	text := "{\"a\":1}\n{\"a\":2}\n"
	both := []string{`1 - {"a":1}`, `2 - {"a":2}`}
	g, z, s := gz(text), zipped(text), zst(text)
	sum := crc32.ChecksumIEEE([]byte(text))
	raw := zippedRaw(zip.Store, text, sum)
	other := zippedRaw(12, text, sum)
	folder := zippedAs(zip.Deflate, "b/", "", "b/a.csv", text)
	var sumText [4]byte
	binary.LittleEndian.PutUint32(sumText[:], sum)
	for _, c := range []struct {
		name, packed string
		want         []string
		err          string
	}{
		{"gzip", g, both, ""},
		{"gzip, two members", gz("{\"a\":1}\n") + gz("{\"a\":2}\n"), both, ""},
		{"gzip without its checksum", g[:len(g)-8], both, "x.txt: line 3, byte 16: truncated gzip file"},
		{"gzip, wrong checksum", g[:len(g)-8] + "12345678", both, "x.txt: line 3, byte 16: gzip: invalid checksum"},
		{"gzip header only", g[:10], nil, "x.txt: line 1, byte 0: truncated gzip file"},
		{"gzip, within the header", g[:5], nil, "x.txt: truncated gzip file"},

		{"zip", z, both, ""},
		{"zip, sizes before the text", raw, both, ""},
		{"zip, not compressed", zippedAs(zip.Store, "a.csv", text), both, ""},
		{"zip, folders", zippedAs(zip.Store, "b/", "", "b/a.csv", text, "c/", ""), both, ""},
		{"zip with something before it", "PK\x03\x04 no file of its own" + z, both, ""},
		{"zip without its directory", strings.Split(z, "PK\x07\x08")[0], both, "x.txt: line 3, byte 16: truncated zip file"},
		{"zip, not compressed, without its directory", strings.Split(raw, directory)[0], both, "x.txt: line 3, byte 16: truncated zip file"},
		{"zip, a folder, without its directory", strings.Split(folder, directory)[0], both, "x.txt: line 3, byte 16: truncated zip file"},
		{"zip, wrong checksum", strings.ReplaceAll(z, string(sumText[:]), "1234"), both, "x.txt: line 3, byte 16: zip: checksum error"},
		{"zip, wrong checksum before the text", zippedRaw(zip.Store, text, sum+1), both, "x.txt: line 3, byte 16: zip: checksum error"},
		{"zip, within the header", z[:20], nil, "x.txt: truncated zip file"},
		{"zip, within the name", z[:32], nil, "x.txt: truncated zip file"},
		{"no zip", "PK\x03\x04 the quick brown fox jumps over the lazy dog", nil, "x.txt: truncated zip file"},
		{"zip, packed another way", other, nil, "x.txt: zip: unsupported compression algorithm"},
		{"zip, packed another way, without its directory", other[:60], nil, "x.txt: zip: unsupported compression algorithm"},
		{"zip of none", zippedAs(zip.Store), nil, "x.txt: a zip file of 0 files (); want one"},
		{"zip of folders", zippedAs(zip.Store, "a/", ""), nil, "x.txt: a zip file of 0 files (); want one"},
		{"zip of two", zippedAs(zip.Store, "a.csv", text, "b.csv", text), nil, "x.txt: a zip file of 2 files (a.csv, b.csv); want one"},
		{"zip of nine", zippedAs(zip.Store, "1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "", "8", "", "9", ""), nil,
			"x.txt: a zip file of 9 files (1, 2, 3, 4, 5, 6, 7, 8, …); want one"},

		{"zstd", s, both, ""},
		{"zstd, two frames", zst("{\"a\":1}\n") + zst("{\"a\":2}\n"), both, ""},
		{"zstd without its checksum: the block before it is not given", zst("{\"a\":1}\n") + s[:len(s)-4], both[:1], "x.txt: line 2, byte 8: truncated zstd file"},
		{"zstd, wrong checksum", zst("{\"a\":1}\n") + s[:len(s)-4] + "1234", both[:1], "x.txt: line 2, byte 8: CRC check failed"},
		{"zstd, magic only", s[:4], nil, "x.txt: line 1, byte 0: truncated zstd file"},

		{"zip within gzip", gz(z), nil, "x.txt: a zip file in a gzip file" + wantText},
		{"gzip within gzip", gz(g), nil, "x.txt: a gzip file in a gzip file" + wantText},
		{"zstd within zip", zipped(s), nil, "x.txt: a zstd file in a zip file" + wantText},
		{"binary within zstd", zst("\x00\x01\x02\x03"), nil, "x.txt: a binary file in a zstd file" + wantText},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := frames(t, c.packed)
			check(t, got, c.want, err, c.err)
			got, err = framesOnDisk(t, c.packed)
			check(t, got, c.want, err, c.err)
		})
	}
}

// framesOnDisk is frames for a file on disk.
func framesOnDisk(t *testing.T, packed string) ([]string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte(packed), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	got, _, err := framesOf(t, f)
	return got, err
}

// TestCutAnywhere: wherever a packed file is cut, what is given is a beginning of its lines, and the cut is an error.
func TestCutAnywhere(t *testing.T) {
	var text strings.Builder
	for i := range 60 {
		fmt.Fprintf(&text, "{\"a\":%d,\"b\":%d}\n", i, i*i*7919%10007)
	}
	for _, packed := range []string{gz(text.String()), zipped(text.String()), zst(text.String())} {
		want, _, err := frames(t, packed)
		if err != nil || len(want) != 60 {
			t.Fatalf("%d frames, %v", len(want), err)
		}
		for cut := 4; cut < len(packed); cut++ {
			got, _, err := frames(t, packed[:cut])
			if err == nil {
				t.Fatalf("%.4q cut at byte %d of %d: no error", packed, cut, len(packed))
			}
			if d := cmp.Diff(want[:len(got)], got, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("%.4q cut at byte %d: (-want +got)\n%s", packed, cut, d)
			}
		}
	}
}

// TestZipOnDisk: a zip file on disk is read where it lies.
func TestZipOnDisk(t *testing.T) {
	const size = 8 << 20
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte(zippedAs(zip.Store, "a", strings.Repeat("1 {}\n", size/5))), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	lines, err := NewLines("x", f)
	for err == nil {
		_, err = lines.Next()
	}
	runtime.ReadMemStats(&after)
	if err != io.EOF || lines.Number() != size/5 {
		t.Fatal(lines.Number(), err)
	}
	if held := after.TotalAlloc - before.TotalAlloc; held > size/4 {
		t.Errorf("%d bytes allocated for a file of %d", held, size)
	}
}

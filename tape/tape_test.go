package tape

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frames reads text as a tape and gives its frames as "line clock data".
func frames(t *testing.T, text string) (got []string, skipped int64, err error) {
	t.Helper()
	return framesOf(t, strings.NewReader(text))
}

func framesOf(t *testing.T, file io.Reader) (got []string, skipped int64, err error) {
	t.Helper()
	lines, err := NewLines("x.txt", file)
	if err != nil {
		return nil, 0, err
	}
	r := NewReader(lines)
	for {
		f, err := r.Next()
		if err == io.EOF {
			return got, r.Skipped(), nil
		}
		if err != nil {
			return got, r.Skipped(), err
		}
		at := "-"
		if !f.Received.IsZero() {
			at = f.Received.UTC().Format(time.RFC3339Nano)
		}
		got = append(got, fmt.Sprintf("%d %s %s", f.Line, at, f.Data))
	}
}

func TestReader(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
		skipped    int64
		err        string
	}{
		{"nothing", "", nil, 0, ""},
		{"bare", "{\"a\":1}\n{\"a\":2}\n", []string{`1 - {"a":1}`, `2 - {"a":2}`}, 0, ""},
		{"no last line end", "{\"a\":1}\n{\"a\":2}", []string{`1 - {"a":1}`, `2 - {"a":2}`}, 0, ""},
		{"carriage returns", "{\"a\":1}\r\n{\"a\":2}\r\n", []string{`1 - {"a":1}`, `2 - {"a":2}`}, 0, ""},
		{"byte order mark", "\xef\xbb\xbf{\"a\":1}\n", []string{`1 - {"a":1}`}, 0, ""},
		{"an array", "[{\"a\":1}]\n", []string{`1 - [{"a":1}]`}, 0, ""},
		{"seconds", "1626992741.06217: {}\n", []string{"1 2021-07-22T22:25:41.06217Z {}"}, 0, ""},
		{"seconds, ten decimals", "1626992741.0621700019 {}\n", []string{"1 2021-07-22T22:25:41.062170001Z {}"}, 0, ""},
		{"whole seconds", "1626992741: {}\n", []string{"1 2021-07-22T22:25:41Z {}"}, 0, ""},
		{"milliseconds", "1626992741062 {}\n", []string{"1 2021-07-22T22:25:41.062Z {}"}, 0, ""},
		{"microseconds", "1626992741062170 {}\n", []string{"1 2021-07-22T22:25:41.06217Z {}"}, 0, ""},
		{"nanoseconds", "1721347021434994132 {}\n", []string{"1 2024-07-18T23:57:01.434994132Z {}"}, 0, ""},
		{"a date", "2024-07-18T23:57:01.434994132Z {}\n", []string{"1 2024-07-18T23:57:01.434994132Z {}"}, 0, ""},
		{"a date, seven decimals", "2024-07-18T23:57:01.4349941Z {}\n", []string{"1 2024-07-18T23:57:01.4349941Z {}"}, 0, ""},
		{"a date with a zone", "2024-07-19T01:57:01+02:00 ws {}\n2024-07-19T01:57:01.5+0200: {}\n", []string{"1 2024-07-18T23:57:01Z {}", "2 2024-07-18T23:57:01.5Z {}"}, 0, ""},
		{"a date without one", "2024-07-18 23:57:01,434 {}\n2024-07-18T23:57:01,{}\n2024-07-18 23:57:01: ws {}\n",
			[]string{"1 2024-07-18T23:57:01.434Z {}", "2 2024-07-18T23:57:01Z {}", "3 2024-07-18T23:57:01Z {}"}, 0, ""},
		{"a zone behind a blank, or of hours alone", "2024-07-19 01:57:01 +0200 {}\n2024-07-19 01:57:01.5 +0200 CEST {}\n2024-07-18 18:57:01 -05:00 ws {}\n" +
			"2024-07-19 01:57:01+02: {}\n2024-07-18 23:57:01 Z {}\n2024-07-18 23:57:01 - {}\n2024-07-18 23:57:01 +0200x {}\n", []string{
			"1 2024-07-18T23:57:01Z {}", "2 2024-07-18T23:57:01.5Z {}", "3 2024-07-18T23:57:01Z {}",
			"4 2024-07-18T23:57:01Z {}", "5 2024-07-18T23:57:01Z {}", "6 2024-07-18T23:57:01Z {}", "7 2024-07-18T23:57:01Z {}"}, 0, ""},
		{"no date", "2024-07-18T24:57:01Z\n2024-13-18 23:57:01\n2024-13-18T23:57:01Z {}\n2024-07-18T23:57:01+99:00 {}\n", nil, 4, ""},
		{"other separators", "1626992741062,{}\n1626992741062;btcusdt@trade;{}\n1626992741062|ws|{}\n1626992741062\tws\t{}\n1626992741.062 - {}\n", []string{
			"1 2021-07-22T22:25:41.062Z {}", "2 2021-07-22T22:25:41.062Z {}", "3 2021-07-22T22:25:41.062Z {}", "4 2021-07-22T22:25:41.062Z {}",
			"5 2021-07-22T22:25:41.062Z {}"}, 0, ""},
		{"separators within the word", "1626992741062 a,b:c {}\n1626992741062;a:b,c; {}\n1626992741062 ws, {}\n", []string{
			"1 2021-07-22T22:25:41.062Z {}", "2 2021-07-22T22:25:41.062Z {}", "3 2021-07-22T22:25:41.062Z {}"}, 0, ""},
		{"tab behind the clock", "1721347021434994132\t{}\n", []string{"1 2024-07-18T23:57:01.434994132Z {}"}, 0, ""},
		{"lines without a frame", "wss://host/stream?streams=a\n\n  \n12 apples\n{}\n# {}\n12345678901234567890 {}\n",
			[]string{"5 - {}"}, 6, ""},
		{"cut within the frame", "{\"a\":1}\n{\"a\":", []string{`1 - {"a":1}`}, 0, "x.txt: line 2, byte 8: truncated line"},
		{"cut between the braces", "{\"d\":{}}\n{\"d\":{}", []string{`1 - {"d":{}}`}, 0, "x.txt: line 2, byte 9: truncated line"},
		{"cut within the clock", "1 {}\n16269", []string{"1 1970-01-01T00:00:01Z {}"}, 0, "x.txt: line 2, byte 5: truncated line"},
		{"bzip2", "BZh9rest", nil, 0, "x.txt: a bzip2 file; want text, plain or packed once (gzip, zip, zstd)"},
		{"binary", "\x00\x01\x02\n", nil, 0, "x.txt: a binary file; want text, plain or packed once (gzip, zip, zstd)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, skipped, err := frames(t, c.text)
			check(t, got, c.want, err, c.err)
			if skipped != c.skipped {
				t.Errorf("skipped %d lines, want %d", skipped, c.skipped)
			}
		})
	}
}

func check(t *testing.T, got, want []string, err error, wantErr string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("frames (-want +got):\n%s", d)
	}
	if text := fmt.Sprint(err); (err != nil || wantErr != "") && text != wantErr {
		t.Errorf("error %q, want %q", text, wantErr)
	}
}

// TestReads: how the bytes come does not matter.
func TestReads(t *testing.T) {
	text := "{\"a\":1}\n" + strings.Repeat("{\"long\":\""+strings.Repeat("x", 200_000)+"\"}\n{}\n", 3)
	want, _, _ := frames(t, text)
	if len(want) != 7 {
		t.Fatalf("%d frames, want 7", len(want))
	}
	for name, r := range map[string]io.Reader{
		"one byte a read":    iotest.OneByteReader(strings.NewReader(text)),
		"half reads":         iotest.HalfReader(strings.NewReader(text)),
		"data with the end":  iotest.DataErrReader(strings.NewReader(text)),
		"gzip in half reads": iotest.HalfReader(strings.NewReader(gz(text))),
		"zip in half reads":  iotest.HalfReader(strings.NewReader(zipped(text))),
		"zstd in half reads": iotest.HalfReader(strings.NewReader(zst(text))),
	} {
		t.Run(name, func(t *testing.T) {
			lines, err := NewLines("x", r)
			if err != nil {
				t.Fatal(err)
			}
			tape, got := NewReader(lines), 0
			for ; ; got++ {
				f, err := tape.Next()
				if err != nil {
					if err != io.EOF {
						t.Error(err)
					}
					break
				}
				if _, data, _ := strings.Cut(want[got], " - "); data != string(f.Data) {
					t.Fatalf("frame %d differs", got)
				}
			}
			if got != len(want) {
				t.Errorf("%d frames, want %d", got, len(want))
			}
		})
	}
}

func TestReadError(t *testing.T) {
	lines, err := NewLines("x", io.MultiReader(strings.NewReader("{}\n{\"a\""), iotest.ErrReader(io.ErrClosedPipe)))
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(lines)
	if f, err := r.Next(); err != nil || string(f.Data) != "{}" {
		t.Fatal(f, err)
	}
	if _, err := r.Next(); fmt.Sprint(err) != "x: line 2, byte 3: io: read/write on closed pipe" {
		t.Fatal(err)
	}
}

// TestLongLine: a line beyond the bound is passed over, whatever stands around it; memory stays bounded.
func TestLongLine(t *testing.T) {
	long := strings.Repeat("x", MaxLine+1)
	just := `{"a":"` + strings.Repeat("x", MaxLine-8) + `"}`
	lines, err := NewLines("x", strings.NewReader("{}\n"+long+"\n"+just+"\n"+long+long+long+"\n{}\n"+long))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		line, err := lines.Next()
		if err == io.EOF {
			break
		}
		if err != nil && err != ErrLong {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(lines.Number(), " ", len(line), " ", err))
	}
	want := []string{
		"1 2 <nil>", "2 0 " + ErrLong.Error(), fmt.Sprintf("3 %d <nil>", MaxLine),
		"4 0 " + ErrLong.Error(), "5 2 <nil>", "6 0 " + ErrLong.Error(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(lines.buf) > 2*MaxLine+firstBuffer {
		t.Errorf("buffer of %d bytes", len(lines.buf))
	}
}

func TestBack(t *testing.T) {
	lines, err := NewLines("x", strings.NewReader("a\nb\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := 0; ; i++ {
		line, err := lines.Next()
		if err != nil {
			break
		}
		got = append(got, fmt.Sprintf("%d %s", lines.Number(), line))
		if i == 0 || i == 2 {
			lines.Back()
		}
	}
	if d := cmp.Diff([]string{"1 a", "1 a", "2 b", "2 b"}, got); d != "" {
		t.Error(d)
	}
}

// TestCaptures reads the real captures: how many frames and other lines each holds.
func TestCaptures(t *testing.T) {
	const dir = "../../shared/data/"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no real data at", dir)
	}
	for _, c := range []struct {
		file        string
		n, skipped  int64
		first, last string // clocks
	}{
		{"frames/um-aggTrade+kline-2021-07-22.txt", 1535, 1, "2021-07-22T22:25:41.06217Z", "2021-07-22T22:26:11.201806Z"},
		{"pairs/BTCUSDT-trade-frames-2024-07-18T2357.jsonl.gz", 10701, 0, "2024-07-18T23:57:01.434994132Z", "2024-07-19T00:05:00.760050966Z"},
		{"pairs/ETHUSDT-trade-frames-2024-07-18T2357.jsonl.gz", 13655, 0, "2024-07-18T23:57:01.186954583Z", "2024-07-19T00:05:00.753854266Z"},
		{"frames/um-2026-10-shapes.jsonl", 6, 0, "", ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			f, err := os.Open(dir + c.file)
			if err != nil {
				t.Skip(err)
			}
			defer func() { _ = f.Close() }()
			lines, err := NewLines(c.file, f)
			if err != nil {
				t.Fatal(err)
			}
			r := NewReader(lines)
			var n int64
			var first, last string
			for {
				frame, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if n++; !frame.Received.IsZero() {
					last = frame.Received.UTC().Format(time.RFC3339Nano)
				}
				if n == 1 {
					first = last
				}
			}
			if n != c.n || r.Skipped() != c.skipped || first != c.first || last != c.last {
				t.Errorf("%d frames, %d other lines, %s to %s", n, r.Skipped(), first, last)
			}
		})
	}
}

const aggTradeLine = `1791382992488000000 {"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","nq":"0.022","f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}}` + "\n"

func TestNoAllocations(t *testing.T) {
	lines, err := NewLines("x", strings.NewReader(strings.Repeat(aggTradeLine, 3000)))
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(lines)
	if n := testing.AllocsPerRun(2000, func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func BenchmarkNextAggTrade(b *testing.B) {
	text := strings.Repeat(aggTradeLine, 10_000)
	b.SetBytes(int64(len(aggTradeLine)))
	b.ReportAllocs()
	var r *Reader
	for i := range b.N {
		if i%10_000 == 0 {
			lines, err := NewLines("x", strings.NewReader(text))
			if err != nil {
				b.Fatal(err)
			}
			r = NewReader(lines)
		}
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("1626992741.06217: {}\n{\"a\":1}\n\nx\n"))
	f.Add([]byte("1721347021434994132 c {}\n1721347021434994132 # left out 12 frames\n1721347021434994132 #\n"))
	f.Add([]byte(gz("{}\n")))
	f.Add([]byte(zipped("{}\n")))
	f.Add([]byte(zst("{}\n")))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := NewLines("x", bytes.NewReader(text))
		if err != nil {
			return
		}
		r := NewReader(lines)
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			if !isFrame(frame.Data) || bytes.IndexByte(frame.Data, '\n') >= 0 {
				t.Fatalf("frame %q", frame.Data)
			}
		}
	})
}

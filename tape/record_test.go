package tape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const trade = `{"e":"aggTrade","E":1791382992488,"a":3477868433,"s":"BTCUSDT","p":"83091.70","q":"0.022","nq":"0.022","f":8153634393,"l":8153634394,"T":1791382992338,"m":false,"st":1}`

// recorded is a recorder in a bubble of fake time, and what it told.
type recorded struct {
	t   *testing.T
	dir string
	*Recorder

	told sync.Mutex // guards what the recorder told
	log  bytes.Buffer
	last heard
}

type heard struct {
	wrote, leftOut int
	failed         error
}

// heard is what the recorder has told so far, and said in its log.
func (r *recorded) heard() (heard, string) {
	r.told.Lock()
	defer r.told.Unlock()
	return r.last, r.log.String()
}

// Write takes the log.
func (r *recorded) Write(p []byte) (int, error) {
	r.told.Lock()
	defer r.told.Unlock()
	return r.log.Write(p)
}

func (r *recorded) tell(f func(*heard)) {
	r.told.Lock()
	defer r.told.Unlock()
	f(&r.last)
}

func startRecorder(t *testing.T, o RecorderOptions) *recorded {
	t.Helper()
	r := &recorded{t: t, dir: o.Dir}
	if r.dir == "" {
		r.dir = filepath.Join(t.TempDir(), "tapes")
	}
	o.Dir, o.Log = r.dir, slog.New(slog.NewTextHandler(r, nil))
	o.Wrote = func(n int) { r.tell(func(h *heard) { h.wrote += n }) }
	o.LeftOut = func(n int) { r.tell(func(h *heard) { h.leftOut += n }) }
	o.State = func(err error) { r.tell(func(h *heard) { h.failed = err }) }
	var err error
	if r.Recorder, err = NewRecorder(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// files are the names of the tapes, oldest first, and their bytes in all.
func (r *recorded) files() (names []string, size int64) {
	r.t.Helper()
	tapes, err := r.reel.tapes()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range tapes {
		names = append(names, f.Name())
		size += f.Size()
	}
	return names, size
}

// read gives all frames of all tapes, and how many they say were left out.
func (r *recorded) read() (frames []string, leftOut int64) {
	r.t.Helper()
	names, _ := r.files()
	for _, name := range names {
		got, left, err := readTape(r.t, filepath.Join(r.dir, name))
		if err != nil {
			r.t.Fatal(err)
		}
		frames, leftOut = append(frames, got...), leftOut+left
	}
	return frames, leftOut
}

func readTape(t *testing.T, name string) (frames []string, leftOut int64, err error) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := NewLines(name, f)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return nil, 0, err
	}
	for reader := NewReader(lines); ; {
		frame, err := reader.Next()
		if err == io.EOF {
			return frames, reader.LeftOut(), nil
		}
		if err != nil {
			return frames, reader.LeftOut(), err
		}
		frames = append(frames, fmt.Sprintf("%s %s", frame.Received.UTC().Format("15:04:05.999999999"), frame.Data))
	}
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRecorder(t, RecorderOptions{})
		for _, frame := range []string{trade, `{"stream":"x","data":{}}`, `[1]`, "{\n\"two\":\n\"lines\"\r\n}\n", "not JSON\n{}", ""} {
			r.Add("trades-0.1", time.Now(), []byte(frame))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"00:00:00 " + trade, `00:00:00.001 {"stream":"x","data":{}}`, "00:00:00.002 [1]", "00:00:00.003 { \"two\": \"lines\"\r }"}
		got, left := r.read()
		if !slices.Equal(got, want) || left != 0 {
			t.Errorf("after a second: %q, %d left out", got, left)
		}
		names, size := r.files()
		if h, _ := r.heard(); !slices.Equal(names, []string{"20000101T000000.000Z.tape.zst"}) || int(size) != h.wrote || h.failed != nil {
			t.Errorf("files %v of %d bytes; told: %+v", names, size, h)
		}
		r.Add("trades-0.1", time.Now(), []byte("[2]"))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r.Add("trades-0.1", time.Now(), []byte("[3]"))
		if got, _ = r.read(); len(got) != 5 || !strings.HasSuffix(got[4], " [2]") {
			t.Errorf("after its end: %q", got)
		}
	})
}

// TestRecordRotates: by the hour and by size, and the oldest leaves when there are too many. What is no tape stays.
func TestRecordRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		other := filepath.Join(dir, "19991231T235959.000Z.tape")
		if err := os.WriteFile(other, make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		const size = 8 << 10
		r := startRecorder(t, RecorderOptions{Dir: dir, Size: size})
		time.Sleep(59*time.Minute + 500*time.Millisecond) // between two looks
		r.Add("c", time.Now(), []byte(trade))
		time.Sleep(2 * time.Minute)
		r.Add("c", time.Now(), []byte(trade))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if names, _ := r.files(); len(names) != 2 || !strings.HasPrefix(names[1], "20000101T010101.") {
			t.Errorf("files %v", names)
		}
		for i := range 100 {
			for n := range 10 { // hardly packs at all
				r.Add("c", time.Now(), fmt.Appendf(nil, `{"%x":%d}`, mixed(i*10+n), i))
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if _, size := r.files(); size > 8<<10 {
				t.Fatalf("%d bytes after %d s", size, i)
			}
		}
		names, kept := r.files()
		if len(names) < 7 || len(names) > 30 || kept < size*3/4 {
			t.Errorf("%d files of %d bytes", len(names), kept)
		}
		frames, _ := r.read()
		if n := len(frames); n < 100 || !strings.HasSuffix(frames[n-1], ":99}") {
			t.Errorf("%d frames, the last is %s", n, frames[n-1])
		}
		if _, err := os.Stat(other); err != nil {
			t.Error(err)
		}
	})
}

// mixed is 64 bytes of noise.
func mixed(n int) (b [64]byte) {
	x := uint64(n + 1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

// TestRecordLeavesOut: what finds no room is left out, and tape, count and log say how much.
func TestRecordLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRecorder(t, RecorderOptions{Queue: 10 * (len(trade) + lineRoom)})
		for range 3 {
			for range 25 {
				r.Add("c", time.Now(), []byte(trade))
			}
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		got, left := r.read()
		h, said := r.heard()
		if len(got)+int(left) != 75 || left < 30 || h.leftOut != int(left) {
			t.Errorf("%d frames on tape, which says that %d were left out; told: %+v", len(got), left, h)
		}
		if strings.Count(said, "frames are left out") != 2 || strings.Count(said, tooSlow) != 2 {
			t.Errorf("the log says\n%s", said)
		}
	})
}

// TestRecordSurvivesItsDisk: while the disk refuses, frames are left out; then the tape goes on, and says how many.
func TestRecordSurvivesItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRecorder(t, RecorderOptions{})
		r.Add("c", time.Now(), []byte("[1]"))
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if err := r.reel.file.Close(); err != nil { // as good as a disk that is full
			t.Fatal(err)
		}
		for range 5 {
			r.Add("c", time.Now(), []byte("[2]"))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if h, _ := r.heard(); h.failed == nil || h.leftOut != 5 {
			t.Errorf("%+v", h)
		}
		time.Sleep(10 * time.Second)
		r.Add("c", time.Now(), []byte("[3]"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got, left := r.read()
		h, said := r.heard()
		if len(got) != 2 || left != 5 || !strings.HasSuffix(got[1], "[3]") || h.failed != nil {
			t.Errorf("%q, %d left out; %+v", got, left, h)
		}
		if strings.Count(said, "cannot record") != 1 || strings.Count(said, "recording again") != 1 || strings.Contains(said, "nil") ||
			strings.Count(said, "left out of the tape\" target=tape frames=4 cause=\"write ") != 1 {
			t.Errorf("the log says\n%s", said)
		}
	})
}

// TestFailedWriteLeavesNoFile: where nothing can be written, no try leaves a file behind.
func TestFailedWriteLeavesNoFile(t *testing.T) {
	r := reel{dir: t.TempDir(), size: 1 << 20}
	for range 3 {
		if err := r.begin(time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := r.file.Close(); err != nil { // as good as a disk that is full
			t.Fatal(err)
		}
		if err := r.write(time.Now(), []byte("x")); err == nil {
			t.Error("no error")
		}
	}
	if tapes, err := r.tapes(); len(tapes) > 0 || err != nil {
		t.Errorf("%d files are left, %v", len(tapes), err)
	}
}

func TestRecordNeedsAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewRecorder(RecorderOptions{Dir: file}); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "cannot record: ") {
		t.Error(err)
	}
}

// TestCutTape: of a tape that is cut anywhere all seconds before the cut can be read.
func TestCutTape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRecorder(t, RecorderOptions{})
		var ends []int // of each second
		for i := range 4 {
			r.Add("c", time.Now(), fmt.Appendf(nil, "[%d]", i))
			time.Sleep(time.Second)
			synctest.Wait()
			h, _ := r.heard()
			ends = append(ends, h.wrote)
		}
		names, _ := r.files()
		whole, err := os.ReadFile(filepath.Join(r.dir, names[0]))
		if err != nil {
			t.Fatal(err)
		}
		for cut := range whole {
			name := filepath.Join(t.TempDir(), "cut")
			if err := os.WriteFile(name, whole[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			want := 0
			for want < len(ends) && ends[want] <= cut {
				want++
			}
			got, _, err := readTape(t, name)
			if atEnd := cut == 0 || want > 0 && ends[want-1] == cut; len(got) != want && cut >= 4 || atEnd != (err == nil) && cut >= 4 {
				t.Fatalf("cut at %d of %d: %d frames, want %d; %v", cut, len(whole), len(got), want, err)
			}
		}
	})
}

func TestRecordAllocatesNothing(t *testing.T) {
	r := startRecorder(t, RecorderOptions{})
	frame, at := []byte(trade), time.Now()
	if n := testing.AllocsPerRun(1000, func() { r.Add("trades-0.1", at, frame) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// BenchmarkAdd is what a frame costs the reader that records it.
func BenchmarkAdd(b *testing.B) {
	r := &Recorder{o: RecorderOptions{Queue: defaultQueue}, queue: make([]byte, 0, defaultQueue+lineRoom), wake: make(chan struct{}, 1)}
	frame, at := []byte(trade), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if r.Add("trades-0.1", at, frame); len(r.queue) >= flushAt {
			r.queue = r.queue[:0]
		}
	}
}

// BenchmarkWrite is what a frame costs the writer beside it, and how much of it is left on the disk.
func BenchmarkWrite(b *testing.B) {
	r, err := NewRecorder(RecorderOptions{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var chunk []byte
	frames := 0
	for at := time.Now().UnixNano(); len(chunk) < flushAt; frames++ {
		chunk = fmt.Appendf(chunk, "%d trades-0.%d %s\n", at+int64(frames)*1e5, frames%2,
			fmt.Sprintf(strings.NewReplacer("3477868433", "%d", "83091.70", "%d.70", "8153634393", "%d", "0.022", "0.0%d").Replace(trade),
				3477868433+frames, 83000+frames%97, frames%89, frames%89, 8153634393+2*frames))
	}
	b.ReportAllocs()
	written := 0
	for b.Loop() {
		if err := r.write(time.Now(), chunk); err != nil {
			b.Fatal(err)
		}
		written += len(r.packed)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(frames), "ns/frame")
	b.ReportMetric(float64(written)/float64(b.N)/float64(frames), "B/frame")
}

// FuzzRecord: what is recorded is read back, whatever it is.
func FuzzRecord(f *testing.F) {
	f.Add("trades-0.1", []byte(trade))
	f.Add("c", []byte(" [1]\n{}\x00"))
	f.Add(",0", []byte("{0"))
	f.Add("c", []byte(", {}"))
	f.Add("0", []byte("\r{0"))
	f.Add("#", []byte("left out 7 frames"))
	f.Add("c", []byte("1721347022001203885 # left out 12 frames"))
	received := time.Unix(0, 1721347021434994132)
	f.Fuzz(func(t *testing.T, conn string, frame []byte) {
		conn = "c" + strings.Join(strings.FieldsFunc(conn, func(r rune) bool { return r <= ' ' }), "")
		r := &Recorder{o: RecorderOptions{Queue: defaultQueue}}
		r.Add(conn, received, frame)
		line, ended := bytes.CutSuffix(r.queue, []byte("\n"))
		if !ended || bytes.ContainsAny(line, "\n\x00") {
			t.Fatalf("%q", r.queue)
		}
		want := bytes.TrimSpace([]byte(strings.NewReplacer("\n", " ", "\x00", " ").Replace(string(frame))))
		got, at := split(line)
		if isFrame(want) != (got != nil) || got != nil && (!bytes.Equal(got, want) || !at.Equal(received)) || leftOut(line) != 0 {
			t.Errorf("%q: %q at %s", line, got, at)
		}
	})
}

package binance

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/health"
	"klined/market"
)

// zipOf is a zip file of files of these texts.
func zipOf(texts ...string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, text := range texts {
		f, _ := w.Create(fmt.Sprintf("%d.csv", i))
		_, _ = io.WriteString(f, text)
	}
	_ = w.Close()
	return b.String()
}

// checksumOf is what sha256sum writes of a file.
func checksumOf(file string) string { return fmt.Sprintf("%x  x.zip\n", sha256.Sum256([]byte(file))) }

// answer is what an archive says to one question: a body with 200, or a status.
type answer struct {
	status int
	body   string
}

// archived is an archive by path; a path's answers come one after the other, the last one again and again.
type archived struct {
	answers map[string][]answer
	asked   []string
}

func (a *archived) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.asked = append(a.asked, r.RequestURI)
	said := answer{status: http.StatusNotFound}
	if left := a.answers[r.RequestURI]; len(left) > 0 {
		said, a.answers[r.RequestURI] = left[0], left[min(1, len(left)-1):]
	}
	if said.status == cutShort {
		w.Header().Set("Content-Length", "1000000")
		said.status = http.StatusOK
	}
	w.WriteHeader(said.status)
	_, _ = io.WriteString(w, said.body)
}

// cutShort stands for 200 and a connection that ends within the body.
const cutShort = -1

func ok(body string) []answer  { return []answer{{200, body}} }
func status(code int) []answer { return []answer{{code, "<Error/>"}} }

// archiveRows are rows of an interval from a time on, with a header.
func archiveRows(iv market.Interval, times ...market.Time) string {
	text := archiveHeader + "\n"
	for _, at := range times {
		text += fmt.Sprintf("%d,1,2,0.5,1.50,10,%d,15,3,4,6,0\n", at, iv.Next(at)-1)
	}
	return text
}

func at(text string) market.Time {
	t, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return market.TimeOf(t)
}

var (
	january = market.Span{From: at("2026-01-01 00:00:00"), To: at("2026-02-01 00:00:00")}
	newYear = market.Span{From: at("2026-01-01 00:00:00"), To: at("2026-01-02 00:00:00")}
)

const (
	monthFile = "/data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-01.zip"
	dayFile   = "/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-01-01.zip"
)

// TestArchiveFiles: where the file of a series and a span lies.
func TestArchiveFiles(t *testing.T) {
	week := market.Span{From: newYear.From, To: newYear.From + 7*market.Day}
	for _, c := range []struct {
		symbol   market.SymbolID
		interval string
		span     market.Span
		file     string // "" where nothing is asked
		err      string
	}{
		{0, "1m", january, monthFile, ""},
		{0, "1m", newYear, dayFile, ""},
		{1, "1d", newYear, "/data/futures/um/daily/klines/ETHUSDT/1d/ETHUSDT-1d-2026-01-01.zip", ""},
		{0, "1w", january, "/data/futures/um/monthly/klines/BTCUSDT/1w/BTCUSDT-1w-2026-01.zip", ""},
		{0, "1M", january, "/data/futures/um/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2026-01.zip", ""},
		{2, "12h", january, "/data/futures/um/monthly/klines/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT/12h/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT-12h-2026-01.zip", ""},
		{0, "3d", newYear, "", "BTCUSDT 3d of 2026-01-01: the archive has no such file"},
		{0, "1M", newYear, "", "BTCUSDT 1M of 2026-01-01: the archive has no such file"},
		{0, "10m", january, "", "BTCUSDT 10m of 2026-01: the archive has no such file"},
		{0, "1m", week, "", "archive of 2026-01-01T00:00:00.000Z to 2026-01-08T00:00:00.000Z: want a calendar month or a UTC day"},
		{0, "1m", market.Span{From: newYear.From + 1, To: newYear.To}, "", "archive of 2026-01-01T00:00:00.001Z to 2026-01-02T00:00:00.000Z: want a calendar month or a UTC day"},
		{0, "1m", market.Span{From: january.From + market.Day, To: january.To}, "", "archive of 2026-01-02T00:00:00.000Z to 2026-02-01T00:00:00.000Z: want a calendar month or a UTC day"},
		{0, "1m", market.Span{From: newYear.From, To: newYear.From}, "", "archive of 2026-01-01T00:00:00.000Z to 2026-01-01T00:00:00.000Z: want a calendar month or a UTC day"},
	} {
		iv, err := market.ParseInterval(c.interval)
		if err != nil {
			t.Fatal(err)
		}
		file := zipOf(archiveRows(iv, iv.Ceil(c.span.From)))
		server := &archived{answers: map[string][]answer{c.file: ok(file), c.file + ".CHECKSUM": ok(checksumOf(file))}}
		a, _, _ := archiveAt(t, server)
		klines, err := a.Klines(t.Context(), market.Series{Symbol: c.symbol, Interval: iv}, c.span)
		switch {
		case c.file == "" && (fmt.Sprint(err) != c.err || len(server.asked) > 0 || errors.Is(err, ErrNoFile) != strings.HasSuffix(c.err, ErrNoFile.Error())):
			t.Errorf("%s of %v: %v, asked %q; want %s", c.interval, c.span, err, server.asked, c.err)
		case c.file != "" && (err != nil || len(klines) != 1 || klines[0].OpenTime != iv.Ceil(c.span.From)):
			t.Errorf("%s: %v, %v, asked %q", c.file, klines, err, server.asked)
		}
	}
}

// archiveAt is a client of an archive that is served on loopback until leave is called, or the test ends.
func archiveAt(t *testing.T, server http.Handler) (a *Archive, log *bytes.Buffer, leave func()) {
	t.Helper()
	s := httptest.NewServer(server)
	transport := &http.Transport{}
	leave = func() {
		transport.CloseIdleConnections()
		s.Close()
	}
	t.Cleanup(leave)
	log = new(bytes.Buffer)
	return NewArchive(ArchiveOptions{
		Base: s.URL + "/", HTTP: &http.Client{Transport: transport}, Symbols: registry(), Metrics: health.NewMetrics(), Log: textLog(log),
	}), log, leave
}

// TestArchiveDownloads: what comes is what its checksum says, or an error that says why not.
func TestArchiveDownloads(t *testing.T) {
	file, older := zipOf(archiveRows(market.OneMinute, newYear.From)), zipOf(archiveRows(market.OneMinute, newYear.From, newYear.From+market.Minute))
	hex := func(file string) string { return checksumOf(file)[:64] }
	empty, two := zipOf(""), zipOf("", "")
	large := zipOf(strings.Repeat("x", maxBody+1))
	damaged := strings.Replace(zipOf(strings.Repeat("x", 100)), "PK\x07\x08", "PK\x07\x09", 1)
	for _, c := range []struct {
		name      string
		zip, sum  []answer
		rows      int
		err       string // behind GET and the path
		noFile    bool
		questions int
	}{
		{"whole", ok(file), ok(checksumOf(file)), 1, "", false, 2},
		{"a sum of upper case, without a name", ok(file), ok(strings.ToUpper(hex(file)) + " "), 1, "", false, 2},
		{"no file", nil, nil, 0, "the archive has no such file", true, 1},
		{"no checksum", ok(file), nil, 0, "it has no .CHECKSUM", false, 2},
		{"a checksum without its file", nil, ok(checksumOf(file)), 0, "the archive has no such file", true, 1},
		{"another sum", ok(file), ok(checksumOf(older)), 0, "its sha256 is " + hex(file) + ", where its .CHECKSUM says " + hex(older), false, 4},
		{"replaced between the two questions", []answer{{200, older}, {200, file}}, ok(checksumOf(file)), 1, "", false, 4},
		{"gone when asked again", []answer{{200, older}, {404, ""}}, ok(checksumOf(file)), 0, "the archive has no such file", true, 3},
		{"no sum", ok(file), ok("<html>"), 0, `its .CHECKSUM has no sha256: "<html>"`, false, 4},
		{"a short sum", ok(file), ok("abcd  x.zip"), 0, `its .CHECKSUM has no sha256: "abcd  x.zip"`, false, 4},
		{"503", status(503), nil, 0, "status 503: Service Unavailable", false, 1},
		{"403", status(403), nil, 0, "status 403: Forbidden", false, 1},
		{"503 for the checksum", ok(file), status(503), 0, "its .CHECKSUM: status 503: Service Unavailable", false, 2},
		{"cut short", []answer{{cutShort, file}}, ok(checksumOf(file)), 0, "cannot read the answer: unexpected EOF", false, 1},
		{"the checksum cut short", ok(file), []answer{{cutShort, checksumOf(file)}}, 0, "its .CHECKSUM: cannot read the answer: unexpected EOF", false, 2},
		{"too large", ok(strings.Repeat("x", maxBody+1)), nil, 0, "more than 16777216 bytes", false, 1},

		{"no zip", ok("x"), ok(checksumOf("x")), 0, "cannot unzip: zip: not a valid zip file", false, 2},
		{"zip of two", ok(two), ok(checksumOf(two)), 0, "cannot unzip: 2 files in it, want one", false, 2},
		{"damaged zip", ok(damaged), ok(checksumOf(damaged)), 0, "cannot unzip: zip: checksum error", false, 2},
		{"too large within", ok(large), ok(checksumOf(large)), 0, "cannot unzip: more than 16777216 bytes", false, 2},
		{"empty", ok(empty), ok(checksumOf(empty)), 0, "", false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &archived{answers: map[string][]answer{dayFile: c.zip, dayFile + ".CHECKSUM": c.sum}}
			a, log, _ := archiveAt(t, server)
			klines, err := a.Klines(t.Context(), minute, newYear)
			want := "<nil>"
			if c.err != "" {
				want = "GET " + dayFile + ": " + c.err
			}
			if len(klines) != c.rows || fmt.Sprint(err) != want || errors.Is(err, ErrNoFile) != c.noFile || len(server.asked) != c.questions {
				t.Errorf("%d klines, %v, asked %q; want %d, %s", len(klines), err, server.asked, c.rows, want)
			}
			counted := 0
			for _, status := range []string{"200", "403", "404", "503"} {
				counted += int(testutil.ToFloat64(a.o.Metrics.RESTRequests.WithLabelValues("archive", status)))
			}
			if counted != c.questions || log.Len() > 0 {
				t.Errorf("%d requests counted, want %d; logged %s", counted, c.questions, log)
			}
		})
	}
}

// TestArchiveFaults: rows that are wrong are absent and said once; those that break their own rules are the caller's.
func TestArchiveFaults(t *testing.T) {
	rows := archiveRows(market.OneMinute, newYear.From+market.Minute, newYear.From, newYear.From, newYear.To) +
		strings.Replace(archiveRows(market.OneMinute, newYear.From+2*market.Minute), archiveHeader+"\n", "", 1) + "x\n" +
		fmt.Sprintf("%d,3,2,1,1,0,%d,0,5,9,9,0\n", newYear.From+5*market.Minute, newYear.From+6*market.Minute-1) +
		fmt.Sprintf("%d,3,2,1,1,0,%d,0,5,9,9,0\n", newYear.From+2*market.Minute, newYear.From+3*market.Minute-1)
	file := zipOf(rows)
	a, log, _ := archiveAt(t, &archived{answers: map[string][]answer{dayFile: ok(file), dayFile + ".CHECKSUM": ok(checksumOf(file))}})
	klines, err := a.Klines(t.Context(), minute, newYear)
	var opened []int
	for _, k := range klines {
		opened = append(opened, int((k.OpenTime-newYear.From)/market.Minute))
	}
	if fmt.Sprint(opened, err) != "[0 1 5] <nil>" || klines[2].Plausible() {
		t.Errorf("minutes %v, %v", opened, err)
	}
	_, line, _ := strings.Cut(log.String(), " ")
	want := `level=WARN msg="rows of an archive file were left out" target=history file=` + dayFile + ` unreadable=1 misplaced=1 duplicate=1 contradictory=2` +
		` first="line 5: a time out of range or off the interval's grid: 2026-01-02T00:00:00.000Z is not of this file"` + "\n"
	if line != want {
		t.Errorf("logged %s\nwant %s", line, want)
	}
}

// TestArchiveEnds: a question ends with its caller's context, and where nobody answers.
func TestArchiveEnds(t *testing.T) {
	a, _, leave := archiveAt(t, &archived{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Klines(ctx, minute, newYear); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	leave()
	if _, err := a.Klines(t.Context(), minute, newYear); err == nil || !strings.Contains(err.Error(), "GET "+dayFile+": dial tcp") {
		t.Errorf("nobody there: %v", err)
	}
	if n := testutil.ToFloat64(a.o.Metrics.RESTRequests.WithLabelValues("archive", "error")); n != 2 {
		t.Errorf("%v errors counted", n)
	}
	if a := NewArchive(ArchiveOptions{}); a.o.Base != "https://data.binance.vision" || a.o.HTTP == nil {
		t.Errorf("%+v", a.o)
	}
}

// drip is a body that brings a byte every so often, and nothing after so many until its request ends.
type drip struct {
	ctx   context.Context
	every time.Duration
	left  int
}

func (d *drip) Read(p []byte) (int, error) {
	if d.left == 0 {
		<-d.ctx.Done()
		return 0, d.ctx.Err()
	}
	time.Sleep(d.every)
	d.left--
	p[0] = 'x'
	return 1, nil
}

func (d *drip) Close() error { return nil }

// TestArchiveStalls: a download may take its time, and fails where nothing comes for half a minute.
func TestArchiveStalls(t *testing.T) {
	for _, c := range []struct {
		name   string
		silent bool // from the beginning
		bytes  int
		want   time.Duration
	}{
		{"no answer", true, 0, 30 * time.Second},
		{"headers after 20 seconds, then nothing", false, 0, 50 * time.Second},
		{"something every 20 seconds, then nothing", false, 9, 10*20*time.Second + 30*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			transport := roundTrip(func(r *http.Request) (*http.Response, error) {
				if c.silent {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				time.Sleep(20 * time.Second)
				return &http.Response{StatusCode: 200, Body: &drip{r.Context(), 20 * time.Second, c.bytes}}, nil
			})
			a := NewArchive(ArchiveOptions{HTTP: &http.Client{Transport: transport}, Symbols: registry()})
			_, err := a.Klines(t.Context(), minute, newYear)
			if took := time.Since(began); took != c.want || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nothing came for 30s") {
				t.Errorf("%s: after %s: %v", c.name, took, err)
			}
		})
	}
}

package health

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// clockText finds what differs from run to run.
var clockText = regexp.MustCompile(`("?time"?[=:]"?)[^ ",]+`)

// logged is what a log writes without its times.
func logged(o LogOptions, write func(*slog.Logger)) string {
	var text bytes.Buffer
	write(NewLog(&text, o))
	return clockText.ReplaceAllString(text.String(), "${1}T")
}

// TestLog: each line has one target, the last that was given.
func TestLog(t *testing.T) {
	for _, c := range []struct {
		name    string
		options LogOptions
		write   func(*slog.Logger)
		want    string
	}{
		{"none", LogOptions{}, func(l *slog.Logger) { l.Info("a", "b", 1) }, "time=T level=INFO msg=a target=life b=1\n"},
		{"one", LogOptions{}, func(l *slog.Logger) { l.With("conn", "x").With("target", "decode").Info("a", "b", 1) }, "time=T level=INFO msg=a target=decode conn=x b=1\n"},
		{"two", LogOptions{}, func(l *slog.Logger) { l.With("target", "life").With("target", "store", "c", 2).Info("a") }, "time=T level=INFO msg=a target=store c=2\n"},
		{"json", LogOptions{JSON: true}, func(l *slog.Logger) { l.With("target", "feed").Warn("a", "b", 1) }, `{"time":"T","level":"WARN","msg":"a","target":"feed","b":1}` + "\n"},
		{"group", LogOptions{}, func(l *slog.Logger) {
			l.With("target", "feed", "conn", "x").WithGroup("g").With("a", 1).Warn("a", "b", 2)
		}, "time=T level=WARN msg=a target=feed conn=x a=1 b=2\n"},
		{"level", LogOptions{Level: slog.LevelWarn}, func(l *slog.Logger) { l.Info("a"); l.Warn("b") }, "time=T level=WARN msg=b target=life\n"},
		{"levels", LogOptions{Levels: map[string]slog.Level{"feed": slog.LevelDebug, "store": slog.LevelError}}, func(l *slog.Logger) {
			for _, target := range []string{"feed", "store", "life"} {
				l.With("target", target).Debug("a")
				l.With("target", target).Warn("b")
			}
		}, "time=T level=DEBUG msg=a target=feed\ntime=T level=WARN msg=b target=feed\ntime=T level=WARN msg=b target=life\n"},
		{"masked", LogOptions{}, func(l *slog.Logger) {
			l.With("to", "http://u:pass@h").Info("token=abc", "error", fmt.Errorf("Get %q: %w", "http://x/?signature=5f&a=1", errors.New("no")), "path", "/ws/"+strings.Repeat("Ab1z", 16))
		}, `time=T level=INFO msg="token=***" target=life to=http://u:***@h error="Get \"http://x/?signature=***&a=1\": no" path=/ws/***` + "\n"},
	} {
		if got := logged(c.options, c.write); got != c.want {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
}

// TestLogRepeats: of the same message ten lines in half a minute, then the last of the others with their number.
func TestLogRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
		got := lines(logged(LogOptions{}, func(l *slog.Logger) {
			for i := range 25 {
				l.With("target", "feed").Warn("a", "n", i)
				l.With("target", "store").Warn("a", "n", i)
				time.Sleep(time.Second)
			}
			l.With("target", "feed").Warn("b")
			l.With("target", "feed", "by", 7).Warn("a", "n", "last")
			time.Sleep(repeatsIn - 25*time.Second)
			synctest.Wait()
			l.With("target", "feed").Warn("a", "n", "again")
		}))
		tail := []string{"time=T level=WARN msg=b target=feed", "time=T level=WARN msg=a target=feed by=7 n=last suppressed=15",
			"time=T level=WARN msg=a target=store n=24 suppressed=14", "time=T level=WARN msg=a target=feed n=again"}
		if len(got) != 2*repeatsFree+len(tail) {
			t.Fatalf("%d lines: %s", len(got), got)
		}
		for i, line := range got[:2*repeatsFree] {
			if want := fmt.Sprintf("time=T level=WARN msg=a target=%s n=%d", []string{"feed", "store"}[i%2], i/2); line != want {
				t.Errorf("line %d: %s, want %s", i, line, want)
			}
		}
		for _, want := range tail {
			if !strings.Contains(strings.Join(got[2*repeatsFree:], "\n"), want) {
				t.Errorf("no %q in %s", want, got[2*repeatsFree:])
			}
		}
	})
}

// TestLogAll: errors come as often as they are said, and so does what only who debugs asks for.
func TestLogAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := logged(LogOptions{Level: slog.LevelDebug}, func(l *slog.Logger) {
			for range 3 * repeatsFree {
				l.Error("a")
				l.Debug("b")
			}
		})
		if n := strings.Count(got, "msg=a"); n != 3*repeatsFree {
			t.Errorf("%d errors", n)
		}
		if n := strings.Count(got, "msg=b"); n != 3*repeatsFree {
			t.Errorf("%d lines of debug", n)
		}
	})
}

// TestLogNews: what is said of another component, of another connection or more gravely is no repetition, and what is held when the
// process ends is not lost.
func TestLogNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := logged(LogOptions{}, func(l *slog.Logger) {
			for range 2 * repeatsFree {
				l.Warn("it fails", "component", "feed a")
				l.With("conn", "a").Warn("ended")
			}
			l.Warn("it fails", "component", "lane 2")
			l.With("conn", "b").Warn("ended")
			l.Info("it fails", "component", "feed a")
			for i := range 2 * repeatsFree {
				l.Error("it fails", "component", "feed a", "n", i)
			}
			l.Warn("it fails", "component", "feed a", "n", "last")
			Flush(l)
			l.Warn("it fails", "component", "feed a", "n", "anew")
			Flush(l)
			time.Sleep(2 * repeatsIn)
			synctest.Wait()
		})
		for line, want := range map[string]int{
			`WARN msg="it fails" target=life component="feed a"` + "\n": repeatsFree,
			`component="feed a" n=last suppressed=10`:                   1,
			`component="feed a" n=anew` + "\n":                          1,
			`WARN msg="it fails" target=life component="lane 2"` + "\n": 1,
			`INFO msg="it fails"`:                                       1,
			`ERROR msg="it fails"`:                                      2 * repeatsFree,
			`conn=a` + "\n":                                             repeatsFree,
			`conn=a suppressed=9`:                                       1,
			`conn=b` + "\n":                                             1,
			"\n":                                                        4*repeatsFree + 6,
		} {
			if got := strings.Count(text, line); got != want {
				t.Errorf("%d lines with %q, want %d", got, line, want)
			}
		}
		if t.Failed() {
			t.Log(text)
		}
	})
}

// TestLogSpread: a message that comes seldom is never held back, and eleven in a stretch are told one and all.
func TestLogSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := logged(LogOptions{}, func(l *slog.Logger) {
			for range 50 {
				l.Info("seldom")
				time.Sleep(repeatsIn / repeatsFree)
			}
			for range repeatsFree + 1 {
				l.Info("often")
			}
			time.Sleep(repeatsIn)
			synctest.Wait()
		})
		if seldom, often := strings.Count(text, "seldom"), strings.Count(text, "often"); seldom != 50 || often != repeatsFree+1 || strings.Contains(text, "suppressed") {
			t.Errorf("%d and %d lines: %s", seldom, often, text)
		}
	})
}

// TestLogManyMessages: messages that are all different take bounded room, and are told as one beyond it.
func TestLogManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewLog(io.Discard, LogOptions{})
		repeats := log.Handler().(*logHandler).repeats
		for round := range 3 {
			for i := range 3 * maxRepeats {
				log.Info(fmt.Sprint(round, i))
			}
			repeats.mu.Lock()
			n := len(repeats.seen)
			repeats.mu.Unlock()
			if n > maxRepeats+1 {
				t.Fatalf("%d messages are kept", n)
			}
			time.Sleep(2 * repeatsIn)
		}
	})
}

func TestMask(t *testing.T) {
	key := strings.Repeat("aB3x", 16)
	for _, c := range []struct{ text, want string }{
		{"nothing: 1=2, a://b:80/c@d", "nothing: 1=2, a://b:80/c@d"},
		{"socks5://user:p%40ss@127.0.0.1:1080", "socks5://user:***@127.0.0.1:1080"},
		{"proxy http://u:p:q@h:1: refused", "proxy http://u:***@h:1: refused"},
		{"http://[::1]:8080/a", "http://[::1]:8080/a"},
		{"/fapi/v1/order?symbol=A&timestamp=1&signature=abc123", "/fapi/v1/order?symbol=A&timestamp=1&signature=***"},
		{"/x?signature=a&b=1", "/x?signature=***&b=1"},
		{"listenKey=" + key + " listen_key=x", "listenKey=*** listen_key=***"},
		{"X-MBX-APIKEY: " + key, "X-MBX-APIKEY: ***"},
		{`map[Authorization:[Bearer s3cret] X-Mbx-Apikey:[k]]`, `map[Authorization:[Bearer ***] X-Mbx-Apikey:[***]]`},
		{"Proxy-Authorization: Basic dTpw", "Proxy-Authorization: Basic ***"},
		{"GET /ws/" + key, "GET /ws/***"},
		{"it is " + strings.Repeat("0f", 32) + ", its .CHECKSUM says", "it is " + strings.Repeat("0f", 32) + ", its .CHECKSUM says"},
		{`{"token":"abcdef", "apiKey": "k","n":1}`, `{"token":"***", "apiKey": "***","n":1}`},
		{"--token /run/token: empty", "--token /run/token: empty"},
	} {
		if got := Mask(c.text); got != c.want {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
}

// TestLogDurations: a duration is told with its unit, in JSON too.
func TestLogDurations(t *testing.T) {
	var out strings.Builder
	NewLog(&out, LogOptions{JSON: true}).Info("took", "took", 893*time.Millisecond)
	if !strings.Contains(out.String(), `"took":"893ms"`) {
		t.Error(out.String())
	}
}

package sim

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"klined/market"
)

// archivePath is where a file lies: of a day where date has one, else of a month.
func archivePath(symbol, interval, date string) string {
	folder := "monthly"
	if len(date) == len(time.DateOnly) {
		folder = "daily"
	}
	name := url.PathEscape(symbol)
	return fmt.Sprintf("/data/futures/um/%s/klines/%s/%s/%s-%s-%s.zip", folder, name, interval, name, interval, date)
}

// unpack is the one file in a zip: its name and its lines.
func unpack(t *testing.T, body string) (name string, lines []string) {
	t.Helper()
	z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "files", len(z.File), 1)
	r, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		t.Fatalf("%s does not end its last line", z.File[0].Name)
	}
	return z.File[0].Name, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// truthLines are official klines as the archive has them.
func truthLines(t *testing.T, e *Exchange, symbol, interval string, from, to market.Time) (lines []string) {
	t.Helper()
	body, err := e.Truth(symbol, interval, from, to-1)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]json.RawMessage
	if err := json.Unmarshal(body, &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		cells := make([]string, len(r))
		for i := range r {
			cells[i] = strings.Trim(string(r[i]), `"`)
		}
		lines = append(lines, strings.Join(cells, ","))
	}
	return lines
}

// file answers a file that must be there.
func (v *visitor) file(path string) string {
	v.t.Helper()
	status, _, body := v.get(path)
	if status != 200 {
		v.t.Fatalf("%s: %d %s", path, status, body)
	}
	return body
}

// TestArchiveIsTheTruth holds every column of every interval's files against the truth, of the past and of a day that
// was live.
func TestArchiveIsTheTruth(t *testing.T) {
	if raced {
		t.Skip("a market of this length is run without the race detector: make test does both")
	}
	opt := Options{Symbols: 40, Rate: 2, Seed: 3, Start: mustTime(t, "2026-11-29T23:58:30Z")}
	served(t, opt, func(t *testing.T, e *Exchange, v *visitor) {
		time.Sleep(8*time.Hour + 35*time.Minute)
		young := e.symbols[20]
		var paths []string
		for _, iv := range exchangeIntervals {
			name := strings.Replace(iv, "1M", "1mo", 1)
			paths = append(paths, archivePath("ETHUSDT", name, "2026-08")) // of which there are eleven days
			if must(parseInterval(iv)).rank() > 2 {
				paths = append(paths, archivePath("币安人生USDT", name, "2026-10"))
			}
			if iv != "3d" && iv != "1w" && iv != "1M" {
				paths = append(paths, archivePath("ETHUSDT", name, "2026-11-29"), archivePath(young.name, name, "2026-11-28"))
			}
		}
		for _, name := range []string{"OMGUSDT", "BTCUSDT_261225", "XAUUSDT", "DENTUSDT"} {
			paths = append(paths, archivePath(name, "1h", "2026-10"))
		}
		for _, path := range paths {
			body := v.file(path)
			same(t, path, v.file(path+".CHECKSUM"), fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(body)), unescaped(path[strings.LastIndex(path, "/")+1:])))
			name, lines := unpack(t, body)
			same(t, path+": name", unescaped(path[strings.LastIndex(path, "/")+1:]), strings.TrimSuffix(name, ".csv")+".zip")
			same(t, path+": header", lines[0], "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore")
			parts := strings.Split(path, "/")
			layout, covers := "2006-01-02", interval{length: market.Day}
			if parts[4] == "monthly" {
				layout, covers = "2006-01", interval{}
			}
			from := market.TimeOf(must(time.Parse(layout, strings.TrimSuffix(path[len(path)-4-len(layout):], ".zip"))))
			want := truthLines(t, e, unescaped(parts[6]), strings.Replace(parts[7], "1mo", "1M", 1), from, covers.next(from))
			if len(want) == 0 {
				t.Errorf("%s: there is nothing", path)
			}
			same(t, path, strings.Join(lines[1:], "\n"), strings.Join(want, "\n"))
		}
	})
}

func unescaped(path string) string { return must(url.PathUnescape(path)) }

// TestArchiveAppears holds to the millisecond when files come.
func TestArchiveAppears(t *testing.T) {
	tests := []struct{ path, at string }{
		{archivePath("BTCUSDT", "1m", "2026-11-22"), "2026-11-23T08:30:00Z"},
		{archivePath("BTCUSDT", "1d", "2027-02-28"), "2027-03-01T08:30:00Z"},
		{archivePath("BTCUSDT", "1m", "2026-12-31") + ".CHECKSUM", "2027-01-01T08:30:00Z"},
		{archivePath("BTCUSDT", "1h", "2026-10"), "2026-11-02T08:30:00Z"},
		{archivePath("BTCUSDT", "1mo", "2026-11"), "2026-12-07T08:30:00Z"}, // the 1st is a Tuesday
		{archivePath("BTCUSDT", "1w", "2026-11"), "2026-12-07T08:30:00Z"},  // its last week ends that day
		{archivePath("BTCUSDT", "4h", "2027-02"), "2027-03-01T08:30:00Z"},  // the 1st is a Monday
		{archivePath("BTCUSDT", "1h", "2027-10"), "2027-11-01T08:30:00Z"},  // likewise, but
		{archivePath("BTCUSDT", "3d", "2027-10"), "2027-11-02T08:30:00Z"},  // a kline of October still runs then
	}
	for _, test := range tests {
		start := mustTime(t, test.at) - 500
		served(t, Options{Symbols: 2, Rate: 1, Seed: 3, Start: start}, func(t *testing.T, e *Exchange, v *visitor) {
			time.Sleep(499 * time.Millisecond)
			status, _, _ := v.get(test.path)
			same(t, test.path+" a millisecond before "+test.at, status, 404)
			time.Sleep(time.Millisecond)
			status, head, _ := v.get(test.path)
			same(t, test.path+" at "+test.at, status, 200)
			same(t, test.path, head.Get("Last-Modified"), mustTime(t, test.at).Std().Format(http.TimeFormat))
		})
	}
}

// TestArchiveBegins holds where a symbol's files begin, and what there is no file of.
func TestArchiveBegins(t *testing.T) {
	served(t, Options{Symbols: 40, Rate: 1, Seed: 3, Start: mustTime(t, "2026-12-20T12:00:00Z")}, func(t *testing.T, e *Exchange, v *visitor) {
		young := e.symbols[20]
		same(t, "the young one's begin", young.begin.Std().Format(time.DateOnly), "2026-12-19")
		tests := []struct{ path, first string }{
			{archivePath("BTCUSDT", "1m", "2026-09"), "2026-09-11T00:00:00Z"}, // a hundred days ago
			{archivePath("BTCUSDT", "1mo", "2026-09"), "2026-09-01T00:00:00Z"},
			{archivePath("BTCUSDT", "1m", "2026-09-11"), "2026-09-11T00:00:00Z"},
			{archivePath("BTCUSDT", "1m", "2026-09-10"), ""},
			{archivePath("BTCUSDT", "1m", "2026-08"), ""},
			{archivePath("BTCUSDT", "1w", "2026-09"), "2026-09-07T00:00:00Z"},
			{archivePath("BTCUSDT", "1m", "1970-01"), ""},
			{archivePath("BTCUSDT", "1m", "1969-12-31"), ""},
			{archivePath("BTCUSDT", "1m", "9999-12-31"), ""},
			{archivePath(young.name, "1m", "2026-12-19"), young.begin.Std().Format(time.RFC3339)},
			{archivePath(young.name, "12h", "2026-12-19"), young.begin.Std().Truncate(12 * time.Hour).Format(time.RFC3339)},
			{archivePath(young.name, "1m", "2026-12-18"), ""},
			{archivePath(young.name, "1m", "2026-11"), ""},
			{archivePath("BTCUSDT", "3d", "2026-12-01"), ""},
			{archivePath("BTCUSDT", "1w", "2026-12-07"), ""},
			{archivePath("BTCUSDT", "1mo", "2026-12-01"), ""},
			{archivePath("BTCUSDT", "1M", "2026-10"), ""},
			{archivePath("BTCUSDT", "1s", "2026-10"), ""},
			{archivePath("BTCUSDT", "1m", "2026-13"), ""},
			{archivePath("BTCUSDT", "1m", "2026-9"), ""},
			{archivePath("BTCUSDT", "1m", "2026-11-31"), ""},
			{archivePath("btcusdt", "1m", "2026-10"), ""},
			{archivePath("NOSUCH", "1m", "2026-10"), ""},
			{strings.Replace(archivePath("BTCUSDT", "1m", "2026-10"), "monthly", "daily", 1), ""},
			{strings.Replace(archivePath("BTCUSDT", "1m", "2026-10"), "/um/", "/cm/", 1), ""},
			{strings.Replace(archivePath("BTCUSDT", "1m", "2026-10"), "BTCUSDT-1m", "ETHUSDT-1m", 1), ""},
			{strings.TrimSuffix(archivePath("BTCUSDT", "1m", "2026-10"), ".zip"), ""},
			{archivePath("BTCUSDT", "1m", "2026-10") + ".CHECKSUM.CHECKSUM", ""},
			{"/data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2026-12-01.zip", ""},
			{"/data/futures/um/daily/trades/BTCUSDT/BTCUSDT-trades-2026-12-01.zip", ""},
			{"/data/", ""},
			{"/data/<&>", ""},
		}
		for _, test := range tests {
			status, head, body := v.get(test.path)
			if test.first == "" {
				key := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(unescaped(test.path)[1:])
				same(t, test.path, fmt.Sprint(status, " ", head.Get("Content-Type"), " ", body), `404 application/xml <?xml version="1.0" encoding="UTF-8"?>`+
					"\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>"+key+"</Key></Error>")
				continue
			}
			same(t, test.path, status, 200)
			_, lines := unpack(t, body)
			open, _, _ := strings.Cut(lines[1], ",")
			same(t, test.path+": first row", open, fmt.Sprint(int64(mustTime(t, test.first))))
		}
	})
}

// TestArchiveServesParts holds what a client that goes on where it stopped relies on.
func TestArchiveServesParts(t *testing.T) {
	path := archivePath("BTCUSDT", "1m", "2026-11-22")
	var first string
	for range 2 {
		served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
			_, head, whole := v.get(path)
			same(t, "the same bytes each time", first == "" || first == whole, true)
			first = whole
			tag, changed := head.Get("ETag"), head.Get("Last-Modified")
			tests := []struct {
				method, key, value string
				status, length     int
			}{
				{"GET", "", "", 200, len(whole)},
				{"HEAD", "", "", 200, 0},
				{"GET", "Range", "bytes=100-199", 206, 100},
				{"GET", "Range", fmt.Sprintf("bytes=%d-", len(whole)-7), 206, 7},
				{"GET", "Range", fmt.Sprintf("bytes=%d-", len(whole)), 416, -1},
				{"GET", "If-Modified-Since", changed, 304, 0},
				{"GET", "If-Modified-Since", "Mon, 23 Nov 2026 08:29:59 GMT", 200, len(whole)},
				{"GET", "If-None-Match", tag, 304, 0},
				{"HEAD", "If-None-Match", `"another"`, 200, 0},
			}
			for _, test := range tests {
				req := must(http.NewRequest(test.method, "http://sim"+path, nil))
				if test.key != "" {
					req.Header.Set(test.key, test.value)
				}
				res := must(v.http.Do(req))
				body := must(io.ReadAll(res.Body))
				res.Body.Close()
				what := fmt.Sprint(test)
				same(t, what, res.StatusCode, test.status)
				if test.length >= 0 {
					same(t, what+": bytes", len(body), test.length)
				}
				if test.status == 200 {
					same(t, what+": length", res.ContentLength, int64(len(whole)))
					same(t, what+": type", res.Header.Get("Content-Type"), "application/zip")
				}
			}
			v.get(path + ".CHECKSUM")
			v.get(archivePath("BTCUSDT", "1d", "2026-10"))
			v.get("/data/nothing")
			_, _, body := v.get("/sim/status")
			if want := `"archive":{"daily":10,"monthly":1,"checksums":1,"statuses":{"200":7,"206":2,"304":2,"404":1,"416":1}}`; !strings.Contains(body, want) {
				t.Errorf("status %s\nwant %s", body, want)
			}
		})
	}
}

// TestArchiveIsOutsideTheLimits holds that REST's limits and faults are not about the archive, unless their path says so.
func TestArchiveIsOutsideTheLimits(t *testing.T) {
	path := archivePath("BTCUSDT", "1h", "2026-11-22")
	served(t, quiet(), func(t *testing.T, e *Exchange, v *visitor) {
		const page = "500 text/html retry  weight  " + gatewayPage
		slow := func(status, retry string) string {
			return status + " application/xml retry " + retry + ` weight  <?xml version="1.0" encoding="UTF-8"?>` +
				"\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
		}
		untilMinute(e)
		for range 130 {
			v.get("/fapi/v1/aggTrades?symbol=BTCUSDT")
		}
		same(t, "weight used up", v.ask(klinesPath)[:3], "429")
		_, head, _ := v.get(path)
		same(t, "no weight is counted", head.Get("X-Mbx-Used-Weight-1m"), "")
		for _, kind := range []string{"rest_418", "rest_429", "rest_500", "rest_slow"} {
			v.inject(fmt.Sprintf(`{"kind":%q,"seconds":10}`, kind))
			v.inject(fmt.Sprintf(`{"kind":%q,"seconds":10,"path":"klines"}`, kind))
		}
		begin := time.Now()
		same(t, "faults of REST", v.ask(path), "200")
		same(t, "at once", time.Since(begin), 0)
		v.inject(`{"kind":"clear"}`)
		v.inject(`{"kind":"rest_500","seconds":10,"path":"/data/"}`)
		v.inject(`{"kind":"rest_slow","seconds":10,"delay":3,"path":"/data/futures/um/daily"}`)
		same(t, "first", v.ask(path), page)
		same(t, "slow", time.Since(begin), 3*time.Second)
		same(t, "second", v.ask(path), slow("503", ""))
		same(t, "in another folder", v.ask(archivePath("BTCUSDT", "1h", "2026-10")), page)
		same(t, "not slow", time.Since(begin), 6*time.Second)
		v.inject(`{"kind":"clear"}`)
		v.inject(`{"kind":"rest_429","seconds":10,"path":"/data/"}`)
		same(t, "refused", v.ask(path), slow("429", "10"))
		time.Sleep(10 * time.Second)
		same(t, "after", v.ask(path), "200")
	})
}

// TestArchiveIsAskedByMany holds that files are the same whoever builds them, also when more are asked for than are kept.
func TestArchiveIsAskedByMany(t *testing.T) {
	served(t, Options{Symbols: 40, Rate: 10, Seed: 3}, func(t *testing.T, e *Exchange, v *visitor) {
		names := e.Symbols()[:shelfSize+4]
		sums := make([][]string, 3)
		var all sync.WaitGroup
		for i := range sums {
			sums[i] = make([]string, len(names))
			for n, name := range names {
				all.Go(func() { sums[i][n] = v.file(archivePath(name, "1h", "2026-11-22") + ".CHECKSUM") })
			}
		}
		all.Wait()
		for i := range sums {
			same(t, "checksums", strings.Join(sums[i], ""), strings.Join(sums[0], ""))
		}
		same(t, "kept", fmt.Sprint(len(e.shelf.files), len(e.shelf.order)), fmt.Sprint(shelfSize, shelfSize))
	})
}

package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"klined/market"
)

// The archive is another host's at the real exchange (data.binance.vision): no limit of REST is about it, and of REST's
// faults those whose path begins as its own. It holds klines alone: the past has no fills, so there are no files of
// aggTrades and trades.
const (
	archiveRoot   = "/data"
	archiveKlines = archiveRoot + "/futures/um/"
	checksumExt   = ".CHECKSUM"
)

// archiveAt is the time of day at which files appear.
const archiveAt = 8*market.Hour + 30*market.Minute

// archiveFolder is one of the archive's: each of its files covers a day or a month, and appears on the first day or
// Monday after it, or when the last of its klines is over: one of 3d may run longer.
type archiveFolder struct {
	layout           string // of the time in a file's name
	covers, appearOn interval
}

var archiveFolders = map[string]archiveFolder{
	"daily":   {time.DateOnly, interval{length: market.Day}, interval{length: market.Day}},
	"monthly": {"2006-01", interval{}, interval{length: 7 * market.Day, anchor: mondayAnchor}},
}

// archiveFile is a file of official klines.
type archiveFile struct {
	folder, name string // the name is without .zip
	s            *symbol
	iv           interval
	span         market.Span // in which its klines open
	appears      market.Time // when its day has come and its klines are over
	how          string      // it is wrong, as a fault wants it; "" is right
}

// archiveFile reads the path of a file of klines, or of its checksum:
//
//	/data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-22.zip
//	/data/futures/um/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2026-10.zip.CHECKSUM
func (e *Exchange) archiveFile(path string) (f archiveFile, checksum, ok bool) {
	path, checksum = strings.CutSuffix(path, checksumExt)
	path, below := strings.CutPrefix(path, archiveKlines)
	parts := strings.Split(path, "/")
	if !below || len(parts) != 5 || parts[1] != "klines" {
		return f, false, false
	}
	folder, known := archiveFolders[parts[0]]
	s := e.find(parts[2])
	iv, served := archiveInterval(parts[3])
	if !known || s == nil || !served || folder.covers.shorter(iv) {
		return f, false, false
	}
	name, zipped := strings.CutSuffix(parts[4], ".zip")
	date, named := strings.CutPrefix(name, parts[2]+"-"+parts[3]+"-")
	from, err := time.Parse(folder.layout, date)
	if !zipped || !named || err != nil {
		return f, false, false
	}
	span := market.Span{From: market.TimeOf(from), To: folder.covers.next(market.TimeOf(from))}
	appears := max(folder.appearOn.ceil(span.To), iv.next(span.To-1)) + archiveAt
	return archiveFile{folder: parts[0], name: name, s: s, iv: iv, span: span, appears: appears}, checksum, true
}

// archiveInterval reads an interval by its name in the archive, which does not tell names by case: the month is 1mo.
func archiveInterval(name string) (interval, bool) {
	if name == "1mo" {
		name = "1M"
	} else if name == "1M" {
		return interval{}, false
	}
	return exchangeInterval(name)
}

// serveArchive answers a GET or HEAD of a file, or of a part of one, a latency away.
func (e *Exchange) serveArchive(w http.ResponseWriter, r *http.Request) {
	travel(r.Context(), e.askDelay())
	f, checksum, named := e.archiveFile(r.URL.Path)
	refused, late := e.troubleREST(r.URL.Path, addressOf(r.RemoteAddr))
	var body []byte
	if named && refused == nil {
		body = e.archiveBody(f, checksum)
	}
	head := w.Header()
	head.Set("Date", e.Now().Std().Format(http.TimeFormat))
	travel(r.Context(), late+e.askDelay())
	w = &archiveAnswer{w, func(status int) { e.countArchive(f.folder, checksum, status) }}
	switch {
	case refused != nil:
		refuseArchive(w, refused)
	case body == nil:
		missArchive(w, r.URL.Path)
	default:
		head.Set("Content-Type", "application/zip")
		if checksum {
			head.Set("Content-Type", "binary/octet-stream")
		}
		head.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(body)))
		http.ServeContent(w, r, "", f.appears.Std(), bytes.NewReader(body))
	}
}

// archiveBody is what a file or its checksum holds; nil where there is none.
func (e *Exchange) archiveBody(f archiveFile, checksum bool) []byte {
	if e.Now() < f.appears || e.player != nil {
		return nil
	}
	if t, wrong := e.misled(FaultArchiveWrong, f.s); wrong {
		f.how, _ = t.way(keyOf(0, f.name))
	}
	if f.how == howMissing {
		return nil
	}
	body := e.shelf.file(f, func() []byte { return f.build(e.look(f.s)) })
	if body == nil || !checksum {
		return body
	}
	sum := sha256.Sum256(body)
	if f.how == howChecksum {
		sum[0]++
	}
	return fmt.Appendf(nil, "%x  %s.zip\n", sum, f.name)
}

// archiveError is a refusal as the archive has it.
type archiveError struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
	Key     string `xml:",omitempty"`
}

func (a *archiveError) write(w http.ResponseWriter, status int) {
	body, err := xml.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("sim: an error of the archive: %v", err)) // strings only
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write(append([]byte(xml.Header), body...))
}

func missArchive(w http.ResponseWriter, path string) {
	none := archiveError{Code: "NoSuchKey", Message: "The specified key does not exist.", Key: strings.TrimPrefix(path, "/")}
	none.write(w, http.StatusNotFound)
}

// refuseArchive answers as a fault of REST would have it.
func refuseArchive(w http.ResponseWriter, refused *apiError) {
	if refused.page != "" {
		refused.writePage(w)
		return
	}
	if refused.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(refused.retry))
	}
	slow := archiveError{Code: "SlowDown", Message: "Please reduce your request rate."}
	slow.write(w, refused.status)
}

// archiveAnswer tells the status of an answer before it goes out.
type archiveAnswer struct {
	http.ResponseWriter
	tell func(status int)
}

func (a *archiveAnswer) WriteHeader(status int) {
	a.tell(status)
	a.ResponseWriter.WriteHeader(status)
}

func (e *Exchange) countArchive(folder string, checksum bool, status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case checksum:
		e.asked.Checksums++
	case folder == "daily":
		e.asked.Daily++
	case folder == "monthly":
		e.asked.Monthly++
	}
	e.asked.Statuses[status]++
}

// shelfSize is how many files are kept, those that were built last.
const shelfSize = 16

// shelf keeps built files. Its mutex is not held while one is built.
type shelf struct {
	mu    sync.Mutex
	files map[archiveFile]func() []byte
	order []archiveFile // oldest first
}

// file is a file's bytes, built by the first who asks for them while the others wait.
func (s *shelf) file(f archiveFile, build func() []byte) []byte {
	s.mu.Lock()
	get := s.files[f]
	if get == nil {
		get = sync.OnceValue(build)
		s.files[f], s.order = get, append(s.order, f)
	}
	if len(s.order) > shelfSize {
		delete(s.files, s.order[0])
		s.order = s.order[1:]
	}
	s.mu.Unlock()
	return get()
}

package binance

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"klined/health"
	"klined/market"
)

// stallTimeout is how long a download may bring nothing.
const stallTimeout = 30 * time.Second

// ErrNoFile says that the archive has no such file: not yet, or never.
var ErrNoFile = errors.New("the archive has no such file")

// ArchiveOptions say where the exchange's archive is.
type ArchiveOptions struct {
	Base    string       // DefaultArchive where empty; without a path
	HTTP    *http.Client // one of our own where nil
	Symbols *market.Symbols
	Metrics *health.Metrics
	Log     *slog.Logger
}

// Archive reads the exchange's archive of past klines, which costs no weight. Its methods may be called from any
// goroutine.
type Archive struct {
	o   ArchiveOptions
	log *slog.Logger
}

// NewArchive makes a client; it asks nothing yet.
func NewArchive(o ArchiveOptions) *Archive {
	if o.Base == "" {
		o.Base = DefaultArchive
	}
	o.Base = strings.TrimSuffix(o.Base, "/")
	if o.HTTP == nil {
		o.HTTP = &http.Client{}
	}
	return &Archive{o: o, log: logOrNone(o.Log, "history")}
}

// Klines is the klines of series in the archive's file of span, a calendar month or a UTC day: official and settled, by
// open time. What the file lacks, or holds in rows that cannot be read, are not of it or contradict each other, is
// absent. The error is ErrNoFile where there is no such file, and for 3d, 1w and 1M of a day.
func (a *Archive) Klines(ctx context.Context, series market.Series, span market.Span) ([]market.Kline, error) {
	symbol := a.o.Symbols.Get(series.Symbol)
	file, err := archivePath(symbol.Name, series.Interval, span)
	if err != nil {
		return nil, err
	}
	rows, err := a.read(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", file, err)
	}
	klines, faults := archiveKlines(rows, series.Interval, span)
	if faults.first != "" {
		a.log.Warn("rows of an archive file were left out", "file", file, "unreadable", faults.unreadable, "misplaced", faults.misplaced,
			"duplicate", faults.duplicate, "contradictory", faults.contradictory, "first", faults.first)
	}
	return klines, nil
}

// Probe asks the archive for a small file that it must have: the checksum of a great symbol's day, two days before now.
func (a *Archive) Probe(ctx context.Context, now market.Time) error {
	day := market.OneDay.Open(now - 2*market.Day)
	file, err := archivePath("BTCUSDT", market.OneDay, market.Span{From: day, To: market.OneDay.Next(day)})
	if err != nil {
		return err
	}
	if _, err := a.get(ctx, file+".CHECKSUM"); err != nil {
		return fmt.Errorf("GET %s.CHECKSUM: %w", file, err)
	}
	return nil
}

// archivePath is the path of the file that holds the klines of span. The archive writes 1M as 1mo.
func archivePath(symbol string, iv market.Interval, span market.Span) (string, error) {
	around := func(iv market.Interval) market.Span {
		return market.Span{From: iv.Open(span.From), To: iv.Next(span.From)}
	}
	period, date, longest := "daily", time.DateOnly, market.OneDay
	switch span {
	case around(market.OneDay):
	case around(market.OneMonth):
		period, date, longest = "monthly", "2006-01", market.OneMonth
	default:
		return "", fmt.Errorf("archive of %s to %s: want a calendar month or a UTC day", span.From, span.To)
	}
	date = span.From.Std().Format(date)
	if !iv.OnExchange() || iv > longest {
		return "", fmt.Errorf("%s %s of %s: %w", symbol, iv, date, ErrNoFile)
	}
	interval := iv.String()
	if iv == market.OneMonth {
		interval = "1mo"
	}
	return fmt.Sprintf("/data/futures/um/%s/klines/%s/%s/%s-%s-%s.zip", period, symbol, interval, symbol, interval, date), nil
}

// read is what a file holds.
func (a *Archive) read(ctx context.Context, file string) ([]byte, error) {
	packed, err := a.verified(ctx, file)
	if err != nil {
		return nil, err
	}
	held, err := unzip(packed)
	if err != nil {
		return nil, fmt.Errorf("cannot unzip: %w", err)
	}
	return held, nil
}

// verified downloads a file that is what its checksum says: at the second try where it was replaced between the two
// questions of the first.
func (a *Archive) verified(ctx context.Context, file string) (packed []byte, err error) {
	for range 2 {
		if packed, err = a.get(ctx, file); err != nil {
			return nil, err
		}
		said, err2 := a.get(ctx, file+".CHECKSUM")
		if errors.Is(err2, ErrNoFile) {
			return nil, errors.New("it has no .CHECKSUM")
		}
		if err2 != nil {
			return nil, fmt.Errorf("its .CHECKSUM: %w", err2)
		}
		if err = checkSum(packed, said); err == nil {
			return packed, nil
		}
	}
	return nil, err
}

// checkSum holds a file against what sha256sum wrote of it: its sum in hexadecimal, a space, its name.
func checkSum(packed, said []byte) error {
	digits, _, _ := bytes.Cut(said, []byte(" "))
	want, err := hex.DecodeString(string(digits))
	if err != nil || len(want) != sha256.Size {
		return fmt.Errorf("its .CHECKSUM has no sha256: %s", shown(said))
	}
	if sum := sha256.Sum256(packed); !bytes.Equal(sum[:], want) {
		return fmt.Errorf("its sha256 is %x, where its .CHECKSUM says %x", sum, want)
	}
	return nil
}

// get downloads a file.
func (a *Archive) get(ctx context.Context, file string) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallTimeout, func() {
		cancel(fmt.Errorf("nothing came for %s: %w", stallTimeout, context.DeadlineExceeded))
	})
	defer stall.Stop()
	address := a.o.Base + (&url.URL{Path: file}).EscapedPath()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := a.o.HTTP.Do(request)
	if err != nil {
		countRequest(a.o.Metrics, "archive", "error")
		return nil, transport(ctx, err)
	}
	defer answer.Body.Close()
	stall.Reset(stallTimeout)
	countRequest(a.o.Metrics, "archive", strconv.Itoa(answer.StatusCode))
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, ErrNoFile
	default:
		return nil, &APIError{Status: answer.StatusCode, Msg: http.StatusText(answer.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(&alive{answer.Body, stall}, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the answer: %w", transport(ctx, err))
	case len(body) > maxBody:
		return nil, fmt.Errorf("more than %d bytes", maxBody)
	}
	return body, nil
}

// alive puts off the end of a download whenever something comes.
type alive struct {
	io.Reader
	stall *time.Timer
}

func (a *alive) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.stall.Reset(stallTimeout)
	}
	return n, err
}

// unzip is the text of the one file within a zip file.
func unzip(packed []byte) ([]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, err
	}
	if len(z.File) != 1 {
		return nil, fmt.Errorf("%d files in it, want one", len(z.File))
	}
	f, err := z.File[0].Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBody+1))
	if err == nil && len(text) > maxBody {
		err = fmt.Errorf("more than %d bytes", maxBody)
	}
	return text, err
}

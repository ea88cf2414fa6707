package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"klined/fixed"
	"klined/market"
	"klined/serve"
	"klined/store"
)

// restRows is how many klines the store has of the series, restAsked how many a request asks for.
const (
	restRows  = 1500
	restAsked = 500
)

var klinesRow = subject{
	name: "rest_klines", unit: "µs CPU/request", what: "a request for 500 klines that are in memory, lane and window, on one kept connection, unpacked",
	baseline: "the same rows through encoding/json, net/http",
	open: func(ctx context.Context, o Options) (*pair, error) {
		r, err := openRest(ctx, o)
		if err != nil {
			return nil, err
		}
		requests := o.scaled(2000, 2)
		return &pair{
			value:    func(context.Context) (sample, error) { return r.cost(r.server.address, requests, false) },
			baseline: func(context.Context) (sample, error) { return r.cost(r.plain.Addr().String(), requests, false) },
			close:    r.close,
		}, nil
	},
}

// rest is a server with a store, and one that answers as it is usually written; who asks is a process of its own.
type rest struct {
	server  *server
	plain   net.Listener
	process *PeerProcess
	close   func()
}

func openRest(ctx context.Context, o Options) (r *rest, err error) {
	r = &rest{}
	dir, err := os.MkdirTemp("", "klined-bench-")
	if err != nil {
		return nil, err
	}
	closes := []func(){func() { _ = os.RemoveAll(dir) }}
	r.close = func() {
		for i := range closes {
			closes[len(closes)-1-i]()
		}
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	kept, err := restStore(filepath.Join(dir, "klined"))
	if err != nil {
		return nil, err
	}
	closes = append(closes, func() { _ = kept.Close() })
	if r.server, err = startServer(serve.Options{Live: newRecent(), Store: kept}); err != nil {
		return nil, err
	}
	closes = append(closes, r.server.stop)
	if r.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	plain := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(plainKlines)}
	go func() { _ = plain.Serve(r.plain) }()
	closes = append(closes, func() { _ = plain.Close() })
	if r.process, err = startPeer(ctx, o, "asker", askerPeer{}); err != nil {
		return nil, err
	}
	closes = append(closes, r.process.stop)
	return r, nil
}

// restStore has the rows of one series, settled but the last, complete up to the running minute.
func restStore(dir string) (*store.Store, error) {
	s, err := store.Open(store.Options{Dir: dir, Window: 64 << 20})
	if err == nil {
		if err = s.SaveSymbols(registry().All()); err == nil {
			series := market.Series{Interval: market.OneMinute}
			rows := restKlines()
			s.Fetched(series, market.Span{From: restFrom, To: rows[len(rows)-1].OpenTime + market.Minute}, rows)
			s.Put(&market.Changes{UpTo: rows[len(rows)-1].OpenTime + market.Minute})
			err = s.Flush(context.Background())
		}
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return s, err
}

// cost is what a request costs this process, asked so many times.
func (r *rest) cost(address string, requests int, packed bool) (sample, error) {
	ask := func(n int) error {
		return r.process.ask(fmt.Sprintf("%d %t %s /fapi/v1/klines?symbol=%s&interval=1m&limit=%d", n, packed, address, symbolName(0), restAsked), "answered")
	}
	if err := ask(1); err != nil { // the window has it from then on
		return sample{}, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	spent := cpu()
	err := ask(requests)
	spent = cpu() - spent
	runtime.ReadMemStats(&after)
	return sample{value: micros(spent) / float64(requests), allocs: float64(after.Mallocs-before.Mallocs) / float64(requests)}, err
}

// askerPeer asks in a process of its own. It is told
//
//	N PACKED ADDRESS PATH   and says answered when it has been, one request after the other over one connection
type askerPeer struct{}

func (o *askerPeer) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		answer := "answered"
		if err := o.ask(ctx, lines.Text()); err != nil {
			answer = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (o *askerPeer) ask(ctx context.Context, line string) error {
	var n int
	var packed bool
	var address, path string
	if _, err := fmt.Sscan(line, &n, &packed, &address, &path); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for range n {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			return err
		}
		least := int64(restAsked * 100)
		if packed {
			request.Header.Set("Accept-Encoding", "gzip")
			least = 1000
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		size, err := io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if err == nil && (answer.StatusCode != http.StatusOK || size < least) {
			err = fmt.Errorf("status %d, %d bytes", answer.StatusCode, size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restFrom is when the first of the rows opens.
const restFrom = minute - restRows*market.Minute

// restKlines are klines as a busy symbol has them.
func restKlines() []market.Kline {
	rows := make([]market.Kline, restRows)
	for i := range rows {
		k := market.EmptyKline(restFrom+market.Time(i)*market.Minute, 83_084*fixed.One+fixed.Value(i)*fixed.One/10)
		k.High, k.Volume, k.TakerBuyVolume = k.High+fixed.One, (fixed.One * 13).Sum(), (fixed.One * 6).Sum()
		k.QuoteVolume, k.TakerBuyQuoteVolume = fixed.Mul(k.High, 13*fixed.One), fixed.Mul(k.Open, 6*fixed.One)
		k.TradeCount, k.FirstID, k.LastID, k.State = 1027, 8153633367, 8153634393, market.StateSettled
		rows[i] = k
	}
	return rows
}

// recent implements serve.Live with the last hour's minutes, and the running one.
type recent struct {
	idle
	rows []market.Kline
}

func newRecent() *recent {
	rows := restKlines()[restRows-60:]
	running := rows[59]
	running.OpenTime, running.State = minute, market.StateOpen
	return &recent{rows: append(rows, running)}
}

// Tail implements serve.Live.
func (l *recent) Tail(_ context.Context, dst []market.Kline, _ market.Series, _ market.Time) ([]market.Kline, error) {
	return append(dst, l.rows...), nil
}

// plainRows are what the plain server answers from; they never change.
var plainRows = restKlines()[restRows-restAsked:]

// plainKlines answers the same rows as it is usually written.
func plainKlines(w http.ResponseWriter, _ *http.Request) {
	rows := plainRows
	out := make([][]any, len(rows))
	for i := range rows {
		k := &rows[i]
		out[i] = []any{int64(k.OpenTime), k.Open.String(), k.High.String(), k.Low.String(), k.Close.String(), k.Volume.String(),
			int64(market.OneMinute.Next(k.OpenTime)) - 1, k.QuoteVolume.String(), k.TradeCount, k.TakerBuyVolume.String(), k.TakerBuyQuoteVolume.String(), "0"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

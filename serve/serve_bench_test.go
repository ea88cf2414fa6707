package serve

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"klined/fixed"
	"klined/market"
)

// discard takes an answer and forgets it.
type discard struct {
	header http.Header
	bytes  int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { d.bytes += len(p); return len(p), nil }

// busyRun is klines as BTCUSDT has them.
func busyRun(from market.Time, n int) []market.Kline {
	rows := make([]market.Kline, n)
	for i := range rows {
		k := &rows[i]
		*k = market.EmptyKline(from+market.Time(i)*market.Minute, fixed.MustParse("83084.9"))
		k.High, k.Low, k.Close = fixed.MustParse("83091.7"), fixed.MustParse("83051.2"), fixed.MustParse("83091.6")
		k.Volume, _ = fixed.ParseSum("13.551")
		k.QuoteVolume, _ = fixed.ParseSum("1125714.7396")
		k.TakerBuyVolume, _ = fixed.ParseSum("6.426")
		k.TakerBuyQuoteVolume, _ = fixed.ParseSum("533856.6686")
		k.FirstID, k.LastID, k.TradeCount, k.State = 8153633367, 8153634395, 1027, market.StateClosed
	}
	return rows
}

func BenchmarkRESTKlines500(b *testing.B) {
	now := at("12:00:30")
	w := newWorld(b, fixedClock(now))
	w.live.rows[minutes(btc)] = busyRun(market.OneMinute.Open(now)-499*market.Minute, 500)
	w.store.known[minutes(btc)] = []market.Span{{From: 0, To: now}}
	handler, req := w.Handler(), httptest.NewRequest(http.MethodGet, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=500", nil)
	req.RemoteAddr = "127.0.0.1:1000" // what comes from elsewhere is bounded
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		d := &discard{header: make(http.Header)}
		handler.ServeHTTP(d, req)
		size = d.bytes
	}
	if size < 500*100 {
		b.Fatalf("the answer has %d bytes", size)
	}
	b.SetBytes(int64(size))
}

func BenchmarkEncodeEvent(b *testing.B) {
	w := newWorld(b, fixedClock(at("12:00:30")))
	t := newKlineTopic(w.hub, minutes(btc))
	u := market.Update{Series: minutes(btc), Kline: busyRun(at("12:00:00"), 1)[0]}
	b.ReportAllocs()
	for b.Loop() {
		t.encode(&u, "btcusdt@kline_1m", plain, true, running, nil)
	}
}

// sink is a connection that takes everything at once.
type sink struct {
	net.Conn
	bytes *atomic.Int64
	once  sync.Once
	done  chan struct{}
}

func (s *sink) Write(p []byte) (int, error)      { s.bytes.Add(int64(len(p))); return len(p), nil }
func (s *sink) RemoteAddr() net.Addr             { return nil }
func (s *sink) Read([]byte) (int, error)         { <-s.done; return 0, net.ErrClosed }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Close() error                     { s.once.Do(func() { close(s.done) }); return nil }

// BenchmarkFanout pushes the closes of 8 series to 100 clients and waits until the last byte is written.
func BenchmarkFanout(b *testing.B) {
	w := newWorld(b, stdClock{})
	var bytes atomic.Int64
	var names []string
	intervals := market.ExchangeIntervals()[:8]
	for _, iv := range intervals {
		names = append(names, fmt.Sprintf("btcusdt@kline_%s", iv))
	}
	var sinks []*sink
	for range 100 {
		s := &sink{bytes: &bytes, done: make(chan struct{})}
		sinks = append(sinks, s)
		w.hub.start(s, bufio.NewReader(s), wanted{names: names})
	}
	until(b, "all subscribe", func() bool { return w.subscribers(intervals) == 100*len(intervals) })
	changes := market.Changes{}
	for _, iv := range intervals {
		changes.Updates = append(changes.Updates, market.Update{Series: market.Series{Symbol: btc, Interval: iv}, Kline: busyRun(at("12:00:00"), 1)[0]})
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range changes.Updates {
			u := &changes.Updates[i]
			u.OpenTime = u.Interval.Next(u.OpenTime)
		}
		w.Publish(&changes)
		for w.hub.queued.Load() > 0 {
			time.Sleep(10 * time.Microsecond)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100*len(intervals)), "ns/frame")
	b.StopTimer()
	for _, s := range sinks {
		_ = s.Close()
	}
}

func (w *world) subscribers(intervals []market.Interval) (n int) {
	for _, iv := range intervals {
		t := w.hub.klinesOf(market.Series{Symbol: btc, Interval: iv})
		t.mu.Lock()
		n += len(t.list)
		t.mu.Unlock()
	}
	return n
}

// TestEncodeAllocates holds the encoder to what it needs: nothing for rows, the frame itself for events.
func TestEncodeAllocates(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:30")))
	sym, rows := w.opt.Symbols.Get(btc), busyRun(at("12:00:00"), 100)
	dst := make([]byte, 0, 100*200)
	if n := testing.AllocsPerRun(100, func() { dst = appendRows(dst[:0], rows, market.OneMinute, &sym) }); n != 0 {
		t.Errorf("rows: %v allocations", n)
	}
	if !strings.HasPrefix(string(dst), "[[") {
		t.Error("no rows")
	}
	topic, u := newKlineTopic(w.hub, minutes(btc)), market.Update{Series: minutes(btc), Kline: rows[0]}
	if n := testing.AllocsPerRun(100, func() { topic.encode(&u, "btcusdt@kline_1m", plain, true, closing, nil) }); n > 3 {
		t.Errorf("an event: %v allocations", n)
	}
}

// TestDeliveryAllocates: a close takes its frame, however many take it.
func TestDeliveryAllocates(t *testing.T) {
	w := newWorld(t, fixedClock(at("12:00:30")))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	const clients = 100
	done := make(chan struct{})
	defer close(done)
	for range clients {
		c := prompt{&writes{done: done}, null}
		w.hub.start(c, bufio.NewReader(c), wanted{names: []string{"btcusdt@kline_1m"}})
	}
	until(t, "all subscribe", func() bool { return w.hub.taken() == clients })
	changes := market.Changes{Updates: []market.Update{{Series: minutes(btc), Kline: busyRun(at("12:00:00"), 1)[0]}}}
	n := testing.AllocsPerRun(200, func() {
		u := &changes.Updates[0]
		u.OpenTime = u.Interval.Next(u.OpenTime)
		w.Publish(&changes)
		until(t, "all have it", func() bool { return w.hub.queued.Load() == 0 })
	})
	if n > clients/10 {
		t.Errorf("%v allocations for %d clients", n, clients)
	}
	t.Logf("%v allocations", n)
}

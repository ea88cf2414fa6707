package sim

import (
	"net"
	"testing"
	"time"
)

// sink is a socket that takes everything.
type sink struct{ memConn }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) Close() error                     { return nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*sink)(nil)

// deaf subscribes a connection that no one reads to streams.
func (e *Exchange) deaf(path string, names ...string) *conn {
	c := e.connect(&sink{}, path, "", true)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		c.set[name] = true
		c.names = append(c.names, name)
		e.subscribe(c, name)
	}
	return c
}

// BenchmarkTrade is one aggTrade generated, summed, encoded and queued for two connections, with kline_1m for all.
func BenchmarkTrade(b *testing.B) {
	e := newExchange(b, Options{Symbols: 800, Rate: 8000, Seed: 1, Straddle: DefaultStraddle, Burn: DefaultBurn})
	var names, klines []string
	for _, s := range e.symbols {
		names = append(names, s.lower+"@aggTrade")
		klines = append(klines, s.lower+"@kline_1m")
	}
	conns := []*conn{e.deaf(pathMarket, names...), e.deaf(pathMarket, names...), e.deaf(pathMarket, klines...)}
	b.ReportAllocs()
	now := at
	for b.Loop() {
		target := e.live.trades + 1
		for e.live.trades < target {
			now += 5
			e.mu.Lock()
			e.advance(now)
			e.pushKlines(now)
			e.mu.Unlock()
			for _, c := range conns {
				c.queue = c.queue[:0]
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(e.live.trades), "ns/trade")
	b.ReportMetric(float64(e.live.happened)/float64(e.live.trades), "fills/trade")
}

// BenchmarkPastMinute is a minute of the past, drawn as part of a day.
func BenchmarkPastMinute(b *testing.B) {
	e := newExchange(b, Options{Symbols: 40, Seed: 1})
	s := e.symbols[5]
	v := s.look(at)
	day := s.begin
	n := 0
	for b.Loop() {
		clear(s.days)
		r := v.day(day)
		if r.count == 0 {
			b.Fatal("an empty day")
		}
		n += 1440
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/minute")
}

// BenchmarkStart is 62 daily klines of 800 symbols.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		e := newExchange(b, Options{Symbols: 800, Seed: 1})
		day, _ := parseInterval("1d")
		for _, s := range e.symbols {
			s.look(at).klines(day, window{limit: 62})
		}
	}
}

// BenchmarkArchiveMonth is a file of a month's minutes.
func BenchmarkArchiveMonth(b *testing.B) {
	e := newExchange(b, Options{Symbols: 40, Seed: 1})
	f, _, _ := e.archiveFile(archivePath("ETHUSDT", "1m", "2026-10"))
	for b.Loop() {
		b.SetBytes(int64(len(f.build(f.s.look(at)))))
	}
}

package feed

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// TestRelayFull: where the drainer is so late that there is no room, those who take trades are told once, each of them, and go on
// with what comes after the next drain.
func TestRelayFull(t *testing.T) {
	var r relays
	big := bytes.Repeat([]byte{'x'}, relayKept/4)
	for range 5 {
		r.add(1, big)
	}
	r.add(2, []byte("small"))
	r.add(2, []byte("small"))
	var got []string
	taken := r.take(nil)
	for _, x := range taken {
		got = append(got, fmt.Sprint(x.Symbol, len(x.Payload)))
	}
	n := relayKept / 4
	if want := []string{fmt.Sprint(1, n), fmt.Sprint(1, n), fmt.Sprint(1, n), fmt.Sprint(1, n), "1 0", "2 0"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	r.add(2, []byte("again"))
	if taken = r.take(taken); len(taken) != 1 || string(taken[0].Payload) != "again" {
		t.Errorf("after a drain: %v", taken)
	}
}

// TestRelayAllocates: relaying takes no memory once there is some.
func TestRelayAllocates(t *testing.T) {
	y, s := runningLane(t, 50, market.ExchangeIntervals())
	for id := range market.SymbolID(50) {
		y.f.WatchTrades(id, true)
	}
	payload := bytes.Repeat([]byte{'x'}, 150)
	var b market.Batch
	round := func() {
		s.fill(&b, 100)
		b.Payloads = b.Payloads[:0]
		for range b.Trades {
			b.Payloads = append(b.Payloads, payload)
		}
		y.l.take(y.conns[0], &b)
		y.l.take(y.conns[1], &b)
		y.l.collect(&y.c, &y.w)
		if len(y.c.Relayed) != 100 {
			t.Fatalf("%d relayed", len(y.c.Relayed))
		}
	}
	for range 20 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for 100 trades", n)
	}
}

// TestRelayUnwatched: nothing is kept of symbols that nobody takes, nor of what is held.
func TestRelayUnwatched(t *testing.T) {
	y, s := runningLane(t, 2, market.ExchangeIntervals())
	var b market.Batch
	s.fill(&b, 100)
	for range b.Trades {
		b.Payloads = append(b.Payloads, []byte("x"))
	}
	y.f.WatchTrades(0, true)
	y.f.WatchTrades(0, true)
	y.f.WatchTrades(0, false)
	y.f.WatchTrades(99, true)
	y.l.take(y.conns[0], &b)
	if y.l.relays.symbols != 0 || len(y.l.relays.waiting)+len(y.l.relays.text) != 0 {
		t.Errorf("%+v", y.l.relays)
	}
}

// TestRelayLeftAndTaken: what waits when a symbol is left is not for those who take it next, nor that there was no room for some.
func TestRelayLeftAndTaken(t *testing.T) {
	y, s := runningLane(t, 2, market.ExchangeIntervals())
	var b market.Batch
	n := 0
	bring := func() {
		s.fill(&b, 20)
		b.Payloads = b.Payloads[:0]
		for _, trade := range b.Trades {
			b.Payloads = append(b.Payloads, fmt.Appendf(nil, "%d of symbol %d", n, trade.SymbolID))
		}
		n++
		y.l.take(y.conns[0], &b)
	}
	y.f.WatchTrades(0, true)
	y.f.WatchTrades(1, true)
	bring()
	y.f.WatchTrades(0, false)
	bring()
	y.f.WatchTrades(0, true)
	bring()
	y.l.relays.lose(0)
	y.f.WatchTrades(0, false)
	y.f.WatchTrades(0, true)
	bring()
	y.l.collect(&y.c, &y.w)
	var got []string
	for _, r := range y.c.Relayed {
		got = append(got, string(r.Payload))
	}
	slices.Sort(got)
	got = slices.Compact(got)
	if want := []string{"0 of symbol 1", "1 of symbol 1", "2 of symbol 1", "3 of symbol 0", "3 of symbol 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRelayOnItsWay: a symbol is left once what has been drained for those who took it has been handed on.
func TestRelayOnItsWay(t *testing.T) {
	y, s := runningLane(t, 1, market.ExchangeIntervals())
	var b market.Batch
	s.fill(&b, 1)
	b.Payloads = [][]byte{[]byte("x")}
	y.f.WatchTrades(0, true)
	y.l.take(y.conns[0], &b)
	drained, handed, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	y.f.drain = func(*market.Changes) {
		close(drained)
		<-handed
	}
	go y.l.drainOnce(&y.c, &y.w)
	<-drained
	go func() {
		y.f.WatchTrades(0, false)
		close(left)
	}()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-left:
		t.Error("left while its trades are on their way")
	default:
	}
	close(handed)
	<-left
}

// TestTickersOfOneConnection: what the witness brings leaves as it came; while its connection is replaced both bring it, and each
// leaves once, whichever of them is first.
func TestTickersOfOneConnection(t *testing.T) {
	for _, c := range []struct {
		name  string
		reads string // A: the old connection, B: its successor, and the frame that it brings
		want  []string
	}{
		{"the old one is first", "Aa Ab Bb Bc", []string{"a", "b", "c"}},
		{"the successor is first", "Aa Bb Bc", []string{"a", "b", "c"}},
		{"the old one is far ahead", "Aa Ab Ac Bc Bd", []string{"a", "b", "c", "d"}},
	} {
		t.Run(c.name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { rotateTickers(t, c.reads, c.want) }) })
	}
}

func rotateTickers(t *testing.T, reads string, want []string) {
	var got []string
	r := newRig(t, 1, func(o *Options) {
		o.DialTickers, o.Rotate = o.DialKlines, time.Hour
		o.Tickers = func(b *market.Batch) {
			if rows := string(bytes.Join(b.Rows, nil)); rows != string(bytes.Join(b.Summaries, nil)) {
				t.Errorf("rows %s of another summary", rows)
			}
			got = append(got, string(bytes.Join(b.Rows, nil)))
		}
	})
	conns := map[byte]*conn{'A': r.v.conn("tickers")}
	for _, read := range strings.Fields(reads) {
		if read[0] == 'B' && conns['B'] == nil {
			r.at(time.Hour)
			conns['B'] = r.v.conn("tickers")
		}
		frame := [][]byte{[]byte(read[1:])}
		conns[read[0]].batches <- market.Batch{Ready: true, Tickers: []market.Ticker{{Time: market.Time(read[1])}}, Rows: frame, Summaries: frame}
		synctest.Wait()
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

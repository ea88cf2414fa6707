package feed

import (
	"bytes"
	"fmt"
	"slices"
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

// TestTickersOfOneConnection: rows leave as they came; while their connection is replaced, those of the old one until it ends.
func TestTickersOfOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		r := newRig(t, 1, func(o *Options) {
			o.DialTickers, o.Rotate = o.DialKlines, time.Hour
			o.Tickers = func(b *market.Batch) {
				got = append(got, fmt.Sprintf("%s %s", bytes.Join(b.Summaries, nil), bytes.Join(b.Rows, nil)))
			}
		})
		row := func(name string) market.Batch {
			return market.Batch{Ready: true, Tickers: []market.Ticker{{}}, Rows: [][]byte{[]byte(name)}, Summaries: [][]byte{[]byte("[" + name + "]")}}
		}
		r.bring("tickers", row("a"))
		r.bring("tickers", market.Batch{Ready: true})
		old := r.v.conn("tickers")
		r.at(time.Hour)
		if r.v.conn("tickers") == old {
			t.Fatal("it has not been replaced")
		}
		old.batches <- row("b")
		synctest.Wait()
		r.bring("tickers", row("b")) // the successor's first: now the old one ends
		r.bring("tickers", row("c"))
		if want := []string{"[a] a", "[b] b", "[c] c"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

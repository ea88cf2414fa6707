package binance

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"klined/market"
	"klined/tape"
)

// TestStreamRecords: every message is handed to who records as it came, decoded or not, with the time that the batch has.
func TestStreamRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			_, _ = p.control()
			_, _ = p.conn.Write(compiled(ws.NewPingFrame([]byte("1"))))
			_, _, _ = p.frame() // the pong
			_ = p.send(string(ack(1)), aggFrame, "not JSON", klineOpen)
			time.Sleep(time.Second)
			_ = p.send(aggDoc)
			p.acknowledge()
		}
		var got []string
		var at []time.Time
		v := e.venue(registry(), market.SourceAggTrade)
		v.o.Record = func(conn string, received time.Time, frame []byte) {
			got, at = append(got, conn+" "+string(frame)), append(at, received)
		}
		s, err := v.DialTrades(t.Context(), "a1", firstIDs(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close("done") })
		var b market.Batch
		began := time.Now()
		for len(got) < 5 {
			if err := s.Read(&b); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"a1 " + string(ack(1)), "a1 " + aggFrame, "a1 not JSON", "a1 " + klineOpen, "a1 " + aggDoc}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if !at[0].Equal(began) || !at[4].Equal(b.Received) || b.Received.Sub(began) != time.Second {
			t.Errorf("received at %v, the last batch at %v", at, b.Received)
		}
	})
}

// BenchmarkDrain is a frame's way from the read buffer through decode, and what recording adds to it. The recorder's writer works
// while the clock stands: that is not the reader's time.
func BenchmarkDrain(b *testing.B) {
	const frames, reads = 300, 15 // a little less than wakes the writer
	text := bytes.Repeat(ws.MustCompileFrame(ws.NewTextFrame([]byte(aggFrame))), frames)
	flushed := make(chan struct{}, 1)
	recorder, err := tape.NewRecorder(tape.RecorderOptions{Dir: b.TempDir(), LeftOut: func(n int) { b.Errorf("%d frames left out", n) }, State: func(error) {
		select {
		case flushed <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer recorder.Close()
	for _, record := range []func(string, time.Time, []byte){nil, recorder.Add} {
		b.Run(map[bool]string{false: "off", true: "recorded"}[record != nil], func(b *testing.B) {
			src := &chunks{size: 1 << 20}
			s := &Stream{name: "trades-0-1", record: record, framer: newFramer(src, nil), decoder: NewDecoder(registry(), market.SourceAggTrade, nil, nil)}
			batch := market.Batch{Trades: make([]market.Trade, 0, frames)}
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				if i%reads == 0 {
					b.StopTimer()
					recorder.Add("c", time.Now(), make([]byte, 1<<20))
					<-flushed
					b.StartTimer()
				}
				src.text = text
				batch.Reset()
				if err := s.framer.fill(); err != nil {
					b.Fatal(err)
				}
				batch.Received = time.Now()
				if n, err := s.drain(&batch); n != frames || err != nil {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/frames, "ns/frame")
		})
	}
}

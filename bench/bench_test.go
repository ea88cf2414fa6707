package bench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"klined/feed"
	"klined/market"
)

// peerEnv tells this test's program to be the other end of connections, with these arguments.
const peerEnv = "BENCH_TEST_PEER"

func TestMain(m *testing.M) {
	if args := os.Getenv(peerEnv); args != "" {
		if err := ServePeer(context.Background(), os.Stdin, os.Stdout, strings.Split(args, "\x1f")); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func startTestPeer(ctx context.Context, args ...string) (*PeerProcess, error) {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"="+strings.Join(args, "\x1f"))
	return StartPeer(cmd)
}

// TestEveryRow: each row and its baseline measure something. How much is not looked at: the samples are far too small.
func TestEveryRow(t *testing.T) {
	if raced {
		t.Skip("rows are measured without the race detector")
	}
	names := []string{"decode", "path", "path_2_lanes", "socket", "socket_tls", "frame_to_push", "boundary", "store_commit", "rest_klines",
		"fanout_1000", "fanout_10000", "fanout_memory"}
	if !slices.Equal(Names(), names) {
		t.Fatalf("rows %v, want %v", Names(), names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			report, err := Run(t.Context(), Options{Rows: []string{name}, Rounds: 1, Scale: 200, Peer: startTestPeer})
			if err != nil || len(report.Rows) != 1 || report.Machine == "" {
				t.Fatal(report, err)
			}
			row := report.Rows[0]
			for what, v := range map[string]float64{"value": row.Value, "baseline": row.BaselineValue, "ratio": row.Ratio} {
				if !(v > 0) || math.IsInf(v, 0) {
					t.Errorf("%s is %v", what, v)
				}
			}
			if math.Abs(row.Ratio*row.Value-row.BaselineValue) > 1e-9*row.BaselineValue || row.Name != name || row.What == "" || row.Unit == "" || row.Baseline == "" {
				t.Errorf("%+v", row)
			}
			if strings.HasPrefix(name, "decode") && row.Allocs > 0.01 { // of the whole process
				t.Errorf("%v allocations a frame", row.Allocs)
			}
		})
	}
}

// TestCostWaits: what comes late, and seldom, is measured; what does not come is said.
func TestCostWaits(t *testing.T) {
	for _, c := range []struct {
		first, every time.Duration
		comes        bool
	}{{0, time.Millisecond, true}, {3 * time.Second, time.Second, true}, {time.Hour, time.Second, false}, {0, time.Hour, false}} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			one, err := costOf(10*time.Millisecond, func() float64 {
				sha256.Sum256(make([]byte, 64<<10)) // it costs something
				return math.Floor(float64(time.Since(began)-c.first)/float64(c.every)) + 1
			})
			if (err == nil) != c.comes || c.comes && !(one.value > 0) {
				t.Errorf("from %s on, every %s: %v, %v", c.first, c.every, one.value, err)
			}
		})
	}
}

// TestFramesGoOn: the frames that come again are the next trades: each symbol's ids rise by one.
func TestFramesGoOn(t *testing.T) {
	f := newFrames(namesOf(0, 1), 500)
	d := jsonDecoder(t)
	last := map[string]int64{}
	for range 3 {
		for i := range f.at {
			trade := d(f.payload(i))
			if before, ok := last[trade.Symbol]; ok && trade.ID != before+1 {
				t.Fatalf("%s: %d after %d", trade.Symbol, trade.ID, before)
			}
			last[trade.Symbol] = trade.ID
		}
		f.again()
	}
}

// TestFeedMemory: engine and feed of 800 symbols and the exchange's 15 intervals take at most 64 MiB.
func TestFeedMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	f, err := newFeed(4, func(context.Context, string, []market.SymbolID) (feed.Conn, error) { return nil, context.Canceled }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if mib := float64(heap()-before) / (1 << 20); mib < 40 || mib > 64 {
		t.Errorf("%.1f MiB", mib)
	} else {
		t.Logf("%.1f MiB", mib)
	}
	runtime.KeepAlive(f)
}

// BenchmarkPath: bytes in memory to 15 exact klines of 800 symbols, through decode, symbol, sequence, lane lock and engine.
func BenchmarkPath(b *testing.B) {
	trades := (b.N + framesARead - 1) / framesARead * framesARead
	b.SetBytes(int64(newFrames(namesOf(0, 1), pathFrames).size()))
	b.ReportAllocs()
	one, err := pathOver(b.Context(), 1, trades)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(one.value, "ns/trade")
	b.ReportMetric(one.allocs, "allocs/trade")
}

func jsonDecoder(t *testing.T) func([]byte) jsonTrade {
	return func(text []byte) (trade jsonTrade) {
		if err := json.Unmarshal(text, &trade); err != nil {
			t.Fatal(err)
		}
		return trade
	}
}

// BenchmarkSocket: CPU from saturated loopback sockets to 15 exact klines, and of reading the same bytes alone.
func BenchmarkSocket(b *testing.B) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		b.Run(name, func(b *testing.B) {
			p, err := openSocket(b.Context(), Options{Peer: startTestPeer}, secure)
			if err != nil {
				b.Fatal(err)
			}
			defer p.close()
			value, err := p.value(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(value.value, "ns-CPU/trade")
		})
	}
}

// BenchmarkAsk is what one request for 500 klines in memory costs the server's process, plain and packed.
func BenchmarkAsk(b *testing.B) {
	for name, packed := range map[string]bool{"plain": false, "gzip": true} {
		b.Run(name, func(b *testing.B) {
			r, err := openRest(b.Context(), Options{Peer: startTestPeer})
			if err != nil {
				b.Fatal(err)
			}
			defer r.close()
			one, err := r.cost(r.server.address, b.N, packed)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(one.value, "µs-CPU/op")
			b.ReportMetric(one.allocs, "allocs/op")
		})
	}
}

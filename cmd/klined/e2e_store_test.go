//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"klined/market"
	"klined/store"
)

// TestE2EKill kills the process while its symbols are waiting, when the closes of an hour are on their way to the disk,
// and at a random moment, when it had stopped dead and its service manager heard no sign of life; and starts it again at once. What was closed before is served as before, and no client hears it
// twice.
func TestE2EKill(t *testing.T) {
	t.Parallel()
	first := seed(t)
	t.Logf("KLINED_SEED=%d make e2e", first)
	random := rand.New(rand.NewPCG(first, 3))
	hear, env := underManager(t)
	r := startRig(t, rigOptions{start: "2027-01-05T10:58:00Z", source: market.SourceTrade, env: env})
	hour := at(t, "2027-01-05T11:00:00Z")
	from, pushed := hour-market.Hour, map[string]row{}
	for _, kill := range []struct {
		what  string
		at    market.Time
		close time.Duration // so long after the first close that follows; 0: at once
		dead  bool          // it has stopped dead: the service manager ends it
	}{
		{"while symbols are waiting", r.now() + market.Time(2000+random.IntN(8000)), 0, false},
		{"within a second after a boundary", hour, time.Duration(1+random.IntN(400)) * time.Millisecond, false},
		{"stopped dead at a random moment", hour + market.Time(4000+random.IntN(40_000)), 0, true},
	} {
		r.said("READY=1", hear)
		if kill.close > 0 {
			if first := firstWhole(t, r.server, r.judge); first >= kill.at {
				t.Fatalf("the server, started a second time, sees the first whole minute from %s on: too late for the closes of %s", first, kill.at)
			}
		}
		heard := r.listen("")
		r.until(kill.at - market.Second)
		before := r.closed(from, r.now())
		r.until(kill.at)
		if kill.close > 0 {
			r.poll("a close", 10*time.Second, func() bool { return len(heard.of(kill.at)) > 0 })
			time.Sleep(kill.close)
		}
		if kill.dead {
			r.deadlyStop(hear)
		}
		_ = r.server.end(syscall.SIGKILL)
		heard.close()
		for key, k := range heard.all() {
			if _, twice := pushed[key]; twice {
				t.Errorf("%s was pushed as final by two processes", key)
			}
			pushed[key], before[key] = k, k
		}
		killed := r.now()
		t.Logf("killed %s, at %s: %d klines were served as closed, %d of them not on disk", kill.what, killed, len(before), r.unsaved(before))
		r.serve()
		after := r.closed(from, killed)
		for key, k := range before {
			if after[key] != k {
				t.Errorf("%s:\n  before %s\n  after  %s", key, k.values(), after[key].values())
			}
		}
		v, err := r.judge.each(r.symbols, r.o.ivs, from, killed, func(symbol string, iv market.Interval, k row) (row, bool) {
			k, served := after[keyOf(symbol, iv, k.open)]
			return k, served
		})
		must(t, "after the kill", v, err)
	}
	r.healed(nil)
	if err := r.server.end(syscall.SIGTERM); err != nil {
		t.Errorf("stopped by SIGTERM: %v", err)
	}
	r.said("STOPPING=1", hear)
}

// unsaved is how many of the klines the store of the process that was killed does not hold.
func (r *rig) unsaved(klines map[string]row) (n int) {
	r.t.Helper()
	dir := r.t.TempDir() // a copy: opening the store changes it
	if err := os.CopyFS(dir, os.DirFS(r.o.dir)); err != nil {
		r.t.Fatal(err)
	}
	st, err := store.Open(store.Options{Dir: dir, Intervals: r.o.ivs, Source: r.o.source})
	if err != nil {
		r.t.Fatal(err)
	}
	defer st.Close()
	ids := map[string]market.SymbolID{}
	for _, s := range st.Symbols() {
		ids[s.Name] = s.ID
	}
	for key := range klines {
		var symbol, interval string
		var open market.Time
		if _, err := fmt.Sscan(key, &symbol, &interval, &open); err != nil {
			r.t.Fatal(err)
		}
		iv, err := market.ParseInterval(interval)
		if err != nil {
			r.t.Fatal(err)
		}
		rows, _, err := st.Read(context.Background(), market.Series{Symbol: ids[symbol], Interval: iv}, market.Span{From: open, To: open + 1})
		if err != nil {
			r.t.Fatal(err)
		}
		n += 1 - len(rows)
	}
	return n
}

// of are the klines that ended at a time and were heard as final; all are those of any time.
func (a *audience) of(end market.Time) (keys []string) {
	for key, k := range a.all() {
		iv, err := market.ParseInterval(strings.Fields(key)[1])
		if err == nil && iv.Next(k.open) == end {
			keys = append(keys, key)
		}
	}
	return keys
}

func (a *audience) all() map[string]row {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]row{}
	for key, events := range a.finals {
		all[key] = events[len(events)-1].row
	}
	return all
}

// TestE2EDiskFull fills the disk of the store: klines are served from memory, operators are told, and when there is room
// again nothing has been lost.
func TestE2EDiskFull(t *testing.T) {
	t.Parallel()
	disk := ownDisk(t)
	r := startRig(t, rigOptions{start: "2027-01-05T10:58:45Z", source: market.SourceTrade, dir: filepath.Join(disk, "store"),
		intervals: "5s," + intervalList(market.ExchangeIntervals())})
	heard := r.listen("?revisions=1")
	r.first = max(r.first, market.OneMinute.Ceil(r.now()+5*market.Second)) // by then all that closes every 5 s is heard
	r.until(r.first.Add(10 * time.Second))
	r.calm(3 * time.Minute)
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	full := r.now()
	var parts string
	r.poll("/healthz says 503", 90*time.Second, func() bool { parts = r.health(); return parts != "" })
	t.Logf("/healthz: %s", parts)
	for range 2 {
		r.until(market.OneMinute.Next(r.now()).Add(3 * time.Second))
		r.right("from memory", r.first, r.now()-3*market.Second)
	}
	st := r.status().Store
	t.Logf("disk full since %s: %d rows wait: %s", full, st.OutboxRows, st.State)
	if st.Disk == store.StateOK || st.FreeBytes > 1<<20 {
		t.Errorf("the disk is %s, %d bytes are free", st.Disk, st.FreeBytes)
	}
	if waiting := r.metric("klined_store_outbox_rows"); waiting == 0 || st.OutboxRows == 0 || !strings.Contains(parts, "full") {
		t.Errorf("%v rows wait in the metric, %d in the status, /healthz %s", waiting, st.OutboxRows, parts)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.poll("all is durable", 90*time.Second, func() bool { st = r.status().Store; return st.State == store.StateOK && st.OutboxRows == 0 })
	t.Logf("all was durable %s after there was room", time.Since(began).Round(10*time.Millisecond))
	r.poll("/healthz says 200", 90*time.Second, func() bool { return r.health() == "" })
	again := `works again" target=life component=disk` // which is looked at every few seconds
	r.poll("the disk works again", 90*time.Second, func() bool { return strings.Contains(r.server.output(), again) })
	for _, line := range []string{"cannot write, klines are kept in memory", "writing goes again", `does not work" target=life component=disk`, again} {
		if n := strings.Count(r.server.output(), line); n != 1 {
			t.Errorf("the log says %d times %q", n, line)
		}
	}
	end := r.healed(heard)
	if err := r.server.end(syscall.SIGINT); err != nil {
		t.Errorf("stopped by SIGINT: %v", err)
	}
	v, err := r.judge.stored(serveOptions{Dir: r.o.dir, Intervals: r.o.ivs, Source: r.o.source}, r.symbols, r.first, end, false)
	must(t, "stored", v, err)
	r.serve()
	r.right("after a restart", r.first, end)
}

// ownDisk is a small disk that nobody else writes to.
func ownDisk(t *testing.T) string {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("cannot mount a disk of its own (that takes root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %s: %v", disk, err)
		}
	})
	return disk
}

// fill takes all the room of a disk.
func fill(t *testing.T, ballast string) {
	t.Helper()
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, block := range []int{1 << 20, 4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, block))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// health is why the process does not work, as it says itself; empty while it works.
func (r *rig) health() string {
	r.t.Helper()
	resp, err := r.judge.client.Get(r.judge.server + "/healthz")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode == 200 {
		return ""
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.Join(strings.Fields(string(body)), " "))
}

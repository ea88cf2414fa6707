//go:build e2e

package main

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"klined/market"
)

// TestE2ECut cuts both connections of every lane again and again, at the boundary of an hour too. An ordinary client gets
// each kline once.
func TestE2ECut(t *testing.T) {
	t.Parallel()
	for _, source := range []market.Source{market.SourceAggTrade, market.SourceTrade} {
		t.Run(source.String(), func(t *testing.T) {
			t.Parallel()
			r := startRig(t, rigOptions{start: "2027-01-05T10:58:45Z", source: source})
			ordinary, revised := r.listen(""), r.listen("?revisions=1")
			trades, all := `{"kind":"disconnect",`+r.trades()+`}`, `{"kind":"disconnect"}`
			cut := 0
			for _, step := range []struct {
				after time.Duration // the first boundary
				fault string
			}{
				{8 * time.Second, trades},
				{9500 * time.Millisecond, trades},
				{58800 * time.Millisecond, all},
				{60300 * time.Millisecond, trades},
				{75 * time.Second, trades},
			} {
				r.until(r.first.Add(step.after))
				cut += len(r.fault(step.fault))
			}
			r.until(r.first.Add(80 * time.Second))
			end := r.healed(revised)
			ordinary.close()
			v, marked, err := ordinary.once(r.judge, r.symbols, r.o.ivs, r.first, end)
			must(t, "pushed once", v, err)
			t.Logf("%d of them lacked trades, and said so", marked)
			gaps, again := r.status().Gaps, r.metric("klined_reconnects_total")
			t.Logf("%d connections cut, %v dialled again, gaps %v", cut, again, gaps)
			if gaps["seen"] == 0 || again < float64(cut) {
				t.Errorf("%d connections cut, %v dialled again, %d gaps seen", cut, again, gaps["seen"])
			}
		})
	}
}

// TestE2ESilence lets all streams of trades fall silent across a boundary, then one connection: each time the server
// notices though all sockets stay open, and dials again.
func TestE2ESilence(t *testing.T) {
	t.Parallel()
	r := startRig(t, rigOptions{start: "2027-01-05T10:58:45Z", source: market.SourceAggTrade})
	heard := r.listen("?revisions=1")
	for _, silence := range []struct {
		what  string
		after time.Duration // the first boundary
		fault func() string
	}{
		{"all streams of trades", 50 * time.Second, func() string { return `{"kind":"silence","seconds":20,` + r.trades() + `}` }},
		{"one connection of two", 85 * time.Second, func() string {
			conns := r.fault(`{"kind":"silence","seconds":0.001,` + r.trades() + `}`) // which carry trades
			return fmt.Sprintf(`{"kind":"silence","seconds":120,"conn":%d}`, conns[0])
		}},
	} {
		r.until(r.first.Add(silence.after))
		before := r.metric("klined_reconnects_total", `reason="silent"`)
		conns := r.fault(silence.fault())
		began := time.Now()
		r.poll(silence.what+": dialled again", 40*time.Second, func() bool {
			return r.metric("klined_reconnects_total", `reason="silent"`) > before
		})
		t.Logf("%s (%d of the exchange's) silent, dialled again after %s", silence.what, len(conns), time.Since(began).Round(10*time.Millisecond))
	}
	r.healed(heard)
	if gaps := r.status().Gaps; gaps["seen"] == 0 {
		t.Error("no gap was seen: nothing was silent")
	}
}

// TestE2ERefused cuts connections while REST, the only way to heal here, answers 429 and then 418: what is missing waits,
// nothing is asked while the exchange wants us to wait, and all is healed afterwards.
func TestE2ERefused(t *testing.T) {
	t.Parallel()
	r := startRig(t, rigOptions{start: "2027-01-05T10:58:45Z", source: market.SourceAggTrade})
	heard := r.listen("?revisions=1")
	after := func(d time.Duration) { r.until(r.first.Add(d)) }
	cut := func() { r.fault(`{"kind":"disconnect",` + r.trades() + `}`) }
	asked := func(status ...string) float64 { return r.metric("klined_rest_requests_total", status...) }
	refused := func() float64 { return asked(`status="429"`) + asked(`status="418"`) }
	after(15 * time.Second)
	r.fault(`{"kind":"silence","stream":"@kline","seconds":100}`)

	for _, storm := range []struct {
		what, status, fault string
		begins, ends        time.Duration // the time in which nothing may be asked
	}{
		// Its Retry-After ends with the minute, then one question shows that it goes on.
		{"429", `status="429"`, `{"kind":"rest_429","seconds":45}`, 20 * time.Second, 60 * time.Second},
		{"418", `status="418"`, `{"kind":"rest_418","seconds":30}`, 64 * time.Second, 94 * time.Second},
	} {
		after(storm.begins)
		r.fault(storm.fault)
		cut()
		r.poll("the first answer "+storm.what, 20*time.Second, func() bool { return asked(storm.status) > 0 })
		before, since := asked(), time.Now()
		r.poll("what was on its way is answered: nothing for 3 s", 15*time.Second, func() bool {
			if n := asked(); n != before {
				before, since = n, time.Now()
			}
			return time.Since(since) > 3*time.Second
		})
		after((storm.begins + storm.ends) / 2)
		cut()
		after(storm.ends - 3*time.Second)
		if left := asked() - before; left > 0 {
			t.Errorf("%v requests left while the exchange answered %s", left, storm.what)
		}
		if r.status().Gaps["open"] == 0 {
			t.Errorf("no gap is open: nothing had to wait for the end of %s", storm.what)
		}
	}
	t.Logf("%v of %v requests were refused", refused(), asked())
	if refused() > 20 {
		t.Errorf("%v requests were refused: the exchange bans who is refused more than 20 times", refused())
	}
	after(100 * time.Second)
	r.healed(heard)
}

// TestE2EStandstill stops the process for 90 s across the boundary of an hour. An ordinary client that reads all the time
// gets each kline once and in order.
func TestE2EStandstill(t *testing.T) {
	t.Parallel()
	hour := at(t, "2027-01-05T11:00:00Z")
	for _, c := range []struct {
		name string
		o    rigOptions
		stop time.Duration // to the hour
		lost bool          // the exchange cuts connections, for more is sent than sockets and exchange hold
	}{
		{"all is held for it", rigOptions{source: market.SourceTrade, rate: 100}, 15 * time.Second, false},
		{"cut off meanwhile", rigOptions{source: market.SourceAggTrade, rate: 3000, serve: []string{"--lanes", "2"}}, 45 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.o.start, c.o.sees = "2027-01-05T10:58:40Z", hour-market.Minute
			r := startRig(t, c.o)
			ordinary, revised := r.listen(""), r.listen("?revisions=1")
			for _, step := range []struct {
				at     market.Time
				signal syscall.Signal
			}{{hour.Add(-c.stop), syscall.SIGSTOP}, {hour.Add(90*time.Second - c.stop), syscall.SIGCONT}} {
				r.until(step.at)
				if err := r.server.cmd.Process.Signal(step.signal); err != nil {
					t.Fatal(err)
				}
			}
			r.until(hour.Add(95*time.Second - c.stop))
			end := r.healed(revised)
			ordinary.close()
			if gaps := r.status().Gaps["seen"]; gaps > 0 != c.lost {
				t.Errorf("%d gaps were seen", gaps)
			}
			v, marked, err := ordinary.once(r.judge, r.symbols, r.o.ivs, r.first, end)
			must(t, "pushed once", v, err)
			t.Logf("%d of them lacked trades, and said so", marked)
			if order := ordinary.disorder(); !c.lost && len(order)+marked > 0 { // what lacks trades may wait to be healed
				t.Errorf("out of order: %v", order)
			}
		})
	}
}

// once judges the pushes to an ordinary client: each kline that ended after from and by to came exactly once, and is the
// truth or says that it lacks trades; those are counted.
func (a *audience) once(j *judge, symbols []string, ivs []market.Interval, from, to market.Time) (v *verdict, marked int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, err = j.each(symbols, ivs, from, to, func(symbol string, iv market.Interval, truth row) (row, bool) {
		got := a.finals[keyOf(symbol, iv, truth.open)]
		if len(got) == 1 && got[0].state == "closed+gap" {
			marked++
			return truth, true
		}
		if len(got) != 1 {
			return row{open: market.Time(len(got))}, len(got) > 0
		}
		return got[0].row, true
	})
	return v, marked, err
}

// disorder is the klines that came after a later one of their series.
func (a *audience) disorder() (keys []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	type event struct {
		series string
		pushed
	}
	var all []event
	for key, events := range a.finals {
		for _, p := range events {
			all = append(all, event{key[:len(key)-len(fmt.Sprint(int64(p.open)))], p})
		}
	}
	slices.SortFunc(all, func(x, y event) int { return x.place - y.place })
	newest := map[string]market.Time{}
	for _, e := range all {
		if e.open <= newest[e.series] {
			keys = append(keys, e.series+e.open.String())
		}
		newest[e.series] = max(newest[e.series], e.open)
	}
	return keys
}

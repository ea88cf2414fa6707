//go:build soak

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"klined/market"
)

// TestSoakMonths runs the server at full size, with its defaults, as it is to run for months: something goes wrong every minute,
// symbols are listed, with notice and without, and delisted. Every kline is the exchange's own at last, also those of
// what came and went; memory and goroutines stay as they are; it stops in time, and nothing is lost by that.
func TestSoakMonths(t *testing.T) {
	first, minutes := seed(t), number(t, "KLINED_MINUTES", 30)
	t.Logf("KLINED_SEED=%d KLINED_MINUTES=%d make soak", first, minutes)
	m := &months{random: rand.New(rand.NewPCG(first, 6)), ends: make(map[string]market.Time), rig: startRig(t, rigOptions{
		start: "2027-01-05T23:50:20Z", symbols: 800, rate: 8000, seed: first,
		serve: []string{"--settle", "on", "--grace", "auto", "--backfill", "1500", "--rest-weight", "1200"}})}
	m.plan(minutes)
	m.symbols = append(m.symbols, m.comers...) // who takes their streams before they are there gets them from their first kline on
	ordinary, revised := m.listen(""), m.listen("?revisions=1")
	m.live(minutes)
	if t.Failed() {
		t.FailNow()
	}
	all := m.symbols
	m.symbols = m.whole()
	m.calm(5 * time.Minute)
	m.symbols = all
	end := m.now() - 5*market.Second
	m.judged(end, ordinary, revised)
	m.flat()
	m.stopped(end)
}

// months is a rig that is watched for long.
type months struct {
	*rig
	random *rand.Rand
	events []event                // in their order
	comers []string               // are listed meanwhile
	ends   map[string]market.Time // when those that are delisted end
	looks  []look
}

// event is something that happens at the exchange.
type event struct {
	at    time.Duration // since the first boundary
	fault string
	skew  time.Duration // what the exchange's clock steps by
	ends  string        // the symbol that is delisted by it
	after time.Duration // then
}

// look is what the process takes at one moment.
type look struct {
	at         time.Time
	rss        float64 // MiB
	heap       float64 // MiB in use
	goroutines float64
	cpu        time.Duration // so far
}

// plan chooses what happens: a trouble every 20 to 70 s, a listing or a delisting every two minutes, nothing in the last three.
func (m *months) plan(minutes int) {
	end := time.Duration(minutes-3) * time.Minute
	for at := 30 * time.Second; at < end; at += time.Duration(20+m.random.IntN(50)) * time.Second {
		m.events = append(m.events, m.trouble(at))
	}
	for n := 0; time.Duration(n)*2*time.Minute+90*time.Second < end; n++ {
		at := time.Duration(n)*2*time.Minute + time.Duration(60+m.random.IntN(30))*time.Second
		if n%3 == 2 {
			name := m.symbols[2+m.random.IntN(len(m.symbols)-2)]
			if _, twice := m.ends[name]; twice {
				continue
			}
			m.ends[name] = 0
			m.events = append(m.events, event{at: at, fault: fmt.Sprintf(`{"kind":"delist","symbol":%q,"seconds":20}`, name), ends: name, after: 20 * time.Second})
			continue
		}
		name := fmt.Sprintf("NEW%dUSDT", n)
		if n == 1 {
			name = "新币USDT"
		}
		m.comers = append(m.comers, name)
		m.events = append(m.events, event{at: at, fault: fmt.Sprintf(`{"kind":"list","symbol":%q,"seconds":%d}`, name, n%3*45)})
	}
	slices.SortStableFunc(m.events, func(a, b event) int { return int(a.at - b.at) })
}

// trouble is a fault by chance.
func (m *months) trouble(at time.Duration) event {
	if m.random.IntN(12) == 0 {
		step := m.random.IntN(400) - 200
		return event{at: at, fault: fmt.Sprintf(`{"kind":"clock_skew","ms":%d}`, step), skew: time.Duration(step) * time.Millisecond}
	}
	trades := m.trades()
	faults := []string{
		`{"kind":"disconnect"}`,
		`{"kind":"disconnect",` + trades + `}`,
		fmt.Sprintf(`{"kind":"disconnect","stream":%q}`, strings.ToLower(m.symbols[m.random.IntN(len(m.symbols))])+"@aggTrade"),
		`{"kind":"silence","seconds":4,` + trades + `}`,
		`{"kind":"silence","seconds":15,` + fmt.Sprintf(`"symbol":%q}`, m.symbols[m.random.IntN(len(m.symbols))]),
		`{"kind":"drop","percent":1,"seconds":5,` + trades + `}`,
		`{"kind":"duplicate","percent":30,"seconds":10}`,
		`{"kind":"reorder","percent":20,"seconds":10}`,
		`{"kind":"garbage","n":50}`,
		`{"kind":"rest_429","seconds":5}`,
		`{"kind":"rest_500","seconds":20}`,
		`{"kind":"rest_slow","seconds":20,"delay":2}`,
	}
	return event{at: at, fault: faults[m.random.IntN(len(faults))]}
}

// live lets the time pass, and looks at the process every minute.
func (m *months) live(minutes int) {
	m.t.Helper()
	next := m.first
	for _, e := range append(m.events, event{at: time.Duration(minutes) * time.Minute}) {
		for ; next < m.first.Add(e.at); next += market.Minute {
			m.until(next)
			m.look()
		}
		m.until(m.first.Add(e.at))
		if e.fault == "" {
			return
		}
		m.t.Logf("%s: %s", m.now(), e.fault)
		m.fault(e.fault)
		if e.ends != "" {
			m.ends[e.ends] = m.now().Add(e.after)
		}
		m.ahead += e.skew
	}
}

// look notes what the process takes, and how it stands.
func (m *months) look() {
	m.t.Helper()
	l := look{at: time.Now(), rss: m.server.memory("VmRSS"), heap: m.metric("go_memstats_heap_inuse_bytes") / (1 << 20), goroutines: m.metric("go_goroutines"), cpu: m.cpu()}
	share := ""
	if n := len(m.looks); n > 0 {
		share = fmt.Sprintf(", %.0f %% of a core", 100*(l.cpu-m.looks[n-1].cpu).Seconds()/l.at.Sub(m.looks[n-1].at).Seconds())
	}
	m.looks = append(m.looks, l)
	st := m.status()
	m.t.Logf("%s: RSS %.0f MiB, heap %.0f MiB, %.0f goroutines%s; symbols %v, gaps %v, %d trades", m.now(), l.rss, l.heap, l.goroutines, share,
		st.Symbols, st.Gaps, st.Trades)
}

// cpu is the processor time that the process has taken so far.
func (m *months) cpu() time.Duration {
	m.t.Helper()
	return time.Duration(m.metric("process_cpu_seconds_total") * float64(time.Second))
}

// whole are the symbols that have not been delisted.
func (m *months) whole() []string {
	return slices.DeleteFunc(slices.Clone(m.symbols), func(name string) bool { return m.ends[name] != 0 })
}

// judged holds everything that closed up to the end against the truth: as REST answers, as it was pushed last, and that it was
// pushed as final once.
func (m *months) judged(end market.Time, ordinary, revised *audience) {
	m.t.Helper()
	ordinary.close()
	revised.close()
	m.judge.everyWay(m.t, "all", m.whole(), m.o.ivs, m.first, end, ordinary, revised)
	for name, at := range m.ends {
		m.judge.everyWay(m.t, name+", delisted at "+at.String(), []string{name}, m.o.ivs, m.first, at-market.Second, ordinary, revised)
	}
}

// everyWay holds the klines of symbols against the truth, by every way that clients get them.
func (j *judge) everyWay(t *testing.T, what string, symbols []string, ivs []market.Interval, from, to market.Time, ordinary, revised *audience) {
	t.Helper()
	v, err := j.compare(symbols, ivs, from, to, false)
	must(t, what+": REST", v, err)
	v, err = revised.newest(j, symbols, ivs, from, to)
	must(t, what+": pushed last", v, err)
	twice := 0
	for s, span := range closes(symbols, ivs, from, to) {
		for open := span.From; open < span.To; open = s.iv.Next(open) {
			if len(ordinary.finals[keyOf(s.symbol, s.iv, open)]) > 1 {
				twice++
			}
		}
	}
	if twice > 0 {
		t.Errorf("%s: %d klines were pushed as final more than once", what, twice)
	}
}

// flat holds the last third of what was seen against the middle one: neither memory nor goroutines grow.
func (m *months) flat() {
	m.t.Helper()
	third := len(m.looks) / 3
	mean := func(figures []float64) (sum float64) {
		for _, f := range figures {
			sum += f / float64(len(figures))
		}
		return sum
	}
	least := func(figures []float64) float64 { return slices.Min(figures) } // right behind a collection
	middle, last := m.looks[third:2*third], m.looks[2*third:]
	for _, f := range []struct {
		name string
		of   func(look) float64
		all  func([]float64) float64
		most float64 // times as much
	}{
		{"MiB resident", func(l look) float64 { return l.rss }, mean, 1.25}, // the caches of SQLite's connections fill with the past
		{"MiB of heap in use", func(l look) float64 { return l.heap }, least, 1.2},
		{"goroutines", func(l look) float64 { return l.goroutines }, mean, 1.25}, // connections that are dialled have some
	} {
		figure := func(looks []look) float64 {
			var figures []float64
			for _, l := range looks {
				figures = append(figures, f.of(l))
			}
			return f.all(figures)
		}
		a, b := figure(middle), figure(last)
		m.t.Logf("%s: %.0f, then %.0f", f.name, a, b)
		if b > f.most*a {
			m.t.Errorf("%s grew from %.0f to %.0f", f.name, a, b)
		}
	}
	begin, end := m.looks[third], m.looks[len(m.looks)-1]
	m.t.Logf("%.1f %% of a core", 100*(end.cpu-begin.cpu).Seconds()/end.at.Sub(begin.at).Seconds())
}

// stopped stops the server under full load, and holds what it leaves on the disk against the truth.
func (m *months) stopped(end market.Time) {
	m.t.Helper()
	began := time.Now()
	if err := m.server.end(syscall.SIGTERM); err != nil {
		m.t.Errorf("stopped by SIGTERM: %v", err)
	}
	took := time.Since(began)
	m.t.Logf("stopped in %s", took.Round(time.Millisecond))
	if took > 5*time.Second {
		m.t.Errorf("it took %s to stop", took)
	}
	v, err := m.judge.stored(serveOptions{Dir: m.o.dir, Intervals: m.o.ivs, Source: m.o.source}, append(m.whole()[:100], m.comers...), m.first, end, false)
	must(m.t, "stored", v, err)
}

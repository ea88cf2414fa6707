//go:build soak

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"klined/market"
)

// TestSoakMatrix lets two and three things at once go wrong, at random moments.
func TestSoakMatrix(t *testing.T) {
	m := newMatrix(seed(t))
	trials := number(t, "KLINED_PAIRS", 300)
	t.Logf("KLINED_SEED=%d KLINED_PAIRS=%d make soak", m.first, trials)
	for i := range trials {
		m.play(t, m.some(2+i%2)...)
	}
	t.Logf("%d trials, %d klines compared", m.trials, m.klines)
}

// TestSoakKill kills the process again and again, at random moments, on one store, while the exchange has troubles of its
// own now and then. What was served as closed is still served after each kill, never worse; at last every kline since the
// first start is the exchange's own.
func TestSoakKill(t *testing.T) {
	first, kills := seed(t), number(t, "KLINED_KILLS", 200)
	t.Logf("KLINED_SEED=%d KLINED_KILLS=%d make soak", first, kills)
	random := rand.New(rand.NewPCG(first, 4))
	source := []market.Source{market.SourceAggTrade, market.SourceTrade}[random.IntN(2)]
	s := &siege{
		rig:    startRig(t, rigOptions{start: "2027-01-05T09:57:40Z", source: source, symbols: 20, rate: 200, seed: first}),
		random: random,
		served: map[string]bool{},
	}
	began := s.now()
	_ = s.server.end(syscall.SIGKILL)
	for n := 0; n < kills && !t.Failed(); {
		if !s.life(n, began) {
			time.Sleep(time.Second) // as its supervisor would
			continue
		}
		if n++; n%10 == 0 || n == kills {
			t.Logf("%d kills, %d of them before it served, at %s; %d faults, %d starts in vain; %d answers of %d klines, %d refused",
				n, s.early, s.now(), s.faults, s.vain, s.answers, s.klines, s.refused)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	s.fault(`{"kind":"clear"}`)
	s.rig.serve()
	s.calm(5 * time.Minute)
	end := s.now() - 5*market.Second
	s.right("all since the first start", began, end)
	if err := s.server.end(syscall.SIGINT); err != nil {
		t.Errorf("stopped by SIGINT: %v", err)
	}
	v, err := s.judge.stored(serveOptions{Dir: s.o.dir, Intervals: s.o.ivs, Source: s.o.source}, s.symbols, began, end, true)
	must(t, "stored", v, err)
	if s.answers < kills {
		t.Errorf("%d answers in %d lives: too few to prove anything", s.answers, kills)
	}
}

// siege is a rig whose server is killed again and again.
type siege struct {
	*rig
	random *rand.Rand
	served map[string]bool // closed klines that have been served, and whether as the exchange's own; by keyOf
	asked  []market.Series // of the life before, by the symbols' places
	uneasy time.Time       // until when the exchange may refuse
	long   bool            // one of the next lives is to be long

	early, vain                      int // lives that ended before it served: killed, or by itself, for the exchange failed
	faults, answers, klines, refused int
}

// life starts the process and kills it; false where it ended by itself before it served.
func (s *siege) life(n int, began market.Time) bool {
	before, during := s.trouble()
	if before != "" {
		s.fault(before)
		s.uneasy = time.Now().Add(10 * time.Second)
	}
	p := begin(s.t, nil, serveAddress, s.serveArgs()...)
	span := s.span(n)
	until := time.Now().Add(span)
	var killed atomic.Bool
	kill := time.AfterFunc(span, func() {
		killed.Store(true)
		_ = p.cmd.Process.Kill()
	})
	defer kill.Stop()
	select {
	case addr := <-p.addr:
		s.server, s.judge = p, newJudge("http://"+addr, s.judge.exchange, network{})
		s.ask(began, during, until, &killed)
	case <-p.done:
		if killed.Load() {
			s.early++
			return true
		}
		if s.vain++; time.Now().After(s.uneasy) {
			s.t.Errorf("klined ended by itself: %v\n%s", p.err, p.output())
		}
		return false
	}
	<-p.done
	if s.t.Failed() {
		s.t.Logf("life %d of %s, trouble %q %q:\n%s", n, span, before, during, p.output())
	}
	return true
}

// span is how long a life lasts: mostly some seconds, until around a boundary where one is near, and now and then until
// the boundary after that, when the process is whole and closes klines of its own.
func (s *siege) span(n int) time.Duration {
	around := time.Duration(s.random.IntN(2000)-500) * time.Millisecond
	short := 200*time.Millisecond + time.Duration(s.random.Int64N(int64(5800*time.Millisecond)))
	now := s.now()
	near := market.OneMinute.Next(now).Sub(now)
	s.long = s.long || n%25 == 1
	switch {
	case s.long && near < 10*time.Second:
		s.long = false
		return near + time.Minute + around
	case near+around > 200*time.Millisecond && near < 6*time.Second:
		return near + around
	}
	return short
}

// trouble is what goes wrong at the exchange before or during a life; mostly nothing.
func (s *siege) trouble() (before, during string) {
	if s.random.IntN(6) > 0 {
		return "", ""
	}
	s.faults++
	rest := []string{
		`{"kind":"rest_500","seconds":2}`,
		`{"kind":"rest_429","seconds":2}`,
		`{"kind":"rest_418","seconds":2}`,
		`{"kind":"rest_slow","seconds":4,"delay":1}`,
	}
	wire := []string{
		`{"kind":"disconnect"}`,
		`{"kind":"disconnect",` + s.trades() + `}`,
		`{"kind":"silence","seconds":3,` + s.trades() + `}`,
		`{"kind":"silence","seconds":3}`,
		`{"kind":"duplicate","percent":50,"seconds":5}`,
		`{"kind":"reorder","percent":30,"seconds":5}`,
		`{"kind":"garbage","n":20}`,
	}
	if i := s.random.IntN(len(rest) + len(wire)); i < len(rest) {
		return rest[i], ""
	} else {
		return "", wire[i-len(rest)]
	}
}

// asks is how many series are asked for in one life at most, half of them those of the life before.
const asks = 8

// ask asks for closed klines until the process is killed.
func (s *siege) ask(began market.Time, trouble string, until time.Time, killed *atomic.Bool) {
	again := s.asked[:min(len(s.asked), asks/2)]
	s.asked = nil
	for i := 0; i < asks && !killed.Load(); i++ {
		series := market.Series{Symbol: market.SymbolID(s.random.IntN(len(s.symbols))), Interval: market.OneMinute}
		if s.random.IntN(2) == 0 {
			series.Interval = s.o.ivs[s.random.IntN(len(s.o.ivs))]
		}
		if i < len(again) {
			series = again[i]
		}
		if trouble != "" && i == asks/4 {
			s.fault(trouble)
			trouble = ""
		}
		switch err := s.look(series, began); {
		case err == nil:
			s.asked = append(s.asked, series)
		case killed.Load() || errors.Is(err, errComeAgain):
		default:
			s.t.Errorf("%s %s: %v", s.symbols[series.Symbol], series.Interval, err)
		}
		time.Sleep(min(time.Until(until)/asks, 10*time.Second)) // so that the answers are spread over its life
	}
}

// errComeAgain is an answer that says to come again: it is not wrong.
var errComeAgain = errors.New("refused")

// look asks for the closed klines of one series since the beginning and judges the answer.
func (s *siege) look(series market.Series, began market.Time) error {
	symbol, iv := s.symbols[series.Symbol], series.Interval
	from, to := iv.Open(began), iv.Open(s.now()-market.Second)
	if from >= to {
		return nil
	}
	q := url.Values{"symbol": {symbol}, "interval": {iv.String()}, "limit": {"1500"},
		"startTime": {fmt.Sprint(int64(from))}, "endTime": {fmt.Sprint(int64(to - 1))}}
	resp, err := s.judge.client.Get(s.judge.server + "/fapi/v1/klines?" + q.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500 && time.Now().Before(s.uneasy):
		s.refused++
		return errComeAgain
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	ours, err := parseRows(body)
	if err != nil {
		return err
	}
	truth, err := s.judge.truth(symbol, iv, from, to)
	if err != nil {
		return err
	}
	var settled, closed, open, marked int
	if _, err := fmt.Sscanf(resp.Header.Get("X-Klined-State"), "settled=%d,closed=%d,open=%d,gap=%d", &settled, &closed, &open, &marked); err != nil {
		return err
	}
	s.answers++
	return s.compare(symbol, iv, ours, truth, marked)
}

// compare holds an answer against the truth. No more klines may differ than are marked, and what was right stays right.
func (s *siege) compare(symbol string, iv market.Interval, ours, truth []row, marked int) error {
	opens := func(rows []row) (all []market.Time) {
		for _, k := range rows {
			all = append(all, k.open)
		}
		return all
	}
	if !slices.Equal(opens(ours), opens(truth)) {
		return fmt.Errorf("klines of %v, want %v", opens(ours), opens(truth))
	}
	for i := range ours {
		key, right := keyOf(symbol, iv, ours[i].open), ours[i] == truth[i]
		s.klines++
		if !right {
			marked--
		}
		if marked < 0 || !right && s.served[key] {
			return fmt.Errorf("%s, right before: %t, is\n  ours  %s\n  truth %s", ours[i].open, s.served[key], ours[i].values(), truth[i].values())
		}
		s.served[key] = right
	}
	return nil
}

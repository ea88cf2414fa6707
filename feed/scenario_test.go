package feed

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"klined/fixed"
	"klined/market"
)

var rewrite = flag.Bool("rewrite", false, "write what came into the scenario files")

// TestScenarios plays testdata/*.txt. A scenario says what two connections, A and B, bring of the symbols, and when;
// behind ---- stands what the feed handed on, each with the time when. Times are m:ss after the begin.
//
//	set KEY VALUE           intervals, source, symbols
//	begin                   both connect; at 1:02 every symbol is whole and has seen its trade 1
//	at 2:00.5               wait until then
//	A BTC 2 3=101 4=99x2@1:59.9
//	                        a read of A: ids, with price (100), quantity (1), time (100 ms ago). A~: not all acknowledged
//	AB BTC 2                a read of A, then the same of B
//	cut A, restore A        the connection ends, and is refused until it is restored
//	deaf A B                they do not answer pings
//	official BTC 1:00 PRICE COUNT FIRST-LAST [broken]
//	latest BTC 4            REST says that 4 is the newest id
//	has BTC 3=101@1:10 4    from now on REST has these trades; set rest lets the feed ask it
//	fails 3 MESSAGE         the next three questions to REST fail
//	row BTC 1:00 PRICE COUNT [confirmed]
//	                        REST brings an official 1m kline
//	ticks BTC PRICE VOLUME  a row of the venue's summary; set witness lets it come
//	take BTC, leave BTC     somebody wants its trades as they come, or nobody any more: 3/A is 3 as A brought it
//	last BTC                what it costs
//	show                    standings, gaps, counters
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play, want, _ := bytes.Cut(text, []byte("----\n"))
			var got string
			synctest.Test(t, func(t *testing.T) { got = newScenario(t).play(string(play)) })
			if *rewrite {
				if err := os.WriteFile(file, slices.Concat(play, []byte("----\n"), []byte(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" && !*rewrite {
				t.Error(d)
			}
		})
	}
}

// scenario is one file being played.
type scenario struct {
	*rig
	t       *testing.T
	symbols []string
	sets    []func(*Options)
	rest    restVenue
	out     strings.Builder
}

// restVenue is the REST side of a scenario's venue.
type restVenue struct {
	mu     sync.Mutex
	trades map[market.SymbolID][]market.Trade // by id
	fails  int
	why    error
	asked  int
}

// fail is the error of the next question, if it is to fail.
func (v *restVenue) fail() error {
	v.asked++
	if v.fails == 0 {
		return nil
	}
	v.fails--
	return v.why
}

func (v *restVenue) Trades(_ context.Context, id market.SymbolID, from int64, limit int) (found []market.Trade, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range v.trades[id] {
		if t.ID >= from && len(found) < limit {
			found = append(found, t)
		}
	}
	return found, v.fail()
}

func (v *restVenue) Latest(_ context.Context, id market.SymbolID) (int64, market.Time, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.trades[id]) == 0 {
		return 0, 0, v.fail()
	}
	t := v.trades[id][len(v.trades[id])-1]
	return t.ID, t.Time, v.fail()
}

// add lets REST have more trades; those of lower ids than it has begin anew.
func (v *restVenue) add(trades []market.Trade) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range trades {
		has := v.trades[t.SymbolID]
		if n := len(has); n > 0 && has[n-1].ID >= t.ID {
			has = nil
		}
		v.trades[t.SymbolID] = append(has, t)
	}
}

func newScenario(t *testing.T) *scenario {
	return &scenario{t: t, symbols: []string{"BTC"}, rest: restVenue{trades: map[market.SymbolID][]market.Trade{}}}
}

// play runs the lines and returns what came of them.
func (s *scenario) play(text string) string {
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(strings.SplitN(line, "#", 2)[0])
		if len(words) == 0 {
			continue
		}
		if err := s.do(words); err != nil {
			s.t.Fatalf("line %d, %q: %v", n+1, line, err)
		}
		s.print()
	}
	s.stop()
	s.print()
	return s.out.String()
}

func (s *scenario) do(words []string) error {
	if words[0] == "set" {
		return s.set(words[1], words[2:])
	}
	if s.rig == nil {
		s.rig = newRig(s.t, len(s.symbols), func(o *Options) {
			for _, set := range s.sets {
				set(o)
			}
		})
	}
	switch words[0] {
	case "begin":
		s.begin()
	case "at":
		d, err := parseClock(words[1])
		s.at(d)
		return err
	case "cut", "restore":
		for _, c := range words[1:] {
			s.connection(words[0], connName(c))
		}
	case "deaf":
		for _, c := range words[1:] {
			s.v.conn(connName(c)).dead.Store(true)
		}
	case "official":
		return s.kline(words[1:])
	case "latest":
		return s.latest(words[1], words[2])
	case "has":
		trades, err := s.parseTrades(words[1], words[2:])
		s.rest.add(trades)
		return err
	case "fails":
		n, err := strconv.Atoi(words[1])
		s.rest.mu.Lock()
		defer s.rest.mu.Unlock()
		s.rest.fails, s.rest.why = n, errors.New(strings.Join(words[2:], " "))
		if words[2] == "too-old" {
			s.rest.why = ErrTooOld
		}
		return err
	case "row":
		return s.row(words[1:])
	case "ticks":
		id, err := s.id(words[1])
		if err != nil {
			return err
		}
		volume, err := strconv.ParseInt(words[3], 10, 64)
		s.ticks(id, words[2], volume)
		return err
	case "take", "leave":
		id, err := s.id(words[1])
		s.f.WatchTrades(id, words[0] == "take")
		return err
	case "last":
		return s.last(words[1])
	case "show":
		s.show()
	default:
		return s.read(words[0], words[1], words[2:])
	}
	return nil
}

func (s *scenario) set(key string, values []string) error {
	switch key {
	case "symbols":
		s.symbols = values
	case "source":
		s.sets = append(s.sets, func(o *Options) { o.Source = market.SourceTrade })
	case "rest":
		s.sets = append(s.sets, func(o *Options) {
			o.Healer.Latest = s.rest.Latest
			if o.Source == market.SourceAggTrade {
				o.Healer.Trades = s.rest.Trades
			}
		})
	case "witness":
		s.sets = append(s.sets, func(o *Options) { o.DialTickers = o.DialKlines })
	case "settle":
		s.sets = append(s.sets, func(o *Options) { o.Settle = true })
	case "redundancy":
		s.sets = append(s.sets, func(o *Options) { o.Redundancy = 1 })
	case "intervals":
		var ivs []market.Interval
		for _, name := range values {
			iv, err := market.ParseInterval(name)
			if err != nil {
				return err
			}
			ivs = append(ivs, iv)
		}
		s.sets = append(s.sets, func(o *Options) { o.Intervals = ivs })
	default:
		return fmt.Errorf("unknown")
	}
	return nil
}

func connName(letter string) string { return fmt.Sprintf("trades-0.%d", letter[0]-'A') }

// connection cuts a connection, or restores it and waits until it is there.
func (s *scenario) connection(verb, name string) {
	if verb == "cut" {
		s.v.cut(name)
		synctest.Wait()
		return
	}
	s.v.restore(name)
	for s.v.conn(name) == nil {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
}

// read brings trades over one connection after the other.
func (s *scenario) read(conns, symbol string, trades []string) error {
	parsed, err := s.parseTrades(symbol, trades)
	if err != nil {
		return err
	}
	b := market.Batch{Ready: !strings.HasSuffix(conns, "~"), Trades: parsed}
	for _, c := range strings.TrimSuffix(conns, "~") {
		b.Payloads = nil
		for _, t := range parsed {
			b.Payloads = append(b.Payloads, fmt.Appendf(nil, "%d/%c", t.ID, c))
		}
		s.bring(connName(string(c)), b)
	}
	return nil
}

func (s *scenario) parseTrades(symbol string, texts []string) (trades []market.Trade, err error) {
	for _, text := range texts {
		t, err := s.parseTrade(symbol, text)
		if err != nil {
			return nil, err
		}
		trades = append(trades, t)
	}
	return trades, nil
}

func (s *scenario) id(symbol string) (market.SymbolID, error) {
	i := slices.Index(s.symbols, symbol)
	if i < 0 {
		return 0, fmt.Errorf("unknown symbol %q", symbol)
	}
	return market.SymbolID(i), nil
}

// parseTrade reads 4=99x2@1:59.9; all but the id may be left out.
func (s *scenario) parseTrade(symbol, text string) (market.Trade, error) {
	id, err := s.id(symbol)
	if err != nil {
		return market.Trade{}, err
	}
	at := bubbleClock{}.Now() - 100
	text, clock, timed := strings.Cut(text, "@")
	if timed {
		d, err := parseClock(clock)
		if err != nil {
			return market.Trade{}, err
		}
		at = bubbleTime(d)
	}
	text, qty, ok := strings.Cut(text, "x")
	if !ok {
		qty = "1"
	}
	text, price, ok := strings.Cut(text, "=")
	if !ok {
		price = "100"
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return trade(id, n, price, qty, at), err
}

// kline brings an official 1m kline.
func (s *scenario) kline(words []string) error {
	id, err := s.id(words[0])
	if err != nil {
		return err
	}
	open, err := parseClock(words[1])
	if err != nil {
		return err
	}
	var n, first, last int64
	if _, err := fmt.Sscanf(words[3]+" "+words[4], "%d %d-%d", &n, &first, &last); err != nil {
		return err
	}
	u := officialMinute(id, bubbleTime(open), words[2], n, first, last)
	if len(words) > 5 {
		u.High = u.Low - 1
	}
	s.official(u)
	return nil
}

// row lets REST bring an official minute, and says what became of it.
func (s *scenario) row(words []string) error {
	id, err := s.id(words[0])
	if err != nil {
		return err
	}
	open, err := parseClock(words[1])
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(words[3], 10, 64)
	if err != nil {
		return err
	}
	u := officialMinute(id, bubbleTime(open), words[2], n, -1, -1)
	said := market.SaidOnce
	if len(words) > 4 {
		said = market.SaidAgain
	}
	belief := s.f.Official(id, market.OneMinute, &u.Kline, said)
	synctest.Wait()
	fmt.Fprintf(&s.out, "%s  %s %s is %s\n", clockText(bubbleClock{}.Now()), words[0], words[1],
		[...]string{"doubted", "believed", "out of reach"}[belief])
	return nil
}

// last says what a symbol costs.
func (s *scenario) last(symbol string) error {
	id, err := s.id(symbol)
	if err != nil {
		return err
	}
	last, sure := s.f.Last(id)
	fmt.Fprintf(&s.out, "%s  %s", clockText(bubbleClock{}.Now()), symbol)
	switch {
	case last.Time == 0:
		fmt.Fprintf(&s.out, " costs what only the venue knows\n")
	case sure:
		fmt.Fprintf(&s.out, " costs %s since %s\n", last.Value, clockText(last.Time))
	default:
		fmt.Fprintf(&s.out, " cost %s at %s, maybe another now\n", last.Value, clockText(last.Time))
	}
	return nil
}

// latest lets REST tell the newest id of a symbol.
func (s *scenario) latest(name, text string) error {
	id, err := s.id(name)
	if err != nil {
		return err
	}
	latest, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return err
	}
	l, slot := s.f.laneOf(id)
	l.mu.Lock()
	l.judge(slot, &l.symbols[slot], latest, bubbleClock{}.Now(), time.Now())
	l.mu.Unlock()
	l.signal()
	synctest.Wait()
	return nil
}

// parseClock reads m:ss.mmm.
func parseClock(text string) (time.Duration, error) {
	minutes, seconds, _ := strings.Cut(text, ":")
	return time.ParseDuration(minutes + "m" + seconds + "s")
}

// print adds what the feed has handed on.
func (s *scenario) print() {
	if s.rig == nil {
		return
	}
	for _, d := range s.take() {
		for _, r := range d.Relayed {
			fmt.Fprintf(&s.out, "%s  %s relays %s\n", clockText(market.TimeOf(d.at)), s.symbols[r.Symbol], r.Payload)
		}
		for _, u := range d.Updates {
			fmt.Fprintf(&s.out, "%s  %s %s %s  %s\n", clockText(market.TimeOf(d.at)), s.symbols[u.Symbol], u.Interval,
				strings.TrimSuffix(clockText(u.OpenTime), ".000"), klineText(&u.Kline))
		}
	}
}

// klineText is a kline on one line: open high low close, volume, count, fill ids, state.
func klineText(k *market.Kline) string {
	text := fmt.Sprintf("%s %s %s %s  v%s n%d", fixedText(k.Open), fixedText(k.High), fixedText(k.Low), fixedText(k.Close), k.Volume, k.TradeCount)
	if k.FirstID >= 0 {
		text += fmt.Sprintf(" %d-%d", k.FirstID, k.LastID)
	}
	text += "  " + k.State.String()
	if k.Gap {
		text += "+gap"
	}
	if k.Revision > 0 {
		text += fmt.Sprintf(" r%d", k.Revision)
	}
	return text
}

func fixedText(v fixed.Value) string { return v.String() }

// show adds standings, gaps and counters.
func (s *scenario) show() {
	s.print()
	now := clockText(bubbleClock{}.Now())
	for id, name := range s.symbols {
		fmt.Fprintf(&s.out, "%s  %s is %s\n", now, name, s.f.Standing(market.SymbolID(id)))
	}
	for _, g := range s.f.Gaps() {
		fmt.Fprintf(&s.out, "%s  gap %s %d-%d %s\n", now, s.symbols[g.Symbol], g.First, g.Last, g.State)
	}
	m := s.o.Metrics
	counters := ""
	for _, c := range []struct {
		name  string
		value float64
	}{
		{"gaps", testutil.ToFloat64(m.Gaps)}, {"missing", testutil.ToFloat64(m.GapTrades)},
		{"healed", testutil.ToFloat64(m.HealedTrades)}, {"unhealed", testutil.ToFloat64(m.UnhealedTrades)},
		{"duplicate", testutil.ToFloat64(m.DuplicateTrades)}, {"late", testutil.ToFloat64(m.LateTrades)},
		{"disbelieved time", testutil.ToFloat64(m.Disbelieved.WithLabelValues(lieTime))},
		{"disbelieved jump", testutil.ToFloat64(m.Disbelieved.WithLabelValues(lieJump))},
		{"disbelieved backwards", testutil.ToFloat64(m.Disbelieved.WithLabelValues(lieBackwards))},
		{"revised late", testutil.ToFloat64(m.KlinesRevised.WithLabelValues(causeLate))},
		{"revised heal", testutil.ToFloat64(m.KlinesRevised.WithLabelValues(causeHeal))},
		{"revised settle", testutil.ToFloat64(m.KlinesRevised.WithLabelValues(causeSettle))},
		{"settled equal", testutil.ToFloat64(m.KlinesSettled.WithLabelValues("equal"))},
		{"settled replaced", testutil.ToFloat64(m.KlinesSettled.WithLabelValues("replaced"))},
		{"doubted early", testutil.ToFloat64(m.SettleDoubted.WithLabelValues(doubtEarly))},
		{"doubted rules", testutil.ToFloat64(m.SettleDoubted.WithLabelValues(doubtRules))},
		{"doubted trades", testutil.ToFloat64(m.SettleDoubted.WithLabelValues(doubtTrades))},
		{"doubted unconfirmed", testutil.ToFloat64(m.SettleDoubted.WithLabelValues(doubtRead))},
	} {
		if c.value != 0 {
			counters += fmt.Sprintf(", %s %v", c.name, c.value)
		}
	}
	if counters != "" {
		fmt.Fprintf(&s.out, "%s  %s\n", now, counters[2:])
	}
}

package feed

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"klined/market"
)

// taking is one time of somebody's taking a symbol's trades as they come.
type taking struct {
	market.Span          // from when until when
	ids         []int64  // of what came, by turns
	strange     []string // what came besides
}

// takers lets each symbol's trades be taken, left and taken again at random, now and then at once.
func (y *player) takers(random *rand.Rand) (events []event) {
	end := tapeBegin + market.Time(y.minutes)*market.Minute
	for s := range y.trades {
		id := market.SymbolID(s)
		at := tapeBegin + market.Time(random.IntN(2)*random.IntN(90_000))
		for on := true; at < end; on = !on {
			events = append(events, event{at, func() { y.watch(id, on) }})
			at += market.Time(random.IntN(2) * random.IntN(60_000))
			if on {
				at += market.Time(random.IntN(2) * random.IntN(120_000))
			}
		}
	}
	return events
}

func (y *player) watch(id market.SymbolID, on bool) {
	y.f.WatchTrades(id, on)
	if on {
		y.takes[id] = append(y.takes[id], taking{Span: market.Span{From: y.now, To: never}})
		return
	}
	y.takes[id][len(y.takes[id])-1].To = y.now
}

// relayed notes what came for whoever took it last.
func (y *player) relayed(r market.Relayed) {
	k := &y.takes[r.Symbol][len(y.takes[r.Symbol])-1]
	id, err := strconv.ParseInt(string(r.Payload), 10, 64)
	if err != nil || k.To != never {
		k.strange = append(k.strange, string(r.Payload))
		return
	}
	k.ids = append(k.ids, id)
}

// checkRelayed: while a symbol's trades are taken they leave as they came by rising id, each once, none that was invented; and
// none after they have been left. Where neither connection is away, no trade is missing and none comes out of order, there is no
// hole in what leaves; it begins at most relayBegins after it was taken, and goes on to the end. (But with --source trade one that a
// connection drops may pass for burnt until the other brings it; where REST brings one sooner it does not leave; and a hole below a
// lie is as old as the lie, so that it is let through early.)
func checkRelayed(t *rapid.T, y *player, id market.SymbolID) {
	whole := len(y.down[0])+len(y.down[1]) == 0 && !slices.Contains(y.lost[id], true) && !y.disorder && !y.rest &&
		y.source == market.SourceAggTrade && (y.lies == 0 || y.drop == 0)
	for _, k := range y.takes[id] {
		if len(k.strange) > 0 {
			t.Fatalf("symbol %d: %q came", id, k.strange)
		}
		next := 0 // of the trades
		for _, n := range k.ids {
			i := slices.IndexFunc(y.trades[id][next:], func(t market.Trade) bool { return t.ID == n })
			if i < 0 || whole && i > 0 && next > 0 {
				t.Fatalf("symbol %d, taken %s to %s: %d after %d trades is out of turn", id, k.From, k.To, n, next)
			}
			next += i + 1
		}
		from := max(k.From, y.trades[id][0].Time) // the very first may be overtaken by the second
		for _, trade := range y.trades[id] {
			if whole && trade.Time > from+relayBegins && trade.Time < k.To-relayBegins && !slices.Contains(k.ids, trade.ID) {
				t.Fatalf("symbol %d, taken %s to %s: %d of %s did not leave; %d did", id, k.From, k.To, trade.ID, trade.Time, len(k.ids))
			}
		}
	}
}

// relayBegins is more than what is held may wait: a hole for its trades, and a lie for REST to say so.
const relayBegins = 10 * market.Second

// TestRandomTakers: where connections drop or lie, and whenever somebody begins to take a symbol's trades, they come without a
// hole as soon as nothing is held that had come before, and until they are left.
func TestRandomTakers(t *testing.T) {
	if raced {
		t.Skip("it runs in one goroutine: make test runs it without the race detector")
	}
	rapid.Check(t, func(t *rapid.T) {
		p := newTape(rapid.Uint64().Draw(t, "market"), market.SourceAggTrade, rapid.IntRange(1, 3).Draw(t, "symbols"), 4, [2][]market.Span{})
		drop := rapid.SampledFrom([]float64{0, 0.05, 0.4}).Draw(t, "drop")
		if drop == 0 {
			p.lies = rapid.SampledFrom([]int{0, 20, 60}).Draw(t, "lies")
		}
		p.cut(rapid.Uint64().Draw(t, "cut"), drop, true, false)
		y := newPlayer(t, p, intervalSets[0])
		y.play(rapid.Uint64().Draw(t, "reads"), 0)
		for s := range p.trades {
			checkRelayed(t, y, market.SymbolID(s))
		}
	})
}

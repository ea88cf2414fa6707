package market

import (
	"testing"

	"klined/fixed"
)

func TestTradeCheck(t *testing.T) {
	const top = 253402300799999 // 9999-12-31T23:59:59.999Z
	good := Trade{ID: 7, FirstID: 10, LastID: 12, Price: fixed.MustParse("83091.70"), Qty: fixed.MustParse("0.022"), Time: 1791382992338}
	for _, c := range []struct {
		name   string
		change func(*Trade)
		want   error
	}{
		{"as the exchange sends it", func(*Trade) {}, nil},
		{"ids from 0", func(t *Trade) { t.ID, t.FirstID, t.LastID = 0, 0, 0 }, nil},
		{"one fill", func(t *Trade) { t.LastID = t.FirstID }, nil},
		{"quantity 0", func(t *Trade) { t.Qty = 0 }, nil},
		{"price and quantity 0", func(t *Trade) { t.Price, t.Qty = 0, 0 }, nil},
		{"time 0", func(t *Trade) { t.Time = 0 }, nil},
		{"the last millisecond", func(t *Trade) { t.Time = top }, nil},
		{"price × quantity at the bound", func(t *Trade) { t.Price, t.Qty = fixed.MustParse("10000000"), fixed.MustParse("100000000") }, nil},

		{"id −1", func(t *Trade) { t.ID = -1 }, ErrIDs},
		{"id that cannot be added to", func(t *Trade) { t.ID = 1<<63 - 1 }, ErrIDs},
		{"last id beyond the bound", func(t *Trade) { t.LastID = 1e18 + 1 }, ErrIDs},
		{"fills that would wrap the count", func(t *Trade) { t.FirstID, t.LastID = 0, 1<<63-1 }, ErrIDs},
		{"more fills than a trade may have", func(t *Trade) { t.LastID = t.FirstID + 1e9 }, ErrIDs},
		{"first id −1", func(t *Trade) { t.FirstID = -1 }, ErrIDs},
		{"last id before the first", func(t *Trade) { t.LastID = t.FirstID - 1 }, ErrIDs},
		{"price 0", func(t *Trade) { t.Price = 0 }, ErrPrice},
		{"time −1", func(t *Trade) { t.Time = -1 }, ErrTime},
		{"year 10000", func(t *Trade) { t.Time = top + 1 }, ErrTime},
		{"price × quantity beyond the bound", func(t *Trade) {
			t.Price, t.Qty = fixed.MustParse("10000000"), fixed.MustParse("100000000.00000001")
		}, ErrNotional},
		{"the largest numbers", func(t *Trade) { t.Price, t.Qty = fixed.MaxValue, fixed.MaxValue }, ErrNotional},
	} {
		tr := good
		c.change(&tr)
		if err := tr.Check(); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestManyTradesAtTheBound: 34 million trades that Check lets pass stay below fixed.MaxSum.
func TestManyTradesAtTheBound(t *testing.T) {
	part := EmptyKline(0, 0)
	tr := Trade{Price: fixed.MustParse("10000000"), Qty: fixed.MustParse("100000000"), TakerBuy: true}
	if err := tr.Check(); err != nil {
		t.Fatal(err)
	}
	for i := range int64(34_000) {
		tr.ID, tr.FirstID, tr.LastID = i, i, i
		part.Add(&tr)
	}
	k := part
	for range 999 {
		k = Merge(k, part)
	}
	if got, want := k.QuoteVolume.String(), "34000000000000000000000"; got != want || k.TradeCount != 34_000_000 {
		t.Errorf("%d trades, quote volume %s, want %s", k.TradeCount, got, want)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		SourceAggTrade.String(): "aggTrade", SourceTrade.String(): "trade",
		ClassHeal.String(): "heal", ClassStart.String(): "start", ClassSettle.String(): "settle",
		ClassClients.String(): "clients", ClassBackfill.String(): "backfill",
		(&BudgetError{RetryAfter: 1499e6, Reason: "busy"}).Error(): "busy; again in 1s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBatchReset(t *testing.T) {
	b := Batch{Trades: make([]Trade, 3, 10), Official: make([]Update, 2, 5), Ready: true}
	b.Received = Time(1).Std()
	b.Reset()
	if len(b.Trades) != 0 || len(b.Official) != 0 || cap(b.Trades) != 10 || cap(b.Official) != 5 || b.Ready || !b.Received.IsZero() {
		t.Errorf("%+v", b)
	}
}

package feed

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"klined/market"
)

// lagLost lets both connections lag over 2:00, be lost, and be back at 2:06. at2 is called at 2:00.
func (r *rig) lagLost(at2 func()) {
	r.t.Helper()
	for _, c := range bothConns {
		r.v.conn(c).dead.Store(true)
	}
	id := int64(2)
	brings := func(after, late time.Duration) {
		r.at(after)
		for _, c := range bothConns {
			r.bring(c, market.Batch{Ready: true, Trades: []market.Trade{trade(0, id, "100", "1", bubbleTime(after-late))}})
		}
		id++
	}
	for after := 119*time.Second + 400*time.Millisecond; after < 122*time.Second+700*time.Millisecond; after += 90 * time.Millisecond {
		brings(after, 3*time.Second)
		if id == 9 {
			at2()
		}
	}
	if r.f.lanes[0].lagging == 0 {
		r.t.Fatal("the clock has not overtaken the readers")
	}
	r.cutAll()
	for _, c := range bothConns {
		r.v.restore(c)
	}
	brings(126*time.Second, 0)
}

// cutAll ends both connections.
func (r *rig) cutAll() {
	for _, c := range bothConns {
		r.v.cut(c)
	}
	synctest.Wait()
}

// TestLostWhileLagging: connections that lag are lost. A symbol that was added meanwhile goes on without the mark; what had ended
// keeps it, and is owed its last minute.
func TestLostWhileLagging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, nil)
		r.lagLost(func() { r.ask(true, listed) })
		r.stands(listed, Whole)
		r.at(190 * time.Second)
		for _, c := range bothConns {
			r.trades(c, prints(listed, 1, 2, 189*time.Second)...)
		}
		r.at(600 * time.Second)
		if got := r.of(listed); strings.Contains(got, "gap") || strings.Count(got, "closed") < 6 {
			t.Errorf("added: %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r, _ := listingRig(t, func(o *Options) { o.Symbols = []market.SymbolID{0, listed} })
		r.f.End(listed)
		r.lagLost(func() {})
		r.at(600 * time.Second)
		r.owesLast(listed)
	})
}

// owesLast: a symbol's only kline is the minute from 1:00 on, marked and owed.
func (r *rig) owesLast(id market.SymbolID) {
	r.t.Helper()
	got, want := r.of(id), market.Span{From: bubbleTime(time.Minute), To: bubbleTime(2 * time.Minute)}
	if !strings.HasPrefix(got, "1m 1:00 ") || !strings.HasSuffix(got, "closed+gap") || strings.Count(got, "closed") != 1 {
		r.t.Errorf("%d: %s", id, got)
	}
	for _, owed := range r.f.Owed(r.o.Clock.Now()) {
		if owed.Symbol == id && owed.Span == want {
			return
		}
	}
	r.t.Errorf("%d is not owed its last minute", id)
}

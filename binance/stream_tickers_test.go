package binance

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"klined/market"
)

// TestDialTickers: one stream brings the rows of all symbols; single ones may be added. Rows that came with the close
// frame are not lost.
func TestDialTickers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		var asked []control
		e.serve = func(p *peer) {
			for range 2 {
				c, _ := p.control()
				asked = append(asked, c)
				_ = p.send(tickersFrame, string(ack(c.ID)))
			}
			if p.path != "/market/ws" {
				t.Errorf("path %s", p.path)
			}
			_, _ = p.conn.Write(compiled(ws.NewTextFrame([]byte(tickerFrame)), ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "Too many requests"))))
			p.acknowledge()
		}
		s, err := e.venue(registry(), market.SourceTrade).DialTickers(t.Context(), "t1")
		if err != nil {
			t.Fatal(err)
		}
		b := untilReady(t, s)
		if len(b.Tickers) != 2 || b.Tickers[0].SymbolID != 0 || b.Tickers[1].SymbolID != 1 {
			t.Errorf("brought %+v", b)
		}
		if err := s.Subscribe(2); err != nil {
			t.Fatal(err)
		}
		if b = untilReady(t, s); len(b.Tickers) != 2 {
			t.Errorf("brought %+v", b)
		}
		want := []control{{"SUBSCRIBE", []string{"!miniTicker@arr"}, 1}, {"SUBSCRIBE", []string{"币安人生usdt@miniTicker"}, 2}}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Error(diff)
		}
		if err := s.Read(&b); err != nil || len(b.Tickers) != 1 {
			t.Errorf("error %v, brought %+v", err, b)
		}
		var closed *CloseError
		if err := s.Read(&b); !errors.As(err, &closed) || len(b.Tickers) != 0 {
			t.Errorf("error %v, brought %+v", err, b)
		}
		if _, err := NewVenue(VenueOptions{URL: "http://x"}).DialTickers(t.Context(), "t1"); err == nil {
			t.Error("dialled what is no WebSocket address")
		}
	})
}

// TestUnwantedTickersOnAnotherConnection: a connection for trades does not read them.
func TestUnwantedTickersOnAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exchange{t: t}
		e.serve = func(p *peer) {
			c, _ := p.control()
			_ = p.send(tickersFrame, tickerFrame, aggFrame, string(ack(c.ID)))
			p.acknowledge()
		}
		if b := untilReady(t, e.dialled(1)); len(b.Tickers) != 0 || len(b.Trades) != 1 {
			t.Errorf("brought %+v", b)
		}
	})
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"klined/market"
)

// pushed is one final kline event that a client received.
type pushed struct {
	row
	state    string
	received market.Time // on the server's clock, as far as the client can tell
	place    int         // among all that this client received
}

// audience is a client of the server's WebSocket that remembers every final kline.
type audience struct {
	mu     sync.Mutex
	finals map[string][]pushed // by keyOf
	count  int                 // final events
	opens  int                 // events of running klines
	query  string              // behind the address
	conns  []net.Conn
	done   sync.WaitGroup
}

// keyOf names one kline: "BTCUSDT 1m 1799146740000".
func keyOf(symbol string, iv market.Interval, open market.Time) string {
	return fmt.Sprintf("%s %s %d", symbol, iv, open)
}

// perConn is how many streams one connection may carry.
const perConn = 1000

// listen subscribes to the klines of all symbols and intervals; now tells the time of receipt, query what is asked of the
// connections beyond that.
func (j *judge) listen(ctx context.Context, symbols []string, ivs []market.Interval, now func() market.Time, query string) (*audience, error) {
	a := &audience{finals: map[string][]pushed{}, query: query}
	var names []string
	for _, symbol := range symbols {
		for _, iv := range ivs {
			names = append(names, strings.ToLower(symbol)+"@kline_"+iv.String())
		}
	}
	for len(names) > 0 {
		n := min(perConn, len(names))
		if err := a.connect(ctx, j, names[:n], now); err != nil {
			a.close()
			return nil, err
		}
		names = names[n:]
	}
	return a, nil
}

// connect opens one connection and subscribes it.
func (a *audience) connect(ctx context.Context, j *judge, names []string, now func() market.Time) error {
	dialer := ws.Dialer{NetDial: j.network.Dial}
	conn, buffered, _, err := dialer.Dial(ctx, strings.Replace(j.server, "http", "ws", 1)+"/market/ws"+a.query)
	if err != nil {
		return err
	}
	if buffered != nil {
		return fmt.Errorf("bytes behind the handshake")
	}
	a.conns = append(a.conns, conn)
	for id := 1; len(names) > 0; id++ {
		n := min(200, len(names))
		request, err := json.Marshal(map[string]any{"method": "SUBSCRIBE", "params": names[:n], "id": id})
		if err != nil {
			return err
		}
		if err := wsutil.WriteClientText(conn, request); err != nil {
			return err
		}
		names = names[n:]
	}
	a.done.Go(func() {
		for {
			text, err := wsutil.ReadServerText(conn)
			if err != nil {
				return
			}
			a.take(text, now())
		}
	})
	return nil
}

// take remembers one event.
func (a *audience) take(text []byte, at market.Time) {
	if !bytes.HasPrefix(text, []byte(`{"e":"kline"`)) {
		return
	}
	if !bytes.Contains(text, []byte(`"x":true`)) {
		a.mu.Lock()
		a.opens++
		a.mu.Unlock()
		return
	}
	var event struct {
		K object `json:"k"`
	}
	if err := json.Unmarshal(text, &event); err != nil {
		panic(fmt.Sprintf("%s: %v", text, err))
	}
	field := func(key string) string { return string(bytes.Trim(event.K[key], `"`)) }
	p := pushed{row: row{o: field("o"), h: field("h"), l: field("l"), c: field("c"), volume: field("v"), quote: field("q"),
		count: field("n"), takerVolume: field("V"), takerQuote: field("Q")}, state: field("st"), received: at}
	if _, err := fmt.Sscan(field("t"), &p.open); err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	iv, err := market.ParseInterval(field("i"))
	if err != nil {
		panic(err)
	}
	key := keyOf(field("s"), iv, p.open)
	p.place = a.count
	a.count++
	a.finals[key] = append(a.finals[key], p)
}

// close ends all connections and waits for their readers.
func (a *audience) close() {
	for _, c := range a.conns {
		_ = c.Close()
	}
	a.done.Wait()
}

// check judges the pushes of the klines that ended after from and by to: each must have come exactly once as final, and
// be the truth; with explain, what aggTrades make of it. delays are from the boundary to the receipt.
func (a *audience) check(j *judge, symbols []string, ivs []market.Interval, from, to market.Time, explain bool) (v *verdict, delays []time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v = &verdict{}
	for s, span := range closes(symbols, ivs, from, to) {
		truth, err := j.truth(s.symbol, s.iv, span.From, span.To)
		if err != nil {
			return nil, nil, err
		}
		var d *deviations
		for _, t := range truth {
			v.klines++
			got := a.finals[keyOf(s.symbol, s.iv, t.open)]
			if len(got) != 1 {
				v.blame("%s %s %s: final %d times", s.symbol, s.iv, t.open, len(got))
				continue
			}
			delays = append(delays, got[0].received.Sub(s.iv.Next(t.open)))
			if got[0].row == t {
				v.equal++
				continue
			}
			if explain && d == nil {
				if d, err = j.deviations(s.symbol, s.iv, from-market.Minute, span.To); err != nil {
					return nil, nil, err
				}
			}
			if explain && d.explain(s.iv, from, got[0].row, t) {
				v.explained++
			} else {
				v.blame("%s %s %s pushed (%s):\n  ours  %s\n  truth %s", s.symbol, s.iv, t.open, got[0].state, got[0].values(), t.values())
			}
		}
	}
	return v, delays, nil
}

// newest judges what was pushed last of each kline that ended after from and by to: it must be the truth.
func (a *audience) newest(j *judge, symbols []string, ivs []market.Interval, from, to market.Time) (*verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return j.each(symbols, ivs, from, to, func(symbol string, iv market.Interval, truth row) (row, bool) {
		got := a.finals[keyOf(symbol, iv, truth.open)]
		if len(got) == 0 {
			return row{}, false
		}
		last := got[len(got)-1].row
		return last, true
	})
}

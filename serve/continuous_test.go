package serve

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"klined/market"
)

// TestContinuous: the streams of continuous contracts carry the symbol's klines under other keys.
func TestContinuous(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		both := connect(t, listen, "/ws/btcusdt_perpetual@continuousKline_1m/btcusdt@kline_1m")
		wrapped := connect(t, listen, "/stream?streams=btcusdt_perpetual@continuousKline_1m/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt_tradifi_perpetual@continuousKline_1s")
		connect(t, listen, "/ws/btcusdt_tradifi_perpetual@continuousKline_3m/btcusdt@continuousKline_3m/BTCUSDT_perpetual@continuousKline_3m/btcusdt_PERPETUAL@continuousKline_3m/btcusdt_perpetual@kline_3m")
		if w.live.watches(market.Series{Symbol: btc, Interval: interval("3m")}) {
			t.Error("a stream that is none is watched")
		}
		w.publish(minutes(btc), closed(0, "1"))
		w.publish(market.Series{Symbol: moon, Interval: interval("1s")}, open(0, "2"))
		const btcText = `{"e":"continuous_kline","E":946684800000,"ps":"BTCUSDT","ct":"PERPETUAL","k":{"t":946684800000,"T":946684859999,"i":"1m","f":70,"L":71,"o":"1.00","c":"1.00","h":"1.00","l":"1.00","v":"1.000","n":2,"x":true,"q":"1.00000","V":"1.000","Q":"1.00000","B":"0","r":0,"st":"closed"}}`
		_, rest, _ := strings.Cut(btcText, `,"i"`)
		want := []string{btcText, `{"e":"kline","E":946684800000,"s":"BTCUSDT","k":{"t":946684800000,"T":946684859999,"s":"BTCUSDT","i"` + rest}
		if diff := cmp.Diff(want, both.texts()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got := wrapped.texts()
		if len(got) != 2 || got[0] != `{"stream":"btcusdt_perpetual@continuousKline_1m","data":`+btcText+`}` ||
			!strings.HasPrefix(got[1], `{"stream":"币安人生usdt_tradifi_perpetual@continuousKline_1s","data":{"e":"continuous_kline","E":946684800000,"ps":"币安人生USDT","ct":"TRADIFI_PERPETUAL","k":{"t":946684800000,"T":946684800999,"i":"1s",`) {
			t.Errorf("got %v", got)
		}
	})
}

// TestCombinedOff: a connection that began with wrapped frames may ask for bare ones.
func TestCombinedOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/stream?streams=btcusdt@kline_1m")
		if got := p.ask(`{"method":"GET_PROPERTY","params":["combined"],"id":"0xA"}`); got != `{"result":true,"id":"0xA"}` {
			t.Error(got)
		}
		if got := p.ask(`{"method":"SET_PROPERTY","params":["combined",false],"id":2}`); got != `{"result":null,"id":2}` {
			t.Error(got)
		}
		w.publish(minutes(btc), open(0, "1"))
		wantEvents(t, p, "1.00 open")
	})
}

// TestCombinedWhileFramesWait: what waits when a client changes the form of its frames keeps its own, and comes before the answer.
func TestCombinedWhileFramesWait(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		p.hold(true)                                    // takes one more frame
		for _, price := range []string{"1", "2", "3"} { // one on its way, one being written, one that waits
			w.publish(minutes(btc), open(0, price))
			time.Sleep(time.Second)
		}
		p.write(ws.NewTextFrame([]byte(`{"method":"SET_PROPERTY","params":["combined",true],"id":1}`)))
		synctest.Wait()
		w.publish(minutes(btc), open(0, "4"))
		time.Sleep(time.Second)
		w.publish(minutes(btc), closed(0, "5"))
		p.hold(false)
		var got []string
		for _, text := range p.texts() {
			got = append(got, text[:9])
		}
		differ(t, "forms", got, []string{`{"e":"kli`, `{"e":"kli`, `{"e":"kli`, `{"result"`, `{"stream"`})
	})
}

package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"klined/market"
)

// TestClosesStayInOrder: for a client that does not read, closes stay in the order they came, though one of them finds an open kline
// that waits and another one comes late; and what a close that is held back says stays beside the next open kline.
func TestClosesStayInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		p := connect(t, listen, "/ws/btcusdt@kline_1m")
		p.hold(true) // takes one more frame, and one is on its way
		for _, k := range []market.Kline{
			open(0, "1"), open(0, "2"),
			version(0, "3", market.StateClosed, 0, true), open(1, "4"), version(0, "5", market.StateClosed, 1, false), closed(1, "6"),
		} {
			w.publish(minutes(btc), k)
			time.Sleep(time.Second)
		}
		p.hold(false)
		wantEvents(t, p, "1.00 open", "2.00 open", "3.00 closed+gap", "5.00 closed x", "6.00 closed x")
	})
}

// TestShedOneByOne: of clients that do not read as many are closed as it takes. What they were being written is let go with them.
func TestShedOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, listen *pipes) {
		reads := connect(t, listen, "/ws/btcusdt@kline_1m")
		stuck := make([]*peer, 4)
		for i := range stuck {
			stuck[i] = connect(t, listen, "/ws/btcusdt@kline_1m")
			stuck[i].hold(true)
		}
		minute := 0
		play := func(n int) {
			changes := new(market.Changes)
			for range n {
				changes.Updates = append(changes.Updates, market.Update{Series: minutes(btc), Kline: closed(minute, "1")})
				minute++
			}
			w.Publish(changes)
			synctest.Wait()
		}
		play(100) // of some 25 kB, for all together and once more for each who does not read
		held := w.hub.queued.Load()
		w.hub.bound = held - 1000
		play(1)
		wantSlow(t, w, 1)
		if now := w.hub.queued.Load(); now > w.hub.bound || now < held/2 {
			t.Errorf("%d bytes wait, of %d that may", now, w.hub.bound)
		}
		for _, p := range stuck {
			p.hold(false)
		}
		whole := 0
		for _, p := range append(stuck, reads) {
			if p.ended() == "" && len(p.texts()) == minute {
				whole++
			}
		}
		if whole != len(stuck) || reads.ended() != "" {
			t.Errorf("%d of %d have all; who reads ended with %q", whole, len(stuck), reads.ended())
		}
	})
}

// told is what is published of one series.
type told struct {
	series   market.Series
	minute   int   // that runs
	held     []int // minutes that are closed with a gap
	versions map[int]int32
	firsts   []string // closes, as who takes no revisions gets them: open time and price
	all      []string // with those revised later
}

// final is a version of a closed kline that all get, or those who take revisions.
func (s *told) final(minute int, price string, first bool) market.Kline {
	k := version(minute, price, market.StateClosed, s.versions[minute], false)
	s.versions[minute]++
	name := fmt.Sprint(k.OpenTime, " ", price)
	if first {
		s.firsts = append(s.firsts, name)
	}
	s.all = append(s.all, name)
	return k
}

// heal ends the gap of a held minute.
func (s *told) heal(i int, price string) market.Kline {
	minute := s.held[i]
	s.held = slices.Delete(s.held, i, i+1)
	return s.final(minute, price, true)
}

// next is one more version, drawn by chance: of the running kline, its close, the end of a gap, a revision.
func (s *told) next(random *rand.Rand, price string) market.Kline {
	switch draw, late := random.IntN(10), s.minute-1-random.IntN(20); {
	case draw == 0 && len(s.held) < maxHeld/2:
		s.held = append(s.held, s.minute)
		s.versions[s.minute]++
		s.minute++
		return version(s.minute-1, price, market.StateClosed, 0, true)
	case draw == 1 && len(s.held) > 0:
		return s.heal(random.IntN(len(s.held)), price)
	case draw == 2 && late >= 0 && !slices.Contains(s.held, late):
		return s.final(late, price, false)
	case draw < 5:
		s.minute++
		return s.final(s.minute-1, price, true)
	}
	return open(s.minute, price)
}

// lastPrice is of the open klines that end what is published.
const lastPrice = "999999999"

// taker is a client that reads over a socket with little room, and stops now and then.
type taker struct {
	conn      net.Conn
	random    *rand.Rand
	revisions bool
	leaves    int           // so many frames after it began it leaves the first stream, to come back later; 0: never
	back      chan struct{} // closed when it has come back, or never will
	got       []string
	err       error
}

// run takes frames until it has the last of n streams.
func (k *taker) run(n int, first string) {
	back := sync.OnceFunc(func() { close(k.back) })
	defer back()
	say := func(id, method string) error {
		return wsutil.WriteClientText(k.conn, []byte(`{"method":"`+method+`","params":["`+first+`"],"id":`+id+`}`))
	}
	for k.err == nil && n > 0 {
		if k.random.IntN(40) == 0 {
			time.Sleep(time.Duration(k.random.IntN(3000)) * time.Microsecond)
		}
		var frame []byte
		_ = k.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if frame, k.err = wsutil.ReadServerText(k.conn); k.err != nil {
			return
		}
		text := string(frame)
		k.got = append(k.got, text)
		switch {
		case len(k.got) == k.leaves:
			k.err = say("1", "UNSUBSCRIBE")
		case text == gone:
			k.err = say("2", "SUBSCRIBE")
		case text == again:
			k.err = wsutil.WriteClientText(k.conn, []byte(`{"method":"GET_PROPERTY","params":["combined"],"id":3}`)) // answered when it has subscribed
		case strings.HasSuffix(text, `"id":3}`):
			back()
		case strings.Contains(text, `"c":"`+lastPrice):
			n--
		}
	}
}

// Answers of who has left, and come back.
const gone, again = `{"result":null,"id":1}`, `{"result":null,"id":2}`

// check compares what it has got of a stream with what was told of it.
func (k *taker) check(stream string, s *told, leaves bool) error {
	want := s.firsts
	if k.revisions {
		want = s.all
	}
	var closedAt market.Time
	price, away, missed := 0, false, false
	for _, text := range k.got {
		away = leaves && (away || text == gone) && text != again
		missed = missed || away
		if !strings.HasPrefix(text, `{"stream":"`+stream+`"`) {
			continue
		}
		var e struct{ Data event }
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return err
		}
		at, _ := strconv.ParseFloat(e.Data.K.Close, 64)
		is := fmt.Sprint(e.Data.K.Open, " ", int(at))
		switch i := slices.Index(want, is); {
		case away:
			return fmt.Errorf("%s came after it was left", is)
		case e.Data.K.Final && (i < 0 || i > 0 && !missed):
			return fmt.Errorf("close %s came as number %d of %d that were to come: %v", is, i, len(want), want[:min(3, len(want))])
		case e.Data.K.Final:
			want, missed, closedAt = want[i+1:], false, max(closedAt, e.Data.K.Open)
		case e.Data.K.Open <= closedAt || int(at) <= price:
			return fmt.Errorf("open kline %s came after the close of %d and price %d", is, closedAt, price)
		default:
			price = int(at)
		}
	}
	if len(want) > 0 || strconv.Itoa(price) != lastPrice {
		return fmt.Errorf("%d closes have not come: %v; the last price is %d", len(want), want[:min(3, len(want))], price)
	}
	return nil
}

// small is a listener whose connections hold little of what is written to them.
type small struct{ net.Listener }

func (l small) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(1)
	}
	return conn, err
}

// dialSmall is a connection that takes little before it is read.
func dialSmall(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1) })
		return err
	}}).DialContext(ctx, network, address)
}

// served is w behind a socket that lets connections through as through does; its address.
func (w *world) served(t *testing.T, through func(net.Listener) net.Listener) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer(w.Handler(), w.log)
	go func() { _ = server.Serve(through(l)) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// dialStreams connects to such an address.
func dialStreams(t *testing.T, address, path string) net.Conn {
	conn, _, _, err := ws.Dialer{NetDial: dialSmall}.Dial(t.Context(), "ws://"+address+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// takers connects clients to w, each with a way of its own to take the streams.
func (w *world) takers(t *testing.T, seed uint64, streams []string) []*taker {
	address := w.served(t, func(l net.Listener) net.Listener { return small{l} })
	takers := make([]*taker, 8)
	for i := range takers {
		k := &taker{random: rand.New(rand.NewPCG(seed, uint64(i))), revisions: i%2 == 1, back: make(chan struct{})}
		if i >= len(takers)/2 {
			k.leaves = 20 + k.random.IntN(100)
		}
		k.conn = dialStreams(t, address, fmt.Sprint("/stream?revisions=", i%2, "&streams=", strings.Join(streams, "/")))
		takers[i] = k
	}
	until(t, "they subscribe", func() bool { return w.hub.taken() == len(takers)*len(streams) })
	return takers
}

// taken is how many subscriptions to klines there are.
func (h *hub) taken() (n int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, t := range h.klines {
		t.mu.Lock()
		n += len(t.list)
		t.mu.Unlock()
	}
	return n
}

// TestDelivered plays klines drawn by chance to clients whose sockets are full now and then. Each gets every close once and in
// order, the newest open kline at last, and none after its close; of a stream that it has left it gets nothing until it is back.
func TestDelivered(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KLINED_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("KLINED_SEED=%d", seed)
	w := newWorld(t, fixedClock(bubbleStart), func(o *Options) { o.PushEvery = time.Millisecond })
	coins := []*told{{series: minutes(btc)}, {series: minutes(moon)}}
	for _, s := range coins {
		w.before(s.series, bubbleStart)
		s.versions = make(map[int]int32)
	}
	streams := []string{"btcusdt@kline_1m", "btcusdt_perpetual@continuousKline_1m", "币安人生usdt@kline_1m"}
	of := []*told{coins[0], coins[0], coins[1]}
	takers := w.takers(t, seed, streams)
	var running sync.WaitGroup
	for _, k := range takers {
		running.Go(func() { k.run(len(streams), streams[0]) })
	}
	w.tell(rand.New(rand.NewPCG(seed, 100)), coins, takers)
	running.Wait()
	for i, k := range takers {
		for j, stream := range streams {
			if err := cmp.Or(k.err, k.check(stream, of[j], k.leaves > 0 && j == 0)); err != nil {
				t.Errorf("client %d, %s: %v", i, stream, err)
			}
		}
	}
	if n := slowClients(t, w); n > 0 {
		t.Errorf("%v slow clients", n)
	}
}

// tell publishes versions drawn by chance, and at last, when all who have left are back, whatever is held, one more close and one more
// open kline of each.
func (w *world) tell(random *rand.Rand, coins []*told, takers []*taker) {
	price := 0
	for range 600 {
		changes := new(market.Changes)
		for range 1 + random.IntN(4) {
			price++
			s := coins[random.IntN(len(coins))]
			changes.Updates = append(changes.Updates, market.Update{Series: s.series, Kline: s.next(random, strconv.Itoa(price))})
		}
		w.Publish(changes)
		if random.IntN(4) == 0 { // so that some find the sockets empty
			time.Sleep(time.Duration(random.IntN(300)) * time.Microsecond)
		}
	}
	for _, k := range takers {
		if k.leaves > 0 {
			<-k.back
		}
	}
	for _, s := range coins {
		for len(s.held) > 0 {
			price++
			w.publish(s.series, s.heal(0, strconv.Itoa(price)))
		}
		w.publish(s.series, s.final(s.minute, strconv.Itoa(price+1), true)) // who came back last may have missed all others
		w.publish(s.series, open(s.minute+1, lastPrice))
	}
}

// TestWaitsHere: what a client does not take waits in its queue, where newer state replaces it, and not, by the megabyte, in the kernel.
func TestWaitsHere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other kernels take the hint for polls alone")
	}
	w := newWorld(t, stdClock{})
	w.facts = map[string]func(bool){"btcusdt@depth": func(bool) {}}
	dialStreams(t, w.served(t, func(l net.Listener) net.Listener { return l }), "/ws/btcusdt@depth")
	until(t, "it subscribes", func() bool { return w.subscribersOf("btcusdt@depth") == 1 })
	w.hub.clientsMu.Lock()
	var c *client
	for c = range w.hub.clients {
	}
	w.hub.clientsMu.Unlock()
	const size = 10_000
	for sent := 0; ; sent += size {
		if sent > 10*unsentAtMost {
			t.Fatalf("%d bytes have left, and nothing waits", sent)
		}
		w.Deliver("btcusdt@depth", make([]byte, size))
		waits := false
		until(t, "it is written, or waits", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			waits = len(c.sending) > 0
			return waits || !c.busy
		})
		if waits {
			t.Logf("%d bytes had left when one waited", sent)
			return
		}
	}
}

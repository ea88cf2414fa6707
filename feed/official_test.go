package feed

import (
	"slices"
	"testing"
	"time"

	"klined/engine"
	"klined/market"
)

// after is that long after the tape's begin.
func after(d time.Duration) market.Time { return tapeBegin.Add(d) }

// spanText is a span as two times of day.
func spanText(s market.Span) string {
	return s.From.Std().Format("15:04:05") + "–" + s.To.Std().Format("15:04:05")
}

// newOwer is a lane of some symbols, whole at 1:05: each has seen trade 1 at 0:04, and trade 2 at 1:04.9.
func newOwer(t *testing.T, symbols int, intervals ...market.Interval) *player {
	y := newPlayer(t, &tape{trades: make([][]market.Trade, symbols)}, intervals)
	y.to(5 * time.Second)
	for id := range market.SymbolID(symbols) {
		y.both(id, after(4*time.Second), 1)
	}
	y.to(65 * time.Second)
	for id := range market.SymbolID(symbols) {
		y.both(id, y.now-100, 2)
		y.l.frames([]market.Update{officialMinute(id, tapeBegin, "100", 1, 1, 1)})
		if s := y.f.Standing(id); s != Whole {
			t.Fatalf("symbol %d is %s", id, s)
		}
	}
	return y
}

// to lets time pass, up to that after the begin.
func (y *player) to(d time.Duration) {
	for next := market.OneMinute.Next(y.now) + 600; next <= after(d); next = market.OneMinute.Next(next) + 600 {
		y.look(next)
	}
	y.look(after(d))
}

// look lets the lane look at the clock.
func (y *player) look(now market.Time) {
	y.now = now
	y.l.tick(now.Add(-y.f.graceNow()), local(now))
	y.drain()
}

// both brings trades of a symbol over both connections.
func (y *player) both(id market.SymbolID, at market.Time, ids ...int64) {
	b := market.Batch{Ready: true, Received: local(y.now)}
	for _, n := range ids {
		b.Trades = append(b.Trades, trade(id, n, "100", "1", at))
	}
	for _, c := range y.conns {
		y.l.take(c, &b)
	}
}

// cut ends both connections, whose last frame came just now. New ones carry the lane with their first trade.
func (y *player) cut() {
	for c := range y.conns {
		y.l.lost(y.conns[c], y.now)
		y.conns[c] = y.l.newCarrier(y.f.links[c], nil, y.f.links[c].carries())
	}
}

// owed lists what is owed of a symbol, as far as it is over.
func (y *player) owed(id market.SymbolID) string {
	for _, r := range y.f.Owed(y.now) {
		if r.Symbol == id {
			return spanText(r.Span)
		}
	}
	return ""
}

// pay does what history does: each minute that is owed gets its official kline, and what is out of reach is paid. It
// tells how often it asked, and which minutes were out of reach.
func (y *player) pay(t *testing.T, id market.SymbolID) (asked int, out market.Span) {
	for out.From = never; ; asked++ {
		owed := y.f.Owed(y.now)
		i := slices.IndexFunc(owed, func(r market.Range) bool { return r.Symbol == id })
		if i < 0 {
			return asked, out
		}
		if n := market.OneMinute.Count(owed[i].Span); n > owedMost || asked > 30 {
			t.Fatalf("%d minutes owed, asked for %d times", n, asked)
		}
		paid := market.Time(0)
		for open := owed[i].From; open < owed[i].To; open += market.Minute {
			u := officialMinute(id, open, "101", 3, -1, -1)
			switch y.f.Official(id, market.OneMinute, &u.Kline, market.SaidAgain) {
			case market.Doubted:
				t.Fatalf("%s is doubted", open)
			case market.OutOfReach:
				paid = open + market.Minute
				out.From, out.To = min(open, out.From), paid
			}
		}
		if paid != 0 {
			y.f.Paid(id, paid)
		}
	}
}

// TestOwedWhileBlind: while no connection carries them, and until their next trade, symbols owe the minutes from a second
// before the last frame on, as far as they are over.
func TestOwedWhileBlind(t *testing.T) {
	y := newOwer(t, 2, market.OneMinute)
	check := func(what string, want0, want1 string) {
		t.Helper()
		if got0, got1 := y.owed(0), y.owed(1); got0 != want0 || got1 != want1 {
			t.Errorf("%s: %q and %q, want %q and %q", what, got0, got1, want0, want1)
		}
	}
	y.to(2*time.Minute + 500*time.Millisecond)
	check("carried", "", "")
	y.cut()
	check("the minute of a second before is over", "00:01:00–00:02:00", "00:01:00–00:02:00")
	y.to(3*time.Minute + 59*time.Second)
	check("two minutes later", "00:01:00–00:03:00", "00:01:00–00:03:00")
	y.both(0, y.now, 3) // nothing was missed of 0; of 1 it is not known
	check("0 trades again", "", "00:01:00–00:03:00")
	y.to(20 * time.Minute)
	check("carried since 3:59", "", "00:01:00–00:04:00")

	u := officialMinute(1, after(time.Minute), "100", 1, 2, 2)
	for u.OpenTime <= after(2*time.Minute) {
		if b := y.f.Official(1, market.OneMinute, &u.Kline, market.SaidAgain); b != market.Believed {
			t.Fatal(b)
		}
		u.OpenTime += market.Minute
	}
	check("two minutes are official", "", "00:03:00–00:04:00")
	y.f.Official(1, market.OneMinute, &u.Kline, market.SaidAgain)
	check("all are", "", "")
	if s := y.symbol(1); s.blind.from != 0 || s.gappy {
		t.Errorf("blind since %s, debts %v", s.blind.from, s.debts)
	}
	for open := after(time.Minute); open < after(19*time.Minute); open += market.Minute {
		for id := range market.SymbolID(2) {
			if k, ok := y.l.engine.Kline(engine.Slot(id), market.OneMinute, open); !ok || k.Gap {
				t.Errorf("symbol %d at %s: %t, gap %t", id, open, ok, k.Gap)
			}
		}
	}
}

// TestPaidBlind: an outage of five hours, longer than the engine keeps minutes, of a symbol that does not trade after it.
func TestPaidBlind(t *testing.T) {
	y := newOwer(t, 2, market.OneMinute, market.OneHour)
	y.to(90 * time.Second)
	y.cut()
	y.to(5*time.Hour + 90*time.Second)
	y.both(0, y.now, 3)
	y.to(5*time.Hour + 130*time.Second)
	if got := y.owed(1); got != "00:01:00–01:40:00" {
		t.Errorf("owed %s", got)
	}
	asked, out := y.pay(t, 1)
	if asked != 4 || spanText(out) != "00:01:00–04:00:00" { // 300 minutes; the engine keeps those of this hour and the last
		t.Errorf("asked %d times, out of reach %s", asked, spanText(out))
	}
	if s := y.symbol(1); s.blind.from != 0 || s.gappy || y.f.Standing(1) != Whole {
		t.Errorf("blind since %s, debts %v", s.blind.from, s.debts)
	}
}

// TestPaidDebt: a gap of five hours, or a debt where the venue does not give its ids any more: then behind ends, and the
// gap is official.
func TestPaidDebt(t *testing.T) {
	for _, c := range []struct {
		name  string
		later time.Duration
		asked int
		out   string
	}{
		{"at once", time.Minute, 4, "00:01:00–04:00:00"},
		{"an hour later", time.Hour, 4, "00:01:00–05:00:00"},
		{"when none of its minutes is kept any more", 4 * time.Hour, 4, "00:01:00–05:02:00"},
	} {
		for _, debt := range []bool{false, true} {
			y := newOwer(t, 1, market.OneMinute, market.OneHour)
			y.to(90 * time.Second)
			y.cut()
			y.to(5*time.Hour + 90*time.Second)
			y.both(0, y.now, 6, 7)
			y.to(5*time.Hour + 93*time.Second) // let through
			if debt {
				y.l.mu.Lock()
				y.l.tooOld(0, 3, 5)
				y.l.mu.Unlock()
			}
			y.to(5*time.Hour + 93*time.Second + c.later)
			if s := y.symbol(0); y.f.Standing(0) != Behind || len(s.debts) == 1 != debt || len(s.gaps) == 1 == debt {
				t.Fatal(c.name, y.f.Standing(0), s.debts, s.gaps)
			}
			asked, out := y.pay(t, 0)
			if asked != c.asked || spanText(out) != c.out {
				t.Errorf("%s, debt %t: asked %d times, out of reach %s", c.name, debt, asked, spanText(out))
			}
			if g := y.f.Gaps(); y.f.Standing(0) != Whole || len(g) != 1 || g[0].State != GapOfficial {
				t.Errorf("%s, debt %t: %s, gaps %v", c.name, debt, y.f.Standing(0), g)
			}
		}
	}
}

// TestPaidFirst: a first trade that stood alone for so long that its minute is not kept any more.
func TestPaidFirst(t *testing.T) {
	y := newPlayer(t, &tape{trades: make([][]market.Trade, 2)}, []market.Interval{market.OneMinute})
	y.to(5 * time.Second)
	y.both(0, after(4*time.Second), 1)
	y.to(65 * time.Second)
	y.both(1, y.now, 5)
	y.to(5 * time.Hour)
	if asked, out := y.pay(t, 1); asked != 1 || spanText(out) != "00:01:00–00:02:00" {
		t.Errorf("asked %d times, out of reach %s", asked, spanText(out))
	}
	if k, ok := y.l.engine.Running(1, market.OneMinute); !ok || k.Gap {
		t.Errorf("running %t, gap %t", ok, k.Gap)
	}
}

// TestPaidInPart: what is paid is not owed any more, what is not stays owed: of a gap, and of a blind time.
func TestPaidInPart(t *testing.T) {
	y := newOwer(t, 2, market.OneMinute)
	y.to(90 * time.Second)
	y.cut()
	y.to(5*time.Hour + 90*time.Second)
	y.both(0, y.now, 6, 7)
	y.to(5*time.Hour + 10*time.Minute)
	for _, step := range []struct {
		paid time.Duration
		want string
	}{
		{0, "00:01:00–01:40:00"},
		{time.Minute, "00:01:00–01:40:00"},
		{59 * time.Minute, "00:59:00–02:38:00"},
		{30 * time.Minute, "00:59:00–02:38:00"}, // never more than before
		{4 * time.Hour, "04:00:00–05:02:00"},
		{5*time.Hour + time.Minute, "05:01:00–05:02:00"},
	} {
		for id := range market.SymbolID(2) {
			y.f.Paid(id, after(step.paid))
			if got := y.owed(id); got != step.want {
				t.Errorf("symbol %d, paid up to %s: owes %s, want %s", id, step.paid, got, step.want)
			}
		}
	}
	if s := y.f.Standing(0); s != Behind {
		t.Error(s)
	}
}

// TestOwedOrder: of what is owed the oldest comes first, whether it is a debt, a gap or a hole; burnt ids owe nothing, nor
// does what is official, or before the first boundary, or not over.
func TestOwedOrder(t *testing.T) {
	span := func(from, to time.Duration) market.Span { return market.Span{From: after(from), To: after(to)} }
	const m = time.Minute
	record := &GapRecord{}
	for _, c := range []struct {
		name string
		symbol
		want string
	}{
		{"nothing", symbol{}, ""},
		{"a debt", symbol{sequence: sequence{debts: []debt{{span: span(3*m+5e9, 3*m+6e9)}}}}, "00:03:00–00:04:00"},
		{"one that is official", symbol{sequence: sequence{debts: []debt{{span: span(3*m, 4*m), official: true}}}}, ""},
		{"a gap", symbol{sequence: sequence{gaps: []gap{{span: span(4*m, 6*m), record: record}}}}, "00:04:00–00:06:00"},
		{"one that is official", symbol{sequence: sequence{gaps: []gap{{span: span(4*m, 6*m), official: true}}}}, ""},
		{"burnt ids", symbol{sequence: sequence{gaps: []gap{{span: span(4*m, 6*m)}}}}, ""},
		{"a hole", symbol{sequence: sequence{lastTime: after(5 * m), held: []heldTrade{{Trade: market.Trade{Time: after(7 * m)}}}, hole: hole{declared: true}}}, "00:05:00–00:08:00"},
		{"one that is young", symbol{sequence: sequence{lastTime: after(5 * m), held: []heldTrade{{Trade: market.Trade{Time: after(7 * m)}}}}}, ""},
		{"a blind time", symbol{blind: blind{from: after(8 * m), to: after(8*m + time.Millisecond)}}, "00:08:00–00:09:00"},
		{"one that goes on", symbol{blind: blind{from: after(8 * m)}}, "00:08:00–00:20:00"},
		{"a gap before a debt", symbol{sequence: sequence{debts: []debt{{span: span(9*m, 10*m)}}, gaps: []gap{{span: span(4*m, 6*m), record: record}}}}, "00:04:00–00:10:00"},
		{"from before the first boundary on", symbol{sequence: sequence{debts: []debt{{span: span(-5*m, 3*m)}}}}, "00:01:00–00:03:00"},
		{"the running minute", symbol{sequence: sequence{debts: []debt{{span: span(20*m, 20*m+time.Millisecond)}}}}, ""},
		{"a first trade that stands alone", symbol{sequence: sequence{doubt: doubt{first: market.Trade{Time: after(7*m + time.Second)}}}}, "00:07:00–00:08:00"},
		{"a blind time that is official", symbol{blind: blind{from: after(8 * m), to: after(9 * m), official: true}}, ""},
		{"its minutes are official, but for one", symbol{sequence: sequence{debts: []debt{{span: span(10*m, 16*m)}}}}, "00:13:00–00:14:00"},
	} {
		y := newOwer(t, 1, market.OneMinute)
		y.to(20*m + 30*time.Second)
		for minute := 10 * m; minute < 16*m; minute += m {
			if u := officialMinute(0, after(minute), "100", 0, -1, -1); minute != 13*m {
				y.f.Official(0, market.OneMinute, &u.Kline, market.SaidAgain)
			}
		}
		c.from = y.l.from
		if got := y.l.owed(0, &c.symbol, y.now); got.Empty() != (c.want == "") || !got.Empty() && spanText(got) != c.want {
			t.Errorf("%s: %s, want %s", c.name, spanText(got), c.want)
		}
	}
}

// TestRest: which rows of REST are believed at once.
func TestRest(t *testing.T) {
	const m, h = market.OneMinute, market.OneHour
	row := func(open time.Duration, price string, n int64) *market.Kline {
		u := officialMinute(0, after(open), price, n, -1, -1)
		return &u.Kline
	}
	broken := row(time.Minute, "100", 1)
	broken.High = 0
	for _, c := range []struct {
		name string
		iv   market.Interval
		k    *market.Kline
		said market.Said
		want market.Belief
	}{
		{"it says what ours does", m, row(time.Minute, "100", 1), market.SaidOnce, market.Believed},
		{"another price", m, row(time.Minute, "101", 1), market.SaidOnce, market.Doubted},
		{"another price, twice", m, row(time.Minute, "101", 1), market.SaidAgain, market.Believed},
		{"more trades", m, row(time.Minute, "100", 2), market.SaidOnce, market.Doubted},
		{"none, where we have one, twice", m, row(time.Minute, "100", 0), market.SaidAgain, market.Believed},
		{"it breaks its own rules, twice", m, broken, market.SaidAgain, market.Doubted},
		{"it is not over, twice", m, row(10*time.Hour+20*time.Minute, "100", 0), market.SaidAgain, market.Doubted},
		{"another than what is settled, twice", m, row(3*time.Minute, "101", 1), market.SaidAgain, market.Doubted},
		{"another than what is settled, for an hour", m, row(3*time.Minute, "101", 1), market.SaidLong, market.Believed},
		{"as a frame said", m, row(10*time.Hour+18*time.Minute, "108", 8), market.SaidOnce, market.Believed},
		{"not as the frame said", m, row(10*time.Hour+18*time.Minute, "108", 9), market.SaidOnce, market.Doubted},
		{"as another minute's frame said", m, row(10*time.Hour+16*time.Minute, "108", 8), market.SaidOnce, market.Doubted},
		{"of long ago", m, row(2*time.Minute, "100", 0), market.SaidOnce, market.OutOfReach},
		{"of long ago, where ours is", m, row(9*time.Hour, "100", 0), market.SaidOnce, market.Believed},
		{"an hour as ours", h, row(9*time.Hour, "100", 0), market.SaidOnce, market.Believed},
		{"another hour", h, row(9*time.Hour, "101", 3), market.SaidOnce, market.Doubted},
		{"another hour, for sure", h, row(9*time.Hour, "101", 3), market.SaidAgain, market.Believed},
		{"of an interval that the exchange does not settle", 5 * m, row(9*time.Hour, "100", 0), market.SaidAgain, market.OutOfReach},
	} {
		y := newOwer(t, 1, m, 5*m, h)
		if c.name != "of long ago" && c.iv == m && c.k.OpenTime < after(time.Hour) {
			y.to(4*time.Minute + time.Second)
			settled := officialMinute(0, after(3*time.Minute), "100", 1, -1, -1)
			y.f.Official(0, m, &settled.Kline, market.SaidAgain)
		} else {
			y.to(10*time.Hour + 19*time.Minute)
			y.l.frames([]market.Update{officialMinute(0, after(10*time.Hour+18*time.Minute), "108", 8, 8, 15)})
			y.to(10*time.Hour + 20*time.Minute + time.Second)
		}
		got := y.f.Official(0, c.iv, c.k, c.said)
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if k, ok := y.l.engine.Kline(0, c.iv, c.k.OpenTime); got == market.Believed && (!ok || k.State != market.StateSettled || !market.SameValues(&k, c.k)) {
			t.Errorf("%s: ours is %s", c.name, klineText(&k))
		}
	}
	y := newOwer(t, 1, m)
	if b := y.f.Official(7, m, row(time.Minute, "100", 1), market.SaidAgain); b != market.OutOfReach {
		t.Errorf("a symbol that is not carried: %d", b)
	}
	y.f.Paid(7, y.now)
}

// TestBlindSeconds: what is shorter than a minute keeps the mark of a blind time whose minutes are official, until the next
// trade shows that none was missed.
func TestBlindSeconds(t *testing.T) {
	y := newOwer(t, 2, 30_000, market.OneMinute)
	y.to(2*time.Minute + 10*time.Second)
	y.cut()
	y.to(2*time.Minute + 40*time.Second)
	y.both(0, y.now, 3)
	y.to(3*time.Minute + 20*time.Second)
	check := func(what, want string) {
		t.Helper()
		marked := ""
		for _, iv := range []market.Interval{30_000, market.OneMinute} {
			for open := after(2 * time.Minute); open < after(3*time.Minute); open = iv.Next(open) {
				if k, ok := y.l.engine.Kline(1, iv, open); ok && k.Gap {
					marked += iv.String() + " "
				}
			}
		}
		if marked != want {
			t.Errorf("%s: marked %s, want %s", what, marked, want)
		}
	}
	check("blind", "30s 30s 1m ")
	u := officialMinute(1, after(2*time.Minute), "100", 0, -1, -1)
	y.f.Official(1, market.OneMinute, &u.Kline, market.SaidAgain)
	check("official", "30s 30s ")
	if got := y.owed(1); got != "" {
		t.Errorf("owed %s", got)
	}
	y.both(1, y.now, 3)
	check("it trades again", "")
}

// TestTooOld: gaps that the venue does not give any more are owed by their minutes; others stay gaps.
func TestTooOld(t *testing.T) {
	y := newOwer(t, 1, market.OneMinute)
	y.both(0, y.now, 4, 5)
	y.both(0, y.now, 7, 8)
	y.both(0, y.now, 10, 11)
	y.to(70 * time.Second)
	y.l.tooOld(0, 5, 8)
	if s := y.symbol(0); len(s.debts) != 1 || len(s.gaps) != 2 || s.gaps[0].last != 3 || s.gaps[1].first != 9 || s.state != Behind {
		t.Errorf("debts %v, gaps %v", s.debts, s.gaps)
	}
	y.l.tooOld(0, 1, 100)
	if s := y.symbol(0); len(s.debts) != 3 || len(s.gaps) != 0 {
		t.Errorf("debts %v, gaps %v", s.debts, s.gaps)
	}
	for _, g := range y.f.Gaps() {
		if g.State != GapOpen {
			t.Errorf("gap %v", g)
		}
	}
	y.to(2 * time.Minute)
	if got := y.owed(0); got != "00:01:00–00:02:00" {
		t.Errorf("owed %s", got)
	}
}

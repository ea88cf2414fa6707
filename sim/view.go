package sim

import "klined/market"

// view is a symbol's official minutes as they stand at one moment: the past, which is drawn, and the live ones, of
// which all but the last are final and shared. It serves one goroutine.
type view struct {
	s       *symbol
	now     market.Time
	done    []row // live minutes that are over: read only
	running row   // the newest live minute that has a trade, or the first
	none    bool  // it has not traded, and has no klines

	hour  int64 // whose minutes these are
	drawn [60]row
}

// look is what a symbol's klines are at now; the caller holds the exchange's mutex. The view may be used without it.
func (s *symbol) look(now market.Time) *view {
	v := &view{s: s, now: now, hour: -1, none: s.untraded()}
	if n := len(s.minutes); n > 0 {
		v.done, v.running = s.minutes[:n-1:n-1], s.minutes[n-1]
	}
	return v
}

// minute is the official kline of a minute: not earlier than the symbol's first, nor later than now.
func (v *view) minute(open market.Time) row {
	seam := oneMinute.open(v.s.start)
	if open < seam {
		if hour := int64(open / market.Hour); hour != v.hour {
			v.hour = hour
			v.s.path.hour(hour, &v.drawn)
		}
		return v.drawn[open%market.Hour/market.Minute]
	}
	i := int((open - seam) / market.Minute)
	switch {
	case i < len(v.done):
		return v.done[i]
	case i == len(v.done):
		return v.running
	}
	return emptyRow(open, v.running.c)
}

// day is the kline of a whole day of the past; each is summed once.
func (v *view) day(open market.Time) row {
	v.s.pastMu.Lock()
	defer v.s.pastMu.Unlock()
	r, known := v.s.days[open]
	if !known {
		for hour := int64(open / market.Hour); hour < int64((open+market.Day)/market.Hour); hour++ {
			v.hour = hour
			v.s.path.hour(hour, &v.drawn)
			for i := range v.drawn {
				if r.open == 0 {
					r = v.drawn[i]
				} else {
					r.follow(&v.drawn[i])
				}
			}
		}
		v.s.days[open] = r
	}
	return r
}

// sum is the kline of the minutes from one time to another, which both open minutes; before the symbol's first minute
// there is nothing to sum.
func (v *view) sum(from, to market.Time) row {
	past := min(to, oneMinute.open(v.s.start))
	var r row
	for at := max(from, v.s.opens); at < to; {
		var n row
		step := market.Minute
		if at%market.Day == 0 && at+market.Day <= past {
			n, step = v.day(at), market.Day
		} else {
			n = v.minute(at)
		}
		at += step
		if r.open == 0 {
			r = n
		} else {
			r.follow(&n)
		}
	}
	return r
}

// kline is the official kline that opens at a time; the running one holds what has happened by now.
func (v *view) kline(iv interval, open market.Time) row {
	r := v.sum(open, min(iv.next(open), v.now+1))
	r.open = open
	return r
}

// first is the open time of the symbol's first kline.
func (v *view) first(iv interval) market.Time { return iv.open(v.s.opens) }

// window says which klines a request means; a zero time is one that was not sent.
type window struct {
	start, end market.Time
	limit      int
}

// opens are the open times of the klines that w asks for, of those from first to last: the oldest ones from start on,
// or without a start the latest ones.
func (w window) opens(iv interval, first, last market.Time) []market.Time {
	if w.end != 0 {
		last = min(last, iv.open(w.end))
	}
	var at market.Time
	if w.start != 0 {
		at = iv.ceil(w.start)
	} else {
		at = iv.back(last, w.limit-1)
	}
	var out []market.Time
	for at = max(at, first); at <= last && len(out) < w.limit; at = iv.next(at) {
		out = append(out, at)
	}
	return out
}

// klines are the official klines that w asks for, oldest first.
func (v *view) klines(iv interval, w window) []row {
	if v.none || v.now < v.s.opens {
		return nil
	}
	opens := w.opens(iv, v.first(iv), iv.open(v.now))
	rows := make([]row, len(opens))
	for i, open := range opens {
		rows[i] = v.kline(iv, open)
	}
	return rows
}

// short are klines shorter than a minute, summed from the fills remembered; the caller holds the exchange's mutex.
func (s *symbol) short(iv interval, w window, now market.Time) []row {
	first := iv.open(s.start)
	if s.from > s.start {
		first = iv.ceil(s.from)
	}
	opens := w.opens(iv, first, iv.open(now))
	if len(opens) == 0 || s.untraded() {
		return nil
	}
	i := s.mem.since(opens[0])
	carried := s.mem.before
	if i > 0 {
		carried = s.mem.fills[i-1].price
	}
	rows := make([]row, len(opens))
	for n, open := range opens {
		rows[n] = emptyRow(open, carried)
		for ; i < len(s.mem.fills) && s.mem.fills[i].time() < iv.next(open); i++ {
			rows[n].trade(&s.mem.fills[i])
		}
		carried = rows[n].c
	}
	return rows
}

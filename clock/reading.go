package clock

import (
	"context"
	"time"
)

const (
	stepBound = 250 * time.Millisecond // between two readings, or two of this machine's clocks: what is less is drift
	drift     = 10_000                 // this machine's clock may go wrong by one part in so many: 100 ppm
)

// reading says what time the exchange had at a local moment, and how far that may be off.
type reading struct {
	local    time.Time // with its monotonic part
	exchange time.Time
	within   time.Duration // half the round trip, and half the millisecond that the answer is cut to
}

// read asks once. The exchange's answer has whole milliseconds: on average it is half of one older.
func read(ctx context.Context, ask Ask) (*reading, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sent := time.Now()
	t, err := ask(ctx)
	if err != nil {
		return nil, err
	}
	half := time.Since(sent) / 2
	return &reading{local: sent.Add(half), exchange: t.Std().Add(time.Millisecond / 2), within: half + time.Millisecond/2}, nil
}

// at is the exchange's time at a local moment, going by r.
func (r *reading) at(local time.Time) time.Time { return r.exchange.Add(local.Sub(r.local)) }

// off is how far ahead newer is of what r says of the same moment.
func (r *reading) off(newer *reading) time.Duration { return newer.exchange.Sub(r.at(newer.local)) }

// aged is how far r may be off at a local moment.
func (r *reading) aged(local time.Time) time.Duration { return r.within + local.Sub(r.local)/drift }

// agrees reports whether r and newer can both be right, with slack to spare.
func (r *reading) agrees(newer *reading, slack time.Duration) bool {
	return r.off(newer).Abs() <= r.aged(newer.local)+newer.within+slack
}

// holdsBeside reports whether r is still the sharper one and newer does not contradict it.
func (r *reading) holdsBeside(newer *reading) bool {
	return r.aged(newer.local) < newer.within && r.agrees(newer, 0)
}

// confirmedBy reports whether newer is about as sharp as r was and agrees with it, so that nothing more need be asked.
func (r *reading) confirmedBy(newer *reading) bool {
	return newer.within < 2*r.within && r.agrees(newer, 0)
}

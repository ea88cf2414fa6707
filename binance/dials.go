package binance

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"
)

// How often all connections of a process together are dialled: 240 times in 5 minutes at most, of which half may come at
// once. The exchange's rule, documented for its spot markets and kept for futures, is 300 attempts in 5 minutes of one
// address: what is left is for a process that was just started anew, and for others here.
const (
	dialBurst = 120
	dialEvery = 2500 * time.Millisecond
)

// dials limits how often the exchange's streams are dialled. Who has to wait is served in turn.
type dials struct {
	limiter *rate.Limiter
	log     *slog.Logger
}

func newDials(log *slog.Logger) *dials {
	return &dials{rate.NewLimiter(rate.Every(dialEvery), dialBurst), logOrNone(log, "feed")}
}

// turn waits until a connection of that name may be dialled, or ctx ends.
func (d *dials) turn(ctx context.Context, name string) error {
	turn := d.limiter.Reserve()
	wait := turn.Delay()
	if wait <= 0 {
		return nil
	}
	d.log.Warn("too many connections have been dialled: waiting for the next turn", "conn", name, "for", wait.Round(time.Millisecond))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		turn.Cancel()
		return fmt.Errorf("not dialled, as too many connections have been: %w", ctx.Err())
	}
}
